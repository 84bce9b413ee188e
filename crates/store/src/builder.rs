//! Makes a state of an image's chunks (I10).
//!
//! Takes them in order from the first one on, and refuses whatever doesn't continue what it has: a chunk that is missing, repeated or of another
//! image (each names the number and the digest of the items before it), items out of order, records and sessions that the limits
//! forbid or no log could make, an end whose totals differ. What it has taken so far is no state: only [`Builder::finish`] gives one out, after the last
//! chunk. Where it refuses, what was built is to be thrown away.

use std::cmp::Ordering;

use synod_planted::Bug;
use synod_protocol::Slot;
use synod_protocol::cluster::Limits;
use synod_protocol::command::SessionId;
use synod_protocol::wire;

use crate::image::Head;
use crate::item::{self, Base, Item, Opening, Reader};
use crate::machine::{StateMachine, is_possible};
use crate::session::{Session, Sessions};
use crate::storage::{RecordRef, Storage};

/// Why no state can be made of chunks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Bytes that are no chunk, or not of this release.
    #[error(
        "item {item} of the image is no item that this release writes: it is damaged, or from another release"
    )]
    Malformed {
        /// How many items came before it.
        item: u64,
    },
    /// A chunk that doesn't continue those before it.
    #[error(
        "a chunk comes after {got} items of its image, where {expected} were taken: one is missing, repeated or of another image"
    )]
    OutOfOrder {
        /// Items taken so far.
        expected: u64,
        /// Items that the chunk says come before it.
        got: u64,
    },
    /// An item that can't be in this place.
    #[error("item {item} of the image can't be: {what}")]
    Impossible {
        /// How many items came before it.
        item: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Made under other limits.
    #[error("the image was made in a cluster with other [limits]: it means another state here")]
    OtherLimits,
    /// Changes of another state.
    #[error("the image holds what has changed since slot {theirs}, not since this state at slot {ours}")]
    OtherBase {
        /// The applied slot before the image's changes.
        theirs: Slot,
        /// The applied slot of the state they were to be put on.
        ours: Slot,
    },
    /// The content isn't what was written.
    #[error("the image's digest differs after {items} items: it is damaged")]
    Digest {
        /// Items taken so far.
        items: u64,
    },
    /// The last chunk hasn't come.
    #[error("the image ends after {items} items, before its last chunk")]
    Incomplete {
        /// Items taken so far.
        items: u64,
    },
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Opening,
    Sessions(Opening, Option<SessionId>),
    /// The last key is in `last_key`.
    Keys(Opening),
    Ended(Opening),
}

/// A state under construction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Builder<S> {
    limits: Limits,
    /// Whether images made under other limits are taken.
    any_limits: bool,
    /// The state that changes are put on; of an image of everything, the empty one.
    base: Base,
    sessions: Sessions,
    storage: S,
    stage: Stage,
    last_key: Option<Vec<u8>>,
    items: u64,
    digest: u64,
}

impl<S: Storage> Builder<S> {
    /// Nothing so far, for a state under `limits` in an empty storage.
    pub fn new(limits: Limits, storage: S) -> Builder<S> {
        Builder::on(StateMachine::new(limits, storage))
    }

    /// For changes on top of a state. One without any slot takes images of everything.
    pub fn on(machine: StateMachine<S>) -> Builder<S> {
        let (limits, head, sessions, storage) = machine.into_parts();
        let base = Base { applied: head.applied, chain: head.chain };
        let (stage, last_key, items, digest) = (Stage::Opening, None, 0, 0);
        Builder { limits, any_limits: false, base, sessions, storage, stage, last_key, items, digest }
    }

    /// For the chunks of [`Image::without_keys`](crate::Image::without_keys), around the storage in which its keys are.
    pub fn around(limits: Limits, storage: S) -> Builder<S> {
        Builder::on(StateMachine::from_parts(limits, Head::default(), Sessions::default(), storage))
    }

    /// For an image of everything that is only read, whatever limits it was made under.
    pub(crate) fn reading(storage: S) -> Builder<S> {
        let any = u64::MAX;
        let limits = Limits { key_bytes: any, value_bytes: any, sessions: any, session_window: any };
        Builder { any_limits: true, ..Builder::new(limits, storage) }
    }

    /// The storage in which it is built.
    pub(crate) fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }

    /// Whether the storage takes nothing more before what it holds is written down.
    pub fn is_full(&self) -> bool {
        self.storage.is_full()
    }

    /// Writes down what has come, as far as there is room.
    pub fn relieve(&mut self) {
        self.storage.relieve();
    }

    /// Takes the next chunk.
    pub fn take(&mut self, chunk: &[u8]) -> Result<(), ImageError> {
        let malformed = |item| ImageError::Malformed { item };
        let (mut reader, items, digest) = Reader::new(chunk).ok_or(malformed(self.items))?;
        if items != self.items {
            return Err(ImageError::OutOfOrder { expected: self.items, got: items });
        }
        self.compare(digest)?;
        while !reader.is_empty() {
            let (item, bytes) = reader.item().ok_or(malformed(self.items))?;
            self.item(item)?;
            self.digest = item::digest(self.digest, bytes);
            self.items += 1;
        }
        Ok(())
    }

    /// Whether the last chunk has been taken.
    pub fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// The slot whose state this becomes, once the first chunk was taken.
    pub fn applied(&self) -> Option<Slot> {
        match self.stage {
            Stage::Opening => None,
            Stage::Sessions(opening, _) | Stage::Keys(opening) | Stage::Ended(opening) => {
                Some(opening.head.applied)
            }
        }
    }

    /// The state, equal to the one whose image this was.
    pub fn finish(self) -> Result<StateMachine<S>, ImageError> {
        let incomplete = ImageError::Incomplete { items: self.items };
        let opening = match self.stage {
            Stage::Ended(opening) => opening,
            Stage::Keys(opening) | Stage::Sessions(opening, _)
                if synod_planted::is(Bug::ImageEndNotAwaited) =>
            {
                opening
            }
            Stage::Opening | Stage::Sessions(..) | Stage::Keys(_) => return Err(incomplete),
        };
        Ok(StateMachine::from_parts(self.limits, opening.head, self.sessions, self.storage))
    }

    fn item(&mut self, item: Item<'_>) -> Result<(), ImageError> {
        match item {
            Item::Opening(opening) => self.opening(opening),
            Item::Session(id, session) => {
                self.session_in_order(id)?;
                self.session(id, session)
            }
            Item::SessionEnded(id) => {
                self.session_in_order(id)?;
                self.sessions.end(id);
                Ok(())
            }
            Item::Key(key, record) => {
                self.key_in_order(key)?;
                self.key(key, record)
            }
            Item::KeyGone(key) => {
                self.key_in_order(key)?;
                let was_there = self.storage.delete(key);
                self.check(was_there, "a key is gone that never was")
            }
            Item::End(items, digest) => self.end(items, digest),
        }
    }

    fn opening(&mut self, opening: Opening) -> Result<(), ImageError> {
        self.check(self.stage == Stage::Opening, "it begins twice")?;
        if !self.any_limits && opening.limits != wire::hash_of(&self.limits) {
            return Err(ImageError::OtherLimits);
        }
        let ours = self.base;
        let theirs = opening.base.unwrap_or(Base { applied: Slot::ZERO, chain: 0 });
        if theirs != ours {
            return Err(ImageError::OtherBase { theirs: theirs.applied, ours: ours.applied });
        }
        let Head { applied, revision, restoring, .. } = opening.head;
        self.check(applied >= ours.applied, "it is older than the state before it")?;
        self.check(
            restoring.is_none() || revision.0 == 0,
            "a restore is under way in a state with mutations",
        )?;
        self.check(opening.sessions <= self.limits.sessions, "more sessions than the limit")?;
        self.stage = Stage::Sessions(opening, None);
        Ok(())
    }

    fn session_in_order(&mut self, id: SessionId) -> Result<(), ImageError> {
        let Stage::Sessions(opening, last) = self.stage else {
            return self.check(false, "a session in the wrong place");
        };
        self.check(last.is_none_or(|last| last < id), "sessions out of order")?;
        self.stage = Stage::Sessions(opening, Some(id));
        Ok(())
    }

    fn session(&mut self, id: SessionId, session: Session) -> Result<(), ImageError> {
        let head = self.head();
        let newest = session.replies.last().unwrap_or(session.lowest);
        self.check(
            newest - session.lowest < self.limits.session_window,
            "replies outside the session's window",
        )?;
        let slots = id.slot <= session.renewed && session.renewed <= head.applied;
        self.check(slots, "a session used at slots that the state hasn't applied")?;
        let replies = session.replies.iter().all(|(_, kept)| kept.slot <= head.applied);
        self.check(replies, "a reply of a slot that the state hasn't applied")?;
        self.sessions.end(id);
        let nonce_free = self.sessions.set(id, session);
        self.check(nonce_free, "two sessions of one nonce")
    }

    fn key_in_order(&mut self, key: &[u8]) -> Result<(), ImageError> {
        match self.stage {
            Stage::Sessions(opening, _) => self.stage = Stage::Keys(opening),
            Stage::Keys(_) => {}
            Stage::Opening | Stage::Ended(_) => return self.check(false, "a key in the wrong place"),
        }
        let order = self.last_key.as_deref().map_or(Ordering::Less, |last| last.cmp(key));
        self.check(order == Ordering::Less, "keys out of order")?;
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    fn key(&mut self, key: &[u8], record: RecordRef<'_>) -> Result<(), ImageError> {
        let Limits { key_bytes, value_bytes, .. } = self.limits;
        let lengths = key.len() as u64 <= key_bytes && record.value.len() as u64 <= value_bytes;
        self.check(lengths, "a key or value longer than the limit")?;
        let head = self.head();
        let highest = head.restoring.map_or(head.revision, |restoring| restoring.highest);
        let stamp = record.stamp;
        self.check(is_possible(stamp) && stamp.modified <= highest, "a record of revisions that can't be")?;
        self.storage.put(key, record.value, |_| record.stamp);
        Ok(())
    }

    fn end(&mut self, items: u64, digest: u64) -> Result<(), ImageError> {
        let (Stage::Sessions(opening, _) | Stage::Keys(opening)) = self.stage else {
            return self.check(false, "an end in the wrong place");
        };
        self.check(items == self.items, "an end after another number of items")?;
        self.compare(digest)?;
        self.check(self.sessions.len() == opening.sessions, "another number of sessions than the state has")?;
        self.check(self.storage.len() == opening.keys, "another number of keys than the state has")?;
        self.stage = Stage::Ended(opening);
        Ok(())
    }

    fn head(&self) -> Head {
        match self.stage {
            Stage::Opening => Head::default(),
            Stage::Sessions(opening, _) | Stage::Keys(opening) | Stage::Ended(opening) => opening.head,
        }
    }

    fn compare(&self, digest: u64) -> Result<(), ImageError> {
        let same = digest == self.digest || synod_planted::is(Bug::ImageDigestIgnored);
        if same { Ok(()) } else { Err(ImageError::Digest { items: self.items }) }
    }

    fn check(&self, holds: bool, what: &'static str) -> Result<(), ImageError> {
        if holds { Ok(()) } else { Err(ImageError::Impossible { item: self.items, what }) }
    }
}

#[cfg(test)]
mod tests;
