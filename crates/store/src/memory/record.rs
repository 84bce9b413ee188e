//! A record in memory: its cell, key, stamp and value in one run of bytes.
//!
//! ```text
//! cell: u32, key length: u32, value length: u32, created, modified, version: u64 each, key, value
//! ```

use synod_protocol::Revision;

use crate::storage::{RecordRef, Stamp};

/// Where the stamp begins.
const STAMP: usize = 12;
/// Where the key begins.
const KEY: usize = STAMP + 24;
/// Bytes that come from memory together.
const LINE: usize = 64;
/// Bytes of a record that are made to come near, at most.
const NEAR: usize = 1 << 10;

fn stamp_bytes(stamp: Stamp) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (at, number) in [stamp.created.0, stamp.modified.0, stamp.version].into_iter().enumerate() {
        bytes[8 * at..8 * at + 8].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// Writes a record behind what is in `block`.
pub(super) fn write(block: &mut Vec<u8>, cell: u32, key: &[u8], record: RecordRef<'_>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("limits keep keys and values under 4 GiB");
    let mut head = [0; KEY];
    for (at, number) in [cell, length(key), length(record.value)].into_iter().enumerate() {
        head[4 * at..4 * at + 4].copy_from_slice(&number.to_le_bytes());
    }
    head[STAMP..].copy_from_slice(&stamp_bytes(record.stamp));
    block.extend_from_slice(&head);
    block.extend_from_slice(key);
    block.extend_from_slice(record.value);
}

/// Writes another stamp and another value of the same length into the record at the beginning of `bytes`.
pub(super) fn rewrite(bytes: &mut [u8], key: &[u8], record: RecordRef<'_>) {
    let value = KEY + key.len();
    bytes[STAMP..KEY].copy_from_slice(&stamp_bytes(record.stamp));
    bytes[value..value + record.value.len()].copy_from_slice(record.value);
}

/// The bytes that a record takes.
pub(super) fn length(key: &[u8], value: &[u8]) -> usize {
    KEY + key.len() + value.len()
}

/// A record where it lies.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    head: &'a [u8; KEY],
    /// The key, then the value.
    rest: &'a [u8],
}

impl<'a> Packed<'a> {
    /// The record at the beginning of `bytes`, in which others may come after it.
    pub(super) fn at(bytes: &'a [u8]) -> Packed<'a> {
        let (head, behind) = bytes.split_first_chunk().expect("a record begins where a cell tells");
        let alone = Packed { head, rest: &[] };
        Packed { rest: &behind[..alone.key_length() + alone.value_length()], ..alone }
    }

    fn short(self, at: usize) -> u32 {
        u32::from_le_bytes([self.head[at], self.head[at + 1], self.head[at + 2], self.head[at + 3]])
    }

    fn long(self, at: usize) -> u64 {
        u64::from(self.short(at)) | u64::from(self.short(at + 4)) << 32
    }

    /// The cell that tells where it lies.
    pub(super) fn cell(self) -> u32 {
        self.short(0)
    }

    fn key_length(self) -> usize {
        self.short(4) as usize
    }

    fn value_length(self) -> usize {
        self.short(8) as usize
    }

    /// The bytes that it takes.
    pub(super) fn length(self) -> usize {
        KEY + self.rest.len()
    }

    pub(super) fn stamp(self) -> Stamp {
        Stamp {
            created: Revision(self.long(STAMP)),
            modified: Revision(self.long(STAMP + 8)),
            version: self.long(STAMP + 16),
        }
    }

    pub(super) fn key(self) -> &'a [u8] {
        &self.rest[..self.key_length()]
    }

    pub(super) fn record(self) -> RecordRef<'a> {
        RecordRef { stamp: self.stamp(), value: &self.rest[self.key_length()..] }
    }

    /// Reads a little of it everywhere, so that it is near when it is needed.
    pub(super) fn touch(self) -> u8 {
        let near = &self.rest[..self.rest.len().min(NEAR)];
        near.iter().step_by(LINE).fold(self.head[0], |sum, byte| sum ^ byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_one_behind_the_other_also_overwritten() {
        let stamp = |revision| Stamp {
            created: Revision(revision),
            modified: Revision(u64::MAX - revision),
            version: revision << 32,
        };
        let parts: [(&[u8], &[u8]); 4] =
            [(b"", b""), (b"key", b""), (b"", b"value"), (b"key", &[7; 3 * NEAR])];
        let mut block = Vec::new();
        for (cell, (key, value)) in (0..).zip(parts) {
            write(&mut block, cell, key, RecordRef { stamp: stamp(1), value });
        }
        for revision in [1, 2] {
            let mut offset = 0;
            for (cell, (key, value)) in (0..).zip(parts) {
                let value: Vec<u8> = value.iter().map(|byte| byte ^ revision as u8).collect();
                let record = RecordRef { stamp: stamp(revision), value: &value };
                rewrite(&mut block[offset..], key, record);
                let packed = Packed::at(&block[offset..]);
                assert_eq!((packed.cell(), packed.key(), packed.record()), (cell, key, record));
                assert_eq!(packed.length(), length(key, &value));
                packed.touch();
                offset += packed.length();
            }
            assert_eq!(offset, block.len());
        }
    }
}
