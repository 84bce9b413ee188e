//! S12 on real directories: a lost disk is replaced by the admin command, and the old one never counts again.

use std::path::{Path, PathBuf};
use std::process::Output;

use synod_protocol::incarnations::POSITION_STEP;
use synod_protocol::message::{Formation, Status};
use synod_protocol::{AcceptorId, NodeId};
use synod_tests::{Daemons, command, connect};

const A1: AcceptorId = AcceptorId(1);
const A2: AcceptorId = AcceptorId(2);
const A3: AcceptorId = AcceptorId(3);

/// Runs `synod` on the cluster.
async fn synod(daemons: &Daemons, arguments: &[&str]) -> Output {
    let mut synod = command("synod");
    synod.arg("--cluster").arg(&daemons.file).args(arguments);
    tokio::task::spawn_blocking(move || synod.output().unwrap()).await.unwrap()
}

#[track_caller]
fn is_ok(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

async fn put(daemons: &Daemons, key: &str, value: &str) {
    is_ok(&synod(daemons, &["put", key, value]).await);
}

async fn get(daemons: &Daemons, key: &str) -> String {
    is_ok(&synod(daemons, &["get", key]).await).trim().to_string()
}

async fn formation(daemons: &Daemons, acceptor: AcceptorId) -> Option<Formation> {
    match daemons.status(acceptor).await {
        Some(Status::Acceptor(acceptor)) => Some(acceptor.formation),
        _ => None,
    }
}

/// Waits until `acceptor` holds whatever the leader calls chosen.
async fn until_healed(daemons: &Daemons, acceptor: AcceptorId, slot: u64) {
    daemons
        .wait_for("the acceptor to be healed", async |daemons| match daemons.status(acceptor).await {
            Some(Status::Acceptor(status)) => (status.held.0 >= slot).then_some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn s12_s8_a_wiped_acceptor_is_readmitted_and_two_others_may_then_be_killed() {
    let mut daemons = Daemons::formed("readmitted", (5, 2, 1)).await;
    for number in 0..5 {
        put(&daemons, &format!("before{number}"), "1").await;
    }
    let refused = synod(&daemons, &["admin", "readmit-acceptor", "a9"]).await;
    assert!(!refused.status.success(), "there is no a9");
    let idle = is_ok(&synod(&daemons, &["admin", "readmit-acceptor", "a2"]).await);
    assert!(idle.contains("needs no readmission"), "{idle}");

    // Wiped: it votes on nothing, says what to do, and the cluster serves on.
    daemons.kill(A2);
    let kept: PathBuf = daemons.folder.join("old-a2");
    std::fs::rename(daemons.data_dir(A2), &kept).unwrap();
    let told_before = daemons.log(A2).len();
    daemons.start(A2);
    daemons
        .wait_for("a2 to say what to do", async |daemons| {
            daemons.log(A2)[told_before..].contains("readmit-acceptor").then_some(())
        })
        .await;
    put(&daemons, "meanwhile", "2").await;
    assert_eq!(formation(&daemons, A2).await, Some(Formation::Empty));

    let done = is_ok(&synod(&daemons, &["admin", "readmit-acceptor", "a2"]).await);
    assert!(done.contains("readmitted: a2"), "{done}");
    let again = is_ok(&synod(&daemons, &["admin", "readmit-acceptor", "a2"]).await);
    assert!(again.contains("needs no readmission"), "{again}");
    assert!(matches!(formation(&daemons, A2).await, Some(Formation::Open { .. })));
    until_healed(&daemons, A2, 6).await;

    // Two others of five may go.
    daemons.kill(A1);
    daemons.kill(A3);
    put(&daemons, "after", "3").await;
    for number in 0..5 {
        assert_eq!(get(&daemons, &format!("before{number}")).await, "1");
    }
    assert_eq!(get(&daemons, "meanwhile").await, "2");
    assert_eq!(get(&daemons, "after").await, "3");

    // The old disk comes back in place of the new one: whoever knows tells it to stop.
    daemons.start(A1);
    daemons.start(A3);
    daemons.kill(A2);
    let new: PathBuf = daemons.folder.join("new-a2");
    std::fs::rename(daemons.data_dir(A2), &new).unwrap();
    std::fs::rename(&kept, daemons.data_dir(A2)).unwrap();
    daemons.start(A2);
    let (code, log) = daemons.ended(A2).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("was replaced by disk") && log.contains("readmit-acceptor"), "{log}");
    std::fs::rename(daemons.data_dir(A2), &kept).unwrap();
    std::fs::rename(&new, daemons.data_dir(A2)).unwrap();
    daemons.start(A2);
    put(&daemons, "last", "4").await;
    daemons.wait_for("a2 to take part", async |daemons| daemons.status(NodeId::from(A2)).await).await;
}

/// Copies a directory of files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// How many records an acceptor's journal has had.
async fn records(daemons: &Daemons, acceptor: AcceptorId) -> u64 {
    connect(&daemons.cluster, acceptor.into()).await.map_or(0, |link| link.hello.standing.position)
}

#[tokio::test]
async fn s12_a_disk_restored_from_a_copy_is_refused_though_every_process_has_restarted() {
    let mut daemons = Daemons::formed("rolled-back", (3, 2, 1)).await;
    put(&daemons, "before", "1").await;
    daemons.kill(A3);
    let kept: PathBuf = daemons.folder.join("old-a3");
    copy(&daemons.data_dir(A3), &kept);
    daemons.start(A3);
    // Enough for the others to be told.
    let load = crate::steady::Steady::start(&daemons).await;
    daemons
        .wait_for("enough records", async |daemons| {
            (records(daemons, A3).await > 3 * POSITION_STEP).then_some(())
        })
        .await;
    load.finish_well().await;
    // Whatever was told by then is recorded within a heartbeat; these come after it.
    for number in 0..5 {
        put(&daemons, &format!("later{number}"), "2").await;
    }
    daemons.kill_all();
    std::fs::remove_dir_all(daemons.data_dir(A3)).unwrap();
    std::fs::rename(&kept, daemons.data_dir(A3)).unwrap();

    daemons.start_all();
    let (code, log) = daemons.ended(A3).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("S12") && log.contains("readmit-acceptor"), "{log}");
    daemons.wait_until_serving().await;
    assert_eq!(get(&daemons, "later4").await, "2");
    put(&daemons, "without a3", "3").await;

    // It never comes back like this: only empty, by readmission.
    daemons.start(A3);
    assert_eq!(daemons.ended(A3).await.0, Some(1));
    std::fs::remove_dir_all(daemons.data_dir(A3)).unwrap();
    daemons.start(A3);
    daemons.wait_for("a3 to answer", async |daemons| daemons.status(A3).await).await;
    let done = is_ok(&synod(&daemons, &["admin", "readmit-acceptor", "a3"]).await);
    assert!(done.contains("readmitted: a3"), "{done}");
    daemons.kill(A1);
    put(&daemons, "with a3", "4").await;
    assert_eq!(get(&daemons, "without a3").await, "3");
}

#[tokio::test]
async fn s12_readmission_that_no_quorum_allows_is_refused() {
    let mut daemons = Daemons::formed("not-readmitted", (1, 1, 1)).await;
    daemons.kill(A1);
    std::fs::remove_dir_all(daemons.data_dir(A1)).unwrap();
    daemons.start(A1);
    daemons.wait_for("a1 to answer", async |daemons| daemons.status(A1).await).await;
    let refused = synod(&daemons, &["admin", "readmit-acceptor", "a1"]).await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("no cluster to be readmitted to"), "{text}");
    assert_eq!(formation(&daemons, A1).await, Some(Formation::Empty), "nothing was changed");
}
