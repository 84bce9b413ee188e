//! S12 on real directories and files: who doesn't belong here doesn't vote, and is told what to do.

use std::path::Path;

use synod_client::{Client, Options};
use synod_protocol::message::{Formation, Status};
use synod_protocol::{AcceptorId, Cluster, NodeId, ProposerId};
use synod_tests::{Daemons, command, connect};

const A1: AcceptorId = AcceptorId(1);
const A2: AcceptorId = AcceptorId(2);

/// The text, which must say all of `words`.
#[track_caller]
fn says(text: &str, words: &[&str]) {
    let text = text.to_lowercase();
    for word in words {
        assert!(text.contains(&word.to_lowercase()), "{word:?} isn't in:\n{text}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn s12_an_acceptor_with_an_empty_directory_does_not_vote_and_says_what_to_do() {
    let mut daemons = Daemons::formed("empty-directory", (3, 1, 1)).await;
    daemons.kill(A1);
    std::fs::remove_dir_all(daemons.data_dir(A1)).unwrap();
    let told_before = daemons.log(A1).len();
    daemons.start(A1);
    let status = daemons.wait_for("a1 to answer", async |daemons| daemons.status(A1).await).await;
    assert!(
        matches!(&status, Status::Acceptor(acceptor) if acceptor.formation == Formation::Empty && acceptor.promised.is_none()),
        "{status:?}"
    );
    daemons
        .wait_for("a1 to say what to do", async |daemons| {
            let log = daemons.log(A1)[told_before..].to_lowercase();
            (log.contains("form") && log.contains("vote")).then_some(())
        })
        .await;
    // The cluster that was formed with its old disk can't be formed again around its new one.
    let refused = synod_client::admin::form(&daemons.cluster, |_, _| {}).await.unwrap_err().to_string();
    says(&refused, &["a1"]);
    let status = daemons.status(A1).await;
    assert!(matches!(status, Some(Status::Acceptor(acceptor)) if acceptor.formation == Formation::Empty));
}

#[tokio::test]
async fn s12_an_acceptor_with_a_foreign_directory_refuses_to_start() {
    let mut daemons = Daemons::formed("foreign-directory", (3, 1, 1)).await;
    daemons.kill(A1);
    daemons.kill(A2);
    std::fs::remove_dir_all(daemons.data_dir(A1)).unwrap();
    copy(&daemons.data_dir(A2), &daemons.data_dir(A1));
    daemons.start(A1);
    let (code, log) = daemons.ended(A1).await;
    assert_eq!(code, Some(1), "{log}");
    says(&log, &["this is the journal of a2, not of a1", "--data-dir"]);
}

#[tokio::test]
async fn s12_an_acceptor_whose_journal_is_damaged_refuses_to_start_and_the_tools_say_where() {
    let mut daemons = Daemons::formed("damaged-journal", (3, 1, 1)).await;
    let client = Client::connect(daemons.cluster.clone(), Options::default());
    for number in 0..20 {
        client.put(format!("k{number}"), "v").await.unwrap();
    }
    daemons.kill(A1);
    let segment = daemons.data_dir(A1).join("segment-0000000000000001");
    let tool =
        |what: &str| command("synod-acceptor").args(["journal", what]).arg(daemons.data_dir(A1)).output();
    let sound = tool("verify").unwrap();
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    let mut bytes = std::fs::read(&segment).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // The first block is the segment's head; damage there is as sure to be found, but not the middle.
    let middle = (4096..).find(|at| *at >= written / 2 && bytes[*at] != 0).unwrap();
    bytes[middle] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let damaged = tool("verify").unwrap();
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    says(&String::from_utf8_lossy(&damaged.stdout), &["segment-0000000000000001", "offset"]);
    daemons.start(A1);
    let (code, log) = daemons.ended(A1).await;
    assert_eq!(code, Some(1), "{log}");
    says(&log, &["segment-0000000000000001", "readmit"]);
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "nothing is changed");
    client.put("after", "v").await.unwrap();
}

#[tokio::test]
async fn s12_two_acceptors_on_one_directory_the_second_is_refused_by_the_lock() {
    let mut daemons = Daemons::formed("one-directory", (3, 1, 1)).await;
    // The same acceptor again, on another port: it must not even come to listen.
    let mut second = daemons.daemon(A1.into(), &daemons.file, &daemons.data_dir(A1));
    second.args(["--listen", "127.0.0.1:0"]);
    let before = daemons.log(A1).len();
    let mut second = second.spawn().unwrap();
    let status = tokio::task::spawn_blocking(move || second.wait().unwrap()).await.unwrap();
    let log = daemons.log(A1)[before..].to_string();
    assert_eq!(status.code(), Some(1), "{log}");
    says(
        &log,
        &["in use by process", "stop that process first", &daemons.data_dir(A1).display().to_string()],
    );
    assert!(daemons.status(A1).await.is_some(), "the first goes on");
    daemons.kill(A1);
    daemons.start(A1);
    daemons.wait_for("a1 to answer", async |daemons| daemons.status(A1).await).await;
}

/// The cluster file with `[quorum]` changed, beside the first.
fn with_quorum(daemons: &Daemons, phase1: usize, phase2: usize) -> (std::path::PathBuf, Cluster) {
    let text = std::fs::read_to_string(&daemons.file).unwrap();
    let text = format!("{text}\n[quorum]\nphase1 = {phase1}\nphase2 = {phase2}\n");
    let file = daemons.folder.join("other.toml");
    std::fs::write(&file, &text).unwrap();
    let cluster = Cluster::parse(&text, &[]).unwrap();
    (file, cluster)
}

#[tokio::test]
async fn s12_changed_quorum_sizes_in_one_file_are_refused() {
    let mut daemons = Daemons::formed("changed-quorum", (3, 2, 1)).await;
    let (file, other) = with_quorum(&daemons, 3, 1);
    // At hello, by every role.
    for node in daemons.nodes() {
        let refused = connect(&other, node).await.map(|_| ()).unwrap_err().to_string();
        says(&refused, &["other fixed parameters", &node.to_string(), "same cluster file"]);
    }
    // A proposer that is started with the file leads nobody, and says why.
    let (leader, ballot) = daemons.wait_for_leader().await;
    let stranger = ProposerId(if leader.0 == 1 { 2 } else { 1 });
    daemons.kill(stranger);
    let before = daemons.log(stranger).len();
    let mut child = daemons.daemon(stranger.into(), &file, Path::new("")).spawn().unwrap();
    daemons
        .wait_for("the stranger to say why", async |daemons| {
            daemons.log(stranger)[before..].contains("other fixed parameters").then_some(())
        })
        .await;
    assert_eq!(daemons.leader().await, Some((leader, ballot)));
    child.kill().unwrap();
    child.wait().unwrap();
    // An acceptor's journal remembers what it was formed with.
    daemons.kill(A1);
    let before = daemons.log(A1).len();
    let mut child = daemons.daemon(NodeId::from(A1), &file, &daemons.data_dir(A1)).spawn().unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    let log = daemons.log(A1)[before..].to_string();
    assert_eq!(status.code(), Some(1), "{log}");
    says(&log, &["formed with other fixed parameters", "start it with the cluster file it was formed with"]);
}
