//! Commands, their replies, and the batch that carries them through consensus.
//!
//! A batch is `[length: u32, little-endian][command]` again and again. Whoever forwards a batch checks these lengths
//! ([`count`]), so that one sender's damage can't swallow a neighbour's command when batches are joined; what is inside a
//! command only learners read. Sessions give exactly-once (S9; design after Ongaro's thesis, section 6.3): a call is named by
//! (session, sequence) and tells the lowest sequence its client still waits for.

mod batch;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::ids::{Revision, Slot};
pub use batch::{BatchBuilder, commands, count, join, pieces};

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
