//! The hash chain: one xxh3-64 for each slot over the slot, its commands, their replies and the mutations (S7).
//!
//! Commands are what was chosen, replies and mutations what this process made of it: two learners whose chains are equal at a
//! slot got the same log and did the same with it. Every part is written with its kind and its lengths, field by field, so
//! that neither a compiler nor another release can change the chain of a log. It guards against bugs and damage, not forgery.

use synod_protocol::Slot;
use synod_protocol::command::{Opened, Outcome, Refusal, Reply, SessionId};
use xxhash_rust::xxh3::Xxh3;

/// Kinds of parts.
mod kind {
    pub(super) const PUT: u8 = 1;
    pub(super) const DELETE: u8 = 2;
    pub(super) const OPENED: u8 = 3;
    pub(super) const REPLY: u8 = 4;
    pub(super) const EXPIRE: u8 = 5;
    pub(super) const SKIPPED: u8 = 6;
}

/// The chain's next link, while its slot is being applied.
pub(crate) struct Link {
    hash: Xxh3,
}

impl Link {
    /// The link of `slot`, after `previous`; `commands` is the batch as it was chosen.
    pub(crate) fn begin(previous: u64, slot: Slot, commands: &[u8]) -> Link {
        let mut link = Link { hash: Xxh3::new() };
        link.number(previous);
        link.number(slot.0);
        link.bytes(commands);
        link
    }

    /// A key was set.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.hash.update(&[kind::PUT]);
        self.bytes(key);
        self.bytes(value);
    }

    /// A key was removed.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.hash.update(&[kind::DELETE]);
        self.bytes(key);
    }

    /// A session was asked for.
    pub(crate) fn opened(&mut self, opened: &Opened) {
        self.hash.update(&[kind::OPENED, u8::from(opened.session.is_some())]);
        self.hash.update(&opened.nonce.to_le_bytes());
        self.session(opened.session.unwrap_or(SessionId { slot: Slot::ZERO, position: 0 }));
    }

    /// A call was answered.
    pub(crate) fn reply(&mut self, reply: &Reply) {
        let (tag, detail) = match reply.outcome {
            Outcome::Put => (1, 0),
            Outcome::Deleted { existed } => (2, u64::from(existed)),
            Outcome::Renewed => (3, 0),
            Outcome::Closed => (4, 0),
            Outcome::Refused(Refusal::KeyTooLong { limit }) => (5, limit),
            Outcome::Refused(Refusal::ValueTooLong { limit }) => (6, limit),
            Outcome::Refused(Refusal::NoSession) => (7, 0),
            Outcome::Refused(Refusal::OutsideWindow) => (8, 0),
        };
        self.hash.update(&[kind::REPLY, tag]);
        self.session(reply.session);
        self.number(reply.sequence);
        self.number(reply.slot.0);
        self.number(detail);
    }

    /// A session was to expire, and did or didn't.
    pub(crate) fn expire(&mut self, session: SessionId, expired: bool) {
        self.hash.update(&[kind::EXPIRE, u8::from(expired)]);
        self.session(session);
    }

    /// An entry of the batch is no command.
    pub(crate) fn skipped(&mut self) {
        self.hash.update(&[kind::SKIPPED]);
    }

    /// The chain at the end of the slot.
    pub(crate) fn end(self) -> u64 {
        self.hash.digest()
    }

    fn session(&mut self, session: SessionId) {
        self.number(session.slot.0);
        self.hash.update(&session.position.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hash.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.hash.update(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(parts: impl FnOnce(&mut Link)) -> u64 {
        let mut link = Link::begin(1, Slot(2), b"commands");
        parts(&mut link);
        link.end()
    }

    fn reply(outcome: Outcome) -> Reply {
        Reply { session: SessionId { slot: Slot(1), position: 0 }, sequence: 1, slot: Slot(2), outcome }
    }

    #[test]
    fn s7_every_part_and_where_it_ends_counts() {
        let session = SessionId { slot: Slot(1), position: 0 };
        let all = [
            chain(|_| {}),
            Link::begin(2, Slot(2), b"commands").end(),
            Link::begin(1, Slot(3), b"commands").end(),
            Link::begin(1, Slot(2), b"command").end(),
            chain(|link| link.put(b"ab", b"c")),
            chain(|link| link.put(b"a", b"bc")),
            chain(|link| link.delete(b"ab")),
            chain(|link| link.opened(&Opened { nonce: 1, session: Some(session) })),
            chain(|link| link.opened(&Opened { nonce: 1, session: None })),
            chain(|link| link.expire(session, true)),
            chain(|link| link.expire(session, false)),
            chain(Link::skipped),
            chain(|link| link.reply(&reply(Outcome::Put))),
            chain(|link| link.reply(&reply(Outcome::Deleted { existed: true }))),
            chain(|link| link.reply(&reply(Outcome::Deleted { existed: false }))),
            chain(|link| link.reply(&reply(Outcome::Renewed))),
            chain(|link| link.reply(&reply(Outcome::Closed))),
            chain(|link| link.reply(&reply(Outcome::Refused(Refusal::NoSession)))),
            chain(|link| link.reply(&reply(Outcome::Refused(Refusal::OutsideWindow)))),
            chain(|link| link.reply(&reply(Outcome::Refused(Refusal::KeyTooLong { limit: 1 })))),
            chain(|link| link.reply(&reply(Outcome::Refused(Refusal::ValueTooLong { limit: 1 })))),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn golden_chain_of_a_small_slot() {
        let got = chain(|link| {
            link.put(b"key", b"value");
            link.reply(&reply(Outcome::Put));
        });
        assert_eq!(
            format!("{got:016x}"),
            "26698af79fdfdd01",
            "a changed chain makes old and new releases disagree"
        );
    }
}
