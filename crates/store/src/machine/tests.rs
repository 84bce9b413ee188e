//! Each rule of section 6, one test each: exactly once, refusals, nonces, expiry, window edges, the chain.

mod revisions;

use super::*;
use crate::MemoryStorage;
use bytes::Bytes;
use synod_protocol::command::BatchBuilder;

/// What a put or a delete comes to.
fn put_at(revision: u64) -> Outcome {
    Outcome::Put { revision: Revision(revision) }
}

fn deleted_at(revision: u64) -> Outcome {
    Outcome::Deleted { revision: Some(Revision(revision)) }
}

const NOT_THERE: Outcome = Outcome::Deleted { revision: None };

const LIMITS: Limits = Limits { key_bytes: 4, value_bytes: 8, session_window: 4, sessions: 2 };

type Machine = StateMachine<MemoryStorage>;

fn machine() -> Machine {
    StateMachine::new(LIMITS, MemoryStorage::default())
}

fn batch(commands: &[Command<'_>]) -> Value {
    let mut builder = BatchBuilder::default();
    commands.iter().for_each(|command| builder.push(command));
    builder.finish().0
}

fn apply(machine: &mut Machine, commands: &[Command<'_>]) -> Applied {
    machine.apply(machine.applied().next(), &batch(commands))
}

fn open(machine: &mut Machine, nonce: u128) -> Option<SessionId> {
    apply(machine, &[Command::Open { nonce }]).opened[0].session
}

fn call(session: SessionId, sequence: u64, lowest: u64, operation: Operation<'_>) -> Command<'_> {
    Command::Call(Call { session, sequence, lowest, operation })
}

fn put<'a>(session: SessionId, sequence: u64, key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    call(session, sequence, 1, Operation::Put { key, value })
}

fn value(machine: &Machine, key: &[u8]) -> Option<Bytes> {
    machine.get(key).map(|record| record.value)
}

fn outcome(machine: &mut Machine, command: Command<'_>) -> Outcome {
    apply(machine, &[command]).replies[0].outcome
}

#[test]
fn s7_a_slot_is_applied_only_after_the_one_before_it() {
    for (applied, slot) in [(0, 0), (0, 2), (2, 2), (2, 4)] {
        let mut machine = machine();
        (0..applied).for_each(|_| drop(apply(&mut machine, &[])));
        let panic = std::panic::catch_unwind(move || machine.apply(Slot(slot), &Value::NOOP)).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert_eq!(*text, format!("S7: slot {slot} can't be applied after slot {applied}"));
    }
}

#[test]
fn s9_a_repeated_call_gets_the_identical_reply_and_no_second_effect() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    let first = apply(&mut machine, &[put(s, 1, b"k", b"one")]).replies;
    apply(&mut machine, &[put(s, 2, b"k", b"two")]);
    let again = apply(&mut machine, &[put(s, 1, b"k", b"one")]).replies;
    assert_eq!((first[0].slot, &first), (Slot(2), &again));
    assert_eq!(value(&machine, b"k").as_deref(), Some(b"two".as_slice()));
    let within_a_batch = apply(&mut machine, &[call(s, 3, 1, Operation::Delete { key: b"k" }); 2]).replies;
    assert_eq!(within_a_batch[0].outcome, deleted_at(3));
    assert_eq!(within_a_batch[0], within_a_batch[1]);
}

#[test]
fn operations_say_what_they_did() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    assert_eq!(outcome(&mut machine, put(s, 1, b"", b"")), put_at(1));
    assert_eq!(value(&machine, b"").as_deref(), Some(b"".as_slice()));
    let delete = |sequence| call(s, sequence, 1, Operation::Delete { key: b"" });
    assert_eq!(outcome(&mut machine, delete(2)), deleted_at(2));
    assert_eq!(outcome(&mut machine, delete(3)), NOT_THERE);
    assert_eq!(outcome(&mut machine, call(s, 4, 1, Operation::KeepAlive)), Outcome::Renewed);
    assert_eq!(outcome(&mut machine, call(s, 5, 4, Operation::Close)), Outcome::Closed);
    let refused = Outcome::Refused(Refusal::NoSession);
    assert_eq!(outcome(&mut machine, call(s, 5, 4, Operation::Close)), refused);
    assert_eq!((machine.session_count(), machine.session_of(1)), (0, None));
}

#[test]
fn too_long_keys_and_values_are_refused_and_the_refusal_is_kept() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    let key_limit = Outcome::Refused(Refusal::KeyTooLong { limit: 4 });
    let value_limit = Outcome::Refused(Refusal::ValueTooLong { limit: 8 });
    assert_eq!(outcome(&mut machine, put(s, 1, b"12345", b"v")), key_limit);
    assert_eq!(outcome(&mut machine, call(s, 2, 1, Operation::Delete { key: b"12345" })), key_limit);
    assert_eq!(outcome(&mut machine, put(s, 3, b"1234", b"123456789")), value_limit);
    assert_eq!(outcome(&mut machine, put(s, 4, b"1234", b"12345678")), put_at(1));
    let kept: Vec<_> =
        machine.kept_replies(s, &[3, 9, 1, 2]).map(|reply| (reply.sequence, reply.outcome)).collect();
    assert_eq!(kept, [(3, value_limit), (1, key_limit), (2, key_limit)]);
    assert_eq!(machine.storage().len(), 1);
}

#[test]
fn s9_the_window_runs_from_the_lowest_mark() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    let outside = Outcome::Refused(Refusal::OutsideWindow);
    let keep = |sequence, lowest| call(s, sequence, lowest, Operation::KeepAlive);
    assert_eq!(outcome(&mut machine, keep(0, 0)), outside);
    assert_eq!(outcome(&mut machine, keep(5, 1)), outside);
    assert_eq!(outcome(&mut machine, keep(4, 1)), Outcome::Renewed);
    assert_eq!(outcome(&mut machine, keep(1, 0)), Outcome::Renewed);
    // The mark never falls, and a call may raise it above itself.
    assert_eq!(outcome(&mut machine, keep(5, 2)), Outcome::Renewed);
    assert_eq!(outcome(&mut machine, keep(1, 1)), outside);
    assert_eq!(outcome(&mut machine, keep(6, 1)), outside);
    assert_eq!(outcome(&mut machine, keep(3, 5)), outside);
    let kept: Vec<_> = machine.kept_replies(s, &[1, 2, 3, 4, 5, 6]).map(|reply| reply.sequence).collect();
    assert_eq!(kept, [5]);
    // What was refused for its place is not kept: inside the window it takes effect.
    assert_eq!(outcome(&mut machine, keep(6, 5)), Outcome::Renewed);
    assert_eq!(outcome(&mut machine, keep(u64::MAX, u64::MAX)), Outcome::Renewed);
    assert_eq!(outcome(&mut machine, keep(u64::MAX - 1, 0)), outside);
}

#[test]
fn a_nonce_opens_one_session_while_that_lives() {
    let mut machine = machine();
    let twice = apply(&mut machine, &[Command::Open { nonce: 7 }, Command::Open { nonce: 7 }]).opened;
    let id = SessionId { slot: Slot(1), position: 0 };
    assert_eq!(twice, vec![Opened { nonce: 7, session: Some(id) }; 2]);
    assert_eq!(open(&mut machine, 7), Some(id));
    assert_eq!(machine.renewals().collect::<Vec<_>>(), [(id, Slot(2))]);
    let other = apply(&mut machine, &[Command::Open { nonce: 7 }, Command::Open { nonce: 8 }]).opened;
    assert_eq!(other[1].session, Some(SessionId { slot: Slot(3), position: 1 }));
    // Both places are taken: a third is told so, the first still gets its answer.
    assert_eq!((open(&mut machine, 9), open(&mut machine, 7)), (None, Some(id)));
    apply(&mut machine, &[call(id, 1, 1, Operation::Close)]);
    assert_eq!(open(&mut machine, 7), Some(SessionId { slot: Slot(7), position: 0 }));
}

#[test]
fn expiry_takes_effect_only_at_the_last_renewal() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    let expire = |renewed| Command::Expire { session: s, renewed: Slot(renewed) };
    apply(&mut machine, &[call(s, 1, 1, Operation::KeepAlive)]);
    // A learner that had seen only the opening; a renewal, a repeated and a refused call won the race.
    assert_eq!(apply(&mut machine, &[expire(1)]).expired, []);
    apply(&mut machine, &[call(s, 1, 1, Operation::KeepAlive)]);
    assert_eq!(apply(&mut machine, &[expire(2)]).expired, []);
    apply(&mut machine, &[call(s, 0, 1, Operation::KeepAlive)]);
    assert_eq!(apply(&mut machine, &[expire(4)]).expired, []);
    assert_eq!(apply(&mut machine, &[expire(6), expire(6)]).expired, [s]);
    assert_eq!(apply(&mut machine, &[expire(6)]).expired, []);
    assert_eq!(outcome(&mut machine, put(s, 2, b"k", b"v")), Outcome::Refused(Refusal::NoSession));
    assert!(!machine.is_open(s) && machine.get(b"k").is_none());
    assert_ne!(open(&mut machine, 1), Some(s));
}

#[test]
fn garbage_is_skipped_alone_and_counts_in_position_and_chain() {
    let mut opening = BatchBuilder::default();
    opening.push(&Command::Open { nonce: 1 });
    let garbage: &[u8] = &[3, 0, 0, 0, 250, 250, 250];
    let broken = [garbage, opening.finish().0.bytes(), &[9, 0, 0, 0, 1]].concat();
    let mut machine = machine();
    let opened = machine.apply(Slot(1), &Value::new(broken.into())).opened;
    assert_eq!(opened[0].session, Some(SessionId { slot: Slot(1), position: 1 }));
    let mut clean = self::machine();
    open(&mut clean, 1);
    assert_ne!(machine.chain(), clean.chain());
}

#[test]
fn a_noop_changes_only_slot_and_chain() {
    let mut machine = machine();
    open(&mut machine, 1);
    let before = machine.clone();
    assert_eq!(machine.apply(Slot(2), &Value::NOOP), Applied::default());
    assert_ne!(machine.chain(), before.chain());
    let Head { applied, chain, .. } = before.head;
    assert_eq!(Machine { head: Head { applied, chain, ..machine.head }, ..machine }, before);
}

#[test]
fn s7_equal_logs_have_equal_chains_and_other_logs_differ_from_their_first_difference_on() {
    let s = SessionId { slot: Slot(1), position: 0 };
    let log = |third: &'static [u8]| {
        let puts = [put(s, 1, b"a", b"1"), put(s, 2, b"b", third), put(s, 3, b"c", b"3")];
        let mut machine = machine();
        let mut chains = vec![machine.chain()];
        open(&mut machine, 1);
        chains.push(machine.chain());
        for command in puts {
            apply(&mut machine, &[command]);
            chains.push(machine.chain());
        }
        chains
    };
    let (one, same, other) = (log(b"2"), log(b"2"), log(b"x"));
    assert_eq!(one, same);
    assert_eq!(one[..3], other[..3]);
    assert!((3..5).all(|at| one[at] != other[at]));
}

#[test]
fn s7_chains_differ_where_only_replies_do() {
    let run = |key_bytes| {
        let mut machine = StateMachine::new(Limits { key_bytes, ..LIMITS }, MemoryStorage::default());
        let s = open(&mut machine, 1).unwrap();
        apply(&mut machine, &[call(s, 1, 1, Operation::Delete { key: b"1234" })]);
        (machine.storage().len(), machine.chain())
    };
    let ((keys, one), (same_keys, other)) = (run(4), run(3));
    assert_eq!(keys, same_keys);
    assert_ne!(one, other);
}

#[test]
fn golden_chain_of_a_small_log() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    apply(&mut machine, &[put(s, 1, b"a", b"1"), put(s, 2, b"b", b"2")]);
    apply(&mut machine, &[call(s, 3, 2, Operation::Delete { key: b"a" }), Command::Open { nonce: 2 }]);
    apply(&mut machine, &[Command::Expire { session: s, renewed: Slot(3) }, put(s, 4, b"c", b"3")]);
    machine.apply(Slot(5), &Value::new(Bytes::from_static(&[1, 0, 0, 0, 99])));
    let chain = format!("{:016x}", machine.chain());
    assert_eq!(chain, "d37a998365804c88", "a changed chain makes old and new releases disagree");
}
