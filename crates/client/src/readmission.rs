//! Readmission of an acceptor whose disk was lost or replaced, by hand (S12).
//!
//! The empty acceptor is given the name of its new disk, which it syncs; then the leader is asked, again and again, to readmit that disk and
//! how far it is; what it grants in the end is carried to the acceptor. Every step can be repeated, so a command that was
//! interrupted is simply run again: the acceptor keeps the disk's name, and a leader that has begun goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use synod_protocol::message::{FormStep, Formation, Readmission};
use synod_protocol::{AcceptorId, Ballot, Cluster, DiskId, ProposerId};
use tokio::time::{Instant, sleep};

use crate::ask::{self, AskError};

/// How long one process may take for one answer.
const STEP: Duration = Duration::from_secs(5);
/// Between two questions how far it is.
const PAUSE: Duration = Duration::from_millis(100);
/// How long nobody may lead, usually, before [`readmit`] gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a readmission ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readmitted {
    /// The disk with which the acceptor takes part.
    pub disk: DiskId,
    /// Whether it did so before.
    pub already: bool,
}

/// Why an acceptor wasn't readmitted.
#[derive(Debug, thiserror::Error)]
pub enum ReadmitError {
    /// Not in the cluster file.
    #[error("the cluster file has no acceptor {0}; nothing was changed")]
    Unknown(AcceptorId),
    /// The acceptor doesn't answer.
    #[error(
        "{acceptor} doesn't answer ({error}); start it with an empty data directory, then run this again"
    )]
    NoAnswer {
        /// Who.
        acceptor: AcceptorId,
        /// Why.
        error: AskError,
    },
    /// A disk with votes, or one that is being formed.
    #[error(
        "{acceptor} has a disk that isn't empty ({state}); nothing was changed; if that disk was damaged, rolled back or replaced, \
         stop {acceptor}, empty its data directory, start it and run this again"
    )]
    NotEmpty {
        /// Who.
        acceptor: AcceptorId,
        /// Its state, for people.
        state: String,
    },
    /// Nobody to readmit it.
    #[error(
        "none of the other acceptors that answer is open, so there is no cluster to be readmitted to; nothing was changed; a new \
         cluster is formed with `synod admin form`"
    )]
    NotFormed,
    /// The acceptor refused.
    #[error("{acceptor} refused: {why}; run this again to see how far it is")]
    Refused {
        /// Who refused.
        acceptor: AcceptorId,
        /// Why.
        why: String,
    },
    /// The leader refused.
    #[error("{leader} refused: {why}; {acceptor} votes on nothing, the cluster is as it was")]
    RefusedByLeader {
        /// Who refused.
        leader: ProposerId,
        /// Whom it was to readmit.
        acceptor: AcceptorId,
        /// Why.
        why: String,
    },
    /// No leader.
    #[error(
        "no proposer has led for {0:?}, and only a leader readmits ({1}); the acceptor waits and votes on nothing; run this again once \
         the cluster has a leader"
    )]
    NoLeader(Duration, String),
}

/// Readmits `acceptor`, whose directory is empty, or finishes that. Gives up when nobody has led for `patience`. `report` gets a line for each
/// piece of news.
pub async fn readmit(
    cluster: &Cluster,
    acceptor: AcceptorId,
    patience: Duration,
    mut report: impl FnMut(&str),
) -> Result<Readmitted, ReadmitError> {
    if !cluster.acceptors.contains_key(&acceptor) {
        return Err(ReadmitError::Unknown(acceptor));
    }
    let state = step(cluster, acceptor, FormStep::Query).await?;
    let disk = match state {
        Formation::Open { disk, .. } => return Ok(Readmitted { disk, already: true }),
        Formation::Prepared { .. } => {
            let state = crate::admin::describe(&state);
            return Err(ReadmitError::NotEmpty { acceptor, state });
        }
        Formation::Replaced { disk } => disk,
        Formation::Empty => {
            others_are_open(cluster, acceptor).await?;
            let disk = DiskId(rand::random());
            let state = step(cluster, acceptor, FormStep::Replace { disk }).await?;
            state.disk().unwrap_or(disk)
        }
    };
    report(&format!("{acceptor} waits with disk {disk}"));
    enter(cluster, acceptor, disk, patience, &mut report).await
}

/// A disk that waits to be readmitted can't be formed any more: it must not happen before a cluster is formed.
async fn others_are_open(cluster: &Cluster, acceptor: AcceptorId) -> Result<(), ReadmitError> {
    let others = cluster.acceptors.keys().filter(|other| **other != acceptor);
    let states = join_all(others.map(|other| ask::form(cluster, *other, FormStep::Query, STEP))).await;
    let open = states.iter().flatten().any(|(state, _)| state.cluster().is_some());
    if open { Ok(()) } else { Err(ReadmitError::NotFormed) }
}

async fn step(cluster: &Cluster, acceptor: AcceptorId, step: FormStep) -> Result<Formation, ReadmitError> {
    match ask::form(cluster, acceptor, step, STEP).await {
        Ok((formation, None)) => Ok(formation),
        Ok((_, Some(why))) => Err(ReadmitError::Refused { acceptor, why }),
        Err(error) => Err(ReadmitError::NoAnswer { acceptor, error }),
    }
}

/// Asks whoever leads until it grants the disk, and lets the acceptor enter.
async fn enter(
    cluster: &Cluster,
    acceptor: AcceptorId,
    disk: DiskId,
    patience: Duration,
    report: &mut impl FnMut(&str),
) -> Result<Readmitted, ReadmitError> {
    let proposers: Vec<ProposerId> = cluster.proposers.keys().copied().collect();
    let (mut turn, mut hint, mut led_at) = (0, None, Instant::now());
    let mut silent: BTreeMap<ProposerId, String> = BTreeMap::new();
    let mut told: Option<(Ballot, u64, u64)> = None;
    while led_at.elapsed() < patience {
        let whom = hint.take().unwrap_or_else(|| {
            turn += 1;
            proposers[(turn - 1) % proposers.len()]
        });
        match ask::readmit(cluster, whom, acceptor, disk, STEP).await {
            Ok(Readmission::Granted(admission)) => {
                report(&format!("{whom} readmits it in ballot {}", admission.admit.ballot));
                step(cluster, acceptor, FormStep::Enter(admission)).await?;
                return Ok(Readmitted { disk, already: false });
            }
            Ok(Readmission::UnderWay { ballot, slots, acceptors }) => {
                (hint, led_at) = (Some(whom), Instant::now());
                if told.replace((ballot, slots, acceptors)) != Some((ballot, slots, acceptors)) {
                    report(&format!(
                        "{whom} is at it in ballot {ballot}: {slots} slots and {acceptors} records to go"
                    ));
                }
            }
            Ok(Readmission::NotLeading { leader }) => {
                hint = leader.filter(|leader| *leader != whom && cluster.proposers.contains_key(leader));
                silent.insert(whom, "doesn't lead".into());
            }
            Ok(Readmission::Refused { why }) => {
                return Err(ReadmitError::RefusedByLeader { leader: whom, acceptor, why });
            }
            Err(error) => drop(silent.insert(whom, error.to_string())),
        }
        sleep(PAUSE).await;
    }
    let list: Vec<_> = silent.iter().map(|(whom, why)| format!("{whom}: {why}")).collect();
    Err(ReadmitError::NoLeader(patience, list.join(", ")))
}
