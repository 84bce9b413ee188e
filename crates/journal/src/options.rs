//! How a journal lays out its files. Read once, at open; segments that exist keep the layout they were written with.

use crate::Error;

/// Sizes, all in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment. A batch that needs more gets a larger segment of its own, prepared when it comes.
    pub segment_bytes: u64,
    /// Heads, batches and seals start at multiples of this: a power of two from 64 to 4096. With 4096, the page of
    /// the operating system, no synced byte is ever written again; less saves space and trusts the device to write
    /// its sectors whole.
    pub block_bytes: u64,
    /// How much of the next segment one [`crate::Journal::prepare_step`] writes and syncs.
    pub prepare_step_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, block_bytes: 4096, prepare_step_bytes: 1 << 20 }
    }
}

impl Options {
    pub(crate) const BLOCKS: std::ops::RangeInclusive<u64> = 64..=4096;

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: &str| Err(Error::Options { what: what.to_owned() });
        if !self.block_bytes.is_power_of_two() || !Options::BLOCKS.contains(&self.block_bytes) {
            return refuse("block_bytes must be a power of two from 64 to 4096");
        }
        if !self.segment_bytes.is_multiple_of(self.block_bytes) || self.segment_bytes < 4 * self.block_bytes {
            return refuse("segment_bytes must be a multiple of block_bytes, at least four of them");
        }
        if self.prepare_step_bytes == 0 {
            return refuse("prepare_step_bytes must not be zero");
        }
        Ok(())
    }
}
