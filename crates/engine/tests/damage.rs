//! I12: whatever byte is changed on disk, the store opens as it was, as a whole older state, or not at all.
//!
//! Each try opens the damaged store in a process of its own: fjall believes lengths that it reads, and may end the process for want of
//! memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use support::{LIMITS, Log, Random};
use synod_engine::{Options, open};
use synod_store::{Cursor, Image, MemoryStorage, Snapshot, StateMachine, Storage};

const FOLDER: &str = "SYNOD_TEST_FOLDER";
const OPTIONS: Options =
    Options { cache_bytes: 1 << 20, memtable_bytes: 1 << 20, journal_bytes: 64 << 20, spill_bytes: 1 << 20 };
const TRIES: u64 = 60;

fn memory(slots: u64) -> StateMachine<MemoryStorage> {
    let (mut log, mut machine) = (Log::new(1), StateMachine::new(LIMITS, MemoryStorage::default()));
    for _ in 0..slots {
        let (slot, value) = log.slot();
        machine.apply(slot, &value);
    }
    machine
}

fn bytes_of<T: Snapshot>(image: &Image<T>) -> Bytes {
    image.chunk(&Cursor::start(), u64::MAX).bytes
}

/// What the process of a try does: it fails if the store opens as another state than that of a checkpoint, or the empty one.
#[test]
fn opens_what_it_is_told() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let Ok(disk) = open(Path::new(&folder), LIMITS, OPTIONS) else { return println!("noticed") };
    if disk.applied().0 == 0 {
        assert_eq!(disk.storage().len(), 0, "WRONG: keys without a state");
        return println!("noticed");
    }
    // Reading ends the process where it meets damage.
    let slots = disk.applied().0;
    let same = slots % 10 == 0 && bytes_of(&disk.image()) == bytes_of(&memory(slots).image());
    assert!(same, "WRONG: another state is served");
    println!("{}", if slots == 300 { "unharmed" } else { "noticed" });
}

/// As it lies in fjall's journal, and as it lies in its tables after a flush.
#[test]
fn i12_no_changed_byte_on_disk_is_ever_served() {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("damage-{}", std::process::id()));
    for (name, memtable_bytes) in [("journal", 1 << 20), ("tables", 1)] {
        let folder = base.join(name);
        let _ = std::fs::remove_dir_all(&folder);
        {
            let options = Options { memtable_bytes, ..OPTIONS };
            let mut disk = open(&folder, LIMITS, options).unwrap();
            let mut log = Log::new(1);
            for part in 0..30 {
                for _ in 0..10 {
                    let (slot, value) = log.slot();
                    disk.apply(slot, &value);
                }
                // Only one checkpoint lies in the journal, many in tables.
                if memtable_bytes == 1 || part == 29 {
                    let image = disk.checkpoint();
                    disk.storage().vault().keep(&image).unwrap();
                    disk.checkpointed();
                }
            }
        }
        let noticed = damage(&folder, &base.join("copy"));
        println!("{name}: {noticed} of {TRIES} changed bits were noticed, none served");
        assert!(noticed > 0, "no damage was hit");
    }
    let _ = std::fs::remove_dir_all(&base);
}

fn damage(folder: &Path, copy: &Path) -> u64 {
    let files = files(folder);
    let mut random = Random(7);
    let mut noticed = 0;
    for number in 0..TRIES {
        let _ = std::fs::remove_dir_all(copy);
        let (path, bytes) = &files[random.below(files.len() as u64) as usize];
        // Files may be mostly room ahead: what matters lies in front.
        let at = random.below((bytes.len() as u64).clamp(1, 30_000)) as usize;
        for (other, bytes) in &files {
            let target = copy.join(other);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            let mut bytes = bytes.clone();
            if other == path
                && let Some(byte) = bytes.get_mut(at)
            {
                *byte ^= 1 << random.below(8);
            }
            std::fs::write(target, bytes).unwrap();
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "opens_what_it_is_told", "--nocapture"])
            .env(FOLDER, copy)
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(!told.contains("WRONG"), "try {number}: {} changed at {at}: {told}", path.display());
        noticed += u64::from(!told.contains("unharmed"));
    }
    noticed
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_path_buf(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
