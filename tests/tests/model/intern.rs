//! Everything of which there are few distinct ones is kept once and named by a number: a global state is then a few words, cheap
//! to copy and to compare, and what a role does with an event is worked out once.
//!
//! Sound because a role is a plain value and deterministic (the role contract): equal values do the same with equal events.
//! Numbers depend on which thread came first; nothing but the printing of a path looks at their order.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

/// Distinct values by number.
#[derive(Debug)]
pub(crate) struct Interner<T>(RwLock<Values<T>>);

/// The number of each value, and the values by number.
type Values<T> = (HashMap<Arc<T>, u32>, Vec<Arc<T>>);

impl<T: Eq + Hash> Interner<T> {
    pub(crate) fn new() -> Self {
        Interner(RwLock::new((HashMap::new(), Vec::new())))
    }

    /// The number of `value`.
    pub(crate) fn number(&self, value: T) -> u32 {
        if let Some(number) = self.0.read().unwrap().0.get(&value) {
            return *number;
        }
        let mut inner = self.0.write().unwrap();
        if let Some(number) = inner.0.get(&value) {
            return *number;
        }
        let (value, number) = (Arc::new(value), u32::try_from(inner.1.len()).unwrap());
        inner.0.insert(value.clone(), number);
        inner.1.push(value);
        number
    }

    pub(crate) fn get(&self, number: u32) -> Arc<T> {
        self.0.read().unwrap().1[number as usize].clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().unwrap().1.len()
    }
}

/// Results by what they depend on; a result that two threads work out at once is the same twice.
#[derive(Debug)]
pub(crate) struct Memo<K, V>([RwLock<HashMap<K, V, Hasher>>; SHARDS]);

const SHARDS: usize = 32;

type Hasher = std::hash::BuildHasherDefault<Mix>;

/// A quick hasher for keys of a few numbers.
#[derive(Debug, Default)]
pub(crate) struct Mix(u64);

impl std::hash::Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Memo<K, V> {
    pub(crate) fn new() -> Self {
        Memo(std::array::from_fn(|_| RwLock::new(HashMap::default())))
    }

    /// What `work` makes of `key`, worked out once.
    pub(crate) fn of(&self, key: K, work: impl FnOnce(&K) -> V) -> V {
        let mut hasher = Mix::default();
        key.hash(&mut hasher);
        let shard = &self.0[(std::hash::Hasher::finish(&hasher) >> 59) as usize % SHARDS];
        if let Some(known) = shard.read().unwrap().get(&key) {
            return known.clone();
        }
        let value = work(&key);
        shard.write().unwrap().insert(key, value.clone());
        value
    }
}
