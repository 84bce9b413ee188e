//! Names: nodes, ballots, slots, clusters and disks, each a type of its own.
//!
//! Node ids print `a1 p2 l3 c7`, ballots `5.p2`, slots as numbers. A ballot belongs to one life of one proposer (S5).

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! node_id {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $inner:ty, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<$name> for NodeId {
            fn from(id: $name) -> Self {
                NodeId::$variant(id)
            }
        }
    };
}

node_id!(
    /// An acceptor of the cluster file, from 1.
    AcceptorId, Acceptor, u16, "a");
node_id!(
    /// A proposer of the cluster file, from 1.
    ProposerId, Proposer, u16, "p");
node_id!(
    /// A learner of the cluster file, from 1.
    LearnerId, Learner, u16, "l");
node_id!(
    /// One client instance; 64 random bits drawn by the client, so that two never share one.
    ClientId, Client, u64, "c");

/// Any process that takes part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeId {
    /// An acceptor: the votes.
    Acceptor(AcceptorId),
    /// A proposer: the order.
    Proposer(ProposerId),
    /// A learner: the state.
    Learner(LearnerId),
    /// A client: a session, or the admin command.
    Client(ClientId),
}

impl NodeId {
    /// Whether it keeps a connection to `peer`: a proposer dials the acceptors; a learner the acceptors, the proposers and the
    /// learners with lower ids; an acceptor dials nobody. Clients keep none: they dial whom they need.
    pub fn dials(self, peer: NodeId) -> bool {
        match (self, peer) {
            (NodeId::Proposer(_) | NodeId::Learner(_), NodeId::Acceptor(_)) => true,
            (NodeId::Learner(_), NodeId::Proposer(_)) => true,
            (NodeId::Learner(own), NodeId::Learner(peer)) => peer < own,
            (
                NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_),
                NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_),
            ) => false,
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeId::Acceptor(id) => fmt::Display::fmt(id, f),
            NodeId::Proposer(id) => fmt::Display::fmt(id, f),
            NodeId::Learner(id) => fmt::Display::fmt(id, f),
            NodeId::Client(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A ballot: compared by round, then proposer, then life (S5). `Ballot::NONE` is below every ballot ever used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Rises with every Phase 1; from 1.
    pub round: u64,
    /// Whose ballot it is.
    pub proposer: ProposerId,
    /// 64 random bits drawn when that proposer's process started.
    pub life: u64,
}

impl Default for Ballot {
    fn default() -> Ballot {
        Ballot::NONE
    }
}

impl Ballot {
    /// Below every ballot: what an acceptor that never promised reports.
    pub const NONE: Ballot = Ballot { round: 0, proposer: ProposerId(0), life: 0 };

    /// Whether no proposer ever used it.
    pub fn is_none(&self) -> bool {
        *self == Ballot::NONE
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { f.write_str("none") } else { write!(f, "{}.{}", self.round, self.proposer) }
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if self.is_none() { Ok(()) } else { write!(f, "/{:x}", self.life) }
    }
}

/// A place in the log, from 1. `Slot::ZERO`, the default, is the prefix that holds nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u64);

impl Slot {
    /// Before the first slot.
    pub const ZERO: Slot = Slot(0);
    /// The first slot.
    pub const FIRST: Slot = Slot(1);

    /// The slot after this one.
    #[must_use]
    pub fn next(self) -> Slot {
        Slot(self.0 + 1)
    }

    /// The slot before this one; of `Slot::ZERO`, itself.
    #[must_use]
    pub fn previous(self) -> Slot {
        Slot(self.0.saturating_sub(1))
    }

    /// The slot `count` later (saturating: a remote number can't overflow it).
    #[must_use]
    pub fn plus(self, count: u64) -> Slot {
        Slot(self.0.saturating_add(count))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A revision: the number of a mutation, from 1, the same at every learner. Zero is the state before the first mutation.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first mutation.
    pub const ZERO: Revision = Revision(0);

    /// The revision of the next mutation.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(
            self.0.checked_add(1).expect("a log doesn't hold 2^64 mutations, and a restore is refused there"),
        )
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The slots `first..=last`; never empty when built by [`SlotRange::new`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotRange {
    /// First slot of the range.
    pub first: Slot,
    /// Last slot of the range, included.
    pub last: Slot,
}

impl SlotRange {
    /// The range, or nothing if `last` lies before `first`.
    pub fn new(first: Slot, last: Slot) -> Option<SlotRange> {
        (first <= last).then_some(SlotRange { first, last })
    }

    /// Slots of the range in order. Meant for ranges whose size is known to be small.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (self.first.0..=self.last.0).map(Slot)
    }

    /// Adds `slot` to `ranges`, joining it to the last range where it follows on.
    pub fn push(ranges: &mut Vec<SlotRange>, slot: Slot) {
        match ranges.last_mut() {
            Some(range) if range.first <= slot && slot <= range.last => {}
            Some(range) if range.last.next() == slot => range.last = slot,
            Some(_) | None => ranges.push(SlotRange { first: slot, last: slot }),
        }
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Debug for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one formation of one cluster: derived from the formation's random bits, the fixed parameters and the disks that
/// were prepared (S12), so that two formations can never mix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An acceptor's disk: 64 random bits drawn when it was prepared; its incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskId(pub u64);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_the_glossary_says() {
        let ballot = Ballot { round: 5, proposer: ProposerId(2), life: 7 };
        let printed =
            format!("{} {} {} {} {ballot}", AcceptorId(1), ProposerId(2), LearnerId(3), ClientId(7));
        assert_eq!(printed, "a1 p2 l3 c7 5.p2");
    }

    #[test]
    fn s5_ballots_compare_by_round_then_proposer_then_life() {
        let ballot = |round, proposer, life| Ballot { round, proposer: ProposerId(proposer), life };
        assert!(Ballot::NONE < ballot(1, 1, 0));
        assert!(ballot(1, 9, 9) < ballot(2, 1, 0));
        assert!(ballot(2, 1, 9) < ballot(2, 2, 0));
        assert!(ballot(2, 2, 0) < ballot(2, 2, 1));
    }

    #[test]
    fn ranges_join_where_slots_follow_on() {
        let mut ranges = Vec::new();
        for slot in [3, 4, 4, 5, 9, 10, 2] {
            SlotRange::push(&mut ranges, Slot(slot));
        }
        assert_eq!(format!("{ranges:?}"), "[3-5, 9-10, 2]");
    }
}
