//! A vote: its value in memory, or on disk only.
//!
//! Where a value is kept is no part of what was voted: votes are equal when ballots and values are, wherever the values are. A
//! value that is on disk only is known by its length and a 128-bit digest, which is enough to refuse a second, different value (S1). Absent on
//! purpose: reading it back ([`crate::keeper`] does, when a message with a hole for it is released).

use std::hash::{Hash, Hasher};

use synod_protocol::{Ballot, Value};

/// The latest vote for a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Voted {
    /// The ballot of the vote.
    pub ballot: Ballot,
    /// The value.
    pub value: Kept,
}

/// A value that was voted for.
#[derive(Clone, Debug)]
pub enum Kept {
    /// It is here.
    Memory(Value),
    /// It is on disk.
    Disk {
        /// Its length.
        bytes: u32,
        /// Its [`Value::digest`].
        digest: u128,
    },
}

impl Kept {
    /// The value, if it is in memory.
    pub fn in_memory(&self) -> Option<&Value> {
        match self {
            Kept::Memory(value) => Some(value),
            Kept::Disk { .. } => None,
        }
    }

    /// Whether it is this value.
    pub fn is(&self, value: &Value) -> bool {
        match self {
            Kept::Memory(kept) => kept == value,
            Kept::Disk { bytes, digest } => *bytes as usize == value.len() && *digest == value.digest(),
        }
    }

    /// The value for a message, or a hole of its length.
    pub fn to_send(&self) -> Value {
        match self {
            Kept::Memory(value) => value.clone(),
            Kept::Disk { bytes, .. } => Value::hole(*bytes),
        }
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Kept::Memory(value) => value.len() as u64,
            Kept::Disk { bytes, .. } => u64::from(*bytes),
        }
    }

    /// Bytes of it that are in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.in_memory().map_or(0, |value| value.len() as u64)
    }

    /// Leaves the value to the disk; a noop costs nothing and stays.
    pub(crate) fn evict(&mut self) {
        if let Kept::Memory(value) = self
            && !value.is_noop()
        {
            *self = Kept::Disk { bytes: self.bytes() as u32, digest: self.digest() };
        }
    }

    fn digest(&self) -> u128 {
        match self {
            Kept::Memory(value) => value.digest(),
            Kept::Disk { digest, .. } => *digest,
        }
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Kept) -> bool {
        match (self, other) {
            (kept, Kept::Memory(value)) | (Kept::Memory(value), kept) => kept.is(value),
            (Kept::Disk { .. }, Kept::Disk { .. }) => {
                self.bytes() == other.bytes() && self.digest() == other.digest()
            }
        }
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest().hash(state);
    }
}
