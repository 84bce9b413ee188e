//! The engine in memory: a persistent B+tree of packed records.
//!
//! Key, stamp and value of a record lie in one shared block, so a record costs one allocation and a snapshot none. Blocks never
//! change; a tree node does while no snapshot holds it, and is copied when one does. Two snapshots of one storage share every block that wasn't written
//! between them: what differs is found by comparing addresses, without a look at the records that are the same.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use equivalent::{Comparable, Equivalent};
use imbl::OrdSet;
use synod_planted::Bug;
use synod_protocol::Revision;

use crate::storage::{Record, RecordRef, Snapshot, Stamp, Storage};

/// Values from this length on are shared with readers instead of copied.
const SHARED_BYTES: usize = 4 << 10;

/// A record, ordered and compared by its key alone. The key's beginning lies beside the block, in the tree's own nodes: a search that looks into
/// blocks waits for memory at each of its steps, and takes five times as long among a million keys.
#[derive(Clone)]
struct Packed {
    beginning: u128,
    /// `[created][modified][version][key length: u32][key][value]`.
    block: Arc<[u8]>,
}

/// A key that is looked for.
#[derive(Clone, Copy)]
struct Sought<'a> {
    beginning: u128,
    key: &'a [u8],
}

/// The first bytes of a key as a number: of two keys whose numbers differ, the lesser has the lesser.
fn beginning(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

impl<'a> Sought<'a> {
    fn new(key: &'a [u8]) -> Sought<'a> {
        Sought { beginning: beginning(key), key }
    }
}

impl Equivalent<Packed> for Sought<'_> {
    fn equivalent(&self, packed: &Packed) -> bool {
        self.compare(packed).is_eq()
    }
}

impl Comparable<Packed> for Sought<'_> {
    fn compare(&self, packed: &Packed) -> Ordering {
        self.beginning.cmp(&packed.beginning).then_with(|| self.key.cmp(packed.key()))
    }
}

/// Where the key begins.
const KEY: usize = 28;

impl Packed {
    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.block[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Where the value begins.
    fn value_at(&self) -> usize {
        KEY + u32::from_le_bytes(self.block[24..KEY].try_into().expect("four bytes")) as usize
    }

    fn key(&self) -> &[u8] {
        &self.block[KEY..self.value_at()]
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            created: Revision(self.number(0)),
            modified: Revision(self.number(8)),
            version: self.number(16),
        }
    }

    fn record_ref(&self) -> RecordRef<'_> {
        RecordRef { stamp: self.stamp(), value: &self.block[self.value_at()..] }
    }

    fn record(&self) -> Record {
        let record = self.record_ref();
        if record.value.len() < SHARED_BYTES {
            return record.to_record();
        }
        let Stamp { created, modified, version } = record.stamp;
        Record { created, modified, version, value: Bytes::from_owner(Value(self.clone())) }
    }
}

/// The value inside a block, kept alive by whoever reads it.
struct Value(Packed);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.0.record_ref().value
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Packed {}

impl PartialOrd for Packed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.beginning.cmp(&other.beginning).then_with(|| self.key().cmp(other.key()))
    }
}

/// A store in memory. Equal to another if it holds the same records.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    keys: OrdSet<Packed>,
    /// Where a record is put together; empty between calls.
    scratch: Vec<u8>,
}

impl MemoryStorage {
    fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|packed| &*packed.block)
    }
}

impl PartialEq for MemoryStorage {
    fn eq(&self, other: &Self) -> bool {
        self.blocks().eq(other.blocks())
    }
}

impl Eq for MemoryStorage {}

impl Hash for MemoryStorage {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.keys.len().hash(state);
        self.blocks().for_each(|block| block.hash(state));
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |packed: &Packed| (packed.key().escape_ascii().to_string(), packed.record());
        f.debug_map().entries(self.keys.iter().map(entry)).finish()
    }
}

impl Storage for MemoryStorage {
    type Snapshot = MemorySnapshot;

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.keys.get(&Sought::new(key)).map(Packed::record)
    }

    fn stamp(&self, key: &[u8]) -> Option<Stamp> {
        self.keys.get(&Sought::new(key)).map(Packed::stamp)
    }

    fn put(&mut self, key: &[u8], record: RecordRef<'_>) {
        let Stamp { created, modified, version } = record.stamp;
        let key_length = u32::try_from(key.len()).expect("limits keep a key under 4 GiB");
        for number in [created.0, modified.0, version] {
            self.scratch.extend_from_slice(&number.to_le_bytes());
        }
        self.scratch.extend_from_slice(&key_length.to_le_bytes());
        self.scratch.extend_from_slice(key);
        self.scratch.extend_from_slice(record.value);
        self.keys.insert(Packed { beginning: beginning(key), block: Arc::from(self.scratch.as_slice()) });
        self.scratch.clear();
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        self.keys.remove(&Sought::new(key)).is_some()
    }

    fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot { keys: self.keys.clone() }
    }
}

/// A [`MemoryStorage`] at one moment.
#[derive(Clone)]
pub struct MemorySnapshot {
    keys: OrdSet<Packed>,
}

impl MemorySnapshot {
    fn behind<'a>(&'a self, after: Option<&'a [u8]>) -> impl Iterator<Item = &'a Packed> {
        let first = after.map_or(Bound::Unbounded, |key| Bound::Excluded(Sought::new(key)));
        self.keys.range((first, Bound::Unbounded))
    }
}

impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

impl Snapshot for MemorySnapshot {
    fn scan<V>(&self, after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], RecordRef<'_>) -> ControlFlow<()>,
    {
        for packed in self.behind(after) {
            if visit(packed.key(), packed.record_ref()).is_break() {
                return;
            }
        }
    }

    fn changes<V>(&self, older: &Self, after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], Option<RecordRef<'_>>) -> ControlFlow<()>,
    {
        let (mut newer, mut older) = (self.behind(after).peekable(), older.behind(after).peekable());
        loop {
            let order = match (newer.peek(), older.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(new), Some(old)) if Arc::ptr_eq(&new.block, &old.block) => {
                    newer.next();
                    older.next();
                    continue;
                }
                (Some(new), Some(old)) => new.cmp(old),
            };
            let gone = if order.is_ge() { older.next() } else { None };
            let new = if order.is_le() { newer.next() } else { None };
            let flow = match (new, gone) {
                (Some(new), _) => visit(new.key(), Some(new.record_ref())),
                (None, Some(_)) if synod_planted::is(Bug::DeletesNotCheckpointed) => {
                    ControlFlow::Continue(())
                }
                (None, Some(gone)) => visit(gone.key(), None),
                (None, None) => return,
            };
            if flow.is_break() {
                return;
            }
        }
    }

    fn len(&self) -> u64 {
        self.keys.len() as u64
    }
}

#[cfg(test)]
mod tests;
