//! Reading a backup: its records in order, and whether all of it is sound.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::Path;

use bytes::Bytes;
use synod_protocol::command::Record;
use synod_store::{BackupError, BackupReader, Contents, ImageError, Summary};

/// Why a backup can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be opened.
    #[error("can't be opened: {0}")]
    Open(io::Error),
    /// The file is damaged.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// It is the file that was written, but what was written is no state.
    #[error("what begins {offset} bytes from the file's beginning can't be: {error}; use another backup")]
    Content {
        /// Where the chunk begins.
        offset: u64,
        /// What is wrong with it.
        error: ImageError,
    },
    /// It holds half of another backup.
    #[error(
        "this is a backup of a cluster into which a backup was being restored: it is no whole state; use that backup itself"
    )]
    Restoring,
}

/// A backup that is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it holds.
    pub summary: Summary,
    /// Bytes of the file.
    pub bytes: u64,
    /// The checksum at its end, by which it is known.
    pub checksum: u64,
    /// Bytes of its longest key.
    pub longest_key: u64,
    /// Bytes of its longest value.
    pub longest_value: u64,
}

/// Reads a backup from its beginning.
#[derive(Debug)]
pub struct Reading {
    reader: BackupReader<BufReader<File>>,
    contents: Contents,
    longest_key: u64,
    longest_value: u64,
}

impl Reading {
    /// Begins to read it.
    pub fn open(path: &Path) -> Result<Reading, ReadError> {
        Reading::from_start(File::open(path).map_err(ReadError::Open)?)
    }

    pub(crate) fn from_start(mut file: File) -> Result<Reading, ReadError> {
        file.rewind().map_err(ReadError::Open)?;
        let reader = BackupReader::new(BufReader::new(file))?;
        Ok(Reading { reader, contents: Contents::new(), longest_key: 0, longest_value: 0 })
    }

    /// The records of the next chunk, possibly none; nothing at the end.
    pub fn records(&mut self) -> Result<Option<Vec<(Bytes, Record)>>, ReadError> {
        let offset = self.reader.offset();
        let Some(chunk) = self.reader.chunk()? else { return Ok(None) };
        let records = self.contents.take(&chunk).map_err(|error| ReadError::Content { offset, error })?;
        for (key, record) in &records {
            self.longest_key = self.longest_key.max(key.len() as u64);
            self.longest_value = self.longest_value.max(record.value.len() as u64);
        }
        Ok(Some(records))
    }

    /// What it held, behind the last chunk.
    pub fn finish(self) -> Result<Verified, ReadError> {
        let Reading { reader, contents, longest_key, longest_value } = self;
        let (bytes, checksum) = (reader.offset(), reader.checksum());
        let summary = contents.finish().map_err(|error| ReadError::Content { offset: bytes, error })?;
        if summary.restoring {
            return Err(ReadError::Restoring);
        }
        Ok(Verified { summary, bytes, checksum, longest_key, longest_value })
    }
}

/// Reads all of the backup at `path`.
pub fn verify(path: &Path) -> Result<Verified, ReadError> {
    let mut reading = Reading::open(path)?;
    while reading.records()?.is_some() {}
    reading.finish()
}
