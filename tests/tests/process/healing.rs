//! Self-healing: what an acceptor missed while it was down comes back by itself, from the other acceptors' disks, and counts from then on.

use std::time::Duration;

use futures::future::join_all;
use synod_client::status::{ClusterStatus, status};
use synod_client::{Client, Options};
use synod_protocol::{AcceptorId, LearnerId, ProposerId};
use synod_tests::Daemons;

const A5: AcceptorId = AcceptorId(5);
/// A slot for each put; acceptors that keep little in memory; healing slow enough to be seen.
const TUNING: &str = "[tuning]\nsegment_bytes = 4194304\nacceptor_cache_bytes = 262144\nbatch_commands = 1\nheal_bytes = 32768\n";
const KEYS: usize = 2_000;
const AT_ONCE: usize = 16;

fn value(number: usize) -> Vec<u8> {
    let mut value = vec![number as u8; 4 << 10];
    value[..8].copy_from_slice(&(number as u64).to_le_bytes());
    value
}

async fn acceptors_line(daemons: &Daemons, what: &str, is: impl Fn(&ClusterStatus) -> bool) -> String {
    let found =
        daemons.wait_for(what, async |daemons| Some(status(&daemons.cluster).await).filter(&is)).await;
    let text = found.to_string();
    text.lines().find(|line| line.starts_with("acceptors")).unwrap().to_string()
}

#[tokio::test]
async fn s8_an_acceptor_that_missed_much_is_healed_from_the_others_disks_and_then_two_may_go() {
    let mut daemons = Daemons::prepare("healing", (5, 1, 1), TUNING);
    daemons.start_all();
    daemons.form().await;
    daemons.wait_until_serving().await;
    daemons.kill(A5);
    let client = Client::connect(daemons.cluster.clone(), Options { deadline: Duration::from_secs(20) });
    for first in (0..KEYS).step_by(AT_ONCE) {
        let puts = (first..first + AT_ONCE).map(|number| client.put(format!("k{number}"), value(number)));
        assert!(join_all(puts).await.iter().all(Result::is_ok));
    }
    let line = acceptors_line(&daemons, "a5 to be missed", |status| status.acceptors.open == 4).await;
    assert!(line.contains("1 more acceptor may fail (3 of 5 needed, 4 up)"), "{line}");

    // Another life of the leader remembers nothing: all of it comes from the acceptors, most of it from their disks.
    daemons.kill(ProposerId(1));
    daemons.start(ProposerId(1));
    daemons.wait_for_leader().await;
    daemons.start(A5);
    let behind = |status: &ClusterStatus| !status.acceptors.behind.is_empty();
    let line = acceptors_line(&daemons, "a5 to catch up", behind).await;
    assert!(
        line.contains("1 more acceptor may fail: a5 is still catching up, ") && line.contains(" slots to go"),
        "{line}"
    );
    // Clients are served meanwhile.
    let last = client.put("last", "put while a5 catches up").await.unwrap();
    let whole = |status: &ClusterStatus| status.acceptors.more_failures == 2;
    let line = acceptors_line(&daemons, "a5 to be whole", whole).await;
    assert!(line.contains("2 more acceptors may fail (3 of 5 needed, 5 up)"), "{line}");
    daemons
        .wait_for("a5 to hold everything", async |daemons| match daemons.status(A5).await {
            Some(synod_protocol::message::Status::Acceptor(status)) => {
                (status.held >= last.slot).then_some(())
            }
            _ => None,
        })
        .await;

    // Two others are gone for good, and so is what the learner had: a5 is one of the three that have everything.
    daemons.kill(AcceptorId(1));
    daemons.kill(AcceptorId(2));
    daemons.kill(LearnerId(1));
    std::fs::remove_dir_all(daemons.data_dir(LearnerId(1))).unwrap();
    daemons.start(LearnerId(1));
    let reads = (0..KEYS).map(async |number| {
        let found = client.get(format!("k{number}")).await.unwrap().value;
        assert!(found.is_some_and(|found| found[..] == value(number)), "k{number}");
    });
    join_all(reads).await;
    assert!(client.get("last").await.unwrap().value.is_some());
    let line = acceptors_line(&daemons, "three to be left", |status| status.acceptors.open == 3).await;
    assert!(line.contains("no more acceptor may fail"), "{line}");
}
