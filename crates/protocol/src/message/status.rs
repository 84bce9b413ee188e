//! How a process is, told to whoever asks.

use serde::{Deserialize, Serialize};

use super::Formation;
use crate::ids::{AcceptorId, Ballot, LearnerId, Slot};

/// How a process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// An acceptor.
    Acceptor(AcceptorStatus),
    /// A proposer.
    Proposer(ProposerStatus),
    /// A learner.
    Learner(LearnerStatus),
}

/// How an acceptor is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AcceptorStatus {
    /// How far its formation is.
    pub formation: Formation,
    /// The ballot promised.
    pub promised: Ballot,
    /// Whether that ballot's leader is silent.
    pub silent: bool,
    /// First slot kept.
    pub floor: Slot,
    /// Held prefix.
    pub held: Slot,
    /// Highest slot voted on.
    pub highest: Slot,
    /// Whether its disk is full, so that it votes on nothing new.
    pub full: bool,
}

/// How a proposer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProposerStatus {
    /// What it is doing.
    pub phase: PhaseName,
    /// The ballot it leads or prepares with, or the highest it has heard of.
    pub ballot: Ballot,
    /// Chosen prefix, while leading.
    pub chosen: Slot,
    /// First slot that acceptors need to keep, while leading (S11).
    pub floor: Slot,
    /// Slots in flight.
    pub in_flight: u64,
    /// Bytes of commands waiting.
    pub queued_bytes: u64,
    /// Bytes of chosen values kept.
    pub retained_bytes: u64,
    /// Learners subscribed.
    pub learners: Vec<LearnerId>,
    /// Held prefix of each acceptor heard in this ballot.
    pub held: Vec<(AcceptorId, Slot)>,
    /// Acceptors whose disks are full.
    pub full: Vec<AcceptorId>,
}

/// What a proposer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PhaseName {
    /// Watching the leader through the acceptors.
    Probing,
    /// Running Phase 1.
    Preparing,
    /// Past Phase 1.
    Leading,
}

/// How a learner is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LearnerStatus {
    /// Applied slot.
    pub applied: Slot,
    /// Highest slot it knows to be chosen.
    pub known: Slot,
    /// Hash chain at the applied slot.
    pub chain: u64,
    /// Keys in the store.
    pub keys: u64,
    /// Sessions open.
    pub sessions: u64,
    /// Reads waiting.
    pub waiting_reads: u64,
    /// The ballot of the leader that streams to it.
    pub leader: Ballot,
    /// Every slot up to here is applied and synced.
    pub synced: Slot,
    /// What its keys lie in: `memory` or `disk`.
    pub engine: String,
    /// Whether its disk has no room for a checkpoint.
    pub full: bool,
    /// Whether its state differs from a peer's and nobody knows yet whose is right (S7): it answers no client.
    pub in_doubt: bool,
    /// The snapshot that it is fetching, if it is.
    pub transfer: Option<Transfer>,
    /// The slot of the snapshot that it is giving to others, if it is.
    pub serving: Option<Slot>,
}

/// A snapshot on its way to a learner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transfer {
    /// Who gives it; nobody when no learner that could is connected.
    pub from: Option<LearnerId>,
    /// Its slot, once known.
    pub slot: Option<Slot>,
    /// Bytes that have come.
    pub bytes: u64,
}
