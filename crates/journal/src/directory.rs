//! A [`Disk`] over a real directory: plain files, positioned reads, vectored writes, fdatasync; where the file system can,
//! direct writes for what is to be durable at once.
//!
//! Opening takes an exclusive lock, so that two processes never write one journal; the operating system releases it
//! when the process ends, however it ends. Absent on purpose: buffering, retries of a failed sync (S3).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Disk, DiskFile, Error};

pub mod read_only;

mod direct;

use direct::{Direct, Support};

const LOCK: &str = "LOCK";

/// A directory that this process holds alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: File,
    direct: Support,
    _lock: File,
}

impl Directory {
    /// Opens the directory, creating it when absent, and locks it until this value is dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] names the directory and the process that holds it; [`Error::Directory`] tells any other
    /// failure.
    pub fn open(path: impl Into<PathBuf>) -> Result<Directory, Error> {
        let path = path.into();
        let failed = |source| Error::Directory { directory: path.clone(), source: Arc::new(source) };
        create_durably(&path).map_err(failed)?;
        let handle = File::open(&path).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { pid: holder(&mut lock), directory: path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        lock.set_len(0).map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Directory { path, handle, direct: Support::default(), _lock: lock })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn opened(&self, name: &str, options: &mut OpenOptions) -> io::Result<RealFile> {
        let path = self.path.join(name);
        let file = options.read(true).write(true).open(&path)?;
        Ok(RealFile { file, cursor: None, direct: Direct::open(&path, &self.direct)? })
    }
}

/// Creates the missing part of the path and syncs the parent of each folder that was created.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    create_durably(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(parent)?.sync_all()
}

/// The process id written in the lock file; "unknown" while its holder has not written it yet.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        // A name that isn't UTF-8 is none of the journal's.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

impl Disk for Directory {
    type File = RealFile;

    fn names(&self) -> io::Result<Vec<String>> {
        names(&self.path)
    }

    fn open(&mut self, name: &str) -> io::Result<RealFile> {
        self.opened(name, &mut OpenOptions::new())
    }

    fn create(&mut self, name: &str) -> io::Result<RealFile> {
        self.opened(name, OpenOptions::new().create(true).truncate(false))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// An open file of a [`Directory`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
    /// Where the file's cursor stands, when known: appends follow each other and need no seek.
    cursor: Option<u64>,
    /// The same file, opened for direct writes.
    direct: Option<Direct>,
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        if self.cursor.take() != Some(offset) {
            self.file.seek(SeekFrom::Start(offset))?;
        }
        let mut end = offset;
        IoSlice::advance_slices(&mut parts, 0); // drops empty parts at the front
        while !parts.is_empty() {
            match self.file.write_vectored(parts) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    end += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.cursor = Some(end);
        Ok(())
    }

    fn write_synced_at(&mut self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        if let Some(direct) = &mut self.direct
            && direct.write(offset, parts)?
        {
            return Ok(());
        }
        self.write_at(offset, parts)?;
        self.sync()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
