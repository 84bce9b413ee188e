//! The connections of one daemon, by node: messages are pushed to outboxes, and each touched outbox is flushed once.
//!
//! Messages may always be lost, so what can't be sent is dropped: to a node without a connection, or to one that takes in so
//! little that `peer_queue_bytes` are waiting. Memory is bounded, whoever is slow.

use std::collections::HashMap;

use synod_protocol::hello::Standing;
use synod_protocol::link::Flushed;
use synod_protocol::message::Message;
use synod_protocol::{DiskId, Incarnations, NodeId};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::connection::{Connection, Event, Events};
use crate::door::Door;

/// One peer.
#[derive(Debug)]
struct Peer {
    connection: Connection,
    /// In `touched`: something was pushed since the last flush.
    touched: bool,
    /// Waits until the socket takes bytes again.
    blocked: Option<AbortHandle>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(blocked) = &self.blocked {
            blocked.abort();
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Peers<M> {
    peers: HashMap<NodeId, Peer>,
    touched: Vec<NodeId>,
    events: Events<M>,
}

impl<M: Send + 'static> Peers<M> {
    pub(crate) fn new(events: Events<M>) -> Self {
        Peers { peers: HashMap::new(), touched: Vec::new(), events }
    }

    /// Takes a connection in; whether it replaces one of the same node (which has started again, and is closed).
    pub(crate) fn insert(&mut self, connection: Connection) -> bool {
        let peer = Peer { connection, touched: false, blocked: None };
        self.peers.insert(peer.connection.node, peer).is_some()
    }

    /// Whether `connection` is the one that `node` has.
    pub(crate) fn is_current(&self, node: NodeId, connection: u64) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.connection.number == connection)
    }

    /// Closes that connection; false if it isn't there any more.
    pub(crate) fn remove(&mut self, node: NodeId, connection: u64) -> bool {
        self.is_current(node, connection) && self.peers.remove(&node).is_some()
    }

    /// Closes connections to acceptors whose disks were replaced: dialed again, they are told so.
    pub(crate) fn hang_up_replaced(&self, incarnations: &Incarnations) {
        for (node, Peer { connection, .. }) in &self.peers {
            let Standing { incarnation, since, .. } = connection.standing;
            if let NodeId::Acceptor(acceptor) = *node
                && incarnations.replaces(acceptor, DiskId(incarnation), since).is_some()
            {
                // Told like any other end, after what came before it.
                let _ending = self.events.send(Event::Down { node: *node, connection: connection.number });
            }
        }
    }

    /// Puts a message into its peer's outbox, or drops it.
    pub(crate) fn send(&mut self, to: NodeId, message: &Message, door: &Door) {
        let Some(peer) = self.peers.get_mut(&to) else {
            return debug!(%to, "dropped a message to a node without a connection");
        };
        let queued_bytes = peer.connection.outbox.queued_bytes() as u64;
        if queued_bytes > door.cluster.tuning.peer_queue_bytes {
            if let Some(total) = door.counts.dropped.note() {
                warn!(%to, queued_bytes, total, "drops messages to a peer that takes in too little");
            }
            return;
        }
        peer.connection.outbox.push(message);
        if !peer.touched {
            peer.touched = true;
            self.touched.push(to);
        }
    }

    /// The socket of that connection takes bytes again.
    pub(crate) fn on_writable(&mut self, node: NodeId, connection: u64) {
        if let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.connection.number == connection) {
            peer.blocked = None;
            if !peer.touched {
                peer.touched = true;
                self.touched.push(node);
            }
        }
    }

    /// Writes once to each peer that has something to be written and isn't waiting for its socket.
    pub(crate) fn flush(&mut self) {
        for node in std::mem::take(&mut self.touched) {
            let Some(peer) = self.peers.get_mut(&node) else { continue };
            peer.touched = false;
            if peer.blocked.is_some() {
                continue;
            }
            match peer.connection.outbox.flush() {
                Ok(Flushed::All) => {}
                Ok(Flushed::Blocked) => peer.blocked = Some(wait_for(&peer.connection, &self.events)),
                Err(error) => {
                    debug!(peer = %node, %error, "cannot write");
                    // Told like any other end, after what came before it.
                    let _ending = self.events.send(Event::Down { node, connection: peer.connection.number });
                }
            }
        }
    }

    /// Writes what is left, until `deadline`.
    pub(crate) async fn drain(&mut self, deadline: Instant) {
        for peer in self.peers.values_mut() {
            let outbox = &mut peer.connection.outbox;
            while let Ok(Flushed::Blocked) = outbox.flush() {
                if !matches!(timeout_at(deadline, outbox.writable()).await, Ok(Ok(()))) {
                    break;
                }
            }
        }
    }
}

fn wait_for<M: Send + 'static>(connection: &Connection, events: &Events<M>) -> AbortHandle {
    let (writable, events) = (connection.outbox.writable(), events.clone());
    let (node, connection) = (connection.node, connection.number);
    let task = tokio::spawn(async move {
        // If the socket has failed, the next write says so.
        let _failed = writable.await;
        let _ending = events.send(Event::Writable { node, connection });
    });
    task.abort_handle()
}
