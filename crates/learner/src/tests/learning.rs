//! S7: streams, gaps, catch-up, peers.

use super::*;
use synod_protocol::message::{Fetch, Status};

fn fetch(first: u64, last: u64) -> Fetch {
    Fetch { first: Slot(first), last: Slot(last) }
}

/// The one Fetch that was sent, and to whom.
fn fetch_sent(sent: &Sent) -> Option<(NodeId, Fetch)> {
    let mut fetches = sent.iter().filter_map(|(to, message)| match message {
        Message::Acceptor(ToAcceptor::Fetch(fetch)) | Message::Learner(ToLearner::Fetch(fetch)) => {
            Some((*to, *fetch))
        }
        Message::Acceptor(_) | Message::Learner(_) | Message::Proposer(_) | Message::Client(_) => None,
    });
    let first = fetches.next();
    assert_eq!(fetches.next(), None, "one Fetch at a time");
    first
}

#[test]
fn s7_chosen_slots_are_applied_in_order_and_once_however_they_come() {
    let mut straight = Driver::new();
    straight.choose(1, &fillers(1..=8));
    let mut driver = Driver::new();
    for (first, last) in [(3, 4), (1, 1), (1, 1), (6, 8), (2, 3), (1, 4), (7, 8), (4, 5), (1, 8)] {
        driver.choose(first, &fillers(first..=last));
    }
    assert_eq!(driver.applied(), 8);
    assert_eq!(driver.learner.machine, straight.learner.machine);
}

#[test]
fn s7_another_value_for_a_learned_slot_is_refused_and_what_is_learned_stays() {
    let mut driver = Driver::new();
    driver.choose(1, &[filler(1), filler(2)]);
    driver.choose(4, &[filler(4)]);
    let before = driver.learner.clone();
    for slot in [2, 4] {
        for (from, message) in [
            (NodeId::from(ProposerId(2)), chosen(5, 2, 4, slot, &[filler(9)])),
            (AcceptorId(1).into(), fetched(slot, &[filler(9)], 4)),
        ] {
            let refused = driver.learner.on_message(from, message, &mut Effects::default()).unwrap_err();
            assert_eq!(refused.why, format!("S7: slot {slot} was learned with another value"));
        }
    }
    assert_eq!(driver.learner.machine, before.machine);
    driver.choose(3, &[filler(3)]);
    assert_eq!(driver.applied(), 4);
}

#[test]
fn subscribes_to_every_proposer_on_its_timer_and_when_one_is_linked() {
    let mut driver = Driver::new();
    driver.choose(1, &[filler(1)]);
    driver.link(ProposerId(3), false);
    let subscribe = Subscribe { next: Slot(2), synced: Slot::ZERO, pinned: None, wants: Wants::Late };
    let subscribe = Message::Proposer(ToProposer::Subscribe(subscribe));
    let sent = driver.fire(Timer::Subscribe);
    assert_eq!(sent, [(ProposerId(1).into(), subscribe.clone()), (ProposerId(2).into(), subscribe.clone())]);
    assert_eq!(driver.timers[&Timer::Subscribe], Delay::exactly(100));
    assert_eq!(driver.link(ProposerId(3), true), [(ProposerId(3).into(), subscribe)]);
}

/// Whether it asks for no values.
fn is_far(driver: &mut Driver) -> bool {
    let sent = driver.fire(Timer::Subscribe);
    sent.iter().any(
        |(_, message)| matches!(message, Message::Proposer(ToProposer::Subscribe(subscribe)) if subscribe.wants == Wants::Nothing),
    )
}

#[test]
fn a_learner_that_lacks_more_than_it_has_room_above_asks_for_no_values_until_it_lacks_little() {
    // A value and its slot take 88 bytes or so; an eighth of the buffer holds two of them.
    let mut driver = Driver::tuned(|tuning| tuning.learner_buffer_bytes = 2_000);
    driver.choose(11, &fillers(11..=30));
    assert!(!is_far(&mut driver), "all of it waits above the gap");
    driver.choose(31, &fillers(31..=60));
    assert!(is_far(&mut driver));
    driver.fire(Timer::CatchUp);
    let fetched = |first, last| {
        ToLearner::Fetched(Fetched {
            first: Slot(first),
            values: fillers(first..=last),
            held: Slot(60),
            floor: Slot(1),
        })
    };
    driver.hear(AcceptorId(2), fetched(1, 10));
    assert!(is_far(&mut driver), "what it has no room for is lacking");
    let next = driver.learner.log.next().0;
    driver.hear(AcceptorId(2), fetched(next, 50));
    assert!(is_far(&mut driver), "ten slots are lacking");
    driver.hear(AcceptorId(2), fetched(51, 58));
    assert!(!is_far(&mut driver), "two slots have room in an eighth of the buffer");
    // All the same if nothing is lacking any more.
    driver.choose(70, &fillers(70..=120));
    assert!(is_far(&mut driver));
    driver.choose(59, &fillers(59..=120));
    assert!(!is_far(&mut driver));
}

#[test]
fn a_gap_is_fetched_after_a_while_and_chunk_by_chunk() {
    let mut driver = Driver::new();
    let sent = driver.hear(ProposerId(2), chosen(5, 2, 9, 8, &[filler(8)]));
    assert_eq!((fetch_sent(&sent), driver.timers[&Timer::CatchUp]), (None, Delay::exactly(40)));
    let asked = fetch_sent(&driver.fire(Timer::CatchUp));
    assert_eq!(asked, Some((AcceptorId(2).into(), fetch(1, 7))));
    let sent = driver.hear(AcceptorId(2), fetched(1, &fillers(1..=4), 8));
    assert_eq!(fetch_sent(&sent), Some((AcceptorId(2).into(), fetch(5, 7))));
    let sent = driver.hear(AcceptorId(2), fetched(5, &fillers(5..=7), 8));
    assert_eq!(driver.applied(), 8);
    assert_eq!(fetch_sent(&sent), Some((AcceptorId(2).into(), fetch(9, 9))));
    driver.choose(9, &[filler(9)]);
    // Nothing is lacking any more: the timer finds nothing to do, and isn't set again.
    assert_eq!((driver.fire(Timer::CatchUp), driver.timers.contains_key(&Timer::CatchUp)), (vec![], false));
}

#[test]
fn catch_up_waits_while_the_stream_moves() {
    let mut driver = Driver::new();
    driver.hear(ProposerId(2), chosen(5, 2, 9, 1, &[filler(1)]));
    driver.hear(ProposerId(2), chosen(5, 2, 9, 2, &[filler(2)]));
    assert_eq!(fetch_sent(&driver.fire(Timer::CatchUp)), None);
    let asked = fetch_sent(&driver.fire(Timer::CatchUp));
    assert_eq!(asked, Some((AcceptorId(2).into(), fetch(3, 9))));
}

#[test]
fn catch_up_rotates_over_linked_acceptors_and_peers_on_silence_and_on_empty_answers() {
    let mut driver = Driver::new();
    driver.link(AcceptorId(4), false);
    driver.link(LearnerId(2), false);
    driver.hear(ProposerId(2), chosen(5, 2, 3, 4, &[]));
    let mut asked = Vec::new();
    for turn in 0..8 {
        let (source, what) = fetch_sent(&driver.fire(Timer::CatchUp)).unwrap();
        assert_eq!(what, fetch(1, 3));
        asked.push(source.to_string());
        if turn % 2 == 0 {
            assert_eq!(fetch_sent(&driver.hear(source, fetched(1, &[], 0))), None);
        }
    }
    assert_eq!(asked.join(" "), "a2 a3 a5 l3 a1 a2 a3 a5");
}

#[test]
fn catch_up_goes_on_when_somebody_is_linked_again() {
    let mut driver = Driver::new();
    let nodes: Vec<NodeId> = driver.learner.linked.iter().copied().collect();
    nodes
        .iter()
        .filter(|node| **node != ProposerId(2).into())
        .for_each(|node| drop(driver.link(*node, false)));
    driver.hear(ProposerId(2), chosen(5, 2, 3, 4, &[]));
    assert_eq!(fetch_sent(&driver.fire(Timer::CatchUp)), None);
    driver.link(LearnerId(3), true);
    assert_eq!(fetch_sent(&driver.fire(Timer::CatchUp)), Some((LearnerId(3).into(), fetch(1, 3))));
}

#[test]
fn late_repeated_and_unasked_answers_are_chosen_all_the_same() {
    let mut driver = Driver::new();
    driver.hear(ProposerId(2), chosen(5, 2, 6, 7, &[]));
    driver.fire(Timer::CatchUp);
    let (second, _) = fetch_sent(&driver.fire(Timer::CatchUp)).unwrap();
    assert_eq!(second, AcceptorId(3).into());
    // The first answers late: its values count, and nobody else is asked for it.
    let sent = driver.hear(AcceptorId(2), fetched(1, &fillers(1..=2), 6));
    assert_eq!((driver.applied(), fetch_sent(&sent)), (2, None));
    let before = driver.learner.clone();
    driver.hear(AcceptorId(2), fetched(1, &fillers(1..=2), 6));
    assert_eq!(driver.learner, before);
    let sent = driver.hear(AcceptorId(3), fetched(1, &fillers(1..=4), 6));
    assert_eq!(fetch_sent(&sent), Some((AcceptorId(3).into(), fetch(5, 6))));
}

#[test]
fn an_acceptors_held_prefix_tells_what_is_chosen() {
    let mut driver = Driver::new();
    driver.hear(AcceptorId(2), fetched(1, &[filler(1)], 3));
    assert_eq!(driver.learner.status().known, Slot(3));
    assert_eq!(fetch_sent(&driver.fire(Timer::CatchUp)).unwrap().1, fetch(2, 3));
}

#[test]
fn too_much_above_a_gap_is_dropped_and_fetched_again() {
    let one = filler(1).len() as u64 + 64;
    let mut driver = Driver::tuned(|tuning| tuning.learner_buffer_bytes = 3 * one);
    driver.choose(3, &fillers(3..=9));
    driver.choose(1, &fillers(1..=2));
    // Three could wait, and slot 1 was one of them for a moment.
    assert_eq!((driver.applied(), driver.learner.status().known), (4, Slot(9)));
    assert_eq!(fetch_sent(&driver.fire(Timer::CatchUp)), None);
    let (source, what) = fetch_sent(&driver.fire(Timer::CatchUp)).unwrap();
    assert_eq!(what, fetch(5, 9));
    driver.hear(source, fetched(5, &fillers(5..=9), 9));
    assert_eq!(driver.applied(), 9);
}

#[test]
fn peers_are_answered_from_the_tail() {
    let one = filler(1).len() as u64 + 64;
    let mut driver = Driver::tuned(|tuning| tuning.learner_tail_bytes = 2 * one);
    driver.choose(1, &fillers(1..=4));
    let mut ask = |first, last| driver.hear(LearnerId(2), ToLearner::Fetch(fetch(first, last)));
    let answer = |first, values: &[Value]| {
        let (held, floor) = (Slot(4), Slot(3));
        let fetched = Fetched { first: Slot(first), values: values.to_vec(), held, floor };
        vec![(LearnerId(2).into(), Message::Learner(ToLearner::Fetched(fetched)))]
    };
    assert_eq!(ask(3, 99), answer(3, &fillers(3..=4)));
    assert_eq!(ask(2, 4), answer(2, &[]));
    assert_eq!(ask(5, 9), answer(5, &[]));
}

#[test]
fn the_highest_ballot_that_streamed_leads_and_a_deposed_leaders_values_still_count() {
    let mut driver = Driver::new();
    driver.hear(ProposerId(3), chosen(6, 3, 0, 1, &[]));
    driver.choose(1, &[filler(1)]);
    let request = 4;
    let sent = driver.hear(C7, ToLearner::Status { request });
    let status = driver.learner.status();
    assert_eq!((status.leader, status.applied, status.known), (ballot(6, 3), Slot(1), Slot(1)));
    assert_eq!(to_client(&sent, C7), [ToClient::Status { request, status: Status::Learner(status) }]);
}
