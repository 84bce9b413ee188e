//! The state machine: chosen values in, replies out (S7, S9).
//!
//! Every put, and every delete of a key that is there, takes the next revision; what else happens takes none. A restore sets keys with
//! the revisions of a backup, as commands of the log like any other: it begins in a state without any mutation, ends by setting the revision, and between
//! the two the state takes no mutation of its own, so that no half restored state is ever written to.
//!
//! Commands are borrowed from the batch they were chosen in; what is allocated is the stored key or value and the kept reply.
//! An entry that is no command changes nothing, at every learner alike, and counts in the chain.

use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{
    Call, Command, Opened, Operation, Outcome, Record, Refusal, Reply, SessionId, Stamp, commands,
};
use synod_protocol::{Revision, Slot, Value};

use crate::chain::Link;
use crate::image::{Head, Image, Restoring};
use crate::session::{Admission, Kept, Sessions};
use crate::storage::{RecordRef, Storage};

/// No revision above this one is taken from a backup: as many mutations are left as a cluster can ever make.
const HIGHEST_RESTORED: Revision = Revision(u64::MAX / 2);

/// What came of applying one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Replies to the slot's calls, in order.
    pub replies: Vec<Reply>,
    /// Replies to the slot's openings, in order.
    pub opened: Vec<Opened>,
    /// Sessions that expired at this slot (those that were closed have their reply).
    pub expired: Vec<SessionId>,
}

/// The replicated state: equal at every learner that has applied the same slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateMachine<S> {
    limits: Limits,
    storage: S,
    sessions: Sessions,
    /// All of the state but keys and sessions.
    head: Head,
}

impl<S: Storage> StateMachine<S> {
    /// The state before the first slot, over an empty storage.
    pub fn new(limits: Limits, storage: S) -> Self {
        assert!(storage.is_empty(), "S7: the first slot is applied to an empty store, this one has keys");
        StateMachine { limits, storage, sessions: Sessions::default(), head: Head::default() }
    }

    /// A state that was taken apart.
    pub(crate) fn from_parts(limits: Limits, head: Head, sessions: Sessions, storage: S) -> Self {
        StateMachine { limits, storage, sessions, head }
    }

    /// Takes a state apart.
    pub(crate) fn into_parts(self) -> (Limits, Head, Sessions, S) {
        (self.limits, self.head, self.sessions, self.storage)
    }

    /// Applies the chosen value of `slot`, which must be the one after the applied slot (S7).
    pub fn apply(&mut self, slot: Slot, value: &Value) -> Applied {
        let before = self.head.applied;
        assert!(slot == before.next(), "S7: slot {slot} can't be applied after slot {before}");
        self.storage.expect(commands(value.bytes()).filter_map(|command| key_of(&command?)));
        let mut link = Link::begin(self.head.chain, slot, value.bytes());
        let mut applied = Applied::default();
        for (position, command) in (0..).zip(commands(value.bytes())) {
            match command {
                Some(Command::Call(call)) => {
                    let reply = self.call(slot, &call, &mut link);
                    link.reply(&reply);
                    applied.replies.push(reply);
                }
                Some(Command::Open { nonce }) => {
                    let id = SessionId { slot, position };
                    let opened =
                        Opened { nonce, session: self.sessions.open(nonce, id, self.limits.sessions) };
                    link.opened(&opened);
                    applied.opened.push(opened);
                }
                Some(Command::Expire { session, renewed }) => {
                    let expired = self.sessions.expire(session, renewed);
                    link.expire(session, expired);
                    if expired {
                        applied.expired.push(session);
                    }
                }
                None => link.skipped(),
            }
        }
        self.head.chain = link.end();
        self.head.applied = slot;
        applied
    }

    fn call(&mut self, slot: Slot, call: &Call<'_>, link: &mut Link) -> Reply {
        let Call { session: id, sequence, lowest, operation } = *call;
        let reply = |slot, outcome| Reply { session: id, sequence, slot, outcome };
        let Some(session) = self.sessions.get_mut(id) else {
            return reply(slot, Outcome::Refused(Refusal::NoSession));
        };
        match session.admit(slot, sequence, lowest, self.limits.session_window) {
            Admission::Outside => return reply(slot, Outcome::Refused(Refusal::OutsideWindow)),
            Admission::Repeated(kept) => return reply(kept.slot, kept.outcome),
            Admission::Fresh => {}
        }
        let mut keys =
            Mutation { limits: &self.limits, head: &mut self.head, storage: &mut self.storage, link };
        let outcome = match operation {
            Operation::Put { key, value } => keys.put(key, value),
            Operation::Delete { key } => keys.delete(key),
            Operation::Restore { key, value, stamp, backup } => {
                keys.restore(key, RecordRef { stamp, value }, backup)
            }
            Operation::RestoreEnd { revision, backup } => keys.restore_end(revision, backup),
            Operation::KeepAlive => Outcome::Renewed,
            Operation::Close => {
                self.sessions.end(id);
                return reply(slot, Outcome::Closed);
            }
        };
        if !synod_planted::is(Bug::RepliesNotKept) {
            session.keep(sequence, Kept { slot, outcome });
        }
        reply(slot, outcome)
    }

    /// Every slot up to here is applied.
    pub fn applied(&self) -> Slot {
        self.head.applied
    }

    /// Hash chain at the applied slot: equal at two learners whose states are equal there (S7).
    pub fn chain(&self) -> u64 {
        self.head.chain
    }

    /// The revision of the last mutation.
    pub fn revision(&self) -> Revision {
        self.head.revision
    }

    /// What decides how a command applies.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether a backup is being restored: the state is no whole one yet.
    pub fn is_restoring(&self) -> bool {
        self.head.restoring.is_some()
    }

    /// The record of `key` at the applied slot.
    pub fn get(&self, key: &[u8]) -> Option<Record> {
        self.storage.get(key)
    }

    /// The keys and their records.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The storage alone, for a state that is built anew in it.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// The whole state at the applied slot, for next to nothing.
    pub fn image(&self) -> Image<S::Snapshot> {
        Image::new(&self.limits, self.head, self.sessions.clone(), self.storage.snapshot())
    }

    /// An image to be made durable, after which [`StateMachine::checkpointed`] is told. One at a time; if it can't be made durable, the
    /// same image is tried again.
    pub fn checkpoint(&mut self) -> Image<S::Snapshot> {
        self.storage.freeze();
        self.image()
    }

    /// The image of the last [`StateMachine::checkpoint`] is durable.
    pub fn checkpointed(&mut self) {
        self.storage.thaw();
    }

    /// How many sessions are open.
    pub fn session_count(&self) -> u64 {
        self.sessions.len()
    }

    /// Open sessions in order, each with the slot of its last renewal.
    pub fn renewals(&self) -> impl Iterator<Item = (SessionId, Slot)> + '_ {
        self.sessions.renewals()
    }

    /// Whether `session` is open.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.sessions.get(session).is_some()
    }

    /// The open session that `nonce` opened.
    pub fn session_of(&self, nonce: u128) -> Option<SessionId> {
        self.sessions.by_nonce(nonce)
    }

    /// The kept replies of those of the `sequences` of `session` that have one, in the order asked.
    pub fn kept_replies(&self, session: SessionId, sequences: &[u64]) -> impl Iterator<Item = Reply> {
        let found = self.sessions.get(session);
        sequences.iter().filter_map(move |sequence| {
            let Kept { slot, outcome } = found?.kept(*sequence)?;
            Some(Reply { session, sequence: *sequence, slot, outcome })
        })
    }
}

impl<S> StateMachine<S> {
    /// All replies that are kept of `session`, in the order of their sequences: what its client may still wait for.
    pub fn all_kept_replies(&self, session: SessionId) -> impl Iterator<Item = Reply> {
        let replies = self.sessions.get(session).into_iter().flat_map(|found| found.replies.iter());
        replies.map(move |(sequence, Kept { slot, outcome })| Reply { session, sequence, slot, outcome })
    }
}

/// The key that a command works on.
fn key_of<'a>(command: &Command<'a>) -> Option<&'a [u8]> {
    let Command::Call(call) = command else { return None };
    match call.operation {
        Operation::Put { key, .. } | Operation::Delete { key } | Operation::Restore { key, .. } => Some(key),
        Operation::RestoreEnd { .. } | Operation::KeepAlive | Operation::Close => None,
    }
}

/// What an operation on keys works on.
struct Mutation<'a, S> {
    limits: &'a Limits,
    head: &'a mut Head,
    storage: &'a mut S,
    link: &'a mut Link,
}

impl<S: Storage> Mutation<'_, S> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        if let Err(refusal) = self.check_lengths(key, value).and_then(|()| self.check_no_restore()) {
            return Outcome::Refused(refusal);
        }
        let revision = self.head.revision.next();
        let made = Stamp { created: revision, modified: revision, version: 1 };
        let stamp = self.storage.put(key, value, |before| {
            before.map_or(made, |before| Stamp {
                created: if synod_planted::is(Bug::CreatedOverwritten) { revision } else { before.created },
                modified: revision,
                version: before.version + 1,
            })
        });
        self.link.put(key, RecordRef { stamp, value });
        self.head.revision = revision;
        Outcome::Put { revision }
    }

    fn delete(&mut self, key: &[u8]) -> Outcome {
        if let Err(refusal) = self.check_lengths(key, &[]).and_then(|()| self.check_no_restore()) {
            return Outcome::Refused(refusal);
        }
        if !self.storage.delete(key) {
            return Outcome::Deleted { revision: None };
        }
        let revision = self.head.revision.next();
        self.link.delete(key, revision);
        self.head.revision = revision;
        Outcome::Deleted { revision: Some(revision) }
    }

    fn restore(&mut self, key: &[u8], record: RecordRef<'_>, backup: u64) -> Outcome {
        let possible = if is_possible(record.stamp) { Ok(()) } else { Err(Refusal::BadRevision) };
        let lengths = self.check_lengths(key, record.value);
        if let Err(refusal) = lengths.and_then(|()| self.check_same_restore(backup)).and(possible) {
            return Outcome::Refused(refusal);
        }
        self.storage.put(key, record.value, |_| record.stamp);
        self.link.restore(key, record);
        let before = self.head.restoring.map_or(Revision::ZERO, |restoring| restoring.highest);
        self.head.restoring = Some(Restoring { backup, highest: before.max(record.stamp.modified) });
        Outcome::Restored
    }

    fn restore_end(&mut self, revision: Revision, backup: u64) -> Outcome {
        if let Err(refusal) = self.check_same_restore(backup) {
            return Outcome::Refused(refusal);
        }
        if self.head.restoring.is_some_and(|restoring| revision < restoring.highest)
            || revision > HIGHEST_RESTORED
        {
            return Outcome::Refused(Refusal::BadRevision);
        }
        self.link.restore_end(revision);
        self.head.restoring = None;
        self.head.revision = revision;
        Outcome::Restored
    }

    fn check_lengths(&self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if key.len() as u64 > self.limits.key_bytes {
            return Err(Refusal::KeyTooLong { limit: self.limits.key_bytes });
        }
        if value.len() as u64 > self.limits.value_bytes {
            return Err(Refusal::ValueTooLong { limit: self.limits.value_bytes });
        }
        Ok(())
    }

    fn check_no_restore(&self) -> Result<(), Refusal> {
        let free = self.head.restoring.is_none() || synod_planted::is(Bug::WritesDuringRestore);
        if free { Ok(()) } else { Err(Refusal::Restoring) }
    }

    /// A restore begins in a state without any mutation, and goes on with the backup that it began with.
    fn check_same_restore(&self, backup: u64) -> Result<(), Refusal> {
        let revision = self.head.revision;
        if revision != Revision::ZERO {
            return Err(Refusal::NotEmpty { revision });
        }
        match self.head.restoring {
            Some(other) if other.backup != backup && !synod_planted::is(Bug::BackupsMixed) => {
                Err(Refusal::OtherBackup { backup: other.backup })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether any log could have made such a record.
pub(crate) fn is_possible(stamp: Stamp) -> bool {
    let Stamp { created, modified, version } = stamp;
    Revision::ZERO < created
        && created <= modified
        && modified <= HIGHEST_RESTORED
        && (1..=modified.0 - created.0 + 1).contains(&version)
}

#[cfg(test)]
mod tests;
