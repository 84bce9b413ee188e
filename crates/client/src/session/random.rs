//! Jitter from a seed: the same seed gives the same delays, so that a run can be replayed.

use std::time::Duration;

/// SplitMix64 (Steele et al., 2014).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A duration from `least` to `most`.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + Duration::from_micros(self.below(most.saturating_sub(least).as_micros() as u64 + 1))
    }

    /// `delay`, between three quarters and five quarters of it.
    pub(crate) fn around(&mut self, delay: Duration) -> Duration {
        self.between(delay * 3 / 4, delay * 5 / 4)
    }
}
