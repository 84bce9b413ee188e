//! Agreement under random faults: the roles that ship, on a network that loses, repeats, delays and cuts, with crashes.
//!
//! One seed, one run, in virtual time. After every event the durable acceptor states are checked: at most one value is chosen for a slot
//! (I1), learners apply chosen slots in order with equal hash chains (I5, I6), promises never fall (I3). Then the faults end and a
//! command must be chosen within ten election timeouts (I15), and learners and acceptors must make up for what they missed.
//! `SYNOD_AGREEMENT_SEED` replays one seed, `SYNOD_AGREEMENT_SEEDS` sets how many run.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use std::collections::BTreeMap;

use synod_protocol::Slot;

use world::World;

/// Virtual time with faults.
const FAULTY_MS: u64 = 20_000;

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed);
    world.run_until(FAULTY_MS, |_| false);
    world.loss = 0;
    world.cut.clear();
    let before = world.chosen.last_key_value().map_or(Slot::ZERO, |(slot, _)| *slot);
    let patience_ms = 10 * world.tuning.election_timeout_ms;
    let end_ms = world.now_ms + patience_ms;
    let resumed = world.run_until(end_ms, |world| world.chosen.len() as u64 > before.0);
    assert!(resumed, "I15: nothing new was chosen within {patience_ms} ms after the faults ended");
    // A chunk may carry one slot in this test; catching up and healing ask for one chunk at a time.
    let end_ms = end_ms + 40 * patience_ms;
    let applied = world.run_until(end_ms, |world| {
        world.learners.values().all(|learner| learner.machine().applied() > before)
    });
    let stand: Vec<_> = world.learners.values().map(|learner| learner.machine().applied()).collect();
    assert!(applied, "learners have applied {stand:?}, not beyond {before}, long after the faults ended");
    let healed = world.run_until(end_ms, |world| {
        world.acceptors.values().all(|(acceptor, _)| acceptor.durable().head().held >= before)
    });
    let held: Vec<_> = world.acceptors.values().map(|(acceptor, _)| acceptor.durable().head().held).collect();
    assert!(healed, "acceptors hold {held:?} of {before} slots long after the faults ended");
    let chosen = world.chosen.len() as u64;
    *world.counts.entry("slots chosen").or_default() += chosen;
    *world.counts.entry("noops chosen").or_default() +=
        world.chosen.values().filter(|value| value.is_noop()).count() as u64;
    world.counts
}

#[test]
fn s1_to_s6_one_value_is_chosen_for_a_slot_under_random_faults() {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().expect(name));
    let seeds = match number("SYNOD_AGREEMENT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("SYNOD_AGREEMENT_SEEDS").unwrap_or(40),
    };
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds.clone() {
        println!("seed {seed} (replay: SYNOD_AGREEMENT_SEED={seed})");
        for (what, count) in run(seed) {
            *totals.entry(what).or_default() += count;
        }
    }
    println!("{totals:?}");
    if seeds.end - seeds.start > 10 {
        for rare in [
            "lost",
            "repeated",
            "acceptor restarted",
            "proposer restarted",
            "learner restarted",
            "noops chosen",
        ] {
            assert!(totals.contains_key(rare), "no run has seen: {rare}");
        }
    }
}
