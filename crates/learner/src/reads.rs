//! Linearizable reads by quorum rounds (S10).
//!
//! A read waits first for a round that begins after it arrived, then for the highest slot that a Phase-1 quorum of acceptors
//! told in that round to be applied. Why it sees every write acknowledged before it: such a write was voted for by a Phase-2 quorum;
//! that meets the quorum of the round; the acceptor in both answered after the round began, so after its vote. No clock and no
//! lease take part. Next rounds may begin while earlier reads wait for their slot.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_planted::Bug;
use synod_protocol::quorum::{Counted, Tally};
use synod_protocol::{AcceptorId, ClientId, QuorumSystem, Slot};

/// A linearizable read that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    /// Whose it is.
    pub(crate) client: ClientId,
    /// The client's number for it.
    pub(crate) id: u64,
    /// The key; absent if it is longer than any key can be.
    pub(crate) key: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    /// Reads that had arrived before it began.
    reads: Vec<Waiting>,
    tally: Tally,
    /// The highest slot told so far.
    highest: Slot,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// Arrived since the last round began.
    arrived: Vec<Waiting>,
    /// Number of the last round.
    round: u64,
    in_flight: Option<Round>,
    /// Reads whose round is over, by the slot they wait for.
    unsettled: BTreeMap<Slot, Vec<Waiting>>,
    /// How many wait in all.
    count: u64,
    /// How many may.
    most: u64,
    /// The round that was in flight when its timer was set; absent while it isn't set.
    pub(crate) watched_round: Option<u64>,
    /// The highest slot waited for when its timer was set; absent while it isn't set.
    pub(crate) watched_slot: Option<Slot>,
}

impl Reads {
    /// No reads; rounds count from `life` on.
    pub(crate) fn new(life: u64, most: u64) -> Reads {
        Reads {
            arrived: Vec::new(),
            round: if synod_planted::is(Bug::ReadRoundReusedAfterRestart) { 0 } else { life },
            in_flight: None,
            unsettled: BTreeMap::new(),
            count: 0,
            most,
            watched_round: None,
            watched_slot: None,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Takes in a read; false if too many wait.
    pub(crate) fn arrive(&mut self, read: Waiting) -> bool {
        let room = self.count < self.most;
        if room {
            self.count += 1;
            match &mut self.in_flight {
                Some(round) if synod_planted::is(Bug::ReadJoinsRunningRound) => round.reads.push(read),
                Some(_) | None => self.arrived.push(read),
            }
        }
        room
    }

    /// Begins a round for all that have arrived, unless one is in flight; tells its number.
    pub(crate) fn begin(&mut self, quorums: &QuorumSystem) -> Option<u64> {
        if self.in_flight.is_some() || self.arrived.is_empty() {
            return None;
        }
        self.round = self.round.wrapping_add(1);
        let reads = std::mem::take(&mut self.arrived);
        self.in_flight = Some(Round { reads, tally: quorums.phase1_tally(), highest: Slot::ZERO });
        Some(self.round)
    }

    /// The round in flight, unless `acceptor` has answered it.
    pub(crate) fn round_without(&self, acceptor: AcceptorId) -> Option<u64> {
        let round = self.in_flight.as_ref()?;
        (!round.tally.has(acceptor)).then_some(self.round)
    }

    /// The round in flight.
    pub(crate) fn round_in_flight(&self) -> Option<u64> {
        self.in_flight.as_ref().map(|_| self.round)
    }

    /// Counts an answer; false if it is none to the round in flight, or was counted before.
    pub(crate) fn answer(&mut self, from: AcceptorId, round: u64, highest: Slot) -> bool {
        let Some(current) = self.in_flight.as_mut().filter(|_| round == self.round) else { return false };
        match current.tally.count(from) {
            Counted::Already => return false,
            Counted::Waiting => current.highest = current.highest.max(highest),
            Counted::JustReached => {
                let slot = current.highest.max(highest);
                let reads = self.in_flight.take().map_or_else(Vec::new, |round| round.reads);
                if !reads.is_empty() {
                    self.unsettled.entry(slot).or_default().extend(reads);
                }
            }
        }
        true
    }

    /// Hands out the reads that waited for no more than `applied`.
    pub(crate) fn take_ready(&mut self, applied: Slot) -> Vec<Waiting> {
        let mut ready = Vec::new();
        let applied = if synod_planted::is(Bug::ReadBeforeApplied) { Slot(u64::MAX) } else { applied };
        while let Some(entry) = self.unsettled.first_entry().filter(|entry| *entry.key() <= applied) {
            ready.append(&mut entry.remove());
        }
        self.count -= ready.len() as u64;
        ready
    }

    /// The highest slot up to `upto` that reads wait for.
    pub(crate) fn highest_unsettled(&self, upto: Slot) -> Option<Slot> {
        self.unsettled.range(..=upto).next_back().map(|(slot, _)| *slot)
    }

    /// Drops the reads of a client that is gone.
    pub(crate) fn forget(&mut self, client: ClientId) {
        let stays = |read: &Waiting| read.client != client;
        self.arrived.retain(stays);
        if let Some(round) = &mut self.in_flight {
            round.reads.retain(stays);
        }
        self.unsettled.retain(|_, reads| {
            reads.retain(stays);
            !reads.is_empty()
        });
        let in_flight = self.in_flight.as_ref().map_or(0, |round| round.reads.len());
        let unsettled: usize = self.unsettled.values().map(Vec::len).sum();
        self.count = (self.arrived.len() + in_flight + unsettled) as u64;
    }
}
