//! What was written since a checkpoint, in memory: for each key its record, or that it is gone.

use bytes::Bytes;
use imbl::OrdMap;
use synod_store::Record;

/// Bytes that an entry takes besides key and value, about.
const ENTRY_BYTES: u64 = 160;

/// Writes on top of what lies below. Cloning costs next to nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    entries: OrdMap<Bytes, Option<Record>>,
    bytes: u64,
}

impl Layer {
    /// What it says of `key`: its record, that it is gone, or nothing.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Record>> {
        self.entries.get(key).map(Option::as_ref)
    }

    pub(crate) fn set(&mut self, key: &[u8], record: Option<Record>) {
        let value_bytes =
            |record: &Option<Record>| record.as_ref().map_or(0, |record| record.value.len() as u64);
        self.bytes += value_bytes(&record);
        match self.entries.get_mut(key) {
            Some(before) => {
                self.bytes -= value_bytes(before);
                *before = record;
            }
            None => {
                self.bytes += key.len() as u64 + ENTRY_BYTES;
                self.entries.insert(Bytes::copy_from_slice(key), record);
            }
        }
    }

    /// Puts what came after this on top of it.
    pub(crate) fn absorb(&mut self, newer: Layer) {
        for (key, record) in newer.entries {
            self.set(&key, record);
        }
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Bytes, &Option<Record>)> {
        self.entries.iter()
    }

    /// Entries in order from the one behind `after` on, or from the first.
    pub(crate) fn behind<'a>(
        &'a self,
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Option<Record>)> {
        use std::ops::Bound;
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<_, [u8]>((first, Bound::Unbounded))
    }
}
