//! A workload that drives a cluster and checks every answer.
//!
//! N logical clients, each with one call in flight, spread over some sessions. Each works on keys of its own, so that it knows at every
//! moment what an answer may be (its ledger); what was acknowledged must be there, and what is there must have been asked for. The
//! choice of operations follows from a seed; key names are fresh for each run, so that nothing an earlier run left
//! under way can be taken for an error.

mod ledger;
mod recorder;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use synod_protocol::Cluster;
use tokio::time::Instant;

use crate::outcome::CallError;
use crate::{Client, Options};
use ledger::{KeyState, Ledger};
use recorder::Recorder;
pub use recorder::{Report, Second};

/// Bytes at the head of every value that tell whose it is: logical client and number of the write.
const LABEL_BYTES: usize = 16;
/// How often a key is read again at the end when the cluster doesn't answer.
const VERIFY_TRIES: usize = 3;

/// Operations in percent; what is left to 100 are deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Puts.
    pub put: u8,
    /// Gets.
    pub get: u8,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Logical clients; each has one call in flight.
    pub clients: usize,
    /// Sessions they are spread over, each with its own connections; 0 leaves the choice.
    pub sessions: usize,
    /// How long new calls are begun.
    pub duration: Duration,
    /// Answered calls after which none is begun, if that comes earlier.
    pub calls: Option<u64>,
    /// What is called.
    pub mix: Mix,
    /// Keys in all; every client has at least one.
    pub keys: usize,
    /// Bytes of a value, at least 16.
    pub value_bytes: usize,
    /// Seed of the choice of operations and keys.
    pub seed: u64,
    /// Every call ends within this time.
    pub deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            clients: 16,
            sessions: 0,
            duration: Duration::from_secs(10),
            calls: None,
            mix: Mix { put: 50, get: 40 },
            keys: 1_000,
            value_bytes: 256,
            seed: 1,
            deadline: Options::default().deadline,
        }
    }
}

impl Config {
    /// Sessions unless told otherwise: few, so that calls of many clients share messages, but more than one, so that they
    /// have different learners.
    fn session_count(&self) -> usize {
        let wanted = if self.sessions == 0 { self.clients.div_ceil(64).max(4) } else { self.sessions };
        wanted.min(self.clients).max(1)
    }
}

/// One logical client.
#[derive(Debug)]
struct Actor {
    number: usize,
    client: Client,
    prefix: Arc<str>,
    ledger: Ledger,
    random: SmallRng,
    value_bytes: usize,
    /// Writes begun so far.
    writes: u64,
}

/// A workload that has run.
#[derive(Debug)]
pub struct Finished {
    /// What it measured and found.
    pub report: Report,
    actors: Vec<Actor>,
    clients: Vec<Client>,
}

/// What reading everything back showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verification {
    /// Keys read.
    pub keys: u64,
    /// Keys that could not be read.
    pub unreadable: u64,
    /// Keys that are not as they must be.
    pub violations: Vec<String>,
}

type Shared = Arc<Mutex<Recorder>>;

fn lock(recorder: &Shared) -> MutexGuard<'_, Recorder> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a workload; `live` hears of each second.
pub async fn run(cluster: &Cluster, config: &Config, mut live: impl FnMut(&Second)) -> Finished {
    let options = Options { deadline: config.deadline };
    let clients: Vec<_> =
        (0..config.session_count()).map(|_| Client::connect(cluster.clone(), options)).collect();
    let prefix: Arc<str> = format!("workload/{:016x}", rand::random::<u64>()).into();
    let share = config.keys.div_ceil(config.clients.max(1)).max(1);
    let recorder: Shared = Arc::new(Mutex::new(Recorder::new(Instant::now(), config.mix.get < 100)));
    let until = Instant::now() + config.duration;
    let running: Vec<_> = (0..config.clients)
        .map(|number| {
            let actor = Actor {
                number,
                client: clients[number % clients.len()].clone(),
                prefix: Arc::clone(&prefix),
                ledger: Ledger::new(share),
                random: SmallRng::seed_from_u64(config.seed ^ ((number as u64) << 32)),
                value_bytes: config.value_bytes.max(LABEL_BYTES),
                writes: 0,
            };
            tokio::spawn(actor.run(config.mix, until, config.calls, Arc::clone(&recorder)))
        })
        .collect();
    let all = join_all(running);
    tokio::pin!(all);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let actors = loop {
        tokio::select! {
            actors = &mut all => break actors,
            _ = tick.tick() => {
                let second = lock(&recorder).second();
                live(&second);
            }
        }
    };
    let actors = actors.into_iter().map(|actor| actor.expect("a client's task ends by itself")).collect();
    let report = lock(&recorder).report(config, until.min(Instant::now()));
    Finished { report, actors, clients }
}

impl Finished {
    /// Reads every key back, linearizably, and checks it against what was acknowledged.
    pub async fn verify(&mut self) -> Verification {
        let mut all = Verification::default();
        for one in join_all(self.actors.iter_mut().map(Actor::verify)).await {
            all.keys += one.keys;
            all.unreadable += one.unreadable;
            all.violations.extend(one.violations);
        }
        all
    }

    /// Ends the sessions.
    pub async fn close(self) {
        // A session that can't be ended expires by itself.
        join_all(self.clients.iter().map(Client::close)).await;
    }
}

impl Actor {
    async fn run(mut self, mix: Mix, until: Instant, calls: Option<u64>, recorder: Shared) -> Actor {
        let enough = || calls.is_some_and(|calls| lock(&recorder).answered() >= calls);
        while Instant::now() < until && !enough() {
            let key = self.random.random_range(0..self.ledger.len());
            let dice = self.random.random_range(0..100_u8);
            let begun = Instant::now();
            let (ended, write) = if dice < mix.put {
                (self.put(key, &recorder).await, true)
            } else if dice < mix.put.saturating_add(mix.get) {
                (self.get(key, &recorder).await, false)
            } else {
                (self.delete(key, &recorder).await, true)
            };
            lock(&recorder).ended(begun, Instant::now(), &ended, write);
            if ended.is_err() {
                // What fails at once, fails again at once.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        self
    }

    fn key(&self, key: usize) -> String {
        format!("{}/{}/{key}", self.prefix, self.number)
    }

    fn value(&self, write: u64) -> Bytes {
        let mut value = BytesMut::with_capacity(self.value_bytes);
        value.put_u64_le(self.number as u64);
        value.put_u64_le(write);
        value.resize(self.value_bytes, write as u8);
        value.freeze()
    }

    /// Which write made this value; nothing if none of this client's did.
    fn state_of(&self, value: Option<&Bytes>) -> Result<KeyState, String> {
        let Some(value) = value else { return Ok(None) };
        let label = value.get(8..LABEL_BYTES).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        match label {
            Some(write) if write <= self.writes && self.value(write) == *value => Ok(Some(write)),
            Some(_) | None => Err(format!("{} bytes that this client never wrote", value.len())),
        }
    }

    async fn put(&mut self, key: usize, recorder: &Shared) -> Result<(), CallError> {
        self.writes += 1;
        let state = Some(self.writes);
        let ended = self.client.put(self.key(key), self.value(self.writes)).await;
        self.written(key, state, ended.as_ref().map(|_| ()), |_, ()| None, recorder);
        ended.map(|_| ())
    }

    async fn delete(&mut self, key: usize, recorder: &Shared) -> Result<(), CallError> {
        let ended = self.client.delete(self.key(key)).await;
        let check = |actor: &Actor, existed| {
            let told = if existed { "was there" } else { "wasn't there" };
            (!actor.ledger.may_have_existed(key, existed))
                .then(|| actor.violation(key, &format!("delete said it {told}")))
        };
        self.written(key, None, ended.as_ref().map(|answer| answer.value.is_some()), check, recorder);
        ended.map(|_| ())
    }

    fn written<A>(
        &mut self,
        key: usize,
        state: KeyState,
        ended: Result<A, &CallError>,
        check: impl FnOnce(&Actor, A) -> Option<String>,
        recorder: &Shared,
    ) {
        match ended {
            Ok(answer) => {
                if let Some(violation) = check(self, answer) {
                    lock(recorder).violation(violation);
                }
                self.ledger.acknowledged(key, state);
            }
            Err(CallError::Unknown) => self.ledger.unknown(key, state),
            Err(CallError::Failed(_)) => {}
        }
    }

    async fn get(&mut self, key: usize, recorder: &Shared) -> Result<(), CallError> {
        let answer = self.client.get(self.key(key)).await?;
        if let Some(violation) = self.check_read(key, answer.value.as_ref()) {
            lock(recorder).violation(violation);
        }
        Ok(())
    }

    fn check_read(&mut self, key: usize, value: Option<&Bytes>) -> Option<String> {
        let before = self.violation(key, "");
        match self.state_of(value) {
            Ok(state) if self.ledger.read(key, state) => None,
            Ok(Some(write)) => Some(format!("{before}a read showed write {write}")),
            Ok(None) => Some(format!("{before}a read showed no value")),
            Err(what) => Some(format!("{before}a read showed {what}")),
        }
    }

    fn violation(&self, key: usize, what: &str) -> String {
        let name = |state: &KeyState| state.map_or_else(|| "absent".into(), |write| format!("write {write}"));
        let may: Vec<String> = self.ledger.candidates(key).iter().map(name).collect();
        format!("{}: must be {}, but {what}", self.key(key), may.join(" or "))
    }

    async fn verify(&mut self) -> Verification {
        let mut found = Verification::default();
        for key in 0..self.ledger.len() {
            // Where one key can't be read at all, no time is spent on the others.
            let answer = if found.unreadable == 0 { self.read_back(key).await } else { None };
            match answer {
                Some(value) => {
                    found.keys += 1;
                    found.violations.extend(self.check_read(key, value.as_ref()));
                }
                None => found.unreadable += 1,
            }
        }
        found
    }

    async fn read_back(&self, key: usize) -> Option<Option<Bytes>> {
        for _ in 0..VERIFY_TRIES {
            if let Ok(answer) = self.client.get(self.key(key)).await {
                return Some(answer.value);
            }
        }
        None
    }
}
