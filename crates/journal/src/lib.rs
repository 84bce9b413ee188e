//! The journal: an append-only, segmented log with group commit, in which an acceptor keeps its votes.
//!
//! Records are opaque byte strings. [`Journal::append`] stages them, [`Journal::commit`] writes all that is staged as
//! one numbered batch and syncs it once; when it has returned, what was staged may be told to others. Batch n+1 is
//! written only after batch n is synced, so a batch (or a seal, written by [`Journal::seal`] when idle and at
//! shutdown) proves that all before it were synced. [`Recovery::read`] relies on that: only damage inside the last
//! batch, when nothing proves it synced, is a torn tail and is cut. Any other damage stops it, since the acceptor may
//! have voted on what is lost.
//!
//! ```text
//! segment-<16 hex digits>, entries at multiples of the block size; prepared (written with zeros, synced) beforehand
//!   head    magic, format, block size, segment, prepared size, first batch, sealed through, oldest segment,
//!           recycled, length of the caller's blob, checksum, blob
//!   batch   magic, kind, number, sealed through, records, payload bytes, payload checksum, header checksum;
//!           payload: for each record a 4-byte length and its bytes; zeros to the end of the block
//!   seal    a header without payload: "synced through n"
//! segment-… older than a synced head calls needed: waits to be used again; its content never matters
//! spare     the next segment while it is being prepared; its content never matters
//! reserve   a small spare for a full disk; its content never matters
//! LOCK      held by the process that has the directory open
//! ```
//!
//! What rot, a stale or misdirected block, or a lost file can do (one of them at a time):
//!
//! | where | outcome of recovery |
//! |---|---|
//! | a batch that a later batch, a seal or a later segment's head proves synced; any head in use; a missing or shorter segment | refused with [`Error::Damaged`], [`Error::Missing`] or [`Error::Format`]; never cut, never changed |
//! | a seal | exact: its batch counts as unsealed again (refused when a later entry stands behind it) |
//! | padding, free space, old bytes of a recycled segment, a spare, a segment that is no longer needed | exact |
//! | the last batch, unsealed | without that batch: this can't be told from a write that was torn and never acknowledged |
//! | the whole last segment missing | without its batches: only others can know of them (S12) |
//!
//! So an acknowledged batch can be lost to rot only between its sync and the next batch, seal or recovery, whichever comes
//! first; a caller that seals when idle keeps that short. What a failed disk operation leaves is [`Error::Io`], never
//! damage.
//!
//! Rules upheld: S2 (durable before told: `commit` returns only after the sync), S3 (a failed write or sync poisons the
//! journal, and recovery rewrites a tail that may not have been synced into a new segment), S11 (a segment is dropped
//! only once a synced head says so), I12 (damage is detected by checksums that cover place and segment), I16 (recovery
//! changes nothing until [`Recovery::start`], whose one effect is a new segment that appears whole or not at all).
//!
//! Absent on purpose: clocks, threads, randomness, hash maps, retries, knowledge of what records mean, repair.

pub mod directory;
pub mod memory;

mod disk;
mod error;
mod format;
mod journal;
mod older;
mod options;
mod recovery;
mod scan;
mod segment;
mod spare;
mod staged;
mod stock;

pub use disk::{Disk, DiskFile};
pub use error::Error;
pub use journal::{Journal, Preparation};
pub use options::Options;
pub use recovery::{Cut, Recovery, Replayed, Summary, Verdict};
pub use scan::Place;
