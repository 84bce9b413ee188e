//! An engine on a disk that has room for so many puts, until a checkpoint of them is durable or they are written down otherwise.

use std::cell::Cell;

use synod_protocol::command::{Record, Stamp};
use synod_store::MemorySnapshot;

use super::*;

thread_local! {
    /// Whether there is room for what is written down before a checkpoint.
    pub(super) static HAS_ROOM: Cell<bool> = const { Cell::new(false) };
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Tight<const MOST: u64> {
    keys: MemoryStorage,
    live: u64,
    frozen: u64,
}

impl<const MOST: u64> Storage for Tight<MOST> {
    type Snapshot = MemorySnapshot;

    fn get(&self, key: &[u8]) -> Option<Record> {
        self.keys.get(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8], stamp: impl FnOnce(Option<Stamp>) -> Stamp) -> Stamp {
        self.live += 1;
        self.keys.put(key, value, stamp)
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        self.keys.delete(key)
    }

    fn len(&self) -> u64 {
        self.keys.len()
    }

    fn is_full(&self) -> bool {
        self.live + self.frozen >= MOST
    }

    fn relieve(&mut self) {
        if HAS_ROOM.get() {
            self.live = 0;
        }
    }

    fn snapshot(&self) -> MemorySnapshot {
        self.keys.snapshot()
    }

    fn freeze(&mut self) {
        self.frozen += std::mem::take(&mut self.live);
    }

    fn thaw(&mut self) {
        self.frozen = 0;
    }
}
