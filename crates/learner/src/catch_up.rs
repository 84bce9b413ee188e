//! Whom to ask for missing slots: acceptors and peers in turn, one Fetch at a time.
//!
//! Sources are tried in a ring that starts at another place for each learner; one that had nothing, or didn't answer in time,
//! is left for the next. Absent on purpose: any judgement of what is answered (the log's).

use std::collections::BTreeSet;

use synod_protocol::{LearnerId, NodeId, QuorumSystem, Slot};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CatchUp {
    /// Acceptors, then peers.
    ring: Vec<NodeId>,
    /// Who is asked next.
    at: usize,
    /// Who was asked last for slots from which on, until it answers or the timer fires.
    asked: Option<(NodeId, Slot)>,
    /// The first slot that was lacking when the timer was set; absent while it isn't set.
    watched: Option<Slot>,
}

impl CatchUp {
    pub(crate) fn new(id: LearnerId, quorums: &QuorumSystem, peers: &BTreeSet<LearnerId>) -> CatchUp {
        let ring: Vec<NodeId> =
            quorums.acceptors().map(NodeId::from).chain(peers.iter().copied().map(NodeId::from)).collect();
        let at = usize::from(id.0) % ring.len();
        CatchUp { ring, at, asked: None, watched: None }
    }

    /// Whether the timer is set.
    pub(crate) fn is_watching(&self) -> bool {
        self.watched.is_some()
    }

    /// The timer is set, while `next` is lacking.
    pub(crate) fn watch(&mut self, next: Slot) {
        self.watched = Some(next);
    }

    /// The timer has fired. Whether to ask (another): nothing was applied since it was set, or a Fetch was not answered.
    pub(crate) fn is_stuck(&mut self, next: Slot) -> bool {
        let watched = self.watched.take();
        if self.asked.take().is_some() {
            self.turn();
            return true;
        }
        watched == Some(next)
    }

    /// Whom to ask for slots from `next` on: the first in the ring, from where it stands, with a connection.
    pub(crate) fn ask(&mut self, next: Slot, linked: &BTreeSet<NodeId>) -> Option<NodeId> {
        let length = self.ring.len();
        self.at =
            (self.at..self.at + length).map(|at| at % length).find(|at| linked.contains(&self.ring[*at]))?;
        self.asked = Some((self.ring[self.at], next));
        self.asked.map(|(source, _)| source)
    }

    /// Everybody in the ring with a connection.
    pub(crate) fn sources<'a>(&'a self, linked: &'a BTreeSet<NodeId>) -> impl Iterator<Item = NodeId> + 'a {
        self.ring.iter().copied().filter(|source| linked.contains(source))
    }

    /// Takes note of an answer; false if it isn't the one that is waited for.
    pub(crate) fn answered(&mut self, from: NodeId, first: Slot) -> bool {
        let awaited = self.asked == Some((from, first));
        if awaited {
            self.asked = None;
        }
        awaited
    }

    /// Leaves the present source for the next.
    pub(crate) fn turn(&mut self) {
        self.at = (self.at + 1) % self.ring.len();
    }
}
