//! What it takes until a learner serves again, and what it costs the others when one joins: with many keys, under load.
//!
//! One learner is killed and started again with its checkpoints; then its directory is removed, and it is started anew while puts go
//! on: they are counted before, while it fetches the state and what came meanwhile, and after. Absent on purpose: a verdict; the figures are printed.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use synod_client::ask;
use synod_protocol::LearnerId;
use synod_protocol::message::{LearnerStatus, Status};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::load::{self, Service};
use crate::process::Part;
use crate::shape::Shape;
use crate::synod::Synod;

/// Between two questions to a learner.
const POLL: Duration = Duration::from_millis(20);
/// How long a learner may take to answer one.
const ANSWER: Duration = Duration::from_secs(1);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Slots behind another learner that are as good as none while puts go on.
const LEVEL_SLOTS: u64 = 500;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// The processes.
    pub shape: Shape,
    /// Keys that are put first.
    pub keys: usize,
    /// Bytes of their values.
    pub value_bytes: usize,
    /// Puts under way at once.
    pub in_flight: usize,
    /// Sessions that share them.
    pub sessions: usize,
    /// How long is measured before and after.
    pub window: Duration,
}

/// Runs it in a new cluster with its data in `folder`, and prints what was seen.
///
/// # Errors
/// When the cluster can't be started, a put fails, or a learner doesn't come back.
pub async fn run(join: &Join, bin_dir: &Path, folder: &Path) -> Result<()> {
    ensure!(join.shape.learners > 1, "a learner joins another: name at least two with --learners");
    let mut synod = Synod::start(&join.shape, bin_dir, folder).await?;
    let services: Vec<Service> = (0..join.sessions).map(|_| Service::Synod(synod.client())).collect();
    let begun = Instant::now();
    load::fill(&services, join.keys, join.value_bytes).await.context("the keys could not be put first")?;
    println!("{} keys of {} bytes put in {:.1?}", join.keys, join.value_bytes, begun.elapsed());
    restart(&mut synod, join).await?;
    joining(&mut synod, join, &services, folder).await
}

/// The learner that comes and goes, and one that stays.
fn learners(join: &Join) -> (LearnerId, LearnerId) {
    (LearnerId(join.shape.learners as u16), LearnerId(1))
}

async fn restart(synod: &mut Synod, join: &Join) -> Result<()> {
    let (comes, stays) = learners(join);
    let wanted = until(synod, stays, |_| true).await?.applied;
    until(synod, comes, |status| status.applied >= wanted).await?;
    synod.stop(Part::Learner, comes.0.into())?;
    let begun = Instant::now();
    synod.start_again(Part::Learner, comes.0.into())?;
    let first = until(synod, comes, |_| true).await?;
    let answered = begun.elapsed();
    let status = until(synod, comes, |status| status.applied >= wanted).await?;
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
    let (comes, stays) = learners(join);
    synod.stop(Part::Learner, comes.0.into())?;
    let directory = folder.join(format!("l{}", comes.0));
    std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    let local = LocalSet::new();
    let load = local.run_until(async {
        let load = Load::start(services, join);
        sleep(Duration::from_secs(2)).await;
        let before = load.rate(join.window).await;
        let begun = (Instant::now(), load.acknowledged.get());
        synod.start_again(Part::Learner, comes.0.into())?;
        let status = loop {
            let level = until(synod, stays, |_| true).await?.applied;
            let status = until(synod, comes, |_| true).await?;
            if status.applied.0 + LEVEL_SLOTS >= level.0 {
                break status;
            }
            ensure!(begun.0.elapsed() < PATIENCE, "{comes} hasn't caught up in {PATIENCE:?}: {status:?}");
            sleep(POLL).await;
        };
        let took = begun.0.elapsed();
        let during = (load.acknowledged.get() - begun.1) as f64 / took.as_secs_f64();
        let after = load.rate(join.window).await;
        load.stop().await?;
        println!("{comes} joined empty under load and caught up in {took:.1?}, {} keys", status.keys);
        let percent = |rate: f64| 100.0 * rate / before;
        println!(
            "puts/s: before {before:.0}, while it caught up {during:.0} ({:.0} %), after {after:.0} ({:.0} %)",
            percent(during),
            percent(after)
        );
        Ok(())
    });
    load.await
}

/// Asks a learner until it answers something that will do.
async fn until(
    synod: &Synod,
    learner: LearnerId,
    will_do: impl Fn(&LearnerStatus) -> bool,
) -> Result<LearnerStatus> {
    let begun = Instant::now();
    loop {
        let answer = ask::status(&synod.cluster, learner.into(), ANSWER).await;
        match answer {
            Ok(Status::Learner(status)) if will_do(&status) => return Ok(status),
            Ok(_) | Err(_) if begun.elapsed() < PATIENCE => sleep(POLL).await,
            Ok(status) => bail!("{learner} didn't come so far in {PATIENCE:?}: {status:?}"),
            Err(error) => bail!("{learner} didn't answer in {PATIENCE:?}: {error}"),
        }
    }
}

/// Puts of random keys, without end.
struct Load {
    acknowledged: Rc<Cell<u64>>,
    is_over: Rc<Cell<bool>>,
    callers: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn start(services: &[Service], join: &Join) -> Load {
        let (acknowledged, is_over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let caller = |number: usize| {
            let service = services[number % services.len()].clone();
            let (acknowledged, is_over) = (Rc::clone(&acknowledged), Rc::clone(&is_over));
            let Join { keys, value_bytes, .. } = *join;
            spawn_local(async move {
                let mut random = SmallRng::seed_from_u64(number as u64);
                let value = load::value(&mut random, value_bytes);
                while !is_over.get() {
                    service.put(load::key(random.random_range(0..keys)), value.clone()).await?;
                    acknowledged.set(acknowledged.get() + 1);
                }
                Ok(())
            })
        };
        let callers = (0..join.in_flight).map(caller).collect();
        Load { acknowledged, is_over, callers }
    }

    /// Puts a second, over that time.
    async fn rate(&self, window: Duration) -> f64 {
        let (begun, before) = (Instant::now(), self.acknowledged.get());
        sleep(window).await;
        (self.acknowledged.get() - before) as f64 / begun.elapsed().as_secs_f64()
    }

    async fn stop(self) -> Result<()> {
        self.is_over.set(true);
        for caller in self.callers {
            caller.await??;
        }
        Ok(())
    }
}
