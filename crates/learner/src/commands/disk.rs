//! The engine on disk: a store for the state, and another one while a peer's snapshot is being built.
//!
//! `store-<number>` are the engine's own folders. `owner` tells whose they are, and which one is the state; it names a store when a checkpoint of it is
//! synced, in one step. Others were being built, or are what was replaced: they are removed unread. A named store that is damaged is set
//! aside, and the learner begins without a state, which a peer gives it.

use std::fs;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use synod_engine::{DiskSnapshot, DiskStorage, EngineError, Options, Vault, open};
use synod_journal::directory::Directory;
use synod_journal::{Disk, DiskFile};
use synod_protocol::cluster::Limits;
use synod_protocol::{ClusterId, LearnerId, Slot};
use synod_store::StateMachine;
use xxhash_rust::xxh3::xxh3_64;

use super::background::{Empty, Failed, Job, Keep};
use super::throttle::Rate;

/// How the folders of this engine begin.
pub(crate) const STORE: &str = "store-";
/// How a damaged one begins.
const ASIDE: &str = "unusable-";
const OWNER: &str = "owner";

/// A store's folder, and how it is written to.
pub(crate) struct Place {
    vault: Vault,
    folder: PathBuf,
    number: u64,
}

/// Whose stores these are, and which one is the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) learner: LearnerId,
    pub(crate) cluster: ClusterId,
    number: u64,
}

impl Owned {
    /// Where the state lies.
    pub(crate) fn folder(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{STORE}{}", self.number))
    }

    /// The line of `owner`, with a checksum.
    fn line(&self) -> String {
        let said = format!("{} {:032x} {}", self.learner, self.cluster.0, self.number);
        format!("{said} {:016x}\n", xxh3_64(said.as_bytes()))
    }

    fn read(text: &str) -> Option<Owned> {
        let (said, _) = text.trim_end().rsplit_once(' ')?;
        let (learner, rest) = said.split_once(' ')?;
        let (cluster, number) = rest.split_once(' ')?;
        let learner = LearnerId(learner.strip_prefix('l')?.parse().ok()?);
        let cluster = ClusterId(u128::from_str_radix(cluster, 16).ok()?);
        let owned = Owned { learner, cluster, number: number.parse().ok()? };
        (owned.line() == text).then_some(owned)
    }
}

/// Writes checkpoints into the store that holds the state.
pub(crate) struct Stores {
    directory: Directory,
    learner: LearnerId,
    owner: Option<Owned>,
    place: Place,
    /// What `place` replaces, until a checkpoint of that is synced.
    obsolete: Vec<PathBuf>,
}

/// What was found, or made.
pub(crate) struct Opened {
    pub(crate) machine: StateMachine<DiskStorage>,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) stores: Stores,
    pub(crate) folders: Folders,
    /// The damaged store that was set aside, as it is named since, and why.
    pub(crate) set_aside: Option<(PathBuf, String)>,
}

/// Makes empty stores.
pub(crate) struct Folders {
    directory: PathBuf,
    limits: Limits,
    options: Options,
    /// The highest number of a folder.
    number: u64,
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> String + 'a {
    move |error| format!("can't {what} {}: {error}", path.display())
}

/// Opens the state in `directory`, which this process has locked.
pub(crate) fn open_stores(
    locked: Directory,
    learner: LearnerId,
    limits: Limits,
    options: Options,
) -> Result<Opened, String> {
    let directory = locked.path();
    let owner = find_owner(directory)?;
    if let Some(Owned { learner: found, .. }) = owner
        && found != learner
    {
        return Err(format!(
            "{} is the store of {found}, not of {learner}: nothing was changed; give {learner} its own --data-dir",
            directory.display()
        ));
    }
    let numbers = numbers(directory)?;
    let highest = numbers.iter().copied().chain(owner.map(|owner| owner.number)).max().unwrap_or(0);
    let mut folders = Folders { directory: directory.to_path_buf(), limits, options, number: highest };
    let (mut found, mut set_aside) = (None, None);
    if let Some(Owned { number, .. }) = owner {
        let folder = folders.folder(number);
        match open_state(&folder, limits, options) {
            Ok(machine) => found = Some((machine, folder, number)),
            Err(Unopened::Damaged(why)) => set_aside = Some((put_aside(directory, &folder)?, why)),
            Err(Unopened::Other(why)) => return Err(why),
        }
    }
    let kept = found.as_ref().map(|(.., number)| *number);
    for other in numbers.into_iter().filter(|number| Some(*number) != kept) {
        remove(&folders.folder(other))?;
    }
    let (machine, place) = match found {
        Some((machine, folder, number)) => {
            let vault = machine.storage().vault();
            (machine, Place { vault, folder, number })
        }
        None => folders.make().map_err(|error| format!("{}: {error}", directory.display()))?,
    };
    let cluster = owner.map(|owner| owner.cluster);
    let stores = Stores { directory: locked, learner, owner, place, obsolete: Vec::new() };
    Ok(Opened { machine, cluster, stores, folders, set_aside })
}

/// The numbers of the stores that lie in a directory.
fn numbers(directory: &Path) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed("list", directory))? {
        let name = entry.map_err(failed("list", directory))?.file_name().to_string_lossy().into_owned();
        if name.starts_with("checkpoint-") {
            return Err(format!(
                "{} holds checkpoints of the memory engine: nothing was changed; start with --engine memory, or give another --data-dir: \
                 the state is then fetched from a peer",
                directory.display()
            ));
        }
        numbers.extend(name.strip_prefix(STORE).and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// Why the store that is the state doesn't open.
enum Unopened {
    Damaged(String),
    Other(String),
}

fn open_state(
    folder: &Path,
    limits: Limits,
    options: Options,
) -> Result<StateMachine<DiskStorage>, Unopened> {
    if !folder.is_dir() {
        return Err(Unopened::Damaged(format!("{} is missing", folder.display())));
    }
    let unopened = |error: EngineError| {
        let why = format!("{}: {error}", folder.display());
        if error.is_damage() { Unopened::Damaged(why) } else { Unopened::Other(why) }
    };
    let machine = open(folder, limits, options).map_err(unopened)?;
    if machine.applied() == Slot::ZERO {
        return Err(Unopened::Damaged(format!("{} holds no checkpoint", folder.display())));
    }
    Ok(machine)
}

/// Renames a damaged store, in place of one that was set aside before: a state's room twice is enough.
fn put_aside(directory: &Path, folder: &Path) -> Result<PathBuf, String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let renamed = directory.join(format!("{ASIDE}{name}"));
    if !folder.is_dir() {
        return Ok(renamed);
    }
    for entry in fs::read_dir(directory).map_err(failed("list", directory))? {
        let path = entry.map_err(failed("list", directory))?.path();
        let is_aside = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE));
        if is_aside && path.is_dir() {
            remove(&path)?;
        }
    }
    fs::rename(folder, &renamed).map_err(failed("rename", folder))?;
    Ok(renamed)
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What `owner` says, if it is there.
pub(crate) fn find_owner(directory: &Path) -> Result<Option<Owned>, String> {
    let path = directory.join(OWNER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    Owned::read(&text).map(Some).ok_or_else(|| {
        format!(
            "{} is damaged, so that whose store this is can't be told: nothing was changed; move the directory away and start again: the \
             state is fetched from a peer",
            path.display()
        )
    })
}

fn write_owner(directory: &mut Directory, owner: Owned) -> io::Result<()> {
    const UNFINISHED: &str = "owner.new";
    let mut file = directory.create(UNFINISHED)?;
    file.write_at(0, &mut [IoSlice::new(owner.line().as_bytes())])?;
    file.sync()?;
    directory.rename(UNFINISHED, OWNER)?;
    directory.sync_directory()
}

impl Stores {
    /// Makes the store of this place the one that `owner` names.
    fn name(&mut self, owner: Owned) -> io::Result<()> {
        if self.owner != Some(owner) {
            write_owner(&mut self.directory, owner)?;
            self.owner = Some(owner);
        }
        Ok(())
    }
}

impl Keep for Stores {
    type Snapshot = DiskSnapshot;
    type Place = Place;

    /// All at once: the engine's tables have no steps.
    fn keep(&mut self, job: Job<DiskSnapshot, Place>, _rate: &Rate) -> Result<Slot, Failed> {
        if let Some(place) = job.other {
            self.obsolete.push(std::mem::replace(&mut self.place, place).folder);
        }
        let failed_to_keep = |error: EngineError| {
            if error.is_no_space() { Failed::NoRoom } else { Failed::Fatal(error.to_string()) }
        };
        self.place.vault.keep(&job.image).map_err(failed_to_keep)?;
        let owner = Owned { learner: self.learner, cluster: job.cluster, number: self.place.number };
        self.name(owner).map_err(|error| {
            use io::ErrorKind::{QuotaExceeded, StorageFull};
            let why = failed("write the owner of", self.directory.path());
            if [StorageFull, QuotaExceeded].contains(&error.kind()) {
                Failed::NoRoom
            } else {
                Failed::Fatal(why(error))
            }
        })?;
        for folder in self.obsolete.drain(..) {
            remove(&folder).map_err(Failed::Fatal)?;
        }
        Ok(job.image.applied())
    }

    fn tidy(&mut self) -> Result<(), String> {
        match self.place.vault.compact() {
            // It is tried again after the next checkpoint.
            Err(error) if !error.is_no_space() => Err(error.to_string()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Folders {
    fn folder(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{STORE}{number}"))
    }

    fn make(&mut self) -> Result<(StateMachine<DiskStorage>, Place), EngineError> {
        self.number += 1;
        let (folder, number) = (self.folder(self.number), self.number);
        let machine = open(&folder, self.limits, self.options)?;
        let vault = machine.storage().vault();
        Ok((machine, Place { vault, folder, number }))
    }
}

impl Empty<DiskStorage, Place> for Folders {
    fn empty(&mut self, unused: Option<Place>) -> Result<(DiskStorage, Place), Failed> {
        if let Some(Place { folder, .. }) = unused {
            remove(&folder).map_err(Failed::Fatal)?;
        }
        // What of it was made before there was no room for the rest.
        let made = self.make();
        let (machine, place) = match made {
            Err(error) if error.is_no_space() => {
                remove(&self.folder(self.number)).map_err(Failed::Fatal)?;
                return Err(Failed::NoRoom);
            }
            made => made.map_err(|error| Failed::Fatal(format!("{}: {error}", self.directory.display())))?,
        };
        Ok((machine.into_storage(), place))
    }
}
