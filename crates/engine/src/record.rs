//! What lies in the tree: its keys, and the bytes of a record.
//!
//! | key | value |
//! |---|---|
//! | `0` | what the checkpoint is: form, keys, pieces of the rest |
//! | `1`, number | a piece of the rest: a chunk of the image without its keys |
//! | `2`, key | a record: checksum, created, modified, version, value |

use bytes::Bytes;
use synod_protocol::Revision;
use synod_store::{Record, RecordRef, Stamp};
use xxhash_rust::xxh3::Xxh3;

use crate::error::EngineError;

/// Where the checkpoint tells of itself.
pub(crate) const ABOUT: [u8; 1] = [0];
/// What a record's key begins with.
pub(crate) const RECORDS: u8 = 2;
/// The longest key: the tree's, less our first byte.
pub(crate) const MOST_KEY_BYTES: u64 = 65_534;

const FORM: u64 = 1;
const HEAD: usize = 32;

/// The tree's key of a piece of the rest.
pub(crate) fn rest_key(number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [1, a, b, c, d]
}

/// The tree's key of a key.
pub(crate) fn record_key(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(RECORDS);
    bytes.extend_from_slice(key);
    bytes
}

/// What a checkpoint tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// How many keys there are.
    pub(crate) keys: u64,
    /// How many pieces the rest has.
    pub(crate) rest: u32,
}

impl About {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [FORM, self.keys, u64::from(self.rest)].iter().flat_map(|number| number.to_le_bytes()).collect();
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<About, EngineError> {
        let damaged = || EngineError::Damaged("it doesn't tell what it holds".to_string());
        let (content, checksum) = bytes.split_last_chunk::<8>().ok_or_else(damaged)?;
        let numbers: Vec<u64> =
            content.chunks_exact(8).map(|bytes| number(bytes, 0).unwrap_or_default()).collect();
        let &[FORM, keys, rest] = numbers.as_slice() else { return Err(damaged()) };
        let about = About { keys, rest: u32::try_from(rest).map_err(|_| damaged())? };
        let whole =
            content.len() == 24 && u64::from_le_bytes(*checksum) == xxhash_rust::xxh3::xxh3_64(content);
        if whole { Ok(about) } else { Err(damaged()) }
    }
}

/// The bytes of a record.
pub(crate) fn encode(key: &[u8], record: RecordRef<'_>) -> Vec<u8> {
    let Stamp { created, modified, version } = record.stamp;
    let mut bytes = Vec::with_capacity(HEAD + record.value.len());
    bytes.extend_from_slice(&[0; 8]);
    for number in [created.0, modified.0, version] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(record.value);
    let checksum = checksum(key, &bytes[8..]);
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The record of these bytes, if they are those that were written for `key`.
pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Result<Record, EngineError> {
    let damaged = || format!("the record of key \"{}\" isn't the one written", key.escape_ascii());
    read(key, bytes).ok_or_else(|| EngineError::Damaged(damaged()))
}

fn read(key: &[u8], bytes: &[u8]) -> Option<Record> {
    let same = number(bytes, 0)? == checksum(key, bytes.get(8..)?);
    let record = Record {
        created: Revision(number(bytes, 8)?),
        modified: Revision(number(bytes, 16)?),
        version: number(bytes, 24)?,
        value: Bytes::copy_from_slice(bytes.get(HEAD..)?),
    };
    same.then_some(record)
}

/// A record as the state machine gives and takes it.
pub(crate) fn borrow(record: &Record) -> RecordRef<'_> {
    let Record { created, modified, version, ref value } = *record;
    RecordRef { stamp: Stamp { created, modified, version }, value }
}

fn checksum(key: &[u8], rest: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(rest);
    hash.digest()
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_every_changed_bit_is_seen() {
        let record =
            Record { created: Revision(1), modified: Revision(7), version: 3, value: "value".into() };
        let bytes = encode(b"key", borrow(&record));
        assert_eq!(read(b"key", &bytes), Some(record));
        assert_eq!(read(b"kez", &bytes), None, "a record of another key");
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(b"key", &damaged), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(read(b"key", &bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_a_checkpoint_tells_comes_back_and_every_changed_bit_is_seen() {
        let about = About { keys: 5, rest: 2 };
        let bytes = about.bytes();
        assert_eq!(About::read(&bytes).unwrap(), about);
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(About::read(&damaged).is_err(), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|cut| About::read(&bytes[..cut]).is_err()));
    }
}
