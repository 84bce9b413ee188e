//! The three ways a call ends, each with the case that makes it so.

use super::*;
use synod_protocol::command::Refusal;
use synod_protocol::message::AttachState;

#[test]
fn nobody_there_is_a_failure_for_certain() {
    let mut bench = Bench::new();
    bench.dead = cluster().nodes().map(|(node, _)| node).collect();
    bench.put(1, "a");
    bench.pass(ms(4_990));
    assert_eq!(bench.ended(), vec![]);
    bench.pass(ms(20));
    assert!(is_no_quorum(&bench.ended(), 1));
}

#[test]
fn a_call_whose_session_never_opened_was_never_sent() {
    let mut bench = Bench::new();
    bench.put(1, "a");
    bench.pass(ms(5_001));
    assert!(bench.proposals().iter().all(|(.., told)| told == &[call(0, 0, "open")]));
    assert!(is_no_quorum(&bench.ended(), 1));
}

#[test]
fn a_call_that_everybody_refused_failed_for_certain() {
    let mut bench = Bench::open();
    bench.put(1, "a");
    let end = bench.now + ms(5_001);
    let mut asked = BTreeSet::new();
    while bench.now < end {
        bench.pass(ms(5));
        for (to, tag, _) in bench.proposals() {
            asked.insert(to);
            bench.not_leader(to, tag, None);
        }
    }
    assert_eq!(asked.len(), 3, "every proposer was asked");
    assert!(is_no_quorum(&bench.ended(), 1));
}

#[test]
fn a_call_that_was_sent_and_not_answered_is_unknown_and_fenced_at_once() {
    let mut bench = Bench::open();
    bench.put(1, "a");
    bench.pass(ms(4_900));
    let sent = bench.proposals();
    assert!(sent.len() > 2 && sent.iter().all(|(.., told)| told == &[call(2, 2, "a")]));
    bench.pass(ms(101));
    assert_eq!(bench.ended(), vec![(1, Err(CallError::Unknown))]);
    let fences = bench.proposals();
    assert_eq!(fences[0].2, vec![call(3, 3, "keep alive")], "the mark has passed 2");
    bench.reply(2, PUT);
    assert_eq!(bench.ended(), vec![], "too late");
}

#[test]
fn one_refusal_of_two_copies_leaves_a_call_unknown() {
    let mut bench = Bench::open();
    bench.put(1, "a");
    bench.pass(ms(150));
    let sent = bench.proposals();
    assert_eq!(sent.len(), 2);
    for (to, tag, _) in sent.into_iter().skip(1) {
        bench.not_leader(to, tag, None);
    }
    let end = bench.now + ms(5_000);
    while bench.now < end {
        bench.pass(ms(5));
        for (to, tag, _) in bench.proposals() {
            bench.not_leader(to, tag, None);
            bench.not_leader(to, tag, None);
        }
    }
    assert_eq!(bench.ended(), vec![(1, Err(CallError::Unknown))]);
}

#[test]
fn a_late_refusal_of_every_copy_makes_it_a_failure() {
    let mut bench = Bench::open();
    bench.put(1, "a");
    bench.pass(ms(4_000));
    let end = bench.now + ms(1_500);
    while bench.now < end {
        for (to, tag, _) in bench.proposals() {
            bench.not_leader(to, tag, None);
        }
        bench.pass(ms(5));
    }
    assert!(is_no_quorum(&bench.ended(), 1));
}

#[test]
fn busy_is_honoured_and_told_at_the_deadline() {
    let mut bench = Bench::open();
    bench.put(1, "a");
    bench.step();
    let (to, tag, _) = bench.proposals().remove(0);
    bench.refuse(to, tag, NotTaken::Busy { retry_ms: 600 });
    bench.put(2, "b");
    bench.pass(ms(599));
    assert_eq!(bench.proposals(), Vec::new());
    let (again, tag, calls) = loop {
        bench.pass(ms(1));
        if let Some(proposal) = bench.proposals().pop() {
            break proposal;
        }
    };
    assert_eq!((again, calls), (to, vec![call(2, 2, "a"), call(3, 2, "b")]));
    bench.refuse(to, tag, NotTaken::Busy { retry_ms: 100_000 });
    bench.pass(ms(5_000));
    let busy = || Err(Failure::Busy.into());
    assert_eq!(bench.ended(), vec![(1, busy()), (2, busy())]);
}

#[test]
fn too_long_is_refused_here_and_there() {
    let mut bench = Bench::open();
    let limit = Refusal::ValueTooLong { limit: 1_000 };
    bench.put(1, &"x".repeat(1_001));
    bench.put(2, &"x".repeat(1_000));
    bench.step();
    assert_eq!(bench.ended(), vec![(1, Err(Failure::Refused(limit).into()))]);
    bench.reply(2, Outcome::Refused(limit));
    assert_eq!(bench.ended(), vec![(2, Err(Failure::Refused(limit).into()))]);
}

#[test]
fn too_many_sessions_is_told_and_nothing_was_sent() {
    let mut bench = Bench::new();
    bench.put(1, "a");
    let end = bench.now + ms(5_001);
    while bench.now < end {
        bench.pass(ms(20));
        if !bench.proposals().is_empty() {
            let full = Opened { nonce: 50, session: None };
            bench.tell(bench.home(), ToClient::Opened(full));
        }
    }
    assert_eq!(bench.ended(), vec![(1, Err(Failure::TooManySessions.into()))]);
}

#[test]
fn s9_what_an_ended_session_may_have_done_is_unknown_and_the_rest_moves() {
    let mut bench = Bench::open();
    (1..=5).for_each(|ticket| bench.put(ticket, &ticket.to_string()));
    bench.step();
    assert_eq!(bench.proposals()[0].2.len(), 4, "the fifth lies outside the window");
    let ended = ToClient::Attached { session: Some(SESSION), state: AttachState::Ended };
    bench.tell(bench.home(), ended.clone());
    let unknown = |ticket| (ticket, Err(CallError::Unknown));
    assert_eq!(bench.ended(), vec![unknown(1), unknown(2), unknown(3), unknown(4)]);
    assert_eq!(bench.proposals()[0].2, vec![call(0, 0, "open")]);
    bench.tell(bench.home(), ended);
    bench.opened();
    assert_eq!(bench.proposals()[0].2, vec![call(1, 1, "5")]);
}

#[test]
fn a_session_that_may_have_expired_is_asked_for_before_anything_is_sent_in_it() {
    let mut bench = Bench::open();
    bench.dead = cluster().nodes().map(|(node, _)| node).collect();
    for node in bench.dead.clone() {
        bench.session.on_link_down(node, "closed".into(), bench.now);
    }
    bench.pass(ms(70_000));
    bench.dead.clear();
    bench.sent.clear();
    bench.put(1, "a");
    bench.pass(ms(600));
    assert_eq!(bench.proposals(), Vec::new());
    let (home, attach) = bench.attachments().pop().unwrap();
    assert_eq!(attach, Attach::Session { session: SESSION, pending: vec![] });
    bench.tell(home, ToClient::Attached { session: Some(SESSION), state: AttachState::Ended });
    assert_eq!(bench.proposals()[0].2, vec![call(0, 0, "open")]);
    bench.opened();
    assert_eq!(bench.proposals()[0].2, vec![call(1, 1, "a")]);
    assert_eq!(bench.ended(), vec![]);
}

#[test]
fn s9_a_single_copy_that_found_no_session_goes_into_a_fresh_one() {
    let mut bench = Bench::open();
    bench.put(1, "a");
    bench.put(2, "b");
    bench.step();
    let refused = |sequence| {
        let outcome = Outcome::Refused(Refusal::NoSession);
        Reply { session: SESSION, sequence, slot: Slot(9), outcome }
    };
    bench.tell(bench.home(), ToClient::Replies(vec![refused(2), refused(3)]));
    assert_eq!(bench.ended(), vec![]);
    bench.proposals();
    bench.opened();
    assert_eq!(bench.proposals()[0].2, vec![call(1, 1, "a"), call(2, 1, "b")]);
    // With a second copy under way nobody can tell.
    bench.pass(ms(150));
    bench.tell(bench.home(), ToClient::Replies(vec![refused(1)]));
    assert_eq!(bench.ended(), vec![(1, Err(CallError::Unknown)), (2, Err(CallError::Unknown))]);
}

#[test]
fn reads_fail_for_certain_and_are_never_unknown() {
    let mut bench = Bench::new();
    bench.get(1);
    bench.pass(ms(5_001));
    assert!(is_no_quorum(&bench.ended(), 1));
}
