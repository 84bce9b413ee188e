//! The bytes of a segment: its head, and the headers of the entries (batches and seals) that follow it.
//!
//! All numbers are little-endian. An entry's checksums are seeded with the checksum of its segment's head plus its own
//! offset: bytes of another segment, of an earlier use of the file, or written at a wrong place never pass. A head's
//! checksum covers the caller's blob; with the caller's random disk id in it, no client can guess the seed
//! and smuggle a plausible entry into a value. Absent on purpose: reading and writing files.

use synod_planted::Bug;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::Options;

pub(crate) const FORMAT: u32 = 1;
/// Size of an entry's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Size of a head without the caller's blob.
pub(crate) const HEAD_BYTES: usize = 80;
/// The name of the file that is being prepared.
pub(crate) const SPARE: &str = "spare";
/// The name of the file that is kept for a full disk.
pub(crate) const RESERVE: &str = "reserve";

const HEAD_MAGIC: [u8; 8] = *b"SynodJrn";
const ENTRY_MAGIC: [u8; 4] = *b"SyJe";
const BATCH: u8 = 1;
const SEAL: u8 = 2;

/// The file name of a segment.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("segment-{segment:016x}")
}

/// The segment a file name stands for; `None` for any other file.
pub(crate) fn segment_of(name: &str) -> Option<u64> {
    let segment = u64::from_str_radix(name.strip_prefix("segment-")?, 16).ok()?;
    (segment_name(segment) == name).then_some(segment)
}

/// Rounds up to a multiple of the block size.
pub(crate) fn align(bytes: u64, block_bytes: u64) -> u64 {
    bytes.next_multiple_of(block_bytes)
}

/// What a segment says of itself, without the caller's blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) block_bytes: u64,
    pub(crate) segment: u64,
    /// The file had this size, all of it written and synced, before the segment came to be.
    pub(crate) prepared_bytes: u64,
    /// Batches from this number on are found here, whatever older segments hold of them.
    pub(crate) first_batch: u64,
    /// Every batch up to this one was synced, in older segments or in this one, when the segment came to be.
    pub(crate) sealed_through: u64,
    /// Segments older than this one are no longer needed and may be gone.
    pub(crate) oldest_segment: u64,
    /// The file had another use before, so old bytes follow the last entry, and not zeros.
    pub(crate) recycled: bool,
    pub(crate) blob_bytes: u64,
    /// Seeds the checksums of the segment's entries.
    pub(crate) checksum: u64,
}

/// Why a head can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// The fixed part makes no sense, or its checksum does not match.
    Damaged,
    /// Written in another format.
    Format(u32),
}

impl Head {
    /// Where the first entry starts.
    pub(crate) fn end(&self) -> u64 {
        align(HEAD_BYTES as u64 + self.blob_bytes, self.block_bytes)
    }

    /// Encodes head and blob, padded to whole blocks, and sets length and checksum in `self`.
    pub(crate) fn encode(&mut self, blob: &[u8]) -> Vec<u8> {
        self.blob_bytes = blob.len() as u64;
        let mut bytes = Vec::with_capacity(self.end() as usize);
        bytes.extend_from_slice(&HEAD_MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(self.block_bytes as u32).to_le_bytes());
        for field in [
            self.segment,
            self.prepared_bytes,
            self.first_batch,
            self.sealed_through,
            self.oldest_segment,
            u64::from(self.recycled),
            self.blob_bytes,
        ] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        self.checksum = head_checksum(&bytes, blob);
        bytes.extend_from_slice(&self.checksum.to_le_bytes());
        bytes.extend_from_slice(blob);
        bytes.resize(self.end() as usize, 0);
        bytes
    }

    /// Decodes the fixed part. Nothing in it may be trusted before [`Head::verify`].
    pub(crate) fn decode(fixed: &[u8; HEAD_BYTES]) -> Result<Head, BadHead> {
        let format = u32_at(fixed, 8);
        let block_bytes = u64::from(u32_at(fixed, 12));
        if fixed[..8] != HEAD_MAGIC {
            return Err(BadHead::Damaged);
        }
        if format != FORMAT {
            return Err(BadHead::Format(format));
        }
        if !block_bytes.is_power_of_two() || !Options::BLOCKS.contains(&block_bytes) {
            return Err(BadHead::Damaged);
        }
        Ok(Head {
            block_bytes,
            segment: u64_at(fixed, 16),
            prepared_bytes: u64_at(fixed, 24),
            first_batch: u64_at(fixed, 32),
            sealed_through: u64_at(fixed, 40),
            oldest_segment: u64_at(fixed, 48),
            recycled: u64_at(fixed, 56) != 0,
            blob_bytes: u64_at(fixed, 64),
            checksum: u64_at(fixed, 72),
        })
    }

    /// Whether the checksum matches the fixed part and the blob.
    pub(crate) fn verify(&self, fixed: &[u8; HEAD_BYTES], blob: &[u8]) -> bool {
        head_checksum(&fixed[..HEAD_BYTES - 8], blob) == self.checksum
    }

    /// Whether a verified head can be one that was written: whoever reads on counts from these numbers. Batches are counted for
    /// ever without coming near the largest number.
    pub(crate) fn makes_sense(&self) -> bool {
        (1..=u64::MAX / 2).contains(&self.first_batch)
            && self.oldest_segment <= self.segment
            && self.end() <= self.prepared_bytes
    }

    /// The seed of the checksums of an entry at this offset.
    pub(crate) fn seed(&self, offset: u64) -> u64 {
        if synod_planted::is(Bug::ChecksumIgnoresSegment) {
            return offset;
        }
        self.checksum.wrapping_add(if synod_planted::is(Bug::ChecksumIgnoresOffset) { 0 } else { offset })
    }
}

fn head_checksum(fixed: &[u8], blob: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(fixed);
    if !synod_planted::is(Bug::HeadBlobUnchecked) {
        hasher.update(blob);
    }
    hasher.digest()
}

/// The header of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A batch: its payload follows.
    Batch {
        /// Batches are numbered from 1 without gaps. That batch n exists says that n - 1 was synced.
        number: u64,
        records: u64,
        payload_bytes: u64,
        payload_checksum: u64,
    },
    /// Every batch up to this one is synced.
    Seal { through: u64 },
}

impl Entry {
    pub(crate) fn encode(&self, seed: u64) -> [u8; HEADER_BYTES] {
        let (kind, fields) = match *self {
            Entry::Batch { number, records, payload_bytes, payload_checksum } => {
                (BATCH, [number, number - 1, records, payload_bytes, payload_checksum])
            }
            Entry::Seal { through } => (SEAL, [through, through, 0, 0, 0]),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&ENTRY_MAGIC);
        bytes[4] = kind;
        for (place, field) in bytes[8..48].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        let checksum = xxh3_64_with_seed(&bytes[..HEADER_BYTES - 8], seed);
        bytes[HEADER_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The entry whose header stands at the start of these bytes; `None` when they are anything else.
    pub(crate) fn decode(bytes: &[u8], seed: u64) -> Option<Entry> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        // The magic is compared first because a search looks at every block of a segment.
        if bytes[..4] != ENTRY_MAGIC
            || u64_at(bytes, HEADER_BYTES - 8) != xxh3_64_with_seed(&bytes[..HEADER_BYTES - 8], seed)
        {
            return None;
        }
        let number = u64_at(bytes, 8);
        let sealed_through = u64_at(bytes, 16);
        match bytes[4] {
            BATCH if number.checked_sub(1) == Some(sealed_through) => Some(Entry::Batch {
                number,
                records: u64_at(bytes, 24),
                payload_bytes: u64_at(bytes, 32),
                payload_checksum: u64_at(bytes, 40),
            }),
            SEAL if number == sealed_through => Some(Entry::Seal { through: number }),
            _ => None,
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of 8 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        assert_eq!(segment_name(0x1a), "segment-000000000000001a");
        assert_eq!(segment_of("segment-000000000000001a"), Some(26));
        for name in
            ["segment-1a", "segment-000000000000001A", "segment-000000000000001a.old", "spare", "LOCK"]
        {
            assert_eq!(segment_of(name), None, "{name}");
        }
    }

    /// Found by fuzzing: a checksum that matches makes no sense of what it covers.
    #[test]
    fn i12_heads_that_contradict_themselves_make_no_sense() {
        let head = Head {
            block_bytes: 64,
            segment: 3,
            prepared_bytes: 192,
            first_batch: 1,
            sealed_through: 0,
            oldest_segment: 3,
            recycled: false,
            blob_bytes: 100,
            checksum: 0,
        };
        assert!(head.makes_sense());
        for wrong in [
            Head { first_batch: 0, ..head },
            Head { first_batch: u64::MAX, ..head },
            Head { oldest_segment: 4, ..head },
            Head { blob_bytes: 113, ..head },
        ] {
            assert!(!wrong.makes_sense(), "{wrong:?}");
        }
    }

    #[test]
    fn entries_pass_only_where_they_were_written() {
        let batch = Entry::Batch { number: 7, records: 2, payload_bytes: 40, payload_checksum: 99 };
        for entry in [batch, Entry::Seal { through: 7 }] {
            let bytes = entry.encode(1000);
            assert_eq!(Entry::decode(&bytes, 1000), Some(entry));
            assert_eq!(Entry::decode(&bytes, 1064), None);
            assert_eq!(Entry::decode(&bytes[..63], 1000), None);
            for bit in 0..HEADER_BYTES * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Entry::decode(&flipped, 1000), None, "bit {bit}");
            }
        }
    }
}
