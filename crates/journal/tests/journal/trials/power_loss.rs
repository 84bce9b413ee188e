//! Power loss and kills at every operation of a script, with many subsets of what was in flight, and again inside the
//! recovery.

use synod_journal::Options;
use synod_journal::memory::{Fault, MemoryDisk};

use super::goes_on;
use super::oracle::{Chance, Oracle, Step, open, read};

use Step::{Commit, KeepLast, Prepare, Seal};

/// Appends, a batch of several blocks, seals, moves with and without a prepared spare, a batch larger than a segment.
pub(crate) const SCRIPT: &[Step] = &[
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
pub(crate) const RECYCLING: &[Step] = &[
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

/// Segments are dropped in bulk, and wait to be used again.
pub(crate) const BULK: &[Step] = &[
    Commit(1, 700),
    Commit(1, 700),
    Commit(1, 700),
    Commit(1, 700),
    KeepLast(1),
    Commit(1, 700),
    Prepare,
    Commit(1, 700),
    Prepare,
    Commit(1, 40),
];

/// Which pieces in flight survive: everything when they are few, otherwise none, all, prefixes, single ones, and
/// chance.
fn survivals(disk: &MemoryDisk, chance: &mut Chance, most: usize) -> Vec<Vec<bool>> {
    let pieces = disk.in_flight();
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
    disk.plant(after, Fault::PowerLoss);
    let (oracle, done) = run(&disk, options, script, (&Oracle::default(), 1));
    (!done).then_some((disk, oracle))
}

/// Runs the script as this life of the journal; whether it came to its end.
fn run(
    disk: &MemoryDisk,
    options: &Options,
    script: &[Step],
    (before, life): (&Oracle, u64),
) -> (Oracle, bool) {
    let mut oracle = before.clone();
    let done = open(disk, options).and_then(|(found, mut journal)| {
        oracle.adopt(&found);
        oracle.run(&mut journal, script, life)
    });
    (oracle, done.is_ok())
}

/// I16: after a power loss at every operation of a script that keeps all that was in flight, or none of it, another at every operation of the
/// next life: what the one left to the other, files that are half something else among it, confuses nobody.
pub(crate) fn every_power_loss_twice(options: &Options, script: &[Step]) {
    let mut chance = Chance(9);
    let mut states = 0;
    let firsts = (0..).map_while(|after| Some((after, cut_power(options, script, after)?)));
    for (first, (disk, oracle)) in firsts {
        for kept in [false, true] {
            let left = disk.after_power_loss(|| kept);
            for second in 0.. {
                let disk = left.copy();
                disk.plant(second, Fault::PowerLoss);
                let (oracle, done) = run(&disk, options, script, (&oracle, 2));
                if done {
                    break;
                }
                for survivors in survivals(&disk, &mut chance, 1) {
                    let context = format!(
                        "power lost at {first}, all kept: {kept}, and at {second}, kept {survivors:?}"
                    );
                    let again = crashed(&disk, &survivors);
                    let (found, _) =
                        read(&again, options).unwrap_or_else(|error| panic!("{context}: {error}"));
                    oracle.check(&found, &context);
                    states += 1;
                }
            }
        }
    }
    println!("{states} states after two losses of power");
    assert!(states > 2_000, "{states} states");
}

/// S2, I16: power loss at every operation of a script, and at every operation of each recovery from it.
pub(crate) fn every_power_loss(options: &Options, script: &[Step]) {
    let mut chance = Chance(7);
    let (mut states, mut cuts, mut rewrites) = (0, 0, 0);
    for after in 0.. {
        let Some((disk, oracle)) = cut_power(options, script, after) else { break };
        for survivors in survivals(&disk, &mut chance, 24) {
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

/// I16: recovery, cut short at any of its own operations, leaves what another recovery finds the same; and that one, cut
/// short in turn, a third.
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
        for survivors in survivals(&disk, chance, 2) {
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
        let kept_of_8 = chance.below(9);
        let again = disk.after_power_loss(|| chance.below(8) < kept_of_8);
        again.plant(chance.below(after + 2), Fault::PowerLoss);
        let _ = open(&again, options);
        let third = again.after_power_loss(|| chance.below(8) < kept_of_8);
        let context = format!("{context}; again at operation {after} of recovery, and once more");
        let (found, _) = read(&third, options).unwrap_or_else(|error| panic!("{context}: {error}"));
        oracle.check(&found, &context);
    }
}

/// S3: a kill at every operation of a script; whoever comes after trusts nothing that may be in memory only.
pub(crate) fn every_kill(options: &Options, script: &[Step]) {
    for after in 0.. {
        let Some((disk, oracle)) = cut_power(options, script, after) else { break };
        disk.kill();
        goes_on(options, &disk, &oracle, &format!("killed at operation {after}"));
    }
}
