//! What the next segment is made of: the spare, in its stead the reserve, and older segments that nobody needs.
//!
//! An old segment of the right size is used again before a zero is written; on a full disk they are removed before
//! anything is refused for lack of space. Rules upheld: S11 (whoever asks says what a synced head calls unneeded). Absent
//! on purpose: when to ask.

use synod_planted::Bug;

use crate::format::segment_name;
use crate::older::Older;
use crate::spare::Spare;
use crate::{Disk, DiskFile, Error, Options, Preparation};

#[derive(Debug)]
pub(crate) struct Stock<F> {
    pub(crate) spare: Spare<F>,
    /// What the next segment is made of when there is no space for a spare.
    pub(crate) reserve: Spare<F>,
    pub(crate) reserve_bytes: u64,
    /// Segments that still exist, but for the one in use.
    pub(crate) older: Older,
}

impl<F: DiskFile> Stock<F> {
    pub(crate) fn new(older: Older) -> Stock<F> {
        Stock { spare: Spare::new(), reserve: Spare::reserve(), reserve_bytes: 0, older }
    }

    /// One bounded step towards a spare and a reserve that are ready, with segments before `oldest` unneeded.
    pub(crate) fn step<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        options: &Options,
        oldest: u64,
    ) -> Result<Preparation, Error> {
        if self.recycle_oldest(disk, options, oldest)? {
            return Ok(Preparation::Unfinished);
        }
        // The spare is one of those that are expected to be used.
        if self.older.before(oldest) >= self.older.expected().max(1) {
            self.remove_oldest(disk)?;
            return Ok(Preparation::Unfinished);
        }
        let reserved = self.reserve.step(disk, self.reserve_bytes, options.prepare_step_bytes);
        let prepared = self.spare.step(disk, options.segment_bytes, options.prepare_step_bytes)?;
        match reserved {
            Ok(true) if prepared => Ok(Preparation::Ready),
            Ok(_) => Ok(Preparation::Unfinished),
            // What waits to be used again is worth less than the reserve.
            Err(error) if error.is_no_space() && self.older.before(oldest) > 0 => {
                self.remove_oldest(disk)?;
                Ok(Preparation::Unfinished)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the spare ready up to `bytes`, at once; segments before `oldest` give way to it.
    pub(crate) fn prepare_all<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        options: &Options,
        oldest: u64,
        bytes: u64,
    ) -> Result<(), Error> {
        while self.recycle_oldest(disk, options, oldest)? {}
        loop {
            match self.spare.step(disk, bytes, options.prepare_step_bytes) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.is_no_space() && self.older.before(oldest) > 0 => {
                    self.remove_oldest(disk)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// While the spare isn't ready: makes it of the oldest segment, if that is before `oldest`, or removes that if it
    /// hasn't the right size. Whether there was one. If a crash undoes this, recovery finds a segment below the oldest one
    /// needed, whatever it holds.
    pub(crate) fn recycle_oldest<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        options: &Options,
        oldest: u64,
    ) -> Result<bool, Error> {
        if self.spare.ready_bytes() >= options.segment_bytes || self.older.before(oldest) == 0 {
            return Ok(false);
        }
        let Some(segment) = self.older.pop_oldest() else { return Ok(false) };
        let name = &segment_name(segment);
        let failed = |action| move |source| Error::io(action, name, source);
        let file = disk.open(name).map_err(failed("open"))?;
        let size = file.size().map_err(failed("read the size of"))?;
        if size == options.segment_bytes || synod_planted::is(Bug::ShortSegmentRecycled) {
            self.spare.adopt(disk, name, (file, options.segment_bytes))?;
        } else {
            disk.remove(name).map_err(failed("remove"))?;
        }
        Ok(true)
    }

    /// Removes the oldest segment, which nobody needs.
    pub(crate) fn remove_oldest<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<(), Error> {
        let Some(segment) = self.older.pop_oldest() else { return Ok(()) };
        let name = segment_name(segment);
        disk.remove(&name).map_err(|source| Error::io("remove", &name, source))
    }
}
