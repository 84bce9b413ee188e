//! Records that wait for the next commit, laid out so that one write takes them from where they are.
//!
//! Heads and length prefixes are gathered in one buffer that is kept from batch to batch; bodies stay in the caller's
//! [`Bytes`]. No body is copied here. Absent on purpose: any look into records.

use std::io::IoSlice;
use std::iter::once;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::format::{Entry, HEADER_BYTES, Head, align};

const LENGTH_BYTES: usize = 4;
static ZEROS: [u8; 4096] = [0; 4096];

#[derive(Debug)]
pub(crate) struct Staged {
    /// Room for the batch's header, then the length prefixes and heads of all records.
    small: Vec<u8>,
    /// Bodies, each with the end of the part of `small` that goes before it.
    bodies: Vec<(usize, Bytes)>,
    records: u64,
    payload_bytes: u64,
}

impl Staged {
    pub(crate) fn new() -> Staged {
        Staged { small: vec![0; HEADER_BYTES], bodies: Vec::new(), records: 0, payload_bytes: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn append(&mut self, head: &[u8], bodies: impl IntoIterator<Item = Bytes>) {
        let prefix = self.small.len();
        self.small.extend_from_slice(&[0; LENGTH_BYTES]);
        self.small.extend_from_slice(head);
        let mut length = head.len();
        for body in bodies {
            length += body.len();
            if !body.is_empty() {
                self.bodies.push((self.small.len(), body));
            }
        }
        let encoded =
            u32::try_from(length).expect("a record is smaller than 4 GiB: callers limit values far below");
        self.small[prefix..prefix + LENGTH_BYTES].copy_from_slice(&encoded.to_le_bytes());
        self.records += 1;
        self.payload_bytes += (LENGTH_BYTES + length) as u64;
    }

    /// Header and payload, without padding.
    pub(crate) fn entry_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.payload_bytes
    }

    /// Everything staged as one batch at this offset, padded to whole blocks, in the parts to be written.
    pub(crate) fn batch(&mut self, head: &Head, offset: u64, number: u64) -> Vec<IoSlice<'_>> {
        let entry = Entry::Batch {
            number,
            records: self.records,
            payload_bytes: self.payload_bytes,
            payload_checksum: self.payload_checksum(head.seed(offset)),
        };
        self.small[..HEADER_BYTES].copy_from_slice(&entry.encode(head.seed(offset)));
        let padding = (align(self.entry_bytes(), head.block_bytes) - self.entry_bytes()) as usize;
        let parts = self.parts(0).chain(once(&ZEROS[..padding]));
        parts.filter(|part| !part.is_empty()).map(IoSlice::new).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.small.truncate(HEADER_BYTES);
        self.bodies.clear();
        self.records = 0;
        self.payload_bytes = 0;
    }

    fn payload_checksum(&self, seed: u64) -> u64 {
        let mut hasher = Xxh3::with_seed(seed);
        for part in self.parts(HEADER_BYTES) {
            hasher.update(part);
        }
        hasher.digest()
    }

    /// The bytes in the order of the file, from this offset of `small` on.
    fn parts(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        let mut at = from;
        let last = self.bodies.last().map_or(from, |(end, _)| *end);
        self.bodies
            .iter()
            .flat_map(move |(end, body)| {
                let before = &self.small[at..*end];
                at = *end;
                [before, &body[..]]
            })
            .chain(once(&self.small[last..]))
    }
}

/// The records of a batch's payload; `None` when lengths and count don't add up.
pub(crate) fn split(payload: &Bytes, records: u64) -> Option<Vec<Bytes>> {
    let mut found = Vec::new();
    let mut rest = payload.clone();
    while !rest.is_empty() {
        let prefix: [u8; LENGTH_BYTES] = rest.get(..LENGTH_BYTES)?.try_into().ok()?;
        let end = LENGTH_BYTES.checked_add(u32::from_le_bytes(prefix) as usize)?;
        if end > rest.len() {
            return None;
        }
        found.push(rest.split_to(end).slice(LENGTH_BYTES..));
    }
    (found.len() as u64 == records).then_some(found)
}
