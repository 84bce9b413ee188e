//! The storage and its snapshots.

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;

use synod_planted::Bug;
use synod_store::{Record, RecordRef, Snapshot, Stamp, Storage};

use crate::base::{Base, BaseSnapshot};
use crate::layer::Layer;
use crate::merged::Merged;
use crate::open::Options;
use crate::record;
use crate::vault::Vault;

/// Keys on disk, under an overlay of what was written since the last checkpoint.
pub struct DiskStorage {
    base: Base,
    /// Written since the last checkpoint began.
    live: Layer,
    /// What the checkpoint under way writes; in the tree too once that is done.
    frozen: Option<Layer>,
    /// Keys there are.
    len: u64,
    /// Whether the tree holds a checkpoint; until it does, writes may go there as they come.
    kept: bool,
    /// Bytes of overlay at which they do.
    spill_bytes: u64,
    /// The same, or more where there was no room.
    spill_at_bytes: u64,
    most_overlay_bytes: u64,
}

impl DiskStorage {
    pub(crate) fn new(base: Base, kept: Option<u64>, options: Options) -> DiskStorage {
        let Options { spill_bytes, most_overlay_bytes, .. } = options;
        let len = kept.unwrap_or(0);
        let (live, frozen, kept) = (Layer::default(), None, kept.is_some());
        DiskStorage {
            base,
            live,
            frozen,
            len,
            kept,
            spill_bytes,
            spill_at_bytes: spill_bytes,
            most_overlay_bytes,
        }
    }

    /// Where this storage's checkpoints are made durable; may go to another thread.
    pub fn vault(&self) -> Vault {
        Vault::new(self.base.clone())
    }

    /// Bytes of memory that wait for a checkpoint, about: whoever drives checkpoints bounds them.
    pub fn overlay_bytes(&self) -> u64 {
        self.live.bytes() + self.frozen.as_ref().map_or(0, Layer::bytes)
    }

    fn frozen(&self) -> Option<&Layer> {
        self.frozen.as_ref().filter(|_| !synod_planted::is(Bug::FrozenOverlayForgotten))
    }

    fn set(&mut self, key: &[u8], record: Option<Record>) {
        self.live.set(key, record);
        let free = !self.kept || synod_planted::is(Bug::SpillAfterCheckpoint);
        if free && self.frozen.is_none() && self.live.bytes() > self.spill_at_bytes {
            self.spill();
        }
    }

    /// Writes down what belongs to no checkpoint yet. Without room for it memory holds it, until there is twice as much.
    fn spill(&mut self) {
        match self.vault().spill(&self.live) {
            Ok(()) => (self.live, self.spill_at_bytes) = (Layer::default(), self.spill_bytes),
            // Whoever applies slots, or builds a state, stops when it is full.
            Err(error) if error.is_no_space() && self.live.bytes() < 2 * self.most_overlay_bytes => {
                self.spill_at_bytes = 2 * self.live.bytes();
            }
            Err(error) => self.base.stop(error),
        }
    }
}

impl fmt::Debug for DiskStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys, {} bytes of overlay", self.len, self.overlay_bytes())
    }
}

impl Storage for DiskStorage {
    type Snapshot = DiskSnapshot;

    fn get(&self, key: &[u8]) -> Option<Record> {
        if let Some(known) = self.live.get(key).or_else(|| self.frozen()?.get(key)) {
            return known.cloned();
        }
        let found = self.base.get(&record::record_key(key));
        let decoded = found.and_then(|found| found.map(|bytes| record::decode(key, &bytes)).transpose());
        decoded.unwrap_or_else(|error| self.base.stop(error))
    }

    fn put(&mut self, key: &[u8], value: &[u8], stamp: impl FnOnce(Option<Stamp>) -> Stamp) -> Stamp {
        let before = self.get(key);
        self.len += u64::from(before.is_none());
        let stamp = stamp(before.map(|record| record::borrow(&record).stamp));
        self.set(key, Some(RecordRef { stamp, value }.to_record()));
        stamp
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let existed = self.get(key).is_some();
        if existed {
            self.len -= 1;
            self.set(key, None);
        }
        existed
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn is_full(&self) -> bool {
        self.overlay_bytes() >= self.most_overlay_bytes
    }

    fn relieve(&mut self) {
        if !self.kept && self.frozen.is_none() && !self.live.is_empty() {
            self.spill();
        }
    }

    fn snapshot(&self) -> DiskSnapshot {
        DiskSnapshot {
            base: self.base.snapshot(),
            live: self.live.clone(),
            frozen: self.frozen.clone(),
            len: self.len,
        }
    }

    fn freeze(&mut self) {
        let live = std::mem::take(&mut self.live);
        // A checkpoint that found no room left what it was to write: this one writes both.
        self.frozen.get_or_insert_default().absorb(live);
    }

    fn thaw(&mut self) {
        self.frozen = None;
        self.kept = true;
    }
}

/// A [`DiskStorage`] at one moment. While it lives, the tree keeps what it shows.
#[derive(Clone)]
pub struct DiskSnapshot {
    pub(crate) base: BaseSnapshot,
    pub(crate) live: Layer,
    pub(crate) frozen: Option<Layer>,
    len: u64,
}

impl fmt::Debug for DiskSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.len)
    }
}

impl Snapshot for DiskSnapshot {
    type Mark = DiskSnapshot;
    type Difference = DiskSnapshot;

    fn scan<V>(&self, after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], RecordRef<'_>) -> ControlFlow<()>,
    {
        for (key, record) in Merged::new(self, after) {
            if visit(&key, record::borrow(&record)).is_break() {
                return;
            }
        }
    }

    fn mark(&self) -> DiskSnapshot {
        self.clone()
    }

    fn difference(&self, older: &Self) -> DiskSnapshot {
        older.clone()
    }

    /// Reads both snapshots as a whole: this engine writes its checkpoints by itself and needs no changes for them.
    fn changes<V>(&self, older: &DiskSnapshot, after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], Option<RecordRef<'_>>) -> ControlFlow<()>,
    {
        let (mut newer, mut older) =
            (Merged::new(self, after).peekable(), Merged::new(older, after).peekable());
        loop {
            let order = match (newer.peek(), older.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((new, _)), Some((old, _))) => new.cmp(old),
            };
            let old = if order.is_ge() { older.next() } else { None };
            let new = if order.is_le() { newer.next() } else { None };
            let flow = match (&new, &old) {
                (Some(new), Some(old)) if new == old => ControlFlow::Continue(()),
                (Some((key, record)), _) => visit(key, Some(record::borrow(record))),
                (None, Some((key, _))) => visit(key, None),
                (None, None) => return,
            };
            if flow.is_break() {
                return;
            }
        }
    }

    fn len(&self) -> u64 {
        self.len
    }
}
