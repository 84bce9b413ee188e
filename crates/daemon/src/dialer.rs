//! Keeps one connection to each role below ours, for ever: dial, serve until it ends, wait a little, dial again.
//!
//! A proposer dials the acceptors; a learner the acceptors, the proposers and the learners with lower ids; an acceptor dials
//! nobody. Names are resolved at each attempt. A peer's state is logged when it changes, not at each attempt. Upholds S12:
//! no link is reported before the cluster is adopted, nor one to an acceptor that isn't open, belongs elsewhere, or went back.

use std::sync::Arc;

use synod_protocol::hello::{Refused, Standing};
use synod_protocol::link::{self, Link};
use synod_protocol::wire::Payload;
use synod_protocol::{Cluster, ClusterId, Incarnation, NodeId};
use tokio::time::{Duration, Instant};
use tracing::{error, info, warn};

use crate::connection::{self, Events};
use crate::door::Door;
use crate::identity::Heard;
use crate::limits::Backoff;

/// Whom `node` dials.
pub(crate) fn below(node: NodeId, cluster: &Cluster) -> Vec<(NodeId, String)> {
    cluster
        .nodes()
        .filter(|(peer, _)| node.dials(*peer))
        .map(|(peer, address)| (peer, address.to_string()))
        .collect()
}

/// Why a peer isn't used.
#[derive(Debug)]
struct Trouble {
    /// The same text means the same trouble: it is logged once.
    why: String,
    /// For an operator to act on at once.
    alarming: bool,
}

impl Trouble {
    fn new(why: impl ToString) -> Trouble {
        Trouble { why: why.to_string(), alarming: false }
    }
}

/// Dials `to` for ever.
pub(crate) async fn keep_connected<M: Payload>(
    door: Arc<Door>,
    to: NodeId,
    address: String,
    events: Events<M>,
) {
    let tuning = &door.cluster.tuning;
    let mut backoff = Backoff::new(tuning.reconnect_min_ms, tuning.reconnect_max_ms);
    let steady = Duration::from_millis(tuning.reconnect_max_ms);
    let mut trouble: Option<String> = None;
    loop {
        match connect(&door, to, &address).await {
            Ok(link) => {
                info!(peer = %to, %address, "connected");
                let since = Instant::now();
                let why = connection::serve(&door, link, &events).await;
                info!(peer = %to, %why, "connection lost; dials again");
                trouble = None;
                if since.elapsed() >= steady {
                    backoff.reset();
                    continue;
                }
            }
            Err(Trouble { why, .. }) if trouble.as_ref() == Some(&why) => {}
            Err(Trouble { why, alarming }) => {
                if alarming {
                    error!(peer = %to, %address, %why, "not connected; tries again");
                } else {
                    warn!(peer = %to, %address, %why, "not connected; tries again");
                }
                trouble = Some(why);
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// One attempt; returns a link that may be used at once.
async fn connect(door: &Door, to: NodeId, address: &str) -> Result<Link, Trouble> {
    match to {
        NodeId::Acceptor(acceptor) => door.dials(acceptor),
        // They can't prove a cluster: only acceptors do.
        NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_) => adopted(door).await,
    }
    let link = link::dial(address, door.own(), to, door.hello_timeout()).await.map_err(Trouble::new)?;
    let NodeId::Acceptor(acceptor) = to else {
        return match link.hello.standing.cluster {
            Some(theirs) => member(door, to, theirs, link),
            None => Err(Trouble::new(format!("{to} doesn't know its cluster yet"))),
        };
    };
    match door.heard(acceptor, link.hello.standing) {
        Heard::Member | Heard::Adopted(_) => Ok(link),
        Heard::Waiting => hold(door, to, link).await,
        Heard::NotFormed => Err(Trouble::new(format!(
            "{to} is not formed: it votes on nothing; run `synod admin form` once every acceptor runs; in a cluster that is \
             formed already it lost its disk: run `synod admin readmit-acceptor`"
        ))),
        Heard::Foreign(theirs) => Err(foreign(door, to, theirs)),
        Heard::RolledBack { from: known, to: told } => {
            let Standing { cluster, incarnation: disk, .. } = link.hello.standing;
            let refused = cluster.map(|cluster| Refused::RolledBack {
                refused_by: door.node,
                cluster,
                disk,
                known,
                told,
            });
            Err(stop(door, to, address, link, refused).await)
        }
        Heard::Replaced(Incarnation { since, disk: by, .. }) => {
            let Standing { cluster, incarnation: disk, .. } = link.hello.standing;
            let refused =
                cluster.map(|cluster| Refused::Replaced { refused_by: door.node, cluster, disk, by, since });
            Err(stop(door, to, address, link, refused).await)
        }
    }
}

/// Tells an acceptor whose disk was replaced, or went back, to stop (S12); it isn't used, whether it hears that or not.
async fn stop(door: &Door, to: NodeId, address: &str, link: Link, refused: Option<Refused>) -> Trouble {
    drop(link);
    let Some(refused) = refused else {
        return Trouble::new(format!(
            "{to}'s disk went back to before its cluster was formed: it isn't used"
        ));
    };
    let why = format!("{to} is told to stop: {refused}");
    if let Err(error) = link::refuse(address, refused, door.hello_timeout()).await {
        warn!(peer = %to, %address, %error, "could not tell it to stop; tells it again");
    }
    Trouble { why, alarming: true }
}

/// Keeps a link to an open acceptor ready until a quorum has told which cluster this is.
async fn hold(door: &Door, to: NodeId, mut link: Link) -> Result<Link, Trouble> {
    let theirs = link.hello.standing.cluster.expect("only an acceptor that told its cluster is held");
    tokio::select! {
        _ = link.reader.next() => Err(Trouble::new("the connection ended before a quorum of acceptors was reached")),
        () = adopted(door) => member(door, to, theirs, link),
    }
}

/// Completes once the cluster is adopted.
async fn adopted(door: &Door) {
    let mut adopted = door.adopted();
    adopted.wait_for(Option::is_some).await.expect("the door, which holds the sender, outlives this borrow");
}

fn member(door: &Door, to: NodeId, theirs: ClusterId, link: Link) -> Result<Link, Trouble> {
    if door.own().standing.cluster == Some(theirs) { Ok(link) } else { Err(foreign(door, to, theirs)) }
}

fn foreign(door: &Door, to: NodeId, theirs: ClusterId) -> Trouble {
    let ours = door.own().standing.cluster.map_or_else(|| "another".into(), |ours| ours.to_string());
    Trouble {
        why: format!(
            "{to} belongs to cluster {theirs}, a quorum of acceptors to {ours}; nothing was lost; check {to}'s address \
             and data directory"
        ),
        alarming: true,
    }
}
