//! `synod backup` of a running cluster and `synod restore` into a new one: every key with its revisions, or nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use synod_client::backup::{Reading, Verified};
use synod_client::{Client, Options};
use synod_protocol::command::Record;
use synod_protocol::message::Consistency;
use synod_protocol::{LearnerId, NodeId};
use synod_tests::{Daemons, command};

/// Chunks of a few records, so that a backup has many.
const TUNING: &str = "[tuning]\nsegment_bytes = 1048576\nchunk_bytes = 300\n";
const KEYS: usize = 400;

type Records = BTreeMap<Bytes, Record>;

async fn formed(name: &str, sizes: (u16, u16, u16)) -> Daemons {
    let mut daemons = Daemons::prepare(name, sizes, TUNING);
    daemons.start_all();
    daemons.form().await;
    daemons.wait_until_serving().await;
    daemons
}

fn client(daemons: &Daemons) -> Client {
    Client::connect(daemons.cluster.clone(), Options { deadline: Duration::from_secs(20) })
}

async fn synod(daemons: &Daemons, arguments: &[&str]) -> Output {
    let mut synod = command("synod");
    synod.arg("--cluster").arg(&daemons.file).args(arguments);
    tokio::task::spawn_blocking(move || synod.output().unwrap()).await.unwrap()
}

/// What it said, after it has ended so.
#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// The records of a sound backup, and what it is.
fn read(path: &Path) -> (Records, Verified) {
    let mut reading = Reading::open(path).unwrap();
    let mut records = Records::new();
    while let Some(some) = reading.records().unwrap() {
        records.extend(some);
    }
    (records, reading.finish().unwrap())
}

/// Writes keys, some of them several times, some of them deleted again, some made anew after that.
async fn write(client: &Client) {
    for round in 0..4 {
        let writes = (0..KEYS).filter(|number| round == 0 || number % (round + 2) == 0);
        let write = async |number: usize| {
            let key = format!("key-{number:04}");
            if (number + round) % 5 == 3 {
                client.delete(key).await.unwrap();
            } else {
                client.put(key, format!("value {round} of {number}")).await.unwrap();
            }
        };
        join_all(writes.map(write)).await;
    }
}

async fn records_of(client: &Client) -> Records {
    let read = async |number: usize| {
        let key = Bytes::from(format!("key-{number:04}"));
        let record = client.record(key.clone(), Consistency::Linearizable).await.unwrap().value;
        record.map(|record| (key, record))
    };
    join_all((0..KEYS).map(read)).await.into_iter().flatten().collect()
}

/// A backup under write load, and what the cluster held of the keys that weren't written meanwhile.
async fn backed_up(daemons: &Daemons, file: &Path) -> Records {
    let client = client(daemons);
    write(&client).await;
    let expected = records_of(&client).await;
    let versions: std::collections::BTreeSet<u64> = expected.values().map(|record| record.version).collect();
    assert!(versions.len() > 2 && expected.len() < KEYS, "overwritten and deleted keys: {versions:?}");
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                client.put(format!("load-{number:06}"), "under way").await.unwrap();
                number += 1;
            }
            number
        }
    });
    let key = "load-000009";
    daemons.wait_for("some load", async |_| client.get(key).await.unwrap().value).await;
    let text = ended(&synod(daemons, &["backup", file.to_str().unwrap()]).await, 0);
    stop.store(true, Ordering::Relaxed);
    let written = load.await.unwrap();
    println!("{} after {written} puts meanwhile", text.lines().last().unwrap());
    expected
}

/// Each record that the new cluster has is the backup's, and nothing is missing.
async fn is_restored(daemons: &Daemons, records: &Records) {
    let client = client(daemons);
    let read = async |key: &Bytes| {
        let found = client.record(key.clone(), Consistency::Linearizable).await.unwrap().value;
        (key.clone(), found.unwrap_or_else(|| panic!("{key:?} is missing")))
    };
    let found: Records = join_all(records.keys().map(read)).await.into_iter().collect();
    assert_eq!(&found, records);
    let keys = daemons.wait_for("how many keys there are", async |daemons| {
        match daemons.status(LearnerId(1)).await {
            Some(synod_protocol::message::Status::Learner(status)) => Some(status.keys),
            _ => None,
        }
    });
    assert_eq!(keys.await, records.len() as u64);
}

fn flipped(file: &Path, at: usize) -> PathBuf {
    let mut content = std::fs::read(file).unwrap();
    content[at] ^= 1;
    let damaged = file.with_extension("damaged");
    std::fs::write(&damaged, content).unwrap();
    damaged
}

#[tokio::test]
async fn i10_a_backup_under_load_is_one_state_and_a_new_cluster_gets_all_of_it() {
    let source = formed("backup", (3, 1, 2)).await;
    let file = source.folder.join("monday.backup");
    let path = file.to_str().unwrap();
    let expected = backed_up(&source, &file).await;
    let (records, verified) = read(&file);
    for (key, record) in &expected {
        assert_eq!(records.get(key), Some(record), "{key:?}");
    }
    // One client wrote them one after the other: one state has the first so many, and none behind a gap.
    let load: Vec<_> = records.keys().filter(|key| key.starts_with(b"load-")).cloned().collect();
    let first: Vec<_> = (0..load.len()).map(|number| Bytes::from(format!("load-{number:06}"))).collect();
    assert_eq!(load, first);
    assert!(load.len() >= 10, "it has what was acknowledged before it began: {}", load.len());
    assert_eq!(records.len(), expected.len() + load.len());

    // No file takes another's place unasked.
    let before = std::fs::read(&file).unwrap();
    assert!(ended(&synod(&source, &["backup", path]).await, 1).contains("--force"));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let other = source.folder.join("tuesday.backup");
    for _ in 0..2 {
        ended(&synod(&source, &["backup", "--force", other.to_str().unwrap()]).await, 0);
    }
    let leftovers = std::fs::read_dir(&source.folder).unwrap();
    assert!(leftovers.flatten().all(|entry| !entry.file_name().to_string_lossy().contains(".partial")));

    // Into the cluster that it came from, or any that takes writes: refused.
    assert!(ended(&synod(&source, &["restore", path]).await, 1).contains("only into a new, empty cluster"));

    // Damaged and cut files are found, with the place, before anything is sent.
    let target = formed("restored", (1, 1, 1)).await;
    let damaged = flipped(&file, before.len() / 2);
    let cut = file.with_extension("cut");
    std::fs::write(&cut, &before[..before.len() - 17]).unwrap();
    for (file, what) in [(&damaged, "damaged"), (&cut, "it was cut")] {
        let file = file.to_str().unwrap();
        let said = ended(&command("synod").args(["verify-backup", file]).output().unwrap(), 1);
        assert!(said.contains(what) && said.contains("bytes"), "{said}");
        let said = ended(&synod(&target, &["restore", file]).await, 1);
        assert!(said.contains(what) && said.contains("nothing was sent"), "{said}");
    }
    let said = ended(&command("synod").args(["verify-backup", path]).output().unwrap(), 0);
    assert!(said.contains(&format!("{} keys", records.len())), "{said}");

    // A restore that was broken off in the middle: no writes, no backup, no other file; the same file goes on.
    let client = client(&target);
    for (key, record) in records.iter().take(records.len() / 2) {
        client.restore(key.clone(), record.clone(), verified.checksum).await.unwrap();
    }
    assert!(ended(&synod(&target, &["put", "a", "b"]).await, 1).contains("being restored"));
    let half = target.folder.join("half.backup");
    let said = ended(&synod(&target, &["backup", half.to_str().unwrap()]).await, 1);
    assert!(said.contains("no whole state") && !half.exists(), "{said}");
    let said = ended(&synod(&target, &["restore", other.to_str().unwrap()]).await, 1);
    assert!(said.contains("another backup"), "{said}");
    let said = ended(&synod(&target, &["restore", path]).await, 0);
    assert!(said.contains("the cluster takes writes"), "{said}");
    is_restored(&target, &records).await;
    let said = ended(&synod(&target, &["restore", path]).await, 1);
    assert!(said.contains("was restored already"), "{said}");
    let put = client.put("after", "restored").await.unwrap();
    assert_eq!(put.value, verified.summary.revision.next(), "revisions go on");
}

#[tokio::test]
async fn a_backup_goes_on_with_another_learner() {
    let mut daemons = formed("backup-handover", (1, 1, 2)).await;
    let client = client(&daemons);
    let puts = (0..3_000).map(|number| client.put(format!("{number:05}"), vec![7; 100]));
    assert!(join_all(puts).await.iter().all(Result::is_ok));
    let file = daemons.folder.join("backup");
    let mut synod = command("synod");
    synod.arg("--cluster").arg(&daemons.file).arg("backup").arg(&file);
    let backup = tokio::task::spawn_blocking(move || synod.output().unwrap());
    let giver = daemons
        .wait_for("a learner to give a snapshot", async |daemons| {
            let gives = |id: &&LearnerId| daemons.log(**id).contains("keeps a snapshot");
            daemons.cluster.learners.keys().find(gives).copied()
        })
        .await;
    daemons.kill(NodeId::from(giver));
    let said = ended(&backup.await.unwrap(), 0);
    println!("{said}");
    assert_eq!(read(&file).0.len(), 3_000);
    // With no learner at all there is no file.
    daemons.kill_all();
    let said =
        ended(&self::synod(&daemons, &["backup", "--force", file.to_str().unwrap(), "--stale"]).await, 1);
    assert!(said.contains("no learner gives a whole snapshot"), "{said}");
    assert_eq!(read(&file).0.len(), 3_000, "what was there before is left alone");
}
