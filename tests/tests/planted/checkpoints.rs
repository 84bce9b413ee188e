//! Bugs of the learner's checkpoints, caught by the trials of its own tests.

#[path = "../../../crates/learner/tests/keeper/trials.rs"]
#[allow(dead_code, reason = "trials that no bug is planted for run beside the crate")]
mod trials;

use synod_planted::Bug;

use super::check;
use trials::{a_stale_body, every_damage, every_power_loss, take_runs};

const OPENED: &str = "directories opened";

#[test]
fn i16_power_loss_catches_bugs_of_checkpoints() {
    let bugs = [
        (Bug::CheckpointNotSynced, "by a loss of power"),
        (Bug::OldCheckpointRemovedFirst, "was synced, and lost"),
    ];
    check("power loss at every operation of a learner's keeper", OPENED, every_power_loss, take_runs, &bugs);
}

#[test]
fn i12_damage_catches_bugs_of_reading_checkpoints() {
    let bugs =
        [(Bug::CheckpointEndNotAwaited, "passes for sound"), (Bug::DamagedCheckpointRemoved, "was removed")];
    check("cuts and changed bits of checkpoints", OPENED, every_damage, take_runs, &bugs);
    let stale = [(Bug::CheckpointPlaceIgnored, "a stale body is taken")];
    check("a stale body of a checkpoint", OPENED, a_stale_body, take_runs, &stale);
}
