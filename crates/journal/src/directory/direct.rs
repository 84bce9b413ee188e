//! Writes that pass by the page cache and are durable when they return (`O_DIRECT` and `O_DSYNC`): one call instead of
//! two, and no copy that nobody reads.
//!
//! They need memory, offset and length in whole pages. A file system that can't do them says so when the file is opened
//! or at its first such write, before a byte is taken; from then on that directory does without, which is logged once.
//! After one success there is no such excuse, and a failure is a failure (S3). Absent on purpose: reads, which are rare
//! and go through the page cache; the operating system keeps the two in step.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tracing::warn;

/// What memory, offset and length are multiples of: the page of the operating system, and no less than a block of
/// nearly any device.
const PAGE_BYTES: usize = 4096;
/// Written at once, at most: bounds the buffer.
const PIECE_BYTES: usize = 1 << 20;

/// Whether the file system of a directory takes direct writes, once that is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Support(Arc<OnceLock<bool>>);

impl Support {
    fn is_refused(&self) -> bool {
        self.0.get() == Some(&false)
    }

    /// Whether this error says that there are no direct writes here, rather than that one failed.
    fn refuses(&self, error: &io::Error) -> bool {
        let told = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
        if told && self.0.set(false).is_ok() {
            warn!(%error, "this file system takes no direct writes: writing through the page cache, which costs more");
        }
        told && self.is_refused()
    }
}

/// A file opened for direct writes.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    support: Support,
    /// Holds a whole number of pages, wherever in it the first one begins.
    buffer: Vec<u8>,
}

impl Direct {
    /// Opens an existing file; nothing, if its file system has no such writes.
    pub(super) fn open(path: &Path, support: &Support) -> io::Result<Option<Direct>> {
        if support.is_refused() {
            return Ok(None);
        }
        match open(path) {
            Ok(file) => Ok(file.map(|file| Direct { file, support: support.clone(), buffer: Vec::new() })),
            Err(error) if support.refuses(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes all parts, durably; false if that can't be done this way, and nothing was written.
    pub(super) fn write(&mut self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<bool> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let whole_pages = offset.is_multiple_of(PAGE_BYTES as u64) && bytes.is_multiple_of(PAGE_BYTES);
        if !whole_pages || self.support.is_refused() {
            return Ok(false);
        }
        let written = match parts {
            [part] if is_aligned(part) => self.file.write_all_at(part, offset),
            parts => self.write_pieces(offset, parts, bytes.min(PIECE_BYTES)),
        };
        match written {
            Ok(()) => {
                self.support.0.get_or_init(|| true);
                Ok(true)
            }
            Err(error) if self.support.refuses(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write_pieces(&mut self, offset: u64, parts: &[IoSlice<'_>], piece_bytes: usize) -> io::Result<()> {
        if self.buffer.len() < piece_bytes + PAGE_BYTES {
            self.buffer = vec![0; piece_bytes.next_power_of_two() + PAGE_BYTES];
        }
        let start = self.buffer.as_ptr().align_offset(PAGE_BYTES);
        let piece = &mut self.buffer[start..start + piece_bytes];
        let (mut at, mut filled) = (offset, 0);
        for part in parts {
            let mut rest = &part[..];
            while !rest.is_empty() {
                let (taken, left) = rest.split_at(rest.len().min(piece_bytes - filled));
                piece[filled..filled + taken.len()].copy_from_slice(taken);
                (filled, rest) = (filled + taken.len(), left);
                if filled == piece_bytes {
                    self.file.write_all_at(piece, at)?;
                    (at, filled) = (at + piece_bytes as u64, 0);
                }
            }
        }
        self.file.write_all_at(&piece[..filled], at)
    }
}

fn is_aligned(part: &[u8]) -> bool {
    part.as_ptr().align_offset(PAGE_BYTES) == 0
}

#[cfg(target_os = "linux")]
fn open(path: &Path) -> io::Result<Option<File>> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;

    let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
    File::options().write(true).custom_flags(flags.cast_signed()).open(path).map(Some)
}

#[cfg(not(target_os = "linux"))]
fn open(_path: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::*;
    use crate::directory::Directory;
    use crate::{Disk, DiskFile};

    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// An empty directory on whatever disk tests are built on.
    fn place(test: &str) -> Place {
        let built = std::env::current_exe().unwrap();
        Place(built.with_file_name(format!("direct-{test}-{}", std::process::id())))
    }

    /// Parts of odd sizes, of so many bytes together.
    fn parts(bytes: usize, salt: usize) -> Vec<Vec<u8>> {
        let all: Vec<u8> = (0..bytes).map(|at| (at / 7 + at + salt) as u8).collect();
        all.chunks(3_333).map(<[u8]>::to_vec).collect()
    }

    fn slices(parts: &[Vec<u8>]) -> Vec<IoSlice<'_>> {
        parts.iter().map(|part| IoSlice::new(part)).collect()
    }

    #[test]
    fn s2_a_direct_write_is_a_synced_one() {
        let place = place("flags");
        let mut directory = Directory::open(&place.0).unwrap();
        let file = directory.create("file").unwrap();
        let Some(direct) = file.direct else {
            return println!("SKIPPED: no direct writes on this file system");
        };
        let flags = fcntl_getfl(&direct.file).unwrap();
        assert!(flags.contains(OFlags::DIRECT | OFlags::DSYNC), "{flags:?}");
    }

    #[test]
    fn parts_of_any_size_are_read_back_whichever_way_they_were_written() {
        let place = place("parts");
        let mut directory = Directory::open(&place.0).unwrap();
        let mut file = directory.create("file").unwrap();
        // Over each other, in whole pages and not, in one piece and in several.
        for (salt, (at, bytes)) in
            [(0, 3 << 20), (4096, 8192), (4096, 5000), (8192, PIECE_BYTES + 4096), (100, 4096), (0, 4096)]
                .into_iter()
                .enumerate()
        {
            let parts = parts(bytes, salt);
            file.write_synced_at(at, &mut slices(&parts)).unwrap();
            let mut found = vec![0; bytes];
            file.read_at(at, &mut found).unwrap();
            assert!(found == parts.concat(), "{bytes} bytes at {at}");
            assert_eq!(file.size().unwrap(), 3 << 20);
        }
    }

    #[test]
    fn a_file_system_without_direct_writes_is_asked_once() {
        let place = place("refused");
        let mut directory = Directory::open(&place.0).unwrap();
        let mut early = directory.create("early").unwrap();
        let refusing = Path::new("/proc/self/comm");
        assert!(Direct::open(refusing, &directory.direct).unwrap().is_none());
        assert!(directory.direct.is_refused());
        let mut late = directory.create("late").unwrap();
        assert!(late.direct.is_none());
        for file in [&mut early, &mut late] {
            let parts = parts(8192, 5);
            file.write_synced_at(4096, &mut slices(&parts)).unwrap();
            let mut found = vec![0; 8192];
            file.read_at(4096, &mut found).unwrap();
            assert!(found == parts.concat());
        }
    }

    #[test]
    fn s3_only_a_first_write_that_took_nothing_is_tried_another_way() {
        let refusal = || io::Error::from(ErrorKind::InvalidInput);
        let proven = Support::default();
        proven.0.set(true).unwrap();
        assert!(!proven.refuses(&refusal()), "it worked before: this is a failure");
        let unknown = Support::default();
        for kind in [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::TimedOut] {
            assert!(!unknown.refuses(&io::Error::from(kind)), "{kind}");
        }
        assert!(unknown.refuses(&refusal()) && unknown.is_refused());
        assert!(unknown.refuses(&refusal()), "other files of the directory hear of it");
    }
}
