//! How quickly a learner fetches a state, and the log after it: clients can't wait, a learner that joins can.
//!
//! After each part it pauses, so that no more than `join_bytes_per_s` of a state come in a second, or half as much of the log, which has to be applied.
//! It doesn't pause while less came than the log's growth asks for, times [`OF_STATE`] or [`OF_LOG`]. So a join always ends. Of a state of C bytes: when it
//! has come, the log has grown by at most 2 C / 3, which is what is lacking; that shrinks by at least a third of what the log grows by, and so is
//! gone when that has grown by 2 C more. All of it is 8 C / 3, within what the state's giver pins ([`crate::giving`]). Quicker would be shorter, and take more of
//! what clients need of a machine that has no more. Absent on purpose: clocks; a pause is a
//! timer's delay, and the log's growth is what the leader streams, or tells that it doesn't.

use synod_protocol::tuning::Tuning;
use synod_protocol::{ProposerId, Slot, Value};

/// Bytes of a state for bytes of growth, at least: 3 for 2.
const OF_STATE: (u64, u64) = (3, 2);
/// Bytes of the log for bytes of growth, at least: 4 for 3.
const OF_LOG: (u64, u64) = (4, 3);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    /// Bytes that came for bytes of growth, at least.
    least: (u64, u64),
    /// Times a pause of the state's.
    slower: u64,
    /// Bytes that came.
    fetched: u64,
    /// Bytes by which the log has grown since the beginning.
    grown: u64,
    /// The last slot that was counted as growth, or was chosen before.
    counted: Slot,
    /// Whether the timer is to fire before more is asked for.
    pub(crate) is_pausing: bool,
}

impl Pace {
    /// Of a state, while the log reaches up to `known`.
    pub(crate) fn of_state(known: Slot) -> Pace {
        Pace { least: OF_STATE, slower: 1, fetched: 0, grown: 0, counted: known, is_pausing: false }
    }

    /// Of the log above a state.
    pub(crate) fn of_log(known: Slot) -> Pace {
        Pace { least: OF_LOG, slower: 2, ..Pace::of_state(known) }
    }

    /// The leader streams these.
    pub(crate) fn note_streamed(&mut self, first: Slot, values: &[Value]) {
        for (slot, value) in (first.0..).zip(values) {
            if slot > self.counted.0 {
                self.grown += value.len() as u64;
                self.counted = Slot(slot);
            }
        }
    }

    /// So many bytes more weren't streamed; they are of slots up to `prefix`.
    pub(crate) fn note_withheld(&mut self, bytes: u64, prefix: Slot) {
        if bytes > 0 {
            self.grown += bytes;
            self.counted = self.counted.max(prefix);
        }
    }

    /// A part of so many bytes came. Milliseconds to pause before the next is asked for; none if it should be asked for at once.
    pub(crate) fn pause_ms(&mut self, bytes: u64, tuning: &Tuning) -> Option<u64> {
        self.fetched += bytes;
        let (times, of) = self.least;
        let is_ahead = self.fetched.saturating_mul(of) >= self.grown.saturating_mul(times);
        // Whoever gives it mustn't take it that nobody asks any more.
        let most_ms = tuning.snapshot_keep_ms / 4;
        let pause_ms = (bytes.saturating_mul(1_000) / tuning.join_bytes_per_s).saturating_mul(self.slower);
        self.is_pausing = pause_ms > 0 && most_ms > 0 && is_ahead;
        self.is_pausing.then_some(pause_ms.min(most_ms))
    }
}

/// How much of the log a leader has said that it didn't stream: it counts from the subscription that asked for no values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Withheld {
    /// Who told how many bytes; absent if the last one streams everything.
    told: Option<(ProposerId, u64)>,
}

impl Withheld {
    /// `from` has withheld so many bytes; how many of them it hadn't told of.
    pub(crate) fn more(&mut self, from: ProposerId, bytes: u64) -> u64 {
        let before = self.told.filter(|(teller, _)| *teller == from).map_or(0, |(_, bytes)| bytes);
        self.told = (bytes > 0).then_some((from, bytes));
        // Fewer than before: it counts anew.
        bytes.checked_sub(before).unwrap_or(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<Value> {
        vec![Value::new(vec![7; 100].into()); count]
    }

    #[test]
    fn a_state_pauses_at_its_rate_while_it_comes_half_as_fast_again_as_the_log_grows() {
        let tuning = Tuning { join_bytes_per_s: 10_000, ..Tuning::default() };
        let mut pace = Pace::of_state(Slot(9));
        assert_eq!(pace.pause_ms(1_000, &tuning), Some(100));
        assert!(pace.is_pausing);
        // What was chosen before, and what is told again, is no growth.
        pace.note_streamed(Slot(5), &values(8));
        pace.note_streamed(Slot(8), &values(5));
        assert_eq!(pace.grown, 300);
        assert_eq!(pace.pause_ms(0, &tuning), None, "nothing came");
        pace.note_streamed(Slot(13), &values(3));
        pace.note_streamed(Slot(16), &values(2));
        assert_eq!(pace.pause_ms(190, &tuning), None, "1,190 for 800");
        assert_eq!(pace.pause_ms(10, &tuning), Some(1), "1,200 for 800");
        assert_eq!(pace.pause_ms(1_000_000, &tuning), Some(tuning.snapshot_keep_ms / 4));
    }

    #[test]
    fn the_log_pauses_twice_as_long_and_comes_a_third_faster_than_it_grows() {
        let tuning = Tuning { join_bytes_per_s: 10_000, ..Tuning::default() };
        let mut pace = Pace::of_log(Slot(0));
        pace.note_streamed(Slot(1), &values(12));
        assert_eq!(pace.pause_ms(1_590, &tuning), None);
        assert_eq!(pace.pause_ms(10, &tuning), Some(2));
        assert_eq!(pace.pause_ms(1_000, &tuning), Some(200));
    }

    #[test]
    fn what_is_withheld_is_growth_once() {
        let (mut withheld, mut pace) = (Withheld::default(), Pace::of_log(Slot(4)));
        let (p1, p2) = (ProposerId(1), ProposerId(2));
        for (from, bytes, prefix, grown) in [
            (p1, 0, 4, 0),
            (p1, 500, 9, 500),
            (p1, 500, 9, 500),
            (p1, 800, 12, 800),
            (p2, 50, 13, 850),
            (p2, 60, 14, 860),
            (p2, 7, 15, 867),
        ] {
            pace.note_withheld(withheld.more(from, bytes), Slot(prefix));
            assert_eq!(pace.grown, grown, "{from} {bytes}");
        }
        // Told of as withheld before it is streamed.
        pace.note_streamed(Slot(14), &values(3));
        assert_eq!(pace.grown, 967);
    }
}
