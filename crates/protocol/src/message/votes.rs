//! What acceptors tell proposers of their votes; each tells of which disk it speaks (S12).

use serde::{Deserialize, Serialize};

use crate::ids::{Ballot, Slot, SlotRange};
use crate::incarnations::{DiskAt, Incarnations};
use crate::value::Value;

/// An acceptor's promise, or a chunk of it (S4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// The ballot promised.
    pub ballot: Ballot,
    /// The disk on which it is.
    pub disk: DiskAt,
    /// Which disks count, and how far they have come, as far as the acceptor knows (S12); empty as formed.
    pub incarnations: Incarnations,
    /// First slot kept.
    pub floor: Slot,
    /// Held prefix: every slot up to it is below the floor, or held here and known chosen.
    pub held: Slot,
    /// This chunk tells every vote above this slot ...
    pub after: Slot,
    /// ... up to this one, included; without an end when `complete`.
    pub upto: Slot,
    /// Whether there are no votes above `upto`.
    pub complete: bool,
    /// The votes, in slot order.
    pub votes: Vec<Vote>,
}

/// A vote: the value and the ballot at which it was cast.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// The slot.
    pub slot: Slot,
    /// The ballot of the vote.
    pub ballot: Ballot,
    /// The value voted for.
    pub value: Value,
}

/// Votes cast: exact slots at one ballot (S2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted {
    /// The ballot.
    pub ballot: Ballot,
    /// The disk on which they are.
    pub disk: DiskAt,
    /// The slots voted on; empty in the answer to a heartbeat.
    pub slots: Vec<SlotRange>,
    /// The acceptor's held prefix.
    pub held: Slot,
    /// First slot that it keeps.
    pub floor: Slot,
    /// Its disk is full: it votes on nothing new until there is room again.
    pub full: bool,
}
