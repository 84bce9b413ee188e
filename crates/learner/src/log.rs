//! The log as a learner sees it: what is chosen and not yet applied, and a tail of what is applied, for peers.
//!
//! Values that came above a gap wait, up to so many bytes; beyond that the highest are dropped, since they are the last that
//! could be applied, and are fetched again. Upholds S7: slots leave in order, each once, and a second, different value for a
//! slot is an error, never a choice.

use std::collections::{BTreeMap, VecDeque};

use synod_planted::Bug;
use synod_protocol::message::{Fetch, Fetched};
use synod_protocol::{Slot, SlotRange, Value};

/// Bytes that a slot costs beside its value; noops aren't free.
const SLOT_BYTES: u64 = 64;

/// Somebody told another value for a slot that is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction(pub(crate) Slot);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    /// The first slot that wasn't handed out to be applied.
    next: Slot,
    /// Chosen values from `next` on that wait for a gap to close.
    waiting: BTreeMap<Slot, Value>,
    waiting_bytes: u64,
    /// Bytes that may wait.
    buffer_bytes: u64,
    /// Highest slot known to be chosen; the values up to it may still be missing.
    known: Slot,
    /// What is lacking takes more room than there is for what comes after it: until it is fetched, no leader needs to stream anything.
    is_far: bool,
    /// Values of the slots just below `next`, in order.
    tail: VecDeque<Value>,
    tail_bytes: u64,
    /// Bytes of tail that are kept.
    tail_most_bytes: u64,
}

impl Log {
    /// Every slot below `next` is applied.
    pub(crate) fn new(next: Slot, buffer_bytes: u64, tail_most_bytes: u64) -> Log {
        Log {
            next,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            buffer_bytes,
            known: next.previous(),
            is_far: false,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_most_bytes,
        }
    }

    /// Highest slot known to be chosen.
    pub(crate) fn known(&self) -> Slot {
        self.known
    }

    /// The first slot that is lacking.
    pub(crate) fn next(&self) -> Slot {
        self.next
    }

    /// Every slot up to `slot` is chosen, or will be seen to be.
    pub(crate) fn note_known(&mut self, slot: Slot) {
        self.known = self.known.max(slot);
    }

    /// Whether nothing needs to be streamed.
    pub(crate) fn is_far(&self) -> bool {
        self.is_far
    }

    /// Values of so many bytes, for so many slots, were fetched. Once what is lacking would take an eighth of the buffer or less, the rest has
    /// room for what is chosen until that is fetched too.
    pub(crate) fn note_fetched(&mut self, bytes: u64, slots: u64) {
        let lacking = self.gap().map_or(0, |gap| gap.last.0 - gap.first.0 + 1);
        let slot_bytes = bytes / slots.max(1) + SLOT_BYTES;
        self.is_far &=
            synod_planted::is(Bug::FarForEver) || lacking.saturating_mul(slot_bytes) > self.buffer_bytes / 8;
    }

    /// Takes in a chosen value; what was learned before changes nothing.
    pub(crate) fn learn(&mut self, slot: Slot, value: Value) -> Result<(), Contradiction> {
        let learned = if slot < self.next { self.applied_value(slot) } else { self.waiting.get(&slot) };
        if learned.is_some_and(|learned| *learned != value) {
            return Err(Contradiction(slot));
        }
        if slot < self.next || learned.is_some() {
            return Ok(());
        }
        self.note_known(slot);
        self.waiting_bytes += cost(&value);
        self.waiting.insert(slot, value);
        // The lowest stays whatever its size: it may be the one to be applied.
        while self.waiting_bytes > self.buffer_bytes && self.waiting.len() > 1 {
            self.is_far = true;
            self.waiting_bytes -= self.waiting.pop_last().map_or(0, |(_, dropped)| cost(&dropped));
        }
        Ok(())
    }

    /// Hands out the next slot, if its value is here.
    pub(crate) fn take_next(&mut self) -> Option<(Slot, Value)> {
        let over_gap = || self.waiting.first_key_value().map(|(slot, _)| *slot);
        let from = if synod_planted::is(Bug::AppliedOverGap) { over_gap()? } else { self.next };
        let value = self.waiting.remove(&from)?;
        let slot = self.next;
        self.waiting_bytes -= cost(&value);
        self.next = slot.next();
        self.tail_bytes += cost(&value);
        self.tail.push_back(value.clone());
        while self.tail_bytes > self.tail_most_bytes {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |dropped| cost(&dropped));
        }
        Some((slot, value))
    }

    /// Every slot below `next` is applied, without having gone through here.
    pub(crate) fn skip_to(&mut self, next: Slot) {
        let kept = self.waiting.split_off(&next);
        self.waiting = kept;
        self.waiting_bytes = self.waiting.values().map(cost).sum();
        self.next = next;
        self.note_known(next.previous());
        (self.tail, self.tail_bytes) = (VecDeque::new(), 0);
    }

    /// The lowest run of slots that are known to be chosen and lacking.
    pub(crate) fn gap(&self) -> Option<SlotRange> {
        let before_waiting = self.waiting.first_key_value().map(|(slot, _)| slot.previous());
        SlotRange::new(self.next, before_waiting.unwrap_or(self.known))
    }

    /// Answers a peer from the tail: what it asked for without a gap, up to `chunk_bytes` and at least one value.
    pub(crate) fn serve(&self, fetch: Fetch, chunk_bytes: u64) -> Fetched {
        let floor = self.tail_first();
        let skip = fetch.first.0.checked_sub(floor.0).and_then(|skip| usize::try_from(skip).ok());
        let wanted =
            SlotRange::new(fetch.first, fetch.last).map_or(0, |range| range.last.0 - range.first.0 + 1);
        let mut bytes = 0;
        let values = self
            .tail
            .iter()
            .skip(skip.unwrap_or(self.tail.len()))
            .take(usize::try_from(wanted).unwrap_or(usize::MAX));
        let values = values
            .take_while(|value| {
                let fits = bytes < chunk_bytes;
                bytes += cost(value);
                fits
            })
            .cloned()
            .collect();
        Fetched { first: fetch.first, values, held: self.next.previous(), floor }
    }

    /// The first slot of the tail; the next one to be applied if that is empty.
    pub(crate) fn tail_first(&self) -> Slot {
        Slot(self.next.0 - self.tail.len() as u64)
    }

    /// The value of an applied slot, while it is in the tail.
    fn applied_value(&self, slot: Slot) -> Option<&Value> {
        let at = slot.0.checked_sub(self.tail_first().0)?;
        self.tail.get(usize::try_from(at).ok()?)
    }
}

fn cost(value: &Value) -> u64 {
    value.len() as u64 + SLOT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(slot: u64) -> Value {
        Value::new(slot.to_le_bytes().to_vec().into())
    }

    fn log(learned: impl IntoIterator<Item = u64>, waiting: u64, tail: u64) -> (Log, Vec<u64>) {
        let mut log = Log::new(Slot::FIRST, waiting * 72, tail * 72);
        let mut taken = Vec::new();
        for slot in learned {
            log.learn(Slot(slot), value(slot)).unwrap();
            taken.extend(std::iter::from_fn(|| log.take_next()).map(|(slot, value_taken)| {
                assert_eq!(value_taken, value(slot.0));
                slot.0
            }));
        }
        (log, taken)
    }

    #[test]
    fn s7_slots_leave_in_order_and_once_however_they_come() {
        let (log, taken) = log([3, 1, 1, 2, 7, 3, 2, 5, 4, 7, 6], 9, 9);
        assert_eq!(taken, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((log.next(), log.known(), log.gap(), log.waiting_bytes), (Slot(8), Slot(7), None, 0));
    }

    #[test]
    fn s7_a_second_value_for_a_slot_is_refused() {
        let (mut log, _) = log([1, 2, 3, 5], 9, 2);
        for slot in [2, 3, 5] {
            assert_eq!(log.learn(Slot(slot), value(9)), Err(Contradiction(Slot(slot))), "{slot}");
            assert_eq!(log.learn(Slot(slot), value(slot)), Ok(()));
        }
        // Below the tail nothing is left to compare with.
        assert_eq!(log.learn(Slot(1), value(9)), Ok(()));
        assert_eq!(log.next(), Slot(4));
    }

    #[test]
    fn the_highest_are_dropped_when_too_much_waits_above_a_gap() {
        let (mut log, taken) = log([5, 9, 4, 3, 8, 2], 3, 9);
        assert_eq!(taken, Vec::<u64>::new());
        assert_eq!(log.waiting.keys().map(|slot| slot.0).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!((log.gap(), log.known()), (SlotRange::new(Slot(1), Slot(1)), Slot(9)));
        log.learn(Slot(1), value(1)).unwrap();
        while log.take_next().is_some() {}
        assert_eq!(log.gap(), SlotRange::new(Slot(4), Slot(9)));
    }

    #[test]
    fn one_value_waits_whatever_its_size() {
        let mut log = Log::new(Slot::FIRST, 1, 1);
        log.learn(Slot(2), value(2)).unwrap();
        log.learn(Slot(1), value(1)).unwrap();
        assert_eq!(log.take_next(), Some((Slot(1), value(1))));
        assert_eq!((log.take_next(), log.tail.len()), (None, 0));
    }

    #[test]
    fn s7_a_state_from_elsewhere_leaves_only_what_comes_after_it() {
        let (mut log, _) = log([1, 2, 5, 6, 8], 9, 9);
        log.skip_to(Slot(6));
        assert_eq!((log.next(), log.tail.len(), log.waiting_bytes, log.tail_bytes), (Slot(6), 0, 144, 0));
        assert_eq!(log.learn(Slot(5), value(9)), Ok(()), "nothing is left to compare with");
        assert_eq!(log.take_next(), Some((Slot(6), value(6))));
        assert_eq!((log.take_next(), log.gap()), (None, SlotRange::new(Slot(7), Slot(7))));
        let fetched = log.serve(Fetch { first: Slot(5), last: Slot(9) }, 1000);
        assert_eq!((fetched.floor, fetched.values.len()), (Slot(6), 0));
    }

    #[test]
    fn peers_are_served_from_the_tail_in_chunks() {
        let (log, _) = log(1..=10, 9, 4);
        let serve = |first, last, chunk| {
            let fetched = log.serve(Fetch { first: Slot(first), last: Slot(last) }, chunk);
            assert_eq!((fetched.first, fetched.held, fetched.floor), (Slot(first), Slot(10), Slot(7)));
            let slots =
                fetched.values.iter().map(|value| u64::from_le_bytes(value.bytes()[..].try_into().unwrap()));
            slots.collect::<Vec<_>>()
        };
        assert_eq!(serve(7, 9, 1000), [7, 8, 9]);
        assert_eq!(serve(8, u64::MAX, 1000), [8, 9, 10]);
        assert_eq!(serve(7, 10, 73), [7, 8]);
        assert_eq!(serve(7, 10, 1), [7]);
        let nothing: [u64; 0] = [];
        for (first, last) in [(6, 9), (0, 9), (11, 12), (u64::MAX, u64::MAX), (9, 8)] {
            assert_eq!(serve(first, last, 1000), nothing, "{first}-{last}");
        }
    }
}
