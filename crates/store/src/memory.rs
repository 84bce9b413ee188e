//! The engine in memory: records in cells, found by the hash of their keys; the keys in order beside them.
//!
//! A put of a key that is there touches its cell alone. Cells and the order of keys are persistent structures, so a snapshot costs
//! nothing: a part of them is changed in place while no snapshot holds it, and copied when one does. What differs between two snapshots
//! is found by the addresses of their blocks, without a look at the records that are the same. The hashes are no part of a state: they are never
//! iterated, and what their seed decides can't be seen but in the time that a search takes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::ops::{Bound, ControlFlow};

use hashbrown::HashTable;
use imbl::{OrdSet, Vector};
use synod_planted::Bug;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::storage::{Record, RecordRef, Snapshot, Stamp, Storage};

mod packed;
mod place;

use packed::Packed;
use place::{Place, Sought};

/// Keys that are looked for side by side.
const TOGETHER: usize = 16;

/// A key by its hash.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    cell: u32,
}

/// As the table wants it: its low bits choose a place, its highest tell keys there apart.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// A store in memory. Equal to another if it holds the same records.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    /// The records, each in the cell that its key got when it came.
    cells: Vector<Option<Packed>>,
    /// Cells whose keys are gone.
    free: Vec<u32>,
    entries: HashTable<Entry>,
    order: OrdSet<Place>,
    /// Of the hashes.
    seed: u64,
    /// Where a record is put together; empty between calls.
    scratch: Vec<u8>,
}

impl MemoryStorage {
    /// An empty store. Whoever knows `seed` can choose keys that are slow to find: where clients aren't trusted, draw it at random.
    pub fn seeded(seed: u64) -> MemoryStorage {
        MemoryStorage { seed, ..MemoryStorage::default() }
    }

    fn hash_of(&self, key: &[u8]) -> u32 {
        (xxh3_64_with_seed(key, self.seed) >> 32) as u32
    }

    fn find(&self, key: &[u8], hash: u32) -> Option<u32> {
        let is_it = |entry: &Entry| {
            entry.hash == hash && record_in(&self.cells, entry.cell).is_some_and(|packed| packed.key() == key)
        };
        self.entries.find(spread(hash), is_it).map(|entry| entry.cell)
    }

    fn packed(&self, key: &[u8]) -> Option<&Packed> {
        record_in(&self.cells, self.find(key, self.hash_of(key))?)
    }

    fn add(&mut self, key: &[u8], hash: u32, packed: Packed) {
        let cell = match self.free.pop() {
            Some(cell) => {
                self.cells[cell as usize] = Some(packed);
                cell
            }
            None => {
                let cell =
                    u32::try_from(self.cells.len()).expect("memory ends before there are 4 billion keys");
                self.cells.push_back(Some(packed));
                cell
            }
        };
        self.entries.insert_unique(spread(hash), Entry { hash, cell }, |entry| spread(entry.hash));
        self.order.insert(Place::new(key, cell));
    }

    fn in_order(&self) -> impl Iterator<Item = &Packed> {
        self.order.iter().filter_map(|place| record_in(&self.cells, place.cell))
    }
}

fn record_in(cells: &Vector<Option<Packed>>, cell: u32) -> Option<&Packed> {
    cells.get(cell as usize)?.as_ref()
}

impl PartialEq for MemoryStorage {
    fn eq(&self, other: &Self) -> bool {
        self.in_order().eq(other.in_order())
    }
}

impl Eq for MemoryStorage {}

impl Hash for MemoryStorage {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.order.len().hash(state);
        self.in_order().for_each(|packed| packed.hash(state));
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |packed: &Packed| (packed.key().escape_ascii().to_string(), packed.record());
        f.debug_map().entries(self.in_order().map(entry)).finish()
    }
}

impl Storage for MemoryStorage {
    type Snapshot = MemorySnapshot;

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.packed(key).map(Packed::record)
    }

    /// Side by side, a step of all before the next step of any: a search waits for memory at each of its steps, and these wait together.
    fn show(&self, keys: &[&[u8]], mut see: impl FnMut(usize, Option<RecordRef<'_>>)) {
        for (part, keys) in keys.chunks(TOGETHER).enumerate() {
            let mut hashes = [0; TOGETHER];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self.hash_of(key);
            }
            let mut cells = [None; TOGETHER];
            for (cell, hash) in cells.iter_mut().zip(hashes).take(keys.len()) {
                let entry = self.entries.find(spread(hash), |entry| entry.hash == hash);
                *cell = entry.map(|entry| entry.cell);
            }
            let likely = cells.map(|cell| record_in(&self.cells, cell?));
            black_box(likely.iter().flatten().fold(0, |sum, packed| sum ^ packed.touch()));
            for (number, (likely, key)) in likely.into_iter().zip(keys).enumerate() {
                let packed = match likely {
                    Some(packed) if packed.key() == *key => Some(packed),
                    // Another key with the same hash.
                    Some(_) if synod_planted::is(Bug::HashTakenForKey) => likely,
                    Some(_) => self.packed(key),
                    None => None,
                };
                see(part * TOGETHER + number, packed.map(Packed::record_ref));
            }
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], stamp: impl FnOnce(Option<Stamp>) -> Stamp) -> Stamp {
        let hash = self.hash_of(key);
        let found = self.find(key, hash).and_then(|cell| self.cells.get_mut(cell as usize)?.as_mut());
        let stamp = stamp(found.as_deref().map(Packed::stamp));
        let packed = Packed::new(key, RecordRef { stamp, value }, &mut self.scratch);
        match found {
            Some(before) => *before = packed,
            None => self.add(key, hash, packed),
        }
        stamp
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let hash = self.hash_of(key);
        let Some(cell) = self.find(key, hash) else { return false };
        if let Ok(entry) = self.entries.find_entry(spread(hash), |entry| entry.cell == cell) {
            entry.remove();
        }
        self.order.remove(&Sought::new(key));
        self.cells[cell as usize] = None;
        self.free.push(cell);
        true
    }

    fn len(&self) -> u64 {
        self.order.len() as u64
    }

    fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot { cells: self.cells.clone(), order: self.order.clone() }
    }
}

/// Records that are looked up before the first of them is visited.
const AHEAD: usize = 16;

/// A [`MemoryStorage`] at one moment.
#[derive(Clone)]
pub struct MemorySnapshot {
    cells: Vector<Option<Packed>>,
    order: OrdSet<Place>,
}

impl MemorySnapshot {
    fn behind<'a>(&'a self, after: Option<&'a [u8]>) -> impl Iterator<Item = &'a Place> {
        let first = after.map_or(Bound::Unbounded, |key| Bound::Excluded(Sought::new(key)));
        self.order.range((first, Bound::Unbounded))
    }
}

impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.order.len())
    }
}

/// The cells in which two snapshots differ, a bit for each.
#[derive(Clone, Debug)]
pub struct Differing(Vec<u64>);

impl Differing {
    fn has(&self, cell: u32) -> bool {
        self.0.get(cell as usize / 64).is_some_and(|bits| bits >> (cell % 64) & 1 == 1)
    }
}

impl Snapshot for MemorySnapshot {
    type Difference = Differing;

    fn scan<V>(&self, after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], RecordRef<'_>) -> ControlFlow<()>,
    {
        let mut places = self.behind(after);
        let mut ahead = Vec::with_capacity(AHEAD);
        loop {
            // Their blocks lie anywhere: looked up together, the processor waits for all of them at once.
            ahead.extend(places.by_ref().take(AHEAD).filter_map(|place| record_in(&self.cells, place.cell)));
            black_box(ahead.iter().fold(0, |all, packed| all ^ packed.first()));
            if ahead.is_empty() {
                return;
            }
            for packed in ahead.drain(..) {
                if visit(packed.key(), packed.record_ref()).is_break() {
                    return;
                }
            }
        }
    }

    fn difference(&self, older: &Self) -> Differing {
        let mut differing = vec![0; self.cells.len().div_ceil(64)];
        let mut older = older.cells.iter();
        for (cell, new) in self.cells.iter().enumerate() {
            let is_same = match (new, older.next()) {
                (Some(new), Some(Some(old))) => new.is_same(old),
                (None, None | Some(None)) => true,
                (Some(_), None | Some(None)) | (None, Some(Some(_))) => false,
            };
            differing[cell / 64] |= u64::from(!is_same) << (cell % 64);
        }
        Differing(differing)
    }

    fn changes<V>(&self, (older, differing): (&Self, &Differing), after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], Option<RecordRef<'_>>) -> ControlFlow<()>,
    {
        let (mut newer_keys, mut older_keys) =
            (self.behind(after).peekable(), older.behind(after).peekable());
        loop {
            let order = match (newer_keys.peek(), older_keys.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(new), Some(old)) => new.cmp(old),
            };
            let gone = if order.is_ge() { older_keys.next() } else { None };
            let new = if order.is_le() { newer_keys.next() } else { None };
            let flow = match (new, gone) {
                // A key that went and came again is in a cell that held something else.
                (Some(new), Some(_)) if !differing.has(new.cell) => continue,
                (Some(new), _) => record_in(&self.cells, new.cell)
                    .map_or(ControlFlow::Continue(()), |new| visit(new.key(), Some(new.record_ref()))),
                (None, Some(_)) if synod_planted::is(Bug::DeletesNotCheckpointed) => continue,
                (None, Some(gone)) => record_in(&older.cells, gone.cell)
                    .map_or(ControlFlow::Continue(()), |gone| visit(gone.key(), None)),
                (None, None) => return,
            };
            if flow.is_break() {
                return;
            }
        }
    }

    fn len(&self) -> u64 {
        self.order.len() as u64
    }
}

#[cfg(test)]
mod tests;
