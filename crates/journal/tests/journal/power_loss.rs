//! Power loss at every operation of a script, with many subsets of what was in flight, and again inside the recovery.

use synod_journal::Options;

use crate::oracle::{Chance, Oracle, Step, open, options, read};
use synod_journal::memory::{Fault, MemoryDisk};

use Step::{Commit, KeepLast, Prepare, Seal};

/// Appends, a batch of several blocks, seals, moves with and without a prepared spare, a batch larger than a segment.
const SCRIPT: &[Step] = &[
    Commit(1, 20),
    Commit(3, 50),
    Seal,
    Seal,
    Commit(1, 200),
    Prepare,
    Commit(2, 60),
    Prepare,
    Prepare,
    Commit(2, 90),
    Commit(1, 150),
    Commit(2, 1),
    Commit(1, 1500),
    Seal,
    Commit(1, 300),
    Commit(1, 0),
];

/// Segments are dropped and recycled.
const RECYCLING: &[Step] = &[
    Commit(1, 300),
    Commit(1, 300),
    Commit(1, 300),
    KeepLast(1),
    Commit(1, 300),
    Prepare,
    Prepare,
    Prepare,
    Commit(1, 300),
    Commit(1, 200),
    KeepLast(2),
    Commit(1, 300),
    Prepare,
    Commit(1, 40),
    Commit(1, 40),
    Seal,
];

/// Which pieces in flight survive: everything when they are few, otherwise none, all, prefixes, single ones, and
/// chance.
fn survivals(pieces: usize, chance: &mut Chance, most: usize) -> Vec<Vec<bool>> {
    if pieces <= 4 {
        let bits = |mask: usize| (0..pieces).map(|piece| mask >> piece & 1 == 1).collect();
        return (0..1 << pieces).map(bits).collect();
    }
    let step = pieces.div_ceil(most);
    let mut sets = vec![vec![false; pieces], vec![true; pieces]];
    for edge in (0..pieces).step_by(step) {
        sets.push((0..pieces).map(|piece| piece < edge).collect());
        sets.push((0..pieces).map(|piece| piece >= edge).collect());
        sets.push((0..pieces).map(|piece| piece != edge).collect());
        sets.push((0..pieces).map(|_| chance.below(2) == 0).collect());
        sets.push((0..pieces).map(|_| chance.below(8) != 0).collect());
    }
    sets
}

fn crashed(disk: &MemoryDisk, survivors: &[bool]) -> MemoryDisk {
    let mut survivors = survivors.iter();
    disk.after_power_loss(|| *survivors.next().expect("one answer for each piece"))
}

/// Runs the script and cuts the power at operation `after`; `None` when it ends before.
fn cut_power(options: &Options, script: &[Step], after: u64) -> Option<(MemoryDisk, Oracle)> {
    let disk = MemoryDisk::new();
    let mut oracle = Oracle::default();
    disk.plant(after, Fault::PowerLoss);
    let done = open(&disk, options).and_then(|(_, mut journal)| oracle.run(&mut journal, script, 1));
    done.is_err().then_some((disk, oracle))
}

fn every_power_loss(options: &Options, script: &[Step]) {
    let mut chance = Chance(7);
    let (mut states, mut cuts, mut rewrites) = (0, 0, 0);
    for after in 0.. {
        let Some((disk, oracle)) = cut_power(options, script, after) else { break };
        for survivors in survivors_of(&disk, &mut chance, 24) {
            let context = format!("power lost at operation {after}, kept {survivors:?}");
            let left = crashed(&disk, &survivors);
            let (found, _) = read(&left, options).unwrap_or_else(|error| panic!("{context}: {error}"));
            oracle.check(&found, &context);
            states += 1;
            cuts += u64::from(found.summary.cut.is_some());
            rewrites += u64::from(found.summary.rewritten);
            recovery_itself_loses_power(options, &left, &oracle, &mut chance, &context);
            goes_on(options, &left, &oracle, &context);
        }
    }
    println!(
        "{states} states after power loss: {cuts} with a torn tail, {rewrites} with a batch written again"
    );
    assert!(states > 500 && cuts > 20 && rewrites > 20, "{states} states, {cuts} cuts, {rewrites} rewrites");
}

fn survivors_of(disk: &MemoryDisk, chance: &mut Chance, most: usize) -> Vec<Vec<bool>> {
    survivals(disk.in_flight(), chance, most)
}

/// I16: recovery, cut short at any of its own operations, leaves what another recovery finds the same.
fn recovery_itself_loses_power(
    options: &Options,
    left: &MemoryDisk,
    oracle: &Oracle,
    chance: &mut Chance,
    context: &str,
) {
    for after in 0.. {
        let disk = left.copy();
        disk.plant(after, Fault::PowerLoss);
        let first = open(&disk, options).map(|(found, _)| found);
        for survivors in survivors_of(&disk, chance, 2) {
            let context = format!("{context}; again at operation {after} of recovery, kept {survivors:?}");
            let again = crashed(&disk, &survivors);
            let (found, _) = read(&again, options).unwrap_or_else(|error| panic!("{context}: {error}"));
            oracle.check(&found, &context);
            if let Ok(first) = &first {
                assert_eq!(
                    found.records, first.records,
                    "{context}: what a finished recovery told is durable"
                );
            }
        }
        if first.is_ok() {
            break;
        }
    }
}

/// After recovery the journal takes batches, and loses none of them at the next power loss.
fn goes_on(options: &Options, left: &MemoryDisk, oracle: &Oracle, context: &str) {
    let disk = left.copy();
    let mut oracle = oracle.clone();
    for life in 2..4 {
        let context = format!("{context}; life {life}");
        let (found, mut journal) = open(&disk, options).unwrap_or_else(|error| panic!("{context}: {error}"));
        oracle.check(&found, &context);
        oracle.adopt(&found);
        for records in 1..3 {
            oracle.commit(&mut journal, records, 60, life).unwrap();
        }
        let (found, _) = read(&disk.after_power_loss(|| false), options).unwrap();
        oracle.check(&found, &context);
    }
}

#[test]
fn power_loss_at_every_operation() {
    every_power_loss(&options(1024, 64), SCRIPT);
}

#[test]
fn power_loss_at_every_operation_with_large_blocks() {
    every_power_loss(&options(2048, 256), SCRIPT);
}

#[test]
fn power_loss_at_every_operation_while_segments_are_recycled() {
    every_power_loss(&options(1024, 64), RECYCLING);
}

#[test]
fn a_killed_process_loses_nothing_it_wrote() {
    // Without a power loss everything written stays, synced or not.
    for after in 0.. {
        let Some((disk, oracle)) = cut_power(&options(1024, 64), SCRIPT, after) else { break };
        let left = disk.after_power_loss(|| true);
        goes_on(&options(1024, 64), &left, &oracle, &format!("killed at operation {after}"));
    }
}

#[test]
fn recovery_twice_is_the_same() {
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    Oracle::default().run(&mut journal, SCRIPT, 1).unwrap();
    let (first, _) = open(&disk, &options).unwrap();
    assert!(first.summary.rewritten);
    let (second, _) = open(&disk, &options).unwrap();
    assert_eq!(first.records, second.records);
    assert!(!second.summary.rewritten, "the rewritten batch is sealed by the head before it");
    let operations = disk.operations();
    let (third, _) = open(&disk, &options).unwrap();
    assert_eq!(
        (third, disk.operations()),
        (second, operations + 1),
        "a sealed, clean end only syncs the directory"
    );
}
