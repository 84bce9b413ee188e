//! Where keys and values lie: the trait, and the store in memory.
//!
//! The trait asks for no more than any ordered key-value engine has. An engine whose disk fails ends the process instead of
//! returning (S3): nothing that it would answer afterwards could be trusted.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

/// Ordered keys with their values; both are any bytes, possibly none.
pub trait Storage {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Option<Bytes>;

    /// Sets `key`.
    fn put(&mut self, key: &[u8], value: &[u8]);

    /// Removes `key`; tells whether it was there.
    fn delete(&mut self, key: &[u8]) -> bool;

    /// How many keys there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits keys in order, from `first` on (included), until the visitor breaks.
    fn scan<V: FnMut(&[u8], &[u8]) -> ControlFlow<()>>(&self, first: &[u8], visit: V);
}

/// A store in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemoryStorage {
    keys: BTreeMap<Box<[u8]>, Vec<u8>>,
}

impl Storage for MemoryStorage {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.keys.get(key).map(|value| Bytes::copy_from_slice(value))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        match self.keys.get_mut(key) {
            // A value that has shrunk a lot gives its room back instead.
            Some(old) if old.capacity() <= 2 * value.len().max(64) => {
                old.clear();
                old.extend_from_slice(value);
            }
            Some(old) => *old = value.to_vec(),
            None => {
                self.keys.insert(key.into(), value.to_vec());
            }
        }
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        self.keys.remove(key).is_some()
    }

    fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    fn scan<V: FnMut(&[u8], &[u8]) -> ControlFlow<()>>(&self, first: &[u8], mut visit: V) {
        for (key, value) in self.keys.range::<[u8], _>((Bound::Included(first), Bound::Unbounded)) {
            if visit(key, value).is_break() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(storage: &MemoryStorage, first: &[u8], most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        storage.scan(first, |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found
    }

    #[test]
    fn values_grow_and_shrink_in_place() {
        let mut storage = MemoryStorage::default();
        for length in [0, 10_000, 3, 200, 100, 64] {
            let value = vec![7; length];
            storage.put(b"k", &value);
            assert_eq!(storage.get(b"k").as_deref(), Some(value.as_slice()));
            assert!(storage.keys[b"k".as_slice()].capacity() <= 2 * length.max(64));
        }
        assert_eq!((storage.len(), storage.delete(b"k"), storage.delete(b"k")), (1, true, false));
        assert!(storage.is_empty() && storage.get(b"k").is_none());
    }

    #[test]
    fn scans_go_in_order_from_the_first_key_until_told_to_stop() {
        let mut storage = MemoryStorage::default();
        for key in [b"b".as_slice(), b"", b"ab", b"a", b"\xff"] {
            storage.put(key, b"v");
        }
        let keys = |first: &[u8], most| -> Vec<Vec<u8>> {
            scanned(&storage, first, most).into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b"", 9), [b"".as_slice(), b"a", b"ab", b"b", b"\xff"]);
        assert_eq!(keys(b"aa", 2), [b"ab".as_slice(), b"b"]);
    }
}
