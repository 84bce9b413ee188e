//! A [`Disk`] in memory that tells written from synced: power loss at any operation with any subset of what was in
//! flight, failing, lying, full and rotting disks. The disk of tests, fuzzing and the simulator, for the very journal that runs on files.
//!
//! A running process sees everything it wrote; when it is killed, that stays, and what was in flight stays in flight. A power loss
//! keeps what was synced, and of the rest any subset: writes are torn into sectors, changes of names are kept or lost one
//! by one. A failed sync leaves its writes visible and never makes them durable, as a page cache does. A removed file is
//! gone once the directory is synced, also for those who have it open.
//!
//! Everything is decided by the caller, so runs repeat exactly. Absent on purpose: time (it is told what was done, see
//! [`MemoryDisk::take_cost`]), chance, threads.

mod content;
mod world;

use std::cell::RefCell;
use std::io::{ErrorKind, IoSlice, Result};
use std::rc::Rc;

use crate::{Disk, DiskFile};
use world::{Move, Planted, World};

/// What happens at a chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation is in flight when the power goes, and nothing works until [`MemoryDisk::power_loss`].
    PowerLoss,
    /// The operation fails once with an I/O error. Of a failed write the first half is taken; after a failed sync, what
    /// it was to make durable never will be.
    Fails,
    /// Every operation from this one on fails so.
    FailsForEver,
    /// The disk lies once: the operation reports success, is seen, and is never made durable.
    Vanishes,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Names, sizes and bytes are read, a file is opened.
    Read,
    /// Bytes are written to a file.
    Write,
    /// A file is synced.
    Sync,
    /// A file is created, renamed or removed.
    Name,
    /// The directory is synced.
    SyncDirectory,
}

/// What was asked of a disk, for whoever keeps the time that it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Writes to files.
    pub writes: u64,
    /// The bytes of these writes.
    pub bytes: u64,
    /// Syncs of files and of the directory.
    pub syncs: u64,
}

/// What a power loss did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// Sectors written, not synced, and there nevertheless.
    pub sectors_kept: u64,
    /// Sectors written, not synced, and lost.
    pub sectors_lost: u64,
    /// Writes of which some sectors were kept and others lost.
    pub torn_writes: u64,
    /// Creations, renames and removals not synced, and there nevertheless.
    pub moves_kept: u64,
    /// Creations, renames and removals not synced, and lost.
    pub moves_lost: u64,
}

/// A disk in memory. Clones are the same disk; [`MemoryDisk::copy`] makes another one.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Rc<RefCell<World>>);

/// An open file of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryFile {
    world: Rc<RefCell<World>>,
    inode: u64,
    boot: u64,
}

impl MemoryDisk {
    /// An empty disk whose writes are torn into sectors of 32 bytes, smaller than any block of a journal.
    #[must_use]
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// An empty disk whose writes are torn into sectors of this size.
    #[must_use]
    pub fn with_sectors(sector_bytes: usize) -> MemoryDisk {
        assert!(sector_bytes > 0, "a sector has a size");
        let disk = MemoryDisk::default();
        disk.0.borrow_mut().sector_bytes = sector_bytes;
        disk
    }

    /// An independent disk in the same state, what is in flight and planted included. Cheap: equal bytes are shared.
    #[must_use]
    pub fn copy(&self) -> MemoryDisk {
        MemoryDisk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// The operations so far that change or sync something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// What was asked of the disk since this was last called.
    pub fn take_cost(&self) -> Cost {
        std::mem::take(&mut self.0.borrow_mut().cost)
    }

    /// Plants a fault at an operation that changes or syncs something, sparing `after` of them before.
    pub fn plant(&self, after: u64, fault: Fault) {
        self.0.borrow_mut().faults.push(Planted { on: None, after, fault });
    }

    /// Plants a fault at an operation of this kind, sparing `after` of that kind before.
    pub fn plant_on(&self, operation: Operation, after: u64, fault: Fault) {
        self.0.borrow_mut().faults.push(Planted { on: Some(operation), after, fault });
    }

    /// Takes away every fault that is planted; a power loss that has happened stays.
    pub fn clear_faults(&self) {
        self.0.borrow_mut().faults.clear();
    }

    /// How many faults are planted and have not struck yet (for ever counts until it is cleared).
    #[must_use]
    pub fn planted(&self) -> usize {
        self.0.borrow().faults.len()
    }

    /// Whether the power has gone and isn't back.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.0.borrow().off
    }

    /// Limits the size of all files together, or lifts the limit. What is there stays, also beyond it.
    pub fn limit(&self, capacity_bytes: Option<u64>) {
        self.0.borrow_mut().capacity_bytes = capacity_bytes;
    }

    /// How many separate pieces a power loss would keep or lose.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.borrow().in_flight()
    }

    /// The power goes and comes back; `keep` says for each piece in flight whether it survives. Files that are open fail
    /// from here on; faults that are still planted stay planted.
    pub fn power_loss(&self, keep: impl FnMut() -> bool) -> PowerLoss {
        self.0.borrow_mut().power_loss(keep)
    }

    /// The process that used the disk ends, and the machine goes on: what was written stays, as seen and in flight. Files
    /// that are open fail from here on; a planted loss of power that struck was only the moment of the kill.
    pub fn kill(&self) {
        let mut world = self.0.borrow_mut();
        world.off = false;
        world.boot += 1;
    }

    /// An independent disk as it would be after a power loss, with no fault planted and no limit.
    #[must_use]
    pub fn after_power_loss(&self, keep: impl FnMut() -> bool) -> MemoryDisk {
        let disk = self.copy();
        disk.clear_faults();
        disk.limit(None);
        disk.power_loss(keep);
        disk
    }

    /// The names of all files as seen, in order.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    /// All files as seen, in the order of their names, with their sizes in bytes.
    #[must_use]
    pub fn sizes(&self) -> Vec<(String, u64)> {
        let world = self.0.borrow();
        let size = |inode: &u64| world.seen(*inode).map_or(0, |content| content.len() as u64);
        world.names.iter().map(|(name, inode)| (name.clone(), size(inode))).collect()
    }

    /// A file's content as seen.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn content(&self, name: &str) -> Vec<u8> {
        let world = self.0.borrow();
        let inode = world.names.get(name).unwrap_or_else(|| panic!("no file {name}"));
        world.seen(*inode).expect("a name leads to a file").to_vec()
    }

    /// Replaces a file's content, durably and behind everyone's back.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn set_content(&self, name: &str, content: &[u8]) {
        self.0.borrow_mut().set_content(name, content);
    }

    /// Flips a bit of a file, as seen and as synced: bit rot.
    ///
    /// # Panics
    /// When there is no such file, or it is shorter as seen.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let at = (bit / 8) as usize;
        self.0.borrow_mut().corrupt(name, |content| {
            let mut byte = [0];
            if content.get(at, &mut byte) {
                content.put(at, &[byte[0] ^ 1 << (bit % 8)]);
            }
        });
    }

    /// Overwrites a part of a file, as seen and as synced: with bytes of an older copy of the disk a write that went
    /// missing, with others a misdirected one.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn overwrite(&self, name: &str, at: u64, bytes: &[u8]) {
        self.0.borrow_mut().corrupt(name, |content| content.put(at as usize, bytes));
    }

    fn file(&self, name: &str) -> Result<MemoryFile> {
        let world = self.0.borrow();
        let inode = *world.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(MemoryFile { world: self.0.clone(), inode, boot: world.boot })
    }

    /// A name that is to be changed must be there.
    fn expect_name(&self, name: &str) -> Result<()> {
        self.0.borrow().names.get(name).map_or(Err(ErrorKind::NotFound.into()), |_| Ok(()))
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn names(&self) -> Result<Vec<String>> {
        self.0.borrow_mut().look()?;
        Ok(self.files())
    }

    fn open(&mut self, name: &str) -> Result<MemoryFile> {
        self.0.borrow_mut().look()?;
        self.file(name)
    }

    fn create(&mut self, name: &str) -> Result<MemoryFile> {
        let world = &mut *self.0.borrow_mut();
        if !world.names.contains_key(name) {
            let inode = world.new_inode();
            world.change(Move::Create(name.to_owned(), inode))?;
        }
        let inode = world.names[name];
        Ok(MemoryFile { world: self.0.clone(), inode, boot: world.boot })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.expect_name(from)?;
        self.0.borrow_mut().change(Move::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        self.expect_name(name)?;
        self.0.borrow_mut().change(Move::Remove(name.to_owned()))
    }

    fn sync_directory(&mut self) -> Result<()> {
        self.0.borrow_mut().sync_names()
    }
}

impl MemoryFile {
    /// A file that was opened before the last power loss is void.
    fn check_boot(&self) -> Result<()> {
        if self.boot == self.world.borrow().boot { Ok(()) } else { Err(world::power_is_off()) }
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> Result<u64> {
        self.check_boot()?;
        let mut world = self.world.borrow_mut();
        world.look()?;
        Ok(world.seen(self.inode)?.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.check_boot()?;
        let mut world = self.world.borrow_mut();
        world.look()?;
        let filled = world.seen(self.inode)?.get(offset as usize, buffer);
        if filled { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn write_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<()> {
        self.check_boot()?;
        self.world.borrow_mut().write(self.inode, offset as usize, parts)
    }

    fn write_synced_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<()> {
        self.write_at(offset, parts)?;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let from = offset as usize;
        self.world.borrow_mut().sync(self.inode, from..from + bytes)
    }

    fn sync(&mut self) -> Result<()> {
        self.check_boot()?;
        self.world.borrow_mut().sync(self.inode, 0..usize::MAX)
    }
}
