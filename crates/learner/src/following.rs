//! Peers that were given a snapshot and fetch the log after it.
//!
//! Acceptors keep that log as they did during the transfer (S11), so that nobody who is slower than checkpoints are made has to begin anew. Each peer's chains
//! tell how far it has come. It ends when what it lacks is in this learner's own tail, when it is gone, or when the log has grown over the budget
//! that the snapshot had. Absent on purpose: the log itself, which is asked of others too.

use std::collections::BTreeMap;

use synod_protocol::{LearnerId, Slot};
use tracing::{debug, warn};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Following {
    /// Up to where each has applied.
    peers: BTreeMap<LearnerId, Slot>,
    /// Bytes of values applied since the oldest of their snapshots.
    since_bytes: u64,
    /// How many there may be.
    budget_bytes: u64,
}

impl Following {
    /// `peer` was given all of a snapshot of `slot`, since which so many bytes were applied.
    pub(crate) fn begin(&mut self, peer: LearnerId, slot: Slot, since_bytes: u64, budget_bytes: u64) {
        if self.peers.is_empty() {
            (self.since_bytes, self.budget_bytes) = (since_bytes, budget_bytes);
        }
        self.peers.insert(peer, slot);
    }

    /// The slot above which they need the log.
    pub(crate) fn lowest(&self) -> Option<Slot> {
        self.peers.values().copied().min()
    }

    /// `peer` has applied `slot`; the tail begins at `tail`.
    pub(crate) fn note_progress(&mut self, peer: LearnerId, slot: Slot, tail: Slot) {
        let Some(applied) = self.peers.get_mut(&peer) else { return };
        *applied = slot.max(*applied);
        if applied.next() >= tail {
            debug!(%peer, %slot, "needs no log but what is kept here: pins nothing for it");
            self.peers.remove(&peer);
        }
    }

    /// A slot was applied here.
    pub(crate) fn note_applied(&mut self, value_bytes: u64) {
        self.since_bytes += value_bytes;
        if self.since_bytes > self.budget_bytes && !self.peers.is_empty() {
            warn!(
                budget_bytes = self.budget_bytes,
                "the log grew over pin_bytes while peers that were given a snapshot fetched what came after it: pins nothing for them"
            );
            self.peers.clear();
        }
    }

    /// The connection to `peer` is gone.
    pub(crate) fn forget(&mut self, peer: LearnerId) {
        self.peers.remove(&peer);
    }

    /// This learner's own state was replaced.
    pub(crate) fn clear(&mut self) {
        self.peers.clear();
    }
}
