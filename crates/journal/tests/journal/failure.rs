//! Failing and full disks. S3: one failure ends the journal; what it left in memory only is never taken for durable.

use synod_journal::memory::MemoryDisk;
use synod_journal::{Error, Journal, Preparation, Recovery};

use crate::trials::failure::{SCRIPT, every_capacity, every_failure, every_failure_at_a_restart};
use crate::trials::oracle::{Oracle, Step, blob, open, options, read};
use crate::trials::power_loss::RECYCLING;

use Step::{Commit, KeepLast};

#[test]
fn s3_a_failure_ends_the_journal_and_a_restart_trusts_nothing_it_left() {
    every_failure(&options(1024, 64), SCRIPT);
    every_failure(&options(1024, 64), RECYCLING);
}

#[test]
fn a_failing_disk_is_never_taken_for_a_shorter_journal() {
    every_failure_at_a_restart(&options(1024, 64), SCRIPT);
}

#[test]
fn a_disk_full_at_any_size_loses_nothing() {
    every_capacity(&options(1024, 64), SCRIPT);
}

#[test]
fn a_full_disk_refuses_cleanly_and_resumes_when_space_is_freed() {
    let options = options(1024, 64);
    let disk = MemoryDisk::new();
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    disk.limit(Some(1500));
    let error = loop {
        if let Err(error) = journal.prepare_step() {
            break error;
        }
    };
    assert!(error.is_no_space(), "{error}");
    // What fits is still taken.
    let room = journal.room_bytes();
    assert!(room > 500 && room < 1024, "{room}");
    oracle.commit(&mut journal, 1, 300, 1).unwrap();
    assert!(oracle.commit(&mut journal, 1, 900, 1).unwrap_err().is_no_space());
    assert!(journal.staged_bytes() > 900, "it stays staged");
    assert_eq!(journal.position(), 1);
    // A smaller batch goes instead, and the journal can be sealed.
    journal.discard();
    oracle.commit(&mut journal, 1, 100, 1).unwrap();
    journal.seal().unwrap();
    let (found, _) = read(&disk.after_power_loss(|| false), &options).unwrap();
    assert_eq!(found.records, oracle.acknowledged);
    // The same commit is repeated once there is space.
    assert!(oracle.commit(&mut journal, 1, 900, 1).unwrap_err().is_no_space());
    disk.limit(None);
    assert_eq!(journal.commit(|| blob(2)).unwrap(), 3);
    oracle.acknowledged.append(&mut oracle.in_flight);
    let (found, _) = read(&disk.after_power_loss(|| false), &options).unwrap();
    assert_eq!(found.records, oracle.acknowledged);
}

#[test]
fn a_restart_on_a_full_disk_changes_nothing() {
    let options = options(1024, 64);
    let disk = MemoryDisk::new();
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    oracle.run(&mut journal, SCRIPT, 1).unwrap();
    let used: u64 = disk.sizes().iter().map(|(_, size)| size).sum();
    for room in [0, 1, 500] {
        disk.kill();
        disk.limit(Some(used + room));
        assert!(open(&disk, &options).unwrap_err().is_no_space());
        let (found, _) = read(&disk.after_power_loss(|| false), &options).unwrap();
        assert_eq!(found.records, oracle.acknowledged);
    }
    for room in [1023, 1024] {
        let disk = disk.copy();
        disk.limit(Some(used + room));
        let (found, journal) = open(&disk, &options).unwrap();
        assert_eq!(found.records, oracle.acknowledged);
        let size = disk.content(&format!("segment-{:016x}", journal.segment())).len();
        assert_eq!(size >= 1024, room == 1024, "a shorter segment will do");
    }
}

/// A journal of five segments on a full disk, the first three of which wait to be used again.
fn full_with_unneeded() -> (MemoryDisk, Oracle, Journal<MemoryDisk>) {
    let (disk, options) = (MemoryDisk::new(), options(1024, 64));
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    let script =
        [Commit(1, 700), Commit(1, 700), Commit(1, 700), Commit(1, 700), KeepLast(1), Commit(1, 700)];
    oracle.run(&mut journal, &script, 1).unwrap();
    assert_eq!(journal.segment(), 5);
    disk.limit(Some(0));
    (disk, oracle, journal)
}

#[test]
fn on_a_full_disk_segments_that_wait_are_the_next_ones() {
    let (disk, mut oracle, mut journal) = full_with_unneeded();
    oracle.run(&mut journal, &[Commit(1, 700), Commit(1, 700), Commit(1, 700)], 1).unwrap();
    assert!(oracle.commit(&mut journal, 1, 700, 1).unwrap_err().is_no_space(), "three of them");
    journal.discard();
    oracle.in_flight.clear();
    let (found, _) = read(&disk.after_power_loss(|| false), &options(1024, 64)).unwrap();
    oracle.check(&found, "full");
    assert_eq!(found.summary.unneeded, 0);
}

#[test]
fn on_a_full_disk_segments_that_wait_make_room_for_a_larger_one_and_for_the_reserve() {
    let (disk, mut oracle, mut journal) = full_with_unneeded();
    disk.limit(Some(5 * 1024));
    oracle.commit(&mut journal, 1, 2_000, 1).unwrap();
    let (found, _) = read(&disk.after_power_loss(|| false), &options(1024, 64)).unwrap();
    oracle.check(&found, "full");

    let (disk, _, mut journal) = full_with_unneeded();
    journal.keep_reserve(128);
    disk.limit(Some(5 * 1024));
    while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    assert_eq!(disk.content("reserve").len(), 128);
}

#[test]
fn a_restart_on_a_full_disk_begins_with_a_segment_that_waits() {
    let (disk, oracle, journal) = full_with_unneeded();
    drop(journal);
    disk.kill();
    let (found, journal) = open(&disk, &options(1024, 64)).unwrap();
    oracle.check(&found, "restart");
    assert_eq!((found.summary.unneeded, journal.segment()), (3, 6));
}

#[test]
fn a_spare_left_half_prepared_is_prepared_anew() {
    let options = options(1024, 64);
    let disk = MemoryDisk::new();
    let (_, mut journal) = open(&disk, &options).unwrap();
    assert_eq!(journal.prepare_step().unwrap(), Preparation::Unfinished);
    assert_eq!(disk.in_flight(), 1, "each step is synced; only the name is not");
    assert_eq!(journal.prepare_step().unwrap(), Preparation::Ready);
    assert_eq!(journal.prepare_step().unwrap(), Preparation::Ready);
    // Whatever a spare holds: here a whole segment with a valid head for the very segment that comes next.
    journal.append(&[1; 700], []);
    journal.commit(|| blob(0)).unwrap();
    let other = disk.copy();
    journal.append(&[2; 700], []);
    journal.commit(|| blob(1)).unwrap();
    other.set_content("spare", &disk.content("segment-0000000000000002"));
    let (found, _) = open(&other, &options).unwrap();
    assert_eq!(found.summary.batches, 1, "a spare is never read");
    let (found, _) = open(&other, &options).unwrap();
    assert_eq!(found.records, [(1, vec![1; 700])]);
}

#[test]
fn options_are_checked() {
    for (segment_bytes, block_bytes) in [(1024, 32), (1024, 100), (1000, 64), (128, 64), (1 << 20, 8192)] {
        let refused = Recovery::read(MemoryDisk::new(), options(segment_bytes, block_bytes), |_| Ok(()));
        assert!(matches!(refused, Err(Error::Options { .. })), "{segment_bytes} {block_bytes}");
    }
}
