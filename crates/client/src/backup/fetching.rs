//! Which chunk of a snapshot is asked for next, and of whom. Plain state, no I/O.
//!
//! Whoever fetches keeps the place: slot and cursor. When a learner goes away, the next one is asked for the same place; only a learner that
//! keeps a snapshot of the very same slot can go on, and no chunk of another slot is ever taken. If none can, after every learner was asked
//! twice, what has come is thrown away and a new snapshot is begun, a few times.

use bytes::Bytes;
use synod_protocol::message::{SnapshotChunk, SnapshotFetch};
use synod_protocol::{LearnerId, Slot};

/// How often every learner is asked in vain for a place, before the transfer starts over or gives up.
const ROUNDS: usize = 2;
/// How often a transfer starts over before it gives up.
const STARTS: u32 = 5;

/// A transfer of a snapshot to this client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetching {
    learners: Vec<LearnerId>,
    /// Whose turn it is.
    turn: usize,
    /// A snapshot of an older slot isn't wanted.
    least: Slot,
    /// The slot of the snapshot, once the first chunk has come.
    slot: Option<Slot>,
    /// Where the next chunk begins.
    cursor: Bytes,
    /// Asked in vain since a chunk last came.
    vain: usize,
    starts: u32,
}

/// What becomes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// It is the next part.
    Part,
    /// It is the last part.
    Last,
    /// Repeated, or of another slot or place.
    Stale,
    /// Its checksum isn't that of its content.
    Damaged,
}

/// What follows when nobody answered as hoped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask the next learner at once.
    Ask,
    /// Ask the next learner after a pause: each was asked.
    AskLater,
    /// Throw away what has come, and ask for a new snapshot.
    StartOver,
    /// No learner can give one.
    GiveUp,
}

impl Fetching {
    /// Asks these learners, of which there is at least one, for a snapshot of `least` or a later slot.
    pub(crate) fn new(learners: Vec<LearnerId>, first: usize, least: Slot) -> Fetching {
        assert!(!learners.is_empty(), "a cluster file has learners");
        let turn = first % learners.len();
        Fetching { learners, turn, least, slot: None, cursor: Bytes::new(), vain: 0, starts: 0 }
    }

    /// Who is to be asked.
    pub(crate) fn whom(&self) -> LearnerId {
        self.learners[self.turn]
    }

    /// What it is to be asked for.
    pub(crate) fn request(&self) -> SnapshotFetch {
        SnapshotFetch { slot: self.slot, least: self.least, cursor: self.cursor.clone() }
    }

    /// Takes a chunk in, if it is the one that was asked for.
    pub(crate) fn on_chunk(&mut self, chunk: &SnapshotChunk) -> Took {
        let wanted = self.slot.map_or(chunk.slot >= self.least, |slot| slot == chunk.slot);
        if !wanted || chunk.cursor != self.cursor {
            return Took::Stale;
        }
        if !chunk.is_sound() {
            return Took::Damaged;
        }
        (self.slot, self.vain) = (Some(chunk.slot), 0);
        match &chunk.next {
            Some(next) => {
                self.cursor = next.clone();
                Took::Part
            }
            None => Took::Last,
        }
    }

    /// Whoever was asked doesn't answer, has no such snapshot, or sent a damaged chunk.
    pub(crate) fn on_trouble(&mut self) -> Next {
        self.turn = (self.turn + 1) % self.learners.len();
        self.vain += 1;
        if self.vain < ROUNDS * self.learners.len() {
            return if self.vain.is_multiple_of(self.learners.len()) { Next::AskLater } else { Next::Ask };
        }
        if self.slot.is_none() { Next::GiveUp } else { self.start_over() }
    }

    /// What has come is no good.
    pub(crate) fn start_over(&mut self) -> Next {
        (self.slot, self.cursor, self.vain) = (None, Bytes::new(), 0);
        self.starts += 1;
        if self.starts < STARTS { Next::StartOver } else { Next::GiveUp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learners() -> Vec<LearnerId> {
        vec![LearnerId(1), LearnerId(2), LearnerId(3)]
    }

    fn chunk(slot: u64, cursor: &'static [u8], next: Option<&'static [u8]>) -> SnapshotChunk {
        let (slot, bytes) = (Slot(slot), Bytes::from_static(b"part"));
        let checksum = SnapshotChunk::checksum(slot, cursor, &bytes, next);
        let (cursor, next) = (Bytes::from_static(cursor), next.map(Bytes::from_static));
        SnapshotChunk { slot, cursor, bytes, next, checksum }
    }

    #[test]
    fn it_asks_for_the_next_place_of_the_same_slot_whoever_answers() {
        let mut fetching = Fetching::new(learners(), 4, Slot(10));
        assert_eq!(fetching.whom(), LearnerId(2));
        let start = SnapshotFetch { slot: None, least: Slot(10), cursor: Bytes::new() };
        assert_eq!(fetching.request(), start);
        assert_eq!(fetching.on_chunk(&chunk(9, b"", Some(b"x"))), Took::Stale, "too old");
        assert_eq!(fetching.on_chunk(&chunk(12, b"", Some(b"one"))), Took::Part);
        assert_eq!(fetching.on_chunk(&chunk(12, b"", Some(b"one"))), Took::Stale, "repeated");
        // The learner goes away; the next one is asked for the same place, and no other slot is mixed in.
        assert_eq!((fetching.on_trouble(), fetching.whom()), (Next::Ask, LearnerId(3)));
        let request = SnapshotFetch { slot: Some(Slot(12)), least: Slot(10), cursor: "one".into() };
        assert_eq!(fetching.request(), request);
        assert_eq!(fetching.on_chunk(&chunk(13, b"one", None)), Took::Stale);
        let mut damaged = chunk(12, b"one", None);
        damaged.bytes = Bytes::from_static(b"past");
        assert_eq!(fetching.on_chunk(&damaged), Took::Damaged);
        assert_eq!(fetching.on_chunk(&chunk(12, b"one", None)), Took::Last);
    }

    #[test]
    fn it_starts_over_when_nobody_keeps_the_snapshot_and_gives_up_in_the_end() {
        let mut fetching = Fetching::new(learners(), 0, Slot(1));
        for start in 1..=STARTS {
            assert_eq!(fetching.on_chunk(&chunk(5, b"", Some(b"one"))), Took::Part);
            let next: Vec<Next> = (0..6).map(|_| fetching.on_trouble()).collect();
            let last = if start < STARTS { Next::StartOver } else { Next::GiveUp };
            assert_eq!(next, [Next::Ask, Next::Ask, Next::AskLater, Next::Ask, Next::Ask, last]);
            assert_eq!(
                fetching.request(),
                SnapshotFetch { slot: None, least: Slot(1), cursor: Bytes::new() }
            );
        }
        let mut nobody = Fetching::new(learners(), 0, Slot(1));
        assert_eq!((0..6).map(|_| nobody.on_trouble()).last(), Some(Next::GiveUp), "nothing ever came");
        // A chunk that comes is progress: learners are counted anew.
        let mut slow = Fetching::new(learners(), 0, Slot(1));
        for (at, next) in [(&b""[..], &b"1"[..]), (b"1", b"2"), (b"2", b"3")] {
            (0..5).for_each(|_| assert_ne!(slow.on_trouble(), Next::GiveUp));
            assert_eq!(slow.on_chunk(&chunk(5, at, Some(next))), Took::Part);
        }
    }
}
