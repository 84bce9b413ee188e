//! One question to one process, straight, and its answer: for status, formation and readmission.

use std::time::Duration;

use synod_protocol::hello::Standing;
use synod_protocol::link::{self, Flushed, Link, LinkError, Own};
use synod_protocol::message::{
    FormStep, Formation, Message, Readmission, Status, ToAcceptor, ToClient, ToLearner, ToProposer,
};
use synod_protocol::{AcceptorId, ClientId, Cluster, DiskId, NodeId, ProposerId, wire};

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The connection could not be made, or broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It is connected, but says nothing.
    #[error("connected, but no answer within {0:?}")]
    Silent(Duration),
    /// The connection was closed before the answer.
    #[error("closed the connection before it answered")]
    Closed,
}

/// Asks `node` how it is.
pub async fn status(cluster: &Cluster, node: NodeId, timeout: Duration) -> Result<Status, AskError> {
    let request = rand::random();
    let message = match node {
        NodeId::Acceptor(_) => Message::Acceptor(ToAcceptor::Status { request }),
        NodeId::Proposer(_) => Message::Proposer(ToProposer::Status { request }),
        NodeId::Learner(_) | NodeId::Client(_) => Message::Learner(ToLearner::Status { request }),
    };
    ask(cluster, node, message, timeout, |answer| match answer {
        ToClient::Status { request: answered, status } if answered == request => Some(status),
        other => ignore_unasked(&other),
    })
    .await
}

/// Asks `acceptor` for a step of formation: its state afterwards, and why it refused if it did.
pub async fn form(
    cluster: &Cluster,
    acceptor: AcceptorId,
    step: FormStep,
    timeout: Duration,
) -> Result<(Formation, Option<String>), AskError> {
    let request = rand::random();
    let message = Message::Acceptor(ToAcceptor::Form { request, step });
    ask(cluster, acceptor.into(), message, timeout, |answer| match answer {
        ToClient::Formed { request: answered, formation, refused } if answered == request => {
            Some((formation, refused))
        }
        other => ignore_unasked(&other),
    })
    .await
}

/// Asks `proposer` to readmit `acceptor` with `disk`, or how far that is.
pub async fn readmit(
    cluster: &Cluster,
    proposer: ProposerId,
    acceptor: AcceptorId,
    disk: DiskId,
    timeout: Duration,
) -> Result<Readmission, AskError> {
    let request = rand::random();
    let message = Message::Proposer(ToProposer::Readmit { request, acceptor, disk });
    ask(cluster, proposer.into(), message, timeout, |answer| match answer {
        ToClient::Readmission { request: answered, readmission } if answered == request => Some(readmission),
        other => ignore_unasked(&other),
    })
    .await
}

async fn ask<A>(
    cluster: &Cluster,
    node: NodeId,
    message: Message,
    timeout: Duration,
    answers: impl FnMut(ToClient) -> Option<A>,
) -> Result<A, AskError> {
    begin(cluster, node, timeout).await?.ask(&message, answers).await
}

/// A connection to one process, for several questions.
#[derive(Debug)]
pub(crate) struct Conversation {
    link: Link,
    timeout: Duration,
}

/// Connects to `node`; it may take so long for each answer.
pub(crate) async fn begin(
    cluster: &Cluster,
    node: NodeId,
    timeout: Duration,
) -> Result<Conversation, AskError> {
    let own = Own {
        node: ClientId(rand::random()).into(),
        parameters: cluster.parameters_hash(),
        standing: Standing::default(),
    };
    let address = cluster.address(node).unwrap_or_default();
    Ok(Conversation { link: link::dial(address, own, node, timeout).await?, timeout })
}

impl Conversation {
    /// Asks, and waits for what `answers` takes for the answer.
    pub(crate) async fn ask<A>(
        &mut self,
        message: &Message,
        mut answers: impl FnMut(ToClient) -> Option<A>,
    ) -> Result<A, AskError> {
        let Conversation { link, timeout } = self;
        let conversation = async {
            link.outbox.push(message);
            while link.outbox.flush().map_err(LinkError::from)? == Flushed::Blocked {
                link.outbox.writable().await.map_err(LinkError::from)?;
            }
            loop {
                let frame = link.reader.next().await.ok_or(AskError::Closed)?.map_err(LinkError::from)?;
                if let Some(answer) = answers(wire::decode_frame(frame).map_err(LinkError::from)?) {
                    return Ok(answer);
                }
            }
        };
        tokio::time::timeout(*timeout, conversation).await.map_err(|_| AskError::Silent(*timeout))?
    }
}

/// Not the answer to this question.
pub(crate) fn ignore_unasked<A>(other: &ToClient) -> Option<A> {
    tracing::debug!(?other, "ignores an answer to another question");
    None
}
