//! Disks that are really full: a small file system of its own for an acceptor's directory, and for a learner's.

use std::time::Duration;

use futures::future::join_all;
use synod_client::{Client, Options};
use synod_protocol::message::{AcceptorStatus, LearnerStatus, Status};
use synod_protocol::{AcceptorId, LearnerId};
use synod_tests::{Daemons, command};

use crate::mounted::Mounted;

const A1: AcceptorId = AcceptorId(1);
/// Bytes of the file system.
const DISK_BYTES: u64 = 64 << 20;
/// Bytes of the file that takes up room on it until it is removed.
const BALLAST_BYTES: usize = 16 << 20;
const VALUE_BYTES: usize = 64 << 10;
/// Puts at once: small batches, beside which the next segment is prepared in time, or found to have no space.
const AT_ONCE: usize = 2;

async fn a1(daemons: &Daemons) -> Option<AcceptorStatus> {
    match daemons.status(A1).await {
        Some(Status::Acceptor(status)) => Some(status),
        _ => None,
    }
}

#[tokio::test]
async fn an_acceptor_whose_disk_is_full_votes_on_nothing_new_and_goes_on_when_there_is_space() {
    let mut daemons = Daemons::formed("full-disk", (3, 2, 1)).await;
    daemons.kill(A1);
    let directory = daemons.data_dir(A1);
    let mounted = match Mounted::over(&directory, DISK_BYTES) {
        Ok(mounted) => mounted,
        Err(why) => {
            eprintln!("SKIPPED: a full disk needs root, mkfs.ext4 and a loop device: {why}");
            return;
        }
    };
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![7; BALLAST_BYTES]).unwrap();
    daemons.start(A1);
    daemons.wait_for("a1 to answer", a1).await;
    let pid = daemons.pids()[&A1.into()];

    // Written until it is full; the others serve, so that no put fails.
    let client = Client::connect(daemons.cluster.clone(), Options { deadline: Duration::from_secs(20) });
    let mut put = 0;
    loop {
        let puts = (put..put + AT_ONCE).map(|number| client.put(format!("k{number}"), vec![1; VALUE_BYTES]));
        let slots = join_all(puts).await.into_iter().map(|ended| ended.unwrap().slot);
        let last = slots.max().unwrap();
        put += AT_ONCE;
        // The others don't wait for it, but this test does.
        let status = daemons
            .wait_for("a1 to vote on it, or to be full", async |daemons| {
                a1(daemons).await.filter(|status| status.full || status.highest >= last)
            })
            .await;
        if status.full {
            break;
        }
        assert!((put * VALUE_BYTES) as u64 <= DISK_BYTES, "{put} puts fill no disk of {DISK_BYTES} bytes");
    }
    println!("full after {put} puts of {VALUE_BYTES} bytes");
    let last = client.put("last", vec![1; VALUE_BYTES]).await.unwrap();
    let full = a1(&daemons).await.unwrap();
    assert!(full.full && full.held < last.slot, "it voted on what it has no room for: {full:?}");
    assert!(daemons.log(A1).contains("the disk is full"), "{}", daemons.log(A1));

    // Room again: it takes up what it has missed by itself.
    std::fs::remove_file(&ballast).unwrap();
    daemons
        .wait_for("a1 to catch up", async |daemons| {
            a1(daemons).await.filter(|status| !status.full && status.held >= last.slot)
        })
        .await;
    assert_eq!(daemons.pids().get(&A1.into()), Some(&pid), "the same process");
    // The last write before the file system goes is the daemon's.
    daemons.kill_all();
    drop(mounted);
}

const L2: LearnerId = LearnerId(2);
/// Free bytes on the learner's file system: less than its state takes.
const FREE_BYTES: u64 = 2 << 20;

async fn l2(daemons: &Daemons) -> Option<LearnerStatus> {
    match daemons.status(L2).await {
        Some(Status::Learner(status)) => Some(status),
        _ => None,
    }
}

/// Fills the file system up but for so many bytes.
fn fill(ballast: &std::path::Path, free: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast).unwrap();
    let mut bytes = 0_u64;
    let full = loop {
        match file.write_all(&[7; 1 << 16]) {
            Ok(()) => bytes += 1 << 16,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    file.set_len(bytes - free).unwrap();
    file.sync_all().unwrap();
}

async fn status_line(daemons: &Daemons, node: &str) -> String {
    let mut synod = command("synod");
    synod.arg("--cluster").arg(&daemons.file).arg("status");
    let output = tokio::task::spawn_blocking(move || synod.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find(|line| line.starts_with(node)).unwrap_or_else(|| panic!("{text}")).to_string()
}

#[tokio::test]
async fn a_learner_without_room_serves_reads_and_makes_checkpoints_again_when_there_is_space() {
    let tuning = "[tuning]\nsegment_bytes = 1048576\ncheckpoint_bytes = 262144\n";
    let mut daemons = Daemons::prepare("full-learner", (1, 1, 2), tuning);
    daemons.start_all();
    daemons.form().await;
    daemons.wait_until_serving().await;
    daemons.kill(L2);
    let directory = daemons.data_dir(L2);
    let mounted = match Mounted::over(&directory, DISK_BYTES / 2) {
        Ok(mounted) => mounted,
        Err(why) => {
            eprintln!("SKIPPED: a full disk needs root, mkfs.ext4 and a loop device: {why}");
            return;
        }
    };
    let ballast = directory.join("ballast");
    fill(&ballast, FREE_BYTES);
    daemons.start(L2);
    daemons.wait_for("l2 to answer", l2).await;
    let pid = daemons.pids()[&L2.into()];

    // Twice what it has room for.
    let client = Client::connect(daemons.cluster.clone(), Options { deadline: Duration::from_secs(20) });
    let keys = 2 * FREE_BYTES / VALUE_BYTES as u64;
    for number in 0..keys {
        client.put(format!("k{number}"), vec![1; VALUE_BYTES]).await.unwrap();
    }
    let full = daemons
        .wait_for("l2 to be full", async |daemons| l2(daemons).await.filter(|status| status.full))
        .await;
    assert!(full.synced < full.applied, "{full:?}");
    let line = status_line(&daemons, "l2").await;
    assert!(line.contains("no room for checkpoints"), "{line}");

    // It is the only one left, and serves: what was written before, and what is written from here on.
    daemons.kill(LearnerId(1));
    let last = client.put("last", "written while full").await.unwrap();
    for key in ["k0", "last"] {
        assert!(client.get(key).await.unwrap().value.is_some(), "{key}");
    }
    let still = l2(&daemons).await.unwrap();
    assert!(still.full && still.synced < last.slot, "{still:?}");

    // Room again: it makes its checkpoint by itself.
    std::fs::remove_file(&ballast).unwrap();
    daemons
        .wait_for("l2 to have synced it all", async |daemons| {
            l2(daemons).await.filter(|status| !status.full && status.synced >= last.slot)
        })
        .await;
    assert!(!status_line(&daemons, "l2").await.contains("no room"));
    assert_eq!(daemons.pids().get(&L2.into()), Some(&pid), "the same process");
    daemons.kill_all();
    drop(mounted);
}
