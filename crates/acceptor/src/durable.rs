//! What an acceptor must not forget: identity, promise, floor, held prefix, and a (ballot, value) for each slot voted on.
//!
//! Durable state changes only in [`Durable::apply`], live and at recovery alike. Upholds S1 (promises never fall, one value per
//! slot and ballot), the acceptor's half of S6 (the held prefix advances only over slots voted at the ballot whose leader
//! states it), S11 (what is dropped) and S12 (identity). No message and no file is known here.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use synod_planted::Bug;
use synod_protocol::message::{Admission, Admit, Formation};
use synod_protocol::value::Entry;
use synod_protocol::wire::Payload;
use synod_protocol::{AcceptorId, Ballot, ClusterId, DiskId, Incarnations, Slot, SlotRange, Value};

use crate::vote::{Kept, Voted};

/// One change of durable state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// Prepared under a formation (S12, first step).
    Prepared {
        /// Random bits of the formation.
        formation: u128,
        /// This acceptor's disk.
        disk: DiskId,
    },
    /// Open: every acceptor was prepared (S12, second step).
    Opened {
        /// Every acceptor's disk.
        disks: Vec<(AcceptorId, DiskId)>,
        /// The cluster's name, which follows from formation, disks and fixed parameters.
        cluster: ClusterId,
    },
    /// Phase 1: no ballot below this one.
    Promised {
        /// The ballot.
        ballot: Ballot,
    },
    /// Phase 2: votes, and how far the held prefix has come with what the leader of this ballot states as chosen.
    Voted {
        /// The ballot; accepting raises the promise to it.
        ballot: Ballot,
        /// The held prefix after these votes.
        held: Slot,
        /// Slots and values; empty when only the prefix has news.
        entries: Vec<Entry>,
    },
    /// Slots below the floor are dropped: enough learners have synced them, said the leader of a ballot taken here (S11).
    Truncated {
        /// First slot kept.
        floor: Slot,
    },
    /// Another acceptor's disk was replaced (S12): from this ballot on another one counts.
    Readmitted {
        /// The ballot, the acceptor, its new disk; like a vote, it raises the promise.
        admit: Admit,
    },
    /// Other acceptors' disks have come so far (S12).
    Reached {
        /// Rows that take disks further than was known.
        rows: Incarnations,
    },
    /// This disk replaces a lost one, and waits (S12).
    Replaced {
        /// This acceptor's disk.
        disk: DiskId,
    },
    /// Readmitted: takes part from here on, with nothing below the floor and nothing voted (S12).
    Entered {
        /// What the leader granted.
        admission: Admission,
        /// The cluster's name, which follows from it and the fixed parameters.
        cluster: ClusterId,
    },
}

impl Payload for Record {
    fn values<'a>(&'a self, visit: &mut dyn FnMut(&'a Value)) {
        match self {
            Record::Voted { entries, .. } => entries.iter().for_each(|entry| visit(&entry.value)),
            Record::Prepared { .. }
            | Record::Opened { .. }
            | Record::Promised { .. }
            | Record::Truncated { .. }
            | Record::Readmitted { .. }
            | Record::Reached { .. }
            | Record::Replaced { .. }
            | Record::Entered { .. } => {}
        }
    }

    fn values_mut(&mut self, visit: &mut dyn FnMut(&mut Value)) {
        match self {
            Record::Voted { entries, .. } => entries.iter_mut().for_each(|entry| visit(&mut entry.value)),
            Record::Prepared { .. }
            | Record::Opened { .. }
            | Record::Promised { .. }
            | Record::Truncated { .. }
            | Record::Readmitted { .. }
            | Record::Reached { .. }
            | Record::Replaced { .. }
            | Record::Entered { .. } => {}
        }
    }
}

/// What an acceptor must not forget, but for the votes: the head of every journal segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Whose journal it is.
    pub acceptor: AcceptorId,
    /// Identity (S12); changes twice in a disk's life.
    pub formation: Formation,
    /// Which disks count, and how far others' have come (S12); rows are only added, taken further, or give way to newer ones.
    pub incarnations: Incarnations,
    /// No lower ballot is answered with a promise or a vote; never falls.
    pub promised: Ballot,
    /// First slot kept.
    pub floor: Slot,
    /// Every slot up to it is below the floor, or voted on here and known chosen; never falls.
    pub held: Slot,
    /// Highest slot voted on, here or perhaps on a lost disk that this one replaces; the slot below the floor before any vote.
    pub highest: Slot,
    /// Records applied in this disk's life; a hello tells with it how far the disk has come.
    pub position: u64,
}

impl Head {
    /// An empty disk.
    pub fn empty(acceptor: AcceptorId) -> Head {
        Head {
            acceptor,
            formation: Formation::Empty,
            incarnations: Incarnations::default(),
            promised: Ballot::NONE,
            floor: Slot::FIRST,
            held: Slot::ZERO,
            highest: Slot::ZERO,
            position: 0,
        }
    }

    /// Takes a record in; the votes themselves are [`Durable`]'s.
    ///
    /// # Panics
    /// If the record breaks S1 or S12: handlers never make such a record, so the journal or this code is wrong.
    pub fn apply(&mut self, record: &Record) {
        self.position += 1;
        match record {
            Record::Prepared { formation, disk } => {
                assert!(self.formation == Formation::Empty, "S12: prepared twice, was {:?}", self.formation);
                self.formation = Formation::Prepared { formation: *formation, disk: *disk };
            }
            Record::Opened { disks, cluster } => self.open(disks, *cluster),
            Record::Promised { ballot } => {
                assert!(*ballot > self.promised, "S1: promise {ballot:?} after {:?}", self.promised);
                self.promised = *ballot;
            }
            Record::Voted { ballot, held, entries } => {
                let lower = *ballot < self.promised && !planted_lower_ballot();
                assert!(!lower, "S1: vote at {ballot:?} after promise {:?}", self.promised);
                assert!(*held >= self.held, "S6: held prefix falls from {} to {held}", self.held);
                if !synod_planted::is(Bug::AcceptRaisesNoPromise) {
                    self.promised = self.promised.max(*ballot);
                }
                self.held = *held;
                let highest = entries.iter().map(|entry| entry.slot).max();
                self.highest = highest.map_or(self.highest, |slot| slot.max(self.highest));
            }
            Record::Truncated { floor } => {
                assert!(*floor > self.floor, "S11: the floor falls from {} to {floor}", self.floor);
                self.floor = *floor;
                // Below the floor everything is chosen, and was voted on by a quorum, if not by this acceptor.
                if !synod_planted::is(Bug::HeldNotRaisedWithFloor) {
                    self.held = self.held.max(floor.previous());
                }
                self.highest = self.highest.max(floor.previous());
            }
            Record::Readmitted { admit } => self.readmitted(admit),
            Record::Reached { rows } => self.reached(rows),
            Record::Replaced { disk } => {
                assert!(self.formation == Formation::Empty, "S12: replaces a disk, was {:?}", self.formation);
                self.formation = Formation::Replaced { disk: *disk };
            }
            Record::Entered { admission, cluster } => self.enter(admission, *cluster),
        }
    }

    fn open(&mut self, disks: &[(AcceptorId, DiskId)], cluster: ClusterId) {
        let Formation::Prepared { formation, disk } = self.formation else {
            panic!("S12: opened without being prepared, was {:?}", self.formation);
        };
        assert!(
            disks.contains(&(self.acceptor, disk)),
            "S12: opened with another disk than {disk}: {disks:?}"
        );
        self.formation = Formation::Open { formation, disk, disks: disks.to_vec(), cluster };
    }
}

impl Payload for Head {
    fn values<'a>(&'a self, _visit: &mut dyn FnMut(&'a Value)) {}
    fn values_mut(&mut self, _visit: &mut dyn FnMut(&mut Value)) {}
}

/// Whether a bug is planted that votes at lower ballots: it is for the invariants to find, not for the assertions here.
fn planted_lower_ballot() -> bool {
    [Bug::AcceptBelowPromise, Bug::EqualBallotPromisedTwice, Bug::AcceptRaisesNoPromise]
        .into_iter()
        .any(synod_planted::is)
}

/// An acceptor's durable state. Two of them are equal when the same was voted, wherever the values are kept.
#[derive(Clone, Debug)]
pub struct Durable {
    head: Head,
    /// The latest vote for each slot from the floor on.
    votes: BTreeMap<Slot, Voted>,
    /// Bytes of the values that are in memory.
    memory_bytes: u64,
    /// No value up to this slot is in memory, but for noops.
    evicted: Slot,
}

impl PartialEq for Durable {
    fn eq(&self, other: &Durable) -> bool {
        self.head == other.head && self.votes == other.votes
    }
}

impl Eq for Durable {}

impl Hash for Durable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.head, &self.votes).hash(state);
    }
}

impl Durable {
    /// An empty disk.
    pub fn empty(acceptor: AcceptorId) -> Durable {
        Durable::at(Head::empty(acceptor))
    }

    /// What a segment's head tells; the votes from the floor on are in records that follow.
    pub fn at(head: Head) -> Durable {
        Durable { head, votes: BTreeMap::new(), memory_bytes: 0, evicted: Slot::ZERO }
    }

    /// Everything but the votes.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The cluster, once open.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.head.formation.cluster()
    }

    /// The vote for `slot`.
    pub fn vote(&self, slot: Slot) -> Option<&Voted> {
        self.votes.get(&slot)
    }

    /// The votes above `slot`, in slot order.
    pub fn votes_above(&self, slot: Slot) -> impl Iterator<Item = (Slot, &Voted)> {
        self.votes.range(slot.next()..).map(|(slot, voted)| (*slot, voted))
    }

    /// Chosen values from `first` to `last`, no further than the held prefix, without a gap (S6: only these may be served).
    pub fn held_values(&self, first: Slot, last: Slot) -> impl Iterator<Item = (Slot, &Kept)> {
        let last = if synod_planted::is(Bug::FetchServesUnchosen) { last } else { last.min(self.head.held) };
        let mut next = first.max(Slot::FIRST);
        std::iter::from_fn(move || {
            let slot = next;
            let voted = (slot <= last).then(|| self.votes.get(&slot)).flatten()?;
            next = slot.next();
            Some((slot, &voted.value))
        })
    }

    /// How far the held prefix may advance once `entries` are voted for at `ballot`, whose leader states `chosen` (S6).
    pub fn held_after(&self, ballot: Ballot, chosen: Slot, entries: &[Entry]) -> Slot {
        let fresh: BTreeSet<Slot> = entries.iter().map(|entry| entry.slot).collect();
        let at_ballot = |slot| {
            fresh.contains(&slot)
                || self
                    .votes
                    .get(&slot)
                    .is_some_and(|vote| vote.ballot == ballot || synod_planted::is(Bug::HeldOverOtherBallots))
        };
        let mut held = self.head.held;
        while held < chosen && at_ballot(held.next()) {
            held = held.next();
        }
        held
    }

    /// Bytes of the values that are in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Leaves values to the disk, lowest slots first, until at most so many bytes are in memory. Only to be called when every record that
    /// was applied is persisted.
    pub fn evict(&mut self, most_bytes: u64) {
        while self.memory_bytes > most_bytes {
            let Some((slot, voted)) = self.votes.range_mut(self.evicted.next()..).next() else { break };
            self.evicted = *slot;
            self.memory_bytes -= voted.value.memory_bytes();
            voted.value.evict();
        }
    }

    /// The one place where durable state changes.
    ///
    /// # Panics
    /// If the record breaks S1, S6, S11 or S12: handlers never make such a record, so the journal or this code is wrong.
    pub fn apply(&mut self, record: &Record) {
        let held_before = self.head.held;
        self.replay(record);
        if let Record::Voted { ballot, held, .. } = record {
            for slot in SlotRange::new(held_before.next(), *held).into_iter().flat_map(SlotRange::slots) {
                let vote = self.votes.get(&slot).map(|vote| vote.ballot);
                let held_rightly = vote == Some(*ballot) || synod_planted::is(Bug::HeldOverOtherBallots);
                assert!(held_rightly, "S6: slot {slot} held at {ballot:?}, but voted at {vote:?}");
            }
        }
    }

    /// Applies a record at recovery. Votes over which the held prefix advanced may be gone: they were overwritten, or fell below the
    /// floor, in records further on.
    ///
    /// # Panics
    /// As [`Durable::apply`], but for the held prefix.
    pub fn replay(&mut self, record: &Record) {
        self.head.apply(record);
        self.take_votes(record);
    }

    /// Takes in a record that the head includes already: its votes alone.
    pub fn restore(&mut self, record: &Record) {
        self.take_votes(record);
    }

    fn take_votes(&mut self, record: &Record) {
        match record {
            Record::Voted { ballot, entries, .. } => {
                for entry in entries.iter().filter(|entry| entry.slot >= self.head.floor) {
                    let (slot, value) = (entry.slot, Kept::Memory(entry.value.clone()));
                    self.memory_bytes += entry.value.len() as u64;
                    self.evicted = self.evicted.min(slot.previous());
                    let old = self.votes.insert(slot, Voted { ballot: *ballot, value });
                    assert!(
                        old.as_ref().is_none_or(|old| old.ballot < *ballot || old.value.is(&entry.value))
                            || planted_lower_ballot(),
                        "S1: two values for slot {slot} at {ballot:?}: {old:?}, then {:?}",
                        entry.value
                    );
                    self.memory_bytes -= old.map_or(0, |old| old.value.memory_bytes());
                }
            }
            Record::Truncated { floor } => {
                while let Some(lowest) = self.votes.first_entry().filter(|lowest| lowest.key() < floor) {
                    self.memory_bytes -= lowest.remove().value.memory_bytes();
                }
            }
            Record::Prepared { .. }
            | Record::Opened { .. }
            | Record::Promised { .. }
            | Record::Readmitted { .. }
            | Record::Reached { .. }
            | Record::Replaced { .. }
            | Record::Entered { .. } => {}
        }
    }
}
