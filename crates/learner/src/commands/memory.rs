//! The engine in memory: checkpoint files in the data directory.

use synod_journal::Disk;
use synod_journal::directory::Directory;
use synod_learner::keeper::{Keeper, KeeperError};
use synod_protocol::Slot;
use synod_store::{MemorySnapshot, MemoryStorage};

use super::background::{Empty, Failed, Job, Keep};
use super::throttle::Rate;

/// Writes checkpoint files.
pub(crate) struct Files<D: Disk>(pub(crate) Keeper<D>);

impl<D: Disk<File: Send> + Send + 'static> Keep for Files<D> {
    type Snapshot = MemorySnapshot;
    type Place = ();

    fn keep(&mut self, job: Job<MemorySnapshot, ()>, rate: &Rate) -> Result<Slot, Failed> {
        let failed = |error: KeeperError| {
            if error.is_no_space() { Failed::NoRoom } else { Failed::Fatal(error.to_string()) }
        };
        self.0.begin(job.image, job.cluster, job.other.is_some()).map_err(failed)?;
        loop {
            if let Some(slot) = self.0.step().map_err(failed)? {
                return Ok(slot);
            }
            rate.wrote(self.0.chunk_bytes());
        }
    }
}

/// Memory is there without asking.
pub(crate) struct Memory {
    /// Of its hashes.
    pub(crate) seed: u64,
}

impl Empty<MemoryStorage, ()> for Memory {
    fn empty(&mut self, _unused: Option<()>) -> Result<(MemoryStorage, ()), Failed> {
        Ok((MemoryStorage::seeded(self.seed), ()))
    }
}

/// What the disk engine keeps its stores in; a directory is one engine's.
pub(crate) fn check_engine(disk: &Directory) -> Result<(), String> {
    let names = disk.names().map_err(|error| format!("can't list {}: {error}", disk.path().display()))?;
    if names.iter().any(|name| name.starts_with(super::disk::STORE)) {
        return Err(format!(
            "{} holds a store of the disk engine: nothing was changed; start with --engine disk, or give another --data-dir: the state is \
             then fetched from a peer",
            disk.path().display()
        ));
    }
    Ok(())
}
