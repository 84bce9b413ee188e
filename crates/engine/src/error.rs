//! What can go wrong on disk, and what to do about it.

use std::io;
use std::path::PathBuf;

use synod_store::ImageError;

/// A file in the store that says it was found damaged while it was in use.
pub(crate) const TOLD: &str = "damaged";
/// What Linux says of a sector that can't be read: as lost as one that was changed.
const EIO: i32 = 5;

/// Why a store on disk can't be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The tree failed: an I/O error, no room, or files it can't read.
    #[error(
        "the store on disk failed: {0:?}; what the cluster acknowledged is safe with the other learners and the acceptors. If the disk \
         is full, make room and start again; if the store is damaged, start again: the state is fetched from a peer"
    )]
    Tree(#[from] lsm_tree::Error),
    /// A file can't be read or synced.
    #[error("can't {what} {}: {source}; what the cluster acknowledged is safe with the other learners and the acceptors", path.display())]
    Io {
        /// What failed.
        what: &'static str,
        /// Of which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was read isn't what was written.
    #[error(
        "the store on disk is damaged: {0}; nothing was served from it. Start again: the state is fetched from a peer"
    )]
    Damaged(String),
    /// A write failed so late that it can't be told whether it is there.
    #[error("a write failed halfway: {0}; start again: the store opens with it or without it")]
    Halfway(Box<EngineError>),
    /// Tables wait to be merged, and there is no room to do it.
    #[error("{runs} tables wait to be merged; make room in the data directory")]
    Uncompacted {
        /// How many.
        runs: usize,
    },
    /// Sessions or head that were read are no state.
    #[error(
        "the store on disk can't be used: {0}; remove the store's directory and start again: the state is fetched from a peer"
    )]
    Image(#[from] ImageError),
    /// Keys may be longer than the engine can hold.
    #[error(
        "[limits] key_bytes = {key_bytes} is more than the disk engine holds ({most} bytes): let this learner use the memory engine"
    )]
    KeysTooLong {
        /// The limit.
        key_bytes: u64,
        /// What the engine holds.
        most: u64,
    },
}

impl EngineError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> EngineError {
        let path = path.into();
        move |source| EngineError::Io { what, path, source }
    }

    fn io_error(&self) -> Option<&io::Error> {
        match self {
            EngineError::Tree(lsm_tree::Error::Io(error)) | EngineError::Io { source: error, .. } => {
                Some(error)
            }
            EngineError::Tree(_)
            | EngineError::Damaged(_)
            | EngineError::Halfway(_)
            | EngineError::Uncompacted { .. }
            | EngineError::Image(_)
            | EngineError::KeysTooLong { .. } => None,
        }
    }

    /// Whether the disk has no room for a write; the store is as it was before it.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, EngineError::Uncompacted { .. })
            || self.io_error().is_some_and(|error| [StorageFull, QuotaExceeded].contains(&error.kind()))
    }

    /// Whether files are missing, unreadable, or not as they were written: another start won't help.
    pub fn is_damage(&self) -> bool {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match self {
            EngineError::Tree(lsm_tree::Error::Io(error)) | EngineError::Io { source: error, .. } => {
                [InvalidData, NotFound, UnexpectedEof].contains(&error.kind())
                    || error.raw_os_error() == Some(EIO)
            }
            EngineError::Tree(_) | EngineError::Damaged(_) => true,
            EngineError::Image(error) => !matches!(error, ImageError::OtherLimits),
            EngineError::Halfway(_) | EngineError::Uncompacted { .. } | EngineError::KeysTooLong { .. } => {
                false
            }
        }
    }
}
