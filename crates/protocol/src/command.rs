//! Commands, their replies, and the batch that carries them through consensus.
//!
//! A batch is `[length: u32, little-endian][command]` again and again. Whoever forwards a batch checks these lengths
//! ([`count`]), so that one sender's damage can't swallow a neighbour's command when batches are joined; what is inside a
//! command only learners read. Sessions give exactly-once (S9; design after Ongaro's thesis, section 6.3): a call is named by
//! (session, sequence) and tells the lowest sequence its client still waits for.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, Serializer};

use crate::ids::{Revision, Slot};
use crate::value::Value;
use crate::wire;

/// A session: the place in the log of the command that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId {
    /// The slot of the opening command.
    pub slot: Slot,
    /// Its position in that slot's batch, from 0.
    pub position: u32,
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s{}.{}", self.slot, self.position)
    }
}

/// What the state machine is asked to do; borrowed from the batch it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command<'a> {
    /// Opens a session; asked again with the same nonce, it answers with the same session while that lives.
    Open {
        /// 128 random bits drawn by the client.
        nonce: u128,
    },
    /// A call of a session.
    #[serde(borrow)]
    Call(Call<'a>),
    /// Ends a session whose last renewal is still the one told (proposed by learners, on their own clocks).
    Expire {
        /// The session.
        session: SessionId,
        /// The slot of the last command of that session that the proposing learner had applied.
        renewed: Slot,
    },
}

/// One call of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call<'a> {
    /// The session.
    pub session: SessionId,
    /// The call's number in the session, from 1.
    pub sequence: u64,
    /// The lowest sequence whose reply the client still waits for; replies below it are forgotten, calls below it refused.
    pub lowest: u64,
    /// What to do.
    #[serde(borrow)]
    pub operation: Operation<'a>,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation<'a> {
    /// Sets a key.
    Put {
        /// The key: any bytes.
        #[serde(serialize_with = "as_bytes")]
        key: &'a [u8],
        /// The value: any bytes.
        #[serde(serialize_with = "as_bytes")]
        value: &'a [u8],
    },
    /// Removes a key.
    Delete {
        /// The key.
        #[serde(serialize_with = "as_bytes")]
        key: &'a [u8],
    },
    /// Changes nothing; like every call, renews the session.
    KeepAlive,
    /// Ends the session.
    Close,
    /// Sets a key as a backup has it. Taken only while no mutation has ever happened: it begins a restore, or goes on with it.
    Restore {
        /// The key.
        #[serde(serialize_with = "as_bytes")]
        key: &'a [u8],
        /// The value.
        #[serde(serialize_with = "as_bytes")]
        value: &'a [u8],
        /// As the record had them.
        stamp: Stamp,
        /// The backup's checksum: a restore goes on only with the backup that it began with.
        backup: u64,
    },
    /// Ends a restore, or makes the restore of nothing: the next mutation takes the revision after this one.
    RestoreEnd {
        /// The backup's revision.
        revision: Revision,
        /// The backup's checksum.
        backup: u64,
    },
}

/// Serialises bytes at once; left to itself, serde takes a slice for a sequence of numbers. What is written is the same.
fn as_bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// What is kept of a key besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The revision that made the key, since it was last absent.
    pub created: Revision,
    /// The revision that set its value.
    pub modified: Revision,
    /// How many revisions have set it since it was made, that one included.
    pub version: u64,
}

/// A key's value, and when it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The revision that made the key, since it was last absent.
    pub created: Revision,
    /// The revision that set this value.
    pub modified: Revision,
    /// How many revisions have set the key since it was made, that one included.
    pub version: u64,
    /// The value.
    pub value: Bytes,
}

/// The reply to a call, kept and repeated while the client may ask again (S9).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reply {
    /// The session.
    pub session: SessionId,
    /// The call's sequence.
    pub sequence: u64,
    /// The slot at which the call took effect, or was refused.
    pub slot: Slot,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The key is set.
    Put {
        /// The revision that set it.
        revision: Revision,
    },
    /// The key is gone.
    Deleted {
        /// The revision that removed it, if it was there.
        revision: Option<Revision>,
    },
    /// The session lives on.
    Renewed,
    /// The session is closed.
    Closed,
    /// Nothing was done.
    Refused(Refusal),
    /// The key is as the backup has it, or the restore has ended.
    Restored,
}

/// Why a call had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The key is longer than the cluster allows.
    #[error("the key is longer than this cluster's limit of {limit} bytes")]
    KeyTooLong {
        /// Bytes allowed.
        limit: u64,
    },
    /// The value is longer than the cluster allows.
    #[error("the value is longer than this cluster's limit of {limit} bytes")]
    ValueTooLong {
        /// Bytes allowed.
        limit: u64,
    },
    /// The session has expired or was closed.
    #[error("the session has expired or was closed")]
    NoSession,
    /// The sequence is below the lowest unacknowledged one, or too far above it.
    #[error("the call's sequence lies outside its session's window")]
    OutsideWindow,
    /// A write of its own while a backup is being restored.
    #[error(
        "a backup is being restored into this cluster: it takes writes when `synod restore` has ended; if that was broken \
         off, run it again with the same file"
    )]
    Restoring,
    /// A restore into a cluster that has taken writes, or has been restored.
    #[error(
        "this cluster has taken writes or was restored already (revision {revision}): a backup can be restored only into a \
         new, empty cluster"
    )]
    NotEmpty {
        /// The cluster's revision.
        revision: Revision,
    },
    /// A restored record, or the end of a restore, whose revisions can't be.
    #[error("the backup names revisions that can't be: it is damaged, or not from this kind of cluster")]
    BadRevision,
    /// A restore of one backup while another's is under way.
    #[error(
        "another backup (checksum {backup:016x}) is being restored into this cluster: go on with that file, or restore this one into \
         another new cluster"
    )]
    OtherBackup {
        /// The checksum of the backup that is being restored.
        backup: u64,
    },
}

/// The reply to [`Command::Open`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opened {
    /// The client's nonce.
    pub nonce: u128,
    /// The session, or nothing when the cluster holds as many sessions as it allows.
    pub session: Option<SessionId>,
}

/// Bytes of the length before each command of a batch.
const LENGTH: usize = 4;

/// A batch under construction.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl BatchBuilder {
    /// Appends a command.
    pub fn push(&mut self, command: &Command<'_>) {
        let start = self.bytes.len() + LENGTH;
        self.bytes.extend_from_slice(&[0; LENGTH]);
        wire::encode_command(command, &mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).expect("limits keep a command under 4 GiB");
        self.bytes[start - LENGTH..start].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// Appends a batch that was built before (a call that is sent again).
    pub fn push_batch(&mut self, batch: &[u8], count: u32) {
        self.bytes.extend_from_slice(batch);
        self.count += count;
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch and how many commands it holds; the builder is empty afterwards.
    pub fn finish(&mut self) -> (Value, u32) {
        (Value::new(std::mem::take(&mut self.bytes).into()), std::mem::take(&mut self.count))
    }
}

/// How many commands a batch holds, or nothing if its lengths don't add up. Looks at no command.
pub fn count(batch: &Value) -> Option<u32> {
    let mut rest: &[u8] = batch.bytes();
    let mut count = 0;
    while !rest.is_empty() {
        rest = split_command(rest)?.1;
        count += 1;
    }
    Some(count)
}

/// Cuts a batch into pieces of at most `most_commands` commands and `most_bytes` bytes (a larger command goes alone), each
/// with its count; nothing if its lengths don't add up. Copies nothing and looks at no command.
pub fn pieces(batch: &Value, most_commands: u32, most_bytes: usize) -> Option<Vec<(Value, u32)>> {
    let bytes = batch.bytes();
    let mut pieces = Vec::new();
    let (mut start, mut end, mut count) = (0, 0, 0);
    while end < bytes.len() {
        let next = bytes.len() - split_command(&bytes[end..])?.1.len();
        if count > 0 && (count == most_commands || next - start > most_bytes) {
            pieces.push((Value::new(bytes.slice(start..end)), count));
            (start, count) = (end, 0);
        }
        end = next;
        count += 1;
    }
    if count > 0 {
        pieces.push((Value::new(bytes.slice(start..end)), count));
    }
    Some(pieces)
}

/// Joins batches into one; a single one is passed on as it is.
pub fn join(mut batches: Vec<Value>) -> Value {
    if batches.len() <= 1 {
        return batches.pop().unwrap_or(Value::NOOP);
    }
    let mut joined = BytesMut::with_capacity(batches.iter().map(Value::len).sum());
    for batch in &batches {
        joined.put_slice(batch.bytes());
    }
    Value::new(joined.freeze())
}

/// The commands of a chosen batch, in order; an entry that can't be decoded comes as `None` (it takes effect nowhere).
pub fn commands(batch: &Bytes) -> impl Iterator<Item = Option<Command<'_>>> {
    let mut rest: &[u8] = batch;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((command, after)) = split_command(rest) else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        Some(wire::decode_command(command).ok())
    })
}

fn split_command(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sequence: u64) -> Command<'static> {
        let session = SessionId { slot: Slot(3), position: 1 };
        let operation = Operation::Put { key: b"k", value: b"some value" };
        Command::Call(Call { session, sequence, lowest: 1, operation })
    }

    #[test]
    fn a_batch_gives_its_commands_back() {
        let mut builder = BatchBuilder::default();
        builder.push(&Command::Open { nonce: 9 });
        builder.push(&put(1));
        let (first, count_first) = builder.finish();
        builder.push(&put(2));
        let (second, _) = builder.finish();
        assert_eq!((count_first, count(&first)), (2, Some(2)));
        let joined = join(vec![first, second]);
        let all: Vec<_> = commands(joined.bytes()).map(Option::unwrap).collect();
        assert_eq!(all, vec![Command::Open { nonce: 9 }, put(1), put(2)]);
    }

    #[test]
    fn lengths_that_do_not_add_up_are_found_at_every_cut() {
        let mut builder = BatchBuilder::default();
        builder.push(&put(1));
        builder.push(&put(2));
        let (batch, _) = builder.finish();
        let whole = batch.len();
        for cut in 1..whole {
            let part = Value::new(batch.bytes().slice(..cut));
            let expected = if cut == whole / 2 { Some(1) } else { None };
            assert_eq!(count(&part), expected, "cut at {cut}");
            assert!(commands(part.bytes()).count() <= 2);
        }
    }

    #[test]
    fn pieces_keep_to_the_limits_and_lose_nothing() {
        let mut builder = BatchBuilder::default();
        (1..=10).for_each(|sequence| builder.push(&put(sequence)));
        let (batch, _) = builder.finish();
        let one = batch.len() / 10;
        for (most_commands, most_bytes, expected) in [
            (4, usize::MAX, vec![4, 4, 2]),
            (100, 3 * one, vec![3, 3, 3, 1]),
            (100, 1, vec![1; 10]),
            (10, 10 * one, vec![10]),
        ] {
            let cut = pieces(&batch, most_commands, most_bytes).unwrap();
            assert_eq!(cut.iter().map(|(_, count)| *count).collect::<Vec<_>>(), expected);
            assert!(cut.iter().all(|(piece, count)| super::count(piece) == Some(*count)));
            assert_eq!(join(cut.into_iter().map(|(piece, _)| piece).collect()), batch);
        }
        assert_eq!(pieces(&Value::new(batch.bytes().slice(..one + 1)), 4, 100), None);
        assert_eq!(pieces(&Value::NOOP, 4, 100), Some(Vec::new()));
    }

    #[test]
    fn a_command_that_is_garbage_is_skipped_alone() {
        let mut builder = BatchBuilder::default();
        builder.push_batch(&[3, 0, 0, 0, 250, 250, 250], 1);
        builder.push(&put(2));
        let (batch, count) = builder.finish();
        assert_eq!(count, 2);
        assert_eq!(commands(batch.bytes()).collect::<Vec<_>>(), vec![None, Some(put(2))]);
    }
}
