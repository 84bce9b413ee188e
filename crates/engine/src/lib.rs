//! The engine on disk: [`Storage`](synod_store::Storage) over fjall, for data larger than memory.
//!
//! No command writes to disk. Writes gather in an overlay in memory; a checkpoint freezes it, and [`Vault::keep`] writes what is frozen, with
//! sessions, applied slot, chain and revision, as one atomic batch and syncs it, on another thread while the state machine goes on.
//! What was overwritten meanwhile is written once. A read looks into the overlay, then into what is frozen, then into fjall. So what fjall holds is at any time
//! one whole checkpoint, and a restarted learner learns the rest again. One keyspace holds all of it: fjall flushes and recovers a
//! keyspace by whole batches.
//!
//! Before the first checkpoint nothing in fjall counts: [`open`] clears it. That lets a state be built of an image larger than memory, in a directory of
//! its own: its keys are spilled to fjall as they come, and they become a state by the first checkpoint.
//!
//! Each record has a checksum over key, stamp and value besides those of fjall's blocks; whatever fails ends the process with what to do
//! (S3): a damaged value is never served. Absent on purpose: threads (the caller's) and a second copy of the state machine's rules.

mod error;
mod layer;
mod merged;
mod open;
mod record;
mod storage;
mod vault;

pub use error::EngineError;
pub use open::{Options, open};
pub use storage::{DiskSnapshot, DiskStorage};
pub use vault::Vault;
