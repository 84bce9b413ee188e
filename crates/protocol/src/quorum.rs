//! Quorum systems: which sets of acceptors decide, and a tally that fires once.
//!
//! Any Phase-1 quorum meets any Phase-2 quorum (Howard et al., "Flexible Paxos", 2016): sizes that don't are refused when
//! the system is built, so no other code asks again. Upholds the counting half of S6: distinct members of one
//! configuration, each once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use synod_planted::Bug;

use crate::ids::AcceptorId;

/// The acceptors of a cluster and the sizes of its Phase-1 and Phase-2 quorums.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QuorumSystem {
    acceptors: BTreeSet<AcceptorId>,
    phase1: usize,
    phase2: usize,
}

/// Why a quorum system was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// No acceptors at all.
    #[error("a cluster needs at least one acceptor")]
    NoAcceptors,
    /// A quorum of no members, or of more members than there are.
    #[error("a quorum of {size} of {acceptors} acceptors can't exist: sizes lie between 1 and {acceptors}")]
    Size {
        /// The size asked for.
        size: usize,
        /// How many acceptors there are.
        acceptors: usize,
    },
    /// A Phase-1 quorum could miss a Phase-2 quorum: two values could be chosen.
    #[error(
        "Phase-1 quorums of {phase1} and Phase-2 quorums of {phase2} of {acceptors} acceptors need not meet: \
         phase1 + phase2 must be more than {acceptors}"
    )]
    Disjoint {
        /// Phase-1 size asked for.
        phase1: usize,
        /// Phase-2 size asked for.
        phase2: usize,
        /// How many acceptors there are.
        acceptors: usize,
    },
}

impl QuorumSystem {
    /// Majorities in both phases.
    pub fn majority(acceptors: impl IntoIterator<Item = AcceptorId>) -> Result<Self, QuorumError> {
        let acceptors: BTreeSet<_> = acceptors.into_iter().collect();
        let size = acceptors.len() / 2 + 1;
        Self::flexible(acceptors, size, size)
    }

    /// Quorums of the sizes given; refused unless every Phase-1 quorum meets every Phase-2 quorum.
    pub fn flexible(
        acceptors: impl IntoIterator<Item = AcceptorId>,
        phase1: usize,
        phase2: usize,
    ) -> Result<Self, QuorumError> {
        let acceptors: BTreeSet<_> = acceptors.into_iter().collect();
        let count = acceptors.len();
        if count == 0 {
            return Err(QuorumError::NoAcceptors);
        }
        for size in [phase1, phase2] {
            if size == 0 || size > count {
                return Err(QuorumError::Size { size, acceptors: count });
            }
        }
        if phase1 + phase2 <= count {
            return Err(QuorumError::Disjoint { phase1, phase2, acceptors: count });
        }
        Ok(QuorumSystem { acceptors, phase1, phase2 })
    }

    /// The acceptors, in order.
    pub fn acceptors(&self) -> impl Iterator<Item = AcceptorId> + '_ {
        self.acceptors.iter().copied()
    }

    /// How many acceptors there are.
    pub fn count(&self) -> usize {
        self.acceptors.len()
    }

    /// Whether `acceptor` belongs to this configuration.
    pub fn contains(&self, acceptor: AcceptorId) -> bool {
        self.acceptors.contains(&acceptor)
    }

    /// Size of a Phase-1 quorum.
    pub fn phase1(&self) -> usize {
        self.phase1
    }

    /// Size of a Phase-2 quorum.
    pub fn phase2(&self) -> usize {
        self.phase2
    }

    /// How many acceptors may be down while a leader is elected and commands are chosen.
    pub fn failures_survived(&self) -> usize {
        self.count() - self.phase1.max(self.phase2)
    }

    /// Whether `members` (of this configuration, distinct) hold a Phase-1 quorum.
    pub fn is_phase1(&self, members: &BTreeSet<AcceptorId>) -> bool {
        members.iter().filter(|member| self.contains(**member)).count() >= self.phase1
    }

    /// Whether `members` (of this configuration, distinct) hold a Phase-2 quorum.
    pub fn is_phase2(&self, members: &BTreeSet<AcceptorId>) -> bool {
        members.iter().filter(|member| self.contains(**member)).count() >= self.phase2
    }

    /// A tally that waits for a Phase-1 quorum.
    pub fn phase1_tally(&self) -> Tally {
        let lacking = usize::from(synod_planted::is(Bug::ReadRoundOfTooFew));
        Tally { voters: BTreeSet::new(), needed: (self.phase1 - lacking).max(1) }
    }

    /// A tally that waits for a Phase-2 quorum.
    pub fn phase2_tally(&self) -> Tally {
        let lacking = usize::from(synod_planted::is(Bug::VotesOfTooFew));
        Tally { voters: BTreeSet::new(), needed: (self.phase2 - lacking).max(1) }
    }
}

/// What one more answer did to a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// This acceptor had been counted, or the quorum had been reached before: nothing follows from it.
    Already,
    /// Counted; the quorum isn't reached yet.
    Waiting,
    /// Counted, and this answer completed the quorum. Told exactly once.
    JustReached,
}

/// Counts distinct acceptors toward one quorum and fires once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    voters: BTreeSet<AcceptorId>,
    needed: usize,
}

impl Tally {
    /// Counts `acceptor`. Whoever calls has checked that it belongs to the configuration.
    pub fn count(&mut self, acceptor: AcceptorId) -> Counted {
        let reached_before = self.reached();
        let mut repeated = !self.voters.insert(acceptor);
        if repeated && synod_planted::is(Bug::DuplicateAcksCounted) {
            (repeated, self.needed) = (false, self.needed.saturating_sub(1));
        }
        if repeated || reached_before {
            Counted::Already
        } else if self.reached() {
            Counted::JustReached
        } else {
            Counted::Waiting
        }
    }

    /// Whether the quorum has been reached.
    pub fn reached(&self) -> bool {
        self.voters.len() >= self.needed
    }

    /// Whether `acceptor` has been counted.
    pub fn has(&self, acceptor: AcceptorId) -> bool {
        self.voters.contains(&acceptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptors(count: u16) -> impl Iterator<Item = AcceptorId> {
        (1..=count).map(AcceptorId)
    }

    #[test]
    fn majorities_always_meet() {
        for count in 1..=9 {
            let system = QuorumSystem::majority(acceptors(count)).unwrap();
            assert!(system.phase1() + system.phase2() > system.count());
        }
    }

    #[test]
    fn flexible_sizes_that_do_not_meet_are_refused() {
        for phase1 in 0..=6 {
            for phase2 in 0..=6 {
                let legal = (1..=5).contains(&phase1) && (1..=5).contains(&phase2) && phase1 + phase2 > 5;
                assert_eq!(
                    QuorumSystem::flexible(acceptors(5), phase1, phase2).is_ok(),
                    legal,
                    "{phase1}/{phase2}"
                );
            }
        }
        assert_eq!(QuorumSystem::majority(acceptors(0)), Err(QuorumError::NoAcceptors));
    }

    #[test]
    fn s6_a_tally_counts_each_acceptor_once_and_fires_once() {
        let mut tally = QuorumSystem::majority(acceptors(5)).unwrap().phase2_tally();
        assert_eq!(tally.count(AcceptorId(1)), Counted::Waiting);
        assert_eq!(tally.count(AcceptorId(1)), Counted::Already);
        assert_eq!(tally.count(AcceptorId(2)), Counted::Waiting);
        assert_eq!(tally.count(AcceptorId(3)), Counted::JustReached);
        assert_eq!(tally.count(AcceptorId(3)), Counted::Already);
        assert_eq!(tally.count(AcceptorId(4)), Counted::Already);
        assert!(tally.has(AcceptorId(4)));
    }
}
