//! Service goes on, or stops and resumes, as acceptors, proposers and learners are killed; nothing acknowledged is lost or repeated.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use synod_client::{CallError, Client, Failure, Options};
use synod_protocol::{AcceptorId, LearnerId};
use synod_tests::Daemons;

use crate::steady::Steady;

const FULL: (u16, u16, u16) = (5, 3, 3);

/// The five acceptors in an order of the test's own.
fn shuffled(daemons: &Daemons) -> Vec<AcceptorId> {
    let mut acceptors: Vec<_> = daemons.cluster.acceptors.keys().copied().collect();
    acceptors.shuffle(&mut StdRng::seed_from_u64(daemons.seed));
    acceptors
}

fn client(daemons: &Daemons, deadline: Duration) -> Client {
    Client::connect(daemons.cluster.clone(), Options { deadline })
}

#[tokio::test]
async fn acceptors_killed_under_load_cost_no_call() {
    let mut daemons = Daemons::formed("acceptors-killed", FULL).await;
    let mut random = StdRng::seed_from_u64(daemons.seed);
    let steady = Steady::start(&daemons).await;
    for _ in 0..6 {
        let acceptor = AcceptorId(random.random_range(1..=5));
        daemons.kill(acceptor);
        steady.go_on(&daemons, 40).await;
        daemons.start(acceptor);
        daemons.wait_for("it to answer", async |daemons| daemons.status(acceptor).await).await;
        steady.go_on(&daemons, 10).await;
    }
    let tally = steady.finish_well().await;
    println!("6 kills: {} calls ok, longest gap {:?}", tally.ok, tally.longest_gap);
}

#[tokio::test]
async fn s8_two_of_five_acceptors_killed_for_good_cost_no_call() {
    let mut daemons = Daemons::formed("two-killed", FULL).await;
    let steady = Steady::start(&daemons).await;
    for acceptor in &shuffled(&daemons)[..2] {
        daemons.kill(*acceptor);
        steady.go_on(&daemons, 40).await;
    }
    // A leader that starts with three must find everything there.
    let (leader, _) = daemons.wait_for_leader().await;
    daemons.kill(leader);
    steady.go_on(&daemons, 40).await;
    steady.finish_well().await;
}

#[tokio::test]
async fn with_three_of_five_killed_no_call_is_answered_wrongly_and_service_resumes_by_itself() {
    let mut daemons = Daemons::formed("three-killed", FULL).await;
    let acknowledged = client(&daemons, Duration::from_secs(20));
    acknowledged.put("before", "kept").await.unwrap();
    let order = shuffled(&daemons);
    for acceptor in &order[..3] {
        daemons.kill(*acceptor);
    }
    let deadline = Duration::from_millis(1_500);
    let hasty = acknowledged.with_deadline(deadline);
    let started = Instant::now();
    let (put, get, delete) =
        tokio::join!(hasty.put("during", "1"), hasty.get("before"), hasty.delete("before"));
    let fresh = client(&daemons, deadline).put("during", "2").await;
    // Not how fast: that the deadline ends it at all.
    assert!(started.elapsed() < synod_tests::DEADLINE, "the calls took {:?}", started.elapsed());
    for (call, ended) in
        [("put", put.map(|_| ())), ("delete", delete.map(|_| ())), ("put of a new client", fresh.map(|_| ()))]
    {
        let unanswered =
            matches!(ended, Err(CallError::Unknown | CallError::Failed(Failure::NoQuorum { .. })));
        assert!(unanswered, "{call}: {ended:?}");
    }
    assert!(
        matches!(get, Err(CallError::Failed(Failure::NoQuorum { .. }))),
        "reads can't be unknown: {get:?}"
    );

    daemons.start(order[0]);
    let began = Instant::now();
    acknowledged.put("after", "1").await.expect("service resumes when a quorum is back");
    println!("service resumed {:?} after the third acceptor was started", began.elapsed());
    let after = acknowledged.get("after").await.unwrap().value;
    assert_eq!(after.as_deref(), Some(&b"1"[..]));
    // The delete either happened or not; a later command of the session was answered, so it can't happen any more.
    let now = acknowledged.get("before").await.unwrap().value;
    let later = acknowledged.get("before").await.unwrap().value;
    assert_eq!(now, later);
}

#[tokio::test]
async fn another_proposer_leads_when_the_leader_is_killed() {
    let mut daemons = Daemons::formed("leader-killed", FULL).await;
    let steady = Steady::start(&daemons).await;
    let (leader, ballot) = daemons.wait_for_leader().await;
    daemons.kill(leader);
    let began = Instant::now();
    let (next, next_ballot) = daemons.wait_for_leader().await;
    println!("{next} leads {:?} after {leader} was killed", began.elapsed());
    assert!(next != leader && next_ballot > ballot, "{next} at {next_ballot}, after {leader} at {ballot}");
    steady.go_on(&daemons, 40).await;
    daemons.start(leader);
    steady.go_on(&daemons, 40).await;
    let tally = steady.finish_well().await;
    println!("longest gap {:?}", tally.longest_gap);
}

#[tokio::test]
async fn s8_killing_every_learner_loses_and_repeats_nothing() {
    let mut daemons = Daemons::formed("learners-killed", FULL).await;
    let steady = Steady::start(&daemons).await;
    for _ in 0..2 {
        steady.go_on(&daemons, 100).await;
        let learners: Vec<LearnerId> = daemons.cluster.learners.keys().copied().collect();
        for learner in &learners {
            daemons.kill(*learner);
        }
        for learner in &learners {
            daemons.start(*learner);
        }
        steady.go_on(&daemons, 40).await;
    }
    steady.finish_well().await;
}

#[tokio::test]
async fn s8_killing_every_process_at_once_loses_and_repeats_nothing() {
    let mut daemons = Daemons::formed("everything-killed", FULL).await;
    let steady = Steady::start(&daemons).await;
    for _ in 0..2 {
        steady.go_on(&daemons, 100).await;
        daemons.kill_all();
        daemons.start_all();
        steady.go_on(&daemons, 40).await;
    }
    steady.finish_well().await;
    // What nobody remembers but the acceptors' disks.
    let writer = client(&daemons, Duration::from_secs(20));
    for number in 0..50 {
        writer.put(format!("key-{number}"), format!("value-{number}")).await.unwrap();
    }
    daemons.kill_all();
    let mut order = daemons.nodes();
    order.shuffle(&mut StdRng::seed_from_u64(daemons.seed));
    for node in order {
        daemons.start(node);
    }
    let reader = client(&daemons, Duration::from_secs(20));
    for number in 0..50 {
        let found = reader.get(format!("key-{number}")).await.unwrap().value;
        assert_eq!(found.as_deref(), Some(format!("value-{number}").as_bytes()));
    }
}
