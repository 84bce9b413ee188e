//! The learner's checkpoints on disk: one whole, then what changed, file after file; read at the start, written beside the run of things.
//!
//! A checkpoint is written under a temporary name in bounded steps, synced, renamed, and the directory synced; only then is it one, and only
//! then are older ones removed that it stands in for. When the files of what changed have become as large as the whole one they are put on, the
//! next is a whole one. Upholds the disk's half of S7 (a state is that of a slot, or none), S8 and S11 (synced is said when it is); a
//! crash at any moment leaves the latest checkpoint that was synced (I16). What can't be read is set aside under another name, never served and
//! never removed (I12). Generic over the disk; threads are the daemon's.

mod recovery;

use std::io;

use synod_journal::Disk;
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::{ClusterId, LearnerId, Slot};
use synod_store::{Changes, Cursor, Image, Mark, MemorySnapshot};

use crate::checkpoint::{Head, Writer};
pub use recovery::{Recovered, SetAside, Verified, verify};

/// The name of a checkpoint that isn't whole yet.
const UNFINISHED: &str = "checkpoint.new";

/// Whose checkpoints they are, and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The learner.
    pub learner: LearnerId,
    /// What decides how a command applies.
    pub limits: Limits,
    /// Bytes of a chunk, unless one record takes more: what one step writes.
    pub chunk_bytes: u64,
    /// Of the hashes in memory: see [`MemoryStorage::seeded`](synod_store::MemoryStorage::seeded).
    pub seed: u64,
}

impl Options {
    /// With chunks of 256 KiB.
    pub fn new(learner: LearnerId, limits: Limits, seed: u64) -> Options {
        Options { learner, limits, chunk_bytes: 256 << 10, seed }
    }
}

/// Why a directory can't be used by this learner.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A disk operation failed.
    #[error("can't {what}: {source}; what was synced before stays as it is")]
    Io {
        /// What was tried.
        what: String,
        /// The disk's reason.
        source: io::Error,
    },
    /// Another learner's directory.
    #[error(
        "these are the checkpoints of {found}, not of {wanted}: nothing was changed; start {found} with them, or give {wanted} its own \
         --data-dir"
    )]
    OtherLearner {
        /// Whose they are.
        found: LearnerId,
        /// Who was started.
        wanted: LearnerId,
    },
    /// The fixed parameters have changed since.
    #[error(
        "the checkpoints in this directory were made under other [limits] than the cluster file has: nothing was changed; start it with \
         the cluster file it was formed with, or with an empty directory in another cluster"
    )]
    OtherLimits,
    /// Another release's.
    #[error(
        "{name} has format {format}, which this release doesn't read: nothing was changed; start the release that wrote it, or move the \
         directory away: the state is then fetched from a peer"
    )]
    Format {
        /// The file.
        name: String,
        /// Its format.
        format: u32,
    },
}

impl KeeperError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> KeeperError {
        |source| KeeperError::Io { what: what.into(), source }
    }

    /// Whether there is no space for what was tried, and nothing else is wrong.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, KeeperError::Io { source, .. } if [StorageFull, QuotaExceeded].contains(&source.kind()))
    }
}

/// A checkpoint that is there.
#[derive(Clone, Copy, Debug)]
struct Kept {
    head: Head,
    /// Size of the file.
    bytes: u64,
}

/// A checkpoint on its way.
#[derive(Debug)]
struct Writing<F> {
    writer: Writer<F>,
    head: Head,
    image: Image<MemorySnapshot>,
    /// What it writes, unless it writes all of the image.
    changes: Option<Changes<MemorySnapshot>>,
    at: Cursor,
}

/// The checkpoints of one learner.
#[derive(Debug)]
pub struct Keeper<D: Disk> {
    disk: D,
    options: Options,
    /// The files that make up the latest checkpoint: a whole one, then what changed.
    kept: Vec<Kept>,
    /// What is kept of the latest checkpoint's image, while changes to it can be told.
    latest: Option<Mark<MemorySnapshot>>,
    /// The highest number that was ever given to a file here.
    number: u64,
    writing: Option<Writing<D::File>>,
}

fn name_of(number: u64) -> String {
    format!("checkpoint-{number:016x}")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("checkpoint-").filter(|digits| digits.len() == 16)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (name_of(number) == name).then_some(number)
}

impl<D: Disk> Keeper<D> {
    /// Reads what is on `disk`. Files that can't be used get another name; those that a later checkpoint stands in for are removed.
    ///
    /// # Errors
    /// When the directory is another learner's, another release's, or can't be used.
    pub fn open(disk: D, options: Options) -> Result<(Keeper<D>, Recovered), KeeperError> {
        recovery::open(disk, options)
    }

    /// Whether a checkpoint is on its way.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Begins to write `image` down, of a state later than the latest checkpoint's. `is_other`: of another state than that one was of, such as a
    /// peer's that was installed; otherwise what has changed may be enough.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(
        &mut self,
        image: Image<MemorySnapshot>,
        cluster: ClusterId,
        is_other: bool,
    ) -> Result<(), KeeperError> {
        assert!(self.writing.is_none(), "one checkpoint at a time");
        if is_other {
            self.latest = None;
        }
        let on = self.latest.as_ref().and(self.kept.last()).filter(|_| !self.is_whole_due());
        let on = on.filter(|latest| latest.head.cluster == cluster).map(|latest| latest.head.number);
        let changes = on.and(self.latest.as_ref()).map(|latest| image.changes_since(latest));
        let head = Head { learner: self.options.learner, cluster, number: self.number + 1, on };
        let file = create(&mut self.disk).map_err(KeeperError::io("begin a checkpoint"));
        let writer = Writer::begin(file.inspect_err(|error| self.clear(error))?, &head);
        self.writing = Some(Writing { writer, head, image, changes, at: Cursor::start() });
        Ok(())
    }

    /// What changed has become as much as the whole.
    fn is_whole_due(&self) -> bool {
        let Some((whole, changes)) = self.kept.split_first() else { return true };
        changes.iter().map(|kept| kept.bytes).sum::<u64>() >= whole.bytes
    }

    /// Does a bounded part of the checkpoint that is on its way; the slot that is synced by it, once it is.
    ///
    /// # Errors
    /// The disk's. Without space ([`KeeperError::is_no_space`]) the checkpoint is given up, and another may be begun; after any other error
    /// the process must end (S3).
    pub fn step(&mut self) -> Result<Option<Slot>, KeeperError> {
        let stepped = self.try_step();
        stepped.inspect_err(|error| self.clear(error))
    }

    /// After a failure. What is left of the file takes space that may be missing elsewhere; if it can't be removed, the next one overwrites it.
    fn clear(&mut self, error: &KeeperError) {
        self.writing = None;
        if error.is_no_space() {
            let _tried = self.disk.remove(UNFINISHED).and_then(|()| self.disk.sync_directory());
        }
    }

    fn try_step(&mut self) -> Result<Option<Slot>, KeeperError> {
        let chunk_bytes = self.options.chunk_bytes;
        let Some(writing) = &mut self.writing else { return Ok(None) };
        let chunk = match &writing.changes {
            Some(changes) => changes.chunk(&writing.at, chunk_bytes),
            None => writing.image.chunk(&writing.at, chunk_bytes),
        };
        writing.writer.chunk(&chunk.bytes).map_err(KeeperError::io("write a checkpoint"))?;
        if let Some(next) = chunk.next {
            writing.at = next;
            return Ok(None);
        }
        let Some(Writing { writer, head, image, .. }) = self.writing.take() else { return Ok(None) };
        let bytes = writer.finish().map_err(KeeperError::io("sync a checkpoint"))?;
        self.name(Kept { head, bytes })?;
        let slot = image.applied();
        self.latest = Some(image.mark());
        Ok(Some(slot))
    }

    /// The unfinished file becomes the latest checkpoint.
    fn name(&mut self, made: Kept) -> Result<(), KeeperError> {
        let obsolete = if made.head.on.is_none() { std::mem::take(&mut self.kept) } else { Vec::new() };
        let remove =
            |disk: &mut D| obsolete.iter().try_for_each(|kept| disk.remove(&name_of(kept.head.number)));
        let removing = || KeeperError::io("remove an older checkpoint");
        if synod_planted::is(Bug::OldCheckpointRemovedFirst) {
            remove(&mut self.disk).and_then(|()| self.disk.sync_directory()).map_err(removing())?;
        }
        let name = name_of(made.head.number);
        self.disk.rename(UNFINISHED, &name).map_err(KeeperError::io("name a checkpoint"))?;
        self.disk.sync_directory().map_err(KeeperError::io("sync the directory"))?;
        self.number = made.head.number;
        self.kept.push(made);
        if !synod_planted::is(Bug::OldCheckpointRemovedFirst) {
            remove(&mut self.disk).map_err(removing())?;
        }
        Ok(())
    }

    /// Bytes that a step writes, about.
    pub fn chunk_bytes(&self) -> u64 {
        self.options.chunk_bytes
    }

    /// The disk, to look at.
    pub fn disk(&self) -> &D {
        &self.disk
    }
}

/// An empty file under the name of what isn't whole.
fn create<D: Disk>(disk: &mut D) -> io::Result<D::File> {
    if disk.names()?.iter().any(|name| name == UNFINISHED) {
        disk.remove(UNFINISHED)?;
        // Otherwise a loss of power may forget that it is gone, and give it the name of the one that comes.
        disk.sync_directory()?;
    }
    disk.create(UNFINISHED)
}
