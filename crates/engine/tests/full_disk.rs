//! A disk that is really full: a checkpoint finds no room, the store is as it was, and goes on when there is room.
//!
//! Takes root, for a small file system in memory; where that can't be had, the test says SKIPPED, loudly, and shows nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use support::{LIMITS, Log};
use synod_engine::{DiskStorage, Options, open, verify};
use synod_protocol::Revision;
use synod_store::{Cursor, Image, MemoryStorage, Snapshot, Stamp, StateMachine, Storage};

const OPTIONS: Options = Options { cache_bytes: 1 << 20, spill_bytes: 1 << 20, most_overlay_bytes: 1 << 30 };

struct Mounted(PathBuf);

impl Mounted {
    fn new() -> Result<Mounted, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "full-disk-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&folder).output();
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(Mounted(folder)) } else { Err(said) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _removed = std::fs::remove_dir(&self.0);
    }
}

fn whole<T: Snapshot>(image: &Image<T>) -> Bytes {
    image.chunk(&Cursor::start(), u64::MAX).bytes
}

fn tables(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("tables")).unwrap().count()
}

/// Keeps a checkpoint; whether there was room for it.
fn keep(disk: &mut StateMachine<DiskStorage>) -> bool {
    let image = disk.checkpoint();
    let kept = disk.storage().vault().keep(&image);
    if let Err(error) = &kept {
        assert!(error.is_no_space() && !error.is_damage(), "{error}");
    } else {
        disk.checkpointed();
    }
    kept.is_ok()
}

#[test]
fn s3_a_checkpoint_without_room_leaves_the_one_before_and_the_next_is_of_both() {
    let mounted = match Mounted::new() {
        Ok(mounted) => mounted,
        Err(why) => return eprintln!("SKIPPED: a full disk needs root and tmpfs: {why}"),
    };
    let folder = mounted.0.join("store");
    let mut disk = open(&folder, LIMITS, OPTIONS).unwrap();
    let (mut log, mut memory) = (Log::new(1), StateMachine::new(LIMITS, MemoryStorage::default()));
    let (mut refused, mut kept) = (0, 0);
    for round in 0..120_usize {
        for _ in 0..10 {
            let (slot, value) = log.slot();
            disk.apply(slot, &value);
            memory.apply(slot, &value);
        }
        // All but so many bytes are taken, so that it fails at any place.
        let ballast = mounted.0.join("ballast");
        let taken = 4096 * (round % 24);
        let mut content = vec![7; 2 << 20];
        while std::fs::write(&ballast, &content).is_err() {
            content.truncate(content.len() - 4096);
        }
        content.truncate(content.len().saturating_sub(taken));
        std::fs::write(&ballast, &content).unwrap();
        let before = (verify(&folder), tables(&folder));
        if keep(&mut disk) {
            kept += 1;
        } else {
            refused += 1;
            assert_eq!(
                (verify(&folder), tables(&folder)),
                before,
                "the one before is as it was, and nothing is left behind"
            );
        }
        let merged = disk.storage().vault().compact();
        assert!(merged.is_ok() || merged.is_err_and(|error| error.is_no_space()));
        assert!(whole(&disk.image()) == whole(&memory.image()), "S7: it goes on with another state");
        std::fs::remove_file(&ballast).unwrap();
    }
    assert!(keep(&mut disk), "there is room again");
    disk.storage().vault().compact().unwrap();
    drop(disk);
    let disk = open(&folder, LIMITS, OPTIONS).unwrap();
    assert!(whole(&disk.image()) == whole(&memory.image()), "S7: it opens as another state");
    drop(disk);
    println!("{kept} checkpoints, {refused} without room");
    assert!(refused > 0 && kept > 0);
}

#[test]
fn i14_a_state_that_is_built_waits_in_memory_for_room_and_is_written_down_when_there_is_some() {
    let mounted = match Mounted::new() {
        Ok(mounted) => mounted,
        Err(why) => return eprintln!("SKIPPED: a full disk needs root and tmpfs: {why}"),
    };
    let options = Options { spill_bytes: 32 << 10, most_overlay_bytes: 256 << 10, ..OPTIONS };
    let mut storage = open(&mounted.0.join("store"), LIMITS, options).unwrap().into_storage();
    let ballast = mounted.0.join("ballast");
    let mut content = vec![7; 2 << 20];
    while std::fs::write(&ballast, &content).is_err() {
        content.truncate(content.len() - 4096);
    }
    let stamp = Stamp { created: Revision(1), modified: Revision(1), version: 1 };
    let mut keys = 0_u64;
    while !storage.is_full() {
        assert!(keys < 1_000, "it has room for everything");
        storage.put(&keys.to_be_bytes(), &[keys as u8; 1_000], |_| stamp);
        keys += 1;
    }
    storage.relieve();
    assert!(storage.is_full(), "there is no room yet");
    std::fs::remove_file(&ballast).unwrap();
    storage.relieve();
    assert!(!storage.is_full() && storage.overlay_bytes() == 0, "{storage:?}");
    for key in 0..keys {
        let found = storage.get(&key.to_be_bytes()).unwrap();
        assert!(found.value[..] == [key as u8; 1_000], "key {key}");
    }
    println!("{keys} keys waited");
}
