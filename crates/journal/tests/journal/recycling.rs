//! Dropping and recycling segments (S11), old bytes that would be valid in another place, and the sizes of segments.

use synod_journal::memory::MemoryDisk;
use synod_journal::{Disk, Journal, Preparation};

use crate::trials::oracle::{Oracle, Step, batches, blob, open, options, read};

use Step::{Commit, KeepLast, Prepare, Seal};

fn segments(disk: &MemoryDisk) -> Vec<u64> {
    let number = |name: &String| u64::from_str_radix(name.strip_prefix("segment-")?, 16).ok();
    disk.files().iter().filter_map(number).collect()
}

#[test]
fn s11_a_segment_is_dropped_only_after_a_synced_head_declares_it_unneeded() {
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    oracle.run(&mut journal, &[Commit(1, 700), Commit(1, 700), Commit(1, 700), KeepLast(1)], 1).unwrap();
    oracle.run(&mut journal, &[Prepare, Prepare, Prepare], 1).unwrap();
    assert_eq!(segments(&disk), [1, 2, 3], "released, but no head says so");
    oracle.run(&mut journal, &[Commit(1, 700)], 1).unwrap();
    assert_eq!(segments(&disk), [1, 2, 3, 4], "the head says so, and dropping is a step of its own");
    assert_eq!(journal.prepare_step().unwrap(), Preparation::Unfinished);
    assert_eq!(segments(&disk), [2, 3, 4]);
    assert!(disk.files().contains(&"spare".to_owned()), "the first becomes the spare");
    assert_eq!(journal.prepare_step().unwrap(), Preparation::Ready);
    assert_eq!(segments(&disk), [2, 3, 4], "the next waits");
    let (found, _) = read(&disk, &options).unwrap();
    assert_eq!(batches(&found.records), [3, 4]);
}

#[test]
fn old_bytes_of_a_recycled_segment_never_pass() {
    // Segment after segment holds the very same batches in the same places; each reuses the file of an older one.
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    let mut recycled = 0;
    for round in 0..40 {
        oracle.run(&mut journal, &[Commit(1, 100), Commit(1, 100), Commit(1, 100), KeepLast(2)], 1).unwrap();
        while journal.prepare_step().unwrap() == Preparation::Unfinished {}
        if disk.files().contains(&"spare".to_owned()) && disk.content("spare").iter().any(|byte| *byte != 0) {
            recycled += 1;
        }
        let (found, _) = read(&disk, &options).unwrap();
        oracle.check(&found, &format!("round {round}"));
        assert_eq!(found.summary.batches, journal.position());
        assert!(segments(&disk).len() <= 3, "{:?}", segments(&disk));
    }
    assert!(recycled > 5, "{recycled} recycled segments");
    // A restart behind old bytes does not write among them.
    oracle.run(&mut journal, &[Commit(1, 70), Seal], 1).unwrap();
    let last = journal.segment();
    let content = disk.content(&format!("segment-{last:016x}"));
    assert!(content[512..].iter().any(|byte| *byte != 0), "old bytes follow");
    // Whole blocks are written, over old bytes too: header, length, 70 bytes of record, then zeros up to the block's
    // end.
    let written = oracle.acknowledged.last().map(|(_, record)| record.clone()).unwrap();
    let place = content.windows(written.len()).rposition(|window| window == written).unwrap();
    assert_eq!(place % 64, 4);
    assert_eq!(content[place + 70..].iter().position(|byte| *byte != 0), Some(128 - 4 - 70));
    drop(journal);
    let (found, journal) = open(&disk, &options).unwrap();
    oracle.check(&found, "restart");
    assert!(!found.summary.rewritten && journal.segment() == last + 1);
}

#[test]
fn what_a_crash_left_of_dropped_segments_is_dropped_later() {
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    let script = [Commit(1, 700), Commit(1, 700), Commit(1, 700), KeepLast(1), Commit(1, 700), Seal];
    oracle.run(&mut journal, &script, 1).unwrap();
    // Neither a hole among the unneeded segments nor damage in one of them matters.
    let mut left = disk.copy();
    left.remove("segment-0000000000000001").unwrap();
    left.set_content("segment-0000000000000002", b"anything");
    let (found, mut journal) = open(&left, &options).unwrap();
    assert_eq!(batches(&found.records), [3, 4]);
    while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    assert_eq!(segments(&left), [3, 4]);
}

/// Commits so many batches, each of which fills a segment.
fn fill(journal: &mut Journal<MemoryDisk>, oracle: &mut Oracle, segments: u64) {
    for _ in 0..segments {
        oracle.run(journal, &[Commit(1, 700)], 1).unwrap();
        while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    }
}

#[test]
fn segments_let_go_in_bulk_are_used_again_and_no_zeros_are_written() {
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    let mut most = 0;
    for round in 0..6 {
        disk.take_cost();
        fill(&mut journal, &mut oracle, 10);
        let written = disk.take_cost().bytes;
        // A head, and a batch of 700 bytes; a segment of zeros would be another 1024.
        assert!(round < 2 || written <= 10 * (128 + 832), "round {round}: {written} bytes");
        most = most.max(disk.files().len());
        assert!(most <= 14, "what waits takes the place of what is needed: {:?}", disk.files());
        oracle.run(&mut journal, &[KeepLast(2)], 1).unwrap();
        let (found, _) = read(&disk.after_power_loss(|| false), &options).unwrap();
        oracle.check(&found, &format!("round {round}"));
    }
    // What waits outlives a restart, and is used for the segment that this begins too.
    fill(&mut journal, &mut oracle, 1);
    drop(journal);
    disk.take_cost();
    let (found, mut journal) = open(&disk, &options).unwrap();
    oracle.check(&found, "restart");
    fill(&mut journal, &mut oracle, 5);
    let written = disk.take_cost().bytes;
    assert!(written <= 6 * (128 + 832), "{written} bytes");
    // Less use, less that waits.
    for _ in 0..20 {
        oracle.run(&mut journal, &[KeepLast(1)], 1).unwrap();
        fill(&mut journal, &mut oracle, 1);
    }
    assert!(segments(&disk).len() <= 4, "{:?}", segments(&disk));
    let (found, _) = read(&disk, &options).unwrap();
    oracle.check(&found, "the end");
}

#[test]
fn a_batch_larger_than_a_segment_gets_a_larger_segment() {
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    let script = [Commit(1, 10), Prepare, Prepare, Commit(2, 3000), Seal, Commit(1, 10), Commit(1, 10_000)];
    oracle.run(&mut journal, &script, 1).unwrap();
    assert_eq!(segments(&disk), [1, 2, 3, 4]);
    assert_eq!(disk.content("segment-0000000000000003").len(), 1024, "the one after it has the usual size");
    let (found, _) = open(&disk.after_power_loss(|| false), &options).unwrap();
    assert_eq!(found.records, oracle.acknowledged);
}

#[test]
fn a_batch_of_many_parts_keeps_its_order() {
    // More parts than one write takes.
    let disk = MemoryDisk::new();
    let options = options(64 << 10, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    for (records, bytes) in [(1000, 31), (64, 7), (43, 3), (1, 0), (300, 2)] {
        oracle.commit(&mut journal, records, bytes, 1).unwrap();
    }
    let (found, _) = read(&disk.after_power_loss(|| false), &options).unwrap();
    assert_eq!(found.records, oracle.acknowledged);
}

#[test]
fn a_long_head_is_kept() {
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let recovery = synod_journal::Recovery::read(disk.clone(), options.clone(), |_| Ok(())).unwrap();
    let long = vec![7; 5000];
    let mut journal = recovery.start(&long).unwrap();
    journal.append(b"record", []);
    journal.commit(|| &long).unwrap();
    let recovery = synod_journal::Recovery::read(disk, options, |_| Ok(())).unwrap();
    assert_eq!(recovery.summary().last_head.as_deref(), Some(&long[..]));
    assert_eq!(recovery.summary().batches, 1);
}

#[test]
fn a_seal_is_written_once() {
    let disk = MemoryDisk::new();
    let (_, mut journal) = open(&disk, &options(1024, 64)).unwrap();
    let idle = disk.operations();
    journal.seal().unwrap();
    assert_eq!(disk.operations(), idle, "the head seals an empty segment");
    journal.append(b"record", []);
    journal.commit(|| blob(0)).unwrap();
    let before = disk.operations();
    for _ in 0..3 {
        journal.seal().unwrap();
    }
    assert_eq!(disk.operations(), before + 2, "one write, one sync");
}

#[test]
fn a_commit_is_one_write_and_one_sync() {
    let disk = MemoryDisk::new();
    let (_, mut journal) = open(&disk, &options(64 << 10, 64)).unwrap();
    let mut oracle = Oracle::default();
    for _ in 0..5 {
        let before = disk.operations();
        oracle.commit(&mut journal, 20, 100, 1).unwrap();
        assert_eq!(disk.operations(), before + 2);
    }
    let before = disk.operations();
    assert_eq!(journal.commit(|| blob(5)).unwrap(), 5);
    assert_eq!(disk.operations(), before, "nothing staged, nothing done");
}
