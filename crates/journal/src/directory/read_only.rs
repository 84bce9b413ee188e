//! A directory that is only looked at: it isn't created, nothing in it can be changed, and no process may be writing to it.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LOCK, RealFile, holder, names};
use crate::{Disk, Error};

/// A directory for tools that read a journal. Keeps daemons out while it is open, as far as there is a lock file; others may read too.
#[derive(Debug)]
pub struct ReadOnly {
    path: PathBuf,
    _lock: Option<File>,
}

impl ReadOnly {
    /// Opens the directory without changing anything.
    ///
    /// # Errors
    /// [`Error::Locked`] when a process writes to it; [`Error::Directory`] when it can't be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<ReadOnly, Error> {
        let path = path.into();
        let failed = |source| Error::Directory { directory: path.clone(), source: Arc::new(source) };
        std::fs::read_dir(&path).map_err(failed)?;
        let mut lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ReadOnly { path, _lock: None }),
            Err(source) => return Err(failed(source)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(ReadOnly { path, _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { pid: holder(&mut lock), directory: path }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(ErrorKind::ReadOnlyFilesystem, "the directory is only looked at"))
}

impl Disk for ReadOnly {
    type File = RealFile;

    fn names(&self) -> io::Result<Vec<String>> {
        names(&self.path)
    }

    fn open(&mut self, name: &str) -> io::Result<RealFile> {
        Ok(RealFile { file: File::open(self.path.join(name))?, cursor: None, direct: None })
    }

    fn create(&mut self, _name: &str) -> io::Result<RealFile> {
        refused()
    }

    fn rename(&mut self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&mut self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        refused()
    }
}
