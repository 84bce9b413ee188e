//! Opens a store on disk: the state of its last checkpoint.

use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions};
use synod_protocol::cluster::Limits;
use synod_store::{Builder, StateMachine};

use crate::error::EngineError;
use crate::record::{self, About};
use crate::storage::DiskStorage;

/// fjall takes no less.
const LEAST_JOURNAL_BYTES: u64 = 64 << 20;

/// What bounds memory and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of blocks that are kept in memory.
    pub cache_bytes: u64,
    /// Bytes that fjall gathers in memory before it writes them to a table.
    pub memtable_bytes: u64,
    /// Bytes of fjall's own journal, at most; 64 MiB or more.
    pub journal_bytes: u64,
    /// Bytes of overlay at which a state that is being built is written down as it comes.
    pub spill_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cache_bytes: 256 << 20,
            memtable_bytes: 64 << 20,
            journal_bytes: 512 << 20,
            spill_bytes: 64 << 20,
        }
    }
}

/// Opens the store in `folder`, made if it isn't there: the state of its last checkpoint, or the one before the first slot.
pub fn open(
    folder: &Path,
    limits: Limits,
    options: Options,
) -> Result<StateMachine<DiskStorage>, EngineError> {
    let most = record::MOST_KEY_BYTES;
    if limits.key_bytes > most {
        return Err(EngineError::KeysTooLong { key_bytes: limits.key_bytes, most });
    }
    let database = Database::builder(folder)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.journal_bytes.max(LEAST_JOURNAL_BYTES))
        .worker_threads(1)
        .open()?;
    let keys = database
        .keyspace("state", || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes))?;
    let Some(about) = keys.get(record::ABOUT)? else {
        // Whatever else is there was spilled by a state that never had a checkpoint.
        keys.clear()?;
        let storage = DiskStorage::new(database, keys, None, options.spill_bytes);
        return Ok(StateMachine::new(limits, storage));
    };
    let about = About::read(&about)?;
    let mut pieces = Vec::new();
    for number in 0..about.rest {
        let missing = || EngineError::Damaged(format!("piece {number} of its sessions is missing"));
        pieces.push(keys.get(record::rest_key(number))?.ok_or_else(missing)?);
    }
    let storage = DiskStorage::new(database, keys, Some(about.keys), options.spill_bytes);
    let mut builder = Builder::around(limits, storage);
    for piece in pieces {
        builder.take(&piece)?;
    }
    Ok(builder.finish()?)
}
