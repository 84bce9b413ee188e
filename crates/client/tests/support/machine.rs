//! A tiny replicated state machine for tests of the client: sessions, kept replies and keys, straight from the protocol's
//! definition and independent of the real one.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_protocol::command::{
    Command, Opened, Operation, Outcome, Record, Refusal, Reply, SessionId, commands,
};
use synod_protocol::{Revision, Slot};

#[derive(Debug, Default)]
struct Session {
    lowest: u64,
    replies: BTreeMap<u64, Reply>,
}

#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) slot: u64,
    pub(crate) keys: BTreeMap<Vec<u8>, Record>,
    revision: Revision,
    /// Every value ever put, in order.
    pub(crate) puts: Vec<Vec<u8>>,
    nonces: BTreeMap<u128, SessionId>,
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) opened: Vec<Opened>,
    pub(crate) replies: Vec<Reply>,
}

impl Machine {
    pub(crate) fn apply(&mut self, batch: &Bytes) -> Applied {
        self.slot += 1;
        let mut applied = Applied::default();
        for (position, command) in (0..).zip(commands(batch)) {
            let id = SessionId { slot: Slot(self.slot), position };
            match command.expect("clients send commands") {
                Command::Open { nonce } => {
                    let session = *self.nonces.entry(nonce).or_insert(id);
                    self.sessions.entry(session).or_default();
                    applied.opened.push(Opened { nonce, session: Some(session) });
                }
                Command::Call(call) => applied.replies.push(self.call(call)),
                Command::Expire { session, .. } => self.end(session),
            }
        }
        applied
    }

    fn call(&mut self, call: synod_protocol::command::Call<'_>) -> Reply {
        let slot = Slot(self.slot);
        let reply = |outcome| Reply { session: call.session, sequence: call.sequence, slot, outcome };
        let Some(session) = self.sessions.get_mut(&call.session) else {
            return reply(Outcome::Refused(Refusal::NoSession));
        };
        session.lowest = session.lowest.max(call.lowest);
        if call.sequence < session.lowest {
            return reply(Outcome::Refused(Refusal::OutsideWindow));
        }
        if let Some(kept) = session.replies.get(&call.sequence) {
            return kept.clone();
        }
        let outcome = match call.operation {
            Operation::Put { key, value } => {
                self.revision = self.revision.next();
                let (revision, value) = (self.revision, Bytes::copy_from_slice(value));
                let made = Record { created: revision, modified: revision, version: 0, value: Bytes::new() };
                let record = self.keys.entry(key.to_vec()).or_insert(made);
                self.puts.push(value.to_vec());
                *record = Record { modified: revision, version: record.version + 1, value, ..*record };
                Outcome::Put { revision }
            }
            Operation::Delete { key } => {
                let existed = self.keys.remove(key).is_some();
                self.revision = Revision(self.revision.0 + u64::from(existed));
                Outcome::Deleted { revision: existed.then_some(self.revision) }
            }
            Operation::Restore { .. } | Operation::RestoreEnd { .. } => panic!("no test restores through it"),
            Operation::KeepAlive => Outcome::Renewed,
            Operation::Close => {
                self.end(call.session);
                return reply(Outcome::Closed);
            }
        };
        let reply = reply(outcome);
        session.replies.insert(call.sequence, reply.clone());
        reply
    }

    pub(crate) fn record(&self, key: &[u8]) -> Option<Record> {
        self.keys.get(key).cloned()
    }

    pub(crate) fn end(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.nonces.retain(|_, known| *known != session);
    }

    pub(crate) fn session_of(&self, nonce: u128) -> Option<SessionId> {
        self.nonces.get(&nonce).copied()
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    pub(crate) fn kept(&self, session: SessionId, pending: &[u64]) -> Vec<Reply> {
        let Some(session) = self.sessions.get(&session) else { return Vec::new() };
        pending.iter().filter_map(|sequence| session.replies.get(sequence).cloned()).collect()
    }
}
