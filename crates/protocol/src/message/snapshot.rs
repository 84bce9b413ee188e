//! Snapshots of a learner's state, asked for chunk by chunk, and the hash chains by which learners compare their states (S7, I10).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::Slot;

/// A request for one chunk of a snapshot. Whoever asks keeps the place, so that a request that got no answer is simply repeated, of the
/// same learner or of another that has a snapshot of the same slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotFetch {
    /// The slot whose state is wanted, once the first chunk has told it; before that, whichever the learner has.
    pub slot: Option<Slot>,
    /// A snapshot of an older slot would be of no use.
    pub least: Slot,
    /// Where the chunk begins, as the chunk before it told; empty for the first one.
    pub cursor: Bytes,
}

/// One chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The slot whose state it is a part of.
    pub slot: Slot,
    /// Where it begins: the cursor of the request.
    pub cursor: Bytes,
    /// The part.
    pub bytes: Bytes,
    /// Where the next chunk begins; nothing behind the last one.
    pub next: Option<Bytes>,
    /// xxh3-64 of all of the above ([`SnapshotChunk::checksum`]).
    pub checksum: u64,
}

impl SnapshotChunk {
    /// The checksum of what this chunk carries and where it belongs: bytes that went wrong in somebody's memory don't pass for it.
    pub fn checksum(slot: Slot, cursor: &[u8], bytes: &[u8], next: Option<&[u8]>) -> u64 {
        crate::wire::checksum_of(&[
            &slot.0.to_le_bytes(),
            cursor,
            bytes,
            &[u8::from(next.is_some())],
            next.unwrap_or_default(),
        ])
    }

    /// Whether the checksum is that of the content.
    pub fn is_sound(&self) -> bool {
        Self::checksum(self.slot, &self.cursor, &self.bytes, self.next.as_deref()) == self.checksum
    }
}

/// The answer of a learner that has no such snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NoSnapshot {
    /// The slot that was asked for, if any was.
    pub slot: Option<Slot>,
    /// The slot that the answering learner has applied.
    pub applied: Slot,
}

/// Hash chains of some slots, and slots whose chains the sender would like to hear. Told again and again; whoever doesn't have a slot's chain
/// (any more) says nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chains {
    /// The sender's chain at each of these slots.
    pub told: Vec<(Slot, u64)>,
    /// Slots whose chains it would like to be told.
    pub asked: Vec<Slot>,
}
