//! Does a cluster that has aged, or has lost something, take as many puts as a fresh one? Each condition on a cluster of its own,
//! in turns with a fresh cluster that is stopped where it is meanwhile, so that a machine that changes changes for both.
//!
//! A slow acceptor is one whose process is stopped 20 ms of every 25: its thread votes, writes and syncs, so a disk that takes so long
//! for a sync stops it just so. Absent on purpose: a verdict; every figure is a percentage of the fresh cluster's beside it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;
use synod_client::ask;
use synod_protocol::LearnerId;
use synod_protocol::message::{LearnerStatus, Status};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::idle;
use crate::load::{self, Service};
use crate::process::{Part, Started};
use crate::result::median;
use crate::rounds::cleared;
use crate::shape::Case;
use crate::steady::Steady;
use crate::synod::Synod;

/// A slow acceptor is stopped so long, and then goes on so long.
const SLOW: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(5));
/// How long a learner is down.
const DOWN: Duration = Duration::from_secs(20);
/// How long a learner may take to answer, and how long to come back.
const ANSWER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(600);
/// Slots behind another learner that are as good as none while puts go on.
const LEVEL_SLOTS: u64 = 500;
/// Keys of a fresh cluster.
const FRESH_KEYS: usize = 10_000;

/// What may cost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// One acceptor is stopped 20 ms of every 25.
    SlowAcceptor,
    /// One acceptor is down.
    DeadAcceptor,
    /// A learner that was down for 20 s of puts catches up.
    CatchingUp,
    /// 10,000 other sessions are open.
    Sessions,
    /// `--keys` keys are there.
    Keys,
    /// Puts have gone on for `--minutes`.
    Time,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Calls under way, bytes and processes; its keys are those of [`Condition::Keys`].
    pub case: Case,
    /// Sessions that the callers share.
    pub sessions: usize,
    /// Sessions of [`Condition::Sessions`].
    pub idle_sessions: usize,
    /// Time of [`Condition::Time`].
    pub age: Duration,
    /// Unmeasured after a cluster goes on.
    pub warm_up: Duration,
    /// Measured at a time.
    pub window: Duration,
    /// How often each cluster is measured; medians are told.
    pub rounds: u32,
}

/// What a condition came to.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Which.
    pub condition: Condition,
    /// The load.
    #[serde(flatten)]
    pub case: Case,
    /// Puts a second.
    pub ops_per_s: f64,
    /// Those of a fresh cluster in the same minutes.
    pub fresh_ops_per_s: f64,
    /// Each round's percentage of the fresh cluster's: the median.
    pub percent: f64,
    /// Least and most of the rounds.
    pub percent_range: (f64, f64),
    /// What else was seen.
    pub note: String,
}

impl Compared {
    fn of(condition: Condition, case: Case, rounds: &[(f64, f64)], note: String) -> Compared {
        let percents: Vec<f64> = rounds.iter().map(|(it, fresh)| 100.0 * it / fresh).collect();
        let (least, most) =
            percents.iter().fold((f64::MAX, 0.0_f64), |(least, most), one| (least.min(*one), most.max(*one)));
        Compared {
            condition,
            case,
            ops_per_s: median(rounds.iter().map(|(it, _)| *it).collect()),
            fresh_ops_per_s: median(rounds.iter().map(|(_, fresh)| *fresh).collect()),
            percent: median(percents),
            percent_range: (least, most),
            note,
        }
    }

    /// For people.
    pub fn row(&self) -> String {
        let Compared { ops_per_s, fresh_ops_per_s, percent, percent_range: (least, most), note, .. } = self;
        format!(
            "{:<14} {ops_per_s:>8.0} puts/s, fresh {fresh_ops_per_s:>8.0}: {percent:>4.0} % ({least:.0}-{most:.0}); {note}",
            format!("{:?}", self.condition)
        )
    }
}

/// A cluster and its callers.
struct Side {
    synod: Synod,
    services: Vec<Service>,
    case: Case,
}

impl Side {
    async fn start(growth: &Growth, keys: usize, bin_dir: &Path, folder: &Path) -> Result<Side> {
        let synod = Synod::start(&growth.case.shape, bin_dir, folder).await?;
        let services = (0..growth.sessions).map(|_| Service::Synod(synod.client())).collect();
        Ok(Side { synod, services, case: Case { keys, ..growth.case } })
    }

    /// Its puts a second while the other is stopped.
    async fn rate(&self, growth: &Growth, other: &Side) -> Result<f64> {
        other.synod.pause();
        let steady = Steady::start(&self.services, &self.case);
        sleep(growth.warm_up).await;
        let rate = steady.rate(growth.window).await;
        drop(steady);
        other.synod.go_on();
        rate
    }
}

/// Measures one condition in new clusters with their data in `folder`.
///
/// # Errors
/// When a cluster can't be started, or doesn't answer.
pub async fn run(
    growth: &Growth,
    condition: Condition,
    (bin_dir, folder): (&Path, PathBuf),
) -> Result<Compared> {
    cleared(measure(growth, condition, bin_dir, &folder).await, &folder)
}

async fn measure(growth: &Growth, condition: Condition, bin_dir: &Path, folder: &Path) -> Result<Compared> {
    let keys = if condition == Condition::Keys { growth.case.keys } else { FRESH_KEYS };
    let mut it = Side::start(growth, keys, bin_dir, &folder.join("it")).await?;
    if condition == Condition::CatchingUp {
        return catching_up(growth, &mut it).await;
    }
    let begun = Instant::now();
    let mut held: Held = Held::default();
    let note = match condition {
        Condition::SlowAcceptor => {
            held.slow = Some(slow(&mut it.synod)?);
            format!("stopped {:?} of every {:?}", SLOW.0, SLOW.0 + SLOW.1)
        }
        Condition::DeadAcceptor => {
            it.synod.stop(Part::Acceptor, 1)?;
            String::from("one acceptor killed")
        }
        Condition::CatchingUp => unreachable!("measured above"),
        Condition::Sessions => {
            held.processes = idle::start(&it.synod, growth.idle_sessions, folder).await?;
            format!("{} sessions open", growth.idle_sessions)
        }
        Condition::Keys => {
            let filled = load::fill(&it.services, keys, it.case.value_bytes).await;
            filled.context("the keys could not be put first")?;
            let filled = begun.elapsed();
            // Keys that were put in their order lie in memory in it; not for long.
            Steady::start(&it.services, &it.case).until_answered(keys as u64).await?;
            format!(
                "{keys} keys put in {filled:.0?}, then as many random ones of them in {:.0?}",
                begun.elapsed() - filled
            )
        }
        Condition::Time => {
            let steady = Steady::start(&it.services, &it.case);
            sleep(growth.age).await;
            format!("{} puts in {:.0?}", steady.answered(), begun.elapsed())
        }
    };
    let fresh = Side::start(growth, FRESH_KEYS, bin_dir, &folder.join("fresh")).await?;
    let mut rounds = Vec::new();
    for round in 0..growth.rounds {
        let first =
            if round % 2 == 0 { it.rate(growth, &fresh).await? } else { fresh.rate(growth, &it).await? };
        let second =
            if round % 2 == 0 { fresh.rate(growth, &it).await? } else { it.rate(growth, &fresh).await? };
        rounds.push(if round % 2 == 0 { (first, second) } else { (second, first) });
    }
    Ok(Compared::of(condition, it.case, &rounds, note))
}

/// What a condition keeps going until it has been measured.
#[derive(Default)]
struct Held {
    slow: Option<Slow>,
    processes: Vec<Started>,
}

/// An acceptor that is stopped again and again.
struct Slow(JoinHandle<()>);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn slow(synod: &mut Synod) -> Result<Slow> {
    let found = synod.processes.iter().position(|started| started.part == Part::Acceptor);
    let acceptor = synod.processes.swap_remove(found.context("no acceptor runs")?);
    Ok(Slow(tokio::spawn(async move {
        loop {
            acceptor.pause();
            sleep(SLOW.0).await;
            acceptor.go_on();
            sleep(SLOW.1).await;
        }
    })))
}

/// Here the same cluster is the fresh one, before its learner goes down.
async fn catching_up(growth: &Growth, it: &mut Side) -> Result<Compared> {
    ensure!(
        it.case.shape.learners > 1,
        "a learner catches up with another: name at least two with --learners"
    );
    let comes = LearnerId(it.case.shape.learners as u16);
    let stays = LearnerId(1);
    let steady = Steady::start(&it.services, &it.case);
    let (mut rounds, mut notes) = (Vec::new(), Vec::new());
    for _ in 0..growth.rounds {
        sleep(growth.warm_up).await;
        let before = steady.rate(growth.window).await?;
        it.synod.stop(Part::Learner, comes.0.into())?;
        sleep(DOWN).await;
        let (begun, answered) = (Instant::now(), steady.answered());
        it.synod.start_again(Part::Learner, comes.0.into())?;
        let behind = loop {
            if let Some(status) = asked(&it.synod, comes).await {
                break asked(&it.synod, stays)
                    .await
                    .map_or(0, |ahead| ahead.applied.0.saturating_sub(status.applied.0));
            }
            ensure!(begun.elapsed() < PATIENCE, "{comes} doesn't answer after {PATIENCE:?}");
        };
        while !is_level(&it.synod, comes, stays).await {
            ensure!(begun.elapsed() < PATIENCE, "{comes} hasn't caught up in {PATIENCE:?}");
            sleep(Duration::from_millis(50)).await;
        }
        let took = begun.elapsed();
        let during = (steady.answered() - answered) as f64 / took.as_secs_f64();
        rounds.push((during, before));
        notes.push(format!("{behind} slots in {took:.1?}"));
    }
    let note = format!("down for {DOWN:?}, then level after {}", notes.join(", "));
    Ok(Compared::of(Condition::CatchingUp, it.case, &rounds, note))
}

async fn asked(synod: &Synod, learner: LearnerId) -> Option<LearnerStatus> {
    match ask::status(&synod.cluster, learner.into(), ANSWER).await {
        Ok(Status::Learner(status)) => Some(status),
        Ok(Status::Acceptor(_) | Status::Proposer(_)) | Err(_) => None,
    }
}

async fn is_level(synod: &Synod, comes: LearnerId, stays: LearnerId) -> bool {
    let (ahead, status) = (asked(synod, stays).await, asked(synod, comes).await);
    ahead.zip(status).is_some_and(|(ahead, status)| status.applied.0 + LEVEL_SLOTS >= ahead.applied.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Calls, Engine, Shape};

    #[test]
    fn each_round_is_compared_with_the_fresh_one_beside_it() {
        let shape = Shape::with(5, None, Engine::Memory);
        let case = Case { case: Calls::Puts, in_flight: 64, value_bytes: 256, keys: 10, shape };
        let rounds = [(50.0, 100.0), (90.0, 100.0), (160.0, 200.0)];
        let all = Compared::of(Condition::Keys, case, &rounds, String::new());
        assert_eq!((all.percent, all.percent_range), (80.0, (50.0, 90.0)));
        assert_eq!((all.ops_per_s, all.fresh_ops_per_s), (90.0, 100.0));
    }
}
