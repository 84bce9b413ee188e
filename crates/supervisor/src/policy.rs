//! The supervisor's judgement: when a dead process comes back, what is a crash loop, whom chaos kills and for how long.
//!
//! Pure and seeded: the same seed and the same observations give the same kills. No process, clock or signal is known here.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use synod_protocol::{Cluster, NodeId};

/// Milliseconds before the first restart; doubles with each death in a row.
const BACKOFF_MIN_MS: u64 = 100;
/// Milliseconds, at most, before a restart.
const BACKOFF_MAX_MS: u64 = 5_000;
/// Milliseconds of life after which earlier deaths are forgotten.
const HEALTHY_MS: u64 = 10_000;
/// Deaths in a row that make a crash loop.
const CRASH_LOOP: u32 = 3;

/// How often one process has died in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    deaths: u32,
}

/// What follows from a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Milliseconds until the process is started again.
    pub in_ms: u64,
    /// Deaths in a row, this one included.
    pub deaths: u32,
    /// Whether to call this a crash loop and show what the process last said: at the third death in a row, then ever more
    /// rarely.
    pub crash_loop: bool,
}

impl Backoff {
    /// The process died of itself after `lived_ms`. (What chaos kills isn't counted.)
    pub fn on_death(&mut self, lived_ms: u64) -> Restart {
        if lived_ms >= HEALTHY_MS {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        let doubled = BACKOFF_MIN_MS.saturating_mul(1 << (self.deaths - 1).min(16));
        Restart {
            in_ms: doubled.min(BACKOFF_MAX_MS),
            deaths: self.deaths,
            crash_loop: self.deaths.is_multiple_of(CRASH_LOOP)
                && (self.deaths / CRASH_LOOP).is_power_of_two(),
        }
    }
}

/// A kind of process that chaos may kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// The votes.
    Acceptor,
    /// The order.
    Proposer,
    /// The state.
    Learner,
}

impl Kind {
    /// The kind of a node; clients are none of ours.
    pub fn of(node: NodeId) -> Option<Kind> {
        match node {
            NodeId::Acceptor(_) => Some(Kind::Acceptor),
            NodeId::Proposer(_) => Some(Kind::Proposer),
            NodeId::Learner(_) => Some(Kind::Learner),
            NodeId::Client(_) => None,
        }
    }

    /// The name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Acceptor => "acceptor",
            Kind::Proposer => "proposer",
            Kind::Learner => "learner",
        }
    }

    /// How many of this kind may be down while service goes on.
    pub fn survivable(self, cluster: &Cluster) -> usize {
        match self {
            Kind::Acceptor => cluster.quorums.failures_survived(),
            Kind::Proposer => cluster.proposers.len() - 1,
            Kind::Learner => cluster.learners.len() - 1,
        }
    }
}

/// What chaos is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Milliseconds between two kills, on average.
    pub interval_ms: u64,
    /// Milliseconds that a killed process stays down: least and most.
    pub downtime_ms: (u64, u64),
    /// Which kinds it kills.
    pub kinds: BTreeSet<Kind>,
    /// How many processes may be down at once; by default as many acceptors as the quorums survive.
    pub at_once: Option<usize>,
    /// Whether it may go beyond what the quorums survive.
    pub beyond_quorum: bool,
}

/// Why chaos was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChaosError {
    /// Nothing could ever be killed.
    #[error(
        "chaos can kill nothing: none of the chosen roles ({kinds}) can lose a process and go on; nothing was started; choose other \
         --roles, a larger cluster, or say --beyond-quorum"
    )]
    Nothing {
        /// The kinds chosen.
        kinds: String,
    },
    /// More at once than service survives.
    #[error(
        "--at-once {at_once} is more than the {most} that this cluster's quorums survive; nothing was started; take {most} or \
         less, or say --beyond-quorum if service is meant to stop"
    )]
    TooMany {
        /// How many were asked for.
        at_once: usize,
        /// How many are survived.
        most: usize,
    },
}

/// A kill that chaos asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Whom.
    pub node: NodeId,
    /// Milliseconds that it stays down.
    pub downtime_ms: u64,
}

/// Kills at random within limits.
#[derive(Debug)]
pub struct Chaos {
    random: StdRng,
    wishes: Wishes,
    /// How many of each kind may be down at once.
    most: BTreeMap<Kind, usize>,
    at_once: usize,
    nodes: BTreeSet<NodeId>,
}

impl Chaos {
    /// Chaos over the nodes of `cluster`, drawn from `seed`.
    ///
    /// # Errors
    /// When the wishes go beyond what the quorums survive and don't say so, or nothing could ever be killed.
    pub fn new(seed: u64, wishes: Wishes, cluster: &Cluster) -> Result<Chaos, ChaosError> {
        let nodes: BTreeSet<_> = cluster.nodes().map(|(node, _)| node).collect();
        let count = |kind| nodes.iter().filter(|node| Kind::of(**node) == Some(kind)).count();
        let most_of = |kind: Kind| if wishes.beyond_quorum { count(kind) } else { kind.survivable(cluster) };
        let most: BTreeMap<_, _> = wishes.kinds.iter().map(|kind| (*kind, most_of(*kind))).collect();
        let most_at_once = most.values().sum();
        let default = cluster.quorums.failures_survived().max(1).min(most_at_once);
        let at_once = wishes.at_once.unwrap_or(default);
        if most_at_once == 0 || at_once == 0 {
            let kinds = wishes.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            return Err(ChaosError::Nothing { kinds });
        }
        if at_once > most_at_once {
            return Err(ChaosError::TooMany { at_once, most: most_at_once });
        }
        Ok(Chaos { random: StdRng::seed_from_u64(seed), wishes, most, at_once, nodes })
    }

    /// How many processes it keeps down at once, at most.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Milliseconds until the next kill: between half and one and a half of the interval.
    pub fn next_ms(&mut self) -> u64 {
        let interval = self.wishes.interval_ms.max(1);
        self.random.random_range(interval.div_ceil(2)..=interval + interval / 2)
    }

    /// Whom to kill, given the nodes that don't serve, for whatever reason; nobody when the limits are reached.
    pub fn pick(&mut self, down: &BTreeSet<NodeId>) -> Option<Kill> {
        let down_of = |kind| down.iter().filter(|node| Kind::of(**node) == Some(kind)).count();
        let down_in_all: usize = self.most.keys().map(|kind| down_of(*kind)).sum();
        if down_in_all >= self.at_once {
            return None;
        }
        let may = |node: &NodeId| {
            let kind = Kind::of(*node).and_then(|kind| Some((kind, *self.most.get(&kind)?)));
            kind.is_some_and(|(kind, most)| down_of(kind) < most) && !down.contains(node)
        };
        let candidates: Vec<_> = self.nodes.iter().copied().filter(may).collect();
        if candidates.is_empty() {
            return None;
        }
        let node = candidates[self.random.random_range(0..candidates.len())];
        let (least, most) = self.wishes.downtime_ms;
        Some(Kill { node, downtime_ms: self.random.random_range(least..=most.max(least)) })
    }
}

#[cfg(test)]
mod tests;
