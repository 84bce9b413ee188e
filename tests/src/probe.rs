//! Talking to a daemon without the client library: as anybody who can reach its port.

use std::time::Duration;

use synod_protocol::hello::Standing;
use synod_protocol::link::{self, Link, LinkError, Own};
use synod_protocol::message::{Message, Status, ToAcceptor, ToClient, ToLearner, ToProposer};
use synod_protocol::{ClientId, Cluster, NodeId, wire};

const PATIENCE: Duration = Duration::from_secs(2);

/// Shakes hands with `to` as a new client.
pub async fn connect(cluster: &Cluster, to: NodeId) -> Result<Link, LinkError> {
    dial_as(ClientId(rand::random()).into(), cluster, to).await
}

/// Shakes hands with `to` under any name.
pub async fn dial_as(node: NodeId, cluster: &Cluster, to: NodeId) -> Result<Link, LinkError> {
    let own = Own { node, parameters: cluster.parameters_hash(), standing: Standing::default() };
    let address = cluster.address(to).expect("it stands in the cluster file");
    link::dial(address, own, to, PATIENCE).await
}

/// How `node` says it is; nothing when it doesn't answer.
pub async fn status(cluster: &Cluster, node: NodeId) -> Option<Status> {
    let mut link = connect(cluster, node).await.ok()?;
    let request = 1;
    link.outbox.push(&match node {
        NodeId::Acceptor(_) => Message::Acceptor(ToAcceptor::Status { request }),
        NodeId::Proposer(_) => Message::Proposer(ToProposer::Status { request }),
        NodeId::Learner(_) => Message::Learner(ToLearner::Status { request }),
        NodeId::Client(_) => panic!("clients have no status"),
    });
    link.outbox.flush().ok()?;
    let frame = tokio::time::timeout(PATIENCE, link.reader.next()).await.ok()??.ok()?;
    match wire::decode_frame(frame).ok()? {
        ToClient::Status { status, .. } => Some(status),
        ToClient::Opened(_)
        | ToClient::Attached { .. }
        | ToClient::Replies(_)
        | ToClient::ReadReplies(_)
        | ToClient::Refused { .. }
        | ToClient::SnapshotChunk(_)
        | ToClient::NoSnapshot(_)
        | ToClient::Formed { .. }
        | ToClient::Readmission { .. } => None,
    }
}
