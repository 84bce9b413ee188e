//! The engine in memory: records in blocks, cells that tell where each lies, found by the hash of their keys; the keys in order beside them.
//!
//! A put of a key that is there touches its record and its cell alone. Cells, blocks and the order of keys are persistent structures, so a snapshot costs
//! next to nothing: a part of them is changed in place while no snapshot holds it, and copied when one does. A cell has the number of the last write to it, so what
//! was written since an older snapshot is found without a look at the records that weren't. The hashes are no part of a state: they are never
//! iterated, and what their seed decides can't be seen but in the time that a search takes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::hint::black_box;

use hashbrown::HashTable;
use imbl::OrdSet;
use synod_planted::Bug;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::storage::{Record, RecordRef, Stamp, Storage};

mod arena;
mod pages;
mod place;
mod record;
mod snapshot;

use arena::{Arena, At};
use pages::Pages;
use place::{Place, Sought};
use record::Packed;
pub use snapshot::{MemoryMark, MemorySnapshot};

/// Keys that are looked for side by side.
const TOGETHER: usize = 16;
/// Keys from which on it pays to look for those of a slot before it is applied: what fewer take stays near, even on a processor that other processes share.
const MANY_KEYS: usize = 1 << 10;
/// Values from this length on are shared with readers instead of copied.
const SHARED_BYTES: usize = 4 << 10;
/// Bytes that may be held for nothing, besides half of what is in use.
const SPARE_BYTES: u64 = 1 << 20;

/// Where the record of a key lies, and how many writes there had been with its last one.
#[derive(Clone, Copy, Debug)]
struct Cell {
    at: At,
    write: u64,
}

impl Default for Cell {
    fn default() -> Self {
        Cell { at: At::NOWHERE, write: 0 }
    }
}

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
    arena: Arena,
    /// A key keeps the cell that it got when it came.
    cells: Pages<Cell>,
    /// Cells whose keys are gone.
    free: Vec<u32>,
    entries: HashTable<Entry>,
    order: OrdSet<Place>,
    /// Puts so far.
    writes: u64,
    /// Of the hashes.
    seed: u64,
    spare_bytes: u64,
}

impl MemoryStorage {
    /// An empty store. Whoever knows `seed` can choose keys that are slow to find: where clients aren't trusted, draw it at random. A store by
    /// `default` spares no memory for what isn't in use, and so moves records all the time.
    pub fn seeded(seed: u64) -> MemoryStorage {
        MemoryStorage { seed, spare_bytes: SPARE_BYTES, ..MemoryStorage::default() }
    }

    fn hash_of(&self, key: &[u8]) -> u32 {
        (xxh3_64_with_seed(key, self.seed) >> 32) as u32
    }

    fn in_cell(&self, cell: u32) -> Packed<'_> {
        self.arena.packed(self.cells.get(cell as usize).at)
    }

    fn find(&self, key: &[u8], hash: u32) -> Option<u32> {
        let is_it = |entry: &Entry| entry.hash == hash && self.in_cell(entry.cell).key() == key;
        self.entries.find(spread(hash), is_it).map(|entry| entry.cell)
    }

    /// Where keys most likely lie, for another key may have the same hash: at most [`TOGETHER`], side by side, a step of all before the next step of
    /// any. A search waits for memory at each of its steps, and these wait together.
    fn likely(&self, keys: &[&[u8]]) -> ([u32; TOGETHER], [At; TOGETHER]) {
        let mut hashes = [0; TOGETHER];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash_of(key);
        }
        let mut cells = [None; TOGETHER];
        for (cell, hash) in cells.iter_mut().zip(hashes).take(keys.len()) {
            let entry = self.entries.find(spread(hash), |entry| entry.hash == hash);
            *cell = entry.map(|entry| entry.cell);
        }
        let places = cells.map(|cell| cell.map_or(At::NOWHERE, |cell| self.cells.get(cell as usize).at));
        let there = places.iter().filter(|at| **at != At::NOWHERE);
        black_box(there.fold(0, |sum, at| sum ^ self.arena.packed(*at).touch()));
        (hashes, places)
    }

    fn add(&mut self, key: &[u8], hash: u32, record: RecordRef<'_>) {
        let cell = self.free.pop().unwrap_or_else(|| {
            u32::try_from(self.cells.push()).expect("memory ends before there are 4 billion keys")
        });
        let at = self.arena.add(cell, key, record);
        *self.cells.get_mut(cell as usize) = Cell { at, write: self.writes };
        self.entries.insert_unique(spread(hash), Entry { hash, cell }, |entry| spread(entry.hash));
        self.order.insert(Place::new(key, cell));
    }

    /// Moves what is in use of a block that holds little of it, if much is held for nothing.
    fn tidy(&mut self) {
        let Some((number, block)) = self.arena.choose(self.spare_bytes) else { return };
        let is_used = |(at, packed): &(At, Packed<'_>)| {
            let now = self.cells.get(packed.cell() as usize).at;
            now == *at || (now != At::NOWHERE && synod_planted::is(Bug::DeadRecordMoved))
        };
        // All cells are looked at before the first of them changes: they are far, and wait together.
        let used: Vec<Packed<'_>> =
            arena::records(number, &block).filter(is_used).map(|(_, packed)| packed).collect();
        for packed in used {
            let at = self.arena.add(packed.cell(), packed.key(), packed.record());
            self.cells.get_mut(packed.cell() as usize).at = at;
        }
        drop(block);
        self.arena.emptied(number);
    }

    fn record(&self, at: At) -> Record {
        let packed = self.arena.packed(at);
        let (record, end) = (packed.record(), packed.length());
        let is_shared = record.value.len() >= SHARED_BYTES;
        let shared = is_shared.then(|| self.arena.shared(at, end - record.value.len()..end)).flatten();
        let Stamp { created, modified, version } = record.stamp;
        shared.map_or_else(|| record.to_record(), |value| Record { created, modified, version, value })
    }

    fn in_order(&self) -> impl Iterator<Item = (&[u8], RecordRef<'_>)> {
        self.order.iter().map(|place| {
            let packed = self.in_cell(place.cell);
            (packed.key(), packed.record())
        })
    }
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
        self.in_order().for_each(|entry| entry.hash(state));
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry =
            |(key, record): (&[u8], RecordRef<'_>)| (key.escape_ascii().to_string(), record.to_record());
        f.debug_map().entries(self.in_order().map(entry)).finish()
    }
}

impl Storage for MemoryStorage {
    type Snapshot = MemorySnapshot;

    fn get(&self, key: &[u8]) -> Option<Record> {
        let cell = self.find(key, self.hash_of(key))?;
        Some(self.record(self.cells.get(cell as usize).at))
    }

    fn show(&self, keys: &[&[u8]], mut see: impl FnMut(usize, Option<RecordRef<'_>>)) {
        for (part, keys) in keys.chunks(TOGETHER).enumerate() {
            let (hashes, places) = self.likely(keys);
            for (number, ((at, hash), key)) in places.into_iter().zip(hashes).zip(keys).enumerate() {
                let likely = (at != At::NOWHERE).then(|| self.arena.packed(at));
                let packed = match likely {
                    Some(packed) if packed.key() == *key => Some(packed),
                    // Another key with the same hash.
                    Some(_) if synod_planted::is(Bug::HashTakenForKey) => likely,
                    Some(_) => self.find(key, hash).map(|cell| self.in_cell(cell)),
                    None => None,
                };
                see(part * TOGETHER + number, packed.map(Packed::record));
            }
        }
    }

    fn expect<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        if self.entries.len() < MANY_KEYS {
            return;
        }
        let mut together = Vec::with_capacity(TOGETHER);
        let mut keys = keys.peekable();
        while keys.peek().is_some() {
            together.extend(keys.by_ref().take(TOGETHER));
            self.likely(&together);
            together.clear();
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], stamp: impl FnOnce(Option<Stamp>) -> Stamp) -> Stamp {
        let hash = self.hash_of(key);
        self.writes += 1;
        let Some(cell) = self.find(key, hash) else {
            let stamp = stamp(None);
            self.add(key, hash, RecordRef { stamp, value });
            self.tidy();
            return stamp;
        };
        let at = self.cells.get(cell as usize).at;
        let stamp = stamp(Some(self.arena.packed(at).stamp()));
        let record = RecordRef { stamp, value };
        let cell_now = self.cells.get_mut(cell as usize);
        let is_rewritten = self.arena.rewrite(at, key, record);
        if !is_rewritten {
            cell_now.at = self.arena.add(cell, key, record);
            self.arena.forget(at);
        }
        if !(is_rewritten && synod_planted::is(Bug::OverwriteNotCheckpointed)) {
            cell_now.write = self.writes;
        }
        self.tidy();
        stamp
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let hash = self.hash_of(key);
        let Some(cell) = self.find(key, hash) else { return false };
        if let Ok(entry) = self.entries.find_entry(spread(hash), |entry| entry.cell == cell) {
            entry.remove();
        }
        self.order.remove(&Sought::new(key));
        let before = std::mem::take(self.cells.get_mut(cell as usize));
        self.arena.forget(before.at);
        self.free.push(cell);
        self.tidy();
        true
    }

    fn len(&self) -> u64 {
        self.order.len() as u64
    }

    fn snapshot(&self) -> MemorySnapshot {
        let (shelf, cells, order) = (self.arena.shelf(), self.cells.clone(), self.order.clone());
        MemorySnapshot { shelf, cells, order, writes: self.writes }
    }
}

#[cfg(test)]
mod tests;
