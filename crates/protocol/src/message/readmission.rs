//! Readmission of an acceptor whose disk was replaced (S12; the steps are in `synod-proposer`'s `readmission.rs`).
//!
//! The admin command speaks with the acceptor and with the leader; the leader with the other acceptors. What the leader grants in the
//! end is carried to the acceptor by the admin command, so that nobody needs a connection to an acceptor that isn't open.

use serde::{Deserialize, Serialize};

use crate::ids::{AcceptorId, Ballot, DiskId, ProposerId, Slot};
use crate::incarnations::{DiskAt, Incarnations};

/// What a cluster's name follows from, with the fixed parameters ([`crate::Cluster::id_of`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Founding {
    /// Random bits of the formation.
    pub formation: u128,
    /// Every acceptor's disk when the cluster was formed.
    pub disks: Vec<(AcceptorId, DiskId)>,
}

/// The leader of `ballot` asks an acceptor to record that from this ballot on `disk` counts for another acceptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Admit {
    /// The leader's ballot; recorded under the rule of a vote.
    pub ballot: Ballot,
    /// Whose disk was replaced.
    pub acceptor: AcceptorId,
    /// The new disk.
    pub disk: DiskId,
}

/// An acceptor's answer to Admit: it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Admitted {
    /// What was recorded.
    pub admit: Admit,
    /// The disk on which it is recorded.
    pub disk: DiskAt,
    /// What the cluster is.
    pub founding: Founding,
}

/// What the new disk must sync before it takes part; granted by the leader once a Phase-2 quorum without that acceptor holds every
/// slot and has recorded the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Admission {
    /// The ballot, the acceptor and its new disk.
    pub admit: Admit,
    /// What the cluster is.
    pub founding: Founding,
    /// Every row that the leader knows, with the new one.
    pub incarnations: Incarnations,
    /// First slot kept.
    pub floor: Slot,
    /// The highest slot that Phase 1 found: what the lost disk may have voted on, for quorum reads to see (S10).
    pub highest: Slot,
}

/// How far a readmission is, told to the admin command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Readmission {
    /// This proposer doesn't lead; only the leader readmits.
    NotLeading {
        /// Who leads, if known.
        leader: Option<ProposerId>,
    },
    /// The leader is at it.
    UnderWay {
        /// The ballot begun for it.
        ballot: Ballot,
        /// Slots that the slowest acceptor of the best quorum doesn't hold yet.
        slots: u64,
        /// Acceptors that must yet record the new disk.
        acceptors: u64,
    },
    /// The new disk may enter with this.
    Granted(Box<Admission>),
    /// Not in this cluster.
    Refused {
        /// Why, for a person to read.
        why: String,
    },
}
