//! I10: image(i) + log(i..j) = state(j), reply table included; and nothing but a whole, unchanged image becomes a state.
//!
//! A failure prints its seed; `SYNOD_SEED=<seed>` replays it alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../support/mod.rs"]
mod support;
mod trials;

use std::panic::{AssertUnwindSafe, catch_unwind};

use support::seeds;

#[test]
fn i10_images_and_changes_of_random_logs_become_equal_states() {
    for seed in seeds(60) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| trials::a_random_log(seed))) {
            eprintln!("seed {seed} failed; SYNOD_SEED={seed} replays it");
            std::panic::resume_unwind(panic);
        }
    }
    println!("{} states were built", trials::take_runs());
}

#[test]
fn chunks_keep_to_their_size_and_a_larger_item_goes_alone() {
    trials::sizes_of_chunks();
}

#[test]
fn i10_a_chunk_that_is_missing_repeated_swapped_or_foreign_is_refused() {
    trials::every_disorder();
}

#[test]
fn i10_every_cut_and_every_changed_bit_is_refused() {
    trials::every_cut_and_bit();
}

#[test]
fn i10_a_restore_under_way_is_part_of_the_image() {
    trials::a_restore_under_way();
}
