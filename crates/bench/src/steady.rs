//! A load of puts that goes on while something is done to the cluster, and is looked at from time to time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use crate::load::{self, Service};
use crate::shape::Case;

/// Pause of a caller whose put failed.
const PAUSE: Duration = Duration::from_millis(10);
/// How long writes may stay away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Callers that put random keys without end; they stop when this is dropped.
#[derive(Debug)]
pub struct Steady {
    seen: Rc<Seen>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Seen {
    ok: Cell<u64>,
    failed: Cell<u64>,
    first_failure: RefCell<Option<String>>,
    /// When a put was last answered.
    last: Cell<Instant>,
    /// The longest time between two answers since the mark.
    longest: Cell<Duration>,
}

impl Steady {
    /// Starts the callers of `case`, in the local set in which this is called.
    pub fn start(services: &[Service], case: &Case) -> Steady {
        let seen = Rc::new(Seen {
            ok: Cell::new(0),
            failed: Cell::new(0),
            first_failure: RefCell::new(None),
            last: Cell::new(Instant::now()),
            longest: Cell::new(Duration::ZERO),
        });
        let caller = |number: usize| {
            let (service, seen) = (services[number % services.len()].clone(), Rc::clone(&seen));
            let Case { keys, value_bytes, .. } = *case;
            spawn_local(async move {
                let mut random = SmallRng::seed_from_u64(number as u64);
                let value = load::value(&mut random, value_bytes);
                loop {
                    match service.put(load::key(random.random_range(0..keys)), value.clone()).await {
                        Ok(()) => seen.answered(),
                        Err(error) => {
                            seen.failed.set(seen.failed.get() + 1);
                            seen.first_failure.borrow_mut().get_or_insert_with(|| error.to_string());
                            sleep(PAUSE).await;
                        }
                    }
                }
            })
        };
        let callers = (0..case.in_flight).map(caller).collect();
        Steady { seen, callers }
    }

    /// Puts a second, over that time.
    ///
    /// # Errors
    /// When none was answered.
    pub async fn rate(&self, window: Duration) -> Result<f64> {
        let (begun, before) = (Instant::now(), self.seen.ok.get());
        sleep(window).await;
        let rate = (self.seen.ok.get() - before) as f64 / begun.elapsed().as_secs_f64();
        ensure!(rate > 0.0, "no put was answered in {window:?}{}", self.why());
        Ok(rate)
    }

    /// Puts answered so far.
    pub fn answered(&self) -> u64 {
        self.seen.ok.get()
    }

    /// Puts that failed or whose outcome is unknown, so far.
    pub fn failed(&self) -> u64 {
        self.seen.failed.get()
    }

    /// The longest time without an answer is counted from here.
    pub fn mark(&self) {
        self.seen.last.set(Instant::now());
        self.seen.longest.set(Duration::ZERO);
    }

    /// The longest time without an answer since the mark, told once `least` has gone by and answers come.
    ///
    /// # Errors
    /// When none come.
    pub async fn longest_gap(&self, least: Duration) -> Result<Duration> {
        sleep(least).await;
        let (begun, before) = (Instant::now(), self.seen.ok.get());
        while self.seen.ok.get() == before {
            ensure!(begun.elapsed() < PATIENCE, "no put was answered in {PATIENCE:?}{}", self.why());
            sleep(PAUSE).await;
        }
        Ok(self.seen.longest.get())
    }

    fn why(&self) -> String {
        self.seen.first_failure.borrow().as_ref().map_or_else(String::new, |why| format!(": {why}"))
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.callers.iter().for_each(JoinHandle::abort);
    }
}

impl Seen {
    fn answered(&self) {
        let now = Instant::now();
        self.ok.set(self.ok.get() + 1);
        self.longest.set(self.longest.get().max(now - self.last.replace(now)));
    }
}
