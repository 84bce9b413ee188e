//! What can go wrong on disk, and what to do about it.

use synod_store::ImageError;

/// Why a store on disk can't be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// fjall failed: an I/O error, no room, or files it can't read.
    #[error(
        "the store on disk failed: {0:?}; what the cluster acknowledged is safe with the other learners and the acceptors. If the disk \
         is full, make room and start again; if it is damaged, remove the store's directory and start again: the state is fetched from a peer"
    )]
    Disk(#[from] fjall::Error),
    /// What was read isn't what was written.
    #[error(
        "the store on disk is damaged: {0}; nothing was served from it. Remove the store's directory and start again: the state is fetched \
         from a peer"
    )]
    Damaged(String),
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

/// Ends the process: nothing that a storage would answer after this could be trusted (S3).
pub(crate) fn stop(error: impl Into<EngineError>) -> ! {
    panic!("{}", error.into())
}
