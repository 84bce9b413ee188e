//! Failing and full disks. S3: one failure ends the journal; what it left in memory only is never taken for durable.

use synod_journal::{Error, Journal, Preparation, Recovery};

use crate::oracle::{Oracle, Step, blob, open, options, read};
use synod_journal::memory::{Fault, MemoryDisk};

use Step::{Commit, Prepare, Seal};

const SCRIPT: &[Step] = &[
    Commit(1, 20),
    Seal,
    Commit(3, 50),
    Commit(1, 200),
    Prepare,
    Prepare,
    Commit(2, 60),
    Commit(1, 300),
    Commit(1, 250),
    Commit(1, 300),
    Seal,
    Commit(1, 100),
];

#[test]
fn s3_a_failure_ends_the_journal_and_a_restart_trusts_nothing_it_left() {
    let options = options(1024, 64);
    let mut failures = 0;
    for after in 0.. {
        let disk = MemoryDisk::new();
        let (_, mut journal) = open(&disk, &options).unwrap();
        disk.plant(after, Fault::Fails);
        let mut oracle = Oracle::default();
        let Err(error) = oracle.run(&mut journal, SCRIPT, 1) else { break };
        failures += 1;
        assert_poisoned(&disk, &mut journal, &error);
        // The process starts again on the running machine and sees what its predecessor wrote, synced or not. What it
        // then tells must outlive a power loss that keeps only what was synced.
        let context = format!("failure at operation {after}");
        for life in 2..5 {
            let (found, mut journal) =
                open(&disk, &options).unwrap_or_else(|error| panic!("{context}: {error}"));
            oracle.check(&found, &context);
            oracle.adopt(&found);
            let (after_loss, _) = read(&disk.after_power_loss(|| false), &options).unwrap();
            assert_eq!(after_loss.records, found.records, "{context}: told after a restart, and lost");
            oracle.commit(&mut journal, 1, 40, life).unwrap();
            let (after_loss, _) = read(&disk.after_power_loss(|| false), &options)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(
                after_loss.records, oracle.acknowledged,
                "{context}: acknowledged after a restart, and lost"
            );
        }
    }
    assert!(failures > 20, "{failures} failures");
}

fn assert_poisoned(disk: &MemoryDisk, journal: &mut Journal<MemoryDisk>, error: &Error) {
    let Error::Io { .. } = error else { panic!("{error}") };
    let operations = disk.operations();
    journal.append(b"more", []);
    let answers = [
        journal.commit(|| blob(0)).unwrap_err(),
        journal.seal().unwrap_err(),
        journal.prepare_step().unwrap_err(),
    ];
    for answer in answers {
        assert_eq!(answer.to_string(), error.to_string());
    }
    assert_eq!(disk.operations(), operations, "nothing is tried again");
}

#[test]
fn a_failed_start_changes_nothing() {
    let options = options(1024, 64);
    let disk = MemoryDisk::new();
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    oracle.run(&mut journal, SCRIPT, 1).unwrap();
    for after in 0.. {
        let disk = disk.copy();
        disk.plant(after, Fault::Fails);
        let failed = open(&disk, &options).is_err();
        disk.clear_faults();
        let (found, _) = open(&disk, &options).unwrap();
        oracle.check(&found, &format!("start failed at operation {after}"));
        assert_eq!(found.records, oracle.acknowledged);
        if !failed {
            break;
        }
    }
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
