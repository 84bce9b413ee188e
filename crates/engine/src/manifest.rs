//! Reads what the tree's own files say of each other, before the tree believes them: `current` names a manifest and its checksum, the manifest
//! names every table with the checksum of its file.
//!
//! The tree writes these checksums and compares none of them when it opens: a manifest with a changed bit may leave out tables, or give one
//! another age, and so make a state that never was. What is read here is read whole and compared first. Absent on purpose: blocks of
//! tables, whose checksums the tree compares at each read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use synod_planted::Bug;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::error::EngineError;

/// The file that names the manifest.
pub(crate) const CURRENT: &str = "current";
/// The folder of the tables.
pub(crate) const TABLES: &str = "tables";
/// Magic, version, kind of checksum, checksum, place and length of the table of contents.
const TRAILER: usize = 38;
/// A table of contents has a few entries of some 30 bytes.
const CONTENTS_MOST: u64 = 1 << 16;

/// A table that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) id: u64,
    checksum: u128,
}

/// What `current` and the manifest that it names say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Its number; each is one more than the one before.
    pub(crate) number: u64,
    pub(crate) tables: Vec<Named>,
}

fn damaged(what: impl Into<String>) -> EngineError {
    EngineError::Damaged(what.into())
}

/// The number of the manifest that counts and its checksum; nothing for a folder that holds no tree.
pub(crate) fn read_current(folder: &Path) -> Result<Option<(u64, u128)>, EngineError> {
    let bytes = match std::fs::read(folder.join(CURRENT)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::io("read", folder.join(CURRENT))(error)),
    };
    let read = || {
        let mut at = Reader(&bytes);
        let found = (at.u64()?, at.u128()?);
        (at.u8()? == 0 && at.0.is_empty()).then_some(found)
    };
    read().map(Some).ok_or_else(|| damaged("`current` names no manifest"))
}

/// The manifest that counts; nothing for a folder that holds no tree.
pub(crate) fn read(folder: &Path) -> Result<Option<Manifest>, EngineError> {
    let Some((number, checksum)) = read_current(folder)? else {
        return match std::fs::read_dir(folder.join(TABLES)).map(|mut entries| entries.next()) {
            Ok(Some(_)) => Err(damaged("it has tables, and `current` is missing")),
            Ok(None) | Err(_) => Ok(None),
        };
    };
    let name = format!("v{number}");
    let bytes = std::fs::read(folder.join(&name)).map_err(EngineError::io("read", folder.join(&name)))?;
    if xxh3_128(&bytes) != checksum && !synod_planted::is(Bug::ManifestUnchecked) {
        return Err(damaged(format!("the manifest {name} isn't the one written")));
    }
    let unread = || damaged(format!("the manifest {name} has another form"));
    let contents = contents(bytes.len() as u64, |at, most| {
        let at = usize::try_from(at).ok()?;
        Some(bytes.get(at..at.checked_add(most)?)?.to_vec())
    });
    let section = |name: &[u8]| {
        let (_, at, bytes_long) = contents.as_ref()?.iter().find(|(known, _, _)| known == name)?;
        bytes.get(usize::try_from(*at).ok()?..usize::try_from(at.checked_add(*bytes_long)?).ok()?)
    };
    let tables = section(b"tables").and_then(tables).ok_or_else(unread)?;
    Ok(Some(Manifest { number, tables }))
}

/// Name, place and length of each section of a file of the tree, if its table of contents is the one written.
fn contents(
    file_bytes: u64,
    read: impl Fn(u64, usize) -> Option<Vec<u8>>,
) -> Option<Vec<(Vec<u8>, u64, u64)>> {
    let end = file_bytes.checked_sub(TRAILER as u64)?;
    let trailer = read(end, TRAILER)?;
    let mut at = Reader(trailer.strip_prefix(b"SFA!\x01\x00")?);
    let (checksum, start) = (at.u128()?, at.u64()?);
    let bytes = read(start, usize::try_from(end.checked_sub(start)?.min(CONTENTS_MOST)).ok()?)?;
    if xxh3_128(&bytes) != checksum {
        return None;
    }
    let mut at = Reader(bytes.strip_prefix(b"TOC!")?);
    let count = at.u32()?;
    (0..count)
        .map(|_| {
            let (place, length, name) = (at.u64()?, at.u64()?, at.u16()?);
            Some((at.take(usize::from(name))?.to_vec(), place, length))
        })
        .collect()
}

/// Levels, their runs, their tables.
fn tables(section: &[u8]) -> Option<Vec<Named>> {
    let (mut at, mut found) = (Reader(section), Vec::new());
    for _ in 0..at.u8()? {
        for _ in 0..at.u8()? {
            for _ in 0..at.u32()? {
                let id = at.u64()?;
                let is_known = at.u8()? == 0;
                let checksum = at.u128()?;
                // Its age: the manifest's own checksum vouches for it.
                at.u64()?;
                is_known.then(|| found.push(Named { id, checksum }))?;
            }
        }
    }
    at.0.is_empty().then_some(found)
}

pub(crate) fn table_path(folder: &Path, id: u64) -> PathBuf {
    folder.join(TABLES).join(id.to_string())
}

/// That every table is there, with a table of contents that the tree can read: it believes the lengths in it.
pub(crate) fn check_tables(folder: &Path, manifest: &Manifest) -> Result<(), EngineError> {
    for Named { id, .. } in &manifest.tables {
        let path = table_path(folder, *id);
        let file = File::open(&path).map_err(EngineError::io("open", &path))?;
        let file_bytes = file.metadata().map_err(EngineError::io("read", &path))?.len();
        let found = contents(file_bytes, |at, bytes| {
            let mut content = vec![0; bytes];
            file.read_exact_at(&mut content, at).ok().map(|()| content)
        });
        if found.is_none() {
            return Err(damaged(format!("the end of table {id} isn't the one written")));
        }
    }
    Ok(())
}

/// Reads a table whole: its bytes, and whether they are those written.
pub(crate) fn verify_table(folder: &Path, table: Named) -> io::Result<(u64, bool)> {
    let mut file = File::open(table_path(folder, table.id))?;
    let (mut hash, mut total, mut piece) = (Xxh3::new(), 0, vec![0; 1 << 20]);
    loop {
        let bytes = file.read(&mut piece)?;
        if bytes == 0 {
            return Ok((total, hash.digest128() == table.checksum));
        }
        hash.update(&piece[..bytes]);
        total += bytes as u64;
    }
}

/// Little-endian numbers from the front of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}
