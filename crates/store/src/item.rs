//! The items of an image, as bytes: little-endian, written by hand.
//!
//! A chunk is `[items before it: u64][their digest: u64]` and then items, each with its kind first. The digest of an item is xxh3-64 of its
//! bytes, seeded with the digest of those before it. A decoder believes no length before it has seen as many bytes, and allocates
//! for no more than it has seen (I14).

use bytes::Bytes;
use synod_planted::Bug;
use synod_protocol::command::{SessionId, Stamp};
use synod_protocol::{Revision, Slot};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::image::{Head, Restoring};
use crate::outcome;
use crate::session::{Kept, Replies, Session};
use crate::storage::RecordRef;

/// The form of these bytes; another release may have another.
const FORM: u32 = 1;

/// Kinds of items.
mod kind {
    pub(super) const OPENING: u8 = 1;
    pub(super) const SESSION: u8 = 2;
    pub(super) const SESSION_ENDED: u8 = 3;
    pub(super) const KEY: u8 = 4;
    pub(super) const KEY_GONE: u8 = 5;
    pub(super) const END: u8 = 6;
}

/// What an image begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Opening {
    /// Hash of the limits under which the state came to be.
    pub(crate) limits: u128,
    /// The head.
    pub(crate) head: Head,
    /// The state on top of which the image's items are to be taken; absent in an image of everything.
    pub(crate) base: Option<Base>,
    /// Open sessions of the state.
    pub(crate) sessions: u64,
    /// Keys of the state.
    pub(crate) keys: u64,
}

/// The state before changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Base {
    pub(crate) applied: Slot,
    pub(crate) chain: u64,
}

/// One item; keys and values are borrowed from the chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Opening(Opening),
    Session(SessionId, Session),
    SessionEnded(SessionId),
    Key(&'a [u8], RecordRef<'a>),
    KeyGone(&'a [u8]),
    /// How many items came before, and their digest.
    End(u64, u64),
}

/// The digest of `item`'s bytes and all before it.
pub(crate) fn digest(before: u64, item: &[u8]) -> u64 {
    xxh3_64_with_seed(item, before)
}

/// Bytes that a chunk is given room for before it has them, at most.
const CAPACITY_MOST: u64 = 1 << 20;

/// Writes one chunk. Each method tells whether there was room for the item; the first one always has it.
pub(crate) struct Writer {
    out: Vec<u8>,
    first: bool,
    items: u64,
    digest: u64,
    most_bytes: u64,
}

impl Writer {
    /// A chunk after so many items with this digest.
    pub(crate) fn new(items: u64, digest: u64, most_bytes: u64) -> Writer {
        // At once: it is filled up to its first item that has no place, and growing it would copy it again and again.
        let room = most_bytes.min(CAPACITY_MOST);
        let out = Vec::with_capacity((room + room / 16) as usize);
        let mut writer = Writer { out, first: true, items, digest, most_bytes };
        writer.number(items);
        writer.number(digest);
        writer
    }

    pub(crate) fn opening(&mut self, opening: &Opening) -> bool {
        self.item(kind::OPENING, |writer| {
            let Opening { limits, head, base, sessions, keys } = *opening;
            let Head { applied, chain, revision, restoring } = head;
            writer.out.extend_from_slice(&FORM.to_le_bytes());
            writer.out.extend_from_slice(&limits.to_le_bytes());
            [applied.0, chain, revision.0].into_iter().for_each(|number| writer.number(number));
            writer.optional(restoring.map(|Restoring { backup, highest }| [backup, highest.0]));
            writer.optional(base.map(|base| [base.applied.0, base.chain]));
            writer.number(sessions);
            writer.number(keys);
        })
    }

    pub(crate) fn session(&mut self, id: SessionId, session: &Session) -> bool {
        self.item(kind::SESSION, |writer| {
            writer.session_id(id);
            writer.out.extend_from_slice(&session.nonce.to_le_bytes());
            writer.number(session.renewed.0);
            writer.number(session.lowest);
            if synod_planted::is(Bug::RepliesNotInImage) {
                return writer.number(0);
            }
            writer.number(session.replies.len());
            for (sequence, Kept { slot, outcome }) in session.replies.iter() {
                let (kind, detail) = outcome::parts(outcome);
                writer.number(sequence);
                writer.number(slot.0);
                writer.out.push(kind);
                writer.number(detail);
            }
        })
    }

    pub(crate) fn session_ended(&mut self, id: SessionId) -> bool {
        self.item(kind::SESSION_ENDED, |writer| writer.session_id(id))
    }

    pub(crate) fn key(&mut self, key: &[u8], record: RecordRef<'_>) -> bool {
        self.item(kind::KEY, |writer| {
            let Stamp { created, modified, version } = record.stamp;
            writer.length(key);
            writer.length(record.value);
            [created.0, modified.0, version].into_iter().for_each(|number| writer.number(number));
            writer.out.extend_from_slice(key);
            writer.out.extend_from_slice(record.value);
        })
    }

    pub(crate) fn key_gone(&mut self, key: &[u8]) -> bool {
        self.item(kind::KEY_GONE, |writer| {
            writer.length(key);
            writer.out.extend_from_slice(key);
        })
    }

    pub(crate) fn end(&mut self) -> bool {
        let (items, digest) = (self.items, self.digest);
        self.item(kind::END, |writer| {
            writer.number(items);
            writer.number(digest);
        })
    }

    /// The chunk; how many items come before the next one, and their digest.
    pub(crate) fn finish(self) -> (Bytes, u64, u64) {
        (self.out.into(), self.items, self.digest)
    }

    fn item(&mut self, kind: u8, write: impl FnOnce(&mut Self)) -> bool {
        let start = self.out.len();
        self.out.push(kind);
        write(self);
        if self.out.len() as u64 > self.most_bytes && !self.first {
            self.out.truncate(start);
            return false;
        }
        self.first = false;
        self.items += 1;
        self.digest = digest(self.digest, &self.out[start..]);
        true
    }

    fn number(&mut self, number: u64) {
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    fn length(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("limits keep keys and values under 4 GiB");
        self.out.extend_from_slice(&length.to_le_bytes());
    }

    fn optional<const N: usize>(&mut self, numbers: Option<[u64; N]>) {
        self.out.push(u8::from(numbers.is_some()));
        numbers.into_iter().flatten().for_each(|number| self.number(number));
    }

    fn session_id(&mut self, id: SessionId) {
        self.number(id.slot.0);
        self.out.extend_from_slice(&id.position.to_le_bytes());
    }
}

/// Reads one chunk. Nothing in place of a part means that the bytes aren't one.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The chunk's items; how many come before them, and their digest.
    pub(crate) fn new(chunk: &'a [u8]) -> Option<(Reader<'a>, u64, u64)> {
        let mut reader = Reader { rest: chunk };
        let (items, digest) = (reader.number()?, reader.number()?);
        Some((reader, items, digest))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next item, and its bytes.
    pub(crate) fn item(&mut self) -> Option<(Item<'a>, &'a [u8])> {
        let whole = self.rest;
        let item = match self.byte()? {
            kind::OPENING => Item::Opening(self.opening()?),
            kind::SESSION => {
                let id = self.session_id()?;
                Item::Session(id, self.session()?)
            }
            kind::SESSION_ENDED => Item::SessionEnded(self.session_id()?),
            kind::KEY => {
                let (key, value) = (self.length()?, self.length()?);
                let (created, modified) = (Revision(self.number()?), Revision(self.number()?));
                let stamp = Stamp { created, modified, version: self.number()? };
                let key = self.bytes(key)?;
                Item::Key(key, RecordRef { stamp, value: self.bytes(value)? })
            }
            kind::KEY_GONE => {
                let key = self.length()?;
                Item::KeyGone(self.bytes(key)?)
            }
            kind::END => Item::End(self.number()?, self.number()?),
            _ => return None,
        };
        Some((item, &whole[..whole.len() - self.rest.len()]))
    }

    fn opening(&mut self) -> Option<Opening> {
        if u32::from_le_bytes(self.array()?) != FORM {
            return None;
        }
        let limits = u128::from_le_bytes(self.array()?);
        let (applied, chain) = (Slot(self.number()?), self.number()?);
        let revision = Revision(self.number()?);
        let restoring = self.optional()?;
        let restoring = restoring.map(|[backup, highest]| Restoring { backup, highest: Revision(highest) });
        let base = self.optional()?.map(|[applied, chain]| Base { applied: Slot(applied), chain });
        let head = Head { applied, chain, revision, restoring };
        Some(Opening { limits, head, base, sessions: self.number()?, keys: self.number()? })
    }

    fn session(&mut self) -> Option<Session> {
        let nonce = u128::from_le_bytes(self.array()?);
        let (renewed, lowest, count) = (Slot(self.number()?), self.number()?, self.number()?);
        let mut session = Session { nonce, renewed, lowest, replies: Replies::default() };
        for _ in 0..count {
            let (sequence, slot) = (self.number()?, Slot(self.number()?));
            let outcome = outcome::from_parts(self.byte()?, self.number()?)?;
            let in_order = session.replies.last().is_none_or(|last| last < sequence);
            if sequence < lowest || !in_order {
                return None;
            }
            session.replies.insert(sequence, Kept { slot, outcome });
        }
        Some(session)
    }

    fn session_id(&mut self) -> Option<SessionId> {
        Some(SessionId { slot: Slot(self.number()?), position: u32::from_le_bytes(self.array()?) })
    }

    fn optional<const N: usize>(&mut self) -> Option<Option<[u64; N]>> {
        match self.byte()? {
            0 => Some(None),
            1 => {
                let mut numbers = [0; N];
                for number in &mut numbers {
                    *number = self.number()?;
                }
                Some(Some(numbers))
            }
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        self.array().map(|length| u32::from_le_bytes(length) as usize)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }
}
