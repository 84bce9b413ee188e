//! The invariants, checked after every event by somebody who sees everything: all durable votes, all messages, all replies.
//!
//! The ledger trusts no role. It counts votes itself from the records that became durable, knows so what is chosen, applies that to a state
//! machine of its own, and compares with it whatever a process says or applies. Checks I1 to I8 and the half of I13 that
//! concerns chosen values, I10 and I11; I9 and the rest of I13 are the history's ([`crate::history`]), I15 the trial's.

mod claims;
mod pins;
mod stores;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use bytes::Bytes;

use synod_acceptor::{Durable, Record};
use synod_protocol::command::{self, Command, Outcome, Refusal, Reply, SessionId};
use synod_protocol::message::Admit;
use synod_protocol::{AcceptorId, Ballot, Cluster, Incarnation, QuorumSystem, Slot, Value};
use synod_store::{Applied, MemoryStorage, StateMachine};
use xxhash_rust::xxh3::xxh3_64;

use crate::coverage::{Coverage, Seen};
use crate::records::Records;
use crate::recovered;
use crate::seats::Seats;
use crate::violation::{Check, Violation, check};
use pins::Pins;
use stores::Stores;

/// The votes of one ballot for one slot.
struct Ballotted {
    value: Value,
    voters: BTreeSet<AcceptorId>,
}

/// All that has happened.
pub(crate) struct Ledger {
    quorums: QuorumSystem,
    votes: BTreeMap<Slot, BTreeMap<Ballot, Ballotted>>,
    /// The value, and the lowest ballot at which a quorum is known to have voted for it.
    chosen: BTreeMap<Slot, (Ballot, Value)>,
    /// Each acceptor's durable state: what its successful syncs have made of it.
    durable: BTreeMap<AcceptorId, Durable>,
    /// The other durable state of an acceptor whose disk was replaced and that has both: the one that isn't in.
    other: BTreeMap<AcceptorId, Durable>,
    /// Which disks count for an acceptor, from which ballot on; before the first of them, the one it was formed with.
    seats: Seats,
    /// Hashes of the commands that clients and learners have proposed.
    proposed: HashSet<u64>,
    /// Commands proposed while this is set are noted in `fresh`, and whether one of them was chosen in `resumed`.
    watching: bool,
    fresh: HashSet<u64>,
    pub(crate) resumed: bool,
    /// The chosen prefix, applied.
    reference: StateMachine<MemoryStorage>,
    /// The hash chain after each slot, from slot 0.
    chains: Vec<u64>,
    /// The first reply of every call that took effect.
    replies: HashMap<(SessionId, u64), Reply>,
    /// The slot of the last command of each session.
    renewed: HashMap<SessionId, Slot>,
    /// What each key was, and when.
    records: Records,
    /// What learners have synced, and acceptors may drop.
    stores: Stores,
    pins: Pins,
}

impl Ledger {
    pub(crate) fn new(cluster: &Cluster) -> Ledger {
        let reference = StateMachine::new(cluster.limits, MemoryStorage::default());
        Ledger {
            quorums: cluster.quorums.clone(),
            stores: Stores::new(cluster, reference.clone()),
            // The fastest clock makes less of it by half.
            pins: Pins::new(cluster.tuning.snapshot_keep_ms * 500, cluster.tuning.pin_bytes),
            votes: BTreeMap::new(),
            chosen: BTreeMap::new(),
            durable: BTreeMap::new(),
            other: BTreeMap::new(),
            seats: Seats::default(),
            proposed: HashSet::new(),
            watching: false,
            fresh: HashSet::new(),
            resumed: false,
            chains: vec![reference.chain()],
            reference,
            replies: HashMap::new(),
            renewed: HashMap::new(),
            records: Records::default(),
        }
    }

    /// Every slot up to here is chosen.
    pub(crate) fn prefix(&self) -> Slot {
        self.reference.applied()
    }

    /// Commands proposed from here on show that the cluster goes on, when one is chosen.
    pub(crate) fn watch(&mut self) {
        self.watching = true;
    }

    /// An acceptor's records are durable.
    pub(crate) fn on_persisted(&mut self, id: AcceptorId, records: &[Record], seen: &mut Coverage) -> Check {
        for record in records {
            match record {
                Record::Voted { ballot, entries, .. } => {
                    for entry in entries {
                        self.note_vote(id, *ballot, entry.slot, &entry.value, seen)?;
                    }
                }
                Record::Reached { .. } => seen.see(Seen::PositionKept),
                Record::Readmitted { admit } => self.seats.recorded(id, *admit, &self.quorums),
                Record::Prepared { .. }
                | Record::Opened { .. }
                | Record::Promised { .. }
                | Record::Truncated { .. }
                | Record::Replaced { .. }
                | Record::Entered { .. } => {}
            }
            let durable = self.durable.entry(id).or_insert_with(|| Durable::empty(id));
            let floor = durable.head().floor;
            durable.apply(record);
            let raised = durable.head().floor;
            if raised > floor {
                self.on_floor_durable(id, raised, seen)?;
            }
        }
        Ok(())
    }

    /// An acceptor has read its journal. Nothing that was durable may be missing (I3, I4, I8, I12); what was only written may have lasted.
    pub(crate) fn on_recovered(&mut self, id: AcceptorId, found: &Durable, seen: &mut Coverage) -> Check {
        if let Some(known) = self.durable.get(&id) {
            recovered::covers(id, known, found)?;
        }
        self.durable.insert(id, found.clone());
        let readmitted = found.head().incarnations.rows().filter(|(_, row)| !row.since.is_none());
        for (acceptor, Incarnation { since: ballot, disk, .. }) in readmitted {
            self.seats.recorded(id, Admit { ballot, acceptor, disk }, &self.quorums);
        }
        if found.head().floor > Slot::FIRST {
            self.on_floor_durable(id, found.head().floor, seen)?;
            seen.see(Seen::RestartAboveFloor);
        }
        for (slot, voted) in found.votes_above(Slot::ZERO) {
            let value = voted.value.in_memory();
            let value = value.expect("recovery for the ledger leaves no value to the disk");
            self.note_vote(id, voted.ballot, slot, value, seen)?;
        }
        Ok(())
    }

    /// An acceptor's disk was replaced by an empty one.
    pub(crate) fn on_disk_replaced(&mut self, id: AcceptorId) {
        let lost = self.durable.remove(&id);
        self.other.extend(lost.map(|lost| (id, lost)));
    }

    /// The one of an acceptor's two disks that wasn't in is put in.
    pub(crate) fn on_disk_swapped(&mut self, id: AcceptorId) {
        let (out, back) = (self.durable.remove(&id), self.other.remove(&id));
        self.durable.extend(back.map(|back| (id, back)));
        self.other.extend(out.map(|out| (id, out)));
    }

    /// If the power went here, this is what recovery would find (I4, without a crash).
    pub(crate) fn on_audited(&self, id: AcceptorId, found: &Durable) -> Check {
        self.durable.get(&id).map_or(Ok(()), |known| recovered::covers(id, known, found))
    }

    fn note_vote(
        &mut self,
        id: AcceptorId,
        ballot: Ballot,
        slot: Slot,
        value: &Value,
        seen: &mut Coverage,
    ) -> Check {
        if let Some(voted) = self.durable.get(&id).and_then(|durable| durable.vote(slot))
            && voted.ballot < ballot
            && !voted.value.is(value)
        {
            seen.see(Seen::VoteOverwritten);
        }
        let ballots = self.votes.entry(slot).or_default();
        let votes = ballots
            .entry(ballot)
            .or_insert_with(|| Ballotted { value: value.clone(), voters: BTreeSet::new() });
        check(votes.value == *value, "I2", || {
            format!("slot {slot} has two values at ballot {ballot:?}: {:?} and {value:?}", votes.value)
        })?;
        let disk = self.durable.get(&id).and_then(|durable| durable.head().formation.disk());
        if !self.seats.counts(id, disk, ballot) {
            seen.see(Seen::OldVoteIgnored);
            return Ok(());
        }
        if !votes.voters.insert(id) {
            return Ok(());
        }
        let reached = votes.voters.len() >= self.quorums.phase2();
        if let Some((chosen_at, chosen)) = self.chosen.get(&slot) {
            check(*chosen_at >= ballot || chosen == value, "I1", || {
                format!(
                    "slot {slot} was chosen at {chosen_at:?}, but {id} votes for another value at {ballot:?}"
                )
            })?;
            if *chosen_at < ballot {
                seen.see(Seen::ChosenAgain);
            }
        }
        if reached { self.note_chosen(slot, ballot, value, seen) } else { Ok(()) }
    }

    fn note_chosen(&mut self, slot: Slot, ballot: Ballot, value: &Value, seen: &mut Coverage) -> Check {
        let above = self.votes[&slot].range(ballot..).find(|(_, votes)| votes.value != *value);
        check(above.is_none(), "I1", || {
            format!("slot {slot} is chosen at {ballot:?}, though another value has a vote at a higher ballot")
        })?;
        match self.chosen.get_mut(&slot) {
            Some((lowest, chosen)) => {
                check(chosen == value, "I1", || format!("two values are chosen for slot {slot}"))?;
                *lowest = ballot.min(*lowest);
                return Ok(());
            }
            None => drop(self.chosen.insert(slot, (ballot, value.clone()))),
        }
        seen.see(if value.is_noop() { Seen::NoopChosen } else { Seen::ValueChosen });
        for (command, _) in command::pieces(value, 1, usize::MAX).into_iter().flatten() {
            let hash = xxh3_64(command.bytes());
            check(self.proposed.contains(&hash), "I5", || {
                format!("slot {slot} holds a command that nobody has proposed")
            })?;
            self.resumed |= self.fresh.contains(&hash);
        }
        self.apply_chosen(seen)
    }

    fn apply_chosen(&mut self, seen: &mut Coverage) -> Check {
        while let Some((_, value)) = self.chosen.get(&self.prefix().next()) {
            let value = value.clone();
            let applied = self.reference.apply(self.reference.applied().next(), &value);
            self.chains.push(self.reference.chain());
            self.stores.note_state(self.reference.clone());
            self.check_expiry(&value, &applied)?;
            let mut replies = applied.replies.into_iter();
            for command in command::commands(value.bytes()).flatten() {
                let Command::Call(call) = command else { continue };
                let Some(reply) = replies.next() else { break };
                let took_effect = reply.outcome;
                if self.check_once(reply, seen)? {
                    self.records.note(self.reference.applied(), &call, took_effect)?;
                }
            }
            for opened in &applied.opened {
                let refused = opened.session.is_none();
                seen.see(if refused { Seen::SessionsRefused } else { Seen::SessionOpened });
            }
            seen.add(Seen::SessionExpired, applied.expired.len() as u64);
        }
        Ok(())
    }

    /// S9: only a session whose last command is still the one told expires.
    fn check_expiry(&mut self, value: &Value, applied: &Applied) -> Check {
        let slot = self.reference.applied();
        let mut idle = BTreeSet::new();
        for command in command::commands(value.bytes()).flatten() {
            match command {
                Command::Call(call) => {
                    self.renewed.insert(call.session, slot);
                }
                Command::Expire { session, renewed } => {
                    if self.renewed.get(&session).is_none_or(|last| *last == renewed) {
                        idle.insert(session);
                    }
                }
                Command::Open { .. } => {}
            }
        }
        let opened = applied.opened.iter().filter_map(|opened| opened.session);
        self.renewed.extend(opened.map(|session| (session, slot)));
        let used = applied.expired.iter().find(|session| !idle.contains(session));
        check(used.is_none(), "S9", || {
            format!("{used:?} expires at slot {slot} though it was used meanwhile")
        })
    }

    /// The record of a key after `slot`.
    pub(crate) fn record_at(&self, key: &Bytes, slot: Slot) -> Option<&command::Record> {
        self.records.at(key, slot)
    }

    /// I7: whatever comes again gets the identical reply, or is refused for good. Tells whether the call took effect here.
    fn check_once(&mut self, reply: Reply, seen: &mut Coverage) -> Result<bool, Violation> {
        match reply.outcome {
            Outcome::Refused(Refusal::OutsideWindow) => seen.see(Seen::CallFenced),
            Outcome::Refused(Refusal::NoSession) => {}
            Outcome::Put { .. }
            | Outcome::Deleted { .. }
            | Outcome::Restored
            | Outcome::Renewed
            | Outcome::Closed
            | Outcome::Refused(
                Refusal::KeyTooLong { .. }
                | Refusal::ValueTooLong { .. }
                | Refusal::Restoring
                | Refusal::OtherBackup { .. }
                | Refusal::NotEmpty { .. }
                | Refusal::BadRevision,
            ) => {
                let key = (reply.session, reply.sequence);
                if let Some(first) = self.replies.get(&key) {
                    check(*first == reply, "I7", || {
                        format!("a call was answered with {first:?}, and when it came again with {reply:?}")
                    })?;
                    seen.see(Seen::RetryDeduplicated);
                } else {
                    self.replies.insert(key, reply);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// A learner has come to this slot with this hash chain (I6).
    pub(crate) fn on_applied(&self, id: impl fmt::Display, slot: Slot, chain: u64) -> Check {
        check(slot <= self.prefix(), "I6", || {
            format!("{id} has applied slot {slot}, but only {} slots are chosen without a gap", self.prefix())
        })?;
        check(self.chains[slot.0 as usize] == chain, "I6", || {
            format!("the hash chain of {id} at slot {slot} differs from that of the chosen values")
        })
    }
}
