//! S9 as clients see it: attachments, replies, forwarded commands, expiry.

use super::*;
use synod_protocol::command::{Opened, Outcome, Refusal, Reply};
use synod_protocol::message::{Attach, AttachState, NotTaken, Propose};

fn attach(session: SessionId, pending: &[u64]) -> ToLearner {
    ToLearner::Attach(Attach::Session { session, pending: pending.to_vec() })
}

fn attached(session: impl Into<Option<SessionId>>, state: AttachState) -> ToClient {
    ToClient::Attached { session: session.into(), state }
}

fn reply(session: SessionId, sequence: u64, slot: u64, outcome: Outcome) -> Reply {
    Reply { session, sequence, slot: Slot(slot), outcome }
}

fn propose(tag: u64, commands: Value) -> ToLearner {
    ToLearner::Forward(Propose { tag, commands })
}

fn put_at(revision: u64) -> Outcome {
    Outcome::Put { revision: synod_protocol::Revision(revision) }
}

/// The one Propose that was sent, and to whom.
fn proposed(sent: &Sent) -> (NodeId, Propose) {
    match sent.as_slice() {
        [(to, Message::Proposer(ToProposer::Propose(propose)))] => (*to, propose.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn s9_replies_go_to_the_attached_client_once_a_batch_and_again_when_it_attaches_again() {
    let mut driver = Driver::new();
    let s = driver.open(1);
    assert_eq!(to_client(&driver.hear(C7, attach(s, &[])), C7), [attached(s, AttachState::Open)]);
    let puts = [batch(&[put(s, 1, b"a", b"1"), put(s, 2, b"b", b"2")]), batch(&[put(s, 1, b"a", b"1")])];
    let sent = driver.choose(2, &puts);
    let (first, second) = (reply(s, 1, 2, put_at(1)), reply(s, 2, 2, put_at(2)));
    let expected = [ToClient::Replies(vec![first.clone(), second.clone(), first.clone()])];
    assert_eq!((to_client(&sent, C7), sent.len()), (expected.to_vec(), 1));
    let sent = driver.hear(C8, attach(s, &[9, 2, 1]));
    assert_eq!(
        to_client(&sent, C8),
        [attached(s, AttachState::Open), ToClient::Replies(vec![second, first])]
    );
}

#[test]
fn a_later_attach_wins_and_outlives_the_earlier_client() {
    let mut driver = Driver::new();
    let s = driver.open(1);
    driver.hear(C7, attach(s, &[]));
    driver.hear(C8, attach(s, &[]));
    driver.link(C7, false);
    let sent = driver.choose(2, &[batch(&[put(s, 1, b"a", b"1")])]);
    assert_eq!((to_client(&sent, C7).len(), to_client(&sent, C8).len()), (0, 1));
    driver.link(C8, false);
    assert_eq!(driver.choose(3, &[batch(&[put(s, 2, b"a", b"1")])]), []);
    assert_eq!(driver.learner.attachments, Attachments::new(200_000));
}

#[test]
fn a_session_above_the_applied_slot_is_behind_until_its_slot_is_applied() {
    let mut driver = Driver::new();
    let (opened, never) =
        (SessionId { slot: Slot(2), position: 0 }, SessionId { slot: Slot(2), position: 1 });
    for session in [opened, never] {
        let sent = driver.hear(C7, attach(session, &[1]));
        assert_eq!(to_client(&sent, C7), [attached(session, AttachState::Behind)]);
    }
    assert_eq!(driver.choose(1, &[filler(1)]), []);
    let sent = driver.choose(2, &[batch(&[Command::Open { nonce: 1 }])]);
    assert_eq!(
        to_client(&sent, C7),
        [attached(opened, AttachState::Open), attached(never, AttachState::Ended)]
    );
    let sent = driver.choose(3, &[batch(&[put(opened, 1, b"a", b"1")])]);
    assert_eq!(to_client(&sent, C7), [ToClient::Replies(vec![reply(opened, 1, 3, put_at(1))])]);
    assert_eq!(to_client(&driver.hear(C7, attach(never, &[])), C7), [attached(never, AttachState::Ended)]);
}

#[test]
fn an_opening_is_answered_when_it_is_applied_or_at_once_if_it_was() {
    let mut driver = Driver::new();
    let ask = || ToLearner::Attach(Attach::Nonce(5));
    assert_eq!(to_client(&driver.hear(C7, ask()), C7), [attached(None, AttachState::Behind)]);
    let open = batch(&[Command::Open { nonce: 5 }, Command::Open { nonce: 6 }]);
    let session = SessionId { slot: Slot(1), position: 0 };
    let opened = ToClient::Opened(Opened { nonce: 5, session: Some(session) });
    assert_eq!(driver.choose(1, &[open]), [(C7.into(), Message::Client(opened.clone()))]);
    let sent = driver.choose(2, &[batch(&[put(session, 1, b"a", b"1")])]);
    assert_eq!(to_client(&sent, C7).len(), 1);
    assert_eq!(to_client(&driver.hear(C8, ask()), C8), [attached(None, AttachState::Open), opened]);
    let sent = driver.choose(3, &[batch(&[put(session, 2, b"a", b"1")])]);
    assert_eq!((to_client(&sent, C7).len(), to_client(&sent, C8).len()), (0, 1));
}

#[test]
fn a_full_cluster_is_told_to_whoever_wanted_a_session() {
    let mut driver = Driver::new();
    driver.learner = Learner::new(
        Config { limits: Limits { sessions: 1, ..Limits::default() }, ..driver.learner.config.clone() },
        MemoryStorage::default(),
    );
    driver.hear(C7, ToLearner::Attach(Attach::Nonce(6)));
    let sent = driver.choose(1, &[batch(&[Command::Open { nonce: 5 }, Command::Open { nonce: 6 }])]);
    assert_eq!(to_client(&sent, C7), [ToClient::Opened(Opened { nonce: 6, session: None })]);
    // Attachments are bounded too: two of them here.
    let far = |position| SessionId { slot: Slot(9), position };
    for (position, answers) in [(0, 1), (1, 1), (2, 0)] {
        assert_eq!(driver.hear(C7, attach(far(position), &[])).len(), answers, "{position}");
    }
    assert_eq!(driver.hear(C8, ToLearner::Attach(Attach::Nonce(7))), []);
}

#[test]
fn the_end_of_a_session_is_told_after_its_last_replies() {
    let mut driver = Driver::new();
    let (closed, expired) = (driver.open(1), driver.open(2));
    driver.hear(C7, attach(closed, &[]));
    driver.hear(C7, attach(expired, &[]));
    let close = Call { session: closed, sequence: 1, lowest: 1, operation: Operation::Close };
    let expire = Command::Expire { session: expired, renewed: Slot(3) };
    let commands = [Command::Call(close), put(closed, 2, b"a", b"1"), put(expired, 1, b"a", b"1"), expire];
    let sent = driver.choose(3, &[batch(&commands)]);
    let replies = vec![reply(closed, 1, 3, Outcome::Closed), reply(expired, 1, 3, put_at(1))];
    assert_eq!(to_client(&sent, C7), [ToClient::Replies(replies), attached(expired, AttachState::Ended)]);
    assert_eq!(driver.learner.attachments.client(closed), None);
    assert!(driver.learner.machine.kept_replies(expired, &[1]).next().is_none());
}

#[test]
fn refusals_are_replies_like_any_other() {
    let mut driver = Driver::new();
    let s = driver.open(1);
    driver.hear(C7, attach(s, &[]));
    let sent = driver.choose(2, &[batch(&[put(s, 0, b"a", b"1")])]);
    let refused = reply(s, 0, 2, Outcome::Refused(Refusal::OutsideWindow));
    assert_eq!(to_client(&sent, C7), [ToClient::Replies(vec![refused])]);
}

#[test]
fn many_replies_are_split_to_fit_frames() {
    let mut outgoing = Outgoing::new(1);
    let s = SessionId { slot: Slot(1), position: 0 };
    (0..70_000).for_each(|sequence| outgoing.reply(C7, reply(s, sequence, 2, put_at(1))));
    let mut effects = Effects::default();
    outgoing.flush(&mut effects);
    let sent = effects.release(&mut NothingToPersist).unwrap().messages;
    let (mut frame, mut sequence) = (Vec::new(), 0);
    for (_, message) in &sent {
        frame.clear();
        synod_protocol::wire::encode_frame(message, &mut frame, &mut |_| {});
        assert!(frame.len() <= synod_protocol::wire::CAP_CLIENT / 2);
        let Message::Client(ToClient::Replies(replies)) = message else { panic!("{message:?}") };
        for reply in replies {
            assert_eq!(reply.sequence, sequence);
            sequence += 1;
        }
    }
    assert_eq!((sent.len(), sequence), (2, 70_000));
}

#[test]
fn commands_are_forwarded_to_the_leader_and_a_refusal_finds_its_client() {
    let mut driver = Driver::new();
    driver.choose(1, &[filler(1)]);
    let first = proposed(&driver.hear(C7, propose(3, filler(8))));
    let second = proposed(&driver.hear(C8, propose(3, filler(9))));
    assert_eq!((first.0, &first.1.commands), (ProposerId(2).into(), &filler(8)));
    assert_ne!(first.1.tag, second.1.tag);
    let reason = NotTaken::Busy { retry_ms: 5 };
    let refused = ToLearner::Refused { tag: second.1.tag, reason };
    let sent = driver.hear(ProposerId(2), refused.clone());
    assert_eq!(sent, [(C8.into(), Message::Client(ToClient::Refused { tag: 3, reason }))]);
    assert_eq!(driver.hear(ProposerId(2), refused), [], "told once");
    assert_eq!(driver.hear(ProposerId(2), ToLearner::Refused { tag: 1, reason }), [], "of an earlier life");
}

#[test]
fn commands_are_refused_without_a_leader_and_when_their_lengths_do_not_add_up() {
    let mut driver = Driver::new();
    let refused = |tag, reason| vec![(C7.into(), Message::Client(ToClient::Refused { tag, reason }))];
    let nobody = NotTaken::NotLeader { leader: None };
    assert_eq!(driver.hear(C7, propose(1, filler(8))), refused(1, nobody));
    driver.choose(1, &[filler(1)]);
    let cut = Value::new(filler(8).bytes().slice(..5));
    assert_eq!(driver.hear(C7, propose(2, cut)), refused(2, NotTaken::Malformed));
    assert_eq!(driver.hear(C7, propose(3, Value::NOOP)), refused(3, NotTaken::Malformed));
    driver.link(ProposerId(2), false);
    assert_eq!(driver.hear(C7, propose(4, filler(8))), refused(4, nobody));
}

#[test]
fn idle_sessions_are_proposed_to_expire_after_their_whole_time() {
    let mut driver = Driver::tuned(|tuning| tuning.session_ttl_ms = 1001);
    let (idle, busy) = (driver.open(1), driver.open(2));
    for sweep in 0..4 {
        assert_eq!(driver.timers[&Timer::Sweep], Delay::exactly(251));
        assert_eq!(driver.fire(Timer::Sweep), [], "sweep {sweep}");
        driver.choose(3 + sweep, &[batch(&[put(busy, 1, b"a", b"1")])]);
    }
    let (to, propose) = proposed(&driver.fire(Timer::Sweep));
    let expire = batch(&[Command::Expire { session: idle, renewed: Slot(1) }]);
    assert_eq!((to, &propose.commands), (ProposerId(2).into(), &expire));
    // Refused or lost, it is proposed again; without a leader it waits.
    driver.hear(ProposerId(2), ToLearner::Refused { tag: propose.tag, reason: NotTaken::Malformed });
    driver.link(ProposerId(2), false);
    assert_eq!(driver.fire(Timer::Sweep), []);
    driver.link(ProposerId(2), true);
    assert_eq!(proposed(&driver.fire(Timer::Sweep)).1.commands, expire);
    driver.choose(7, &[expire]);
    assert_eq!((driver.learner.status().sessions, driver.fire(Timer::Sweep)), (1, vec![]));
}
