//! The hash chain: one xxh3-64 for each slot over the slot, its commands, their replies and the mutations (S7).
//!
//! Commands are what was chosen, replies and mutations what this process made of it: two learners whose chains are equal at a
//! slot got the same log and did the same with it. Every part is written with its kind and its lengths, field by field, so
//! that neither a compiler nor another release can change the chain of a log. It guards against bugs and damage, not forgery.

use synod_protocol::command::{Opened, Reply, SessionId, Stamp};
use synod_protocol::{Revision, Slot};
use xxhash_rust::xxh3::Xxh3;

use crate::outcome;
use crate::storage::RecordRef;

/// Kinds of parts.
mod kind {
    pub(super) const PUT: u8 = 1;
    pub(super) const DELETE: u8 = 2;
    pub(super) const OPENED: u8 = 3;
    pub(super) const REPLY: u8 = 4;
    pub(super) const EXPIRE: u8 = 5;
    pub(super) const SKIPPED: u8 = 6;
    pub(super) const RESTORE: u8 = 7;
    pub(super) const RESTORE_END: u8 = 8;
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
    pub(crate) fn put(&mut self, key: &[u8], record: RecordRef<'_>) {
        self.record(kind::PUT, key, record);
    }

    /// A key was removed.
    pub(crate) fn delete(&mut self, key: &[u8], revision: Revision) {
        self.hash.update(&[kind::DELETE]);
        self.bytes(key);
        self.number(revision.0);
    }

    /// A key was set as a backup has it.
    pub(crate) fn restore(&mut self, key: &[u8], record: RecordRef<'_>) {
        self.record(kind::RESTORE, key, record);
    }

    /// A restore has ended.
    pub(crate) fn restore_end(&mut self, revision: Revision) {
        self.hash.update(&[kind::RESTORE_END]);
        self.number(revision.0);
    }

    fn record(&mut self, kind: u8, key: &[u8], record: RecordRef<'_>) {
        let RecordRef { stamp: Stamp { created, modified, version }, value } = record;
        self.parts([&[kind], &(key.len() as u64).to_le_bytes()]);
        self.hash.update(key);
        self.bytes(value);
        self.parts(
            [created.0, modified.0, version].map(u64::to_le_bytes).each_ref().map(|part| part.as_slice()),
        );
    }

    /// A session was asked for.
    pub(crate) fn opened(&mut self, opened: &Opened) {
        self.hash.update(&[kind::OPENED, u8::from(opened.session.is_some())]);
        self.hash.update(&opened.nonce.to_le_bytes());
        self.session(opened.session.unwrap_or(SessionId { slot: Slot::ZERO, position: 0 }));
    }

    /// A call was answered.
    pub(crate) fn reply(&mut self, reply: &Reply) {
        let (tag, detail) = outcome::parts(reply.outcome);
        let SessionId { slot, position } = reply.session;
        self.parts([
            &[kind::REPLY, tag],
            &slot.0.to_le_bytes(),
            &position.to_le_bytes(),
            &reply.sequence.to_le_bytes(),
            &reply.slot.0.to_le_bytes(),
            &detail.to_le_bytes(),
        ]);
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

    /// Several small parts at once, which is quicker than one by one and comes to the same.
    fn parts<const COUNT: usize>(&mut self, parts: [&[u8]; COUNT]) {
        let (mut bytes, mut length) = ([0; 64], 0);
        for part in parts {
            bytes[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        self.hash.update(&bytes[..length]);
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
    use synod_protocol::command::{Outcome, Refusal};

    fn record(value: &[u8], created: u64, modified: u64, version: u64) -> RecordRef<'_> {
        let stamp = Stamp { created: Revision(created), modified: Revision(modified), version };
        RecordRef { stamp, value }
    }

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
            chain(|link| link.put(b"ab", record(b"c", 1, 2, 2))),
            chain(|link| link.put(b"a", record(b"bc", 1, 2, 2))),
            chain(|link| link.put(b"a", record(b"bc", 2, 2, 2))),
            chain(|link| link.put(b"a", record(b"bc", 1, 3, 2))),
            chain(|link| link.put(b"a", record(b"bc", 1, 2, 1))),
            chain(|link| link.restore(b"a", record(b"bc", 1, 2, 2))),
            chain(|link| link.restore_end(Revision(2))),
            chain(|link| link.delete(b"ab", Revision(2))),
            chain(|link| link.delete(b"ab", Revision(3))),
            chain(|link| link.opened(&Opened { nonce: 1, session: Some(session) })),
            chain(|link| link.opened(&Opened { nonce: 1, session: None })),
            chain(|link| link.expire(session, true)),
            chain(|link| link.expire(session, false)),
            chain(Link::skipped),
        ];
        let outcomes = [
            Outcome::Put { revision: Revision(1) },
            Outcome::Put { revision: Revision(2) },
            Outcome::Deleted { revision: Some(Revision(1)) },
            Outcome::Deleted { revision: None },
            Outcome::Renewed,
            Outcome::Closed,
            Outcome::Restored,
            Outcome::Refused(Refusal::NoSession),
            Outcome::Refused(Refusal::OutsideWindow),
            Outcome::Refused(Refusal::KeyTooLong { limit: 1 }),
            Outcome::Refused(Refusal::ValueTooLong { limit: 1 }),
            Outcome::Refused(Refusal::Restoring),
            Outcome::Refused(Refusal::NotEmpty { revision: Revision(1) }),
            Outcome::Refused(Refusal::BadRevision),
            Outcome::Refused(Refusal::OtherBackup { backup: 1 }),
        ];
        let replies = outcomes.map(|outcome| chain(|link| link.reply(&reply(outcome))));
        let distinct: std::collections::BTreeSet<_> = all.iter().chain(&replies).collect();
        assert_eq!(distinct.len(), all.len() + replies.len());
    }

    #[test]
    fn golden_chain_of_a_small_slot() {
        let got = chain(|link| {
            link.put(b"key", record(b"value", 1, 2, 2));
            link.reply(&reply(Outcome::Put { revision: Revision(2) }));
        });
        assert_eq!(
            format!("{got:016x}"),
            "577934745934036c",
            "a changed chain makes old and new releases disagree"
        );
    }
}
