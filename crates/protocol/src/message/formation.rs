//! Formation in two steps (S12), and how a replaced disk enters: what the admin command asks of an acceptor, and how far it has come.

use serde::{Deserialize, Serialize};

use super::Admission;
use crate::ids::{AcceptorId, ClusterId, DiskId};

/// A step of formation; asked by the admin command, never by a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FormStep {
    /// Only tell the state.
    Query,
    /// Become prepared: note formation and disk. Refused unless empty, or prepared for this very formation.
    Prepare {
        /// Random bits of this attempt to form a cluster.
        formation: u128,
        /// Random bits that name this acceptor's disk; kept if it is prepared already.
        disk: DiskId,
    },
    /// Become open: all acceptors were prepared, with these disks. Refused unless prepared with the disk told.
    Open {
        /// The formation.
        formation: u128,
        /// Every acceptor's disk.
        disks: Vec<(AcceptorId, DiskId)>,
    },
    /// Note that this disk replaces a lost one, and wait to be readmitted. Refused unless empty, or waiting already.
    Replace {
        /// Random bits that name this acceptor's disk; kept if it has one.
        disk: DiskId,
    },
    /// Take part, as the leader has granted. Refused unless waiting with the very disk that was admitted.
    Enter(Box<Admission>),
}

/// How far an acceptor's formation has come (S12); what it persists of its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Formation {
    /// An empty disk: votes on nothing.
    Empty,
    /// Synced under a formation that isn't known to be complete: votes on nothing.
    Prepared {
        /// Random bits of the formation.
        formation: u128,
        /// This acceptor's disk.
        disk: DiskId,
    },
    /// Replaces a lost disk and waits to be readmitted: votes on nothing.
    Replaced {
        /// This acceptor's disk.
        disk: DiskId,
    },
    /// Takes part.
    Open {
        /// Random bits of the formation.
        formation: u128,
        /// This acceptor's disk.
        disk: DiskId,
        /// Every acceptor's disk when the cluster was formed.
        disks: Vec<(AcceptorId, DiskId)>,
        /// The name that follows from all of these.
        cluster: ClusterId,
    },
}

impl Formation {
    /// The cluster, once open.
    pub fn cluster(&self) -> Option<ClusterId> {
        match self {
            Formation::Empty | Formation::Prepared { .. } | Formation::Replaced { .. } => None,
            Formation::Open { cluster, .. } => Some(*cluster),
        }
    }

    /// The disk, once prepared.
    pub fn disk(&self) -> Option<DiskId> {
        match self {
            Formation::Empty => None,
            Formation::Prepared { disk, .. }
            | Formation::Replaced { disk }
            | Formation::Open { disk, .. } => Some(*disk),
        }
    }
}
