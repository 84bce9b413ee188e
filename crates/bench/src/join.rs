//! What it takes until a learner serves again, and what it costs the others when one joins: with many keys, under load.
//!
//! One learner is killed and started again with its checkpoints. Then puts go on without end: as many as there are keys, because keys that were put in
//! their order lie in memory in that order, and not for long; then with all learners level; with that one killed
//! and its directory removed; while it, started anew, fetches the state, and what came meanwhile; until its first checkpoint is
//! synced; and after. For each of these phases the rate, its slowest stretch, and what processors and disk did are printed. Absent on purpose: any
//! load but puts.

mod phase;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use synod_client::ask;
use synod_protocol::LearnerId;
use synod_protocol::message::{LearnerStatus, Status};
use tokio::time::{Instant, sleep};

use crate::load::{self, Service};
use crate::process::Part;
use crate::shape::Case;
use crate::steady::Steady;
use crate::synod::Synod;

use phase::{Look, Phase};

/// Between two questions to a learner.
const POLL: Duration = Duration::from_millis(20);
/// The same, while puts are counted.
const SELDOM: Duration = Duration::from_millis(100);
/// How long a learner may take to answer one.
const ANSWER: Duration = Duration::from_secs(1);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Slots behind another learner that are as good as none while puts go on.
const LEVEL_SLOTS: u64 = 500;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// The processes, the puts under way, and the keys that are put first.
    pub case: Case,
    /// Sessions that share the puts.
    pub sessions: usize,
    /// How long is measured where nothing else tells: before and after.
    pub window: Duration,
    /// By how many percent the rate may fall; any, if absent.
    pub most_dip_percent: Option<u8>,
}

/// Runs it in a new cluster with its data in `folder`, and prints what was seen.
///
/// # Errors
/// When the cluster can't be started, a put fails, a learner doesn't come back, or the rate falls further than it may.
pub async fn run(join: &Join, bin_dir: &Path, folder: &Path) -> Result<()> {
    ensure!(join.case.shape.learners > 1, "a learner joins another: name at least two with --learners");
    let mut synod = Synod::start(&join.case.shape, bin_dir, folder).await?;
    let services: Vec<Service> = (0..join.sessions).map(|_| Service::Synod(synod.client())).collect();
    let begun = Instant::now();
    load::fill(&services, join.case.keys, join.case.value_bytes)
        .await
        .context("the keys could not be put first")?;
    println!("{} keys of {} bytes put in {:.1?}", join.case.keys, join.case.value_bytes, begun.elapsed());
    restart(&mut synod, join).await?;
    joining(&mut synod, join, &services, folder).await
}

/// The learner that comes and goes, and one that stays.
fn learners(join: &Join) -> (LearnerId, LearnerId) {
    (LearnerId(join.case.shape.learners as u16), LearnerId(1))
}

async fn restart(synod: &mut Synod, join: &Join) -> Result<()> {
    let (comes, stays) = learners(join);
    let wanted = until(synod, stays, POLL, |_| true).await?.applied;
    until(synod, comes, POLL, |status| status.applied >= wanted).await?;
    synod.stop(Part::Learner, comes.0.into())?;
    let begun = Instant::now();
    synod.start_again(Part::Learner, comes.0.into())?;
    let first = until(synod, comes, POLL, |_| true).await?;
    let answered = begun.elapsed();
    let status = until(synod, comes, POLL, |status| status.applied >= wanted).await?;
    println!(
        "{comes} killed with -9 and started again, {} keys: answers after {answered:.2?} (slot {} of {wanted}, from its checkpoint), serves \
         after {:.2?}",
        status.keys,
        first.applied,
        begun.elapsed()
    );
    Ok(())
}

async fn joining(synod: &mut Synod, join: &Join, services: &[Service], folder: &Path) -> Result<()> {
    let begun = Instant::now();
    let load = Steady::start(services, &join.case);
    load.until_answered(join.case.keys as u64).await?;
    println!("as many random ones of them put in {:.1?}", begun.elapsed());
    let phases = phases(synod, join, &load, folder).await?;
    load.all_succeeded()?;
    verdict(join, &phases)
}

/// The learner is killed, loses its disk, and joins, while the load goes on.
async fn phases(synod: &mut Synod, join: &Join, load: &Steady, folder: &Path) -> Result<Vec<Phase>> {
    let (comes, stays) = learners(join);
    println!("{}", Phase::head());
    let mut told = Told { comes, folder, load, begun: None, phases: Vec::new() };
    told.begin(synod);
    sleep(join.window).await;
    told.end(synod, "all level");

    synod.stop(Part::Learner, comes.0.into())?;
    let directory = folder.join(format!("l{}", comes.0));
    std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    told.begin(synod);
    sleep(join.window).await;
    told.end(synod, "one learner fewer");

    synod.start_again(Part::Learner, comes.0.into())?;
    told.begin(synod);
    let started = Instant::now();
    until(synod, comes, SELDOM, |status| status.applied.0 > 0 && status.transfer.is_none()).await?;
    told.end(synod, "fetches the state");
    loop {
        let level = until(synod, stays, SELDOM, |_| true).await?.applied;
        if until(synod, comes, SELDOM, |_| true).await?.applied.0 + LEVEL_SLOTS >= level.0 {
            break;
        }
        ensure!(started.elapsed() < PATIENCE, "{comes} hasn't caught up in {PATIENCE:?}");
        sleep(SELDOM).await;
    }
    told.end(synod, "fetches the log");
    let took = started.elapsed();
    until(synod, comes, SELDOM, |status| status.synced.0 > 0).await?;
    told.end(synod, "first checkpoint");
    let synced = started.elapsed();
    sleep(join.window).await;
    told.end(synod, "after");
    println!(
        "{comes} joined empty under load: level after {took:.1?}, its first checkpoint synced after {synced:.1?}"
    );
    Ok(told.phases)
}

/// The phases so far, told as they end.
struct Told<'a> {
    comes: LearnerId,
    folder: &'a Path,
    load: &'a Steady,
    /// Where the present one began: what was seen, and how many seconds of the load were over.
    begun: Option<(Look, usize)>,
    phases: Vec<Phase>,
}

impl Told<'_> {
    fn look(&self, synod: &Synod) -> (Look, usize) {
        (Look::at(synod, self.comes, self.folder, self.load.answered()), self.load.seconds().len())
    }

    fn begin(&mut self, synod: &Synod) {
        self.begun = Some(self.look(synod));
    }

    /// Ends the present phase, and begins another.
    fn end(&mut self, synod: &Synod, name: &'static str) {
        let ended = self.look(synod);
        if let Some((begun, from)) = self.begun.replace(self.look(synod)) {
            let phase = Phase::between(name, &begun, &ended.0, &self.load.seconds()[from..ended.1]);
            println!("{}", phase.row(self.phases.first().unwrap_or(&phase)));
            self.phases.push(phase);
        }
    }
}

/// Fails when the rate fell further than it may in a phase of the join, or after it.
fn verdict(join: &Join, phases: &[Phase]) -> Result<()> {
    let (Some(before), Some(most)) = (phases.first(), join.most_dip_percent) else { return Ok(()) };
    for phase in phases.iter().skip(2).filter(|phase| phase.is_long()) {
        let dip = 100.0 - phase.percent_of(before);
        ensure!(
            dip <= f64::from(most),
            "the rate of puts fell by {dip:.0} % in the phase '{}', where {most} % were allowed: nothing is wrong with the cluster, it was \
             slow",
            phase.name
        );
    }
    Ok(())
}

/// Asks a learner until it answers something that will do, with that pause between two questions.
async fn until(
    synod: &Synod,
    learner: LearnerId,
    pause: Duration,
    will_do: impl Fn(&LearnerStatus) -> bool,
) -> Result<LearnerStatus> {
    let begun = Instant::now();
    loop {
        let answer = ask::status(&synod.cluster, learner.into(), ANSWER).await;
        match answer {
            Ok(Status::Learner(status)) if will_do(&status) => return Ok(status),
            Ok(_) | Err(_) if begun.elapsed() < PATIENCE => sleep(pause).await,
            Ok(status) => bail!("{learner} didn't come so far in {PATIENCE:?}: {status:?}"),
            Err(error) => bail!("{learner} didn't answer in {PATIENCE:?}: {error}"),
        }
    }
}
