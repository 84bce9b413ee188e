//! The consensus value: opaque bytes that are voted on. Acceptors and proposers never look inside.
//!
//! A value is a batch of already encoded commands (see [`crate::command`]); the empty value is the noop. It is shared, not
//! copied: from the leader's frame to the acceptor's journal it is one `Bytes`. Serialised, a value is only its
//! length; [`crate::wire`] carries the bytes behind the head of a frame and fills them in again.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Opaque bytes voted on; empty means noop.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Bytes(Bytes),
    /// The bytes are to come: between the decoding of a head and the filling from its tail inside `wire`, and until the release of a
    /// message in which [`Value::hole`] stands. Never seen in what is received.
    Hole(u32),
}

impl Value {
    /// The value that changes nothing.
    pub const NOOP: Value = Value(Repr::Bytes(Bytes::new()));

    /// A value of these bytes. A frame's cap keeps it under 4 GiB.
    pub fn new(bytes: Bytes) -> Value {
        Value(Repr::Bytes(bytes))
    }

    /// A value of this length whose bytes are filled in when its message is released ([`crate::role::Effects::send_filled`]).
    pub fn hole(bytes: u32) -> Value {
        Value(Repr::Hole(bytes))
    }

    /// Whether its bytes are still to be filled in.
    pub fn is_hole(&self) -> bool {
        matches!(self.0, Repr::Hole(_))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        match &self.0 {
            Repr::Bytes(bytes) => bytes,
            Repr::Hole(_) => {
                unreachable!("values are filled before a message is received, and before one is released")
            }
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Bytes(bytes) => bytes.len(),
            Repr::Hole(length) => *length as usize,
        }
    }

    /// 128-bit XXH3 of the bytes.
    pub fn digest(&self) -> u128 {
        xxhash_rust::xxh3::xxh3_128(self.bytes())
    }

    /// Whether there are no bytes; the same as [`Value::is_noop`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is the noop.
    pub fn is_noop(&self) -> bool {
        self.is_empty()
    }

    /// Fills a hole from the front of `tail`; false when `tail` is too short. For `wire` alone.
    pub(crate) fn fill(&mut self, tail: &mut Bytes) -> bool {
        let length = self.len();
        if tail.len() < length {
            return false;
        }
        self.0 = Repr::Bytes(tail.split_to(length));
        true
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_noop() { f.write_str("noop") } else { write!(f, "{} bytes", self.len()) }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let length = u32::try_from(self.len()).map_err(serde::ser::Error::custom)?;
        serializer.serialize_u32(length)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(|length| Value(Repr::Hole(length)))
    }
}

/// A slot with the value proposed or voted for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The slot.
    pub slot: crate::ids::Slot,
    /// The value.
    pub value: Value,
}
