//! How a cluster is: every process asked directly, and what follows for who leads and what may still fail.

mod tolerance;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use synod_protocol::message::{Formation, LearnerStatus, PhaseName, Status, Transfer};
use synod_protocol::{Cluster, ClusterId, NodeId, Slot};

use crate::ask;
pub use tolerance::{Acceptors, Behind, Learners};
use tolerance::{Holder, Unopened, Voter};

/// How long one process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// The leader with the highest ballot, if one answers.
    pub leader: Option<Leader>,
    /// What follows from the acceptors that are up.
    pub acceptors: Acceptors,
    /// What follows from the configured learners that are up.
    pub learners: Learners,
    /// Every process of the cluster file.
    pub processes: Vec<Process>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leader {
    /// The proposer.
    pub proposer: String,
    /// Its ballot.
    pub ballot: String,
    /// Every slot up to here is chosen.
    pub chosen: u64,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// `a1`, `p2`, `l3`.
    pub id: String,
    /// Where.
    pub address: String,
    /// Whether it answered.
    pub up: bool,
    /// Why it didn't.
    pub trouble: Option<String>,
    /// What it said.
    pub state: Option<State>,
}

/// What a process said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum State {
    /// An acceptor.
    Acceptor {
        /// `empty`, `prepared` or `open`.
        formation: &'static str,
        /// The cluster, once open.
        cluster: Option<String>,
        /// The ballot promised.
        promised: String,
        /// Held prefix.
        held: u64,
        /// Chosen slots above it.
        lacks: u64,
        /// First slot kept.
        floor: u64,
        /// Whether its disk is full.
        full: bool,
        /// Highest slot voted on.
        highest: u64,
    },
    /// A proposer.
    Proposer {
        /// `probing`, `preparing` or `leading`.
        phase: &'static str,
        /// Its ballot, or the highest it has heard of.
        ballot: String,
        /// Chosen prefix, while leading.
        chosen: u64,
        /// Slots in flight.
        in_flight: u64,
        /// Bytes of commands waiting.
        queued_bytes: u64,
    },
    /// A learner.
    Learner {
        /// Whether it is an observer, which counts neither for what may fail nor for what acceptors may drop.
        observer: bool,
        /// Applied slot.
        applied: u64,
        /// Every slot up to here is applied and synced.
        synced: u64,
        /// `memory` or `disk`.
        engine: String,
        /// Whether its disk has no room for a checkpoint.
        full: bool,
        /// Whether its state differs from a peer's, so that it answers no client.
        in_doubt: bool,
        /// The snapshot that it is fetching, in words.
        transfer: Option<String>,
        /// Highest slot it knows to be chosen.
        known: u64,
        /// Keys.
        keys: u64,
        /// Sessions open.
        sessions: u64,
        /// Hash chain at the applied slot, hexadecimal.
        chain: String,
        /// The ballot it follows.
        leader: String,
    },
}

/// Asks every process of the cluster file, all at once.
pub async fn status(cluster: &Cluster) -> ClusterStatus {
    let asked = cluster.nodes().chain(cluster.observers()).map(|(node, address)| async move {
        (
            node,
            address.to_string(),
            ask::status(cluster, node, TIMEOUT).await.map_err(|error| error.to_string()),
        )
    });
    assess(cluster, join_all(asked).await)
}

/// What the answers mean. Pure.
pub fn assess(cluster: &Cluster, answers: Vec<(NodeId, String, Result<Status, String>)>) -> ClusterStatus {
    let statuses = || answers.iter().filter_map(|(node, _, answer)| Some((*node, answer.as_ref().ok()?)));
    let leading = statuses().filter_map(|(node, status)| match status {
        Status::Proposer(status) if status.phase == PhaseName::Leading => {
            Some((status.ballot, node, status.chosen))
        }
        Status::Proposer(_) | Status::Acceptor(_) | Status::Learner(_) => None,
    });
    let leader = leading.max().map(|(ballot, node, chosen)| Leader {
        proposer: node.to_string(),
        ballot: ballot.to_string(),
        chosen: chosen.0,
    });
    let formations = statuses().filter_map(|(node, status)| {
        let (NodeId::Acceptor(id), Status::Acceptor(status)) = (node, status) else { return None };
        Some((id, status))
    });
    let mut clusters: BTreeMap<ClusterId, usize> = BTreeMap::new();
    let mut unopened = Vec::new();
    for (id, status) in formations.clone() {
        match status.formation.cluster() {
            Some(cluster) => *clusters.entry(cluster).or_default() += 1,
            None => {
                let prepared = matches!(status.formation, Formation::Prepared { .. });
                unopened.push(Unopened { id, prepared });
            }
        }
    }
    let ours = clusters.iter().max_by_key(|(_, count)| **count).map(|(id, _)| *id);
    let open: Vec<_> =
        formations.filter(|(_, status)| ours.is_some() && status.formation.cluster() == ours).collect();
    // Without a leader to tell it: what some acceptor knows to be chosen.
    let highest = open.iter().map(|(_, status)| status.held.0).max().unwrap_or(0);
    let chosen = leader.as_ref().map_or(highest, |leader| leader.chosen.max(highest));
    let voters: Vec<_> = open
        .iter()
        .map(|(id, status)| Voter { id: *id, lacks: chosen - status.held.0, full: status.full })
        .collect();
    let acceptors = tolerance::acceptors(&cluster.quorums, &voters, &unopened, leader.is_some());
    let floor = open.iter().map(|(_, status)| status.floor).max().unwrap_or(Slot::ZERO);
    let holders: Vec<_> = statuses()
        .filter_map(|(node, status)| {
            let (NodeId::Learner(id), Status::Learner(status)) = (node, status) else { return None };
            let LearnerStatus { synced, in_doubt, .. } = *status;
            cluster.learners.contains_key(&id).then_some(Holder { id, synced, in_doubt })
        })
        .collect();
    let learners = tolerance::learners(cluster.learners.len(), &holders, floor);
    let processes = answers.iter().map(|(node, address, answer)| Process {
        id: node.to_string(),
        address: address.clone(),
        up: answer.is_ok(),
        trouble: answer.as_ref().err().cloned(),
        state: answer.as_ref().ok().map(|status| state(cluster, *node, status, chosen)),
    });
    ClusterStatus { name: cluster.name.clone(), leader, acceptors, learners, processes: processes.collect() }
}

fn state(cluster: &Cluster, node: NodeId, status: &Status, chosen: u64) -> State {
    match status {
        Status::Acceptor(status) => State::Acceptor {
            formation: match status.formation {
                Formation::Empty => "empty",
                Formation::Prepared { .. } => "prepared",
                Formation::Replaced { .. } => "replaced",
                Formation::Open { .. } => "open",
            },
            cluster: status.formation.cluster().map(|cluster| cluster.to_string()),
            promised: status.promised.to_string(),
            held: status.held.0,
            lacks: chosen.saturating_sub(status.held.0),
            floor: status.floor.0,
            full: status.full,
            highest: status.highest.0,
        },
        Status::Proposer(status) => State::Proposer {
            phase: match status.phase {
                PhaseName::Probing => "probing",
                PhaseName::Preparing => "preparing",
                PhaseName::Leading => "leading",
            },
            ballot: status.ballot.to_string(),
            chosen: status.chosen.0,
            in_flight: status.in_flight,
            queued_bytes: status.queued_bytes,
        },
        Status::Learner(status) => State::Learner {
            observer: matches!(node, NodeId::Learner(id) if cluster.observers.contains_key(&id)),
            applied: status.applied.0,
            synced: status.synced.0,
            engine: status.engine.clone(),
            full: status.full,
            in_doubt: status.in_doubt,
            transfer: status.transfer.as_ref().map(transfer),
            known: status.known.0,
            keys: status.keys,
            sessions: status.sessions,
            chain: format!("{:016x}", status.chain),
            leader: status.leader.to_string(),
        },
    }
}

fn transfer(Transfer { from, slot, bytes }: &Transfer) -> String {
    match (from, slot) {
        (None, _) => "needs a snapshot, and no learner that could give one is connected".into(),
        (Some(from), None) => format!("asks {from} for a snapshot"),
        (Some(from), Some(slot)) => {
            format!("fetches the snapshot of slot {slot} from {from}, {} MiB so far", bytes >> 20)
        }
    }
}

impl std::fmt::Display for ClusterStatus {
    /// Aligned columns for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "cluster    {}", self.name)?;
        match &self.leader {
            Some(Leader { proposer, ballot, chosen }) => {
                writeln!(f, "leader     {proposer} at ballot {ballot}, chosen up to slot {chosen}")?;
            }
            None => writeln!(f, "leader     none answers")?,
        }
        writeln!(f, "acceptors  {}", self.acceptors.verdict())?;
        writeln!(f, "learners   {}", self.learners.verdict())?;
        writeln!(f)?;
        let width = self.processes.iter().map(|process| process.address.len()).max().unwrap_or(0).max(7);
        writeln!(f, "{:<4} {:<width$} {:<5} STATE", "NODE", "ADDRESS", "UP")?;
        for Process { id, address, up, trouble, state } in &self.processes {
            let up = if *up { "yes" } else { "no" };
            write!(f, "{id:<4} {address:<width$} {up:<5} ")?;
            match state {
                Some(state) => writeln!(f, "{state}")?,
                None => writeln!(f, "{}", trouble.as_deref().unwrap_or("no answer"))?,
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Acceptor { formation, promised, held, lacks, floor, full, .. } => {
                write!(
                    f,
                    "{formation:<9} promised {promised:<8} held {held:<9} lacks {lacks:<6} floor {floor}"
                )?;
                if *full { write!(f, ", disk full") } else { Ok(()) }
            }
            State::Proposer { phase, ballot, chosen, in_flight, .. } => {
                if *phase == "leading" {
                    write!(f, "{phase:<9} ballot   {ballot:<8} chosen {chosen:<7} in flight {in_flight}")
                } else {
                    write!(f, "{phase:<9} ballot   {ballot}")
                }
            }
            State::Learner {
                observer,
                applied,
                synced,
                keys,
                leader,
                engine,
                full,
                in_doubt,
                transfer,
                ..
            } => {
                write!(
                    f,
                    "applied {applied:<9} synced {synced:<9} keys {keys:<8} {engine:<6} follows {leader}"
                )?;
                if *observer {
                    write!(f, ", observer")?;
                }
                if *full {
                    write!(f, ", no room for checkpoints")?;
                }
                if *in_doubt {
                    write!(f, ", in doubt: answers nobody")?;
                }
                transfer.as_ref().map_or(Ok(()), |transfer| write!(f, ", {transfer}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
