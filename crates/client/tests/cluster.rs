//! The client over real sockets, against a fake cluster that loses, refuses, goes silent and closes connections.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use support::fake::{Fake, prepared};
use synod_client::workload::{self, Config, Mix};
use synod_client::{CallError, Client, Failure, Options, admin};
use synod_protocol::message::Formation;
use synod_protocol::{AcceptorId, LearnerId, NodeId, ProposerId};

fn client(fake: &Fake) -> Client {
    // Long, so that a busy machine changes no outcome.
    Client::connect(fake.cluster.clone(), Options { deadline: Duration::from_secs(30) })
}

#[tokio::test]
async fn puts_gets_and_deletes_and_leaves_nothing_behind() {
    let fake = Fake::start().await;
    let client = client(&fake);
    assert_eq!(client.get("a").await.unwrap().value, None);
    assert_eq!(fake.state().taken, 0, "a reader opens no session");
    let put = client.put("a", &b"\0\xff"[..]).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().value.as_deref(), Some(&b"\0\xff"[..]));
    assert_eq!(client.get_stale("a").await.unwrap().slot, put.slot);
    assert_eq!(client.delete("a").await.unwrap().value, Some(put.value.next()));
    assert_eq!(client.delete("a").await.unwrap().value, None);
    assert_eq!(fake.state().machine.sessions().len(), 1);
    client.close().await.unwrap();
    assert_eq!(fake.state().machine.sessions().len(), 0);
    assert_eq!(client.put("a", "b").await, Err(Failure::Closed.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_proposals_in_a_runtime_of_many_threads() {
    let fake = Fake::start().await;
    let client = client(&fake);
    let puts = (0..2_000).map(|number: u32| client.put(number.to_string(), number.to_string()));
    assert!(join_all(puts).await.into_iter().all(|ended| ended.is_ok()));
    assert_eq!(fake.state().machine.puts.len(), 2_000);
    assert!(fake.state().taken < 500, "{} proposals", fake.state().taken);
}

#[tokio::test]
async fn more_writes_than_may_wait_are_refused_where_they_are_asked_for() {
    let fake = Fake::start().await;
    let client = client(&fake);
    let most = fake.cluster.limits.session_window;
    for round in 1..=3 {
        let mut puts: Vec<_> =
            (0..most + 2).map(|number| Box::pin(client.put("k", number.to_string()))).collect();
        // The driver doesn't run before this test waits, since the runtime has one thread.
        let at_once: Vec<_> = puts.iter_mut().map(|put| put.now_or_never()).collect();
        let refused: Vec<_> = at_once.iter().flatten().collect();
        assert_eq!(refused, [&Err(Failure::Busy.into()); 2]);
        puts.truncate(most as usize);
        assert!(join_all(puts).await.into_iter().all(|ended| ended.is_ok()));
        assert_eq!(fake.state().machine.puts.len() as u64, round * most);
    }
}

#[test]
fn a_client_whose_runtime_has_ended_is_closed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fake = runtime.block_on(Fake::start());
    let client = runtime.block_on(async { client(&fake) });
    drop(runtime);
    // More often than writes may wait.
    for _ in 0..fake.cluster.limits.session_window + 2 {
        assert_eq!(client.put("k", "v").now_or_never(), Some(Err(Failure::Closed.into())));
    }
}

#[tokio::test]
async fn s9_lost_busy_and_cut_calls_happen_once() {
    let fake = Fake::start().await;
    let client = client(&fake);
    for round in 0..30_u16 {
        {
            let mut state = fake.state();
            (state.lose, state.busy) = (u32::from(round % 3), u32::from(round % 2));
            state.leader = round % 3 + 1;
        }
        let nodes: [NodeId; 2] = [ProposerId(round % 3 + 1).into(), LearnerId(round % 3 + 1).into()];
        let put = client.put("k", round.to_string());
        let cut = async { fake.cut(nodes[usize::from(round % 2)]) };
        let (ended, ()) = futures::join!(put, cut);
        ended.unwrap();
        assert_eq!(client.get("k").await.unwrap().value.unwrap(), round.to_string());
    }
    let expected: Vec<_> = (0..30).map(|round: u16| round.to_string().into_bytes()).collect();
    assert_eq!(fake.state().machine.puts, expected);
}

#[tokio::test]
async fn a_silent_leader_and_a_silent_learner_are_left() {
    let fake = Fake::start().await;
    let client = client(&fake);
    client.put("k", "1").await.unwrap();
    for silent in 1..=3 {
        {
            let mut state = fake.state();
            state.silent = vec![ProposerId(silent).into(), LearnerId(silent).into()];
            state.leader = silent % 3 + 1;
        }
        client.put("k", silent.to_string()).await.unwrap();
        assert_eq!(client.get("k").await.unwrap().value.unwrap(), silent.to_string());
    }
    assert_eq!(fake.state().machine.puts.len(), 4);
}

#[tokio::test]
async fn calls_end_in_three_ways() {
    let fake = Fake::start().await;
    let client = client(&fake);
    client.put("k", "1").await.unwrap();
    let hasty = client.with_deadline(Duration::from_millis(300));
    fake.state().leader = 0;
    let mut ended = hasty.put("k", "2").await;
    for _ in 0..10 {
        // The refusal of the last copy may come just after the deadline.
        if ended == Err(CallError::Unknown) {
            ended = hasty.put("k", "2").await;
        }
    }
    assert!(matches!(ended, Err(CallError::Failed(Failure::NoQuorum { .. }))), "{ended:?}");
    fake.state().leader = 2;
    client.put("k", "3").await.unwrap();
    fake.state().lose = u32::MAX;
    assert_eq!(hasty.put("k", "4").await, Err(CallError::Unknown));
    fake.state().lose = 0;
    client.put("k", "5").await.unwrap();
    assert_eq!(fake.state().machine.puts, [b"1", b"3", b"5"]);
}

#[tokio::test]
async fn a_session_that_has_ended_is_replaced() {
    let fake = Fake::start().await;
    let client = client(&fake);
    client.put("k", "1").await.unwrap();
    let session = fake.state().machine.sessions()[0];
    fake.state().machine.end(session);
    client.put("k", "2").await.unwrap();
    assert_eq!(fake.state().machine.puts, [b"1", b"2"]);
    drop(client);
}

#[tokio::test]
async fn a_cluster_is_formed_once_and_an_unfinished_formation_is_finished() {
    let fake = Fake::start().await;
    fake.state().formations.insert(AcceptorId(2), prepared(77, 5));
    let mut lines = Vec::new();
    let formed = admin::form(&fake.cluster, |acceptor, line| lines.push(format!("{acceptor}: {line}"))).await;
    let formed = formed.unwrap();
    assert!(!formed.already && formed.cluster.0 == 77);
    assert!(lines.iter().any(|line| line.starts_with("a3: prepared")), "{lines:?}");
    assert!(fake.state().formations.values().all(|formation| formation.cluster().is_some()));
    let again = admin::form(&fake.cluster, |_, _| {}).await.unwrap();
    assert!(again.already);
    fake.state().formations.insert(AcceptorId(1), Formation::Empty);
    let lost = admin::form(&fake.cluster, |_, _| {}).await.unwrap_err();
    assert!(lost.to_string().contains("a1 has an empty disk"), "{lost}");
    assert_eq!(fake.state().formations[&AcceptorId(1)], Formation::Empty);
}

fn small() -> Config {
    Config {
        clients: 8,
        duration: Duration::from_millis(500),
        mix: Mix { put: 50, get: 30 },
        keys: 24,
        value_bytes: 32,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_workload_on_a_sound_cluster_finds_nothing_wrong() {
    let fake = Fake::start().await;
    let mut finished = workload::run(&fake.cluster, &small(), |_| {}).await;
    assert!(finished.report.ok > 8, "{:?}", finished.report);
    assert_eq!((finished.report.violations, finished.report.failed, finished.report.unknown), (0, 0, 0));
    let found = finished.verify().await;
    assert_eq!((found.keys, found.unreadable, found.violations), (24, 0, Vec::new()));
    finished.close().await;
    assert_eq!(fake.state().machine.sessions(), Vec::new());
}

#[tokio::test]
async fn a_workload_notices_lost_and_foreign_writes() {
    let fake = Fake::start().await;
    let mut finished = workload::run(&fake.cluster, &small(), |_| {}).await;
    {
        let mut state = fake.state();
        let keys: Vec<_> = state.machine.keys.keys().cloned().collect();
        assert!(keys.len() > 3);
        state.machine.keys.remove(&keys[0]);
        state.machine.keys.get_mut(&keys[1]).unwrap().value = "foreign".into();
        let other = state.machine.keys[&keys[2]].clone();
        state.machine.keys.insert(keys[3].clone(), other);
    }
    let found = finished.verify().await;
    assert_eq!(found.violations.len(), 3, "{:?}", found.violations);
}
