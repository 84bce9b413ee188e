//! The journal that takes appends: staging, group commit, sealing, moving on to the next segment, dropping old ones.
//!
//! Rules upheld. S2: [`Journal::commit`] returns only after its batch is synced, and starts the next batch only then.
//! S3: after a failed write or sync every later call fails with the same error. S11: segments are dropped only after
//! the head that declares them unneeded is synced. Absent on purpose: timers, threads and the decision when to commit,
//! seal or prepare.

use bytes::Bytes;
use synod_planted::Bug;

use crate::format::align;
use crate::scan::{self, Place, Segment};
use crate::segment::{self, Active, Plan};
use crate::staged::Staged;
use crate::stock::Stock;
use crate::{Disk, DiskFile, Error, Options};

/// How far the next segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// The next segment is ready: moving on to it costs two syncs and no writing of zeros.
    Ready,
    /// Another step is due.
    Unfinished,
}

/// A journal that takes appends. See the crate's page for what it guarantees.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    disk: D,
    options: Options,
    active: Active<D::File>,
    /// The other files.
    stock: Stock<D::File>,
    staged: Staged,
    /// The last batch that is synced.
    position: u64,
    /// The last batch that a seal or a segment's head names as synced.
    sealed_through: u64,
    /// The caller needs no batch below this one.
    needed_from: u64,
    /// Where the last batch stands, if this process wrote it.
    last_place: Option<Place>,
    /// The older segment that was read last.
    reading: Option<Segment<D::File>>,
    /// The failure that ended this journal.
    poison: Option<Error>,
}

impl<D: Disk> Journal<D> {
    pub(crate) fn started(
        disk: D,
        options: Options,
        active: Active<D::File>,
        stock: Stock<D::File>,
        (position, last_place): (u64, Option<Place>),
    ) -> Journal<D> {
        Journal {
            disk,
            options,
            active,
            stock,
            staged: Staged::new(),
            position,
            // Recovery starts only behind a seal or in a segment whose head is one.
            sealed_through: position,
            needed_from: 0,
            last_place,
            reading: None,
            poison: None,
        }
    }

    /// Stages one record: a head, which is copied, and bodies, which are written from where they are. Less than 4 GiB
    /// together.
    pub fn append(&mut self, head: &[u8], bodies: impl IntoIterator<Item = Bytes>) {
        self.staged.append(head, bodies);
    }

    /// Writes everything staged as one batch and syncs it; returns the position, which is the number of the last synced
    /// batch. Without anything staged nothing is done.
    ///
    /// When the batch does not fit, the journal first moves on to a new segment, for which it asks for a blob. The blob
    /// becomes durable before the batch does: it tells the caller's state after the last *synced* batch, and may run
    /// ahead of that only where running ahead is harmless. A batch larger than a segment gets a larger segment of its
    /// own.
    ///
    /// # Errors
    /// [`Error::NoSpace`] leaves everything as it was, the records staged: commit again later, or discard them. Any
    /// other error ends this journal.
    pub fn commit<B: AsRef<[u8]>>(&mut self, blob: impl FnOnce() -> B) -> Result<u64, Error> {
        self.check_poison()?;
        if self.staged.is_empty() {
            return Ok(self.position);
        }
        let written = self.write_batch(blob);
        self.poison_on_failure(written)?;
        Ok(self.position)
    }

    /// Forgets what is staged and not committed.
    pub fn discard(&mut self) {
        self.staged.clear();
    }

    /// Writes and syncs a seal, unless there is one after the last batch: for when the journal is idle, and at
    /// shutdown. Damage to a sealed batch is never taken for a torn tail. What is staged stays staged.
    ///
    /// # Errors
    /// An error ends this journal.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.check_poison()?;
        if self.sealed_through == self.position {
            return Ok(());
        }
        let sealed = self.active.write_seal(self.position);
        self.poison_on_failure(sealed)?;
        self.sealed_through = self.position;
        Ok(())
    }

    /// Does a bounded part of what moving on to the next segment will need: makes it of a segment that is no longer
    /// needed, removes one of which there are more than will be used soon, or writes and syncs [`Options::prepare_step_bytes`] of the next one. To be called when idle, and
    /// now and then under load; whatever is missing when the next segment is needed is done inside `commit`.
    ///
    /// # Errors
    /// [`Error::NoSpace`] leaves the journal usable for what fits into the space it has; see [`Journal::room_bytes`].
    /// Any other error ends this journal.
    pub fn prepare_step(&mut self) -> Result<Preparation, Error> {
        self.check_poison()?;
        let step = self.drop_or_prepare();
        self.poison_on_failure(step)
    }

    /// Makes sure that a batch of this size (in bytes of the log) can be written without asking the disk for more space: prepares the next segment for it,
    /// as far as it isn't, whatever that takes.
    ///
    /// # Errors
    /// As of [`Journal::prepare_step`].
    pub fn prepare_for(&mut self, entry_bytes: u64) -> Result<Preparation, Error> {
        self.check_poison()?;
        let prepared = self.prepare_batch(entry_bytes);
        self.poison_on_failure(prepared)
    }

    /// Tells that no batch below this one is needed any more, once the next segment's head is synced: that head must
    /// tell whatever of those batches still matters. Segments that hold nothing else are then dropped by
    /// `prepare_step`.
    pub fn release(&mut self, below_batch: u64) {
        self.needed_from = self.needed_from.max(below_batch);
    }

    /// Moves on to a new segment now, whatever room is left in this one, so that what was released can be dropped. The blob
    /// tells the caller's state after the last synced batch. What is staged stays staged.
    ///
    /// # Errors
    /// [`Error::NoSpace`] leaves everything as it was. Any other error ends this journal.
    pub fn move_on(&mut self, blob: &[u8]) -> Result<(), Error> {
        self.check_poison()?;
        let rolled = self.roll(blob, 0);
        self.poison_on_failure(rolled)
    }

    /// From now on, [`Journal::prepare_step`] keeps a file of this size beside the next segment, for the day when the disk has no space
    /// for one: a short segment is made of it, whose head lets go what was released.
    pub fn keep_reserve(&mut self, bytes: u64) {
        self.stock.reserve_bytes = bytes;
    }

    /// How many segments it pays to drop by moving on: those that the next one's head will call unneeded; the one in use only when
    /// it is more than half full, or moving on would gain nothing.
    #[must_use]
    pub fn droppable(&self) -> u64 {
        let head = &self.active.head;
        let half_full = self.active.free_bytes() * 2 < head.prepared_bytes;
        let through = if half_full { u64::MAX } else { head.segment };
        self.oldest_needed().min(through).saturating_sub(head.oldest_segment)
    }

    /// The records of a batch, read back from the disk. It must be one that is still needed: see [`Journal::release`].
    ///
    /// # Errors
    /// [`Error::Damaged`] when what is there isn't what was written (I12). Any error ends this journal.
    pub fn read(&mut self, place: Place) -> Result<Vec<Bytes>, Error> {
        self.check_poison()?;
        let read = self.read_batch(place);
        self.poison_on_failure(read)
    }

    /// Where the last batch stands; nothing if an earlier process wrote it, and this one didn't have to write it again.
    #[must_use]
    pub fn last_place(&self) -> Option<Place> {
        self.last_place
    }

    /// The number of the last synced batch; 0 when there is none. It never falls, across restarts too.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The segment that takes appends.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.active.head.segment
    }

    /// Size of what is staged, in bytes of the log.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        if self.staged.is_empty() { 0 } else { self.staged.entry_bytes() }
    }

    /// The largest batch (in bytes of the log) that a commit can write into space the journal already has. The head of
    /// the next segment is counted with the length of the blob of this one.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let next =
            self.stock.spare.ready_bytes().saturating_sub(self.active.head.end() + self.options.block_bytes);
        self.active.free_bytes().max(next)
    }

    /// The largest batch (in bytes of the log) that the segment in use still takes.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.active.free_bytes()
    }

    /// How much of the next segment is prepared, in bytes.
    #[must_use]
    pub fn prepared_bytes(&self) -> u64 {
        self.stock.spare.ready_bytes()
    }

    /// The disk, to look at.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    fn write_batch<B: AsRef<[u8]>>(&mut self, blob: impl FnOnce() -> B) -> Result<(), Error> {
        if !self.active.fits(align(self.staged.entry_bytes(), self.active.head.block_bytes)) {
            self.roll(blob().as_ref(), self.staged.entry_bytes())?;
        }
        let number = self.position + 1;
        let Active { file, name, head, offset } = &mut self.active;
        let mut parts = self.staged.batch(head, *offset, number);
        let written = match synod_planted::is(Bug::SyncSkipped) {
            true => file.write_at(*offset, &mut parts),
            false => file.write_synced_at(*offset, &mut parts),
        };
        written
            .or_else(
                |source| {
                    if synod_planted::is(Bug::FailedSyncRetried) { file.sync() } else { Err(source) }
                },
            )
            .map_err(|source| Error::io("write and sync a batch in", name, source))?;
        self.last_place = Some(Place { batch: number, segment: head.segment, offset: *offset });
        *offset += align(self.staged.entry_bytes(), head.block_bytes);
        self.position = number;
        // The batch itself proves that those before it are synced.
        self.sealed_through = self.sealed_through.max(number - 1);
        if synod_planted::is(Bug::SealSkipped) {
            self.sealed_through = number;
        }
        self.staged.clear();
        Ok(())
    }

    /// Moves on to a new segment, whose head seals everything before it.
    fn roll(&mut self, blob: &[u8], entry_bytes: u64) -> Result<(), Error> {
        let plan = Plan {
            segment: self.active.head.segment + 1,
            next_batch: self.position + 1,
            oldest_segment: self.oldest_needed(),
            blob,
            carried: None,
            entry_bytes,
        };
        let unneeded = self.unneeded_before();
        let next = segment::create(&mut self.disk, &mut self.stock, &self.options, (&plan, unneeded))?;
        self.stock.older.moved_on(&self.active.head, next.head.oldest_segment);
        self.active = next;
        self.sealed_through = self.position;
        Ok(())
    }

    /// The oldest segment with a batch that is needed: a segment's batches end where the next one's begin.
    fn oldest_needed(&self) -> u64 {
        let head = &self.active.head;
        let newer = self.stock.older.first_batches();
        let newer = newer.chain([(head.segment, head.first_batch), (head.segment + 1, self.position + 1)]);
        let needed_from = self.needed_from + u64::from(synod_planted::is(Bug::ReleasedOneTooMany));
        newer
            .filter(|(_, first_batch)| *first_batch <= needed_from)
            .map(|(segment, _)| segment)
            .fold(head.oldest_segment, u64::max)
    }

    fn read_batch(&mut self, place: Place) -> Result<Vec<Bytes>, Error> {
        let Active { file, name, head, .. } = &self.active;
        if place.segment == head.segment {
            return scan::read_batch(file, name, head, place);
        }
        let opened = match self.reading.take().filter(|opened| opened.head.segment == place.segment) {
            Some(opened) => opened,
            None => Segment::open(&mut self.disk, place.segment)?,
        };
        let Segment { file, name, head, .. } = self.reading.insert(opened);
        scan::read_batch(file, name, head, place)
    }

    fn drop_or_prepare(&mut self) -> Result<Preparation, Error> {
        let unneeded = self.unneeded_before();
        // An open file would keep its space after it was removed.
        self.reading = self.reading.take().filter(|opened| opened.head.segment >= unneeded);
        self.stock.step(&mut self.disk, &self.options, unneeded)
    }

    fn prepare_batch(&mut self, entry_bytes: u64) -> Result<Preparation, Error> {
        let entry_bytes = align(entry_bytes, self.options.block_bytes);
        if entry_bytes > self.room_bytes() {
            // As `room_bytes` counts it.
            let bytes = entry_bytes + self.active.head.end() + self.options.block_bytes;
            let unneeded = self.unneeded_before();
            self.stock.prepare_all(&mut self.disk, &self.options, unneeded, bytes)?;
        }
        Ok(Preparation::Ready)
    }

    /// A synced head calls the segments before this one unneeded.
    fn unneeded_before(&self) -> u64 {
        match synod_planted::is(Bug::SegmentDroppedEarly) {
            true => self.oldest_needed(),
            false => self.active.head.oldest_segment,
        }
    }

    fn check_poison(&self) -> Result<(), Error> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    fn poison_on_failure<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome
            && !error.is_no_space()
            && !synod_planted::is(Bug::FailureForgotten)
        {
            self.poison = Some(error.clone());
        }
        outcome
    }
}
