//! Clients that write and read without pause and know, for every key, which values it may have.
//!
//! A check apart from the workload's own: each key has one writer, whose values count up. A value that was acknowledged and
//! isn't there, or one from before it, is a violation: a write was lost, or took effect again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use synod_client::{CallError, Client, Options};
use synod_tests::Daemons;
use tokio::task::JoinSet;

/// How long one call may take. Generous: the faults of these tests must not end a call.
const CALL: Duration = Duration::from_secs(25);
const WRITERS: u64 = 4;

/// What came of it all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) failed: Vec<String>,
    pub(crate) unknown: u64,
    pub(crate) violations: Vec<String>,
    /// Longest time between two successful calls of one writer.
    pub(crate) longest_gap: Duration,
}

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: JoinSet<Tally>,
}

impl Steady {
    /// Starts the writers, and waits until each has had an answer.
    pub(crate) async fn start(daemons: &Daemons) -> Steady {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let client = Client::connect(daemons.cluster.clone(), Options { deadline: CALL });
            let writer = Writer {
                client,
                key: format!("steady-{number}"),
                written: 0,
                possible: vec![None],
                tally: Tally::default(),
                last_ok: Instant::now(),
            };
            writers.spawn(writer.run(Arc::clone(&stop), Arc::clone(&acknowledged)));
        }
        let steady = Steady { stop, acknowledged, writers };
        steady.go_on(daemons, 2 * WRITERS).await;
        steady
    }

    /// Waits until `count` more calls have succeeded.
    pub(crate) async fn go_on(&self, daemons: &Daemons, count: u64) {
        let target = self.acknowledged.load(Ordering::Relaxed) + count;
        daemons
            .wait_for("clients to go on", async |_| {
                (self.acknowledged.load(Ordering::Relaxed) >= target).then_some(())
            })
            .await;
    }

    /// Lets every writer finish its call and check its key once more; what came of it all.
    pub(crate) async fn finish(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(tally) = self.writers.join_next().await {
            let tally = tally.unwrap();
            all.ok += tally.ok;
            all.unknown += tally.unknown;
            all.failed.extend(tally.failed);
            all.violations.extend(tally.violations);
            all.longest_gap = all.longest_gap.max(tally.longest_gap);
        }
        all
    }

    /// As [`Steady::finish`]; nothing may have failed, be unknown, lost or repeated.
    pub(crate) async fn finish_well(self) -> Tally {
        let tally = self.finish().await;
        let flawless = tally.failed.is_empty() && tally.unknown == 0 && tally.violations.is_empty();
        assert!(flawless && tally.ok > 0, "{tally:#?}");
        tally
    }
}

struct Writer {
    client: Client,
    key: String,
    written: u64,
    /// Values that the key may have: the last one acknowledged, and those since whose outcome is unknown.
    possible: Vec<Option<u64>>,
    tally: Tally,
    last_ok: Instant,
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> Tally {
        while !stop.load(Ordering::Relaxed) {
            let before = self.tally.ok;
            match self.written % 4 {
                3 => self.delete().await,
                _ => self.put().await,
            }
            self.get().await;
            acknowledged.fetch_add(self.tally.ok - before, Ordering::Relaxed);
        }
        self.get().await;
        // Whether the session is ended or expires later is no matter of this test.
        let _ended = self.client.close().await;
        self.tally
    }

    async fn put(&mut self) {
        self.written += 1;
        let value = self.written;
        let put = self.client.put(self.key.clone(), value.to_string()).await;
        if self.ended("put", put.map(|_| ())).is_some() {
            self.possible = vec![Some(value)];
        } else {
            self.possible.push(Some(value));
        }
    }

    async fn delete(&mut self) {
        self.written += 1;
        let delete = self.client.delete(self.key.clone()).await;
        match self.ended("delete", delete) {
            Some(answer) => {
                let known = match self.possible.as_slice() {
                    [only] => Some(only.is_some()),
                    _ => None,
                };
                if known.is_some_and(|known| known != answer.value.is_some()) {
                    let text = format!("{} deleted at revision {:?}", self.key, answer.value);
                    self.tally.violations.push(text);
                }
                self.possible = vec![None];
            }
            None => self.possible.push(None),
        }
    }

    async fn get(&mut self) {
        let get = self.client.get(self.key.clone()).await;
        let Some(answer) = self.ended("get", get) else { return };
        let found = answer.value.map(|value| String::from_utf8_lossy(&value).parse().unwrap());
        if !self.possible.contains(&found) {
            let text =
                format!("{} is {found:?} at slot {}, must be {:?}", self.key, answer.slot, self.possible);
            self.tally.violations.push(text);
        }
    }

    fn ended<T>(&mut self, call: &str, ended: Result<T, CallError>) -> Option<T> {
        match ended {
            Ok(answer) => {
                self.tally.ok += 1;
                self.tally.longest_gap = self.tally.longest_gap.max(self.last_ok.elapsed());
                self.last_ok = Instant::now();
                Some(answer)
            }
            Err(CallError::Unknown) => {
                self.tally.unknown += 1;
                None
            }
            Err(CallError::Failed(failure)) => {
                self.tally.failed.push(format!("{call} {}: {failure}", self.key));
                None
            }
        }
    }
}
