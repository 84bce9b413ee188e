//! Healing: bringing acceptors that missed slots up to the leader's chosen prefix, with ordinary Accepts in its own ballot.
//!
//! A chosen value is always a safe value, so healing needs no rule of its own. Values come from the leader's memory or are fetched
//! from another acceptor's held prefix. The rate is bounded: one batch per acceptor is under way at a time, at most
//! `heal_bytes` each `heal_ms`. If a chosen value is held by no acceptor that answers, the leader must prepare again:
//! [`Healing::missing_for`] tells how long that has been so. Pure state.

use std::collections::{BTreeMap, BTreeSet};

use synod_protocol::message::Fetched;
use synod_protocol::{AcceptorId, QuorumSystem, Slot, Value};

/// What the leader knows of its acceptors' held prefixes, and what it is doing about them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Healing {
    /// The held prefix that each acceptor has told in this ballot.
    held: BTreeMap<AcceptorId, Slot>,
    /// The last slot sent to an acceptor to heal it, and the tick when that was.
    under_way: BTreeMap<AcceptorId, (Slot, u64)>,
    /// Values fetched from an acceptor's held prefix, for slots that the leader has forgotten.
    fetched: BTreeMap<Slot, Value>,
    /// The Fetch that waits for an answer: first slot, whom it was sent to, when.
    asked: Option<(Slot, AcceptorId, u64)>,
    /// The chosen prefixes stated in the last two ticks, oldest first: an acceptor may not have answered the newer yet.
    stated: [Slot; 2],
    /// Since which tick a slot was needed that no acceptor that answers holds.
    missing_since: Option<u64>,
    tick: u64,
}

/// What healing asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Send these slots to the acceptor.
    Send(AcceptorId, Vec<(Slot, Value)>),
    /// Fetch these slots from the acceptor.
    Fetch(AcceptorId, Slot, Slot),
}

/// Where chosen values come from, and how much of them at once.
#[derive(Clone, Copy)]
pub struct Supply<'a> {
    /// The leader's kept values.
    pub retained: &'a dyn Fn(Slot) -> Option<Value>,
    /// The chosen prefix that the latest message to all acceptors stated.
    pub stated: Slot,
    /// Slots below it are needed by nobody; an Accept that tells it makes acceptors hold them.
    pub floor: Slot,
    /// Acceptors whose disks are full, and who so can't be healed.
    pub full: &'a BTreeSet<AcceptorId>,
    /// Bytes for one acceptor in one tick.
    pub bytes: u64,
    /// Ticks after which what was not answered is done again.
    pub patience_ticks: u64,
}

impl Healing {
    /// Notes the held prefix that `acceptor` told in this ballot.
    pub fn note_held(&mut self, acceptor: AcceptorId, held: Slot) {
        let known = self.held.entry(acceptor).or_default();
        *known = held.max(*known);
    }

    /// The held prefix that `acceptor` has told in this ballot.
    pub fn held_of(&self, acceptor: AcceptorId) -> Slot {
        self.held.get(&acceptor).copied().unwrap_or_default()
    }

    /// The held prefixes told in this ballot.
    pub fn held(&self) -> impl Iterator<Item = (AcceptorId, Slot)> {
        self.held.iter().map(|(acceptor, held)| (*acceptor, *held))
    }

    /// Every acceptor holds what lies up to here.
    pub fn held_by_all(&self, quorums: &QuorumSystem) -> Slot {
        self.held_by(quorums.count(), quorums)
    }

    /// A Phase-1 quorum holds what lies up to here.
    pub fn held_by_quorum(&self, quorums: &QuorumSystem) -> Slot {
        self.held_by(quorums.phase1(), quorums)
    }

    fn held_by(&self, count: usize, quorums: &QuorumSystem) -> Slot {
        let mut held: Vec<Slot> = quorums
            .acceptors()
            .map(|acceptor| self.held.get(&acceptor).copied().unwrap_or_default())
            .collect();
        held.sort_unstable();
        held[held.len() - count]
    }

    /// An acceptor's connection is gone: what it was sent or asked may be lost.
    pub fn forget_link(&mut self, acceptor: AcceptorId) {
        self.under_way.remove(&acceptor);
        if self.asked.is_some_and(|(_, whom, _)| whom == acceptor) {
            self.asked = None;
        }
    }

    /// Takes fetched values in, if they were asked for; they are chosen (S6).
    pub fn take_fetched(&mut self, from: AcceptorId, fetched: Fetched) {
        if self.asked.is_none_or(|(first, whom, _)| first != fetched.first || whom != from) {
            return;
        }
        self.asked = None;
        let slots = (fetched.first.0..).map(Slot);
        self.fetched.extend(slots.zip(fetched.values));
    }

    /// One tick: what to do for each acceptor in `reachable` that lacks slots it was told of two ticks ago.
    pub fn tick(&mut self, reachable: &[AcceptorId], supply: Supply<'_>) -> Vec<Remedy> {
        self.tick += 1;
        let due = self.stated[0];
        self.stated = [self.stated[1], supply.stated];
        let (mut remedies, mut lacking) = (Vec::new(), None::<Slot>);
        let mut behind = Slot(u64::MAX);
        for acceptor in reachable.iter().filter(|acceptor| !supply.full.contains(acceptor)) {
            let held = self.held.get(acceptor).copied().unwrap_or_default().max(supply.floor.previous());
            if held >= due {
                self.under_way.remove(acceptor);
                continue;
            }
            behind = behind.min(held);
            let waiting = self
                .under_way
                .get(acceptor)
                .is_some_and(|(upto, since)| held < *upto && self.tick < since + supply.patience_ticks);
            if waiting {
                continue;
            }
            let run = self.run(held.next(), due, supply);
            match run.last() {
                Some((upto, _)) => {
                    self.under_way.insert(*acceptor, (*upto, self.tick));
                    remedies.push(Remedy::Send(*acceptor, run));
                }
                None => lacking = Some(lacking.map_or(held.next(), |slot| slot.min(held.next()))),
            }
        }
        // Fetched values serve the acceptors that are behind; once none needs a slot it goes.
        self.fetched = self.fetched.split_off(&behind.plus(1));
        match lacking {
            Some(slot) => remedies.extend(self.fetch(slot, reachable, supply)),
            None => self.missing_since = None,
        }
        remedies
    }

    fn run(&self, first: Slot, last: Slot, supply: Supply<'_>) -> Vec<(Slot, Value)> {
        let (mut run, mut bytes, mut slot) = (Vec::new(), 0, first);
        while slot <= last && bytes < supply.bytes {
            let Some(value) = (supply.retained)(slot).or_else(|| self.fetched.get(&slot).cloned()) else {
                break;
            };
            bytes += value.len() as u64 + 64;
            run.push((slot, value));
            slot = slot.next();
        }
        run
    }

    fn fetch(&mut self, slot: Slot, reachable: &[AcceptorId], supply: Supply<'_>) -> Option<Remedy> {
        let holders: Vec<AcceptorId> = reachable
            .iter()
            .copied()
            .filter(|acceptor| self.held.get(acceptor).is_some_and(|held| *held >= slot))
            .collect();
        if holders.is_empty() {
            self.missing_since.get_or_insert(self.tick);
            return None;
        }
        self.missing_since = None;
        let tried = match self.asked {
            Some((first, _, since)) if first == slot && self.tick < since + supply.patience_ticks => {
                return None;
            }
            Some((_, whom, _)) => Some(whom),
            None => None,
        };
        // The holder after the one that didn't answer, in turn.
        let next = holders.iter().copied().find(|holder| tried.is_none_or(|tried| *holder > tried));
        let whom = next.unwrap_or(holders[0]);
        self.asked = Some((slot, whom, self.tick));
        Some(Remedy::Fetch(whom, slot, supply.stated))
    }

    /// For how many ticks a slot has been needed that no reachable acceptor holds.
    pub fn missing_for(&self) -> u64 {
        self.missing_since.map_or(0, |since| self.tick - since)
    }
}
