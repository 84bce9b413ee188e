//! Whole clusters in virtual time: every promise is kept over many seeds, and bugs that are planted break one.
//!
//! `SYNOD_SIMULATION_SEEDS` sets how many seeds run, `SYNOD_SIMULATION_FROM` the first. A seed that fails is replayed, told and made smaller by
//! `synod-sim --seed N --story`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod planted;
mod regressions;

use std::time::Duration;

use synod_planted::{Bug, plant};
use synod_simulator::batch::run_all;
use synod_simulator::reduce::shrink;
use synod_simulator::{Plan, run};

/// Seeds that run by default.
const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

#[test]
fn s1_to_s12_every_promise_is_kept_whatever_the_seed() {
    let from = number("SYNOD_SIMULATION_FROM").unwrap_or(1);
    let seeds = number("SYNOD_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let summary = run_all(from..from + seeds, 2, |_, _| {});
    println!("{}", summary.coverage);
    let virtual_time = Duration::from_micros(summary.virtual_us);
    println!("{} runs from seed {from}, {} events, {virtual_time:.0?}", summary.runs, summary.events);
    for failure in &summary.failures {
        let violation = failure.violation.as_ref().unwrap();
        println!("seed {}: {violation} (replay: synod-sim --seed {} --story)", failure.seed, failure.seed);
    }
    assert_eq!(summary.failed, 0, "of {seeds} seeds from {from}");
    assert_eq!(summary.short, 0, "runs that were too short to show much");
    if seeds >= SEEDS {
        let missing: Vec<_> = summary.coverage.missing().into_iter().map(|seen| seen.text()).collect();
        assert!(missing.is_empty(), "never seen in {seeds} seeds: {missing:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_to_the_last_message() {
    let trace = |seed| {
        let mut lines = Vec::new();
        let outcome = run(&Plan::draw(seed), Some(&mut |line| lines.push(line)));
        (outcome.trace_hash, outcome.events, lines)
    };
    for seed in [1, 2, 3] {
        let (first, again) = (trace(seed), trace(seed));
        assert!(first == again, "seed {seed}");
        assert_ne!(first.0, trace(seed + 1).0);
        assert!(first.2.len() as u64 > first.1 / 4, "the story is told");
    }
}

#[test]
fn a_failure_is_made_smaller_and_stays_one() {
    plant(Some(Bug::RepliesNotKept));
    // Most seeds show it.
    let shows = |plan: Plan| run(&plan, None).violation.map(|found| (plan, found));
    let (plan, found) = (1..10).map(Plan::draw).find_map(shows).expect("none of these seeds shows the bug");
    let (reduction, smaller) = shrink(&plan, &found);
    let reduced = reduction.of(&plan);
    let again = run(&reduced, None).violation;
    plant(None);
    println!("{} faults, {} clients, then{reduction}: {smaller}", plan.faults.len(), plan.clients);
    assert_eq!((smaller.rule, again.as_ref()), (found.rule, Some(&smaller)));
    assert!(reduced.faults.len() < plan.faults.len() / 2);
    assert_eq!(run(&reduced, None).violation, None, "without the bug");
}
