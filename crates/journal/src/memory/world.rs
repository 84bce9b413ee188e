//! What a disk in memory consists of: files as seen and as synced, names as seen and as synced, what is in flight
//! between them, and what is planted to go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::ops::Range;

use super::content::Content;
use super::{Cost, Fault, Operation, PowerLoss};

/// Smaller than the smallest block of a journal, so that headers are torn too.
const SECTOR_BYTES: usize = 32;

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Content,
    synced: Content,
    /// Written and not synced, in this order.
    pending: Vec<(usize, Vec<u8>)>,
    /// Something that is seen, and not pending, isn't synced either: a failed sync has dropped it.
    diverged: bool,
}

/// A change of names that is not synced.
#[derive(Debug, Clone)]
pub(super) enum Move {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Clone)]
pub(super) struct Planted {
    /// `None`: whatever changes or syncs something.
    pub(super) on: Option<Operation>,
    /// So many operations of this kind are spared before.
    pub(super) after: u64,
    pub(super) fault: Fault,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) sector_bytes: usize,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    pub(super) names: BTreeMap<String, u64>,
    synced_names: BTreeMap<String, u64>,
    moves: Vec<Move>,
    pub(super) operations: u64,
    pub(super) faults: Vec<Planted>,
    pub(super) off: bool,
    /// Counts power losses: what was opened before the last one is void.
    pub(super) boot: u64,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) cost: Cost,
}

impl Default for World {
    fn default() -> World {
        World {
            sector_bytes: SECTOR_BYTES,
            inodes: BTreeMap::new(),
            next_inode: 0,
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            moves: Vec::new(),
            operations: 0,
            faults: Vec::new(),
            off: false,
            boot: 0,
            capacity_bytes: None,
            cost: Cost::default(),
        }
    }
}

impl World {
    /// Counts an operation, and tells what goes wrong with it.
    pub(super) fn operate(&mut self, operation: Operation) -> Result<Option<Fault>> {
        if self.off {
            return Err(power_is_off());
        }
        let changes = operation != Operation::Read;
        self.operations += u64::from(changes);
        let mut due = None;
        for (place, planted) in self.faults.iter_mut().enumerate() {
            if planted.on.map_or(changes, |on| on == operation) {
                match planted.after.checked_sub(1) {
                    Some(after) => planted.after = after,
                    None => due = due.or(Some(place)),
                }
            }
        }
        let Some(place) = due else { return Ok(None) };
        let fault = self.faults[place].fault;
        if fault != Fault::FailsForEver {
            self.faults.remove(place);
        }
        self.off |= fault == Fault::PowerLoss;
        Ok(Some(fault))
    }

    /// Something is looked at.
    pub(super) fn look(&mut self) -> Result<()> {
        let fault = self.operate(Operation::Read)?;
        reported(fault)
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    pub(super) fn change(&mut self, step: Move) -> Result<()> {
        let fault = self.operate(Operation::Name)?;
        if matches!(fault, None | Some(Fault::PowerLoss | Fault::Vanishes)) {
            apply(&step, &mut self.names);
            self.moves.push(step);
        }
        reported(fault)
    }

    pub(super) fn sync_names(&mut self) -> Result<()> {
        self.cost.syncs += 1;
        let fault = self.operate(Operation::SyncDirectory)?;
        if fault.is_none() {
            for step in self.moves.drain(..) {
                apply(&step, &mut self.synced_names);
            }
            self.forget_nameless();
        }
        reported(fault)
    }

    pub(super) fn seen(&self, inode: u64) -> Result<&Content> {
        Ok(&self.inodes.get(&inode).ok_or(ErrorKind::NotFound)?.seen)
    }

    pub(super) fn write(&mut self, inode: u64, at: usize, parts: &[IoSlice<'_>]) -> Result<()> {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        self.cost.writes += 1;
        self.cost.bytes += bytes.len() as u64;
        let fault = self.operate(Operation::Write)?;
        if matches!(fault, Some(Fault::Fails | Fault::FailsForEver)) {
            // A part of it has been taken.
            bytes.truncate(bytes.len() / 2 / self.sector_bytes * self.sector_bytes);
        }
        let size = self.seen(inode)?.len();
        let full = self.free_bytes().filter(|free| (at + bytes.len()).saturating_sub(size) as u64 > *free);
        if let Some(free) = full {
            bytes.truncate((size + free as usize).saturating_sub(at));
        }
        let inode = self.inodes.get_mut(&inode).expect("it was there above");
        inode.seen.put(at, &bytes);
        if fault == Some(Fault::Vanishes) {
            inode.diverged = true;
        } else {
            inode.pending.push((at, bytes));
        }
        match full {
            Some(_) => Err(ErrorKind::StorageFull.into()),
            None => reported(fault),
        }
    }

    /// Syncs what was written to this part of a file.
    pub(super) fn sync(&mut self, inode: u64, part: Range<usize>) -> Result<()> {
        self.cost.syncs += 1;
        let fault = self.operate(Operation::Sync)?;
        let Inode { seen, synced, pending, diverged } =
            self.inodes.get_mut(&inode).ok_or(ErrorKind::NotFound)?;
        let overlaps = |(at, bytes): &mut (usize, Vec<u8>)| *at < part.end && part.start < *at + bytes.len();
        match fault {
            None => {
                let due: Vec<(usize, Vec<u8>)> = pending.extract_if(.., overlaps).collect();
                for (at, bytes) in due {
                    // What is seen is what is synced, unless something else in flight is seen too.
                    if *diverged || !pending.is_empty() {
                        synced.put(at, &bytes);
                    } else {
                        synced.share(seen, at, bytes.len());
                    }
                }
            }
            // All of it stays in flight.
            Some(Fault::PowerLoss) => {}
            // The pages are marked clean: still readable, and never written to the disk.
            Some(Fault::Fails | Fault::FailsForEver | Fault::Vanishes) => {
                *diverged = true;
                pending.retain_mut(|written| !overlaps(written));
            }
        }
        reported(fault)
    }

    /// What is left of the capacity; `None` when there is no limit.
    fn free_bytes(&self) -> Option<u64> {
        let capacity = self.capacity_bytes?;
        let files = self.names.values().filter_map(|inode| self.inodes.get(inode));
        Some(capacity.saturating_sub(files.map(|inode| inode.seen.len() as u64).sum()))
    }

    pub(super) fn in_flight(&self) -> usize {
        let writes = self.inodes.values().flat_map(|inode| &inode.pending);
        self.moves.len() + writes.map(|(_, bytes)| bytes.len().div_ceil(self.sector_bytes)).sum::<usize>()
    }

    pub(super) fn power_loss(&mut self, mut keep: impl FnMut() -> bool) -> PowerLoss {
        let mut told = PowerLoss::default();
        for step in self.moves.drain(..) {
            if keep() {
                apply(&step, &mut self.synced_names);
                told.moves_kept += 1;
            } else {
                told.moves_lost += 1;
            }
        }
        self.names.clone_from(&self.synced_names);
        for inode in self.inodes.values_mut() {
            for (at, bytes) in inode.pending.drain(..) {
                let (kept, lost) = (told.sectors_kept, told.sectors_lost);
                for (sector, part) in bytes.chunks(self.sector_bytes).enumerate() {
                    if keep() {
                        inode.synced.put(at + sector * self.sector_bytes, part);
                        told.sectors_kept += 1;
                    } else {
                        told.sectors_lost += 1;
                    }
                }
                told.torn_writes += u64::from(told.sectors_kept > kept && told.sectors_lost > lost);
            }
            inode.seen.clone_from(&inode.synced);
            inode.diverged = false;
        }
        self.forget_nameless();
        self.off = false;
        self.boot += 1;
        told
    }

    /// Drops what no name leads to any more, once all names are synced.
    fn forget_nameless(&mut self) {
        if self.inodes.len() > self.names.len() {
            let named: BTreeSet<u64> = self.names.values().copied().collect();
            self.inodes.retain(|inode, _| named.contains(inode));
        }
    }

    /// Changes content behind everyone's back, as seen and as synced.
    pub(super) fn corrupt(&mut self, name: &str, change: impl Fn(&mut Content)) {
        let inode = self.names.get(name).unwrap_or_else(|| panic!("no file {name}"));
        let inode = self.inodes.get_mut(inode).expect("a name leads to a file");
        change(&mut inode.seen);
        change(&mut inode.synced);
    }

    /// Replaces a file's content, durably.
    pub(super) fn set_content(&mut self, name: &str, content: &[u8]) {
        let inode = *self.names.get(name).unwrap_or_else(|| panic!("no file {name}"));
        let content = Content::of(content);
        let inode = self.inodes.get_mut(&inode).expect("a name leads to a file");
        *inode = Inode { seen: content.clone(), synced: content, ..Inode::default() };
    }
}

fn apply(step: &Move, names: &mut BTreeMap<String, u64>) {
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

/// What the caller hears of a fault whose effect has been had.
fn reported(fault: Option<Fault>) -> Result<()> {
    match fault {
        None | Some(Fault::Vanishes) => Ok(()),
        Some(Fault::PowerLoss) => Err(power_is_off()),
        Some(Fault::Fails | Fault::FailsForEver) => Err(Error::other("input/output error")),
    }
}

pub(super) fn power_is_off() -> Error {
    Error::other("the power is off")
}
