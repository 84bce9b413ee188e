//! Reads and the replies to them, many in one message: small heads, and all keys or all values behind one another.
//!
//! A message of a thousand reads is so decoded and encoded with two allocations, whatever is in it, and keys are looked up where they
//! lie. The lengths in the heads add up to what lies behind them: [`crate::wire`] takes nothing else for a message.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Record, Stamp};
use crate::ids::Slot;
use crate::value::Value;

/// Values from this length on, if they are a large part of all in their frame, are shared with it. Others are copied: whoever keeps one
/// shouldn't keep a frame of a thousand.
const SHARED_BYTES: usize = 16 << 10;
/// What part is large: one of so many.
const SHARED_PART: usize = 4;

/// Room made for values at once, at most.
const EXPECTED_BYTES: usize = 256 << 10;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// Sees every write acknowledged before the read began (S10).
    Linearizable,
    /// Whatever this learner has applied.
    Stale,
}

/// One read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read<'a> {
    /// The client's number for it.
    pub id: u64,
    /// The key.
    pub key: &'a [u8],
    /// How fresh it must be.
    pub consistency: Consistency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Asked {
    id: u64,
    key_bytes: u32,
    consistency: Consistency,
}

/// Reads of one client, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reads {
    asked: Vec<Asked>,
    pub(crate) keys: Value,
}

impl Reads {
    /// How many.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Read<'_>> {
        let mut keys: &[u8] = self.keys.bytes();
        self.asked.iter().map_while(move |Asked { id, key_bytes, consistency }| {
            let (key, rest) = keys.split_at_checked(*key_bytes as usize)?;
            keys = rest;
            Some(Read { id: *id, key, consistency: *consistency })
        })
    }

    /// The same, apart from the frame they came in.
    #[must_use]
    pub fn detached(self) -> Reads {
        let keys = Value::new(Bytes::copy_from_slice(self.keys.bytes()));
        Reads { asked: self.asked, keys }
    }

    pub(crate) fn adds_up(&self) -> bool {
        sum(self.asked.iter().map(|asked| asked.key_bytes)) == self.keys.len() as u64
    }
}

impl<'a> FromIterator<Read<'a>> for Reads {
    fn from_iter<I: IntoIterator<Item = Read<'a>>>(reads: I) -> Reads {
        let mut builder = ReadsBuilder::default();
        reads.into_iter().for_each(|read| builder.push(read));
        builder.finish()
    }
}

/// Puts [`Reads`] together.
#[derive(Clone, Debug, Default)]
pub struct ReadsBuilder {
    asked: Vec<Asked>,
    keys: Vec<u8>,
}

impl ReadsBuilder {
    /// Adds one. Limits keep its key under 4 GiB.
    pub fn push(&mut self, Read { id, key, consistency }: Read<'_>) {
        self.asked.push(Asked { id, key_bytes: length_of(key), consistency });
        self.keys.extend_from_slice(key);
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Bytes of their keys.
    pub fn key_bytes(&self) -> usize {
        self.keys.len()
    }

    /// All that were added.
    pub fn finish(self) -> Reads {
        Reads { asked: self.asked, keys: Value::new(self.keys.into()) }
    }
}

/// The reply to one read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadReply {
    /// The client's number for it.
    pub id: u64,
    /// The applied slot at which it was answered.
    pub slot: Slot,
    /// What came of it.
    pub outcome: ReadOutcome,
}

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// The key's value and revisions, if it has one.
    Value(Option<Record>),
    /// Over a limit; try again after so many milliseconds.
    Busy {
        /// Milliseconds to wait.
        retry_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Answered {
    id: u64,
    slot: Slot,
    found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Found {
    Nothing,
    Value { stamp: Stamp, bytes: u32 },
    Busy { retry_ms: u64 },
}

/// Replies to reads of one client, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadReplies {
    answered: Vec<Answered>,
    pub(crate) values: Value,
}

impl ReadReplies {
    /// How many.
    pub fn len(&self) -> usize {
        self.answered.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.answered.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = ReadReply> {
        let (values, mut at) = (self.values.bytes(), 0);
        self.answered.iter().map_while(move |Answered { id, slot, found }| {
            let outcome = match *found {
                Found::Nothing => ReadOutcome::Value(None),
                Found::Busy { retry_ms } => ReadOutcome::Busy { retry_ms },
                Found::Value { stamp: Stamp { created, modified, version }, bytes } => {
                    let end = at + bytes as usize;
                    let lent = values.get(at..end)?;
                    let small = lent.len() < SHARED_BYTES.max(values.len() / SHARED_PART);
                    let value = if small { Bytes::copy_from_slice(lent) } else { values.slice(at..end) };
                    at = end;
                    ReadOutcome::Value(Some(Record { created, modified, version, value }))
                }
            };
            Some(ReadReply { id: *id, slot: *slot, outcome })
        })
    }

    pub(crate) fn adds_up(&self) -> bool {
        let bytes = self.answered.iter().map(|answered| match answered.found {
            Found::Value { bytes, .. } => bytes,
            Found::Nothing | Found::Busy { .. } => 0,
        });
        sum(bytes) == self.values.len() as u64
    }
}

impl FromIterator<ReadReply> for ReadReplies {
    fn from_iter<I: IntoIterator<Item = ReadReply>>(replies: I) -> ReadReplies {
        let mut builder = ReadRepliesBuilder::default();
        for ReadReply { id, slot, outcome } in replies {
            match outcome {
                ReadOutcome::Busy { retry_ms } => builder.push_busy(id, slot, retry_ms),
                ReadOutcome::Value(None) => builder.push(id, slot, None),
                ReadOutcome::Value(Some(Record { created, modified, version, value })) => {
                    builder.push(id, slot, Some((Stamp { created, modified, version }, &value)));
                }
            }
        }
        builder.finish()
    }
}

/// Puts [`ReadReplies`] together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadRepliesBuilder {
    answered: Vec<Answered>,
    values: Vec<u8>,
}

impl ReadRepliesBuilder {
    /// Bytes that a reply takes beside its value, at most.
    pub const REPLY_BYTES: usize = 64;

    /// Makes room for so many replies with values like the first: what grows bit by bit is copied again and again.
    pub fn expect(&mut self, replies: usize) {
        self.answered.reserve(replies);
    }

    /// Adds the reply to a read answered at `slot`: what the key has, if anything. Limits keep a value under 4 GiB.
    pub fn push(&mut self, id: u64, slot: Slot, record: Option<(Stamp, &[u8])>) {
        let found = match record {
            None => Found::Nothing,
            Some((stamp, value)) => {
                if self.values.is_empty() {
                    let expected =
                        (self.answered.capacity() - self.answered.len()).saturating_mul(value.len());
                    self.values.reserve(expected.min(EXPECTED_BYTES));
                }
                self.values.extend_from_slice(value);
                Found::Value { stamp, bytes: length_of(value) }
            }
        };
        self.answered.push(Answered { id, slot, found });
    }

    /// Adds that a read can't be answered for so long.
    pub fn push_busy(&mut self, id: u64, slot: Slot, retry_ms: u64) {
        self.answered.push(Answered { id, slot, found: Found::Busy { retry_ms } });
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.answered.is_empty()
    }

    /// Bytes that all of it takes, at most.
    pub fn bytes(&self) -> usize {
        self.answered.len() * Self::REPLY_BYTES + self.values.len()
    }

    /// All that were added.
    pub fn finish(self) -> ReadReplies {
        ReadReplies { answered: self.answered, values: Value::new(self.values.into()) }
    }
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("limits keep keys and values under 4 GiB")
}

fn sum(lengths: impl Iterator<Item = u32>) -> u64 {
    lengths.map(u64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Revision;

    #[test]
    fn reads_come_out_as_they_went_in() {
        let read = |id, key, consistency| Read { id, key, consistency };
        let all = [
            read(7, b"one".as_slice(), Consistency::Linearizable),
            read(3, b"", Consistency::Stale),
            read(u64::MAX, b"three", Consistency::Linearizable),
        ];
        let reads: Reads = all.into_iter().collect();
        assert!(reads.iter().eq(all) && reads.len() == 3 && reads.adds_up());
        let detached = reads.clone().detached();
        assert_eq!(detached, reads);
        assert_ne!(detached.keys.bytes().as_ptr(), reads.keys.bytes().as_ptr());
    }

    #[test]
    fn replies_come_out_as_they_went_in_whether_values_are_copied_or_shared() {
        let record = |bytes| Record {
            created: Revision(1),
            modified: Revision(2),
            version: 3,
            value: Bytes::from(vec![bytes as u8; bytes]),
        };
        let outcomes = [
            ReadOutcome::Value(Some(record(5))),
            ReadOutcome::Busy { retry_ms: 9 },
            ReadOutcome::Value(Some(record(SHARED_BYTES))),
            ReadOutcome::Value(None),
            ReadOutcome::Value(Some(record(0))),
        ];
        let reply = |(id, outcome)| ReadReply { id, slot: Slot(id), outcome };
        let all: Vec<ReadReply> = (1..).zip(outcomes).map(reply).collect();
        let replies: ReadReplies = all.iter().cloned().collect();
        assert!(replies.adds_up());
        assert_eq!(replies.iter().collect::<Vec<_>>(), all);
    }

    /// Whoever keeps a small value keeps no frame.
    #[test]
    fn i14_a_small_value_is_no_part_of_its_frame() {
        let mut builder = ReadRepliesBuilder::default();
        let stamp = Stamp { created: Revision(1), modified: Revision(1), version: 1 };
        for bytes in [1, SHARED_BYTES, SHARED_BYTES * SHARED_PART] {
            builder.push(bytes as u64, Slot(1), Some((stamp, vec![1; bytes].as_slice())));
        }
        let replies = builder.finish();
        let frame = replies.values.bytes().as_ptr_range();
        let shared = replies.iter().map(|reply| match reply.outcome {
            ReadOutcome::Value(Some(record)) => frame.contains(&record.value.as_ptr()),
            ReadOutcome::Value(None) | ReadOutcome::Busy { .. } => unreachable!("both were found"),
        });
        assert_eq!(shared.collect::<Vec<_>>(), [false, false, true]);
    }
}
