//! Failing operations and full disks at every place of a script.

use synod_journal::memory::{Fault, MemoryDisk, Operation};
use synod_journal::{Error, Journal, Options};

use super::goes_on;
use super::oracle::{Oracle, Step, blob, open, read};

use Step::{Commit, Prepare, Seal};

pub(crate) const SCRIPT: &[Step] = &[
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

/// S3: each operation of a script fails once. That ends the journal, and a restart trusts nothing that it left.
pub(crate) fn every_failure(options: &Options, script: &[Step]) {
    for after in 0.. {
        let context = format!("failure at operation {after}");
        let disk = MemoryDisk::new();
        disk.plant(after, Fault::Fails);
        let mut oracle = Oracle::default();
        let failed = match open(&disk, options) {
            Err(_) => true,
            Ok((_, mut journal)) => {
                let outcome = oracle.run(&mut journal, script, 1);
                if disk.planted() > 0 {
                    assert!(after > 20, "{after} operations");
                    break;
                }
                if let Err(error) = &outcome {
                    assert_poisoned(&disk, &mut journal, error);
                }
                outcome.is_err()
            }
        };
        let (left, _) = read(&disk.after_power_loss(|| false), options)
            .unwrap_or_else(|error| panic!("{context}: acknowledged, then {error}"));
        oracle.check(&left, &context);
        assert!(failed, "{context}: nobody was told");
        disk.kill();
        goes_on(options, &disk, &oracle, &context);
    }
}

fn assert_poisoned(disk: &MemoryDisk, journal: &mut Journal<MemoryDisk>, error: &Error) {
    let Error::Io { .. } = error else { panic!("{error}") };
    let operations = disk.operations();
    journal.append(b"more", []);
    let answers = [journal.commit(|| blob(0)).err(), journal.seal().err(), journal.prepare_step().err()];
    for answer in answers {
        let answer = answer.unwrap_or_else(|| panic!("it went on after: {error}"));
        assert_eq!(answer.to_string(), error.to_string());
    }
    assert_eq!(disk.operations(), operations, "nothing is tried again");
}

/// A disk that can't be read, or fails for good, is told as such, and not taken for a damaged or shorter journal.
pub(crate) fn every_failure_at_a_restart(options: &Options, script: &[Step]) {
    let disk = MemoryDisk::new();
    let (_, mut journal) = open(&disk, options).unwrap();
    let mut oracle = Oracle::default();
    oracle.run(&mut journal, script, 1).unwrap();
    for (on, fault) in
        [Operation::Read, Operation::Write, Operation::Sync, Operation::Name, Operation::SyncDirectory]
            .into_iter()
            .flat_map(|on| [(on, Fault::Fails), (on, Fault::FailsForEver)])
    {
        for after in 0.. {
            let context = format!("{fault:?} on {on:?} {after} of a restart");
            let disk = disk.copy();
            disk.plant_on(on, after, fault);
            let outcome = open(&disk, options);
            let Err(error) = outcome else {
                assert!(after > 0, "{context} went unnoticed");
                break;
            };
            assert!(matches!(error, Error::Io { .. }), "{context}: {error}");
            disk.clear_faults();
            let (found, _) = open(&disk, options).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(found.records, oracle.acknowledged, "{context}");
        }
    }
}

/// A disk that is full at every size refuses what doesn't fit, keeps what it acknowledged, and goes on with the same
/// commit when there is room.
pub(crate) fn every_capacity(options: &Options, script: &[Step]) {
    let mut refused = 0;
    for capacity in (0..).step_by(100) {
        let context = format!("{capacity} bytes of disk");
        let disk = MemoryDisk::new();
        disk.limit(Some(capacity));
        let mut oracle = Oracle::default();
        match open(&disk, options) {
            Err(error) => assert!(error.is_no_space(), "{context}: {error}"),
            Ok((_, mut journal)) => {
                let Err(error) = oracle.run(&mut journal, script, 1) else { break };
                assert!(error.is_no_space(), "{context}: {error}");
                let staged = journal.staged_bytes() > 0;
                let position = journal.position();
                // Room for a seal is always kept.
                journal.seal().unwrap_or_else(|error| panic!("{context}: {error}"));
                if position % 2 == 0 {
                    disk.limit(None);
                    let done = journal.commit(|| blob(position)).unwrap();
                    assert_eq!(done, position + u64::from(staged), "{context}");
                    oracle.acknowledged.append(&mut oracle.in_flight);
                } else {
                    oracle.in_flight.clear();
                }
            }
        }
        refused += 1;
        let (left, _) = read(&disk.after_power_loss(|| false), options)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(left.records, oracle.acknowledged, "{context}");
        disk.limit(None);
        disk.kill();
        goes_on(options, &disk, &oracle, &context);
    }
    assert!(refused > 20, "{refused} sizes that were too small");
}
