//! The ghost: what was ever voted, asked for and chosen, and what clients have seen. No role knows it; the invariants that concern
//! more than one node are judged by it, at every step that adds to it.

use std::collections::{BTreeMap, BTreeSet};

use synod_protocol::cluster::Limits;
use synod_protocol::{AcceptorId, Ballot, DiskId, NodeId, Slot, Value};
use synod_store::{MemoryStorage, StateMachine};

use crate::step::{Fact, Failure, Rule, Witness};
use crate::symmetry::Renaming;
use crate::world::{Config, EARLIER, KEY, Replaced, origin_of, tell_value};

/// Everything that was ever durable or sent, as far as the invariants ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// Each slot's votes at each ballot: the value, and a bit for each acceptor that ever had it on its disk.
    votes: BTreeMap<(Slot, Ballot), (Value, u8)>,
    /// What each ballot's leader asked votes for.
    asked: BTreeMap<(Slot, Ballot), Value>,
    /// The value chosen for a slot, and the lowest ballot at which it was. Votes and requests for the slot from that ballot on are
    /// compared with it and not kept.
    chosen: BTreeMap<Slot, (Ballot, Value)>,
    /// Ballots that readmit a disk, since their leaders have asked for the record: whose, and the places where it was recorded.
    readmissions: BTreeMap<Ballot, (AcceptorId, DiskId, u8)>,
    /// Whether the disk that waited has entered.
    entered: bool,
    /// Slots chosen with the vote of a disk that was replaced since, or may be.
    with_lost: BTreeSet<Slot>,
    /// Enough learners have synced up to here.
    synced: Slot,
    /// The highest slot whose effect a client has seen.
    seen: Slot,
    /// Reads under way, with what had been seen when they began.
    reads: BTreeMap<u64, Slot>,
}

/// A history with more in it.
#[derive(Clone, Debug)]
pub(crate) struct Extended {
    pub(crate) history: History,
    pub(crate) failure: Option<Failure>,
    pub(crate) witnesses: u32,
}

impl Extended {
    fn fail(&mut self, rule: Rule, text: impl FnOnce() -> String) {
        self.failure.get_or_insert_with(|| Failure { rule, text: text() });
    }

    fn witness(&mut self, witness: Witness) {
        self.witnesses |= witness.bit();
    }
}

impl History {
    /// Nothing but what was readmitted before.
    pub(crate) fn new(config: &Config) -> History {
        let mut history = History::default();
        if config.replaced == Replaced::LastAfterSecond {
            history.readmissions.insert(EARLIER, (AcceptorId(2), DiskId(2), 0b101));
        }
        history
    }

    /// The value chosen for each slot.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = (Slot, &Value)> {
        self.chosen.iter().map(|(slot, (_, value))| (*slot, value))
    }

    /// The same history with the acceptors renamed.
    pub(crate) fn renamed(mut self, renaming: &Renaming) -> History {
        for (_, who) in self.votes.values_mut() {
            let old = *who;
            *who = (0..u8::BITS as usize)
                .filter(|place| old & (1 << place) != 0)
                .fold(0, |new, place| new | 1 << renaming[place]);
        }
        self
    }

    /// Without the votes that can't become part of a quorum any more, and without requests that every acceptor refuses.
    pub(crate) fn pruned(mut self, promises: &[Ballot], phase2: usize) -> History {
        self.votes.retain(|(_, ballot), (_, who)| {
            // Bits of further processes, and so whoever they vote for, count for all here: that only keeps more.
            let others = if *who >> promises.len() == 0 { 0 } else { u8::MAX };
            let who = *who | others;
            let may = |(place, promised): (usize, &Ballot)| promised <= ballot || who & (1 << place) != 0;
            promises.iter().enumerate().filter(|at| may(*at)).count() >= phase2
        });
        self.asked.retain(|(_, ballot), _| promises.iter().any(|promised| promised <= ballot));
        self
    }

    /// Whether these votes at a ballot are a Phase-2 quorum (S6) of distinct acceptors, with disks that weren't replaced at the ballot (S12):
    /// by that ballot itself, or by a lower one whose record a quorum has.
    fn is_quorum(&self, ballot: Ballot, who: u8, config: &Config) -> bool {
        let voters = (0..u8::BITS as u8).filter(|place| who & (1 << place) != 0);
        let counted = voters.filter(|place| !self.is_replaced(*place, ballot, config));
        let ids: BTreeSet<_> = counted.filter_map(|place| config.seat(place)).map(|(id, _)| id).collect();
        ids.len() >= config.phase2
    }

    fn is_replaced(&self, place: u8, ballot: Ballot, config: &Config) -> bool {
        let Some((id, disk)) = config.seat(place) else { return false };
        self.readmissions.iter().any(|(since, (whose, by, recorded))| {
            let recorded = recorded.count_ones() as usize >= config.phase2;
            *whose == id && *by != disk && (*since == ballot || (*since < ballot && recorded))
        })
    }

    /// Takes facts in and judges them.
    pub(crate) fn extended(&self, facts: &[Fact], config: &Config) -> Extended {
        let mut extended = Extended { history: self.clone(), failure: None, witnesses: 0 };
        for fact in facts {
            match fact {
                Fact::Voted { acceptor, slot, ballot, value } => {
                    extended.voted(*acceptor, *slot, *ballot, value, config);
                }
                Fact::Asked { slot, ballot, value } => extended.asked(*slot, *ballot, value),
                Fact::Admits { acceptor, row } => {
                    let readmissions = &mut extended.history.readmissions;
                    readmissions.entry(row.since).or_insert((*acceptor, row.disk, 0));
                }
                Fact::Recorded { place, acceptor, row } => {
                    let readmissions = &mut extended.history.readmissions;
                    let known = readmissions.entry(row.since).or_insert((*acceptor, row.disk, 0));
                    known.2 |= 1 << place;
                }
                Fact::Entered { .. } => extended.history.entered = true,
                Fact::CalledChosen { .. }
                | Fact::CalledPrefix { .. }
                | Fact::Synced { .. }
                | Fact::Dropped { .. }
                | Fact::Applied { .. }
                | Fact::Replied { .. }
                | Fact::ReadBegan { .. }
                | Fact::ReadAnswered { .. } => {}
            }
        }
        extended.choose(config);
        facts.iter().for_each(|fact| extended.claimed(fact));
        extended
    }
}

impl Extended {
    fn voted(&mut self, acceptor: u8, slot: Slot, ballot: Ballot, value: &Value, config: &Config) {
        if self.history.entered && self.history.is_replaced(acceptor, ballot, config) {
            self.witness(Witness::OldDiskVotesOn);
        }
        if config.seat(acceptor) == config.replacement() && self.history.with_lost.contains(&slot) {
            self.witness(Witness::OldValueSurvives);
        }
        let vote = self.history.votes.entry((slot, ballot)).or_insert_with(|| (value.clone(), 0));
        vote.1 |= 1 << acceptor;
        let known = vote.0.clone();
        if known != *value {
            self.fail(Rule::I2, || two(slot, ballot, &known, value));
        }
    }

    fn asked(&mut self, slot: Slot, ballot: Ballot, value: &Value) {
        let known = self.history.asked.entry((slot, ballot)).or_insert_with(|| value.clone()).clone();
        if known != *value {
            self.fail(Rule::I2, || two(slot, ballot, &known, value));
        }
        if origin_of(value).is_none() && !value.is_noop() {
            self.fail(Rule::I5, || {
                format!("{ballot} asks votes for {value:?} in slot {slot}, which nobody offered")
            });
        }
    }

    /// What a quorum voted for is chosen. I1 in its inductive form: whatever is chosen at one ballot is all that higher ballots
    /// ask or vote for, and all that lower ones choose.
    fn choose(&mut self, config: &Config) {
        let found: Vec<(Slot, Ballot, Value, u8)> = self
            .history
            .votes
            .iter()
            .filter(|((_, ballot), (_, who))| self.history.is_quorum(*ballot, *who, config))
            .map(|((slot, ballot), (value, who))| (*slot, *ballot, value.clone(), *who))
            .collect();
        for (slot, ballot, value, who) in found {
            self.with_disks(slot, ballot, who, config);
            self.witness(if value.is_noop() { Witness::NoopChosen } else { Witness::Chosen });
            if origin_of(&value).is_some_and(|origin| origin.proposer != ballot.proposer.0) {
                self.witness(Witness::ChosenAfterLeaderChange);
            }
            let chosen = self.history.chosen.entry(slot).or_insert_with(|| (ballot, value.clone()));
            chosen.0 = ballot.min(chosen.0);
            let chosen = chosen.1.clone();
            if chosen != value {
                self.fail(Rule::I1, || {
                    let (chosen, value) = (tell_value(&chosen), tell_value(&value));
                    format!("slot {slot}: {chosen} was chosen, and so is {value} at {ballot}")
                });
            }
        }
        let chosen = self.history.chosen.clone();
        for (slot, (ballot, value)) in &chosen {
            let range = (*slot, *ballot)..(slot.next(), Ballot::NONE);
            let votes = self.history.votes.range(range.clone()).map(|(key, (value, _))| (key, value));
            let asked = self.history.asked.range(range);
            let other =
                votes.chain(asked).find(|(_, other)| *other != value).map(|(key, other)| (key.1, other));
            let other = other.map(|(later, other)| (later, other.clone()));
            if let Some((later, other)) = other {
                self.fail(Rule::I1, || {
                    let (value, other) = (tell_value(value), tell_value(&other));
                    format!("slot {slot}: {value} was chosen at {ballot}, but {later} goes for {other}")
                });
            }
        }
        let kept =
            |(slot, ballot): &(Slot, Ballot)| chosen.get(slot).is_none_or(|(lowest, _)| ballot < lowest);
        self.history.votes.retain(|key, _| kept(key));
        self.history.asked.retain(|key, _| kept(key));
    }

    /// What somebody says of the chosen slots must be so.
    fn claimed(&mut self, fact: &Fact) {
        match fact {
            Fact::CalledChosen { who, slot, value } => {
                let chosen = self.history.chosen.get(slot).map(|(_, value)| value.clone());
                if chosen.as_ref() != Some(value) {
                    self.fail(Rule::I6, || {
                        let (value, chosen) = (tell_value(value), chosen.as_ref().map(tell_value));
                        format!("{who} calls {value} chosen for slot {slot}, chosen is {chosen:?}")
                    });
                }
            }
            Fact::CalledPrefix { who, slot } => {
                if let Some(gap) = self.gap(*slot) {
                    self.fail(Rule::I6, || format!("{who} calls slots up to {slot} chosen, {gap} isn't"));
                }
            }
            Fact::Synced { slot } => self.history.synced = self.history.synced.max(*slot),
            Fact::Dropped { who, floor } => {
                let synced = self.history.synced;
                if *floor > synced.next() {
                    self.fail(Rule::I11, || {
                        format!("{who} drops what lies below {floor}, synced is {synced}")
                    });
                }
            }
            Fact::Applied { who, slot, chain } => self.applied(*who, *slot, *chain),
            Fact::Replied { slot } => self.history.seen = self.history.seen.max(*slot),
            Fact::ReadBegan { id } => drop(self.history.reads.insert(*id, self.history.seen)),
            Fact::ReadAnswered { id, slot, value } => self.read(*id, *slot, value.as_deref()),
            Fact::Voted { .. }
            | Fact::Asked { .. }
            | Fact::Admits { .. }
            | Fact::Recorded { .. }
            | Fact::Entered { .. } => {}
        }
    }

    /// Notes which disks' votes have chosen a slot.
    fn with_disks(&mut self, slot: Slot, ballot: Ballot, who: u8, config: &Config) {
        let Some((last, waited)) = config.replacement() else { return };
        for (place, seat) in (0..u8::BITS as u8).filter_map(|place| Some((place, config.seat(place)?))) {
            let needed = !self.history.is_quorum(ballot, who & !(1 << place), config);
            if who & (1 << place) == 0 || seat.0 != last || !needed {
                continue;
            }
            if seat.1 == waited {
                self.witness(Witness::NewDiskCounts);
            } else {
                self.history.with_lost.insert(slot);
            }
        }
    }

    fn gap(&self, upto: Slot) -> Option<Slot> {
        (1..=upto.0).map(Slot).find(|slot| !self.history.chosen.contains_key(slot))
    }

    /// The state after the chosen slots up to `slot`.
    fn state_at(&self, slot: Slot) -> Option<StateMachine<MemoryStorage>> {
        let mut machine = StateMachine::new(Limits::default(), MemoryStorage::default());
        for slot in (1..=slot.0).map(Slot) {
            machine.apply(slot, &self.history.chosen.get(&slot)?.1);
        }
        Some(machine)
    }

    fn applied(&mut self, who: NodeId, slot: Slot, chain: u64) {
        let expected = self.state_at(slot).map(|machine| machine.chain());
        if expected != Some(chain) {
            let gap = self.gap(slot);
            self.fail(Rule::I6, || {
                format!("{who} has applied up to slot {slot} with another state than what is chosen (first unchosen: {gap:?})")
            });
        }
    }

    /// I13: it saw all that had been seen when it began, and nothing that isn't chosen.
    fn read(&mut self, id: u64, slot: Slot, value: Option<&[u8]>) {
        let floor = self.history.reads.remove(&id).unwrap_or_default();
        if slot < floor {
            self.fail(Rule::I13, || {
                format!("read {id} began after slot {floor} was seen, and saw slot {slot}")
            });
        }
        let expected = self.state_at(slot).map(|machine| machine.get(KEY).map(|record| record.value));
        if expected.as_ref().map(Option::as_deref) != Some(value) {
            self.fail(Rule::I13, || {
                format!("read {id} at slot {slot} saw {value:?}, the chosen state is {expected:?}")
            });
        }
        if slot > Slot::ZERO && value.is_some() && slot >= floor {
            self.witness(Witness::ReadOfNewValue);
        }
        self.history.seen = self.history.seen.max(slot);
    }
}

fn two(slot: Slot, ballot: Ballot, one: &Value, other: &Value) -> String {
    format!("slot {slot} has {} and {} at {ballot:?}", tell_value(one), tell_value(other))
}
