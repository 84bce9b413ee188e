//! A record in memory: key, stamp and value in one block that never changes and is shared by whoever holds it.

use std::sync::Arc;

use bytes::Bytes;
use synod_protocol::Revision;

use crate::storage::{Record, RecordRef, Stamp};

/// Values from this length on are shared with readers instead of copied.
pub(super) const SHARED_BYTES: usize = 4 << 10;
/// Where the key begins.
const KEY: usize = 28;

/// `[created][modified][version][key length: u32][key][value]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Packed(Arc<[u8]>);

impl Packed {
    /// Puts a record together in `scratch`, which is empty before and after.
    pub(super) fn new(key: &[u8], record: RecordRef<'_>, scratch: &mut Vec<u8>) -> Packed {
        let Stamp { created, modified, version } = record.stamp;
        let key_length = u32::try_from(key.len()).expect("limits keep a key under 4 GiB");
        for number in [created.0, modified.0, version] {
            scratch.extend_from_slice(&number.to_le_bytes());
        }
        scratch.extend_from_slice(&key_length.to_le_bytes());
        scratch.extend_from_slice(key);
        scratch.extend_from_slice(record.value);
        let packed = Packed(Arc::from(scratch.as_slice()));
        scratch.clear();
        packed
    }

    /// A byte of it, for the sake of having it near.
    pub(super) fn first(&self) -> u8 {
        self.0[0]
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Where the value begins.
    fn value_at(&self) -> usize {
        KEY + u32::from_le_bytes(self.0[24..KEY].try_into().expect("four bytes")) as usize
    }

    /// Reads a little of its beginning and of its middle, so that they are near when they are needed.
    pub(super) fn touch(&self) -> u8 {
        self.0[0] ^ self.0[self.0.len() / 2]
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.0[KEY..self.value_at()]
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            created: Revision(self.number(0)),
            modified: Revision(self.number(8)),
            version: self.number(16),
        }
    }

    pub(super) fn record_ref(&self) -> RecordRef<'_> {
        RecordRef { stamp: self.stamp(), value: &self.0[self.value_at()..] }
    }

    pub(super) fn record(&self) -> Record {
        let record = self.record_ref();
        if record.value.len() < SHARED_BYTES {
            return record.to_record();
        }
        let Stamp { created, modified, version } = record.stamp;
        Record { created, modified, version, value: Bytes::from_owner(Value(self.clone())) }
    }

    /// Whether both are one block; a record that was written again is another, even with the same bytes.
    pub(super) fn is_same(&self, other: &Packed) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The value inside a block, kept alive by whoever reads it.
struct Value(Packed);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.0.record_ref().value
    }
}
