//! The learner's checkpoints over a disk in memory that loses power, fails, fills up and rots, and over real files.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod directories;
mod trials;

#[test]
fn i16_power_loss_at_every_operation_leaves_what_was_synced() {
    trials::every_power_loss();
}

#[test]
fn s3_a_failure_at_every_operation_leaves_what_was_synced() {
    trials::every_failure();
}

#[test]
fn i12_every_cut_and_every_changed_bit_is_found_and_set_aside() {
    trials::every_damage();
}

#[test]
fn i12_a_stale_body_behind_a_new_head_is_found() {
    trials::a_stale_body();
}

#[test]
fn a_full_disk_gives_up_one_checkpoint_and_nothing_else() {
    trials::every_full_disk();
}
