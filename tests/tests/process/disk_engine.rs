//! Learners that keep their state on disk: restarted, without a state, damaged.

use std::path::{Path, PathBuf};

use synod_protocol::LearnerId;
use synod_tests::Daemons;

use super::learners::{L3, formed, put, verify, wait_for_floor, wait_until_level, wait_until_synced};

const DISK: &[&str] = &["--engine", "disk"];
const INSTALLED: &str = "installed a peer's state";

/// A cluster whose l3 keeps its state on disk.
async fn on_disk(name: &str) -> Daemons {
    let mut daemons = formed(name).await;
    daemons.kill(L3);
    std::fs::remove_dir_all(daemons.data_dir(L3)).unwrap();
    daemons.start_with(L3, DISK);
    daemons
}

/// The largest table that holds a part of a stopped learner's state. Others may lie beside it, which the next start removes.
fn largest_table(daemons: &Daemons, id: LearnerId) -> PathBuf {
    let (_, text) = verify(daemons, id);
    let sound = text.lines().filter_map(|line| line.split_once(": sound, "));
    let tables = sound.filter(|(path, _)| Path::new(path).parent().is_some_and(|at| at.ends_with("tables")));
    let bytes = |table: &(&str, &str)| table.1.trim_end_matches(" bytes").parse::<u64>().unwrap();
    tables.max_by_key(bytes).expect("a table").0.into()
}

/// Changes one bit in the middle of a file.
fn flip(path: &Path) {
    let mut content = std::fs::read(path).unwrap();
    let at = content.len() / 2;
    content[at] ^= 1;
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn the_engine_on_disk_goes_on_and_takes_a_snapshot_like_the_other() {
    let mut daemons = formed("learner-on-disk").await;
    daemons.kill(L3);
    std::fs::remove_dir_all(daemons.data_dir(L3)).unwrap();
    put(&daemons, 1, 60).await;
    wait_for_floor(&daemons, 10).await;
    daemons.start_with(L3, &["--engine", "disk"]);
    let fetched = wait_until_level(&daemons, L3).await;
    assert_eq!((fetched.engine.as_str(), fetched.keys), ("disk", 60));
    assert!(daemons.log(L3).contains("installed a peer's state"), "{}", daemons.log(L3));
    wait_until_synced(&daemons, L3, 20).await;
    daemons.stop(L3).await;
    daemons.start_with(L3, &["--engine", "disk"]);
    put(&daemons, 2, 10).await;
    wait_until_level(&daemons, L3).await;
    let installed = daemons.log(L3).matches("installed a peer's state").count();
    assert_eq!(installed, 1, "its own state was enough the second time");
}

/// What opening reads: it is found before anything is served.
#[tokio::test]
async fn i12_a_damaged_store_on_disk_is_set_aside_and_the_state_fetched_from_a_peer() {
    let mut daemons = on_disk("learner-on-damaged-disk").await;
    put(&daemons, 1, 60).await;
    wait_until_synced(&daemons, L3, 16).await;
    daemons.kill(L3);
    put(&daemons, 2, 60).await;
    wait_for_floor(&daemons, 20).await;
    let (code, text) = verify(&daemons, L3);
    assert_eq!(code, Some(0), "{text}");
    let store = largest_table(&daemons, L3);
    flip(&store.parent().unwrap().with_file_name("current"));
    let (code, text) = verify(&daemons, L3);
    assert!(code == Some(1) && text.contains("damaged"), "{text}");
    daemons.start_with(L3, DISK);
    wait_until_level(&daemons, L3).await;
    let log = daemons.log(L3);
    assert!(log.contains("set an unusable store aside") && log.contains(INSTALLED), "{log}");
    wait_until_synced(&daemons, L3, 20).await;
    daemons.kill(L3);
    let (code, text) = verify(&daemons, L3);
    assert_eq!(code, Some(0), "what came from the peer is on disk: {text}");
}

/// What opening doesn't read: it ends the process when it is met, and the next start knows.
#[tokio::test]
async fn i12_damage_met_while_running_ends_a_learner_once() {
    let mut daemons = on_disk("learner-meets-damage").await;
    put(&daemons, 1, 200).await;
    wait_until_synced(&daemons, L3, 100).await;
    // Without l2 acceptors keep all that l3 hasn't synced, and it needs no peer's state.
    daemons.stop(LearnerId(2)).await;
    daemons.stop(L3).await;
    flip(&largest_table(&daemons, L3));
    let (code, text) = verify(&daemons, L3);
    assert!(code == Some(1) && text.contains("is damaged"), "{text}");
    daemons.start_with(L3, DISK);
    // A put reads what was there; l1 answers.
    put(&daemons, 2, 200).await;
    let (code, log) = daemons.ended(L3).await;
    assert!(code != Some(0) && log.contains("the state is fetched from a peer"), "{code:?}: {log}");
    daemons.start(LearnerId(2));
    daemons.start_with(L3, DISK);
    wait_until_level(&daemons, L3).await;
    let log = daemons.log(L3);
    assert!(log.contains("as was found while it was in use"), "{log}");
    let client = put(&daemons, 3, 1).await;
    assert_eq!(client.get("key-7").await.unwrap().value.as_deref(), Some(&b"value-2"[..]));
    wait_until_level(&daemons, LearnerId(2)).await;
}
