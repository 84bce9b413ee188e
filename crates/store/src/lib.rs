//! Synod's replicated state machine: sessions, keys, hash chain.
//!
//! [`StateMachine`] applies chosen values in slot order (S7), gives each call its effect at most once (S9), and keeps a hash
//! chain by which two learners can tell the first slot at which they differ. It is written over [`Storage`], so that the
//! same code runs over memory and over a disk engine. Everything that decides an apply comes from the log and from
//! [`Limits`](synod_protocol::cluster::Limits), fixed at formation: no clock, no flag, no random number. Absent on purpose: consensus,
//! messages, and the clocks by which sessions are found idle (the learner's).

mod chain;
mod machine;
mod session;
mod storage;

pub use machine::{Applied, StateMachine};
pub use storage::{MemoryStorage, Storage};
