//! Reading batches back, moving on before a segment is full, and the reserve for a full disk.

use synod_journal::memory::MemoryDisk;
use synod_journal::{Disk, Preparation};

use crate::trials::oracle::{Oracle, Step, blob, open, options, read};
use crate::trials::reading::every_bit_read_back;

use Step::{Commit, KeepLast};

#[test]
fn i12_what_is_read_back_is_exact_or_refused() {
    every_bit_read_back();
}

#[test]
fn a_batch_that_recovery_wrote_again_is_read_from_its_new_place() {
    let (disk, options) = (MemoryDisk::new(), options(1024, 64));
    let (_, mut journal) = open(&disk, &options).unwrap();
    journal.append(b"record", []);
    journal.commit(|| blob(0)).unwrap();
    let old = journal.last_place().unwrap();
    drop(journal);
    let (found, mut journal) = open(&disk, &options).unwrap();
    assert!(found.summary.rewritten);
    let new = journal.last_place().unwrap();
    assert_eq!((new.batch(), new.segment()), (1, old.segment() + 1));
    assert_eq!(journal.read(new).unwrap(), [&b"record"[..]]);
    // Once the old place is dropped, the new one is as good.
    journal.release(1);
    journal.move_on(&blob(1)).unwrap();
    while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    assert!(!disk.files().contains(&"segment-0000000000000001".to_owned()));
    assert_eq!(journal.read(new).unwrap(), [&b"record"[..]]);
}

#[test]
fn s11_moving_on_lets_go_what_was_released() {
    let (disk, options) = (MemoryDisk::new(), options(1024, 64));
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    oracle.run(&mut journal, &[Commit(1, 700), Commit(1, 700), Commit(1, 700)], 1).unwrap();
    assert_eq!(journal.droppable(), 0);
    oracle.run(&mut journal, &[KeepLast(1)], 1).unwrap();
    assert_eq!(journal.droppable(), 2);
    journal.append(b"staged", []);
    journal.move_on(&blob(3)).unwrap();
    assert_eq!((journal.droppable(), journal.segment()), (0, 4));
    assert!(journal.staged_bytes() > 0, "what is staged stays staged");
    journal.discard();
    while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    let (found, _) = read(&disk.after_power_loss(|| false), &options).unwrap();
    assert_eq!(found.records, oracle.acknowledged[2..]);
    let (found, _) = read(&disk, &options).unwrap();
    assert_eq!(found.summary.unneeded, 1, "one is the spare, the other waits to be used again");
}

#[test]
fn a_full_disk_is_moved_on_from_by_its_reserve() {
    let (mut disk, options) = (MemoryDisk::new(), options(1024, 64));
    let (_, mut journal) = open(&disk, &options).unwrap();
    journal.keep_reserve(512);
    let mut oracle = Oracle::default();
    oracle.run(&mut journal, &[Commit(1, 700), Commit(1, 700)], 1).unwrap();
    while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    oracle.run(&mut journal, &[Commit(1, 700)], 1).unwrap();
    // There is no space for a spare, and none is there.
    assert!(!disk.files().contains(&"spare".to_owned()));
    disk.limit(Some(disk.sizes().iter().map(|(_, bytes)| bytes).sum()));
    assert!(journal.prepare_step().unwrap_err().is_no_space());
    assert_eq!(journal.prepared_bytes(), 0);
    oracle.run(&mut journal, &[KeepLast(1)], 1).unwrap();
    journal.move_on(&blob(3)).unwrap();
    assert_eq!(disk.open("segment-0000000000000004").map(|_| ()).ok(), Some(()));
    assert_eq!(disk.content("segment-0000000000000004").len(), 512, "a short one");
    while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    assert!(disk.files().contains(&"reserve".to_owned()), "there is a reserve again");
    oracle.run(&mut journal, &[Commit(1, 700)], 1).unwrap();
    let (found, _) = open(&disk.after_power_loss(|| false), &options).unwrap();
    assert_eq!(found.records, oracle.acknowledged[2..]);
}
