//! Synod's replicated state machine: sessions, keys with their revisions, hash chain.
//!
//! [`StateMachine`] applies chosen values in slot order (S7), gives each call its effect at most once (S9), and keeps a hash
//! chain by which two learners can tell the first slot at which they differ. It is written over [`Storage`], so that the
//! same code runs over memory and over a disk engine. An [`Image`] is the whole state at one slot; its chunks go into checkpoints,
//! snapshot transfers and backups, and a [`Builder`] makes the state of them again. Everything that decides an apply comes from the log and from
//! [`Limits`](synod_protocol::cluster::Limits), fixed at formation: no clock, no flag, no random number. Absent on purpose: consensus,
//! messages, files, and the clocks by which sessions are found idle (the learner's).

mod backup;
mod builder;
mod chain;
mod contents;
mod image;
mod item;
mod machine;
mod memory;
mod outcome;
mod session;
mod storage;

pub use backup::{BackupError, BackupReader, BackupWriter};
pub use builder::{Builder, ImageError};
pub use contents::{Contents, Summary};
pub use image::{Changes, Chunk, Cursor, Image, Mark};
pub use machine::{Applied, StateMachine};
pub use memory::{MemoryMark, MemorySnapshot, MemoryStorage};
pub use storage::{Elsewhere, Record, RecordRef, Snapshot, Stamp, Storage};
