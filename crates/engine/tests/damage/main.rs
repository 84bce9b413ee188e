//! I12, S3: whatever happens to the files of a store, it opens as it was, or not at all; and as an older checkpoint, whole, only where files were
//! put back from then.
//!
//! `SYNOD_DAMAGE=<n>` tries n random damages of each kind and shape instead of the few of every day, `SYNOD_DAMAGE=all` every bit and every length. A
//! failure tells the shape, the file and the place.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../../store/tests/support/mod.rs"]
mod support;
mod trials;

use trials::{SHAPES, Shape, Tally};

/// Of each kind, for each shape; nothing for all of them.
fn tries(usual: u64) -> Option<u64> {
    match std::env::var("SYNOD_DAMAGE") {
        Ok(text) if text == "all" => None,
        Ok(text) => Some(text.parse().unwrap()),
        Err(_) => Some(usual),
    }
}

fn each(what: &str, trial: impl Fn(&Shape) -> Tally) {
    for make in SHAPES {
        let shape = make();
        let tally = trial(&shape);
        println!("{what}, {}: {tally:?}", shape.name());
        assert!(tally.noticed > 0, "{what}, {}: no damage was hit", shape.name());
    }
}

#[test]
fn i12_no_changed_bit_on_disk_is_ever_served() {
    each("changed bits", |shape| shape.changed_bits(tries(60)));
}

#[test]
fn i12_no_shortened_file_is_ever_served() {
    each("shortened files", |shape| shape.shortened(tries(20)));
}

#[test]
fn i12_no_store_without_one_of_its_files_is_ever_served() {
    each("missing files", Shape::missing);
}

#[test]
fn i12_tables_with_each_others_names_are_never_served() {
    each("swapped files", |shape| shape.swapped(tries(10)));
}

#[test]
fn s7_files_put_back_from_an_older_moment_give_a_whole_checkpoint_or_nothing() {
    each("older files", |shape| shape.older(tries(20)));
}

#[test]
fn i12_no_changed_bit_of_a_manifest_goes_unseen() {
    trials::every_bit_of_a_manifest();
    println!("{} stores were opened", trials::take_runs());
}

#[test]
fn i12_damage_met_while_running_is_told_to_the_next_start() {
    trials::told_to_the_next_start();
}
