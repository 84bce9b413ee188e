//! Who sits where: acceptors, proposers, learners, observers, the latecomer, then clients; the last seat is the probe's.

use synod_protocol::{ClientId, NodeId};

use crate::plan::{Plan, SEATS};

/// The places of a plan's processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seating {
    acceptors: usize,
    proposers: usize,
    /// With observers and the latecomer.
    learners: usize,
    clients: usize,
}

impl Seating {
    pub(crate) fn new(plan: &Plan) -> Seating {
        Seating {
            acceptors: plan.cluster.acceptors.len(),
            proposers: plan.cluster.proposers.len(),
            learners: plan.cluster.learners.len() + plan.cluster.observers.len() + 1,
            clients: plan.clients as usize,
        }
    }

    pub(crate) fn place(&self, node: NodeId) -> usize {
        let servers = [0, self.acceptors, self.acceptors + self.proposers];
        match node {
            NodeId::Acceptor(id) => usize::from(id.0) - 1,
            NodeId::Proposer(id) => servers[1] + usize::from(id.0) - 1,
            NodeId::Learner(id) => servers[2] + usize::from(id.0) - 1,
            NodeId::Client(id) => servers[2] + self.learners + (id.0 % SEATS) as usize - 1,
        }
    }

    /// How many places there are.
    pub(crate) fn count(&self) -> usize {
        self.acceptors + self.proposers + self.learners + self.clients + 1
    }

    /// The seat of the client that comes after the faults.
    pub(crate) fn probe(&self) -> NodeId {
        NodeId::Client(ClientId(self.clients as u64 + 1))
    }
}

/// The client that asks processes how they are; it sits nowhere, and is reached by everybody.
pub(crate) const OPERATOR: ClientId = ClientId(0);
