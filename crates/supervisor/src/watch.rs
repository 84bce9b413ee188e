//! Watches the cluster through its own eyes: asks every process how it is, again and again.
//!
//! What comes of it: which processes serve (and not merely run), and who leads at which ballot. Nothing here decides anything.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_protocol::hello::Standing;
use synod_protocol::link::{self, Link, LinkError, Own};
use synod_protocol::message::{
    Formation, Message, PhaseName, Status, ToAcceptor, ToClient, ToLearner, ToProposer,
};
use synod_protocol::wire;
use synod_protocol::{Ballot, ClientId, Cluster, NodeId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Time between two questions to one process.
const INTERVAL: Duration = Duration::from_millis(100);
/// Time after which a process that doesn't answer is called silent.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// Slots that a learner may have heard of and not applied, as every one has under load.
const BEHIND_SLOTS: u64 = 200;

/// What was seen of one process.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Who.
    pub node: NodeId,
    /// Its answer; nothing when it gave none.
    pub status: Option<Status>,
}

/// Asks every process of `cluster` in turn, for as long as `sights` is listened to.
pub fn start(cluster: &Cluster, sights: &mpsc::UnboundedSender<Sight>) {
    let own = Own {
        node: ClientId(rand::random()).into(),
        parameters: cluster.parameters_hash(),
        standing: Standing::default(),
    };
    for (node, address) in cluster.nodes() {
        tokio::spawn(watch(node, address.to_string(), own, sights.clone()));
    }
}

async fn watch(node: NodeId, address: String, own: Own, sights: mpsc::UnboundedSender<Sight>) {
    while !sights.is_closed() {
        let ended = match link::dial(&address, own, node, PATIENCE).await {
            Ok(link) => ask(node, link, &sights).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::trace!(%node, %error, "not watched");
        }
        if sights.send(Sight { node, status: None }).is_err() {
            return;
        }
        sleep(INTERVAL).await;
    }
}

async fn ask(node: NodeId, mut link: Link, sights: &mpsc::UnboundedSender<Sight>) -> Result<(), LinkError> {
    for request in 1.. {
        let question = match node {
            NodeId::Acceptor(_) => Message::Acceptor(ToAcceptor::Status { request }),
            NodeId::Proposer(_) => Message::Proposer(ToProposer::Status { request }),
            NodeId::Learner(_) => Message::Learner(ToLearner::Status { request }),
            NodeId::Client(_) => return Ok(()),
        };
        link.outbox.push(&question);
        link.outbox.flush()?;
        let Ok(answer) = timeout(PATIENCE, link.reader.next()).await else { return Ok(()) };
        let Some(frame) = answer else { return Ok(()) };
        if let ToClient::Status { status, .. } = wire::decode_frame(frame?)?
            && sights.send(Sight { node, status: Some(status) }).is_err()
        {
            return Ok(());
        }
        sleep(INTERVAL).await;
    }
    Ok(())
}

/// Whether a process that answers this does its part: an acceptor votes, a learner has all that is chosen but for the last. One that still
/// fetches what it missed answers nobody's calls, and the others are needed as long.
pub fn serves(status: &Status) -> bool {
    match status {
        Status::Acceptor(acceptor) => matches!(acceptor.formation, Formation::Open { .. }),
        Status::Proposer(_) => true,
        Status::Learner(learner) => {
            let behind = learner.known.0.saturating_sub(learner.applied.0);
            !learner.leader.is_none()
                && learner.transfer.is_none()
                && !learner.in_doubt
                && behind <= BEHIND_SLOTS
        }
    }
}

/// Who leads, as the proposers say.
#[derive(Clone, Debug, Default)]
pub struct Leadership {
    leading: BTreeMap<NodeId, Ballot>,
    /// The leader told last.
    told: Option<Ballot>,
}

impl Leadership {
    /// Takes in what was seen; says what has changed: `Some(None)` when nobody leads any more.
    pub fn see(&mut self, sight: &Sight) -> Option<Option<Ballot>> {
        match &sight.status {
            Some(Status::Proposer(status)) if status.phase == PhaseName::Leading => {
                self.leading.insert(sight.node, status.ballot);
            }
            Some(Status::Proposer(_) | Status::Acceptor(_) | Status::Learner(_)) | None => {
                self.leading.remove(&sight.node);
            }
        }
        let leader = self.leading.values().max().copied();
        if leader == self.told {
            return None;
        }
        self.told = leader;
        Some(leader)
    }

    /// Who leads.
    pub fn leader(&self) -> Option<NodeId> {
        self.told.map(|ballot| ballot.proposer.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::message::{LearnerStatus, ProposerStatus, Transfer};
    use synod_protocol::{ProposerId, Slot};

    fn sight(proposer: u16, round: u64, phase: PhaseName) -> Sight {
        let ballot = Ballot { round, proposer: ProposerId(proposer), life: 1 };
        let status = ProposerStatus {
            phase,
            ballot,
            chosen: Slot::ZERO,
            floor: Slot::FIRST,
            in_flight: 0,
            queued_bytes: 0,
            retained_bytes: 0,
            learners: Vec::new(),
            held: Vec::new(),
            full: Vec::new(),
        };
        Sight { node: ballot.proposer.into(), status: Some(Status::Proposer(status)) }
    }

    #[test]
    fn a_learner_serves_once_it_has_what_it_missed() {
        let level = LearnerStatus {
            applied: Slot(1_000),
            known: Slot(1_010),
            chain: 0,
            keys: 0,
            sessions: 0,
            waiting_reads: 0,
            leader: Ballot { round: 1, proposer: ProposerId(1), life: 1 },
            synced: Slot(900),
            engine: "memory".into(),
            full: false,
            in_doubt: false,
            transfer: None,
            serving: None,
        };
        let fetching = Transfer { from: None, slot: None, bytes: 0 };
        for (status, expected) in [
            (level.clone(), true),
            (LearnerStatus { known: Slot(1_201), ..level.clone() }, false),
            (LearnerStatus { leader: Ballot::NONE, ..level.clone() }, false),
            (LearnerStatus { transfer: Some(fetching), ..level.clone() }, false),
            (LearnerStatus { in_doubt: true, ..level }, false),
        ] {
            assert_eq!(serves(&Status::Learner(status.clone())), expected, "{status:?}");
        }
    }

    #[test]
    fn only_changes_of_the_leader_are_told() {
        let mut leadership = Leadership::default();
        let mut told = |sight| leadership.see(&sight).map(|change| change.map(|ballot| ballot.to_string()));
        assert_eq!(told(sight(1, 1, PhaseName::Probing)), None);
        assert_eq!(told(sight(2, 1, PhaseName::Leading)), Some(Some("1.p2".into())));
        assert_eq!(told(sight(2, 1, PhaseName::Leading)), None);
        assert_eq!(
            told(sight(3, 4, PhaseName::Leading)),
            Some(Some("4.p3".into())),
            "the older one hasn't noticed"
        );
        assert_eq!(told(sight(2, 4, PhaseName::Probing)), None);
        let gone = Sight { node: ProposerId(3).into(), status: None };
        assert_eq!(told(gone), Some(None));
        assert_eq!(leadership.leader(), None);
    }
}
