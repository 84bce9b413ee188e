//! The state machine: chosen values in, replies out (S7, S9).
//!
//! Commands are borrowed from the batch they were chosen in; what is allocated is the stored key or value and the kept reply.
//! An entry that is no command changes nothing, at every learner alike, and counts in the chain.

use bytes::Bytes;
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{
    Call, Command, Opened, Operation, Outcome, Refusal, Reply, SessionId, commands,
};
use synod_protocol::{Slot, Value};

use crate::chain::Link;
use crate::session::{Admission, Kept, Sessions};
use crate::storage::Storage;

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
    /// Every slot up to here is applied.
    applied: Slot,
    /// Hash chain at the applied slot.
    chain: u64,
}

impl<S: Storage> StateMachine<S> {
    /// The state before the first slot, over an empty storage.
    pub fn new(limits: Limits, storage: S) -> Self {
        assert!(storage.is_empty(), "S7: the first slot is applied to an empty store, this one has keys");
        StateMachine { limits, storage, sessions: Sessions::default(), applied: Slot::ZERO, chain: 0 }
    }

    /// Applies the chosen value of `slot`, which must be the one after the applied slot (S7).
    pub fn apply(&mut self, slot: Slot, value: &Value) -> Applied {
        assert!(slot == self.applied.next(), "S7: slot {slot} can't be applied after slot {}", self.applied);
        let mut link = Link::begin(self.chain, slot, value.bytes());
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
        self.chain = link.end();
        self.applied = slot;
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
        let outcome = match operation {
            Operation::Put { key, value } => put(&self.limits, &mut self.storage, key, value, link),
            Operation::Delete { key } => delete(&self.limits, &mut self.storage, key, link),
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
        self.applied
    }

    /// Hash chain at the applied slot: equal at two learners whose states are equal there (S7).
    pub fn chain(&self) -> u64 {
        self.chain
    }

    /// The value of `key` at the applied slot.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.storage.get(key)
    }

    /// The keys and values.
    pub fn storage(&self) -> &S {
        &self.storage
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

fn put<S: Storage>(limits: &Limits, storage: &mut S, key: &[u8], value: &[u8], link: &mut Link) -> Outcome {
    if key.len() as u64 > limits.key_bytes {
        return Outcome::Refused(Refusal::KeyTooLong { limit: limits.key_bytes });
    }
    if value.len() as u64 > limits.value_bytes {
        return Outcome::Refused(Refusal::ValueTooLong { limit: limits.value_bytes });
    }
    storage.put(key, value);
    link.put(key, value);
    Outcome::Put
}

fn delete<S: Storage>(limits: &Limits, storage: &mut S, key: &[u8], link: &mut Link) -> Outcome {
    if key.len() as u64 > limits.key_bytes {
        return Outcome::Refused(Refusal::KeyTooLong { limit: limits.key_bytes });
    }
    let existed = storage.delete(key);
    if existed {
        link.delete(key);
    }
    Outcome::Deleted { existed }
}

#[cfg(test)]
mod tests;
