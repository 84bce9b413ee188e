//! Segments older than the one that takes appends: those still needed, and those that wait to be used again.
//!
//! A segment that is no longer needed keeps its name until its file becomes the spare, or is removed: recovery looks at
//! nothing below the oldest segment needed, so whatever a crash leaves of them is the same to it. How many wait is what
//! the journal expects to begin before segments are let go the next time. Whoever needs votes lets them go in bulk, and
//! these segments are what the next ones are made of, without a zero being written. Absent on purpose: the disk.

use std::collections::VecDeque;

use crate::format::Head;

/// Times at which segments were let go, by whose intervals it is judged how many to keep.
const TIMES: usize = 8;

/// A segment older than the one that takes appends.
#[derive(Debug)]
struct Kept {
    segment: u64,
    first_batch: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Older {
    /// Oldest first.
    kept: VecDeque<Kept>,
    /// Segments begun since others were last let go.
    begun: u64,
    /// Segments begun in each of the last intervals between two such times; empty before the first one.
    intervals: VecDeque<u64>,
}

impl Older {
    /// A segment that was read, or used up.
    pub(crate) fn push(&mut self, head: &Head) {
        self.kept.push_back(Kept { segment: head.segment, first_batch: head.first_batch });
    }

    /// A segment that a synced head declared unneeded, and whose content nobody has looked at. An earlier process kept it
    /// for a reason.
    pub(crate) fn push_unneeded(&mut self, segment: u64) {
        self.kept.push_back(Kept { segment, first_batch: 0 });
        self.intervals = [self.kept.len() as u64; TIMES].into();
    }

    /// A segment follows this one; its head calls those before `oldest` unneeded.
    pub(crate) fn moved_on(&mut self, from: &Head, oldest: u64) {
        self.push(from);
        self.begun += 1;
        if oldest > from.oldest_segment {
            let begun = std::mem::take(&mut self.begun);
            self.intervals.truncate(TIMES - 1);
            self.intervals.push_front(begun);
            // The first one stands for those before it.
            self.intervals.resize(TIMES, begun);
        }
    }

    /// How many segments will be used before others are let go: what began in the second busiest of the last intervals.
    /// One alone, when segments were needed for unusually long, counts for nothing.
    pub(crate) fn expected(&self) -> u64 {
        let mut intervals: Vec<u64> = self.intervals.iter().copied().collect();
        intervals.sort_unstable();
        intervals.iter().rev().nth(1).copied().unwrap_or(0)
    }

    /// How many are older than this one.
    pub(crate) fn before(&self, oldest: u64) -> u64 {
        self.kept.partition_point(|kept| kept.segment < oldest) as u64
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<u64> {
        self.kept.pop_front().map(|kept| kept.segment)
    }

    /// Each segment with the first batch in it.
    pub(crate) fn first_batches(&self) -> impl Iterator<Item = (u64, u64)> {
        self.kept.iter().map(|kept| (kept.segment, kept.first_batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets go segments after each of these numbers of segments.
    fn expected_after(intervals: &[u64]) -> u64 {
        let mut head = Head {
            block_bytes: 64,
            segment: 1,
            prepared_bytes: 1024,
            first_batch: 1,
            sealed_through: 0,
            oldest_segment: 1,
            recycled: false,
            blob_bytes: 0,
            checksum: 0,
        };
        let mut older = Older::default();
        for interval in intervals {
            for begun in 1..=*interval {
                let oldest = if begun == *interval { head.segment } else { head.oldest_segment };
                older.moved_on(&head, oldest);
                (head.segment, head.oldest_segment) = (head.segment + 1, oldest);
            }
        }
        older.expected()
    }

    #[test]
    fn as_many_wait_as_usually_begin_before_segments_are_let_go() {
        assert_eq!(expected_after(&[]), 0, "nothing was let go");
        assert_eq!(expected_after(&[16]), 16);
        assert_eq!(expected_after(&[16, 1, 1, 16, 1, 1]), 16, "let go in steps");
        assert_eq!(expected_after(&[16, 16, 900]), 16, "an unusual one is no measure");
        assert_eq!(expected_after(&[16, 16, 900, 3, 3, 3, 3, 3, 3, 3]), 3, "it falls with use");
        assert_eq!(expected_after(&[3, 3, 20, 20]), 20, "and rises with it");
    }
}
