//! The leader's pipeline: batches formed by need, a window of slots in flight, votes counted, the chosen prefix.
//!
//! Upholds S6: a slot counts as chosen only when a Phase-2 quorum of distinct acceptors voted in this very ballot, and the prefix
//! grows only over such slots from where Phase 1 left it. One value per slot, for the whole ballot (S1 asks it of acceptors, this
//! never tries). Pure state: what to send comes back as data. Healing is [`crate::healing`]'s.

use std::collections::{BTreeMap, VecDeque};

use synod_planted::Bug;
use synod_protocol::message::{Accepted, NotTaken};
use synod_protocol::quorum::Counted;
use synod_protocol::tuning::Tuning;
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, NodeId, QuorumSystem, Slot, Tally, Value, command};

use crate::safe_value::Inheritance;

/// A slot that was sent and isn't in the chosen prefix yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    value: Value,
    tally: Tally,
    /// The resend round in which it was last sent.
    sent: u64,
}

/// Commands that wait for a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    from: NodeId,
    tag: u64,
    /// Whether it is the first piece of its proposal: then none of that proposal has been taken yet.
    first: bool,
    commands: Value,
    count: u32,
    /// The resend round in which it came.
    since: u64,
}

/// The leader's slots and values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pipeline {
    /// Every slot up to here is chosen (S6); never falls.
    chosen: Slot,
    /// The slot of the next new value; above everything inherited, proposed or queued for proposal.
    next: Slot,
    /// Values that this ballot must propose first: inherited from Phase 1, or noops for Settle.
    due: BTreeMap<Slot, Value>,
    in_flight: BTreeMap<Slot, InFlight>,
    in_flight_bytes: u64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
    /// Chosen values kept for acceptors and learners that are behind: a run that ends at `chosen`.
    retained: BTreeMap<Slot, Value>,
    retained_bytes: u64,
    resend_round: u64,
    /// Bytes of commands given slots in this resend round, and in the one before it.
    opened_bytes: u64,
    pace_bytes: u64,
}

impl Pipeline {
    /// The pipeline of a ballot that inherited this from its Phase 1.
    pub fn new(inheritance: Inheritance) -> Pipeline {
        let Inheritance { chosen, entries, next, floor: _ } = inheritance;
        assert!(next > chosen, "S4: new slots from {next}, but chosen up to {chosen}");
        Pipeline {
            chosen,
            next,
            due: entries.into_iter().map(|entry| (entry.slot, entry.value)).collect(),
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            retained: BTreeMap::new(),
            retained_bytes: 0,
            resend_round: 0,
            opened_bytes: 0,
            pace_bytes: 0,
        }
    }

    /// The chosen prefix.
    pub fn chosen(&self) -> Slot {
        self.chosen
    }

    /// Never, but for a planted bug: takes another's word for what is chosen.
    pub(crate) fn believe(&mut self, prefix: Slot) {
        self.chosen = self.chosen.max(prefix);
        self.next = self.next.max(self.chosen.next());
        self.due = self.due.split_off(&self.chosen.next());
        self.in_flight = self.in_flight.split_off(&self.chosen.next());
    }

    /// Slots in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Bytes of commands that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Bytes of chosen values kept.
    pub fn retained_bytes(&self) -> u64 {
        self.retained_bytes
    }

    /// Takes a proposal in, or says why not.
    pub fn enqueue(
        &mut self,
        from: NodeId,
        tag: u64,
        commands: &Value,
        tuning: &Tuning,
    ) -> Result<(), NotTaken> {
        let most_commands = u32::try_from(tuning.batch_commands).unwrap_or(u32::MAX);
        let most_bytes = usize::try_from(tuning.batch_bytes).unwrap_or(usize::MAX);
        let pieces = command::pieces(commands, most_commands, most_bytes).ok_or(NotTaken::Malformed)?;
        if self.waiting_bytes + commands.len() as u64 > tuning.queue_bytes || self.is_backed_up() {
            return Err(NotTaken::Busy { retry_ms: tuning.busy_retry_ms });
        }
        let mut first = true;
        for (commands, count) in pieces {
            self.waiting_bytes += commands.len() as u64;
            self.waiting.push_back(Waiting { from, tag, first, commands, count, since: self.resend_round });
            first = false;
        }
        Ok(())
    }

    /// Whether what waits would take more than two resend rounds at the pace of the last one: clients ask again for what isn't answered, and
    /// a queue of what was asked for twice grows by itself. Only once something has waited for a whole round, so that a burst is no reason;
    /// and not while nothing gets a slot, which isn't for want of speed.
    fn is_backed_up(&self) -> bool {
        let waited = self.waiting.front().is_some_and(|first| first.since + 2 <= self.resend_round);
        waited && self.pace_bytes > 0 && self.waiting_bytes > 2 * self.pace_bytes
    }

    /// Opens slots while the window has room: first what is due, then batches of whatever waits. Returns what to send.
    pub fn fill(&mut self, quorums: &QuorumSystem, tuning: &Tuning) -> Vec<Entry> {
        let mut fresh = Vec::new();
        while self.has_room(tuning) {
            let Some((slot, value)) = self.next_value(tuning) else { break };
            assert!(slot > self.chosen, "S6: slot {slot} proposed anew though chosen up to {}", self.chosen);
            self.in_flight_bytes += value.len() as u64;
            let tally = quorums.phase2_tally();
            let old = self
                .in_flight
                .insert(slot, InFlight { value: value.clone(), tally, sent: self.resend_round });
            assert!(old.is_none(), "S1: slot {slot} proposed twice in one ballot");
            fresh.push(Entry { slot, value });
        }
        fresh
    }

    fn has_room(&self, tuning: &Tuning) -> bool {
        (self.in_flight.len() as u64) < tuning.window_slots
            && self.in_flight_bytes < tuning.window_bytes
            && self.retained_bytes < tuning.retained_bytes
    }

    fn next_value(&mut self, tuning: &Tuning) -> Option<(Slot, Value)> {
        if let Some(due) = self.due.pop_first() {
            return Some(due);
        }
        let value = self.next_batch(tuning)?;
        let slot = self.next;
        self.next = slot.next();
        Some((slot, value))
    }

    fn next_batch(&mut self, tuning: &Tuning) -> Option<Value> {
        let (mut batch, mut commands, mut bytes) = (Vec::new(), 0, 0);
        while let Some(waiting) = self.waiting.front() {
            commands += u64::from(waiting.count);
            bytes += waiting.commands.len() as u64;
            if !batch.is_empty() && (commands > tuning.batch_commands || bytes > tuning.batch_bytes) {
                break;
            }
            self.waiting_bytes -= waiting.commands.len() as u64;
            self.opened_bytes += waiting.commands.len() as u64;
            batch.extend(self.waiting.pop_front().map(|waiting| waiting.commands));
        }
        (!batch.is_empty()).then(|| command::join(batch))
    }

    /// Counts votes of this ballot, and moves the chosen prefix where it can.
    pub fn count_votes(&mut self, from: AcceptorId, accepted: &Accepted) {
        let mut reached = false;
        for range in accepted.slots.iter().filter(|range| range.first <= range.last) {
            for (_, slot) in self.in_flight.range_mut(range.first..=range.last) {
                reached |= slot.tally.count(from) == Counted::JustReached;
            }
        }
        while reached
            && self
                .in_flight
                .first_key_value()
                .is_some_and(|(slot, flight)| *slot == self.chosen.next() && flight.tally.reached())
        {
            let Some((slot, flight)) = self.in_flight.pop_first() else { break };
            self.chosen = slot;
            self.in_flight_bytes -= flight.value.len() as u64;
            self.retained_bytes += flight.value.len() as u64;
            self.retained.insert(slot, flight.value);
        }
    }

    /// Starts a resend round: what was sent before the previous one began and isn't chosen, for the acceptors that
    /// haven't voted on it.
    pub fn resend(&mut self, quorums: &QuorumSystem) -> BTreeMap<AcceptorId, Vec<Entry>> {
        let mut again: BTreeMap<AcceptorId, Vec<Entry>> = BTreeMap::new();
        for (slot, flight) in &mut self.in_flight {
            if flight.sent == self.resend_round || flight.tally.reached() {
                continue;
            }
            flight.sent = self.resend_round;
            for acceptor in quorums.acceptors().filter(|acceptor| !flight.tally.has(*acceptor)) {
                again.entry(acceptor).or_default().push(Entry { slot: *slot, value: flight.value.clone() });
            }
        }
        self.resend_round += 1;
        self.pace_bytes = std::mem::take(&mut self.opened_bytes);
        again
    }

    /// Fills with noops up to `slot`, if that lies within a window of new slots.
    pub fn settle(&mut self, slot: Slot, tuning: &Tuning) {
        if slot >= self.next && slot < self.next.plus(tuning.window_slots) {
            let first = if synod_planted::is(Bug::SettleOverVotes) { self.chosen.next() } else { self.next };
            self.due.extend((first.0..=slot.0).map(|number| (Slot(number), Value::NOOP)));
            self.next = slot.next();
        }
    }

    /// A chosen value that is kept.
    pub fn retained(&self, slot: Slot) -> Option<&Value> {
        self.retained.get(&slot)
    }

    /// Kept chosen values from `first` on, without a gap, up to so many bytes (one larger value still comes).
    pub fn retained_run(&self, first: Slot, most_bytes: u64) -> Vec<Value> {
        let (mut run, mut bytes, mut next) = (Vec::new(), 0, first);
        for (slot, value) in self.retained.range(first..) {
            if *slot != next || bytes >= most_bytes {
                break;
            }
            bytes += value.len() as u64 + 8;
            next = slot.next();
            run.push(value.clone());
        }
        run
    }

    /// Forgets chosen values: those that all acceptors hold, and, under pressure, those that a Phase-1 quorum holds.
    pub fn forget(&mut self, held_by_all: Slot, held_by_quorum: Slot, tuning: &Tuning) {
        while let Some(entry) = self.retained.first_entry() {
            let pressed = self.retained_bytes > tuning.retained_bytes / 2;
            if *entry.key() > held_by_all && !(pressed && *entry.key() <= held_by_quorum) {
                break;
            }
            self.retained_bytes -= entry.remove().len() as u64;
        }
    }

    /// The proposals of which nothing was taken yet: whom to tell, by tag. Empties the queue.
    pub fn refuse_waiting(&mut self) -> Vec<(NodeId, u64)> {
        self.waiting_bytes = 0;
        self.waiting
            .drain(..)
            .filter(|waiting| waiting.first)
            .map(|waiting| (waiting.from, waiting.tag))
            .collect()
    }
}
