//! Trials of a journal: each drives it over a disk in memory into one kind of trouble, at every place where that can
//! strike, and panics when what is found afterwards isn't what the oracle allows.
//!
//! The journal's own tests run them on the journal as it ships; the tests of planted bugs run the same ones to see that they
//! bite. Absent on purpose: tests.

pub(crate) mod damage;
pub(crate) mod failure;
pub(crate) mod lives;
pub(crate) mod oracle;
pub(crate) mod power_loss;
pub(crate) mod reading;

use std::cell::Cell;

use synod_journal::Options;
use synod_journal::memory::MemoryDisk;

use oracle::{Oracle, open, read};

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

fn count_run() {
    RUNS.set(RUNS.get() + 1);
}

/// How many journals were read on this thread since this was last asked: one for each fault and subset tried.
pub(crate) fn take_runs() -> u64 {
    RUNS.take()
}

/// Processes start one after the other on this disk, whose power stays on: what was written is seen, synced or not. What each of
/// them tells and acknowledges must outlive a power loss that keeps only what is synced by then.
pub(crate) fn goes_on(options: &Options, disk: &MemoryDisk, oracle: &Oracle, context: &str) {
    let mut oracle = oracle.clone();
    for life in 2..5 {
        let context = format!("{context}; life {life}");
        let (found, mut journal) = open(disk, options).unwrap_or_else(|error| panic!("{context}: {error}"));
        oracle.check(&found, &context);
        oracle.adopt(&found);
        let lose_power = || read(&disk.after_power_loss(|| false), options);
        let (left, _) = lose_power().unwrap_or_else(|error| panic!("{context}: told, then {error}"));
        assert_eq!(left.records, found.records, "{context}: told after a restart, and lost");
        for records in 1..3 {
            oracle.commit(&mut journal, records, 40, life).unwrap();
        }
        let (left, _) = lose_power().unwrap_or_else(|error| panic!("{context}: acknowledged, then {error}"));
        oracle.check(&left, &context);
    }
}
