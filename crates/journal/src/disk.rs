//! What the journal needs of a disk: one flat directory of files, and nothing more.
//!
//! [`crate::directory::Directory`] implements it over a real file system; a simulated disk implements it with power
//! loss. The contract is that of POSIX: what is written is safe only after a sync of the file, a name is safe only
//! after a sync of the directory, and a rename happens whole or not at all. Absent on purpose: truncation, appending,
//! memory maps.

use std::io::{IoSlice, Result};

/// One directory of files with flat names.
pub trait Disk {
    /// An open file.
    type File: DiskFile;

    /// The names of all files, in any order.
    fn names(&self) -> Result<Vec<String>>;

    /// Opens an existing file to read and write.
    fn open(&mut self, name: &str) -> Result<Self::File>;

    /// Opens a file to read and write, creating it empty when absent; content that is there stays.
    fn create(&mut self, name: &str) -> Result<Self::File>;

    /// Renames a file, replacing the target when it exists; open files stay valid.
    fn rename(&mut self, from: &str, to: &str) -> Result<()>;

    /// Removes a file.
    fn remove(&mut self, name: &str) -> Result<()>;

    /// Makes every earlier creation, rename and removal durable.
    fn sync_directory(&mut self) -> Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile {
    /// The file's length in bytes.
    fn size(&self) -> Result<u64>;

    /// Fills the buffer from this offset; fails with `UnexpectedEof` when the file is shorter.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Writes all parts, one after the other, from this offset on. The slices may be changed while it works.
    fn write_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<()>;

    /// Writes all parts like [`DiskFile::write_at`] and makes them durable: these bytes, with whatever is needed to read
    /// them back, and nothing else that was written to this file and isn't synced.
    fn write_synced_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> Result<()>;

    /// Makes everything written to this file durable, with whatever is needed to read it back (fdatasync).
    fn sync(&mut self) -> Result<()>;
}
