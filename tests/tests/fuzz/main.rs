//! Bytes from strangers and from damaged disks: no panic, no memory beyond the limits, nothing accepted that isn't written so.
//!
//! Each target is a test. It replays its corpus (the folder `__fuzz__` here) and some random inputs; a failure prints the input,
//! or the seed as `BOLERO_RANDOM_SEED`. Guided by coverage, for as long as one likes:
//!
//! ```text
//! scripts/fuzz.sh 300 frames::to_a_learner     five minutes of this target; without a name, of each
//! ```
//!
//! What a run finds is kept: in the corpus the fewest files that reach all the code, in `crashes` beside it what fails, and is replayed
//! from then on. Memory is counted by this program's allocator, so targets run one at a time. Absent on purpose: what the roles do with a message that decodes;
//! that is the simulator's.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod batches;
mod cluster_files;
mod frames;
mod journals;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Random inputs for each target, besides its corpus.
const RANDOM_INPUTS: usize = 500;

/// Held by the one target that runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // Another target that failed has left nothing behind that matters to this one.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work`; at no moment may it hold more than `limit` bytes beyond what was held before.
#[track_caller]
fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = work();
    let held = MEMORY.peak_usage().saturating_sub(before);
    assert!(held <= limit, "{held} bytes of memory were held at once, where {limit} may be");
    result
}

/// Every target has a corpus: without one it would look as if it had been fuzzed.
#[test]
fn every_target_has_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/__fuzz__");
    for target in [
        "frames__to_an_acceptor",
        "frames__to_a_proposer",
        "frames__to_a_learner",
        "frames__to_a_client",
        "frames__greetings",
        "batches__of_any_bytes",
        "batches__of_commands",
        "journals__of_any_bytes",
        "journals__damaged",
        "cluster_files__of_any_text",
    ] {
        let corpus = folder.join(target).join("corpus");
        let files =
            std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let sizes: Vec<u64> = files.map(|file| file.unwrap().metadata().unwrap().len()).collect();
        assert!(!sizes.is_empty() && sizes.len() <= 150, "{target}: {} files", sizes.len());
        assert!(sizes.iter().all(|size| *size <= 1024), "{target}: {sizes:?}");
    }
}
