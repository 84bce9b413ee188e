//! Random lives of a journal: scripts, crashes, failures, full disks, restarts, and damage at the end.

use synod_journal::Options;
use synod_journal::memory::{Fault, MemoryDisk};

use super::oracle::{Chance, Oracle, Recovered, Step, open, read};

fn random_options(chance: &mut Chance) -> Options {
    let block_bytes = 64 << chance.below(3);
    let segment_bytes = block_bytes * (4 + chance.below(20));
    Options { segment_bytes, block_bytes, prepare_step_bytes: 1 + chance.below(segment_bytes) }
}

fn random_step(chance: &mut Chance, options: &Options) -> Step {
    match chance.below(10) {
        0 => Step::Seal,
        1..3 => Step::Prepare,
        3 => Step::KeepLast(1 + chance.below(6)),
        4 => Step::Commit(1, chance.below(2 * options.segment_bytes) as usize),
        _ => Step::Commit(1 + chance.below(4) as usize, chance.below(120) as usize),
    }
}

/// One of them; panics with its seed.
pub(crate) fn live(seed: u64) {
    let mut chance = Chance(seed);
    let mut options = random_options(&mut chance);
    let disk = MemoryDisk::new();
    let mut oracle = Oracle::default();
    for life in 1..2 + chance.below(6) {
        let context = format!("seed {seed}, life {life}");
        if chance.below(4) == 0 {
            options = random_options(&mut chance);
        }
        let fault = if chance.below(4) == 0 { Fault::Fails } else { Fault::PowerLoss };
        disk.plant(chance.below(60), fault);
        disk.limit((chance.below(4) == 0).then(|| chance.below(8 * options.segment_bytes)));
        let opened = open(&disk, &options);
        if let Ok((found, mut journal)) = opened {
            oracle.check(&found, &context);
            oracle.adopt(&found);
            let script: Vec<Step> =
                (0..1 + chance.below(30)).map(|_| random_step(&mut chance, &options)).collect();
            let _ = oracle.run(&mut journal, &script, life);
        }
        disk.clear_faults();
        disk.limit(None);
        // A power loss that keeps some of what was in flight, or a restart on the running machine.
        let kept_of_8 = chance.below(9);
        if chance.below(2) == 0 {
            disk.power_loss(|| chance.below(8) < kept_of_8);
        } else {
            disk.kill();
        }
    }
    let (found, _) = read(&disk, &options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    oracle.check(&found, &format!("seed {seed}, the end"));
    damage(&disk, &options, &found, &mut chance, seed);
}

/// I12: recovered exactly, refused, or without the last batch if that was not sealed.
fn damage(disk: &MemoryDisk, options: &Options, sound: &Recovered, chance: &mut Chance, seed: u64) {
    for _ in 0..20 {
        let segments: Vec<String> =
            disk.files().into_iter().filter(|name| name.starts_with("segment-")).collect();
        if segments.is_empty() {
            return;
        }
        let name = &segments[chance.below(segments.len() as u64) as usize];
        let bit = chance.below(disk.content(name).len() as u64 * 8);
        let damaged = disk.copy();
        damaged.flip_bit(name, bit);
        if let Ok((found, _)) = read(&damaged, options)
            && found.records != sound.records
        {
            let last = sound.summary.batches;
            let shorter: Vec<_> = sound.records.iter().filter(|(batch, _)| *batch < last).cloned().collect();
            assert!(sound.summary.rewritten, "seed {seed}: bit {bit} of {name} lost something sealed");
            assert_eq!(found.records, shorter, "seed {seed}: bit {bit} of {name}");
        }
    }
}
