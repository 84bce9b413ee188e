//! Opens a store on disk: the state of its last checkpoint.

use std::path::Path;

use synod_protocol::cluster::Limits;
use synod_store::{Builder, StateMachine};

use crate::base::Base;
use crate::error::EngineError;
use crate::record::{self, About};
use crate::storage::DiskStorage;

/// What bounds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of blocks that are kept in memory.
    pub cache_bytes: u64,
    /// Bytes of overlay at which a state that is being built is written down as it comes.
    pub spill_bytes: u64,
    /// Bytes of overlay at which the storage is full until there is room for a checkpoint.
    pub most_overlay_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_bytes: 256 << 20, spill_bytes: 64 << 20, most_overlay_bytes: 1 << 30 }
    }
}

/// Opens the store in `folder`, made if it isn't there: the state of its last checkpoint, which is synced, or the one before the first slot.
pub fn open(
    folder: &Path,
    limits: Limits,
    options: Options,
) -> Result<StateMachine<DiskStorage>, EngineError> {
    let most = record::MOST_KEY_BYTES;
    if limits.key_bytes > most {
        return Err(EngineError::KeysTooLong { key_bytes: limits.key_bytes, most });
    }
    let base = Base::open(folder, options)?;
    let Some(about) = base.get(&record::ABOUT)? else {
        // Whatever is there was spilled by a state that never had a checkpoint.
        base.clear()?;
        return Ok(StateMachine::new(limits, DiskStorage::new(base, None, options)));
    };
    let about = About::read(&about)?;
    let mut pieces = Vec::new();
    for number in 0..about.rest {
        let missing = || EngineError::Damaged(format!("piece {number} of its sessions is missing"));
        pieces.push(base.get(&record::rest_key(number))?.ok_or_else(missing)?);
    }
    let mut builder = Builder::around(limits, DiskStorage::new(base, Some(about.keys), options));
    for piece in pieces {
        builder.take(&piece)?;
    }
    Ok(builder.finish()?)
}
