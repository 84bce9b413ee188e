//! The engine on disk: a store for the state, and another one while a peer's snapshot is being built.
//!
//! `store-<number>` are the engine's own folders; the highest that holds a checkpoint is the state, and others are removed. `owner` tells whose
//! they are. Identity is written before the first checkpoint, so that no state is without.

use std::fs;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use synod_engine::{DiskSnapshot, DiskStorage, Options, Vault, open};
use synod_journal::directory::Directory;
use synod_journal::{Disk, DiskFile};
use synod_protocol::cluster::Limits;
use synod_protocol::{ClusterId, LearnerId, Slot};
use synod_store::StateMachine;

use super::background::{Empty, Failed, Job, Keep};

/// How the folders of this engine begin.
pub(crate) const STORE: &str = "store-";
const OWNER: &str = "owner";
/// The engine takes no more writes once one has failed, so a checkpoint is begun only where twice its bytes and this fit.
const SPARE_BYTES: u64 = 256 << 20;

/// A store's folder, and how it is written to.
pub(crate) struct Place {
    vault: Vault,
    folder: PathBuf,
}

/// Writes checkpoints into the store that holds the state.
pub(crate) struct Stores {
    directory: Directory,
    learner: LearnerId,
    owner: Option<ClusterId>,
    place: Place,
}

/// What was found, or made.
pub(crate) struct Opened {
    pub(crate) machine: StateMachine<DiskStorage>,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) stores: Stores,
    pub(crate) folders: Folders,
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
    let cluster = read_owner(directory, learner)?;
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
    numbers.sort_unstable();
    let number = numbers.last().copied().unwrap_or(0);
    let folder_of = |number| directory.join(format!("{STORE}{number}"));
    let mut found = None;
    while let Some(number) = numbers.pop() {
        let folder = folder_of(number);
        let machine =
            open(&folder, limits, options).map_err(|error| format!("{}: {error}", folder.display()))?;
        let is_state = machine.applied() > Slot::ZERO;
        if is_state {
            found = Some((machine, folder));
            break;
        }
        // It was being built, or never had a checkpoint.
        drop(machine);
        fs::remove_dir_all(&folder).map_err(failed("remove", &folder))?;
    }
    for older in numbers {
        fs::remove_dir_all(folder_of(older)).map_err(failed("remove", &folder_of(older)))?;
    }
    let mut folders = Folders { directory: directory.to_path_buf(), limits, options, number };
    let (machine, folder) = match found {
        Some(found) => found,
        None => folders.make()?,
    };
    let place = Place { vault: machine.storage().vault(), folder };
    let stores = Stores { directory: locked, learner, owner: cluster, place };
    Ok(Opened { machine, cluster, stores, folders })
}

fn read_owner(directory: &Path, learner: LearnerId) -> Result<Option<ClusterId>, String> {
    let path = directory.join(OWNER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let (found, cluster) = text.trim().split_once(' ').unwrap_or_default();
    if found != learner.to_string() {
        return Err(format!(
            "{} is the store of {found}, not of {learner}: nothing was changed; give {learner} its own --data-dir",
            directory.display()
        ));
    }
    let cluster = u128::from_str_radix(cluster, 16);
    cluster.map(|cluster| Some(ClusterId(cluster))).map_err(|_| {
        format!(
            "{} is damaged: nothing was changed; move the directory away and start again: the state is fetched from a peer",
            path.display()
        )
    })
}

fn write_owner(directory: &mut Directory, learner: LearnerId, cluster: ClusterId) -> io::Result<()> {
    const UNFINISHED: &str = "owner.new";
    let text = format!("{learner} {:032x}\n", cluster.0);
    let mut file = directory.create(UNFINISHED)?;
    file.write_at(0, &mut [IoSlice::new(text.as_bytes())])?;
    file.sync()?;
    directory.rename(UNFINISHED, OWNER)?;
    directory.sync_directory()
}

impl Keep for Stores {
    type Snapshot = DiskSnapshot;
    type Place = Place;

    fn keep(&mut self, job: Job<DiskSnapshot, Place>) -> Result<Slot, Failed> {
        let fatal = |why: String| Failed::Fatal(why);
        if self.owner != Some(job.cluster) {
            let written = write_owner(&mut self.directory, self.learner, job.cluster);
            written.map_err(failed("write the owner of", self.directory.path())).map_err(fatal)?;
            self.owner = Some(job.cluster);
        }
        let obsolete = job.other.map(|place| std::mem::replace(&mut self.place, place));
        self.place.vault.keep(&job.image).map_err(|error| fatal(error.to_string()))?;
        if let Some(Place { vault, folder }) = obsolete {
            drop(vault);
            self.directory
                .sync_directory()
                .and_then(|()| fs::remove_dir_all(&folder))
                .map_err(failed("remove", &folder))
                .map_err(fatal)?;
        }
        Ok(job.image.applied())
    }
}

impl Folders {
    fn make(&mut self) -> Result<(StateMachine<DiskStorage>, PathBuf), String> {
        self.number += 1;
        let folder = self.directory.join(format!("{STORE}{}", self.number));
        let machine = open(&folder, self.limits, self.options)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok((machine, folder))
    }
}

impl Empty<DiskStorage, Place> for Folders {
    fn empty(&mut self, unused: Option<Place>) -> Result<(DiskStorage, Place), String> {
        if let Some(Place { vault, folder }) = unused {
            drop(vault);
            fs::remove_dir_all(&folder).map_err(failed("remove", &folder))?;
        }
        let (machine, folder) = self.make()?;
        let vault = machine.storage().vault();
        Ok((machine.into_storage(), Place { vault, folder }))
    }

    fn has_room(&self, bytes: u64) -> bool {
        // Where it can't be told, the engine finds out.
        let room = rustix::fs::statvfs(&self.directory);
        room.map_or(true, |room| {
            room.f_bavail.saturating_mul(room.f_frsize) > bytes.saturating_mul(2) + SPARE_BYTES
        })
    }
}
