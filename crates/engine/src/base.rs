//! What lies on disk: an LSM tree that nothing is ever put into but whole sorted sets of writes, as tables of their own.
//!
//! A set becomes part of the tree by a new manifest, whose tables are synced before `current` names it (S3): after a crash at any point the tree is as
//! it was before the set, or as it is with it. There is no journal and nothing in memory to be lost or replayed: what the tree holds is what its
//! manifest names. Whoever writes also compacts, on the same thread: a failure is told, not left to a thread behind, and disk that
//! both need is theirs alone. Absent on purpose: threads.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, SeqNo, SequenceNumberCounter};
use synod_planted::Bug;

use crate::error::{EngineError, TOLD};
use crate::manifest::{self, Manifest};
use crate::open::Options;

/// Files of tables that are open at a time.
const OPEN_FILES: usize = 400;
/// Compactions after one set of writes, at most: each may make another one due, a level deeper.
const COMPACTIONS: usize = 4;
/// Sets of writes that wait to be compacted, at most. A manifest counts to 255 of them.
const RUNS_MOST: usize = 100;

/// A tree, shared by its storage, its vault and snapshots.
#[derive(Clone)]
pub(crate) struct Base(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    tree: AnyTree,
    /// Everything below is there to be read.
    visible: SequenceNumberCounter,
    /// Snapshots that live, by what they see; whoever holds this opens one or compacts.
    snapshots: Mutex<BTreeMap<SeqNo, u64>>,
    /// Whoever holds this writes.
    writing: Mutex<()>,
}

/// Of a set of writes: the value, or that the key is gone.
pub(crate) type Write = (Vec<u8>, Option<Vec<u8>>);

/// What it guards is whole whatever a thread that ended by a panic did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Base {
    /// Opens the tree in `folder`, made if it isn't there. What it holds is synced when this returns.
    pub(crate) fn open(folder: &Path, options: Options) -> Result<Base, EngineError> {
        if let Ok(text) = std::fs::read_to_string(folder.join(TOLD)) {
            return Err(EngineError::Damaged(format!("as was found while it was in use: {}", text.trim())));
        }
        let manifest = manifest::read(folder)?;
        if let Some(manifest) = &manifest {
            manifest::check_tables(folder, manifest)?;
        }
        let (next, visible) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let tree = Config::new(folder, next.clone(), visible.clone())
            .use_cache(Arc::new(Cache::with_capacity_bytes(options.cache_bytes)))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_FILES))))
            .open()?;
        for table in tree.current_version().iter_tables() {
            if table.path.file_name() != Some(table.id().to_string().as_ref()) {
                return Err(EngineError::Damaged(format!(
                    "a table's file has the name of table {}",
                    table.id()
                )));
            }
        }
        // Whatever comes must be younger than what is there.
        next.set(tree.get_highest_persisted_seqno().map_or(1, |highest| highest + 1));
        visible.set(next.get());
        // A name that a crash of the process left in memory alone is made durable before anybody relies on it.
        for path in [folder.join(manifest::TABLES), folder.to_path_buf()] {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(EngineError::io("sync", path))?;
        }
        let (snapshots, writing) = (Mutex::default(), Mutex::default());
        let folder = folder.to_path_buf();
        Ok(Base(Arc::new(Inner { folder, tree, visible, snapshots, writing })))
    }

    /// Removes everything.
    pub(crate) fn clear(&self) -> Result<(), EngineError> {
        let _writing = lock(&self.0.writing);
        if self.0.tree.table_count() > 0 {
            self.0.tree.clear()?;
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<lsm_tree::UserValue>, EngineError> {
        Ok(self.0.tree.get(key, SeqNo::MAX)?)
    }

    /// Writes a set, sorted by key: all of it is there and synced when this returns, or nothing of it is. Without room for it
    /// ([`EngineError::is_no_space`]) the tree is as it was and goes on; after any other failure the process must end (S3).
    pub(crate) fn write(&self, set: impl Iterator<Item = Write>) -> Result<(), EngineError> {
        let _writing = lock(&self.0.writing);
        let runs = self.0.tree.l0_run_count();
        if runs >= RUNS_MOST {
            return Err(EngineError::Uncompacted { runs });
        }
        self.or_clean(|tree| {
            let mut ingestion = tree.ingestion()?;
            for (key, value) in set {
                match value {
                    Some(value) => ingestion.write(&key, &value)?,
                    None => ingestion.write_tombstone(&key)?,
                }
            }
            ingestion.finish()
        })
    }

    /// Merges tables where that is due. Without room everything is as it was.
    pub(crate) fn compact(&self) -> Result<(), EngineError> {
        let _writing = lock(&self.0.writing);
        for _ in 0..COMPACTIONS {
            let before = self.0.tree.current_version().id();
            self.or_clean(|tree| tree.compact(Arc::new(Leveled::default()), self.unseen()))?;
            if self.0.tree.current_version().id() == before {
                break;
            }
        }
        Ok(())
    }

    /// What is older, and written over, no snapshot sees.
    fn unseen(&self) -> SeqNo {
        let snapshots = lock(&self.0.snapshots);
        let oldest = snapshots.keys().next().filter(|_| !synod_planted::is(Bug::SnapshotsNotHeld));
        oldest.copied().unwrap_or(self.0.visible.get()).saturating_sub(1)
    }

    /// Does what makes tables; if it fails for want of room, removes what it had written: the room may be missing elsewhere.
    fn or_clean(&self, work: impl FnOnce(&AnyTree) -> lsm_tree::Result<()>) -> Result<(), EngineError> {
        let Inner { folder, tree, .. } = &*self.0;
        let first = tree.next_table_id();
        let Err(error) = work(tree).map_err(EngineError::from) else { return Ok(()) };
        if !error.is_no_space() {
            return Err(error);
        }
        // Had `current` been replaced, those tables would be the state.
        let number = tree.current_version().id();
        if manifest::read_current(folder)?.is_none_or(|(current, _)| current != number) {
            return Err(EngineError::Halfway(Box::new(error)));
        }
        for id in first..tree.next_table_id() {
            let _tried = std::fs::remove_file(manifest::table_path(folder, id));
        }
        Err(error)
    }

    pub(crate) fn snapshot(&self) -> BaseSnapshot {
        let mut snapshots = lock(&self.0.snapshots);
        let sees = self.0.visible.get();
        *snapshots.entry(sees).or_default() += 1;
        drop(snapshots);
        BaseSnapshot { base: self.clone(), sees }
    }

    /// Ends the process: nothing that would be answered after this could be trusted (S3). If the store is damaged, the next start is told.
    pub(crate) fn stop(&self, error: impl Into<EngineError>) -> ! {
        let error = error.into();
        self.tell(&error);
        panic!("{error}")
    }

    /// Leaves word for the next start if this is damage: it might meet it as late as this life did, and so again and again.
    pub(crate) fn tell(&self, error: &EngineError) {
        if error.is_damage() {
            let _tried = std::fs::write(self.0.folder.join(TOLD), format!("{error}\n"));
        }
    }
}

/// The tree at one moment. While it lives, the tree keeps what it shows.
pub(crate) struct BaseSnapshot {
    base: Base,
    sees: SeqNo,
}

impl BaseSnapshot {
    /// Keys and values in order.
    pub(crate) fn range<R: RangeBounds<Vec<u8>>>(
        &self,
        range: R,
    ) -> impl Iterator<Item = Result<(lsm_tree::UserKey, lsm_tree::UserValue), EngineError>> + use<R> {
        let found = self.base.0.tree.range::<Vec<u8>, R>(range, self.sees, None);
        found.map(|guard| guard.into_inner().map_err(EngineError::from))
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }
}

impl Clone for BaseSnapshot {
    fn clone(&self) -> BaseSnapshot {
        *lock(&self.base.0.snapshots).entry(self.sees).or_default() += 1;
        BaseSnapshot { base: self.base.clone(), sees: self.sees }
    }
}

impl Drop for BaseSnapshot {
    fn drop(&mut self) {
        let mut snapshots = lock(&self.base.0.snapshots);
        if let Some(count) = snapshots.get_mut(&self.sees) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&self.sees);
            }
        }
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that are sound, with their bytes.
    pub files: Vec<(String, u64)>,
    /// Files that are not, and why; or what was found while the store was in use.
    pub flaws: Vec<(String, String)>,
}

/// Reads every byte of the store in `folder`, which no process has open, and compares it with the checksums that were written. Changes nothing.
pub fn verify(folder: &Path) -> Verified {
    let mut verified = Verified::default();
    if let Ok(text) = std::fs::read_to_string(folder.join(TOLD)) {
        verified.flaws.push((TOLD.into(), text.trim().into()));
    }
    let Manifest { number, tables } = match manifest::read(folder) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            verified.flaws.push((manifest::CURRENT.into(), "is missing".into()));
            return verified;
        }
        Err(error) => {
            verified.flaws.push((manifest::CURRENT.into(), error.to_string()));
            return verified;
        }
    };
    verified.files.push((format!("v{number}"), 0));
    for table in tables {
        let name = format!("{}/{}", manifest::TABLES, table.id);
        match manifest::verify_table(folder, table) {
            Ok((bytes, true)) => verified.files.push((name, bytes)),
            Ok((bytes, false)) => {
                verified.flaws.push((name, format!("is damaged: its {bytes} bytes aren't those written")));
            }
            Err(error) => verified.flaws.push((name, format!("can't be read: {error}"))),
        }
    }
    verified
}
