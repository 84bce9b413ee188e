//! What a directory of checkpoints gives back: the latest one that is whole, and what is wrong with the others.
//!
//! A whole checkpoint and the changes on top of it are read in the order of their numbers. A file that can't be used is set aside, and what is left is read
//! again: an older state is as good a beginning as any, the log or a peer bring the rest. Interrupted at any moment and done again, it comes to the same
//! (I16).

use synod_journal::{Disk, DiskFile};
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::{ClusterId, LearnerId, Slot};
use synod_store::{Builder, ImageError, MemoryStorage, StateMachine};

use super::{Keeper, KeeperError, Kept, Options, name_of, number_of};
use crate::checkpoint::{Flaw, Reader};

/// What stands before the name of a file that was set aside.
const ASIDE: &str = "unusable-";

/// A file that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its name as a checkpoint.
    pub name: String,
    /// Its name from here on; the same where nothing was changed.
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

/// What looking at a directory told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Files read, with their sizes in bytes, oldest first.
    pub files: Vec<(String, u64)>,
    /// Whose checkpoints they are, and of which cluster.
    pub owner: Option<(LearnerId, ClusterId)>,
    /// The slot of the latest checkpoint that is whole.
    pub applied: Slot,
    /// Hash chain there.
    pub chain: u64,
    /// Keys there.
    pub keys: u64,
    /// Sessions there.
    pub sessions: u64,
    /// What can't be used, and why.
    pub flaws: Vec<SetAside>,
}

fn numbers_of(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    numbers
}

fn list<D: Disk>(disk: &D) -> Result<Vec<String>, KeeperError> {
    disk.names().map_err(KeeperError::io("list the directory"))
}

pub(super) fn open<D: Disk>(mut disk: D, options: Options) -> Result<(Keeper<D>, Recovered), KeeperError> {
    let names = list(&disk)?;
    let mut numbers = numbers_of(&names);
    // No number is used twice: a file that is set aside never takes the place of another.
    let aside = names.iter().filter_map(|name| number_of(name.strip_prefix(ASIDE)?));
    let number = numbers.iter().copied().chain(aside).max().unwrap_or(0);
    let mut set_aside = Vec::new();
    loop {
        let Read { machine, kept, flaw } =
            read_latest(&mut disk, Some(options.learner), (options.limits, options.seed), &numbers)?;
        if let Some((flawed, why)) = flaw {
            let (name, renamed) = (name_of(flawed), format!("{ASIDE}{}", name_of(flawed)));
            let moved = if synod_planted::is(Bug::DamagedCheckpointRemoved) {
                disk.remove(&name)
            } else {
                disk.rename(&name, &renamed)
            };
            moved.map_err(KeeperError::io(format!("set {name} aside")))?;
            set_aside.push(SetAside { name, renamed, why });
            numbers.retain(|number| *number != flawed);
            continue;
        }
        // Names that a process saw may not be durable, if it was killed before it had synced them; they are reported as synced from here on.
        disk.sync_directory().map_err(KeeperError::io("sync the directory"))?;
        let first = kept.first().map_or(0, |kept| kept.head.number);
        for obsolete in numbers.iter().filter(|number| **number < first) {
            disk.remove(&name_of(*obsolete)).map_err(KeeperError::io("remove an older checkpoint"))?;
        }
        let cluster = kept.last().map(|kept| kept.head.cluster);
        let latest = cluster.map(|_| machine.image().mark());
        let keeper = Keeper { disk, options, kept, latest, number, writing: None };
        return Ok((keeper, Recovered { machine, cluster, set_aside }));
    }
}

/// Reads a learner's directory as [`Keeper::open`] does, and changes nothing: for whoever wants to know whether it is sound.
///
/// # Errors
/// When it can't be read, or belongs to another release or other limits.
pub fn verify<D: Disk>(mut disk: D, limits: Limits) -> Result<Verified, KeeperError> {
    let names = list(&disk)?;
    let mut numbers = numbers_of(&names);
    let mut flaws = Vec::new();
    loop {
        let Read { machine, kept, flaw } = read_latest(&mut disk, None, (limits, 0), &numbers)?;
        if let Some((flawed, why)) = flaw {
            let name = name_of(flawed);
            flaws.push(SetAside { renamed: name.clone(), name, why });
            numbers.retain(|number| *number != flawed);
            continue;
        }
        return Ok(Verified {
            files: kept.iter().map(|kept| (name_of(kept.head.number), kept.bytes)).collect(),
            owner: kept.last().map(|kept| (kept.head.learner, kept.head.cluster)),
            applied: machine.applied(),
            chain: machine.chain(),
            keys: synod_store::Storage::len(machine.storage()),
            sessions: machine.session_count(),
            flaws,
        });
    }
}

/// What could be read.
struct Read {
    machine: StateMachine<MemoryStorage>,
    kept: Vec<Kept>,
    /// The file that can't be used, and why; then the rest means nothing.
    flaw: Option<(u64, String)>,
}

/// Reads the latest whole checkpoint among `numbers`, and what is to be put on it, in order. The first file that can't be used ends it.
fn read_latest<D: Disk>(
    disk: &mut D,
    learner: Option<LearnerId>,
    (limits, seed): (Limits, u64),
    numbers: &[u64],
) -> Result<Read, KeeperError> {
    let nothing = || StateMachine::new(limits, MemoryStorage::seeded(seed));
    let flawed =
        |number, why: String| Ok(Read { machine: nothing(), kept: Vec::new(), flaw: Some((number, why)) });
    let mut readers = Vec::new();
    for number in numbers.iter().rev() {
        let reader = match open_file(disk, *number)? {
            Ok(reader) => reader,
            Err(Flaw::Format(format)) => return Err(KeeperError::Format { name: name_of(*number), format }),
            Err(why) => return flawed(*number, why.to_string()),
        };
        let (found, on) = (reader.head().learner, reader.head().on);
        if let Some(wanted) = learner.filter(|wanted| *wanted != found) {
            return Err(KeeperError::OtherLearner { found, wanted });
        }
        readers.push(reader);
        if on.is_none() {
            break;
        }
    }
    let (mut machine, mut kept): (_, Vec<Kept>) = (nothing(), Vec::new());
    for mut reader in readers.into_iter().rev() {
        let head = *reader.head();
        if head.on != kept.last().map(|kept| kept.head.number) {
            return flawed(head.number, "what it is to be put on is missing".into());
        }
        let mut builder = Builder::on(machine);
        let built = take_all(&mut reader, &mut builder);
        machine = match built.and_then(|()| builder.finish().map_err(|error| Unusable::image(&reader, error)))
        {
            Ok(machine) => machine,
            Err(Unusable::Image { error: ImageError::OtherLimits, .. }) => {
                return Err(KeeperError::OtherLimits);
            }
            Err(why @ (Unusable::File(_) | Unusable::Image { .. })) => {
                return flawed(head.number, why.to_string());
            }
        };
        kept.push(Kept { head, bytes: reader.size() });
    }
    Ok(Read { machine, kept, flaw: None })
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    File(#[from] Flaw),
    #[error("is no image before offset {offset}: {error}")]
    Image { offset: u64, error: ImageError },
}

impl Unusable {
    fn image<F: DiskFile>(reader: &Reader<F>, error: ImageError) -> Unusable {
        Unusable::Image { offset: reader.offset(), error }
    }
}

fn open_file<D: Disk>(disk: &mut D, number: u64) -> Result<Result<Reader<D::File>, Flaw>, KeeperError> {
    let name = name_of(number);
    let file = disk.open(&name).map_err(KeeperError::io(format!("open {name}")))?;
    Ok(Reader::open(file).and_then(|reader| {
        let is_named = reader.head().number == number;
        if is_named { Ok(reader) } else { Err(Flaw::Damaged { offset: 0, what: "it has another's name" }) }
    }))
}

fn take_all<F: DiskFile>(
    reader: &mut Reader<F>,
    builder: &mut Builder<MemoryStorage>,
) -> Result<(), Unusable> {
    while let Some(chunk) = reader.chunk()? {
        builder.take(&chunk).map_err(|error| Unusable::image(reader, error))?;
    }
    Ok(())
}
