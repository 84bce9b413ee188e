//! The learner's checkpoints on disk: one whole, then what changed, file after file; read at the start, written in the background.
//!
//! A checkpoint is written under a temporary name in bounded steps, synced, renamed, and the directory synced; only then is it one, and only
//! then are older ones removed that it stands in for. When the files of what changed have become as large as the whole one they are put on, the
//! next is a whole one. Upholds the disk's half of S7 (a state is that of a slot, or none), S8 (synced is said when it is) and S11; a
//! crash at any moment leaves the latest checkpoint that was synced (I16). What can't be read is set aside under another name, never served and
//! never removed (I12). Generic over the disk; threads are the daemon's.

use synod_journal::{Disk, DiskFile};
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::{ClusterId, LearnerId, Slot};
use synod_store::{Builder, Cursor, Image, ImageError, MemorySnapshot, MemoryStorage, StateMachine};

use crate::checkpoint::{Flaw, Head, Reader, Writer};

/// The name of a checkpoint that isn't whole yet.
const UNFINISHED: &str = "checkpoint.new";
/// Bytes of a chunk, unless one record takes more.
const CHUNK_BYTES: u64 = 256 << 10;

/// Why a directory can't be used by this learner.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A disk operation failed.
    #[error("can't {what}: {source}; what was synced before stays as it is")]
    Io {
        /// What was tried.
        what: String,
        /// The disk's reason.
        source: std::io::Error,
    },
    /// Another learner's directory.
    #[error(
        "these are the checkpoints of {found}, not of {wanted}: nothing was changed; start {found} with them, or give {wanted} its own --data-dir"
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
}

impl KeeperError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> KeeperError {
        |source| KeeperError::Io { what: what.into(), source }
    }

    /// Whether there is no space for what was tried, and nothing else is wrong.
    pub fn is_no_space(&self) -> bool {
        matches!(self, KeeperError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
    }
}

/// A file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its name as a checkpoint.
    pub name: String,
    /// Its name from here on.
    pub renamed: String,
    /// What is wrong with it.
    pub why: String,
}

/// What a directory gave back.
#[derive(Debug)]
pub struct Recovered {
    /// The state of the latest checkpoint, or the state before the first slot.
    pub machine: StateMachine<MemoryStorage>,
    /// The cluster it comes from, if there is a checkpoint.
    pub cluster: Option<ClusterId>,
    /// What could not be used.
    pub set_aside: Vec<SetAside>,
}

/// A checkpoint that is there.
#[derive(Clone, Debug)]
struct Kept {
    head: Head,
    bytes: u64,
}

/// A checkpoint on its way.
#[derive(Debug)]
struct Writing<F> {
    writer: Writer<F>,
    head: Head,
    image: Image<MemorySnapshot>,
    at: Cursor,
}

/// The checkpoints of one learner.
#[derive(Debug)]
pub struct Keeper<D: Disk> {
    disk: D,
    learner: LearnerId,
    /// The files that make up the latest checkpoint: a whole one, then what changed.
    kept: Vec<Kept>,
    /// The image of the latest checkpoint, while changes to it can be told.
    latest: Option<Image<MemorySnapshot>>,
    /// The highest number that was ever given to a file here.
    number: u64,
    writing: Option<Writing<D::File>>,
}

fn name_of(number: u64) -> String {
    format!("checkpoint-{number:016x}")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("checkpoint-").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

impl<D: Disk> Keeper<D> {
    /// Reads what is on `disk`. Only files that can't be used are touched: they get another name.
    ///
    /// # Errors
    /// When the directory is another learner's or can't be read.
    pub fn open(mut disk: D, learner: LearnerId, limits: Limits) -> Result<(Keeper<D>, Recovered), KeeperError> {
        let names = disk.names().map_err(KeeperError::io("list the directory"))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        let highest = numbers.last().copied().unwrap_or(0);
        let mut set_aside = Vec::new();
        // The latest whole one, and what changed since, as far as it can be read; if it can't be read, the one before it.
        loop {
            let read = read_latest(&mut disk, learner, limits, &numbers)?;
            let Some((number, why)) = read.flaw else {
                let cluster = read.kept.last().map(|kept: &Kept| kept.head.cluster);
                let latest = cluster.map(|_| read.machine.image());
                let keeper = Keeper { disk, learner, kept: read.kept, latest, number: highest, writing: None };
                return Ok((keeper, Recovered { machine: read.machine, cluster, set_aside }));
            };
            let (name, renamed) = (name_of(number), format!("damaged-{}", name_of(number)));
            disk.rename(&name, &renamed).map_err(KeeperError::io(format!("set {name} aside")))?;
            disk.sync_directory().map_err(KeeperError::io("sync the directory"))?;
            set_aside.push(SetAside { name, renamed, why });
            numbers.retain(|kept| *kept != number);
        }
    }

    /// Whether a checkpoint is on its way.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Begins to write `image` down, of a state later than the latest checkpoint's.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(&mut self, image: Image<MemorySnapshot>, cluster: ClusterId) -> Result<(), KeeperError> {
        assert!(self.writing.is_none(), "one checkpoint at a time");
        let on = self.latest.as_ref().and(self.kept.last()).filter(|_| !self.is_whole_due());
        let on = on.filter(|latest| latest.head.cluster == cluster).map(|latest| latest.head.number);
        let head = Head { learner: self.learner, cluster, number: self.number + 1, on };
        let begin = |disk: &mut D| -> std::io::Result<Writer<D::File>> {
            if disk.names()?.iter().any(|name| name == UNFINISHED) {
                disk.remove(UNFINISHED)?;
            }
            Writer::begin(disk.create(UNFINISHED)?, &head)
        };
        let writer = begin(&mut self.disk).map_err(KeeperError::io("begin a checkpoint"))?;
        self.writing = Some(Writing { writer, head, image, at: Cursor::start() });
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
        if stepped.is_err() && self.writing.take().is_some() {
            // What is left of it takes space that may be missing elsewhere; the next one removes it too.
            let _tried = self.disk.remove(UNFINISHED);
        }
        stepped
    }

    fn try_step(&mut self) -> Result<Option<Slot>, KeeperError> {
        let Some(writing) = &mut self.writing else { return Ok(None) };
        let chunk = match self.latest.as_ref().filter(|_| writing.head.on.is_some()) {
            Some(older) => writing.image.changes_since(older).chunk(&writing.at, CHUNK_BYTES),
            None => writing.image.chunk(&writing.at, CHUNK_BYTES),
        };
        writing.writer.chunk(&chunk.bytes).map_err(KeeperError::io("write a checkpoint"))?;
        if let Some(next) = chunk.next {
            writing.at = next;
            return Ok(None);
        }
        let Some(Writing { writer, head, image, .. }) = self.writing.take() else { return Ok(None) };
        let bytes = writer.finish().map_err(KeeperError::io("sync a checkpoint"))?;
        let obsolete: Vec<Kept> = if head.on.is_none() { std::mem::take(&mut self.kept) } else { Vec::new() };
        let remove = |disk: &mut D| {
            obsolete.iter().try_for_each(|kept| disk.remove(&name_of(kept.head.number)))
        };
        if synod_planted::is(Bug::OldCheckpointRemovedFirst) {
            remove(&mut self.disk).map_err(KeeperError::io("remove an older checkpoint"))?;
        }
        self.disk.rename(UNFINISHED, &name_of(head.number)).map_err(KeeperError::io("name a checkpoint"))?;
        self.disk.sync_directory().map_err(KeeperError::io("sync the directory"))?;
        self.number = head.number;
        self.kept.push(Kept { head, bytes });
        let slot = image.applied();
        self.latest = Some(image);
        if !synod_planted::is(Bug::OldCheckpointRemovedFirst) {
            remove(&mut self.disk).map_err(KeeperError::io("remove an older checkpoint"))?;
        }
        Ok(Some(slot))
    }

    /// The disk, to look at.
    pub fn disk(&self) -> &D {
        &self.disk
    }
}

/// What could be read.
struct Read {
    machine: StateMachine<MemoryStorage>,
    kept: Vec<Kept>,
    /// The file that could not be read, and why.
    flaw: Option<(u64, String)>,
}

/// Reads the latest whole checkpoint among `numbers`, and what is to be put on it, in order.
fn read_latest<D: Disk>(
    disk: &mut D,
    learner: LearnerId,
    limits: Limits,
    numbers: &[u64],
) -> Result<Read, KeeperError> {
    let nothing = || StateMachine::new(limits, MemoryStorage::default());
    let mut read = Read { machine: nothing(), kept: Vec::new(), flaw: None };
    let mut chain = Vec::new();
    for number in numbers.iter().rev() {
        let opened = open_file(disk, *number)?;
        let reader = match opened {
            Ok(reader) => reader,
            Err(flaw) => return Ok(Read { flaw: Some((*number, flaw.to_string())), ..read }),
        };
        let head = *reader.head();
        if head.learner != learner {
            return Err(KeeperError::OtherLearner { found: head.learner, wanted: learner });
        }
        chain.push(reader);
        if head.on.is_none() {
            break;
        }
    }
    for mut reader in chain.into_iter().rev() {
        let head = *reader.head();
        if head.on != read.kept.last().map(|kept| kept.head.number) {
            read.flaw = Some((head.number, format!("the checkpoint that {} is to be put on is missing", head.number)));
            return Ok(read);
        }
        let mut builder = Builder::on(read.machine);
        let bytes = match take_all(&mut reader, &mut builder) {
            Ok(bytes) => bytes,
            Err(Unusable::Image(ImageError::OtherLimits)) => return Err(KeeperError::OtherLimits),
            Err(why) => return Ok(Read { machine: nothing(), kept: Vec::new(), flaw: Some((head.number, why.to_string())) }),
        };
        match builder.finish() {
            Ok(machine) => read.machine = machine,
            Err(why) => return Ok(Read { machine: nothing(), kept: Vec::new(), flaw: Some((head.number, why.to_string())) }),
        }
        read.kept.push(Kept { head, bytes });
    }
    Ok(read)
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    File(#[from] Flaw),
    #[error(transparent)]
    Image(#[from] ImageError),
}

fn open_file<D: Disk>(disk: &mut D, number: u64) -> Result<Result<Reader<D::File>, Flaw>, KeeperError> {
    let name = name_of(number);
    let file = disk.open(&name).map_err(KeeperError::io(format!("open {name}")))?;
    Ok(Reader::open(file).and_then(|reader| {
        let named = reader.head().number == number;
        if named { Ok(reader) } else { Err(Flaw::Damaged { offset: 0, what: "it has another's name" }) }
    }))
}

fn take_all<F: DiskFile>(
    reader: &mut Reader<F>,
    builder: &mut Builder<MemoryStorage>,
) -> Result<u64, Unusable> {
    let mut bytes = 0;
    while let Some(chunk) = reader.chunk()? {
        bytes += chunk.len() as u64;
        builder.take(&chunk)?;
    }
    Ok(bytes)
}
