//! I10: whatever moment a process is killed at, its store opens as a whole checkpoint, at least the last one that was reported.
//!
//! The killed process is this program, run once more; a failure prints its seed, which decides what was applied, though not the moment. What the kernel has
//! not written when the power fails isn't shown here: the tree syncs tables and manifest before it names them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use support::{LIMITS, Log, Random, seeds};
use synod_engine::{DiskStorage, Options, open, verify};
use synod_protocol::Slot;
use synod_store::{Cursor, Image, MemoryStorage, Snapshot, StateMachine};

const FOLDER: &str = "SYNOD_TEST_CRASH_FOLDER";
const SEED: &str = "SYNOD_TEST_CRASH_SEED";
const OPTIONS: Options = Options { cache_bytes: 1 << 20, spill_bytes: 1 << 20, most_overlay_bytes: 1 << 30 };
/// Slots between two checkpoints.
const STEP: u64 = 5;
const KEPT: &str = "kept ";

fn whole<T: Snapshot>(image: &Image<T>) -> Bytes {
    image.chunk(&Cursor::start(), u64::MAX).bytes
}

/// Applies the seed's log up to `slot`, from where the machine is.
fn learn<S: synod_store::Storage>(machine: &mut StateMachine<S>, seed: u64, to: u64) {
    let mut log = Log::new(seed);
    for _ in 0..to {
        let (slot, value) = log.slot();
        if slot > machine.applied() {
            machine.apply(slot, &value);
        }
    }
}

/// What the process that is to be killed does: checkpoints, until then.
#[test]
fn checkpoints_until_it_is_killed() {
    let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else { return };
    let seed = seed.parse().unwrap();
    let mut disk: StateMachine<DiskStorage> = open(Path::new(&folder), LIMITS, OPTIONS).unwrap();
    loop {
        let to = disk.applied().0 + STEP;
        learn(&mut disk, seed, to);
        let image = disk.checkpoint();
        disk.storage().vault().keep(&image).unwrap();
        disk.checkpointed();
        println!("\n{KEPT}{}", image.applied().0);
        drop(image);
        disk.storage().vault().compact().unwrap();
    }
}

fn folder(seed: u64) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}-{seed}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

/// Runs a process until it has reported so many checkpoints, and kills it a little later. The last that it reported.
fn run_and_kill(folder: &Path, seed: u64, reports: u64, later: u32) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "checkpoints_until_it_is_killed", "--nocapture"])
        .envs([(FOLDER, folder.to_str().unwrap()), (SEED, &seed.to_string())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kept =
        |line: std::io::Result<String>| line.unwrap().strip_prefix(KEPT).map(|slot| slot.parse().unwrap());
    let mut last =
        lines.by_ref().filter_map(kept).nth(reports as usize).expect("it ended before it was killed");
    // Some work of another length each time, so that the kill comes at any moment of a checkpoint.
    (0..later).for_each(|_| drop(std::hint::black_box(std::fs::read_dir(folder))));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter_map(kept).for_each(|slot| last = slot);
    last
}

#[test]
fn i10_a_process_killed_at_any_moment_leaves_a_whole_checkpoint() {
    let seeds = seeds(std::env::var("SYNOD_CRASHES").map_or(6, |count| count.parse().unwrap()));
    let (mut kills, mut beyond) = (0, 0);
    for seed in &seeds {
        eprintln!("seed {seed}");
        let (folder, mut random) = (folder(*seed), Random(*seed));
        let mut memory = StateMachine::new(LIMITS, MemoryStorage::default());
        for _ in 0..3 {
            let reported = run_and_kill(&folder, *seed, random.below(8), random.below(4_000) as u32);
            assert_eq!(verify(&folder).flaws, [], "every byte that counts is the one written");
            let disk = open(&folder, LIMITS, OPTIONS).expect("I10: it opens");
            let Slot(opened) = disk.applied();
            assert!(opened >= reported && opened % STEP == 0, "I10: slot {opened}, of {reported} reported");
            learn(&mut memory, *seed, opened);
            assert!(whole(&disk.image()) == whole(&memory.image()), "S7: another state at slot {opened}");
            (kills, beyond) = (kills + 1, beyond + u64::from(opened > reported));
        }
        let _ = std::fs::remove_dir_all(&folder);
    }
    println!("{kills} kills, {beyond} of them after a checkpoint that nobody was told of");
}
