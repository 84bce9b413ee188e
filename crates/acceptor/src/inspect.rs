//! Looking at a journal without its acceptor: what its segments hold, whether it is sound, and where it isn't.
//!
//! Runs recovery as the daemon does, on whatever disk, and changes nothing (I16). Absent on purpose: printing, and repair: a damaged acceptor is
//! wiped and readmitted (S12).

use synod_journal::{Disk, Error, Options, Place, Recovery, Replayed, Summary};
use synod_protocol::wire;

use crate::durable::{Durable, Head, Record};
use crate::replay::{Replay, SegmentHead};

/// What is found, in the order in which it was written.
#[derive(Debug)]
pub enum Found<'a> {
    /// A segment begins.
    Segment {
        /// Its number.
        segment: u64,
        /// The first batch in it.
        first_batch: u64,
        /// The acceptor's state but for the votes, when the segment came to be.
        head: &'a Head,
    },
    /// A record.
    Record {
        /// The batch it is part of.
        place: Place,
        /// The record.
        record: &'a Record,
    },
}

/// Reads the whole journal, telling what it finds; then the state that an acceptor would start with. Nothing comes back for a journal without
/// any segment.
///
/// # Errors
/// What would keep the acceptor from starting: damage with its file and offset, above all.
pub fn inspect<D: Disk>(
    disk: D,
    mut tell: impl FnMut(Found<'_>),
) -> Result<Option<(Durable, Summary)>, Error> {
    let mut replay = Replay::of_anyone();
    let recovery = Recovery::read(disk, Options::default(), |replayed| {
        match &replayed {
            Replayed::Head { segment, first_batch, blob } => {
                let SegmentHead { head, .. } = wire::decode_frame(blob.clone())?;
                tell(Found::Segment { segment: *segment, first_batch: *first_batch, head: &head });
            }
            Replayed::Record { place, record } => {
                let record: Record = wire::decode_frame(record.clone())?;
                tell(Found::Record { place: *place, record: &record });
            }
        }
        replay.take(replayed)
    })?;
    let summary = recovery.summary().clone();
    Ok((summary.segments > 0).then_some((replay.durable, summary)))
}

/// Whether this error means that the journal can't be trusted, rather than that it couldn't be read.
pub fn is_damage(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } | Error::Missing { .. } | Error::Format { .. } | Error::Refused { .. } => true,
        Error::Io { .. }
        | Error::NoSpace { .. }
        | Error::Locked { .. }
        | Error::Directory { .. }
        | Error::Options { .. } => false,
    }
}
