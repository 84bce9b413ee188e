//! Linearizable reads by quorum rounds (S10).
//!
//! A read waits first for a round that begins after it arrived, then for the highest slot that a Phase-1 quorum of acceptors
//! told in that round to be applied. Why it sees every write acknowledged before it: such a write was voted for by a Phase-2 quorum;
//! that meets the quorum of the round; the acceptor in both answered after the round began, so after its vote. No clock and no
//! lease take part. Next rounds may begin while earlier reads wait for their slot.

use std::collections::BTreeMap;

use synod_planted::Bug;
use synod_protocol::message::Reads as Asked;
use synod_protocol::{AcceptorId, ClientId, DiskAt, Incarnations, QuorumSystem, Slot};

/// Linearizable reads of one message, which wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    /// Whose they are.
    pub(crate) client: ClientId,
    /// As they came; no key is much longer than one can be.
    pub(crate) reads: Asked,
}

impl Waiting {
    fn count(&self) -> u64 {
        self.reads.len() as u64
    }
}

fn count(all: &[Waiting]) -> u64 {
    all.iter().map(Waiting::count).sum()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    /// Reads that had arrived before it began.
    reads: Vec<Waiting>,
    /// What each acceptor told: its disk, and the highest slot.
    answers: BTreeMap<AcceptorId, (DiskAt, Slot)>,
}

/// An acceptor's answer to a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) from: AcceptorId,
    pub(crate) round: u64,
    /// The highest slot that it voted on.
    pub(crate) highest: Slot,
    /// Its disk.
    pub(crate) disk: DiskAt,
    /// Which disks count, and how far they have come, as far as it knows.
    pub(crate) incarnations: Incarnations,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reads {
    /// Arrived since the last round began.
    arrived: Vec<Waiting>,
    /// Number of the last round.
    round: u64,
    in_flight: Option<Round>,
    /// Which disks count, and how far they have come (S12), as answers have told.
    incarnations: Incarnations,
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
            incarnations: Incarnations::default(),
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

    /// How many more may wait.
    pub(crate) fn room(&self) -> u64 {
        self.most.saturating_sub(self.count)
    }

    /// Takes in reads, no more than there is room for.
    pub(crate) fn arrive(&mut self, reads: Waiting) {
        self.count += reads.count();
        match &mut self.in_flight {
            Some(round) if synod_planted::is(Bug::ReadJoinsRunningRound) => round.reads.push(reads),
            Some(_) | None => self.arrived.push(reads),
        }
    }

    /// Begins a round for all that have arrived, unless one is in flight; tells its number.
    pub(crate) fn begin(&mut self) -> Option<u64> {
        if self.in_flight.is_some() || self.arrived.is_empty() {
            return None;
        }
        self.round = self.round.wrapping_add(1);
        let reads = std::mem::take(&mut self.arrived);
        self.in_flight = Some(Round { reads, answers: BTreeMap::new() });
        Some(self.round)
    }

    /// The round in flight, unless `acceptor` has answered it.
    pub(crate) fn round_without(&self, acceptor: AcceptorId) -> Option<u64> {
        let round = self.in_flight.as_ref()?;
        (!round.answers.contains_key(&acceptor)).then_some(self.round)
    }

    /// The round in flight.
    pub(crate) fn round_in_flight(&self) -> Option<u64> {
        self.in_flight.as_ref().map(|_| self.round)
    }

    /// Which disks count, and how far they have come, as answers have told.
    pub(crate) fn incarnations(&self) -> &Incarnations {
        &self.incarnations
    }

    /// Counts an answer; false if it is none to the round in flight, was counted before, or comes from a disk that was replaced or
    /// went back (S12). It may also be late, if the others' answers tell a position that its disk has reached since: it is asked again.
    pub(crate) fn answer(&mut self, answer: Answer, quorums: &QuorumSystem) -> bool {
        let Answer { from, round, highest, disk, incarnations } = answer;
        self.incarnations.merge(&incarnations);
        let known = &self.incarnations;
        let is_older =
            |acceptor, disk| known.is_older(acceptor, disk) && !synod_planted::is(Bug::OlderReadReplyCounts);
        let Some(current) = self.in_flight.as_mut().filter(|_| round == self.round) else { return false };
        // Whoever was counted before its disk was known to be older is counted no more.
        current.answers.retain(|acceptor, (disk, _)| !is_older(*acceptor, *disk));
        let mut tally = quorums.phase1_tally();
        for acceptor in current.answers.keys() {
            tally.count(*acceptor);
        }
        if is_older(from, disk) || tally.has(from) {
            return false;
        }
        tally.count(from);
        current.answers.insert(from, (disk, highest));
        if tally.reached() {
            let round = self.in_flight.take().expect("it is the round that was answered");
            let slot = round.answers.values().map(|(_, highest)| *highest).max().unwrap_or_default();
            if !round.reads.is_empty() {
                self.unsettled.entry(slot).or_default().extend(round.reads);
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
        self.count -= count(&ready);
        ready
    }

    /// The highest slot up to `upto` that reads wait for.
    pub(crate) fn highest_unsettled(&self, upto: Slot) -> Option<Slot> {
        self.unsettled.range(..=upto).next_back().map(|(slot, _)| *slot)
    }

    /// Drops the reads of a client that is gone.
    pub(crate) fn forget(&mut self, client: ClientId) {
        let stays = |reads: &Waiting| reads.client != client;
        self.arrived.retain(stays);
        if let Some(round) = &mut self.in_flight {
            round.reads.retain(stays);
        }
        self.unsettled.retain(|_, reads| {
            reads.retain(stays);
            !reads.is_empty()
        });
        let in_flight = self.in_flight.as_ref().map_or(0, |round| count(&round.reads));
        let unsettled: u64 = self.unsettled.values().map(|reads| count(reads)).sum();
        self.count = count(&self.arrived) + in_flight + unsettled;
    }
}
