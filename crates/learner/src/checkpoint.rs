//! A checkpoint as a file: an image of the state, or what has changed since the checkpoint before it (I10, I12).
//!
//! ```text
//! head    magic, format, kind, learner, cluster, number, number of the checkpoint it is to be put on (0: none), checksum
//! chunk   length, checksum over number, offset and bytes; the bytes of a chunk of the image
//! end     a length that no chunk has, checksum over number, offset, how many chunks and bytes came; these two numbers
//! ```
//!
//! A file that was cut, changed, or is another one's is refused with the offset; a file without its end is none. Numbers are little-endian.
//! Absent on purpose: names, directories and syncs (the keeper's), and what the chunks mean (the store's, which checks them again).

use std::io::IoSlice;

use bytes::Bytes;
use synod_journal::DiskFile;
use synod_planted::Bug;
use synod_protocol::{ClusterId, LearnerId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: [u8; 8] = *b"synodckp";
const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 8 + 4 + 1 + 2 + 16 + 8 + 8 + 8;
const FRAME_BYTES: usize = 4 + 8;
const END: u32 = u32::MAX;
const END_BYTES: usize = 16;
/// Whole blocks of so many bytes go to the disk at once and by themselves: what nobody reads needn't pass through the page cache.
const PAGE_BYTES: usize = 4 << 10;
/// Bytes that wait for more of them, at most.
const WAITING_BYTES: usize = 64 << 10;
/// Bytes of a chunk, at most: more than the largest record there may be.
const MOST_CHUNK_BYTES: u32 = 1 << 30;

/// What a checkpoint says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whose it is.
    pub(crate) learner: LearnerId,
    /// The cluster whose log it comes from.
    pub(crate) cluster: ClusterId,
    /// Its number; later checkpoints of this learner have higher ones.
    pub(crate) number: u64,
    /// The checkpoint on which it is to be put; none if it is whole.
    pub(crate) on: Option<u64>,
}

/// Why a file is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// The disk's own reason.
    #[error("can't be read: {0}")]
    Unreadable(String),
    /// It ends too early.
    #[error("ends at offset {offset}, before its end mark: it was cut")]
    Cut {
        /// Where more was expected.
        offset: u64,
    },
    /// It isn't what was written.
    #[error("is damaged at offset {offset}: {what}")]
    Damaged {
        /// Where the damaged part starts.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Another release's.
    #[error("has format {0}, which this release doesn't read")]
    Format(u32),
}

impl Head {
    fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&MAGIC);
        put(&FORMAT.to_le_bytes());
        put(&[u8::from(self.on.is_some())]);
        put(&self.learner.0.to_le_bytes());
        put(&self.cluster.0.to_le_bytes());
        put(&self.number.to_le_bytes());
        put(&self.on.unwrap_or(0).to_le_bytes());
        let checksum = xxh3_64_with_seed(&bytes[..HEAD_BYTES - 8], 0);
        bytes[HEAD_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; HEAD_BYTES]) -> Result<Head, Flaw> {
        let damaged = |what| Flaw::Damaged { offset: 0, what };
        if bytes[..8] != MAGIC {
            return Err(damaged("this is no checkpoint"));
        }
        let (covered, checksum) = bytes.split_at(HEAD_BYTES - 8);
        if xxh3_64_with_seed(covered, 0).to_le_bytes() != checksum {
            return Err(damaged("the head's checksum differs"));
        }
        let number = |from: usize, length: usize| {
            let mut wide = [0; 16];
            wide[..length].copy_from_slice(&bytes[from..from + length]);
            u128::from_le_bytes(wide)
        };
        let format = number(8, 4) as u32;
        if format != FORMAT {
            return Err(Flaw::Format(format));
        }
        let on = (bytes[12] == 1).then(|| number(39, 8) as u64);
        Ok(Head {
            learner: LearnerId(number(13, 2) as u16),
            cluster: ClusterId(number(15, 16)),
            number: number(31, 8) as u64,
            on,
        })
    }
}

/// The checksum of what stands at `offset` of checkpoint `number`: a block that strayed from elsewhere doesn't pass.
fn checksum(number: u64, offset: u64, bytes: &[u8]) -> u64 {
    let place =
        if synod_planted::is(Bug::CheckpointPlaceIgnored) { 0 } else { number.rotate_left(32) ^ offset };
    xxh3_64_with_seed(bytes, place)
}

/// A checkpoint being written.
#[derive(Debug)]
pub(crate) struct Writer<F> {
    file: F,
    number: u64,
    /// Where the next frame comes.
    offset: u64,
    chunks: u64,
    /// What comes last and is not in the file yet.
    waiting: Vec<u8>,
}

impl<F: DiskFile> Writer<F> {
    /// Begins a file with its head.
    pub(crate) fn begin(file: F, head: &Head) -> Writer<F> {
        let waiting = head.bytes().to_vec();
        Writer { file, number: head.number, offset: HEAD_BYTES as u64, chunks: 0, waiting }
    }

    /// Writes the next chunk.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MOST_CHUNK_BYTES);
        let length = length.expect("a chunk is bounded, or one record, which the limits bound");
        self.frame(length, bytes);
        self.chunks += 1;
        if self.waiting.len() < WAITING_BYTES {
            return Ok(());
        }
        let at = self.offset - self.waiting.len() as u64;
        let rest = self.waiting.split_off(self.waiting.len() / PAGE_BYTES * PAGE_BYTES);
        self.file.write_synced_at(at, &mut [IoSlice::new(&self.waiting)])?;
        self.waiting = rest;
        Ok(())
    }

    /// Ends the file and syncs it; its size.
    pub(crate) fn finish(mut self) -> std::io::Result<u64> {
        let mut end = [0; END_BYTES];
        end[..8].copy_from_slice(&self.chunks.to_le_bytes());
        end[8..].copy_from_slice(&self.offset.to_le_bytes());
        self.frame(END, &end);
        let at = self.offset - self.waiting.len() as u64;
        self.file.write_at(at, &mut [IoSlice::new(&self.waiting)])?;
        if !synod_planted::is(Bug::CheckpointNotSynced) {
            self.file.sync()?;
        }
        Ok(self.offset)
    }

    fn frame(&mut self, length: u32, bytes: &[u8]) {
        self.waiting.extend_from_slice(&length.to_le_bytes());
        self.waiting.extend_from_slice(&checksum(self.number, self.offset, bytes).to_le_bytes());
        self.waiting.extend_from_slice(bytes);
        self.offset += (FRAME_BYTES + bytes.len()) as u64;
    }
}

/// A checkpoint being read.
#[derive(Debug)]
pub(crate) struct Reader<F> {
    file: F,
    head: Head,
    offset: u64,
    size: u64,
    chunks: u64,
}

impl<F: DiskFile> Reader<F> {
    /// Reads the head.
    pub(crate) fn open(file: F) -> Result<Reader<F>, Flaw> {
        let size = file.size().map_err(|error| Flaw::Unreadable(error.to_string()))?;
        let mut bytes = [0; HEAD_BYTES];
        read(&file, size, 0, &mut bytes)?;
        let head = Head::read(&bytes)?;
        Ok(Reader { file, head, offset: HEAD_BYTES as u64, size, chunks: 0 })
    }

    /// The size of the file in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Where the next chunk begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What it says of itself.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The next chunk; nothing behind the last one, when the end mark is as it must be.
    pub(crate) fn chunk(&mut self) -> Result<Option<Bytes>, Flaw> {
        let damaged = |offset, what| Err(Flaw::Damaged { offset, what });
        let mut frame = [0; FRAME_BYTES];
        let at = self.offset;
        if at == self.size && synod_planted::is(Bug::CheckpointEndNotAwaited) {
            return Ok(None);
        }
        read(&self.file, self.size, at, &mut frame)?;
        let (length, told) = frame.split_at(4);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        let is_end = length == END;
        let bytes = if is_end { END_BYTES as u64 } else { u64::from(length) };
        let start = at + FRAME_BYTES as u64;
        // Before any memory is taken for it.
        if (!is_end && length > MOST_CHUNK_BYTES) || start + bytes > self.size {
            return Err(Flaw::Cut { offset: self.size });
        }
        let mut chunk = vec![0; bytes as usize];
        read(&self.file, self.size, start, &mut chunk)?;
        if checksum(self.head.number, at, &chunk).to_le_bytes() != told {
            return damaged(at, "a checksum differs");
        }
        self.offset = start + bytes;
        if !is_end {
            self.chunks += 1;
            return Ok(Some(chunk.into()));
        }
        let totals = [self.chunks.to_le_bytes(), at.to_le_bytes()].concat();
        if chunk != totals || self.offset != self.size {
            return damaged(at, "the end mark doesn't fit what came before it");
        }
        Ok(None)
    }
}

fn read<F: DiskFile>(file: &F, size: u64, offset: u64, bytes: &mut [u8]) -> Result<(), Flaw> {
    if offset + bytes.len() as u64 > size {
        return Err(Flaw::Cut { offset: size });
    }
    file.read_at(offset, bytes).map_err(|error| Flaw::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use synod_journal::Disk;
    use synod_journal::memory::MemoryDisk;

    use super::*;

    #[test]
    fn i12_chunks_of_any_size_are_read_back_also_those_that_went_out_in_whole_pages() {
        let mut disk = MemoryDisk::new();
        let head = Head { learner: LearnerId(1), cluster: ClusterId(2), number: 3, on: None };
        let mut writer = Writer::begin(disk.create("file").unwrap(), &head);
        let lengths = [0, 1, PAGE_BYTES, WAITING_BYTES - 1, WAITING_BYTES, 3 * WAITING_BYTES + 5, 7];
        let chunks: Vec<Vec<u8>> = (1..).zip(lengths).map(|(byte, length)| vec![byte; length]).collect();
        chunks.iter().for_each(|chunk| writer.chunk(chunk).unwrap());
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::open(disk.open("file").unwrap()).unwrap();
        assert_eq!((reader.head(), reader.size()), (&head, bytes));
        for chunk in &chunks {
            assert!(reader.chunk().unwrap().is_some_and(|found| found == *chunk));
        }
        assert_eq!(reader.chunk(), Ok(None));
    }
}
