//! The acceptor: the votes. Lamport's acceptor for many slots ("Paxos Made Simple", 2001), without I/O.
//!
//! It promises ballots, votes for values, and tells what it has voted; it never dials anybody and never decides that a
//! value is chosen by itself. Holds [`Durable`] state, changed only through records, and the little that a crash may take: whether
//! the leader is silent, and the answer that grows during one batch. Upholds S1, S2, S4 (its half), S6 (held prefix), S11
//! (what it drops, and when) and S12. Memory is an index: values of old votes are on disk only, and holes in messages stand for them. Absent
//! on purpose: clocks, files and sockets.

pub mod durable;
mod formation;
mod index;
pub mod inspect;
pub mod keeper;
mod reached;
mod readmission;
mod replay;
mod room;
mod telling;
pub mod vote;

use std::collections::BTreeSet;

use synod_planted::Bug;
use synod_protocol::cluster::Cluster;
use synod_protocol::hello::Standing;
use synod_protocol::message::{
    Accept, Accepted, AcceptorStatus, Formation, Status, ToAcceptor, ToClient, ToLearner, ToProposer,
};
use synod_protocol::role::{Delay, Effects, Misdirected, Role};
use synod_protocol::{AcceptorId, Ballot, DiskAt, DiskId, NodeId, ProposerId, Slot, SlotRange};
use tracing::{debug, error, info, warn};

pub use durable::{Durable, Head, Record};
use room::Room;
pub use room::Space;

/// What an acceptor is told at its start; nothing here changes what a vote means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Who it is.
    pub id: AcceptorId,
    /// Every acceptor of the cluster file.
    pub acceptors: BTreeSet<AcceptorId>,
    /// Hash of the fixed parameters.
    pub parameters: u64,
    /// Milliseconds without a word at the promised ballot before its leader is called silent.
    pub election_timeout_ms: u64,
    /// Bytes of values in one chunk of a promise or a Fetched.
    pub chunk_bytes: u64,
    /// Bytes of values kept in memory once they are persisted.
    pub cache_bytes: u64,
}

impl Config {
    /// The part of a cluster file that acceptor `id` needs.
    pub fn new(id: AcceptorId, cluster: &Cluster) -> Config {
        Config {
            id,
            acceptors: cluster.acceptors.keys().copied().collect(),
            parameters: cluster.parameters_hash(),
            election_timeout_ms: cluster.tuning.election_timeout_ms,
            chunk_bytes: cluster.tuning.chunk_bytes,
            cache_bytes: cluster.tuning.acceptor_cache_bytes,
        }
    }
}

/// An acceptor's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Nothing was heard at the promised ballot for the election timeout.
    LeaderSilent,
}

type Out = Effects<Record, Timer>;

/// An acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acceptor {
    config: Config,
    durable: Durable,
    /// Whether nothing came at the promised ballot for the election timeout, or its proposer's connection was closed; over
    /// with the next message of that ballot.
    leader_silent: bool,
    /// Votes of this batch not yet told: one reply for all that one sync makes durable.
    answer: Option<Accepted>,
    /// What its disk still takes.
    room: Room,
}

impl Acceptor {
    /// An acceptor with the state that its journal gave back.
    pub fn new(config: Config, durable: Durable) -> Acceptor {
        Acceptor { config, durable, leader_silent: false, answer: None, room: Room::default() }
    }

    /// Its durable state.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// All that it recorded is persisted: values beyond its cache are left to the disk.
    pub fn persisted(&mut self) {
        self.durable.evict(self.config.cache_bytes);
    }

    /// So many bytes of votes may be recorded until this is called again.
    pub fn set_room(&mut self, space: Space) {
        self.room.set(space);
    }

    /// Bytes of the largest vote that didn't fit since this was called last, 0 if all did: the leader will ask for it again.
    pub fn take_wanted_bytes(&mut self) -> u64 {
        self.room.take_wanted_bytes()
    }

    fn record(&mut self, record: Record, effects: &mut Out) {
        self.durable.apply(&record);
        let forgotten = match record {
            Record::Promised { .. } => synod_planted::is(Bug::PromiseNotPersisted),
            Record::Voted { .. } => synod_planted::is(Bug::VoteNotPersisted),
            Record::Reached { .. } => synod_planted::is(Bug::PositionsNotRecorded),
            Record::Prepared { .. }
            | Record::Opened { .. }
            | Record::Truncated { .. }
            | Record::Readmitted { .. }
            | Record::Replaced { .. }
            | Record::Entered { .. } => false,
        };
        if !forgotten {
            effects.persist(record);
        }
    }

    /// The disk that it speaks of, and how far that will have come when this batch is durable; only asked once it has one.
    fn disk(&self) -> DiskAt {
        let Head { formation, position, .. } = self.durable.head();
        DiskAt::new(formation.disk().unwrap_or(DiskId(0)), *position)
    }

    fn on_prepare(&mut self, from: ProposerId, ballot: Ballot, after: Slot, effects: &mut Out) {
        let promised = self.durable.head().promised;
        if ballot < promised && !self.is_equal_by_mistake(ballot) {
            return self.refuse(from, ballot, effects);
        }
        if ballot > promised {
            info!(%ballot, %promised, "promises");
            self.flush_answer(effects);
            self.record(Record::Promised { ballot }, effects);
        }
        self.heard_leader(effects);
        let (promise, fills) = self.promise_chunk(ballot, after);
        effects.send_filled(from, ToProposer::Promise(promise), fills);
    }

    fn on_accept(&mut self, from: ProposerId, accept: Accept, effects: &mut Out) {
        let Accept { ballot, chosen, floor, mut entries } = accept;
        let promised = self.durable.head().promised;
        let below = ballot < promised
            && !synod_planted::is(Bug::AcceptBelowPromise)
            && !self.is_equal_by_mistake(ballot);
        if below || (ballot == promised && synod_planted::is(Bug::AcceptOnlyAbovePromise)) {
            if synod_planted::is(Bug::FloorOfRefusedAccept) {
                self.raise_floor(floor, effects);
            }
            return self.refuse(from, ballot, effects);
        }
        if self.answer.as_ref().is_some_and(|answer| answer.ballot != ballot) {
            self.flush_answer(effects);
        }
        let voted_otherwise = entries.iter().find(|entry| {
            let vote = self.durable.vote(entry.slot);
            vote.is_some_and(|vote| vote.ballot == ballot && !vote.value.is(&entry.value))
        });
        if let Some(entry) = voted_otherwise {
            error!(%ballot, slot = %entry.slot, %from, "S1: refused a second, different value for a slot voted at this ballot");
            return;
        }
        self.raise_floor(floor, effects);
        let mut slots = self.answer.take().map_or_else(Vec::new, |answer| answer.slots);
        // What was voted at this ballot before is as durable as this batch will be: told again, not recorded again.
        let (durable, room) = (&self.durable, &mut self.room);
        let known = |slot| durable.vote(slot).is_some_and(|vote| vote.ballot >= ballot);
        entries.retain(|entry| {
            entry.slot >= durable.head().floor && (known(entry.slot) || room.takes(&entry.value))
        });
        entries.iter().for_each(|entry| SlotRange::push(&mut slots, entry.slot));
        entries.retain(|entry| !known(entry.slot));
        let held = self.durable.held_after(ballot, chosen, &entries);
        let only_held = entries.is_empty() && ballot <= self.durable.head().promised;
        if !only_held || (held > self.durable.head().held && !self.room.is_last()) {
            self.record(Record::Voted { ballot, held, entries }, effects);
        }
        let Head { held, floor, .. } = *self.durable.head();
        let (disk, full) = (self.disk(), self.room.is_full());
        self.answer = Some(Accepted { ballot, disk, slots, held, floor, full });
        self.heard_leader(effects);
    }

    /// Drops what lies below the floor of a leader whose ballot is taken here (S11).
    fn raise_floor(&mut self, floor: Slot, effects: &mut Out) {
        if floor > self.durable.head().floor {
            debug!(%floor, "drops the votes below this slot");
            self.record(Record::Truncated { floor }, effects);
        }
    }

    /// Never, but for a planted bug.
    fn is_equal_by_mistake(&self, ballot: Ballot) -> bool {
        synod_planted::is(Bug::EqualBallotPromisedTwice) && ballot.round == self.durable.head().promised.round
    }

    fn refuse(&self, from: ProposerId, ballot: Ballot, effects: &mut Out) {
        let promised = self.durable.head().promised;
        debug!(%ballot, %promised, %from, "refuses a lower ballot");
        effects.send(from, ToProposer::Nack { ballot, promised });
    }

    fn heard_leader(&mut self, effects: &mut Out) {
        self.leader_silent = false;
        effects.set_timer(Timer::LeaderSilent, Delay::exactly(self.config.election_timeout_ms));
    }

    fn on_probe(&self, from: ProposerId, probe: u64, effects: &mut Out) {
        let promised = self.durable.head().promised;
        let silent = self.leader_silent || promised.is_none();
        effects.send(from, ToProposer::ProbeReply { probe, promised, silent });
    }

    fn on_quorum_read(&self, from: synod_protocol::LearnerId, round: u64, effects: &mut Out) {
        let Head { highest, incarnations, .. } = self.durable.head();
        let (highest, incarnations) = (*highest, incarnations.clone());
        effects.send(from, ToLearner::QuorumReadReply { round, highest, disk: self.disk(), incarnations });
    }

    fn on_status(&self) -> AcceptorStatus {
        AcceptorStatus {
            formation: self.durable.head().formation.clone(),
            promised: self.durable.head().promised,
            silent: self.leader_silent,
            floor: self.durable.head().floor,
            held: self.durable.head().held,
            highest: self.durable.head().highest,
            full: self.room.is_full(),
        }
    }

    fn takes_part(&self) -> bool {
        let waits = matches!(self.durable.head().formation, Formation::Replaced { .. });
        self.durable.cluster().is_some() || (waits && synod_planted::is(Bug::ReplacedDiskAnswers))
    }

    /// A disk that isn't open must not vote, nor tell votes (S12).
    fn ignore_until_open(&self, from: NodeId) {
        debug!(%from, formation = ?self.durable.head().formation, "not open: answers only formation and status");
    }

    fn flush_answer(&mut self, effects: &mut Out) {
        if let Some(answer) = self.answer.take() {
            effects.send(answer.ballot.proposer, ToProposer::Accepted(answer));
        }
    }

    fn on_open_message(
        &mut self,
        from: NodeId,
        message: ToAcceptor,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        match (message, from) {
            (ToAcceptor::Prepare { ballot, after }, NodeId::Proposer(from)) => {
                own_ballot(from, ballot)?;
                self.on_prepare(from, ballot, after, effects);
            }
            (ToAcceptor::Accept(accept), NodeId::Proposer(from)) => {
                own_ballot(from, accept.ballot)?;
                if accept.entries.iter().any(|entry| entry.slot < Slot::FIRST) {
                    return Err(Misdirected::new(from, "slots count from 1"));
                }
                self.on_accept(from, accept, effects);
            }
            (ToAcceptor::Admit(admit), NodeId::Proposer(from)) => {
                own_ballot(from, admit.ballot)?;
                self.on_admit(from, admit, effects)?;
            }
            (ToAcceptor::Reached { ballot, rows }, NodeId::Proposer(from)) => {
                own_ballot(from, ballot)?;
                self.on_reached(from, ballot, &rows, effects);
            }
            (ToAcceptor::Probe { probe }, NodeId::Proposer(from)) => self.on_probe(from, probe, effects),
            (ToAcceptor::QuorumRead { round }, NodeId::Learner(from)) => {
                self.on_quorum_read(from, round, effects)
            }
            (ToAcceptor::Fetch(fetch), NodeId::Proposer(from)) => {
                let (fetched, fills) = self.on_fetch(fetch);
                effects.send_filled(from, ToProposer::Fetched(fetched), fills);
            }
            (ToAcceptor::Fetch(fetch), NodeId::Learner(from)) => {
                let (fetched, fills) = self.on_fetch(fetch);
                effects.send_filled(from, ToLearner::Fetched(fetched), fills);
            }
            (
                ToAcceptor::Prepare { .. }
                | ToAcceptor::Accept(_)
                | ToAcceptor::Probe { .. }
                | ToAcceptor::QuorumRead { .. }
                | ToAcceptor::Fetch(_)
                | ToAcceptor::Admit(_)
                | ToAcceptor::Reached { .. }
                | ToAcceptor::Form { .. }
                | ToAcceptor::Status { .. },
                from,
            ) => return Err(Misdirected::new(from, "another role sends this message")),
        }
        Ok(())
    }
}

/// A ballot is used by its own proposer alone (S5).
fn own_ballot(from: ProposerId, ballot: Ballot) -> Result<(), Misdirected> {
    if ballot.proposer == from && !ballot.is_none() {
        Ok(())
    } else {
        Err(Misdirected::new(from, format!("S5: ballot {ballot} isn't its own")))
    }
}

impl Role for Acceptor {
    type Message = ToAcceptor;
    type Record = Record;
    type Timer = Timer;

    fn on_start(&mut self, effects: &mut Out) {
        if self.durable.cluster().is_none() {
            warn!(
                formation = ?self.durable.head().formation,
                "its disk isn't open in any cluster, so it votes on nothing: form a new cluster with `synod admin form`; in a \
                 cluster that is formed already this disk was lost or replaced, and must be readmitted: \
                 `synod admin readmit-acceptor` (it votes on nothing before)"
            );
        }
        // A leader that was alive before the restart is given a whole election timeout to be heard again.
        effects.set_timer(Timer::LeaderSilent, Delay::exactly(self.config.election_timeout_ms));
    }

    fn on_message(
        &mut self,
        from: NodeId,
        message: ToAcceptor,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        match (message, from) {
            (ToAcceptor::Form { request, step }, NodeId::Client(from)) => {
                self.on_form(from, request, step, effects);
            }
            (ToAcceptor::Status { request }, NodeId::Client(from)) => {
                effects.send(from, ToClient::Status { request, status: Status::Acceptor(self.on_status()) });
            }
            (message, from) if self.takes_part() => {
                return self.on_open_message(from, message, effects);
            }
            (_, from) => self.ignore_until_open(from),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, _effects: &mut Out) {
        match timer {
            Timer::LeaderSilent => self.leader_silent = true,
        }
    }

    fn on_link(&mut self, peer: NodeId, up: bool, effects: &mut Out) {
        // Only a process that ended, or a network that gave up, closes a connection: no need to wait out the timeout. If it
        // was the network and the leader is back, its next word says so before a quorum of acceptors has believed it.
        if !up && peer == NodeId::Proposer(self.durable.head().promised.proposer) {
            self.leader_silent = true;
            effects.cancel_timer(Timer::LeaderSilent);
        }
    }

    fn end_of_batch(&mut self, effects: &mut Out) {
        self.flush_answer(effects);
    }

    fn standing(&self) -> Standing {
        Standing {
            cluster: self.durable.cluster(),
            incarnation: self.durable.head().formation.disk().map_or(0, |disk| disk.0),
            since: self.durable.head().since(),
            position: self.durable.head().position,
        }
    }
}

#[cfg(test)]
mod tests;
