//! How a cluster is: every process asked directly, and what follows for who leads and what may still fail.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use synod_protocol::message::{Formation, PhaseName, Status};
use synod_protocol::{Cluster, ClusterId, NodeId};

use crate::ask;

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

/// What the acceptors allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Acceptors {
    /// How many there are.
    pub count: usize,
    /// How many must be up to elect a leader and to choose commands.
    pub needed: usize,
    /// How many are up and open in the same cluster.
    pub open: usize,
    /// How many are up but not formed (see `synod admin form`).
    pub unformed: usize,
    /// Whether commands can be chosen.
    pub quorum: bool,
    /// How many more may fail before they can't.
    pub more_failures: usize,
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
        /// Applied slot.
        applied: u64,
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
    let asked = cluster.nodes().map(|(node, address)| async move {
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
    let mut clusters: BTreeMap<ClusterId, usize> = BTreeMap::new();
    let mut unformed = 0;
    for (_, status) in statuses() {
        match status {
            Status::Acceptor(status) => match status.formation.cluster() {
                Some(cluster) => *clusters.entry(cluster).or_default() += 1,
                None => unformed += 1,
            },
            Status::Proposer(_) | Status::Learner(_) => {}
        }
    }
    let open = clusters.values().copied().max().unwrap_or(0);
    let needed = cluster.quorums.phase1().max(cluster.quorums.phase2());
    let acceptors = Acceptors {
        count: cluster.quorums.count(),
        needed,
        open,
        unformed,
        quorum: open >= needed,
        more_failures: open.saturating_sub(needed),
    };
    let processes = answers.iter().map(|(node, address, answer)| Process {
        id: node.to_string(),
        address: address.clone(),
        up: answer.is_ok(),
        trouble: answer.as_ref().err().cloned(),
        state: answer.as_ref().ok().map(state),
    });
    ClusterStatus { name: cluster.name.clone(), leader, acceptors, processes: processes.collect() }
}

fn state(status: &Status) -> State {
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
            applied: status.applied.0,
            known: status.known.0,
            keys: status.keys,
            sessions: status.sessions,
            chain: format!("{:016x}", status.chain),
            leader: status.leader.to_string(),
        },
    }
}

impl Acceptors {
    /// In plain words.
    pub fn verdict(&self) -> String {
        let Acceptors { count, needed, open, unformed, quorum, more_failures } = *self;
        match (quorum, more_failures) {
            (true, 0) => {
                format!("no more acceptor may fail: {needed} of {count} acceptors needed, {open} up")
            }
            (true, 1) => format!("1 more acceptor may fail ({needed} of {count} needed, {open} up)"),
            (true, more) => format!("{more} more acceptors may fail ({needed} of {count} needed, {open} up)"),
            (false, _) if open == 0 && unformed > 0 => {
                format!("not formed: {unformed} of {count} acceptors wait for `synod admin form`")
            }
            (false, _) => format!("no quorum: {needed} of {count} acceptors needed, {open} up"),
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
            State::Acceptor { formation, promised, held, highest, .. } => {
                write!(f, "{formation:<9} promised {promised:<8} held {held:<9} highest {highest}")
            }
            State::Proposer { phase, ballot, chosen, in_flight, .. } => {
                if *phase == "leading" {
                    write!(f, "{phase:<9} ballot   {ballot:<8} chosen {chosen:<7} in flight {in_flight}")
                } else {
                    write!(f, "{phase:<9} ballot   {ballot}")
                }
            }
            State::Learner { applied, known, keys, leader, .. } => {
                write!(f, "applied {applied:<9} known {known:<9} keys {keys:<8} follows {leader}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
