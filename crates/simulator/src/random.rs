//! Where every choice of a run comes from: one seed, split into streams that don't disturb each other.
//!
//! Each part of the world (the plan, the network, the nodes, the workload) draws from its own stream, so that leaving a fault out while a
//! failure is made smaller changes as little as it can. The generator is ChaCha8, whose output is the same everywhere and for ever: a seed in
//! a regression test keeps its meaning.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A stream of choices.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream called `stream` of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Random(random)
    }

    /// A number of 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// A number from `least` to `most`, both included; `least` when there is nothing between.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        if most <= least { least } else { self.0.random_range(least..=most) }
    }

    /// A number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// True in `per_mille` of 1,000 cases.
    pub(crate) fn happens(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.0.random_range(0..1000) < per_mille
    }

    /// A number from `least` to `most`, the smaller the likelier: evenly over its orders of magnitude.
    pub(crate) fn magnitude(&mut self, least: u64, most: u64) -> u64 {
        let (least, most) = (least.max(1), most.max(1));
        let octaves = u64::from(most.ilog2() - least.ilog2());
        let top = (least << self.between(0, octaves)).min(most);
        self.between(top, (top * 2).min(most))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Puts them in a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
