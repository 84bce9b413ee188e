//! Past Phase 1: one ballot's leadership, from its inheritance to the end.
//!
//! Ties the pipeline, the healing and the learners' stream together: Accept to the acceptors (to whom at once, [`crate::thrifty`] tells), Chosen to
//! all subscribed learners, each once a batch. Watches itself: without a Phase-2 quorum that answers, or without learners, it says that it should step
//! down. Upholds S6 (only votes of this ballot count) through [`crate::pipeline`].

use std::collections::{BTreeMap, BTreeSet};

use synod_planted::Bug;
use synod_protocol::message::{Accept, Accepted, Chosen, Fetch, ToAcceptor, ToLearner};
use synod_protocol::role::Delay;
use synod_protocol::tuning::Tuning;
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, Ballot, DiskAt, Incarnations, QuorumSystem, Slot};
use tracing::{debug, info};

use crate::floor::Reports;
use crate::healing::{Healing, Remedy, Supply};
use crate::phase::Found;
use crate::pipeline::Pipeline;
use crate::readmission::{Readmitting, Replacement};
use crate::subscribers::Subscribers;
use crate::thrifty::{Deferred, LATE_BATCHES, Thrifty};
use crate::{Out, Timer, ignore_stale};

/// Checks without a learner after which a leader steps down.
const LONELY_CHECKS: u64 = 5;

/// A ballot that is past Phase 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leading {
    /// The ballot.
    pub ballot: Ballot,
    /// Slots and values.
    pub pipeline: Pipeline,
    /// Acceptors that are behind.
    pub healing: Healing,
    /// Which acceptors are sent new slots at once, and what the others are still to be sent.
    thrifty: Thrifty,
    /// Whether the timer is set that sends it to them.
    is_timer_set: bool,
    /// The readmission that this ballot was begun for.
    pub readmitting: Option<Readmitting>,
    /// Which disks count, and how far they had come, as Phase 1 found: votes of older ones don't count (S12).
    incarnations: Incarnations,
    /// The same, with how far they have come since: to be told, and not to be held against anyone in this ballot.
    known: Incarnations,
    /// Acceptors that have answered in this ballot since the last check.
    heard: BTreeSet<AcceptorId>,
    /// Acceptors that had answered in the period before the last check.
    heard_before: BTreeSet<AcceptorId>,
    /// Checks in a row without a learner.
    lonely: u64,
    /// The chosen prefix that all acceptors have been told.
    stated: Slot,
    /// The last slot streamed to the learners that want each at once.
    streamed: Slot,
    /// The last slot streamed to those that want many at once, and the bytes of those after it.
    streamed_late: Slot,
    late_bytes: u64,
    /// Slots below it are needed by nobody (S11); never falls, never above the chosen prefix + 1.
    floor: Slot,
    /// The highest floor that an acceptor has told in this ballot.
    told_floor: Slot,
    /// The chosen prefix below a floor that was told, and for how many rounds of healing it has been there.
    overtaken: Option<(Slot, u64)>,
    /// Acceptors whose disks are full.
    full: BTreeSet<AcceptorId>,
}

/// Why a leader should stop leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// No Phase-2 quorum answered for an election timeout.
    NoQuorum,
    /// No learner was subscribed for five election timeouts.
    NoLearner,
}

impl Leading {
    /// The leadership of `ballot`, with what its Phase 1 found.
    pub fn new(
        ballot: Ballot,
        found: Found,
        replacement: Option<Replacement>,
        quorums: &QuorumSystem,
        tuning: &Tuning,
    ) -> Leading {
        let (chosen, floor) = (found.inheritance.chosen, found.inheritance.floor);
        assert!(floor <= chosen.next(), "S11: floor {floor}, but chosen up to {chosen}");
        let known = found.incarnations.clone();
        let incarnations = replacement.map_or(known.clone(), |replacement| replacement.seat(ballot, known));
        Leading {
            ballot,
            readmitting: replacement.map(|replacement| Readmitting::new(ballot, replacement, &found)),
            pipeline: Pipeline::new(found.inheritance),
            healing: Healing::default(),
            thrifty: Thrifty::new(quorums, tuning),
            is_timer_set: false,
            known: incarnations.clone(),
            incarnations,
            heard: BTreeSet::new(),
            heard_before: BTreeSet::new(),
            lonely: 0,
            stated: Slot::ZERO,
            streamed: chosen,
            streamed_late: chosen,
            late_bytes: 0,
            floor,
            told_floor: floor,
            overtaken: None,
            full: BTreeSet::new(),
        }
    }

    /// Which disks were replaced, as Phase 1 found.
    pub fn incarnations(&self) -> &Incarnations {
        &self.incarnations
    }

    /// Whether `disk` was replaced as the disk of `acceptor`, or went back, as Phase 1 found (S12).
    pub fn is_older(&self, acceptor: AcceptorId, disk: DiskAt) -> bool {
        let readmitted = self.readmitting.as_ref().is_some_and(|now| now.replacement().acceptor == acceptor);
        let counted_by_mistake = synod_planted::is(Bug::OlderVoteCounts)
            || (synod_planted::is(Bug::ReadmissionUnseated) && readmitted);
        self.incarnations.is_older(acceptor, disk) && !counted_by_mistake
    }

    /// Takes in how far an acceptor's disk has come; what is known of all of them, if that is news.
    pub fn reached(&mut self, from: AcceptorId, disk: DiskAt) -> Option<&Incarnations> {
        (!self.is_older(from, disk) && self.known.reached(from, disk)).then_some(&self.known)
    }

    /// Votes, or an answer to a heartbeat, of this ballot.
    pub fn on_accepted(
        &mut self,
        from: AcceptorId,
        accepted: &Accepted,
        quorums: &QuorumSystem,
        tuning: &Tuning,
    ) {
        if self.is_older(from, accepted.disk) {
            return ignore_stale(
                from,
                "votes on a disk that was replaced, or went back (S12: they don't count)",
            );
        }
        self.heard.insert(from);
        self.healing.note_held(from, accepted.held);
        match accepted.full {
            true => self.full.insert(from),
            false => self.full.remove(&from),
        };
        self.pipeline.count_votes(from, accepted);
        if let Some(range) = accepted.slots.last() {
            self.thrifty.note_vote(from, range.last);
        }
        self.told_floor = self.told_floor.max(accepted.floor);
        self.set_floor(self.floor);
        let (by_all, by_quorum) = (self.healing.held_by_all(quorums), self.healing.held_by_quorum(quorums));
        // What lies below the floor is needed by no acceptor, though it may not know so yet.
        let unneeded = self.floor.previous().max(by_all).min(self.streamed_late);
        self.pipeline.forget(unneeded, by_quorum, tuning);
    }

    /// First slot that acceptors need to keep.
    pub fn floor(&self) -> Slot {
        self.floor
    }

    /// Acceptors whose disks are full.
    pub fn full(&self) -> impl Iterator<Item = AcceptorId> {
        self.full.iter().copied()
    }

    /// Whether a Phase-2 quorum may have room for new votes.
    pub fn has_room(&self, quorums: &QuorumSystem) -> bool {
        quorums.is_phase2(&quorums.acceptors().filter(|acceptor| !self.full.contains(acceptor)).collect())
    }

    /// Raises the floor as far as the learners' reports allow.
    pub fn raise_floor(&mut self, reports: &Reports) {
        self.set_floor(reports.floor(self.floor, self.pipeline.chosen()));
    }

    /// A floor that an acceptor told is as true as one from reports; but what this ballot hasn't chosen isn't below its floor.
    fn set_floor(&mut self, floor: Slot) {
        self.floor = floor.max(self.told_floor.min(self.pipeline.chosen().next()));
    }

    /// What this batch made ready: new slots to the acceptors, chosen ones to the learners.
    pub fn send_ready(
        &mut self,
        subscribers: &mut Subscribers,
        quorums: &QuorumSystem,
        tuning: &Tuning,
        effects: &mut Out,
    ) {
        let fresh = if self.has_room(quorums) { self.pipeline.fill(quorums, tuning) } else { Vec::new() };
        if !fresh.is_empty() {
            self.send_new(&fresh, tuning, effects);
        }
        self.stream(subscribers, tuning, effects);
    }

    fn send_new(&mut self, fresh: &[Entry], tuning: &Tuning, effects: &mut Out) {
        let chosen = self.pipeline.chosen();
        for acceptor in self.thrifty.ask(fresh, chosen) {
            self.send_accept(acceptor, fresh.to_vec(), effects);
        }
        if !self.thrifty.is_behind() {
            self.stated = chosen;
        } else if self.thrifty.is_full(tuning) {
            self.send_deferred(effects);
        } else {
            self.set_timer(tuning, effects);
        }
    }

    fn set_timer(&mut self, tuning: &Tuning, effects: &mut Out) {
        if !self.is_timer_set {
            effects.set_timer(Timer::Thrifty, Delay::exactly(tuning.thrifty_ms));
            self.is_timer_set = true;
        }
    }

    /// Sends the spares what they weren't sent with the others.
    fn send_deferred(&mut self, effects: &mut Out) {
        let Deferred { spares, entries, told } = self.thrifty.take();
        if entries.is_empty() {
            return;
        }
        self.stated = self.stated.max(told);
        for spare in spares {
            self.send_accept(spare, entries.clone(), effects);
        }
    }

    /// `thrifty_ms` have passed since something was kept back from the spares, or from learners that nobody waits for.
    pub fn on_thrifty(&mut self, subscribers: &Subscribers, effects: &mut Out) {
        self.is_timer_set = false;
        self.thrifty.next_round();
        self.send_deferred(effects);
        self.stream_late(subscribers, effects);
    }

    /// The connection to an acceptor has come up, or closed: what it was sent or asked may be lost, and a spare takes its place.
    pub fn on_link(&mut self, acceptor: AcceptorId, up: bool, effects: &mut Out) {
        self.thrifty.note_link(acceptor, up);
        if !up {
            self.healing.forget_link(acceptor);
            self.send_deferred(effects);
        }
    }

    /// Tells acceptors and learners that this ballot's leader is alive, and how far the chosen prefix is.
    pub fn heartbeat(&mut self, subscribers: &Subscribers, quorums: &QuorumSystem, effects: &mut Out) {
        self.stream_late(subscribers, effects);
        self.stated = self.pipeline.chosen();
        for acceptor in quorums.acceptors() {
            self.send_accept(acceptor, Vec::new(), effects);
        }
        let rows = self.known.with_positions();
        if !rows.is_empty() && !synod_planted::is(Bug::PositionsNotTold) {
            for acceptor in quorums.acceptors() {
                effects.send(acceptor, ToAcceptor::Reached { ballot: self.ballot, rows: rows.clone() });
            }
        }
        for learner in subscribers.all() {
            let withheld_bytes = subscribers.withheld_bytes(learner);
            let chosen = self.chosen_from(self.pipeline.chosen().next(), 0);
            effects.send(learner, ToLearner::Chosen(Chosen { withheld_bytes, ..chosen }));
        }
    }

    fn send_accept(&self, to: AcceptorId, entries: Vec<Entry>, effects: &mut Out) {
        let (ballot, chosen, floor) = (self.ballot, self.pipeline.chosen(), self.floor);
        let accept = Accept { ballot, chosen, floor, entries };
        effects.send(to, ToAcceptor::Accept(accept));
    }

    fn stream(&mut self, subscribers: &mut Subscribers, tuning: &Tuning, effects: &mut Out) {
        let first = self.streamed.next();
        self.streamed = self.pipeline.chosen();
        if first > self.streamed {
            return;
        }
        let chosen = self.chosen_from(first, u64::MAX);
        let bytes: u64 = chosen.values.iter().map(|value| value.len() as u64).sum();
        subscribers.withhold(bytes);
        for learner in subscribers.at_once() {
            effects.send(learner, ToLearner::Chosen(chosen.clone()));
        }
        self.late_bytes += bytes;
        let is_due = tuning.thrifty_ms == 0 || self.late_bytes >= LATE_BATCHES * tuning.batch_bytes;
        if is_due || subscribers.late().next().is_none() {
            self.stream_late(subscribers, effects);
        } else {
            self.set_timer(tuning, effects);
        }
    }

    /// Sends the learners that nobody waits for what they weren't sent with the others.
    pub fn stream_late(&mut self, subscribers: &Subscribers, effects: &mut Out) {
        let first = self.streamed_late.next();
        (self.streamed_late, self.late_bytes) = (self.streamed, 0);
        if first > self.streamed_late {
            return;
        }
        for learner in subscribers.late() {
            effects.send(learner, ToLearner::Chosen(self.chosen_from(first, u64::MAX)));
        }
    }

    /// The chosen slots from `first` on that are kept, for a learner.
    pub fn chosen_from(&self, first: Slot, most_bytes: u64) -> Chosen {
        Chosen {
            ballot: self.ballot,
            prefix: self.pipeline.chosen(),
            first,
            values: self.pipeline.retained_run(first, most_bytes),
            withheld_bytes: 0,
        }
    }

    /// Sends again, in the same ballot, what was not answered.
    pub fn resend(&mut self, quorums: &QuorumSystem, effects: &mut Out) {
        for (acceptor, entries) in self.pipeline.resend(quorums) {
            debug!(ballot = %self.ballot, %acceptor, slots = entries.len(), "sends again");
            self.send_accept(acceptor, entries, effects);
        }
        if let Some(readmitting) = &self.readmitting {
            readmitting.ask(quorums, effects);
        }
    }

    /// One round of healing; true when a chosen value that an acceptor needs is held by none that answers, or when an acceptor has
    /// dropped slots that this ballot can't get chosen: higher Phase 1s will tell that they are.
    pub fn heal(&mut self, quorums: &QuorumSystem, tuning: &Tuning, effects: &mut Out) -> bool {
        let reachable: Vec<AcceptorId> = quorums
            .acceptors()
            .filter(|id| self.heard.contains(id) || self.heard_before.contains(id))
            .collect();
        let chosen = self.pipeline.chosen();
        self.overtaken = match self.overtaken {
            _ if self.told_floor <= chosen.next() => None,
            Some((at, rounds)) if at == chosen => Some((at, rounds + 1)),
            Some(_) | None => Some((chosen, 0)),
        };
        let pipeline = &self.pipeline;
        let supply = Supply {
            retained: &|slot| pipeline.retained(slot).cloned(),
            stated: self.stated,
            floor: self.floor,
            full: &self.full,
            bytes: tuning.heal_bytes,
            patience_ticks: tuning.resend_ms.div_ceil(tuning.heal_ms),
        };
        for remedy in self.healing.tick(&reachable, supply) {
            match remedy {
                Remedy::Send(acceptor, run) => {
                    debug!(ballot = %self.ballot, %acceptor, slots = run.len(), "heals");
                    let entries = run.into_iter().map(|(slot, value)| Entry { slot, value }).collect();
                    self.send_accept(acceptor, entries, effects);
                }
                Remedy::Fetch(acceptor, first, last) => {
                    effects.send(acceptor, ToAcceptor::Fetch(Fetch { first, last }));
                }
            }
        }
        let rounds = self.overtaken.map_or(0, |(_, rounds)| rounds).max(self.healing.missing_for());
        rounds * tuning.heal_ms > tuning.election_timeout_ms
    }

    /// Once an election timeout: whether this leader still should lead. `heard`: some configured learner is subscribed.
    pub fn check(&mut self, heard: bool, quorums: &QuorumSystem) -> Result<(), Unfit> {
        self.heard_before = std::mem::take(&mut self.heard);
        self.readmitting.iter_mut().for_each(Readmitting::check);
        if !quorums.is_phase2(&self.heard_before) {
            return Err(Unfit::NoQuorum);
        }
        self.lonely = if heard { 0 } else { self.lonely + 1 };
        if self.lonely >= LONELY_CHECKS { Err(Unfit::NoLearner) } else { Ok(()) }
    }

    /// The held prefixes that acceptors have told in this ballot.
    pub fn held(&self) -> BTreeMap<AcceptorId, Slot> {
        self.healing.held().collect()
    }

    /// One line for the log.
    pub fn announce(&self) {
        info!(ballot = %self.ballot, chosen = %self.pipeline.chosen(), "leads");
    }
}
