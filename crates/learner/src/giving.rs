//! Giving a snapshot to a peer, or to a client that makes a backup, chunk by chunk (I10).
//!
//! One image of the state is kept while anybody asks for it; it costs next to nothing to take and doesn't hinder applying. Meanwhile the slots above it are
//! pinned: acceptors keep the log that whoever fetches the snapshot will need next (S11; Consul's #9609 is what happens otherwise). The
//! image goes when nobody asked for a while, or when more was applied since than the budget and three times what was given, together: a transfer that is slower than the
//! log starts over with a newer one, and one that isn't never has to. Peers that were given all of it are followed while they fetch the log
//! ([`Following`]). Absent on purpose: any memory of where whoever asks has come; it keeps its own place.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use synod_planted::Bug;
use synod_protocol::message::{NoSnapshot, SnapshotChunk, SnapshotFetch, ToClient, ToLearner};
use synod_protocol::role::{Delay, Misdirected};
use synod_protocol::{NodeId, Slot, wire};
use synod_store::{Cursor, Image, Storage};
use tracing::{info, warn};

use crate::following::Following;
use crate::{Learner, Out, Timer};

/// Bytes of the log that are pinned for each byte that was given: what a learner that joins needs at most ([`crate::pace`]).
const LOG_BYTES: u64 = 3;

/// The image that is being given to others, if one is.
pub(crate) struct Giving<S: Storage> {
    given: Option<Given<S>>,
    /// Who fetches the log after it.
    pub(crate) following: Following,
}

struct Given<S: Storage> {
    image: Image<S::Snapshot>,
    /// Whether it was asked for since the timer was set.
    asked: bool,
    /// Bytes applied since.
    since_bytes: u64,
    /// Up to where somebody was given it, and how many bytes that is.
    furthest: Cursor,
    given_bytes: u64,
}

/// What tells one from another: an image is known by its slot and chain.
type Identity = (Slot, u64, bool, u64, u64);

impl<S: Storage> Given<S> {
    fn identity(&self) -> Identity {
        (self.image.applied(), self.image.chain(), self.asked, self.since_bytes, self.given_bytes)
    }

    /// A part was given that ends before `next`. Given again it counts once: nobody keeps the log by asking in circles.
    fn note_given(&mut self, next: &Cursor, bytes: u64) {
        if *next > self.furthest {
            self.furthest = next.clone();
            self.given_bytes += bytes;
        }
    }

    /// Bytes that may be applied until it is dropped.
    fn budget_bytes(&self, pin_bytes: u64) -> u64 {
        pin_bytes.saturating_add(self.given_bytes.saturating_mul(LOG_BYTES))
    }
}

impl<S: Storage> Giving<S> {
    fn identity(&self) -> (Option<Identity>, &Following) {
        (self.given.as_ref().map(Given::identity), &self.following)
    }

    /// The slot whose image is kept.
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.given.as_ref().map(|given| given.image.applied())
    }

    /// Drops the image.
    pub(crate) fn drop_image(&mut self) {
        self.given = None;
    }

    /// A slot was applied.
    pub(crate) fn note_applied(&mut self, value_bytes: u64, pin_bytes: u64) {
        self.following.note_applied(value_bytes);
        if let Some(given) = &mut self.given {
            given.since_bytes += value_bytes;
            let budget_bytes = given.budget_bytes(pin_bytes);
            if given.since_bytes > budget_bytes {
                warn!(
                    slot = %given.image.applied(),
                    budget_bytes,
                    "the log grew over pin_bytes while a snapshot was being fetched: drops the snapshot; whoever fetches it starts over"
                );
                self.given = None;
            }
        }
    }
}

impl<S: Storage> Default for Giving<S> {
    fn default() -> Self {
        Giving { given: None, following: Following::default() }
    }
}

impl<S: Storage> Clone for Giving<S> {
    fn clone(&self) -> Self {
        let clone = |given: &Given<S>| Given {
            image: given.image.clone(),
            asked: given.asked,
            since_bytes: given.since_bytes,
            furthest: given.furthest.clone(),
            given_bytes: given.given_bytes,
        };
        Giving { given: self.given.as_ref().map(clone), following: self.following.clone() }
    }
}

impl<S: Storage> PartialEq for Giving<S> {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl<S: Storage> Eq for Giving<S> {}

impl<S: Storage> Hash for Giving<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl<S: Storage> fmt::Debug for Giving<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Giving").field(&self.identity()).finish()
    }
}

impl<S: Storage> Learner<S> {
    pub(crate) fn on_snapshot_fetch(
        &mut self,
        from: NodeId,
        fetch: SnapshotFetch,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        let SnapshotFetch { slot, least, cursor } = fetch;
        let start = cursor.is_empty();
        let place = if start { Ok(Cursor::start()) } else { wire::decode_place(&cursor) };
        let place =
            place.map_err(|error| Misdirected::new(from, format!("the place of a snapshot: {error}")))?;
        if slot.is_none() && start {
            self.take_image(least, effects);
        }
        let kept = self.giving.given.as_mut().filter(|given| {
            let applied = given.image.applied();
            slot.map_or(start && applied >= least, |slot| slot == applied)
        });
        // A state that may be wrong is given to nobody (S7).
        let Some(given) = kept.filter(|_| !self.alarm.is_in_doubt()) else {
            answer_no_snapshot(from, NoSnapshot { slot, applied: self.machine.applied() }, effects);
            return Ok(());
        };
        given.asked = true;
        let chunk = given.image.chunk(&place, self.config.tuning.chunk_bytes);
        let (slot, bytes) = (given.image.applied(), chunk.bytes);
        match (&chunk.next, from) {
            (Some(next), _) => given.note_given(next, bytes.len() as u64),
            (None, NodeId::Learner(peer)) => {
                let budget_bytes = given.budget_bytes(self.config.tuning.pin_bytes);
                self.giving.following.begin(peer, slot, given.since_bytes, budget_bytes);
            }
            (None, NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Client(_)) => {}
        }
        let next = chunk.next.map(|next| wire::encode_place(&next));
        let checksum = SnapshotChunk::checksum(slot, &cursor, &bytes, next.as_deref());
        answer_chunk(from, SnapshotChunk { slot, cursor, bytes, next, checksum }, effects);
        Ok(())
    }

    /// Sees that there is an image of `least` or a later slot, if one can be made.
    fn take_image(&mut self, least: Slot, effects: &mut Out) {
        let kept = self.giving.slot().is_some_and(|slot| slot >= least);
        if kept || self.machine.applied() < least || self.machine.applied() == Slot::ZERO {
            return;
        }
        info!(slot = %self.machine.applied(), "keeps a snapshot for whoever fetches it");
        let image = self.machine.image();
        let (furthest, given_bytes) = (Cursor::start(), 0);
        self.giving.given = Some(Given { image, asked: true, since_bytes: 0, furthest, given_bytes });
        effects.set_timer(Timer::Give, Delay::exactly(self.config.tuning.snapshot_keep_ms));
    }

    pub(crate) fn on_give_timer(&mut self, effects: &mut Out) {
        let Some(given) = &mut self.giving.given else { return };
        if std::mem::take(&mut given.asked) {
            effects.set_timer(Timer::Give, Delay::exactly(self.config.tuning.snapshot_keep_ms));
        } else {
            info!(slot = %given.image.applied(), "nobody fetches the snapshot: drops it");
            self.giving.drop_image();
        }
    }

    /// The slot above which acceptors are to keep the log for a transfer.
    pub(crate) fn pinned(&self) -> Option<Slot> {
        let followed = self.giving.following.lowest().filter(|_| !synod_planted::is(Bug::FollowerUnpinned));
        let lowest = self.giving.slot().into_iter().chain(followed).min();
        lowest.filter(|_| !synod_planted::is(Bug::PinIgnored))
    }
}

fn answer_chunk(to: NodeId, chunk: SnapshotChunk, effects: &mut Out) {
    match to {
        NodeId::Learner(peer) => effects.send(peer, ToLearner::SnapshotChunk(chunk)),
        NodeId::Client(client) => effects.send(client, ToClient::SnapshotChunk(chunk)),
        NodeId::Acceptor(_) | NodeId::Proposer(_) => unreachable!("learners and clients ask for snapshots"),
    }
}

fn answer_no_snapshot(to: NodeId, none: NoSnapshot, effects: &mut Out) {
    match to {
        NodeId::Learner(peer) => effects.send(peer, ToLearner::NoSnapshot(none)),
        NodeId::Client(client) => effects.send(client, ToClient::NoSnapshot(none)),
        NodeId::Acceptor(_) | NodeId::Proposer(_) => unreachable!("learners and clients ask for snapshots"),
    }
}

/// The place at which a snapshot begins, on the wire.
pub(crate) const START: Bytes = Bytes::new();
