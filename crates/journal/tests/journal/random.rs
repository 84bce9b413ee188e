//! Random lives of a journal: scripts, crashes, failures, restarts, a bit flip at the end. A failing case prints its
//! seed; `SYNOD_JOURNAL_SEED=<seed>` runs that one alone, `SYNOD_JOURNAL_CASES=<n>` runs so many from a new start.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::trials::lives::live;
use crate::trials::take_runs;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn random_lives() {
    if let Some(seed) = number("SYNOD_JOURNAL_SEED") {
        return live(seed);
    }
    for seed in 0..number("SYNOD_JOURNAL_CASES").unwrap_or(3000) {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| live(seed))) {
            eprintln!("replay with SYNOD_JOURNAL_SEED={seed}");
            resume_unwind(failure);
        }
    }
    println!("{} journals read", take_runs());
}
