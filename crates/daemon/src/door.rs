//! Who is let in, and as whom we present ourselves: what listener, dialers and run loop share.
//!
//! Everything runs on one thread, so the lock is never waited for; it is there because tasks must be `Send`. Upholds S12:
//! the standing told in a hello is what the last release made durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use synod_protocol::hello::{Hello, Refused, Standing};
use synod_protocol::link::Own;
use synod_protocol::{AcceptorId, Cluster, ClusterId, Incarnations, NodeId};
use tokio::sync::watch;
use tracing::info;

use crate::identity::{Heard, Identity};
use crate::limits::Sparse;

/// What the tasks of one daemon share.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) node: NodeId,
    pub(crate) cluster: Cluster,
    parameters: u64,
    state: Mutex<State>,
    /// The cluster adopted, for those that wait for it.
    adopted: watch::Sender<Option<ClusterId>>,
    connections: AtomicU64,
    pub(crate) counts: Counts,
}

/// What went wrong so far, by kind.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Callers turned away, or gone before they were through the handshake.
    pub(crate) refused: Sparse,
    /// Connections closed because something else than a message for us came.
    pub(crate) garbage: Sparse,
    /// Messages dropped because their peer takes in too little.
    pub(crate) dropped: Sparse,
    /// Failures to take a connection from the kernel.
    pub(crate) accept: Sparse,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    identity: Identity,
    /// Connections that count against `connections`.
    open: u64,
}

impl Door {
    pub(crate) fn new(node: NodeId, cluster: Cluster, standing: Standing) -> Self {
        let identity = Identity::new(cluster.quorums.clone());
        Door {
            node,
            parameters: cluster.parameters_hash(),
            cluster,
            state: Mutex::new(State { standing, identity, open: 0 }),
            adopted: watch::Sender::new(None),
            connections: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the role says of itself; to be called when nothing is unreleased.
    pub(crate) fn set_standing(&self, standing: Standing) {
        self.state().standing = standing;
    }

    /// Notes which acceptors' disks count, and how far they have come, as the role knows; whether that is news.
    pub(crate) fn note_incarnations(&self, incarnations: &Incarnations) -> bool {
        self.state().identity.note(incarnations)
    }

    /// Our own side of a handshake.
    pub(crate) fn own(&self) -> Own {
        let state = self.state();
        let cluster = match self.node {
            NodeId::Acceptor(_) => state.standing.cluster,
            NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_) => state.identity.adopted(),
        };
        Own { node: self.node, parameters: self.parameters, standing: Standing { cluster, ..state.standing } }
    }

    /// A number for a new connection.
    pub(crate) fn number_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn hello_timeout(&self) -> Duration {
        Duration::from_millis(self.cluster.tuning.hello_timeout_ms)
    }

    /// The cluster adopted, once there is one.
    pub(crate) fn adopted(&self) -> watch::Receiver<Option<ClusterId>> {
        self.adopted.subscribe()
    }

    /// An acceptor is about to be dialed.
    pub(crate) fn dials(&self, acceptor: AcceptorId) {
        self.state().identity.dials(acceptor);
    }

    /// Weighs an acceptor's hello.
    pub(crate) fn heard(&self, acceptor: AcceptorId, standing: Standing) -> Heard {
        let heard = self.state().identity.heard(acceptor, standing);
        if let Heard::Adopted(cluster) = heard {
            info!(%cluster, "a quorum of acceptors belongs to this cluster; takes part");
            self.adopted.send_replace(Some(cluster));
        }
        heard
    }

    /// Our answer to a caller: who we are, and whether it is served.
    pub(crate) fn answer(&self, hello: &Hello) -> (Own, Result<(), Refused>) {
        (self.own(), self.served(hello.from))
    }

    fn served(&self, from: NodeId) -> Result<(), Refused> {
        let refused_by = self.node;
        let needs_cluster = match (self.node, from) {
            (_, NodeId::Client(_)) | (NodeId::Acceptor(_), NodeId::Proposer(_) | NodeId::Learner(_)) => false,
            (NodeId::Proposer(_), NodeId::Learner(_)) => true,
            (NodeId::Learner(own), NodeId::Learner(from)) if own < from => true,
            (
                NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_),
                NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_),
            ) => return Err(Refused::NotServed { refused_by, from }),
        };
        let state = self.state();
        if needs_cluster && state.identity.adopted().is_none() {
            return Err(Refused::NotReady { refused_by });
        }
        if self.is_counted(from) && state.open >= self.cluster.tuning.connections {
            return Err(Refused::Full { refused_by });
        }
        Ok(())
    }

    /// The nodes of the cluster file are few and needed: however many clients there are, they are let in.
    fn is_counted(&self, from: NodeId) -> bool {
        self.cluster.address(from).is_none()
    }

    /// Counts a connection from `from` while what it returns lives.
    pub(crate) fn count_in(&self, from: NodeId) -> Place<'_> {
        let counted = self.is_counted(from);
        self.state().open += u64::from(counted);
        Place { door: self, counted }
    }
}

/// A place taken by one connection.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    door: &'a Door,
    counted: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.door.state().open -= u64::from(self.counted);
    }
}
