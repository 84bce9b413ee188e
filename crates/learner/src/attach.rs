//! Which client hears of which session: routes replies to where they are waited for.
//!
//! A session has one client at a time, the one that attached last. Attachments end with the client's connection or with the
//! session. A session above the applied slot may be attached too: whether it was opened shows when its slot is applied.

use std::collections::{BTreeMap, BTreeSet};

use synod_protocol::command::SessionId;
use synod_protocol::{ClientId, Slot};

/// What one client is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Owned {
    sessions: BTreeSet<SessionId>,
    nonces: BTreeSet<u128>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attachments {
    sessions: BTreeMap<SessionId, ClientId>,
    /// Openings that clients wait for.
    nonces: BTreeMap<u128, ClientId>,
    clients: BTreeMap<ClientId, Owned>,
    /// Attachments of both kinds, at most.
    most: u64,
}

impl Attachments {
    pub(crate) fn new(most: u64) -> Attachments {
        Attachments { sessions: BTreeMap::new(), nonces: BTreeMap::new(), clients: BTreeMap::new(), most }
    }

    /// Whether there are as many as may be.
    pub(crate) fn is_full(&self) -> bool {
        (self.sessions.len() + self.nonces.len()) as u64 >= self.most
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Routes a session's replies to `client`, and to nobody else.
    pub(crate) fn attach(&mut self, session: SessionId, client: ClientId) {
        self.detach(session);
        self.sessions.insert(session, client);
        self.clients.entry(client).or_default().sessions.insert(session);
    }

    /// Routes the answer to an opening to `client`, and to nobody else.
    pub(crate) fn attach_nonce(&mut self, nonce: u128, client: ClientId) {
        self.detach_nonce(nonce);
        self.nonces.insert(nonce, client);
        self.clients.entry(client).or_default().nonces.insert(nonce);
    }

    /// Ends a session's attachment; tells whose it was.
    pub(crate) fn detach(&mut self, session: SessionId) -> Option<ClientId> {
        let client = self.sessions.remove(&session)?;
        self.disown(client, |owned| owned.sessions.remove(&session));
        Some(client)
    }

    /// Ends the wait for an opening; tells whose it was.
    pub(crate) fn detach_nonce(&mut self, nonce: u128) -> Option<ClientId> {
        let client = self.nonces.remove(&nonce)?;
        self.disown(client, |owned| owned.nonces.remove(&nonce));
        Some(client)
    }

    /// Who hears of a session.
    pub(crate) fn client(&self, session: SessionId) -> Option<ClientId> {
        self.sessions.get(&session).copied()
    }

    /// The attached sessions that, if they exist, were opened at `slot`.
    pub(crate) fn opened_at(&self, slot: Slot) -> Vec<(SessionId, ClientId)> {
        let range = SessionId { slot, position: 0 }..=SessionId { slot, position: u32::MAX };
        self.sessions.range(range).map(|(session, client)| (*session, *client)).collect()
    }

    /// The attached sessions that, if they exist, were opened up to `slot`.
    pub(crate) fn opened_up_to(&self, slot: Slot) -> Vec<(SessionId, ClientId)> {
        let last = SessionId { slot, position: u32::MAX };
        self.sessions.range(..=last).map(|(session, client)| (*session, *client)).collect()
    }

    /// The openings that are waited for.
    pub(crate) fn waiting_nonces(&self) -> Vec<(u128, ClientId)> {
        self.nonces.iter().map(|(nonce, client)| (*nonce, *client)).collect()
    }

    /// Ends all attachments of a client that is gone.
    pub(crate) fn forget(&mut self, client: ClientId) {
        let Owned { sessions, nonces } = self.clients.remove(&client).unwrap_or_default();
        for session in sessions {
            self.sessions.remove(&session);
        }
        for nonce in nonces {
            self.nonces.remove(&nonce);
        }
    }

    fn disown(&mut self, client: ClientId, remove: impl FnOnce(&mut Owned) -> bool) {
        if let Some(owned) = self.clients.get_mut(&client) {
            remove(owned);
            if owned.sessions.is_empty() && owned.nonces.is_empty() {
                self.clients.remove(&client);
            }
        }
    }
}
