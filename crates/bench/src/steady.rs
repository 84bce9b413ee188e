//! A load of puts that goes on while something is done to the cluster, and is looked at from time to time.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::load::{self, Service};
use crate::shape::Case;

/// Pause of a caller whose put failed.
const PAUSE: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
/// How long writes may stay away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Callers that put random keys without end; they stop when this is dropped.
#[derive(Debug)]
pub struct Steady {
    seen: Arc<Mutex<Seen>>,
    /// Ended with this.
    _callers: JoinSet<()>,
}

#[derive(Debug)]
struct Seen {
    ok: u64,
    failed: u64,
    first_failure: Option<String>,
    /// When a put was last answered.
    last: Instant,
    /// The longest time between two answers since the mark.
    longest: Duration,
    /// What was answered by each second, from the beginning.
    seconds: Vec<u64>,
}

impl Steady {
    /// Starts the callers of `case`.
    pub fn start(services: &[Service], case: &Case) -> Steady {
        let seen = Arc::new(Mutex::new(Seen {
            ok: 0,
            failed: 0,
            first_failure: None,
            last: Instant::now(),
            longest: Duration::ZERO,
            seconds: Vec::new(),
        }));
        let caller = |number: usize| {
            let (service, seen) = (services[number % services.len()].clone(), Arc::clone(&seen));
            put_without_end(service, *case, number as u64, seen)
        };
        let mut callers: JoinSet<()> = (0..case.in_flight).map(caller).collect();
        callers.spawn(count(Arc::clone(&seen)));
        Steady { seen, _callers: callers }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Puts a second, over that time.
    ///
    /// # Errors
    /// When none was answered.
    pub async fn rate(&self, window: Duration) -> Result<f64> {
        let (begun, before) = (Instant::now(), self.seen().ok);
        sleep(window).await;
        let rate = (self.seen().ok - before) as f64 / begun.elapsed().as_secs_f64();
        ensure!(rate > 0.0, "no put was answered in {window:?}{}", self.why());
        Ok(rate)
    }

    /// Puts answered so far.
    pub fn answered(&self) -> u64 {
        self.seen().ok
    }

    /// What was answered by each second, from the beginning.
    pub fn seconds(&self) -> Vec<u64> {
        self.seen().seconds.clone()
    }

    /// Waits until as many puts were answered.
    ///
    /// # Errors
    /// When one failed, or none is answered for a while.
    pub async fn until_answered(&self, wanted: u64) -> Result<()> {
        while self.answered() < wanted {
            self.rate(SECOND).await?;
            self.all_succeeded()?;
        }
        Ok(())
    }

    /// # Errors
    /// When a put failed, or its outcome is unknown.
    pub fn all_succeeded(&self) -> Result<()> {
        match self.failed() {
            0 => Ok(()),
            failed => bail!("{failed} puts failed or are unknown{}", self.why()),
        }
    }

    /// Puts that failed or whose outcome is unknown, so far.
    pub fn failed(&self) -> u64 {
        self.seen().failed
    }

    /// The longest time without an answer is counted from here.
    pub fn mark(&self) {
        let mut seen = self.seen();
        (seen.last, seen.longest) = (Instant::now(), Duration::ZERO);
    }

    /// The longest time without an answer since the mark, told once `least` has gone by and answers come.
    ///
    /// # Errors
    /// When none come.
    pub async fn longest_gap(&self, least: Duration) -> Result<Duration> {
        sleep(least).await;
        let (begun, before) = (Instant::now(), self.seen().ok);
        while self.seen().ok == before {
            ensure!(begun.elapsed() < PATIENCE, "no put was answered in {PATIENCE:?}{}", self.why());
            sleep(PAUSE).await;
        }
        Ok(self.seen().longest)
    }

    fn why(&self) -> String {
        self.seen().first_failure.as_ref().map_or_else(String::new, |why| format!(": {why}"))
    }
}

async fn put_without_end(service: Service, case: Case, number: u64, seen: Arc<Mutex<Seen>>) {
    let mut random = SmallRng::seed_from_u64(number);
    let value = load::value(&mut random, case.value_bytes);
    loop {
        match service.put(load::key(random.random_range(0..case.keys)), value.clone()).await {
            Ok(()) => lock(&seen).answered(),
            Err(error) => {
                lock(&seen).failed(error.to_string());
                sleep(PAUSE).await;
            }
        }
    }
}

async fn count(seen: Arc<Mutex<Seen>>) {
    let mut ticks = interval(SECOND);
    loop {
        ticks.tick().await;
        let mut seen = lock(&seen);
        let ok = seen.ok;
        seen.seconds.push(ok);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("no caller panics while it writes")
}

impl Seen {
    fn answered(&mut self) {
        let now = Instant::now();
        self.ok += 1;
        self.longest = self.longest.max(now - std::mem::replace(&mut self.last, now));
    }

    fn failed(&mut self, why: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(why);
    }
}
