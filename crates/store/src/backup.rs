//! A backup: the chunks of one image in one file.
//!
//! `[magic: 8][form: u32]`, then for each chunk `[length: u32][checksum: u64][chunk]`, then `[0: u32][checksum: u64]`. A checksum is
//! xxh3-64 of its chunk, seeded with the checksum before it (the first with that of the file's beginning), so that every cut, changed bit and
//! exchanged chunk is found where it is. A reader believes no length: it takes memory for what has come. Works on any
//! [`Read`] and [`Write`]; files, and syncing them, are the caller's.

use std::io::{self, Read, Write};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: [u8; 8] = *b"SYNODBAK";
const FORM: u32 = 1;

/// Why a backup can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file can't be read.
    #[error("the backup can't be read: {0}")]
    Io(#[from] io::Error),
    /// Another kind of file, or another release's.
    #[error("this is no backup that this release can read")]
    NotABackup,
    /// Something in it was changed.
    #[error("the backup is damaged {offset} bytes from its beginning: use another copy of it")]
    Damaged {
        /// Where the damaged part begins.
        offset: u64,
    },
    /// It has no end.
    #[error(
        "the backup ends after {offset} bytes, before its end mark: it was cut, or its writing was broken off"
    )]
    Cut {
        /// Where the part begins that isn't whole.
        offset: u64,
    },
    /// Something comes behind its end.
    #[error(
        "something follows behind the backup's end, {offset} bytes from its beginning: this is not the file that was written"
    )]
    Trailing {
        /// Where it begins.
        offset: u64,
    },
}

/// Writes a backup.
#[derive(Debug)]
pub struct BackupWriter<W> {
    out: W,
    checksum: u64,
}

impl<W: Write> BackupWriter<W> {
    /// Begins one.
    pub fn new(mut out: W) -> io::Result<BackupWriter<W>> {
        let beginning = beginning();
        out.write_all(&beginning)?;
        Ok(BackupWriter { out, checksum: xxh3_64_with_seed(&beginning, 0) })
    }

    /// Appends a chunk, which is never empty.
    pub fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        let length = u32::try_from(chunk.len()).ok().filter(|length| *length > 0);
        let length = length.ok_or_else(|| io::Error::other("a chunk of a backup has 1 byte to 4 GiB"))?;
        self.part(length, chunk)
    }

    /// Writes the end mark and flushes; gives the file back, to be synced, and the checksum of the whole, by which this backup is known.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.part(0, &[])?;
        self.out.flush()?;
        Ok((self.out, self.checksum))
    }

    fn part(&mut self, length: u32, chunk: &[u8]) -> io::Result<()> {
        self.checksum = next(self.checksum, length, chunk);
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.checksum.to_le_bytes())?;
        self.out.write_all(chunk)
    }
}

/// Reads a backup.
#[derive(Debug)]
pub struct BackupReader<R> {
    input: R,
    checksum: u64,
    offset: u64,
    ended: bool,
}

impl<R: Read> BackupReader<R> {
    /// Begins to read one.
    pub fn new(mut input: R) -> Result<BackupReader<R>, BackupError> {
        let beginning = beginning();
        let mut found = Vec::new();
        input.by_ref().take(beginning.len() as u64).read_to_end(&mut found)?;
        if found != beginning {
            return Err(BackupError::NotABackup);
        }
        let checksum = xxh3_64_with_seed(&beginning, 0);
        Ok(BackupReader { input, checksum, offset: beginning.len() as u64, ended: false })
    }

    /// The next chunk; nothing at the end, behind which nothing may come.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let head = self.take(12)?;
        let (length, checksum) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
        let checksum = u64::from_le_bytes(checksum.try_into().expect("eight bytes"));
        let chunk = self.take(u64::from(length))?;
        if checksum != next(self.checksum, length, &chunk) {
            return Err(BackupError::Damaged { offset: self.offset });
        }
        self.checksum = checksum;
        self.offset += 12 + u64::from(length);
        if length > 0 {
            return Ok(Some(chunk.into()));
        }
        self.ended = true;
        match self.input.by_ref().take(1).read_to_end(&mut Vec::new())? {
            0 => Ok(None),
            _ => Err(BackupError::Trailing { offset: self.offset }),
        }
    }

    /// The checksum of what was read so far: at the end, the one by which this backup is known.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// Where the next chunk begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(BackupError::Cut { offset: self.offset }) }
    }
}

fn beginning() -> Vec<u8> {
    [&MAGIC[..], &FORM.to_le_bytes()].concat()
}

/// The checksum of a chunk behind those that have `before`. The length counts too: an end mark is no damaged length.
fn next(before: u64, length: u32, chunk: &[u8]) -> u64 {
    xxh3_64_with_seed(chunk, before ^ u64::from(length).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(chunks: &[&[u8]]) -> Vec<u8> {
        let mut writer = BackupWriter::new(Vec::new()).unwrap();
        chunks.iter().for_each(|chunk| writer.chunk(chunk).unwrap());
        let (bytes, checksum) = writer.finish().unwrap();
        let mut reader = BackupReader::new(&bytes[..]).unwrap();
        while reader.chunk().unwrap().is_some() {}
        assert_eq!((reader.checksum(), reader.offset()), (checksum, bytes.len() as u64));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Bytes>, BackupError> {
        let mut reader = BackupReader::new(bytes)?;
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.chunk()? {
            chunks.push(chunk);
        }
        assert!(reader.chunk().unwrap().is_none());
        Ok(chunks)
    }

    #[test]
    fn golden_bytes_of_a_backup() {
        let hex: String = written(&[b"ab"]).iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = concat!(
            "53594e4f4442414b",         // magic
            "01000000",                 // form
            "0200000045e977777d77a654", // length and checksum of a chunk
            "6162",                     // the chunk
            "0000000094de0020ff1d3842", // end mark and checksum
        );
        assert_eq!(hex, expected);
    }

    #[test]
    fn i12_every_cut_every_changed_bit_and_every_addition_is_found() {
        let whole = written(&[b"first chunk", b"2", b"the third"]);
        assert_eq!(read(&whole).unwrap(), ["first chunk", "2", "the third"]);
        assert_eq!(read(&written(&[])).unwrap(), [""; 0]);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..8 * whole.len() {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_err(), "bit {bit}");
        }
        assert!(matches!(read(&[&whole[..], b"x"].concat()), Err(BackupError::Trailing { .. })));
        assert!(BackupWriter::new(Vec::new()).unwrap().chunk(b"").is_err());
    }

    #[test]
    fn chunks_that_change_places_or_files_are_found() {
        let (one, other) = (written(&[b"aaaa", b"bbbb", b"cccc"]), written(&[b"aaaa", b"xxxx", b"cccc"]));
        let part = |bytes: &[u8], at: usize| bytes[12 + 16 * at..12 + 16 * (at + 1)].to_vec();
        let end = part(&one, 0).len() * 3 + 12;
        let swapped = [&one[..12], &part(&one, 1), &part(&one, 0), &one[end - 16..]].concat();
        let mixed = [&one[..28], &part(&other, 1), &one[44..]].concat();
        let missing = [&one[..28], &one[44..]].concat();
        let stopped = [&one[..28], &one[end..]].concat();
        for damaged in [swapped, mixed, missing, stopped] {
            assert!(matches!(read(&damaged), Err(BackupError::Damaged { .. })));
        }
    }

    #[test]
    fn i14_a_length_is_not_believed() {
        let mut bytes = beginning();
        bytes.extend_from_slice(&[0xff; 14]);
        assert!(matches!(read(&bytes), Err(BackupError::Cut { offset: 12 })));
    }
}
