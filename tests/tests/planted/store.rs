//! Bugs of the store, caught by the trials of its own tests.

#[path = "../../../crates/engine/tests/damage/trials.rs"]
#[allow(dead_code, reason = "not every trial is there for a planted bug")]
mod damage;
#[path = "../../../crates/store/tests/image/trials.rs"]
#[allow(dead_code, reason = "not every trial is there for a planted bug")]
mod image;
#[path = "../../../crates/engine/tests/side_by_side/trials.rs"]
#[allow(dead_code, reason = "not every trial is there for a planted bug")]
mod side_by_side;
#[path = "../../../crates/store/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use synod_planted::Bug;
use synod_protocol::Revision;
use synod_store::{MemoryStorage, Stamp, Storage};
use xxhash_rust::xxh3::xxh3_64;

use self::support::Random;
use super::check;

const BUILT: &str = "states built";
const OPENED: &str = "stores opened";

#[test]
fn i10_random_images_damage_and_restores_catch_bugs_of_images() {
    let random = [
        (Bug::ImageWithoutSessions, "I10: an image becomes a state"),
        (Bug::RepliesNotInImage, "I10: a state built of an image"),
        (Bug::ImageWithOlderChain, "I10: a state built of an image"),
        (Bug::ImageWithoutRevision, "I10: an image becomes a state"),
        (Bug::DeletesNotCheckpointed, "I10: changes become a state"),
        (Bug::OverwriteNotCheckpointed, "I10: a state built of changes differs"),
    ];
    let random_logs = || (0..30).for_each(image::a_random_log);
    check("images of random logs", BUILT, random_logs, image::take_runs, &random);
    let damage = [(Bug::ImageDigestIgnored, "changed")];
    check("cuts and changed bits of an image", BUILT, image::every_cut_and_bit, image::take_runs, &damage);
    let disorder = [(Bug::ImageEndNotAwaited, "chunk")];
    check("chunks out of order", BUILT, image::every_disorder, image::take_runs, &disorder);
    let restore = [
        (Bug::WritesDuringRestore, "a write while a backup is being restored"),
        (Bug::BackupsMixed, "another backup's record in a restore"),
        (Bug::CreatedOverwritten, "a put keeps when its key was made"),
    ];
    check("a restore under way", BUILT, image::a_restore_under_way, image::take_runs, &restore);
}

/// A key that isn't there, and one that is, with the same hash as far as a storage by default knows it.
fn keys_of_one_hash() {
    let mut seen = BTreeMap::new();
    let mut keys = (0..).map(|number: u32| number.to_le_bytes());
    let pair = keys.find_map(|key| Some((seen.insert(xxh3_64(&key) >> 32, key)?, key)));
    let (there, absent) = pair.unwrap();
    let mut storage = MemoryStorage::default();
    let stamp = Stamp { created: Revision(1), modified: Revision(1), version: 1 };
    storage.put(&there, b"value", |_| stamp);
    let mut found = Vec::new();
    storage.show(&[&absent, &there], |_, record| found.push(record.is_some()));
    assert_eq!(found, [false, true], "S10: a read is answered with what another key has");
}

/// Records of other lengths than before go elsewhere, and what is left of their blocks is moved.
fn puts_of_many_lengths() {
    let (mut storage, mut expected) = (MemoryStorage::default(), BTreeMap::new());
    let (mut random, stamp) = (Random(1), Stamp { created: Revision(1), modified: Revision(1), version: 1 });
    for byte in (0..=u8::MAX).cycle().take(20_000) {
        let (key, value) = ([random.below(200) as u8], vec![byte; random.below(200) as usize]);
        storage.put(&key, &value, |_| stamp);
        expected.insert(key, value);
    }
    let is_right =
        |(key, value): (&[u8; 1], &Vec<u8>)| storage.get(key).is_some_and(|found| found.value == *value);
    assert!(expected.iter().all(is_right), "S7: a key has another value than it was given last");
}

#[test]
fn s7_puts_of_many_lengths_catch_records_that_are_moved_wrongly() {
    let bugs = [(Bug::DeadRecordMoved, "S7: a key has another value than it was given last")];
    check("puts of many lengths", "storages", puts_of_many_lengths, || 1, &bugs);
}

#[test]
fn s10_keys_of_one_hash_catch_a_hash_that_is_taken_for_a_key() {
    let bugs = [(Bug::HashTakenForKey, "S10: a read is answered with what another key has")];
    check("keys of one hash", "storages", keys_of_one_hash, || 1, &bugs);
}

#[test]
fn s7_two_engines_side_by_side_catch_bugs_of_the_one_on_disk() {
    let bugs = [
        (Bug::FrozenOverlayForgotten, "the engines"),
        (Bug::CheckpointNotWhole, "I10: it opens at its last checkpoint"),
        (Bug::SpillAfterCheckpoint, "S7: what was learned again"),
    ];
    let random_logs = || (0..12).for_each(side_by_side::a_random_log);
    check("two engines side by side", OPENED, random_logs, side_by_side::take_runs, &bugs);
    let held = [(Bug::SnapshotsNotHeld, "should always find a SuperVersion")];
    check(
        "an image that is held",
        OPENED,
        side_by_side::an_image_that_is_held,
        side_by_side::take_runs,
        &held,
    );
}

#[test]
fn i12_changed_bits_catch_a_manifest_that_is_believed() {
    let bugs = [(Bug::ManifestUnchecked, "every byte was the one written")];
    check("bits of a manifest", OPENED, damage::every_bit_of_a_manifest, damage::take_runs, &bugs);
}
