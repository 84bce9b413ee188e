//! Formation of a cluster, in two steps, by hand or by the supervisor (S12).
//!
//! All acceptors are prepared under one formation before any is opened, and only open acceptors vote; whatever was left
//! unfinished can be finished by running it again. What to do next follows from the acceptors' states alone ([`plan`], pure). An
//! empty acceptor is never prepared once any is open: it has lost its disk, and with it votes that others may have counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use synod_protocol::message::{FormStep, Formation};
use synod_protocol::{AcceptorId, Cluster, ClusterId, DiskId};

use crate::ask::{self, AskError};

/// How long one acceptor may take for one step.
const STEP: Duration = Duration::from_secs(5);

/// A list of acceptors for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(pub Vec<AcceptorId>);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: every acceptor is open in this cluster.
    Formed(ClusterId),
    /// Prepare these, which are empty.
    Prepare {
        /// The formation.
        formation: u128,
        /// The empty acceptors.
        empty: Vec<AcceptorId>,
    },
    /// Open these, which are prepared.
    Open {
        /// The formation.
        formation: u128,
        /// Every acceptor's disk.
        disks: Vec<(AcceptorId, DiskId)>,
        /// The prepared acceptors.
        prepared: Vec<AcceptorId>,
    },
}

/// Why no cluster was formed.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// Some acceptor didn't answer.
    #[error(
        "every acceptor must answer before a cluster is formed, and these did not: {0}; nothing was changed in this step; \
         start them, then run this again"
    )]
    NoAnswer(String),
    /// Open acceptors beside empty ones.
    #[error(
        "the cluster is formed already, but {0} has an empty disk: it lost its data directory, or was started with another \
         one; nothing was changed; give it its own directory back. If the disk is lost, the cluster goes on without that acceptor \
         while a quorum is left; let it in with its new disk by `synod admin readmit-acceptor`"
    )]
    LostDisk(Named),
    /// Acceptors that were given a new disk to be readmitted with.
    #[error(
        "{0} has a new disk and waits to be readmitted to a cluster that is formed: run `synod admin readmit-acceptor` for it; \
         nothing was changed. To form a new cluster with it instead, stop it and empty its data directory first"
    )]
    Waiting(Named),
    /// Open acceptors of several clusters.
    #[error(
        "the acceptors are open in different clusters ({0}); nothing was changed; check addresses and data directories: each \
         acceptor must have the directory it was formed with"
    )]
    DifferentClusters(String),
    /// Prepared for something else than the open ones.
    #[error(
        "the cluster is formed already, but {0} is prepared for another formation: its directory is not the one that the \
         cluster was formed with; nothing was changed; give it its own directory back"
    )]
    Stranger(Named),
    /// None is open, and the prepared ones disagree.
    #[error(
        "acceptors are prepared under different formations ({0}), so two attempts to form a cluster met; no acceptor has \
         voted yet and nothing was changed in this step: stop the acceptors, empty the data directories of all of them, start \
         them, and run this again alone"
    )]
    Mixed(String),
    /// An acceptor refused.
    #[error("{acceptor} refused the step: {why}; run this again to see how far the formation is")]
    Refused {
        /// Who refused.
        acceptor: AcceptorId,
        /// Why.
        why: String,
    },
    /// The states kept changing.
    #[error(
        "the acceptors' states change while they are asked; is somebody else forming the cluster? Run this again alone"
    )]
    Unsettled,
}

/// How a formation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formed {
    /// The cluster.
    pub cluster: ClusterId,
    /// Whether it had been formed before.
    pub already: bool,
}

/// Tells what comes next, given the state of *every* acceptor; `fresh` names the formation if there is none yet.
pub fn plan(states: &BTreeMap<AcceptorId, Formation>, fresh: u128) -> Result<Plan, FormError> {
    let (mut empty, mut prepared, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting = Vec::new();
    for (id, state) in states {
        match state {
            Formation::Empty => empty.push(*id),
            Formation::Prepared { formation, disk } => prepared.push((*id, *formation, *disk)),
            Formation::Replaced { .. } => waiting.push(*id),
            Formation::Open { formation, disks, cluster, .. } => {
                open.push((*id, *formation, disks, *cluster))
            }
        }
    }
    if !waiting.is_empty() {
        return Err(FormError::Waiting(Named(waiting)));
    }
    match open.first() {
        Some((_, formation, disks, cluster)) => {
            let strangers: Vec<_> = prepared
                .iter()
                .filter(|(id, theirs, disk)| theirs != formation || !disks.contains(&(*id, *disk)))
                .map(|(id, ..)| *id)
                .collect();
            if open.iter().any(|(.., theirs)| theirs != cluster) {
                let list: Vec<_> = open.iter().map(|(id, .., theirs)| format!("{id}: {theirs}")).collect();
                Err(FormError::DifferentClusters(list.join(", ")))
            } else if !empty.is_empty() {
                Err(FormError::LostDisk(Named(empty)))
            } else if !strangers.is_empty() {
                Err(FormError::Stranger(Named(strangers)))
            } else if prepared.is_empty() {
                Ok(Plan::Formed(*cluster))
            } else {
                let prepared = prepared.iter().map(|(id, ..)| *id).collect();
                Ok(Plan::Open { formation: *formation, disks: disks.to_vec(), prepared })
            }
        }
        None => {
            let formations: BTreeSet<_> = prepared.iter().map(|(_, formation, _)| *formation).collect();
            if formations.len() > 1 {
                let list: Vec<_> =
                    prepared.iter().map(|(id, formation, _)| format!("{id}: {formation:032x}")).collect();
                return Err(FormError::Mixed(list.join(", ")));
            }
            let formation = formations.first().copied().unwrap_or(fresh);
            if empty.is_empty() {
                let disks = prepared.iter().map(|(id, _, disk)| (*id, *disk)).collect();
                let prepared = prepared.iter().map(|(id, ..)| *id).collect();
                Ok(Plan::Open { formation, disks, prepared })
            } else {
                Ok(Plan::Prepare { formation, empty })
            }
        }
    }
}

/// Forms the cluster, or finishes a formation; `report` gets one line for each step of each acceptor.
pub async fn form(cluster: &Cluster, mut report: impl FnMut(AcceptorId, &str)) -> Result<Formed, FormError> {
    let fresh = rand::random();
    let mut already = true;
    // Query, prepare, query, open, query: more rounds mean that somebody else is at it.
    for _ in 0..3 {
        let states = ask_all(cluster, |_| FormStep::Query, cluster.acceptors.keys(), &mut report).await?;
        match plan(&states, fresh)? {
            Plan::Formed(cluster) => return Ok(Formed { cluster, already }),
            Plan::Prepare { formation, empty } => {
                let step = |_| FormStep::Prepare { formation, disk: DiskId(rand::random()) };
                ask_all(cluster, step, empty.iter(), &mut report).await?;
            }
            Plan::Open { formation, disks, prepared } => {
                let step = |_| FormStep::Open { formation, disks: disks.clone() };
                ask_all(cluster, step, prepared.iter(), &mut report).await?;
            }
        }
        already = false;
    }
    Err(FormError::Unsettled)
}

async fn ask_all<'a>(
    cluster: &Cluster,
    step: impl Fn(AcceptorId) -> FormStep,
    acceptors: impl Iterator<Item = &'a AcceptorId>,
    report: &mut impl FnMut(AcceptorId, &str),
) -> Result<BTreeMap<AcceptorId, Formation>, FormError> {
    let asked = acceptors.map(|id| {
        let (id, step) = (*id, step(*id));
        async move { (id, ask::form(cluster, id, step, STEP).await) }
    });
    weigh(join_all(asked).await, report)
}

type Answered = Result<(Formation, Option<String>), AskError>;

fn weigh(
    answers: Vec<(AcceptorId, Answered)>,
    report: &mut impl FnMut(AcceptorId, &str),
) -> Result<BTreeMap<AcceptorId, Formation>, FormError> {
    let (mut states, mut silent, mut refused) = (BTreeMap::new(), Vec::new(), None);
    for (id, answer) in answers {
        match answer {
            Err(error) => {
                report(id, &format!("no answer: {error}"));
                silent.push(format!("{id} ({error})"));
            }
            Ok((formation, None)) => {
                report(id, &describe(&formation));
                states.insert(id, formation);
            }
            Ok((_, Some(why))) => {
                report(id, &format!("refused: {why}"));
                refused = refused.or(Some(FormError::Refused { acceptor: id, why }));
            }
        }
    }
    match refused {
        Some(refused) => Err(refused),
        None if silent.is_empty() => Ok(states),
        None => Err(FormError::NoAnswer(silent.join(", "))),
    }
}

/// A state for people.
pub fn describe(formation: &Formation) -> String {
    match formation {
        Formation::Empty => "empty: votes on nothing".into(),
        Formation::Prepared { disk, .. } => format!("prepared, disk {disk}: votes on nothing yet"),
        Formation::Replaced { disk } => {
            format!("new disk {disk} waits to be readmitted: votes on nothing yet")
        }
        Formation::Open { disk, cluster, .. } => format!("open, disk {disk}, cluster {cluster}"),
    }
}

#[cfg(test)]
mod tests;
