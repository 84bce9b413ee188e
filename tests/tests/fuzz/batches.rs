//! Values that were chosen: batches of commands, put together by anybody's client.

use bolero::check;
use bytes::Bytes;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{
    BatchBuilder, Call, Command, Operation, SessionId, commands, count, join, pieces,
};
use synod_protocol::{Slot, Value};
use synod_store::{Applied, MemoryStorage, StateMachine};

use crate::{RANDOM_INPUTS, alone, within};

/// Small, so that short inputs reach them.
const LIMITS: Limits = Limits { key_bytes: 8, value_bytes: 16, session_window: 4, sessions: 3 };
/// A key that is never kept.
const TOO_LONG: [u8; 9] = [9; 9];
/// Memory that applying a slot may take for each byte of its value, and for any value: a reply or a session is kept for a
/// command that takes 28 bytes or more.
const MEMORY_PER_BYTE: usize = 32;
const MEMORY_PER_VALUE: usize = 16 << 10;

/// Looks at a value as proposers do, who cut and join without looking at commands.
fn cut_and_join(value: &Value) {
    let counted = count(value);
    let found = commands(value.bytes()).count();
    for (most_commands, most_bytes) in [(1, usize::MAX), (3, 64), (u32::MAX, 1)] {
        let cut = pieces(value, most_commands, most_bytes);
        assert_eq!(cut.is_some(), counted.is_some());
        let Some(cut) = cut else { continue };
        assert_eq!(cut.iter().map(|(_, count)| *count as usize).sum::<usize>(), found);
        assert!(cut.iter().all(|(piece, own)| count(piece) == Some(*own) && *own <= most_commands));
        assert_eq!(join(cut.into_iter().map(|(piece, _)| piece).collect()), *value);
    }
    match counted {
        Some(counted) => assert_eq!(counted as usize, found),
        // What doesn't add up ends the batch, as one entry that is no command.
        None => assert_eq!(commands(value.bytes()).last(), Some(None)),
    }
}

/// Applies values to two machines, which must stay equal and within their limits.
fn apply(values: &[Value]) {
    let mut machines = [
        StateMachine::new(LIMITS, MemoryStorage::default()),
        StateMachine::new(LIMITS, MemoryStorage::default()),
    ];
    for (slot, value) in (1..).map(Slot).zip(values) {
        let limit = value.len() * MEMORY_PER_BYTE + MEMORY_PER_VALUE;
        let applied = machines.each_mut().map(|machine| within(limit, || machine.apply(slot, value)));
        assert_eq!(applied[0], applied[1]);
        assert_eq!(machines[0], machines[1]);
        stays_within_limits(&machines[0], value, &applied[0]);
    }
}

fn stays_within_limits(machine: &StateMachine<MemoryStorage>, value: &Value, applied: &Applied) {
    assert!(machine.session_count() <= LIMITS.sessions);
    let calls = commands(value.bytes()).filter(|command| matches!(command, Some(Command::Call(_)))).count();
    assert_eq!(applied.replies.len(), calls, "every call is answered");
    for (session, _) in machine.renewals() {
        let sequences: Vec<u64> = (0..64).chain([u64::MAX - 1, u64::MAX]).collect();
        let kept = machine.kept_replies(session, &sequences).count() as u64;
        assert!(kept <= LIMITS.session_window, "{kept} replies are kept for {session}");
    }
    assert_eq!(machine.get(&TOO_LONG), None, "a key beyond the limit is kept");
}

#[test]
fn of_any_bytes() {
    let _alone = alone();
    check!().with_iterations(RANDOM_INPUTS).for_each(|bytes: &[u8]| {
        // Half of it is a value of its own, behind one that opens a session.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let mut opening = BatchBuilder::default();
        opening.push(&Command::Open { nonce: 1 });
        let (opening, _) = opening.finish();
        let values = [bytes, first, second].map(|part| Value::new(Bytes::copy_from_slice(part)));
        values.iter().for_each(cut_and_join);
        apply(&[&[opening], &values[1..]].concat());
    });
}

/// Each eight bytes are a command: of few sessions, with sequences around the window's edges.
#[test]
fn of_commands() {
    let _alone = alone();
    check!().with_iterations(RANDOM_INPUTS).for_each(|bytes: &[u8]| {
        let mut builder = BatchBuilder::default();
        let mut values = Vec::new();
        for word in bytes.chunks_exact(8) {
            builder.push(&command(word));
            if word[0] & 0x80 != 0 {
                values.push(builder.finish().0);
            }
        }
        values.push(builder.finish().0);
        values.iter().for_each(cut_and_join);
        apply(&values);
    });
}

fn command(word: &[u8]) -> Command<'_> {
    let session = SessionId { slot: Slot(u64::from(word[1] % 4)), position: u32::from(word[1] / 4 % 4) };
    let number = |byte: u8| if byte >= 0xf0 { u64::MAX - u64::from(byte & 0xf) } else { u64::from(byte) };
    let key = &word[4..4 + usize::from(word[4] % 4)];
    let operation = match word[0] % 8 {
        0 => return Command::Open { nonce: u128::from(word[1] % 8) },
        1 => return Command::Expire { session, renewed: Slot(number(word[2])) },
        2 => Operation::KeepAlive,
        3 => Operation::Close,
        4 => Operation::Delete { key },
        5 => Operation::Put { key: &TOO_LONG, value: &[] },
        _ => Operation::Put { key, value: &word[..usize::from(word[5] % 9)] },
    };
    Command::Call(Call { session, sequence: number(word[2]), lowest: number(word[3]), operation })
}
