//! Recovery: what a journal holds after any crash, or the reason why nobody may trust it.
//!
//! Rules upheld. S3: a last batch that nothing proves synced is written again to a new segment, and synced, before
//! [`Recovery::start`] returns. I12: only damage inside the last unsealed batch is cut; any other stops. I16: reading
//! changes nothing, and starting adds one segment whole or not at all, perhaps in the place of one that nobody needs, so
//! that recovery can be interrupted and repeated. Absent on purpose: repair, and detection of segments lost at the end (S12: peers remember the position).

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use synod_planted::Bug;

use crate::format::{Head, segment_name, segment_of};
use crate::older::Older;
use crate::scan::{self, Batch, End, Place, Segment};
use crate::segment::{self, Active, Carried, Plan};
use crate::staged::split;
use crate::stock::Stock;
use crate::{Disk, DiskFile, Error, Journal, Options};

/// What recovery hands to the caller, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The blob in the head of a segment: the caller's state when the segment came to be.
    Head {
        /// The segment.
        segment: u64,
        /// The batch that comes next. After a crash it may be one that this head already includes.
        first_batch: u64,
        /// What the caller gave to the head.
        blob: Bytes,
    },
    /// A record of a batch.
    Record {
        /// The batch it belongs to.
        place: Place,
        /// Head and bodies as one.
        record: Bytes,
    },
}

/// A torn tail, left out by recovery. It was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment's file.
    pub name: String,
    /// Where the tail starts.
    pub offset: u64,
    /// Its size; when its header is lost, up to the last byte that was written.
    pub bytes: u64,
}

/// What recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of the last batch; 0 when there is none.
    pub batches: u64,
    /// Records replayed.
    pub records: u64,
    /// Segments read.
    pub segments: u64,
    /// Older ones that nobody needs, and nobody reads: they wait to be used again.
    pub unneeded: u64,
    /// The torn tail, when there was one. One without its header in a recycled segment looks like old bytes and goes
    /// untold.
    pub cut: Option<Cut>,
    /// The last batch may not be synced where it was found, so [`Recovery::start`] writes it again.
    pub rewritten: bool,
    /// The blob in the head of the last segment; `None` when the journal has no segment at all.
    pub last_head: Option<Bytes>,
}

/// A journal that was read and judged sound, and not yet touched.
#[derive(Debug)]
pub struct Recovery<D: Disk> {
    disk: D,
    options: Options,
    summary: Summary,
    older: Older,
    /// `None` when the journal has no segment.
    tail: Option<Tail<D::File>>,
}

#[derive(Debug)]
struct Tail<F> {
    active: Active<F>,
    unsealed: Option<Carried>,
    /// Sealed, and followed by nothing but zeros: appends may go on here.
    clean: bool,
    final_seal: Option<u64>,
}

/// The caller's answer to a replayed item; an error stops recovery.
pub type Verdict = Result<(), Box<dyn StdError + Send + Sync>>;

impl<D: Disk> Recovery<D> {
    /// Reads the journal and replays it, head by head and record by record. Nothing is written.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Missing`] and [`Error::Format`] when the journal can't be trusted,
    /// [`Error::Refused`] when `replay` refuses, [`Error::Io`] when it can't be read.
    pub fn read(
        mut disk: D,
        options: Options,
        mut replay: impl FnMut(Replayed) -> Verdict,
    ) -> Result<Recovery<D>, Error> {
        options.check()?;
        let names = disk
            .names()
            .or_else(|source| {
                if synod_planted::is(Bug::UnreadableTakenForEmpty) { Ok(Vec::new()) } else { Err(source) }
            })
            .map_err(|source| Error::io("list", "the journal's directory", source))?;
        let mut present: Vec<u64> = names.iter().filter_map(|name| segment_of(name)).collect();
        present.sort_unstable();
        let (mut older, segments) = open_chain(&mut disk, &present)?;
        let mut summary = Summary { unneeded: older.first_batches().count() as u64, ..Summary::default() };
        let mut tail = None;
        let following: Vec<Option<Head>> =
            segments.iter().skip(1).map(|segment| Some(segment.head)).chain([None]).collect();
        for (segment, next) in segments.into_iter().zip(following) {
            replay_head(&segment, &mut replay)?;
            let end = scan::entries(&segment, |batch| {
                // A batch that the next segment has again is replayed from there.
                if next.is_some_and(|next| batch.number >= next.first_batch)
                    && !synod_planted::is(Bug::CarriedBatchReplayedTwice)
                {
                    return Ok(());
                }
                summary.records += batch.records;
                replay_batch(&segment, batch, &mut replay)
            })?;
            summary.segments += 1;
            summary.last_head = Some(segment.blob.clone());
            match next {
                Some(next) => {
                    check_joint(&segment, &end, &next)?;
                    older.push(&segment.head);
                }
                None => {
                    summary.cut = judge_tail(&segment, &end)?;
                    summary.batches = end.last;
                    summary.rewritten = end.unsealed.is_some();
                    tail = Some(Tail::new(segment, end));
                }
            }
        }
        Ok(Recovery { disk, options, summary, older, tail })
    }

    /// What was found.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Makes the journal ready for appends. Unless the log ended sealed and clean, a new segment is made first; it
    /// holds `blob` (the caller's state after the replay) and again the last batch, when that may not be synced.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]; what was recovered stays as it was.
    pub fn start(mut self, blob: &[u8]) -> Result<Journal<D>, Error> {
        if !synod_planted::is(Bug::NamesNotSyncedAtStart) {
            self.disk
                .sync_directory()
                .map_err(|source| Error::io("sync", "the journal's directory", source))?;
        }
        let mut stock = Stock::new(self.older);
        let mut plan = Plan {
            segment: 1,
            next_batch: self.summary.batches + 1,
            oldest_segment: 1,
            blob,
            carried: None,
            entry_bytes: 0,
        };
        // A batch that is written again stands in another place.
        let mut last = None;
        let active = match self.tail {
            Some(Tail { mut active, clean: true, final_seal, .. }) => {
                // The seal is true, since it was written after a sync, but its own sync may have failed and left it in
                // memory only. A batch behind it would then stand behind a hole, so it is written again.
                if let Some(offset) = final_seal.filter(|_| !synod_planted::is(Bug::SealNotRewritten)) {
                    active.offset = offset;
                    active.write_seal(self.summary.batches)?;
                }
                active
            }
            None => segment::create(&mut self.disk, &mut stock, &self.options, (&plan, 0))?,
            Some(Tail { active, unsealed, clean: false, .. }) => {
                plan.segment = active.head.segment + 1;
                let forgets = synod_planted::is(Bug::OlderSegmentsForgotten);
                plan.oldest_segment = if forgets { plan.segment } else { active.head.oldest_segment };
                plan.carried = unsealed.as_ref().filter(|_| !synod_planted::is(Bug::TailNotRewritten));
                let unneeded = active.head.oldest_segment;
                stock.older.push(&active.head);
                let active = segment::create(&mut self.disk, &mut stock, &self.options, (&plan, unneeded))?;
                let (segment, offset) = (active.head.segment, active.head.end());
                last = plan.carried.map(|carried| Place { batch: carried.number, segment, offset });
                active
            }
        };
        let position = self.summary.batches;
        Ok(Journal::started(self.disk, self.options, active, stock, (position, last)))
    }
}

impl<F> Tail<F> {
    fn new(segment: Segment<F>, end: End) -> Tail<F> {
        Tail {
            clean: end.unsealed.is_none() && end.torn_bytes.is_none() && end.is_clean(),
            unsealed: end.unsealed,
            final_seal: end.final_seal,
            active: Active { file: segment.file, name: segment.name, head: segment.head, offset: end.offset },
        }
    }
}

/// The segments that are no longer needed, and those that are, oldest first.
type Chain<F> = (Older, Vec<Segment<F>>);

/// Opens the segments that are needed, and lists those that the last head declared unneeded.
fn open_chain<D: Disk>(disk: &mut D, present: &[u64]) -> Result<Chain<D::File>, Error> {
    let mut older = Older::default();
    let Some(last) = present.last() else { return Ok((older, Vec::new())) };
    let newest = Segment::open(disk, *last)?;
    let oldest = newest.head.oldest_segment;
    let unneeded = present.iter().filter(|segment| **segment < oldest);
    unneeded.for_each(|segment| older.push_unneeded(*segment));
    let mut segments = Vec::new();
    for segment in oldest..*last {
        if present.binary_search(&segment).is_err() {
            if synod_planted::is(Bug::MissingSegmentSkipped) {
                continue;
            }
            return Err(Error::Missing { name: segment_name(segment) });
        }
        segments.push(Segment::open(disk, segment)?);
    }
    segments.push(newest);
    Ok((older, segments))
}

fn replay_head<F: DiskFile>(
    segment: &Segment<F>,
    replay: &mut impl FnMut(Replayed) -> Verdict,
) -> Result<(), Error> {
    let head = Replayed::Head {
        segment: segment.head.segment,
        first_batch: segment.head.first_batch,
        blob: segment.blob.clone(),
    };
    replay(head).map_err(|reason| refused(&segment.name, 0, reason))
}

fn replay_batch<F>(
    segment: &Segment<F>,
    batch: &Batch,
    replay: &mut impl FnMut(Replayed) -> Verdict,
) -> Result<(), Error> {
    let name = &segment.name;
    let place = Place { batch: batch.number, segment: segment.head.segment, offset: batch.offset };
    let records = split(&batch.payload, batch.records).ok_or_else(|| {
        Error::damaged(
            name,
            batch.offset,
            "the records of this batch do not add up, though its checksum matches",
        )
    })?;
    for record in records {
        replay(Replayed::Record { place, record }).map_err(|reason| refused(name, batch.offset, reason))?;
    }
    Ok(())
}

fn refused(name: &str, offset: u64, reason: Box<dyn StdError + Send + Sync>) -> Error {
    Error::Refused { name: name.to_owned(), offset, source: Arc::from(reason) }
}

/// A segment with a successor must hold every batch before the successor's first one, since those were synced when the
/// successor came to be; and beyond them at most the batch that the successor has again.
fn check_joint<F>(segment: &Segment<F>, end: &End, next: &Head) -> Result<(), Error> {
    let synced = next.first_batch - 1;
    let allowed = next.sealed_through;
    if end.last < synced && !synod_planted::is(Bug::JointNotChecked) {
        let what = format!(
            "batch {} is not sound, but batches up to {synced} were synced (so says {})",
            end.last + 1,
            segment_name(next.segment)
        );
        return Err(Error::damaged(&segment.name, end.offset, what));
    }
    if end.last > allowed {
        let what = format!(
            "batch {} is here, but {} goes on after batch {allowed}",
            end.last,
            segment_name(next.segment)
        );
        return Err(Error::damaged(&segment.name, end.offset, what));
    }
    Ok(())
}

/// What follows the last sound entry of the last segment is either nothing, or a torn tail, or damage that stops.
fn judge_tail<F>(segment: &Segment<F>, end: &End) -> Result<Option<Cut>, Error> {
    if end.last < segment.head.sealed_through && !synod_planted::is(Bug::HeadSealIgnored) {
        let what = format!("batch {} is not sound, but it was synced with the head", end.last + 1);
        return Err(Error::damaged(&segment.name, end.offset, what));
    }
    if let Some(later) = end.later_entry(&segment.head).filter(|_| !synod_planted::is(Bug::DamageTakenForEnd))
    {
        let what = format!(
            "batch {} is not sound, but it was synced: a later entry stands at offset {later}",
            end.last + 1
        );
        return Err(Error::damaged(&segment.name, end.offset, what));
    }
    let bytes = end.cut_bytes(&segment.head);
    Ok((bytes > 0).then(|| Cut { name: segment.name.clone(), offset: end.offset, bytes }))
}
