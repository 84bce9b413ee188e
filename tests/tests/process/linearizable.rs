//! Several clients on a few keys while leader, acceptors and learners are killed and restarted: what they were told must be the
//! history of one map (I9), by the slots they were told and without them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use synod_checker::{Call, History, Operation, Outcome, Reply, certificate, search};
use synod_client::{Answer, CallError, Client, Options};
use synod_protocol::{AcceptorId, LearnerId, NodeId};
use synod_tests::{DEADLINE, Daemons};
use tokio::task::JoinSet;

const CLIENTS: u64 = 5;
const KEYS: u32 = 3;
/// Short, so that calls end as unknown while no quorum is up.
const CALL: Duration = Duration::from_millis(700);
/// Calls of one client at most, as a bound on the history.
const MOST_CALLS: usize = 20_000;

/// What was called and answered; the number of events so far is the time.
#[derive(Default)]
struct Record {
    history: History,
    events: u64,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Record>>);

impl Recorder {
    fn with<T>(&self, change: impl FnOnce(&mut History, u64) -> T) -> T {
        let mut record = self.0.lock().unwrap();
        record.events += 1;
        let now = record.events;
        change(&mut record.history, now)
    }

    /// Makes a call, and records when it was made, when it ended, and how.
    async fn call(&self, number: u64, client: &Client, key: String, call: Call) {
        let id = self.with(|history, now| history.call(number, key.clone(), call.clone(), now));
        let ended: Result<Answer<Reply>, CallError> = match call {
            Call::Put(value) => {
                client.put(key, value).await.map(|Answer { slot, .. }| Answer { value: Reply::Put, slot })
            }
            Call::Delete => client.delete(key).await.map(|Answer { value, slot }| Answer {
                value: Reply::Deleted { existed: value.is_some() },
                slot,
            }),
            Call::Get => client
                .get(key)
                .await
                .map(|Answer { value, slot }| Answer { value: Reply::Found(value), slot }),
        };
        self.with(|history, now| match ended {
            Ok(answer) => history.ok(id, answer.value, Some(answer.slot.0), now),
            Err(CallError::Failed(_)) => history.failed(id, now),
            Err(CallError::Unknown) => history.unknown(id, now),
        });
    }

    /// Waits until `count` more calls are as asked.
    async fn wait_for(&self, daemons: &Daemons, count: usize, what: &str, is: fn(&Operation) -> bool) {
        let so_far = || self.0.lock().unwrap().history.operations().iter().filter(|call| is(call)).count();
        let target = so_far() + count;
        daemons.wait_for(what, async |_| (so_far() >= target).then_some(())).await;
    }
}

async fn run(number: u64, client: Client, seed: u64, recorder: Recorder, stop: Arc<AtomicBool>) {
    let mut random = StdRng::seed_from_u64(seed ^ number);
    for count in 0..MOST_CALLS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // The first only writes, so that a write is under way at every moment.
        let call = match random.random_range(0..if number == 1 { 3 } else { 5 }) {
            0 | 1 => Call::Put(format!("{number}.{count}").into()),
            2 => Call::Delete,
            _ => Call::Get,
        };
        recorder.call(number, &client, format!("key-{}", random.random_range(0..KEYS)), call).await;
    }
    // Whether the session is ended or expires later is no matter of this test.
    let _ended = client.close().await;
}

#[tokio::test]
async fn what_clients_are_told_under_kills_is_linearizable() {
    let mut daemons = Daemons::formed("linearizable", (3, 2, 2)).await;
    let mut random = StdRng::seed_from_u64(daemons.seed);
    let (recorder, stop) = (Recorder::default(), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for number in 1..=CLIENTS {
        let client = Client::connect(daemons.cluster.clone(), Options { deadline: CALL });
        clients.spawn(run(number, client, daemons.seed, recorder.clone(), Arc::clone(&stop)));
    }
    recorder.wait_for(&daemons, 50, "clients to be answered", Operation::is_ok).await;
    for _ in 0..2 {
        let (leader, _) = daemons.wait_for_leader().await;
        let acceptor = AcceptorId(random.random_range(1..=3));
        let learner = LearnerId(random.random_range(1..=2));
        for node in [NodeId::from(leader), acceptor.into(), learner.into()] {
            daemons.kill(node);
            recorder.wait_for(&daemons, 60, "clients to go on", Operation::is_ok).await;
            daemons.start(node);
        }
        // Without a quorum, writes that are under way end as unknown; what became of them shows once it is back.
        let others = [acceptor, AcceptorId(acceptor.0 % 3 + 1)];
        others.iter().for_each(|other| daemons.kill(*other));
        let lost = |call: &Operation| call.returned_at.is_some() && call.outcome == Outcome::Unknown;
        recorder.wait_for(&daemons, 1, "a call to be lost", lost).await;
        others.iter().for_each(|other| daemons.start(*other));
        recorder.wait_for(&daemons, 60, "clients to go on", Operation::is_ok).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let reader = Client::connect(daemons.cluster.clone(), Options { deadline: DEADLINE });
    for key in 0..KEYS {
        recorder.call(CLIENTS + 1, &reader, format!("key-{key}"), Call::Get).await;
    }
    check(&recorder.0.lock().unwrap().history);
}

/// Both checks, apart; and that there was something to check.
fn check(history: &History) {
    for (name, check) in [("certificate", certificate as fn(&History) -> _), ("search", search)] {
        let began = Instant::now();
        let stats = check(history).unwrap_or_else(|rejected| panic!("{name}: {rejected}"));
        println!("{name} took {:?}: {stats:?}", began.elapsed());
    }
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in history.operations() {
        let kind = match &operation.outcome {
            Outcome::Ok { reply: Reply::Put, .. } => "put",
            Outcome::Ok { reply: Reply::Deleted { existed: true }, .. } => "deleted",
            Outcome::Ok { reply: Reply::Deleted { existed: false }, .. } => "nothing to delete",
            Outcome::Ok { reply: Reply::Found(Some(_)), .. } => "found",
            Outcome::Ok { reply: Reply::Found(None), .. } => "found nothing",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        };
        *found.entry(kind).or_default() += 1;
    }
    let all = ["put", "deleted", "nothing to delete", "found", "found nothing", "unknown"];
    assert!(all.iter().all(|kind| found.contains_key(kind)), "one kind is missing: {found:?}");
}
