//! The next segment while it is being prepared: written with zeros and synced in bounded steps.
//!
//! Appends then overwrite blocks that exist, so that their fdatasync writes no metadata. The file has the one name
//! `spare` until it becomes a segment, and a spare's content never matters: one left by an earlier process is written
//! with zeros again. A segment that was dropped is taken as it is, since its old bytes never pass a checksum. A file that
//! takes the name from another has it synced: of two changes of names a crash may keep the later one alone, and the other
//! file would be the segment.

use std::io::{self, ErrorKind, IoSlice};

use synod_planted::Bug;

use crate::format::{RESERVE, SPARE};
use crate::{Disk, DiskFile, Error};

const CHUNK_BYTES: usize = 256 << 10;

/// Whole pages: a direct write takes them from where they are.
#[repr(align(4096))]
struct Pages([u8; CHUNK_BYTES]);

static ZEROS: Pages = Pages([0; CHUNK_BYTES]);

#[derive(Debug)]
pub(crate) struct Spare<F> {
    /// [`SPARE`], or [`RESERVE`].
    name: &'static str,
    file: Option<F>,
    /// So much from the start is written and synced.
    ready_bytes: u64,
    /// It was a segment before, and holds that segment's bytes.
    recycled: bool,
}

impl<F: DiskFile> Spare<F> {
    pub(crate) fn new() -> Spare<F> {
        Spare { name: SPARE, file: None, ready_bytes: 0, recycled: false }
    }

    /// A small one that is prepared early and kept for the day when the disk has no space for another.
    pub(crate) fn reserve() -> Spare<F> {
        Spare { name: RESERVE, file: None, ready_bytes: 0, recycled: false }
    }

    /// Takes the place of the spare, with whatever that has.
    pub(crate) fn replace<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        spare: &mut Spare<F>,
    ) -> Result<(), Error> {
        take_name(disk, RESERVE)?;
        *spare = Spare { name: SPARE, ..std::mem::replace(self, Spare::reserve()) };
        Ok(())
    }

    /// Size of the segment that can be made of it at once.
    pub(crate) fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    pub(crate) fn is_recycled(&self) -> bool {
        self.recycled
    }

    /// Makes the spare of a segment's file, all of it written before.
    pub(crate) fn adopt<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        segment: &str,
        (file, bytes): (F, u64),
    ) -> Result<(), Error> {
        take_name(disk, segment)?;
        *self = Spare { name: SPARE, file: Some(file), ready_bytes: bytes, recycled: true };
        Ok(())
    }

    /// Writes and syncs up to `step_bytes` more; returns whether `target_bytes` are ready.
    pub(crate) fn step<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        target_bytes: u64,
        step_bytes: u64,
    ) -> Result<bool, Error> {
        if self.ready_bytes >= target_bytes {
            return Ok(true);
        }
        let name = self.name;
        let failed = |action| move |source| space_or_io(action, name, target_bytes, source);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(disk.create(name).map_err(failed("create"))?),
        };
        let end = target_bytes.min(self.ready_bytes.saturating_add(step_bytes));
        write_zeros(file, self.ready_bytes, end).map_err(failed("write zeros to"))?;
        self.ready_bytes = end;
        Ok(end == target_bytes)
    }

    /// Writes these parts from the start on, synced, and gives the file its name as a segment, durably.
    pub(crate) fn become_segment<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        name: &str,
        parts: &mut [IoSlice<'_>],
    ) -> Result<F, Error> {
        let mut file = self.file.take().expect("a spare is prepared before it becomes a segment");
        let size = self.ready_bytes;
        // Whatever fails from here on, the file starts over from zeros if it is used at all.
        *self = Spare::new();
        let failed = |action| move |source| space_or_io(action, SPARE, size, source);
        let written = match synod_planted::is(Bug::HeadNotSynced) {
            true => file.write_at(0, parts),
            false => file.write_synced_at(0, parts),
        };
        written.map_err(failed("write and sync the head of"))?;
        // The head is synced before the name exists: a segment without a valid head can only be damage.
        disk.rename(SPARE, name).map_err(failed("rename"))?;
        if !synod_planted::is(Bug::DirectoryNotSynced) {
            disk.sync_directory().map_err(|source| Error::io("sync the directory of", name, source))?;
        }
        Ok(file)
    }
}

/// Renames a file to [`SPARE`], durably.
fn take_name<D: Disk>(disk: &mut D, from: &str) -> Result<(), Error> {
    disk.rename(from, SPARE).map_err(|source| Error::io("rename", from, source))?;
    if synod_planted::is(Bug::SpareNameNotSynced) {
        return Ok(());
    }
    disk.sync_directory().map_err(|source| Error::io("sync the directory of", SPARE, source))
}

fn write_zeros<F: DiskFile>(file: &mut F, from: u64, end: u64) -> io::Result<()> {
    let mut at = from;
    while at < end {
        let bytes = (end - at).min(CHUNK_BYTES as u64);
        file.write_synced_at(at, &mut [IoSlice::new(&ZEROS.0[..bytes as usize])])?;
        at += bytes;
    }
    Ok(())
}

/// A full disk is no failure of the disk: the spare is not part of the log, and all of it is written again.
fn space_or_io(action: &'static str, name: &str, needed_bytes: u64, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::NoSpace { name: name.to_owned(), needed_bytes }
        }
        _ => Error::io(action, name, source),
    }
}
