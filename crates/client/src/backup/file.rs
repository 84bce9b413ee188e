//! The file of a backup while it is written: under a name of its own until it is whole and synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use synod_store::BackupWriter;

/// A backup that isn't whole; removed when it is dropped before it is.
#[derive(Debug)]
pub(crate) struct Unfinished {
    writer: Option<BackupWriter<BufWriter<File>>>,
    partial: PathBuf,
    target: PathBuf,
    replace: bool,
}

impl Unfinished {
    /// Begins a backup that is to become `target`.
    pub(crate) fn create(target: &Path, replace: bool) -> io::Result<Unfinished> {
        let mut name = target.file_name().ok_or_else(|| io::Error::other("it names no file"))?.to_os_string();
        if !replace && target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        name.push(format!(".{:08x}.partial", rand::random::<u32>()));
        let partial = target.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        let mut unfinished = Unfinished { writer: None, partial, target: target.to_path_buf(), replace };
        unfinished.writer = Some(BackupWriter::new(BufWriter::new(file))?);
        Ok(unfinished)
    }

    /// Appends a chunk.
    pub(crate) fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.writer()?.chunk(chunk)
    }

    /// Throws away what was written.
    pub(crate) fn start_over(&mut self) -> io::Result<()> {
        self.writer = None;
        let mut file = OpenOptions::new().write(true).open(&self.partial)?;
        file.set_len(0)?;
        file.rewind()?;
        self.writer = Some(BackupWriter::new(BufWriter::new(file))?);
        Ok(())
    }

    /// Syncs it, gives it its name and syncs the directory: bytes in it, and its checksum.
    pub(crate) fn finish(mut self) -> io::Result<(u64, u64)> {
        let writer = self.writer.take().ok_or_else(closed)?;
        let (mut buffered, checksum) = writer.finish()?;
        buffered.flush()?;
        let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        if self.replace {
            fs::rename(&self.partial, &self.target)?;
        } else {
            // Unlike a rename, a second name takes no other file's place, also one that came meanwhile.
            fs::hard_link(&self.partial, &self.target)?;
            fs::remove_file(&self.partial)?;
        }
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok((bytes, checksum))
    }

    fn writer(&mut self) -> io::Result<&mut BackupWriter<BufWriter<File>>> {
        self.writer.as_mut().ok_or_else(closed)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // When it has its name, nothing has this one any more.
        let _gone = fs::remove_file(&self.partial);
    }
}

fn closed() -> io::Error {
    io::Error::other("what was written before could not be thrown away")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("synod-{name}-{:016x}", rand::random::<u64>()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_has_its_name_only_when_whole_and_takes_no_other_files_place() {
        let folder = folder("backup-file");
        let target = folder.join("b");
        let mut first = Unfinished::create(&target, false).unwrap();
        first.chunk(b"thrown away").unwrap();
        first.start_over().unwrap();
        first.chunk(b"kept").unwrap();
        assert!(!target.exists(), "not before it is whole");
        let mut second = Unfinished::create(&target, false).unwrap();
        second.chunk(b"second").unwrap();
        let (bytes, _) = first.finish().unwrap();
        let content = fs::read(&target).unwrap();
        assert_eq!(content.len() as u64, bytes);
        assert!(content.windows(4).any(|part| part == b"kept"));
        // One that came meanwhile isn't overwritten, one that was there before neither.
        assert_eq!(second.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(Unfinished::create(&target, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), content);
        drop(Unfinished::create(&target, true).unwrap());
        assert_eq!(fs::read(&target).unwrap(), content, "broken off: the file is as it was");
        let mut forced = Unfinished::create(&target, true).unwrap();
        forced.chunk(b"forced").unwrap();
        forced.finish().unwrap();
        assert!(fs::read(&target).unwrap().windows(6).any(|part| part == b"forced"));
        assert_eq!(names(&folder), ["b"], "nothing unfinished is left");
        fs::remove_dir_all(&folder).unwrap();
    }
}
