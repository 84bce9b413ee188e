//! Reading one segment: its head, its entries in order, and the verdict about the place where they end.
//!
//! Rules upheld: I12. The end of the entries is the end of the log only if nothing after it passes a checksum: the rest
//! of the segment is searched at every block, so damage in the middle is never taken for the end. Absent on purpose:
//! any judgement across segments (see [`crate::recovery`]), and any write.

use bytes::Bytes;
use synod_planted::Bug;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::format::{BadHead, Entry, FORMAT, HEAD_BYTES, HEADER_BYTES, Head, align, segment_name};
use crate::segment::Carried;
use crate::staged::split;
use crate::{Disk, DiskFile, Error};

static ZEROS: [u8; 4096] = [0; 4096];

/// A segment file, its head verified.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) file: F,
    pub(crate) name: String,
    pub(crate) head: Head,
    pub(crate) blob: Bytes,
}

impl<F: DiskFile> Segment<F> {
    /// Opens a segment and verifies its head and its length.
    pub(crate) fn open<D: Disk<File = F>>(disk: &mut D, segment: u64) -> Result<Segment<F>, Error> {
        let name = segment_name(segment);
        let unreadable = |source| Error::io("read", &name, source);
        let file = disk.open(&name).map_err(unreadable)?;
        let size = file.size().map_err(unreadable)?;
        let mut fixed = [0; HEAD_BYTES];
        if size < HEAD_BYTES as u64 {
            return Err(Error::damaged(&name, size, "the file is shorter than a segment's head"));
        }
        file.read_at(0, &mut fixed).map_err(unreadable)?;
        let mut head = Head::decode(&fixed).map_err(|bad| match bad {
            BadHead::Damaged => Error::damaged(&name, 0, "the head is not a segment's head"),
            BadHead::Format(found) => Error::Format { name: name.clone(), found, supported: FORMAT },
        })?;
        if head.blob_bytes > size - HEAD_BYTES as u64 {
            return Err(Error::damaged(&name, 0, "the head reaches beyond the end of the file"));
        }
        let mut blob = vec![0; head.blob_bytes as usize];
        file.read_at(HEAD_BYTES as u64, &mut blob).map_err(unreadable)?;
        if !head.verify(&fixed, &blob) {
            return Err(Error::damaged(&name, 0, "the checksum of the head does not match"));
        }
        if head.segment != segment {
            return Err(Error::damaged(&name, 0, format!("the file holds segment {:016x}", head.segment)));
        }
        if !head.makes_sense() {
            return Err(Error::damaged(&name, 0, "the head contradicts itself, though its checksum matches"));
        }
        if synod_planted::is(Bug::ShortSegmentAccepted) {
            head.prepared_bytes = head.prepared_bytes.min(size);
        }
        if size < head.prepared_bytes {
            let what = format!("the file ends here, but it was prepared with {} bytes", head.prepared_bytes);
            return Err(Error::damaged(&name, size, what));
        }
        if head.first_batch == 0 || head.prepared_bytes < head.end() {
            return Err(Error::damaged(&name, 0, "the head contradicts itself, though its checksum matches"));
        }
        Ok(Segment { file, name, head, blob: blob.into() })
    }

    fn content(&self) -> Result<Vec<u8>, Error> {
        let mut content = vec![0; self.head.prepared_bytes as usize];
        self.file.read_at(0, &mut content).map_err(|source| Error::io("read", &self.name, source))?;
        Ok(content)
    }
}

/// Where a batch stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub(crate) batch: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Place {
    /// The number of the batch.
    #[must_use]
    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// The segment it stands in.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Where it starts, in bytes from the start of the segment's file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// Reads one batch back; nothing is believed that no checksum covers (I12).
pub(crate) fn read_batch<F: DiskFile>(
    file: &F,
    name: &str,
    head: &Head,
    place: Place,
) -> Result<Vec<Bytes>, Error> {
    let Place { batch, offset, .. } = place;
    let unreadable = |source| Error::io("read", name, source);
    let damaged = |what: &str| Error::damaged(name, offset, format!("batch {batch} {what}"));
    let mut header = [0; HEADER_BYTES];
    file.read_at(offset, &mut header).map_err(unreadable)?;
    let room = head.prepared_bytes.saturating_sub(offset + HEADER_BYTES as u64);
    let (records, payload_bytes, payload_checksum) = match Entry::decode(&header, head.seed(offset)) {
        Some(Entry::Batch { number, records, payload_bytes, payload_checksum })
            if number == batch && payload_bytes <= room =>
        {
            (records, payload_bytes, payload_checksum)
        }
        Some(Entry::Batch { .. } | Entry::Seal { .. }) | None => {
            return Err(damaged("was synced here, and is not here"));
        }
    };
    let mut payload = vec![0; payload_bytes as usize];
    file.read_at(offset + HEADER_BYTES as u64, &mut payload).map_err(unreadable)?;
    let sound = xxh3_64_with_seed(&payload, head.seed(offset)) == payload_checksum
        || synod_planted::is(Bug::ReadBackUnchecked);
    if !sound {
        return Err(damaged("was synced here, and its checksum does not match"));
    }
    split(&payload.into(), records).ok_or_else(|| damaged("does not add up, though its checksum matches"))
}

/// A batch whose checksum matches.
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) records: u64,
    pub(crate) payload: Bytes,
    pub(crate) offset: u64,
}

/// Where the entries of a segment end, and what is known there.
#[derive(Debug)]
pub(crate) struct End {
    /// The last batch in order; the one before the segment's first when there is none.
    pub(crate) last: u64,
    /// Every batch up to this one is known to have been synced.
    pub(crate) sealed_through: u64,
    /// The first byte that is not part of a sound entry.
    pub(crate) offset: u64,
    /// The header at `offset` is sound, and only the payload is not: the size of that batch.
    pub(crate) torn_bytes: Option<u64>,
    /// The last entry is a seal, and stands here.
    pub(crate) final_seal: Option<u64>,
    /// The last batch again, unless it is sealed.
    pub(crate) unsealed: Option<Carried>,
    content: Vec<u8>,
}

/// Reads the entries of a segment in order, up to the first place where there is no sound one.
pub(crate) fn entries<F: DiskFile>(
    segment: &Segment<F>,
    mut visit: impl FnMut(&Batch) -> Result<(), Error>,
) -> Result<End, Error> {
    let (name, head) = (&segment.name, &segment.head);
    let content = segment.content()?;
    let mut end = End {
        last: head.first_batch - 1,
        sealed_through: head.sealed_through,
        offset: head.end(),
        torn_bytes: None,
        final_seal: None,
        unsealed: None,
        content,
    };
    while let Some(entry) = entry_at(&end.content, head, end.offset) {
        let expected = end.last + 1;
        let entry_bytes = match entry {
            Entry::Seal { through } if through == end.last => {
                end.sealed_through = end.sealed_through.max(through);
                end.final_seal = Some(end.offset);
                HEADER_BYTES as u64
            }
            Entry::Batch { number, records, payload_bytes, payload_checksum } if number == expected => {
                let Some(payload) =
                    payload_at(&end.content, head, end.offset, payload_bytes, payload_checksum)
                else {
                    end.torn_bytes = Some(payload_bytes.saturating_add(HEADER_BYTES as u64));
                    break;
                };
                let batch = Batch { number, records, payload, offset: end.offset };
                visit(&batch)?;
                end.last = number;
                end.final_seal = None;
                end.unsealed = Some(Carried { number, records, payload: batch.payload });
                HEADER_BYTES as u64 + payload_bytes
            }
            Entry::Seal { through: number } | Entry::Batch { number, .. } => {
                let what = format!("batch {expected} should be here, but an entry of batch {number} is");
                return Err(Error::damaged(name, end.offset, what));
            }
        };
        end.offset = align(end.offset + entry_bytes, head.block_bytes);
    }
    if end.sealed_through >= end.last {
        end.unsealed = None;
    }
    Ok(end)
}

impl End {
    /// The first entry of this segment that is sound (or at least its header is) after the place where the entries end.
    pub(crate) fn later_entry(&self, head: &Head) -> Option<u64> {
        let mut offset = self.offset + head.block_bytes;
        while offset < head.prepared_bytes {
            if entry_at(&self.content, head, offset).is_some() {
                return Some(offset);
            }
            offset += head.block_bytes;
        }
        None
    }

    /// Whether nothing was ever written after the place where the entries end.
    pub(crate) fn is_clean(&self) -> bool {
        self.content[self.offset as usize..].chunks(ZEROS.len()).all(is_zero)
    }

    /// The size of the torn tail. Without a sound header, it reaches to the last byte that was written; in a recycled
    /// segment it can't be told from old bytes then, and counts as none.
    pub(crate) fn cut_bytes(&self, head: &Head) -> u64 {
        let mut tail = &self.content[self.offset as usize..];
        match self.torn_bytes {
            Some(bytes) => bytes,
            None if head.recycled => 0,
            None => {
                while let Some((before, _)) =
                    tail.split_last_chunk::<{ ZEROS.len() }>().filter(|(_, last)| is_zero(*last))
                {
                    tail = before;
                }
                tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
            }
        }
    }
}

/// Whether a part of at most so many bytes is zero; compared as a whole because segments are mostly zeros at first.
fn is_zero(part: &[u8]) -> bool {
    part == &ZEROS[..part.len()]
}

fn entry_at(content: &[u8], head: &Head, offset: u64) -> Option<Entry> {
    Entry::decode(content.get(offset as usize..)?, head.seed(offset))
}

/// The payload of the batch at this offset, when it lies inside the segment and its checksum matches.
fn payload_at(content: &[u8], head: &Head, offset: u64, bytes: u64, checksum: u64) -> Option<Bytes> {
    let start = offset as usize + HEADER_BYTES;
    let end = start.checked_add(usize::try_from(bytes).ok()?)?;
    let payload = content.get(start..end)?;
    let sound = xxh3_64_with_seed(payload, head.seed(offset)) == checksum;
    // Copied per batch: a record that the caller keeps must not keep its whole segment in memory.
    (sound || synod_planted::is(Bug::TornTailNotCut)).then(|| Bytes::copy_from_slice(payload))
}
