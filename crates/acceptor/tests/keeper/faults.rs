//! What the keeper holds after power loss, failures and damage at every place.

use crate::trials::{
    every_batch_on_a_full_disk, every_bit_flip, every_failure, every_power_loss, segments_go, take_runs,
    truncating, voting,
};

#[test]
fn s2_power_loss_at_every_operation_loses_nothing_that_was_persisted() {
    every_power_loss(voting);
    every_power_loss(truncating);
    println!("{} journals opened", take_runs());
}

#[test]
fn s3_a_failure_at_every_operation_loses_nothing_that_was_persisted() {
    every_failure(voting);
    every_failure(truncating);
    println!("{} journals opened", take_runs());
}

#[test]
fn a_flipped_bit_is_never_a_vote() {
    every_bit_flip(true);
    every_bit_flip(false);
    println!("{} journals opened", take_runs());
}

#[test]
fn s11_i14_segments_below_the_floor_go() {
    segments_go();
}

#[test]
fn s3_a_batch_of_any_size_on_a_disk_with_any_space_ends_nothing() {
    every_batch_on_a_full_disk();
    println!("{} journals opened", take_runs());
}
