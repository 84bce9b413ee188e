//! Bugs planted in Synod's own code, each caught by the tests of the layer that should catch it. The untouched code is the
//! control: it goes through the same trial, all of it, and passes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod checkpoints;
mod journal;
mod keeper;
mod learners;
mod positions;
mod readmission;
mod roles;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};

use synod_planted::{Bug, plant};

/// Runs a trial, which panics when it finds something wrong, on the code as it ships and with each of these bugs in it. Says how many
/// runs (of what a run is here) each took. The words must be in what the trial says, so that it is that bug that is caught.
fn check(name: &str, what: &str, trial: fn(), take_runs: fn() -> u64, bugs: &[(Bug, &str)]) {
    take_runs();
    trial();
    println!("{name}: nothing found without a bug, {} {what}", take_runs());
    for (bug, words) in bugs {
        plant(Some(*bug));
        let outcome = catch_unwind(AssertUnwindSafe(trial));
        plant(None);
        let runs = take_runs();
        let Err(found) = outcome else { panic!("{name}: {} is not caught in {runs} runs", bug.name()) };
        let said =
            found.downcast_ref::<String>().map(String::as_str).or(found.downcast_ref::<&str>().copied());
        let said = said.expect("a panic with a text");
        assert!(said.contains(words), "{name}: {} is caught for another reason: {said}", bug.name());
        println!("{name}: {} caught in run {runs}: {said:.160}", bug.name());
    }
}
