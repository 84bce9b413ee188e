//! The engine on disk: [`Storage`](synod_store::Storage) over fjall's LSM tree, for data larger than memory.
//!
//! No command writes to disk. Writes gather in an overlay in memory; a checkpoint freezes it, and [`Vault::keep`] writes what is frozen, with
//! sessions, applied slot, chain and revision, as one atomic set and syncs it, on another thread while the state machine goes on.
//! What was overwritten meanwhile is written once. A read looks into the overlay, then into what is frozen, then into the tree. So what the tree holds is at
//! any time one whole checkpoint, and a restarted learner learns the rest again.
//!
//! fjall's own database isn't used: its journal, when damaged and replayed up to the damage, puts older writes over newer tables, and so makes a state
//! that never was. Here every set of writes becomes tables that a manifest names, and what the tree doesn't check by itself is checked before it
//! is opened (`manifest.rs`). A crash at any point leaves the checkpoint before, or the new one.
//!
//! Before the first checkpoint nothing in the tree counts: [`open`] clears it. That lets a state be built of an image larger than memory, in a directory of
//! its own: its keys are spilled to the tree as they come, and they become a state by the first checkpoint.
//!
//! Each record has a checksum over key, stamp and value besides those of the tree's blocks; damage that is met ends the process and leaves word of it in the
//! store, so that the next start refuses it (S3): a damaged value is never served. Absent on purpose: threads (the caller's) and a second
//! copy of the state machine's rules.

mod base;
mod error;
mod layer;
mod manifest;
mod merged;
mod open;
mod record;
mod storage;
mod vault;

pub use base::{Verified, verify};
pub use error::EngineError;
pub use open::{Options, open};
pub use storage::{DiskSnapshot, DiskStorage};
pub use vault::Vault;
