//! Sessions and their kept replies: what makes a call take effect at most once (S9).
//!
//! A session keeps the reply of every sequence from its client's lowest unacknowledged one on, within a replicated window. A
//! sequence below the mark, or beyond the window, is refused: a call that its client gave up on is fenced for good once the
//! mark has passed it. Absent on purpose: time; a session ends by a command.

use std::collections::BTreeMap;

use synod_planted::Bug;
use synod_protocol::Slot;
use synod_protocol::command::{Outcome, SessionId};

/// What is kept of a reply; session and sequence are where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    /// The slot at which the call took effect, or was refused.
    pub(crate) slot: Slot,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Its sequence lies outside the window.
    Outside,
    /// It was answered before: this is the reply.
    Repeated(Kept),
    /// It may take effect.
    Fresh,
}

/// One open session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    /// The nonce that opened it.
    nonce: u128,
    /// Slot of the last command of the session.
    renewed: Slot,
    /// Replies below this sequence are forgotten, calls below it refused; only rises.
    lowest: u64,
    /// Replies kept, by sequence.
    replies: BTreeMap<u64, Kept>,
}

impl Session {
    /// Renews the session, raises its mark, and tells what becomes of the call.
    pub(crate) fn admit(&mut self, slot: Slot, sequence: u64, lowest: u64, window: u64) -> Admission {
        self.renewed = slot;
        if lowest > self.lowest {
            self.lowest = lowest;
            while self.replies.first_key_value().is_some_and(|(sequence, _)| *sequence < lowest) {
                self.replies.pop_first();
            }
        }
        let fenced = sequence < self.lowest && !synod_planted::is(Bug::FencedCallApplied);
        if fenced || sequence.saturating_sub(self.lowest) >= window {
            return Admission::Outside;
        }
        self.replies.get(&sequence).map_or(Admission::Fresh, |kept| Admission::Repeated(*kept))
    }

    /// Keeps the reply to a call that was [`Admission::Fresh`].
    pub(crate) fn keep(&mut self, sequence: u64, kept: Kept) {
        let before = self.replies.insert(sequence, kept);
        assert!(before.is_none(), "S9: sequence {sequence} had {before:?}, would get {kept:?}");
    }

    /// The kept reply of a sequence.
    pub(crate) fn kept(&self, sequence: u64) -> Option<Kept> {
        self.replies.get(&sequence).copied()
    }
}

/// The open sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    nonces: BTreeMap<u128, SessionId>,
}

impl Sessions {
    /// Opens `id` for `nonce`; answers with the session that this nonce has open, or with nothing at `most` sessions.
    pub(crate) fn open(&mut self, nonce: u128, id: SessionId, most: u64) -> Option<SessionId> {
        if let Some(known) = self.nonces.get(&nonce) {
            let session = self.open.get_mut(known).expect("both maps hold the same sessions");
            session.renewed = id.slot;
            return Some(*known);
        }
        if self.len() >= most {
            return None;
        }
        self.nonces.insert(nonce, id);
        self.open.insert(id, Session { nonce, renewed: id.slot, lowest: 1, replies: BTreeMap::new() });
        Some(id)
    }

    /// Ends a session if it is open.
    pub(crate) fn end(&mut self, id: SessionId) {
        if let Some(session) = self.open.remove(&id) {
            self.nonces.remove(&session.nonce);
        }
    }

    /// Ends a session if `renewed` is still its last renewal; tells whether it did.
    pub(crate) fn expire(&mut self, id: SessionId, renewed: Slot) -> bool {
        let idle = self
            .open
            .get(&id)
            .is_some_and(|session| session.renewed == renewed || synod_planted::is(Bug::ExpiryUnconditional));
        if idle {
            self.end(id);
        }
        idle
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.open.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.open.get_mut(&id)
    }

    pub(crate) fn by_nonce(&self, nonce: u128) -> Option<SessionId> {
        self.nonces.get(&nonce).copied()
    }

    pub(crate) fn len(&self) -> u64 {
        self.open.len() as u64
    }

    /// Open sessions in order, each with the slot of its last renewal.
    pub(crate) fn renewals(&self) -> impl Iterator<Item = (SessionId, Slot)> + '_ {
        self.open.iter().map(|(id, session)| (*id, session.renewed))
    }
}
