//! A disk in memory that tells written from synced, for power loss at any operation and any subset of what was in
//! flight.
//!
//! A running process sees everything it wrote. A power loss keeps what was synced, and of the rest any subset: writes
//! are torn into sectors, directory operations are kept or lost one by one. A failed sync leaves its writes visible and
//! never makes them durable, as a page cache does. Absent on purpose: real time, real files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::rc::Rc;

use synod_journal::{Disk, DiskFile};

/// Smaller than any block, so that headers are torn too.
const SECTOR_BYTES: usize = 32;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation is in flight when the power goes, and nothing works after it.
    PowerLoss,
    /// The operation fails once with an I/O error.
    Fails,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Move {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Clone, Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    moves: Vec<Move>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    capacity_bytes: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk(Rc<RefCell<World>>);

#[derive(Debug)]
pub(crate) struct MemoryFile {
    world: Rc<RefCell<World>>,
    inode: usize,
}

impl MemoryDisk {
    pub(crate) fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// The operations so far that change or sync something.
    pub(crate) fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// Plants a fault `after` operations from here.
    pub(crate) fn plant(&self, after: u64, fault: Fault) {
        let mut world = self.0.borrow_mut();
        world.fault = Some((world.operations + after, fault));
    }

    pub(crate) fn clear_fault(&self) {
        self.0.borrow_mut().fault = None;
    }

    /// Whether the power has gone.
    pub(crate) fn is_off(&self) -> bool {
        self.0.borrow().dead
    }

    pub(crate) fn limit(&self, capacity_bytes: Option<usize>) {
        self.0.borrow_mut().capacity_bytes = capacity_bytes;
    }

    /// An independent disk with the same content, synced and not.
    pub(crate) fn copy(&self) -> MemoryDisk {
        MemoryDisk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// How many separate pieces a power loss would keep or lose.
    pub(crate) fn in_flight(&self) -> usize {
        let world = self.0.borrow();
        let writes = world.inodes.iter().flat_map(|inode| &inode.pending);
        world.moves.len() + writes.map(|(at, bytes)| sectors(*at, bytes).count()).sum::<usize>()
    }

    /// The disk after a power loss; `keep` says for each piece in flight whether it survives.
    pub(crate) fn after_power_loss(&self, mut keep: impl FnMut() -> bool) -> MemoryDisk {
        let world = self.0.borrow();
        let mut names = world.synced_names.clone();
        for step in world.moves.iter().filter(|_| keep()) {
            apply(step, &mut names);
        }
        let inodes = world.inodes.iter().map(|inode| {
            let mut content = inode.synced.clone();
            for (at, bytes) in &inode.pending {
                for (at, sector) in sectors(*at, bytes).filter(|_| keep()) {
                    put(&mut content, at, sector);
                }
            }
            Inode { seen: content.clone(), synced: content, pending: Vec::new() }
        });
        let inodes = inodes.collect();
        MemoryDisk(Rc::new(RefCell::new(World {
            inodes,
            synced_names: names.clone(),
            names,
            ..World::default()
        })))
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let world = self.0.borrow();
        world.inodes[world.names[name]].seen.clone()
    }

    /// Replaces a file's content, durably.
    pub(crate) fn set_content(&self, name: &str, content: &[u8]) {
        let mut world = self.0.borrow_mut();
        let inode = world.names[name];
        world.inodes[inode] = Inode { seen: content.to_vec(), synced: content.to_vec(), pending: Vec::new() };
    }

    fn operate(&self) -> Result<bool> {
        operate(&mut self.0.borrow_mut())
    }

    fn change(&mut self, step: Move) -> Result<()> {
        let lost = self.operate()?;
        let world = &mut *self.0.borrow_mut();
        apply(&step, &mut world.names);
        world.moves.push(step);
        if lost { Err(power_is_off()) } else { Ok(()) }
    }

    fn file(&self, name: &str) -> Result<MemoryFile> {
        let inode = *self.0.borrow().names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(MemoryFile { world: self.0.clone(), inode })
    }
}

/// Counts an operation. `Ok(true)`: the power goes while it is in flight.
fn operate(world: &mut World) -> Result<bool> {
    if world.dead {
        return Err(power_is_off());
    }
    world.operations += 1;
    match world.fault {
        Some((at, Fault::Fails)) if at < world.operations => {
            world.fault = None;
            Err(Error::other("input/output error"))
        }
        Some((at, Fault::PowerLoss)) if at < world.operations => {
            world.dead = true;
            Ok(true)
        }
        Some(_) | None => Ok(false),
    }
}

fn power_is_off() -> Error {
    Error::other("the power is off")
}

fn apply(step: &Move, names: &mut BTreeMap<String, usize>) {
    match step {
        Move::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Move::Rename(from, to) => {
            // Absent when the operation that made the name was lost.
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Move::Remove(name) => {
            names.remove(name);
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let sector = move |(index, part)| (at + index * SECTOR_BYTES, part);
    bytes.chunks(SECTOR_BYTES).enumerate().map(sector)
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.files())
    }

    fn open(&mut self, name: &str) -> Result<MemoryFile> {
        self.file(name)
    }

    fn create(&mut self, name: &str) -> Result<MemoryFile> {
        if !self.0.borrow().names.contains_key(name) {
            let inode = self.0.borrow().inodes.len();
            self.0.borrow_mut().inodes.push(Inode::default());
            self.change(Move::Create(name.to_owned(), inode))?;
        }
        self.file(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        assert!(self.0.borrow().names.contains_key(from), "rename of {from}, which is absent");
        self.change(Move::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        assert!(self.0.borrow().names.contains_key(name), "removal of {name}, which is absent");
        self.change(Move::Remove(name.to_owned()))
    }

    fn sync_directory(&mut self) -> Result<()> {
        if self.operate()? {
            return Err(power_is_off());
        }
        let world = &mut *self.0.borrow_mut();
        world.synced_names = world.names.clone();
        world.moves.clear();
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> Result<u64> {
        Ok(self.world.borrow().inodes[self.inode].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let world = self.world.borrow();
        let seen = &world.inodes[self.inode].seen;
        let part =
            seen.get(offset as usize..offset as usize + buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let world = &mut *self.world.borrow_mut();
        let lost = operate(world)?;
        let at = offset as usize;
        let used: usize = world.names.values().map(|inode| world.inodes[*inode].seen.len()).sum();
        let grown = (at + bytes.len()).saturating_sub(world.inodes[self.inode].seen.len());
        if grown > 0 && world.capacity_bytes.is_some_and(|capacity| used + grown > capacity) {
            return Err(ErrorKind::StorageFull.into());
        }
        let inode = &mut world.inodes[self.inode];
        put(&mut inode.seen, at, &bytes);
        inode.pending.push((at, bytes));
        if lost { Err(power_is_off()) } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<()> {
        let world = &mut *self.world.borrow_mut();
        let outcome = operate(world);
        let inode = &mut world.inodes[self.inode];
        match outcome {
            Ok(true) => Err(power_is_off()),
            Ok(false) => {
                for (at, bytes) in std::mem::take(&mut inode.pending) {
                    put(&mut inode.synced, at, &bytes);
                }
                Ok(())
            }
            Err(error) => {
                if !world.dead {
                    // The pages are marked clean: still readable, and never written to the disk.
                    world.inodes[self.inode].pending.clear();
                }
                Err(error)
            }
        }
    }
}
