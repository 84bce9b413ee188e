//! Bugs of the acceptor's journal, caught by the trials of its own tests.

#[path = "../../../crates/acceptor/tests/keeper/trials.rs"]
mod trials;

use synod_planted::Bug;

use super::check;
use trials::{
    every_batch_on_a_full_disk, every_bit_flip, every_failure, every_power_loss, segments_go, take_runs,
    truncating, voting,
};

const OPENED: &str = "journals opened";

#[test]
fn power_loss_failures_and_damage_catch_bugs_of_the_keeper_and_under_it() {
    let head = [(Bug::HeadNotAdvanced, "a segment's head is behind the records before it")];
    check("power loss at every operation of a keeper", OPENED, || every_power_loss(voting), take_runs, &head);
    let sync = [(Bug::FailedSyncRetried, "nobody was told")];
    check("failures of every operation of a keeper", OPENED, || every_failure(voting), take_runs, &sync);
    let damage = [(Bug::DamageTakenForEnd, "opened"), (Bug::SealSkipped, "opened")];
    check("bit flips of a keeper's journal", OPENED, || every_bit_flip(true), take_runs, &damage);
}

#[test]
fn s3_batches_on_a_full_disk_catch_bugs_of_room() {
    let bugs = [(Bug::RoomUnprepared, "it ends"), (Bug::RoomIgnored, "it ends")];
    check("batches on a full disk", OPENED, every_batch_on_a_full_disk, take_runs, &bugs);
}

#[test]
fn s11_power_loss_while_the_floor_rises_catches_bugs_of_the_keeper() {
    let bugs = [
        (Bug::FirstHeadForgotten, "persisted, and lost"),
        (Bug::HeadRepeatedBatch, "prepared twice"),
        (Bug::ReleasedTooMuch, "persisted, and lost"),
        (Bug::WrongSlotServed, "is loaded"),
        (Bug::PositionsNotInHeads, "a segment's head is behind"),
    ];
    check("power loss while the floor rises", OPENED, || every_power_loss(truncating), take_runs, &bugs);
    segments_go();
}
