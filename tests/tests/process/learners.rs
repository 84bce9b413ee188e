//! Learners whose store is old, damaged or gone, and learners that nobody knew of: each comes to the state that the others have.

use std::time::Duration;

use synod_client::{Client, Options};
use synod_protocol::message::{LearnerStatus, Status};
use synod_protocol::{AcceptorId, LearnerId};
use synod_tests::{Daemons, command};

const SIZES: (u16, u16, u16) = (3, 2, 3);
/// Checkpoints after a few puts, and acceptors that drop what lies below the floor.
const TUNING: &str = "[tuning]\nsegment_bytes = 65536\ncheckpoint_bytes = 65536\nchunk_bytes = 2048\nlearner_tail_bytes = 1000\n";
pub(crate) const L3: LearnerId = LearnerId(3);

pub(crate) async fn formed(name: &str) -> Daemons {
    let mut daemons = Daemons::prepare(name, SIZES, TUNING);
    daemons.start_all();
    daemons.form().await;
    daemons.wait_until_serving().await;
    daemons
}

/// Puts so many keys, each in a slot of its own.
pub(crate) async fn put(daemons: &Daemons, round: u64, keys: u64) -> Client {
    let client = Client::connect(daemons.cluster.clone(), Options { deadline: Duration::from_secs(20) });
    for number in 0..keys {
        client.put(format!("key-{number}"), format!("value-{round}")).await.unwrap();
    }
    client
}

pub(crate) async fn learner(daemons: &Daemons, id: LearnerId) -> Option<LearnerStatus> {
    match daemons.status(id).await {
        Some(Status::Learner(status)) => Some(status),
        Some(Status::Acceptor(_) | Status::Proposer(_)) | None => None,
    }
}

pub(crate) async fn wait_until_synced(daemons: &Daemons, id: LearnerId, slot: u64) {
    daemons
        .wait_for(&format!("{id} to have synced slot {slot}"), async |daemons| {
            learner(daemons, id).await.filter(|status| status.synced.0 >= slot)
        })
        .await;
}

pub(crate) async fn wait_for_floor(daemons: &Daemons, above: u64) {
    for id in daemons.cluster.acceptors.keys().copied().collect::<Vec<AcceptorId>>() {
        daemons
            .wait_for(&format!("{id} to drop slots"), async |daemons| match daemons.status(id).await {
                Some(Status::Acceptor(status)) => (status.floor.0 > above).then_some(()),
                Some(Status::Proposer(_) | Status::Learner(_)) | None => None,
            })
            .await;
    }
}

/// Until a learner is where l1 is; then their chains must be equal.
pub(crate) async fn wait_until_level(daemons: &Daemons, id: LearnerId) -> LearnerStatus {
    daemons
        .wait_for(&format!("{id} to have applied what l1 has"), async |daemons| {
            let (one, other) = (learner(daemons, LearnerId(1)).await?, learner(daemons, id).await?);
            if one.applied == other.applied {
                assert_eq!(one.chain, other.chain, "S7: l1 and {id} differ at slot {}", one.applied);
            }
            (one.applied == other.applied).then_some(other)
        })
        .await
}

pub(crate) fn verify(daemons: &Daemons, id: LearnerId) -> (Option<i32>, String) {
    let mut verify = command("synod-learner");
    verify.args(["store", "verify"]).arg(daemons.data_dir(id));
    let output = verify.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// The files of a learner's checkpoints, oldest first.
fn checkpoints(daemons: &Daemons, id: LearnerId) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(daemons.data_dir(id)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("checkpoint-")).collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_stopped_learner_goes_on_from_its_last_checkpoint() {
    let mut daemons = formed("learner-restarts").await;
    put(&daemons, 1, 30).await;
    let before = wait_until_level(&daemons, L3).await;
    daemons.stop(L3).await;
    let (code, text) = verify(&daemons, L3);
    assert_eq!(code, Some(0), "{text}");
    daemons.start(L3);
    wait_until_level(&daemons, L3).await;
    let log = daemons.log(L3);
    // The session's end may have been applied meanwhile.
    let started = log.rsplit_once("learns from this slot on").unwrap().1.split_once("next=").unwrap().1;
    let started: u64 = started.split_once(' ').unwrap().0.parse().unwrap();
    assert!(
        started > before.applied.0,
        "it had applied {}, and started at {started}:\n{log}",
        before.applied
    );
}

#[tokio::test]
async fn s7_a_damaged_store_is_found_and_the_state_fetched_from_a_peer() {
    let mut daemons = formed("learner-damaged").await;
    let client = put(&daemons, 1, 60).await;
    wait_until_synced(&daemons, L3, 16).await;
    daemons.kill(L3);
    put(&daemons, 2, 60).await;
    wait_for_floor(&daemons, 20).await;
    let oldest = checkpoints(&daemons, L3).remove(0);
    let mut content = std::fs::read(&oldest).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&oldest, &content).unwrap();
    let (code, text) = verify(&daemons, L3);
    assert!(code == Some(1) && text.contains("is damaged at offset"), "{text}");
    daemons.start(L3);
    wait_until_level(&daemons, L3).await;
    let log = daemons.log(L3);
    assert!(
        log.contains("set an unusable checkpoint aside") && log.contains("installed a peer's state"),
        "{log}"
    );
    let aside =
        daemons.data_dir(L3).join(format!("unusable-{}", oldest.file_name().unwrap().to_string_lossy()));
    assert_eq!(std::fs::read(aside).unwrap(), content, "what was damaged is kept");
    assert_eq!(client.get("key-7").await.unwrap().value.as_deref(), Some(&b"value-2"[..]));
    // What came from the peer is on disk soon, and is what it starts with the next time.
    wait_until_synced(&daemons, L3, 20).await;
    daemons.kill(L3);
    let (code, text) = verify(&daemons, L3);
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test]
async fn an_observer_joins_by_one_command_and_counts_for_nothing() {
    let mut daemons = formed("observer").await;
    put(&daemons, 1, 60).await;
    wait_until_synced(&daemons, LearnerId(1), 20).await;
    wait_for_floor(&daemons, 10).await;
    daemons.add_observer(7);
    daemons.start(LearnerId(7));
    let status = wait_until_level(&daemons, LearnerId(7)).await;
    assert!(status.keys >= 60, "{status:?}");
    // Clients find it in the cluster file; it answers reads though every configured learner but one is gone.
    for learner in [LearnerId(1), LearnerId(2)] {
        daemons.kill(learner);
    }
    put(&daemons, 3, 5).await;
    let client = put(&daemons, 4, 5).await;
    assert_eq!(client.get("key-3").await.unwrap().value.as_deref(), Some(&b"value-4"[..]));
    let text = synod_client::status::status(&daemons.cluster).await.to_string();
    assert!(text.lines().any(|line| line.starts_with("l7") && line.contains("applied")), "{text}");
}
