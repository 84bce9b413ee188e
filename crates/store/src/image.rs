//! An image: the whole state at one slot, and its form in bytes (I10).
//!
//! It holds what the state machine holds: the head (applied slot, hash chain, revision, a restore under way), the sessions with their kept
//! replies, and the keys. It costs next to nothing to take, never changes, and may go to another thread. A checkpoint file, a
//! snapshot transfer and a backup are the chunks of an image; [`Changes`] are what came after an older image, in the same form,
//! so that a checkpoint writes down what was overwritten once. A [`Builder`](crate::Builder) makes the state of them again.
//!
//! Chunks have no memory: [`Image::chunk`] makes the one at a [`Cursor`], and a cursor is the place in the image's order, how
//! many items come before it, and their digest. So a transfer goes on where it broke off, and whoever has taken chunks from the first
//! one on knows by their digest that the last one ends the same image. Absent on purpose: files and checksums of chunks (whoever
//! stores or carries them has its own).

use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::command::SessionId;
use synod_protocol::{Revision, Slot, wire};

use crate::item::{Base, Opening, Writer};
use crate::session::Sessions;
use crate::storage::{Elsewhere, RecordRef, Snapshot};

/// All of the state but sessions and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    /// Every slot up to here is applied.
    pub(crate) applied: Slot,
    /// Hash chain at the applied slot.
    pub(crate) chain: u64,
    /// The revision of the last mutation.
    pub(crate) revision: Revision,
    /// The restore that is under way, if one is.
    pub(crate) restoring: Option<Restoring>,
}

/// A restore under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Restoring {
    /// The checksum of the backup: no other is mixed in.
    pub(crate) backup: u64,
    /// The highest revision that it has set.
    pub(crate) highest: Revision,
}

/// A place in an image's order, between two items. Cursors of one image compare as the places do.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    place: Place,
    /// Items before it.
    items: u64,
    /// Digest of the items before it.
    digest: u64,
}

/// What comes before a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Place {
    /// Nothing.
    #[default]
    Start,
    /// The head, and the sessions up to this one, if there is one.
    Sessions(Option<SessionId>),
    /// The sessions too, and the keys up to this one, if there is one.
    Keys(Option<Bytes>),
}

impl Cursor {
    /// Before the first item.
    pub fn start() -> Cursor {
        Cursor::default()
    }

    /// How many items come before it: the head, sessions, keys.
    pub fn items(&self) -> u64 {
        self.items
    }
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The part, which can be decoded without the others.
    pub bytes: Bytes,
    /// Where the next one begins; nothing behind the last one.
    pub next: Option<Cursor>,
}

/// The whole state at one slot.
#[derive(Clone, Debug)]
pub struct Image<T> {
    limits: u128,
    head: Head,
    sessions: Sessions,
    keys: T,
}

impl<T: Snapshot> Image<T> {
    pub(crate) fn new(limits: &Limits, head: Head, sessions: Sessions, keys: T) -> Image<T> {
        Image { limits: wire::hash_of(limits), head, sessions, keys }
    }

    /// The slot whose state this is.
    pub fn applied(&self) -> Slot {
        self.head.applied
    }

    /// Hash chain at the applied slot.
    pub fn chain(&self) -> u64 {
        self.head.chain
    }

    /// The revision of the last mutation.
    pub fn revision(&self) -> Revision {
        self.head.revision
    }

    /// How many keys there are.
    pub fn key_count(&self) -> u64 {
        self.keys.len()
    }

    /// The keys.
    pub fn keys(&self) -> &T {
        &self.keys
    }

    /// The same without its keys, for an engine that writes them down itself and so needs the rest from [`Image::chunk`]. Made a state again by
    /// [`Builder::around`](crate::Builder::around).
    pub fn without_keys(&self) -> Image<Elsewhere> {
        let keys = Elsewhere(self.keys.len());
        Image { limits: self.limits, head: self.head, sessions: self.sessions.clone(), keys }
    }

    /// The part at `at`: of at most `most_bytes` bytes, unless its only item is larger. A cursor of another image gives a part that no
    /// builder takes.
    pub fn chunk(&self, at: &Cursor, most_bytes: u64) -> Chunk {
        self.chunk_after(None, at, most_bytes)
    }

    /// What is to be kept of it so that the changes of later ones can be told: all but the records of keys.
    pub fn mark(&self) -> Mark<T> {
        Mark { head: self.head, sessions: self.sessions.clone(), keys: self.keys.mark() }
    }

    /// What has changed since an older image of the same state machine, of which this is the mark.
    pub fn changes_since(&self, older: &Mark<T>) -> Changes<T> {
        let difference = self.keys.difference(&older.keys);
        Changes {
            newer: self.clone(),
            base: Older { head: older.head, sessions: older.sessions.clone(), difference },
        }
    }

    fn opening(&self, older: Option<&Older<T>>) -> Opening {
        let mut head = self.head;
        if synod_planted::is(Bug::ImageWithOlderChain) {
            head.chain = older.map_or(0, |older| older.head.chain);
        }
        if synod_planted::is(Bug::ImageWithoutRevision) {
            head.revision = Revision::ZERO;
        }
        let base = older.map(|older| Base { applied: older.head.applied, chain: older.head.chain });
        Opening { limits: self.limits, head, base, sessions: self.sessions.len(), keys: self.keys.len() }
    }

    fn chunk_after(&self, older: Option<&Older<T>>, at: &Cursor, most_bytes: u64) -> Chunk {
        let mut writer = Writer::new(at.items, at.digest, most_bytes);
        let full = self.fill(older, &mut writer, at.place.clone());
        let (bytes, items, digest) = writer.finish();
        let next = full.break_value().map(|place| Cursor { place, items, digest });
        Chunk { bytes, next }
    }

    /// Writes items from `place` on; breaks where there is no more room.
    fn fill(&self, older: Option<&Older<T>>, writer: &mut Writer, place: Place) -> ControlFlow<Place> {
        let (sessions_after, keys_after) = match place {
            Place::Start => {
                if !writer.opening(&self.opening(older)) {
                    return ControlFlow::Break(Place::Start);
                }
                (Some(None), None)
            }
            Place::Sessions(after) => (Some(after), None),
            Place::Keys(after) => (None, after),
        };
        if let Some(after) = sessions_after
            && !synod_planted::is(Bug::ImageWithoutSessions)
        {
            self.fill_sessions(older, writer, after)?;
        }
        let last = self.fill_keys(older, writer, keys_after)?;
        if writer.end() { ControlFlow::Continue(()) } else { ControlFlow::Break(Place::Keys(last)) }
    }

    fn fill_sessions(
        &self,
        older: Option<&Older<T>>,
        writer: &mut Writer,
        mut after: Option<SessionId>,
    ) -> ControlFlow<Place> {
        let none = Sessions::default();
        let older = older.map_or(&none, |older| &older.sessions);
        for (id, session) in self.sessions.changes(older, after) {
            let taken = match session {
                Some(session) => writer.session(id, session),
                None => writer.session_ended(id),
            };
            if !taken {
                return ControlFlow::Break(Place::Sessions(after));
            }
            after = Some(id);
        }
        ControlFlow::Continue(())
    }

    /// Comes with the last key written.
    fn fill_keys(
        &self,
        older: Option<&Older<T>>,
        writer: &mut Writer,
        mut after: Option<Bytes>,
    ) -> ControlFlow<Place, Option<Bytes>> {
        let first = after.clone();
        let mut last = Vec::new();
        let (mut any, mut full) = (false, false);
        let mut visit = |key: &[u8], record: Option<RecordRef<'_>>| {
            let taken = match record {
                Some(record) => writer.key(key, record),
                None => writer.key_gone(key),
            };
            if !taken {
                full = true;
                return ControlFlow::Break(());
            }
            last.clear();
            last.extend_from_slice(key);
            any = true;
            ControlFlow::Continue(())
        };
        match older {
            Some(Older { difference, .. }) => self.keys.changes(difference, first.as_deref(), visit),
            None => self.keys.scan(first.as_deref(), |key, record| visit(key, Some(record))),
        }
        if any {
            after = Some(Bytes::from(last));
        }
        if full { ControlFlow::Break(Place::Keys(after)) } else { ControlFlow::Continue(after) }
    }
}

/// What is kept of an image that later ones are compared with.
#[derive(Clone, Debug)]
pub struct Mark<T: Snapshot> {
    head: Head,
    sessions: Sessions,
    keys: T::Mark,
}

/// What has changed from one image to a newer one, in chunks like those of an image. A [`Builder`](crate::Builder) takes them on top of the
/// older image's state.
#[derive(Clone, Debug)]
pub struct Changes<T: Snapshot> {
    newer: Image<T>,
    base: Older<T>,
}

/// What changes are told since: an older image, but for its keys.
#[derive(Clone, Debug)]
struct Older<T: Snapshot> {
    head: Head,
    sessions: Sessions,
    difference: T::Difference,
}

impl<T: Snapshot> Changes<T> {
    /// The part at `at`, as of [`Image::chunk`].
    pub fn chunk(&self, at: &Cursor, most_bytes: u64) -> Chunk {
        self.newer.chunk_after(Some(&self.base), at, most_bytes)
    }
}

#[cfg(test)]
mod tests;
