//! Sessions and their kept replies: what makes a call take effect at most once (S9).
//!
//! A session keeps the reply of every sequence from its client's lowest unacknowledged one on, within a replicated window. A
//! sequence below the mark, or beyond the window, is refused: a call that its client gave up on is fenced for good once the
//! mark has passed it. Sessions lie in persistent maps, so that an image of them costs next to nothing. Absent on purpose: time; a session
//! ends by a command.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
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
    pub(crate) nonce: u128,
    /// Slot of the last command of the session.
    pub(crate) renewed: Slot,
    /// Replies below this sequence are forgotten, calls below it refused; only rises.
    pub(crate) lowest: u64,
    /// Replies that are kept.
    pub(crate) replies: Replies,
}

/// Replies by sequence. Calls come nearly in order, and the oldest are forgotten first, so what is looked for is nearly always at one of the ends; there
/// are no places for sequences without a reply, of which a client could leave many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Replies(VecDeque<(u64, Kept)>);

impl Replies {
    /// Where this sequence lies, or would.
    fn place(&self, sequence: u64) -> Result<usize, usize> {
        match self.0.back() {
            Some((last, _)) if *last >= sequence => self.0.binary_search_by_key(&sequence, |(at, _)| *at),
            Some(_) | None => Err(self.0.len()),
        }
    }

    fn get(&self, sequence: u64) -> Option<Kept> {
        self.place(sequence).ok().map(|place| self.0[place].1)
    }

    /// Keeps a reply; tells the one that was kept before, and then changes nothing.
    pub(crate) fn insert(&mut self, sequence: u64, kept: Kept) -> Option<Kept> {
        match self.place(sequence) {
            Ok(place) => Some(self.0[place].1),
            Err(place) => {
                self.0.insert(place, (sequence, kept));
                None
            }
        }
    }

    fn forget_below(&mut self, lowest: u64) {
        while self.0.front().is_some_and(|(sequence, _)| *sequence < lowest) {
            self.0.pop_front();
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The highest sequence with a reply.
    pub(crate) fn last(&self) -> Option<u64> {
        self.0.back().map(|(sequence, _)| *sequence)
    }

    /// In the order of their sequences.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Kept)> + '_ {
        self.0.iter().copied()
    }
}

impl Session {
    /// Renews the session, raises its mark, and tells what becomes of the call.
    pub(crate) fn admit(&mut self, slot: Slot, sequence: u64, lowest: u64, window: u64) -> Admission {
        self.renewed = slot;
        if lowest > self.lowest {
            self.lowest = lowest;
            self.replies.forget_below(lowest);
        }
        let fenced = sequence < self.lowest && !synod_planted::is(Bug::FencedCallApplied);
        if fenced || sequence.saturating_sub(self.lowest) >= window {
            return Admission::Outside;
        }
        self.replies.get(sequence).map_or(Admission::Fresh, Admission::Repeated)
    }

    /// Keeps the reply to a call that was [`Admission::Fresh`].
    pub(crate) fn keep(&mut self, sequence: u64, kept: Kept) {
        let before = self.replies.insert(sequence, kept);
        assert!(before.is_none(), "S9: sequence {sequence} had {before:?}, would get {kept:?}");
    }

    /// The kept reply of a sequence.
    pub(crate) fn kept(&self, sequence: u64) -> Option<Kept> {
        self.replies.get(sequence)
    }
}

/// The open sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sessions {
    open: OrdMap<SessionId, Arc<Session>>,
    nonces: OrdMap<u128, SessionId>,
}

impl Sessions {
    /// Opens `id` for `nonce`; answers with the session that this nonce has open, or with nothing at `most` sessions.
    pub(crate) fn open(&mut self, nonce: u128, id: SessionId, most: u64) -> Option<SessionId> {
        if let Some(known) = self.nonces.get(&nonce) {
            let known = *known;
            self.get_mut(known).expect("both maps hold the same sessions").renewed = id.slot;
            return Some(known);
        }
        if self.len() >= most {
            return None;
        }
        self.set(id, Session { nonce, renewed: id.slot, lowest: 1, replies: Replies::default() });
        Some(id)
    }

    /// Sets a session as it is elsewhere; tells whether its nonce was no other session's.
    pub(crate) fn set(&mut self, id: SessionId, session: Session) -> bool {
        let before = self.nonces.insert(session.nonce, id);
        self.open.insert(id, Arc::new(session));
        before.is_none_or(|before| before == id)
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
        self.open.get(&id).map(|session| &**session)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.open.get_mut(&id).map(Arc::make_mut)
    }

    pub(crate) fn by_nonce(&self, nonce: u128) -> Option<SessionId> {
        self.nonces.get(&nonce).copied()
    }

    pub(crate) fn len(&self) -> u64 {
        self.open.len() as u64
    }

    fn behind(&self, after: Option<SessionId>) -> impl Iterator<Item = (SessionId, &Arc<Session>)> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.open.range::<_, SessionId>((first, Bound::Unbounded)).map(|(id, session)| (*id, session))
    }

    /// The sessions that differ from `older` ones, from the one behind `after` on, or from the first: as they are, or nothing where
    /// they have ended. May tell of some that don't differ.
    pub(crate) fn changes<'a>(
        &'a self,
        older: &'a Sessions,
        after: Option<SessionId>,
    ) -> impl Iterator<Item = (SessionId, Option<&'a Session>)> {
        let (mut newer, mut older) = (self.behind(after).peekable(), older.behind(after).peekable());
        std::iter::from_fn(move || {
            loop {
                match (newer.peek().copied(), older.peek().copied()) {
                    (Some((id, new)), Some((other, old))) if id == other => {
                        newer.next();
                        older.next();
                        if !Arc::ptr_eq(new, old) {
                            return Some((id, Some(&**new)));
                        }
                    }
                    (new, Some((ended, _))) if new.is_none_or(|(id, _)| ended < id) => {
                        older.next();
                        return Some((ended, None));
                    }
                    (new, _) => {
                        newer.next();
                        return new.map(|(id, session)| (id, Some(&**session)));
                    }
                }
            }
        })
    }

    /// Open sessions in order, each with the slot of its last renewal.
    pub(crate) fn renewals(&self) -> impl Iterator<Item = (SessionId, Slot)> + '_ {
        self.open.iter().map(|(id, session)| (*id, session.renewed))
    }
}
