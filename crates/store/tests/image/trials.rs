//! The trials of images; also run with bugs planted.

use std::cell::Cell;

use bytes::Bytes;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{BatchBuilder, Call, Command, Operation, Outcome, Refusal, SessionId, Stamp};
use synod_protocol::{Revision, Slot};
use synod_store::{Builder, Chunk, Cursor, Image, ImageError, MemorySnapshot, MemoryStorage, StateMachine};

use super::support::{LIMITS, Log, Random};

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

/// How many states were built of images since the last call.
pub(crate) fn take_runs() -> u64 {
    RUNS.take()
}

type Machine = StateMachine<MemoryStorage>;

fn new() -> Machine {
    StateMachine::new(LIMITS, MemoryStorage::default())
}

fn chunks(mut make: impl FnMut(&Cursor) -> Chunk) -> Vec<Bytes> {
    let (mut chunks, mut at) = (Vec::new(), Some(Cursor::start()));
    while let Some(cursor) = at {
        let Chunk { bytes, next } = make(&cursor);
        assert!(next.as_ref().is_none_or(|next| *next > cursor && next.items() > cursor.items()));
        chunks.push(bytes);
        at = next;
    }
    chunks
}

fn chunks_of(image: &Image<MemorySnapshot>, most_bytes: u64) -> Vec<Bytes> {
    chunks(|at| image.chunk(at, most_bytes))
}

fn build(base: Option<Machine>, chunks: &[Bytes]) -> Result<Machine, ImageError> {
    RUNS.set(RUNS.get() + 1);
    let mut builder = match base {
        None => Builder::new(LIMITS, MemoryStorage::default()),
        Some(machine) => Builder::on(machine),
    };
    chunks.iter().try_for_each(|chunk| builder.take(chunk))?;
    builder.finish()
}

fn machine_at(log: &mut Log, slots: u64) -> Machine {
    let mut machine = new();
    run(&mut machine, log, slots);
    machine
}

fn run(machine: &mut Machine, log: &mut Log, slots: u64) {
    for _ in 0..slots {
        let (slot, value) = log.slot();
        machine.apply(slot, &value);
    }
}

/// Images at random slots, in chunks of random sizes, and changes between any two of them; the rest of the log on top.
pub(crate) fn a_random_log(seed: u64) {
    let (mut log, mut random) = (Log::new(seed), Random(!seed));
    let mut machine = new();
    let mut taken: Vec<(Image<MemorySnapshot>, Machine)> = Vec::new();
    let mut copies: Vec<Machine> = Vec::new();
    for _ in 0..200 {
        let (slot, value) = log.slot();
        let applied = machine.apply(slot, &value);
        for copy in &mut copies {
            assert_eq!(copy.apply(slot, &value), applied, "I10: a state built of an image goes another way");
        }
        if random.below(25) == 0 {
            let image = machine.image();
            let most_bytes = [1, 100, 1_000, 1 << 20][random.below(4) as usize];
            assert_eq!((image.applied(), image.chain()), (machine.applied(), machine.chain()));
            let chunks = chunks_of(&image, most_bytes);
            copies.push(build(None, &chunks).expect("I10: an image becomes a state"));
            taken.push((image, machine.clone()));
        }
    }
    assert!(copies.iter().all(|copy| *copy == machine), "I10: a state built of an image differs");
    for (at, (newer, state)) in taken.iter().enumerate() {
        for (older, before) in &taken[..=at] {
            let changes = newer.changes_since(&older.mark());
            let chunks = chunks(|at| changes.chunk(at, 1 + random.below(2_000)));
            let built = build(Some(before.clone()), &chunks).expect("I10: changes become a state");
            assert!(built == *state, "I10: a state built of changes differs");
        }
    }
}

/// Chunks of each size, and what they hold.
pub(crate) fn sizes_of_chunks() {
    let image = machine_at(&mut Log::new(3), 300).image();
    let whole = chunks_of(&image, u64::MAX);
    assert_eq!(whole.len(), 1);
    let alone = chunks_of(&image, 0);
    let chunked = chunks_of(&image, 500);
    assert!(alone.len() > chunked.len() && chunked.len() > 5);
    let largest = alone.iter().map(Bytes::len).max().unwrap();
    assert!(chunked.iter().all(|chunk| chunk.len() <= largest.max(500)));
    let content =
        |chunks: &[Bytes]| -> Vec<u8> { chunks.iter().flat_map(|chunk| chunk[16..].to_vec()).collect() };
    assert!(
        content(&whole) == content(&alone) && content(&whole) == content(&chunked),
        "digests don't depend on cuts"
    );
}

/// Every chunk is missing, repeated, swapped or of another image, once.
pub(crate) fn every_disorder() {
    let mut log = Log::new(5);
    let mut machine = machine_at(&mut log, 100);
    let image = chunks_of(&machine.image(), 300);
    let state = build(None, &image).unwrap();
    run(&mut machine, &mut log, 1);
    let later = chunks_of(&machine.image(), 300);
    for at in 0..image.len() {
        let mut missing = image.clone();
        missing.remove(at);
        let mut repeated = image.clone();
        repeated.insert(at, image[at].clone());
        assert!(build(None, &missing).is_err() && build(None, &repeated).is_err(), "chunk {at}");
        if at > 0 {
            let mut swapped = image.clone();
            swapped.swap(at, at - 1);
            let foreign = [&image[..at], &later[at..]].concat();
            assert!(build(None, &swapped).is_err() && build(None, &foreign).is_err(), "chunk {at}");
        }
    }
    let other = Limits { sessions: 5, ..LIMITS };
    let refused = Builder::new(other, MemoryStorage::default()).take(&image[0]).unwrap_err();
    assert_eq!(refused, ImageError::OtherLimits);
    let refused = build(Some(state.clone()), &image).unwrap_err();
    assert!(
        matches!(refused, ImageError::OtherBase { .. }),
        "an image of everything on top of a state: {refused}"
    );
    let (older, newer) = (state.image(), machine.image());
    let changes = newer.changes_since(&older.mark());
    let changes = chunks(|at| changes.chunk(at, 300));
    assert_eq!(build(Some(state), &changes).unwrap(), machine);
    let refused = build(None, &changes).unwrap_err();
    assert!(matches!(refused, ImageError::OtherBase { .. }), "changes on top of nothing: {refused}");
}

/// The image is cut at every byte, and changed in every bit.
pub(crate) fn every_cut_and_bit() {
    let mut machine = new();
    let mut log = Log::new(8);
    while machine.session_count() < 2 || machine.image().key_count() < 4 {
        run(&mut machine, &mut log, 1);
    }
    let whole = chunks_of(&machine.image(), u64::MAX).remove(0);
    assert!(build(None, std::slice::from_ref(&whole)).unwrap() == machine);
    for cut in 0..whole.len() {
        assert!(build(None, &[whole.slice(..cut)]).is_err(), "cut at {cut}");
    }
    for bit in 0..8 * whole.len() {
        let mut damaged = whole.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(build(None, &[damaged.into()]).is_err(), "bit {bit} changed");
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert!(build(None, &[longer.into()]).is_err());
}

/// The image of a state into which a backup is being restored; and what such a state takes.
pub(crate) fn a_restore_under_way() {
    let mut machine = new();
    let session = SessionId { slot: Slot(1), position: 0 };
    let call = |machine: &mut Machine, sequence, operation| {
        let mut builder = BatchBuilder::default();
        builder.push(&Command::Open { nonce: 1 });
        builder.push(&Command::Call(Call { session, sequence, lowest: sequence, operation }));
        machine.apply(machine.applied().next(), &builder.finish().0).replies[0].outcome
    };
    let stamp = Stamp { created: Revision(3), modified: Revision(9), version: 2 };
    let restore = |key, backup| Operation::Restore { key, value: b"v", stamp, backup };
    let end = |backup| Operation::RestoreEnd { revision: Revision(9), backup };
    assert_eq!(call(&mut machine, 1, restore(b"k", 5)), Outcome::Restored);
    let mut copy = build(None, &chunks_of(&machine.image(), 100)).unwrap();
    assert!(copy == machine, "a restore under way is part of the image");
    for machine in [&mut machine, &mut copy] {
        let put = call(machine, 2, Operation::Put { key: b"k", value: b"w" });
        assert_eq!(put, Outcome::Refused(Refusal::Restoring), "a write while a backup is being restored");
        let other = Outcome::Refused(Refusal::OtherBackup { backup: 5 });
        assert_eq!(call(machine, 3, restore(b"j", 6)), other, "another backup's record in a restore");
        assert_eq!(call(machine, 4, end(6)), other, "another backup's end of a restore");
        assert_eq!(call(machine, 5, end(5)), Outcome::Restored);
        let put = call(machine, 6, Operation::Put { key: b"k", value: b"w" });
        assert_eq!(put, Outcome::Put { revision: Revision(10) });
        let created = machine.get(b"k").map(|record| (record.created, record.version));
        assert_eq!(created, Some((Revision(3), 3)), "a put keeps when its key was made");
    }
    assert!(copy == machine);
}
