//! What an acceptor tells of its votes, a chunk at a time: promises to candidates, chosen values to whoever fetches.
//!
//! Upholds S4 (a promise names what it covers; below the floor is never a vote) and S6 (only the held prefix is served). A value that is on disk
//! only is told as a hole, with the slot that fills it.

use synod_planted::Bug;
use synod_protocol::message::{Fetch, Fetched, Promise, Vote};
use synod_protocol::{Ballot, Slot};

use crate::{Acceptor, Head};

/// Which values of a message are holes, and the slots that fill them.
pub(crate) type Fills = Vec<(usize, Slot)>;

impl Acceptor {
    /// The votes above the held prefix and above `after`, as many as fit a chunk (S4: the range covered is named), and the
    /// slots whose values are on disk.
    pub(crate) fn promise_chunk(&self, ballot: Ballot, after: Slot) -> (Promise, Fills) {
        let (mut floor, mut held) = (self.durable.head().floor, self.durable.head().held);
        if synod_planted::is(Bug::DroppedSlotsToldAsFree) {
            (floor, held) = (Slot::FIRST, Slot::ZERO);
        }
        let after = after.max(held);
        let mut promise = Promise {
            ballot,
            disk: self.disk(),
            incarnations: self.durable.head().incarnations.clone(),
            floor,
            held,
            after,
            upto: after,
            complete: true,
            votes: Vec::new(),
        };
        let (mut bytes, mut fills) = (0, Fills::new());
        for (slot, voted) in self.durable.votes_above(after) {
            if bytes >= self.config.chunk_bytes {
                promise.complete = synod_planted::is(Bug::CappedPromise);
                break;
            }
            bytes += voted.value.bytes() + 64;
            promise.upto = slot;
            let value = voted.value.to_send();
            if value.is_hole() {
                fills.push((promise.votes.len(), slot));
            }
            promise.votes.push(Vote { slot, ballot: voted.ballot, value });
        }
        (promise, fills)
    }

    pub(crate) fn on_fetch(&self, fetch: Fetch) -> (Fetched, Fills) {
        let (mut values, mut bytes, mut fills) = (Vec::new(), 0, Fills::new());
        for (slot, kept) in self.durable.held_values(fetch.first, fetch.last) {
            if bytes >= self.config.chunk_bytes {
                break;
            }
            bytes += kept.bytes() + 64;
            let value = kept.to_send();
            if value.is_hole() {
                fills.push((values.len(), slot));
            }
            values.push(value);
        }
        let Head { held, floor, .. } = *self.durable.head();
        (Fetched { first: fetch.first, values, held, floor }, fills)
    }
}
