//! What is asked of leaders while clients wait, and while nobody does.

use super::*;
use synod_protocol::message::{Attach, ReadsBuilder};

/// What every linked proposer was asked for; nothing if they weren't asked.
fn wants(sent: &Sent) -> Option<Wants> {
    let asked = |(_, message): &(NodeId, Message)| match message {
        Message::Proposer(ToProposer::Subscribe(subscribe)) => Some(subscribe.wants),
        _ => None,
    };
    let asked: Vec<_> = sent.iter().filter_map(asked).collect();
    assert!(
        asked.is_empty() || asked.len() == 3 && asked.iter().all(|wants| *wants == asked[0]),
        "{asked:?}"
    );
    asked.first().copied()
}

fn read_of(id: u64, consistency: Consistency) -> ToLearner {
    let mut reads = ReadsBuilder::default();
    reads.push(read(id, consistency));
    ToLearner::Read(reads.finish())
}

#[test]
fn values_are_wanted_at_once_as_long_as_a_session_is_attached() {
    let mut driver = Driver::new();
    assert_eq!(wants(&driver.fire(Timer::Subscribe)), Some(Wants::Late));
    assert!(driver.learner.gives_way());
    let waits_for = Attach::Nonce(5);
    assert_eq!(wants(&driver.hear(C7, ToLearner::Attach(waits_for))), Some(Wants::AtOnce), "without delay");
    assert!(!driver.learner.gives_way());
    let session = driver.open(5);
    assert_eq!(
        wants(&driver.hear(C8, ToLearner::Attach(Attach::Session { session, pending: vec![] }))),
        None,
        "it is told"
    );
    (0..50).for_each(|_| assert_eq!(wants(&driver.fire(Timer::Subscribe)), Some(Wants::AtOnce)));
    driver.link(C7, false);
    assert_eq!(wants(&driver.fire(Timer::Subscribe)), Some(Wants::AtOnce));
    driver.link(C8, false);
    assert_eq!(wants(&driver.fire(Timer::Subscribe)), Some(Wants::Late));
}

#[test]
fn a_reader_counts_for_some_time_after_its_read() {
    let mut driver = Driver::new();
    assert_eq!(wants(&driver.hear(C7, read_of(1, Consistency::Stale))), None, "it is told what there is");
    assert_eq!(wants(&driver.hear(C7, read_of(2, Consistency::Linearizable))), Some(Wants::AtOnce));
    let told: Vec<_> = (0..12).map(|_| wants(&driver.fire(Timer::Subscribe)).unwrap()).collect();
    assert_eq!((told[9], told[10]), (Wants::AtOnce, Wants::Late), "{told:?}");
    assert_eq!(wants(&driver.hear(C7, read_of(3, Consistency::Linearizable))), Some(Wants::AtOnce));
}

#[test]
fn where_nothing_is_kept_back_values_are_always_wanted_at_once() {
    let mut driver = Driver::tuned(|tuning| tuning.thrifty_ms = 0);
    assert_eq!(wants(&driver.fire(Timer::Subscribe)), Some(Wants::AtOnce));
    assert_eq!(wants(&driver.hear(C7, read_of(1, Consistency::Linearizable))), None);
}
