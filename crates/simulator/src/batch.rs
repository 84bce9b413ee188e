//! Many seeds on all cores, summed up.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::coverage::Coverage;
use crate::plan::Plan;
use crate::trial::{LEAST_EVENTS, Outcome, run};

/// Failures that are kept whole; more are only counted.
const KEPT: usize = 20;

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// Events of all runs.
    pub events: u64,
    /// Virtual time of all runs.
    pub virtual_us: u64,
    /// Faults that were planned.
    pub faults: u64,
    /// What was seen.
    pub coverage: Coverage,
    /// Runs with fewer events than a run should have.
    pub short: u64,
    /// Runs in which something was wrong.
    pub failed: u64,
    /// The first of them, by seed.
    pub failures: Vec<Outcome>,
}

impl Summary {
    fn add(&mut self, plan: &Plan, outcome: Outcome) {
        self.runs += 1;
        self.events += outcome.events;
        self.virtual_us += outcome.virtual_us;
        self.faults += plan.faults.len() as u64;
        self.coverage.merge(&outcome.coverage);
        if outcome.violation.is_some() {
            self.failed += 1;
            self.failures.push(outcome);
            self.failures.sort_by_key(|failure| failure.seed);
            self.failures.truncate(KEPT);
        } else {
            self.short += u64::from(outcome.events < LEAST_EVENTS);
        }
    }
}

/// Runs every seed of a range on so many threads; `progress` hears after every run what it came to, and all so far.
pub fn run_all(seeds: Range<u64>, threads: usize, progress: impl Fn(&Outcome, &Summary) + Sync) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let plan = Plan::draw(seed);
                    let outcome = run(&plan, None);
                    let mut summary = summary.lock().expect("a run's panics don't come out of it");
                    summary.add(&plan, outcome.clone());
                    progress(&outcome, &summary);
                }
            });
        }
    });
    summary.into_inner().expect("a run's panics don't come out of it")
}
