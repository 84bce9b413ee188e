//! The supervisor as a person runs it: what it starts, restarts and leaves behind, and what it says when it can't start.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use synod_protocol::{LearnerId, NodeId};
use synod_tests::{Daemons, binary, command};

/// A supervisor with what it prints in a file. Killed with the test.
struct Supervisor {
    child: Child,
    printed: PathBuf,
    data_dir: PathBuf,
}

impl Supervisor {
    fn start(daemons: &Daemons, arguments: &[&str]) -> Supervisor {
        let printed = daemons.folder.join("supervisor.txt");
        let data_dir = daemons.folder.join("data");
        let out = File::create(&printed).unwrap();
        let mut command = command("synod-supervisor");
        command.args(arguments).arg("--cluster").arg(&daemons.file).arg("--data-dir").arg(&data_dir);
        let child =
            command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Supervisor { child, printed, data_dir }
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.printed).unwrap()
    }

    /// Process ids from the table.
    fn pids(&self) -> BTreeMap<String, u32> {
        let row = |line: &str| {
            let mut words = line.split_whitespace();
            let (id, pid) = (words.next()?.to_string(), words.next()?.parse().ok()?);
            id.starts_with(['a', 'p', 'l']).then_some((id, pid))
        };
        self.printed().lines().filter_map(row).collect()
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Whether the timeline tells of this event, and of this node where one is named.
    fn told(&self, event: &str, node: Option<&str>) -> Option<()> {
        let lines = std::fs::read_to_string(self.data_dir.join("timeline.jsonl")).unwrap_or_default();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut fitting =
            lines.filter(|line| line["event"] == event && node.is_none_or(|node| line["node"] == node));
        fitting.next().map(|_| ())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the supervisor printed:\n{}", self.printed());
        }
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Whether a process has ended (it may wait to be collected by whoever inherited it).
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Waits until every address of the cluster can be listened on again.
async fn wait_until_free(daemons: &Daemons) {
    daemons
        .wait_for("every port to be free", async |daemons| {
            daemons.cluster.nodes().all(|(_, address)| TcpListener::bind(address).is_ok()).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn up_forms_a_new_cluster_restarts_what_dies_and_stops_on_a_signal() {
    let daemons = Daemons::prepare("supervisor-up", (3, 2, 2), "");
    let mut supervisor = Supervisor::start(&daemons, &["up"]);
    daemons.wait_for("the first leader", async |_| supervisor.told("elected", None)).await;
    assert!(supervisor.told("formed", None).is_some());
    let pids = supervisor.pids();
    assert_eq!(
        pids.keys().map(String::as_str).collect::<Vec<_>>(),
        ["a1", "a2", "a3", "l1", "l2", "p1", "p2"]
    );
    send(pids["l2"], Signal::KILL);
    daemons.wait_for("l2 to be restarted", async |_| supervisor.told("restarted", Some("l2"))).await;
    assert!(supervisor.told("died", Some("l2")).is_some());
    let l2 = NodeId::from(LearnerId(2));
    daemons.wait_for("l2 to answer", async |daemons| daemons.status(l2).await).await;
    supervisor.signal(Signal::TERM);
    let status = tokio::task::block_in_place(|| supervisor.child.wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(supervisor.told("stopped", None).is_some());
    assert!(pids.values().all(|pid| has_ended(*pid)), "{pids:?}");
    for id in pids.keys() {
        assert!(supervisor.data_dir.join("logs").join(format!("{id}.log")).is_file(), "no log of {id}");
    }

    // The same again: the cluster is there and isn't formed anew.
    std::fs::remove_file(supervisor.data_dir.join("timeline.jsonl")).unwrap();
    let mut supervisor = Supervisor::start(&daemons, &["up"]);
    daemons.wait_for("a leader", async |_| supervisor.told("elected", None)).await;
    assert!(supervisor.told("formed", None).is_none());
    supervisor.signal(Signal::INT);
    let status = tokio::task::block_in_place(|| supervisor.child.wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_supervisor_killed_with_kill_9_leaves_no_orphan() {
    let daemons = Daemons::prepare("supervisor-killed", (3, 1, 1), "");
    let supervisor = Supervisor::start(&daemons, &["chaos", "--interval-ms", "300", "--downtime-ms", "100"]);
    daemons.wait_for("a restart", async |_| supervisor.told("restarted", None)).await;
    let pids = supervisor.pids();
    assert_eq!(pids.len(), 5);
    supervisor.signal(Signal::KILL);
    wait_until_free(&daemons).await;
    daemons
        .wait_for("every process to end", async |_| pids.values().all(|pid| has_ended(*pid)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn chaos_kills_and_restarts_for_a_while_and_ends() {
    let daemons = Daemons::prepare("supervisor-chaos", (3, 2, 2), "");
    let arguments = [
        "chaos",
        "--interval-ms",
        "400",
        "--downtime-ms",
        "50-200",
        "--roles",
        "acceptor,proposer,learner",
        "--for",
        "4",
    ];
    let mut supervisor = Supervisor::start(&daemons, &arguments);
    let status = tokio::task::block_in_place(|| supervisor.child.wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(supervisor.told("killed", None).is_some() && supervisor.told("restarted", None).is_some());
    assert!(supervisor.printed().contains("--seed "));
    wait_until_free(&daemons).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_small_demo_passes() {
    let daemons = Daemons::prepare("supervisor-demo", (5, 3, 3), "");
    let seed = daemons.seed.to_string();
    let arguments = ["demo", "--seconds", "6", "--clients", "4", "--interval-ms", "900", "--seed", &seed];
    let mut supervisor = Supervisor::start(&daemons, &arguments);
    let status = tokio::task::block_in_place(|| supervisor.child.wait().unwrap());
    let printed = supervisor.printed();
    assert!(printed.lines().any(|line| line == "verdict: PASS"), "{printed}");
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(supervisor.told("killed", None).is_some());
    println!("{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_short_soak_passes_and_one_with_bounds_too_small_fails() {
    for (bound, verdict, code) in [("2048", "verdict: PASS", 0), ("1", "verdict: FAIL: a1 took", 1)] {
        let daemons = Daemons::prepare("supervisor-soak", (5, 3, 3), "");
        let seed = daemons.seed.to_string();
        let arguments = [
            ["soak", "--puts", "20000", "--keys", "2000", "--clients", "32", "--interval-ms", "60"]
                .as_slice(),
            &["--acceptor-disk-mib", bound, "--seed", &seed],
        ];
        let mut supervisor = Supervisor::start(&daemons, &arguments.concat());
        let status = tokio::task::block_in_place(|| supervisor.child.wait().unwrap());
        let printed = supervisor.printed();
        assert!(printed.lines().any(|line| line.starts_with(verdict)), "{printed}");
        assert_eq!(status.code(), Some(code), "{printed}");
        assert!(printed.contains("the hash chains of 3 learners are equal"), "{printed}");
        assert!(supervisor.told("sizes", None).is_some() && supervisor.told("killed", None).is_some());
    }
}

/// Runs `up` to its end, which must be an error that says `words`, with nothing started.
fn refused(arguments: &[&str], cluster: &Path, words: &[&str]) {
    let mut command: Command = command("synod-supervisor");
    let data_dir = cluster.with_extension("data");
    command.args(arguments).arg("--cluster").arg(cluster).arg("--data-dir").arg(&data_dir);
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!((status.code(), stdout.as_ref()), (Some(1), ""), "{stderr}");
    for word in words.iter().chain(&["nothing was started"]) {
        assert!(stderr.contains(word), "{word:?} isn't in:\n{stderr}");
    }
    assert!(!data_dir.exists(), "{} was made", data_dir.display());
}

#[tokio::test]
async fn what_cannot_start_is_said_before_anything_starts() {
    let daemons = Daemons::prepare("supervisor-refused", (3, 1, 1), "");
    let text = std::fs::read_to_string(&daemons.file).unwrap();
    let file = |name: &str, text: &str| {
        let path = daemons.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    refused(&["up"], &daemons.folder.join("missing.toml"), &["missing.toml", "--cluster"]);
    refused(&["up"], &file("bad.toml", &text.replace("[tuning]", "[tunning]")), &["bad.toml", "tunning"]);
    let remote = text.replacen("127.0.0.1", "s1.example", 1);
    refused(&["up"], &file("remote.toml", &remote), &["a1 (s1.example:", "loopback"]);
    let empty = daemons.folder.display().to_string();
    refused(&["up", "--bin-dir", &empty], &daemons.file, &["synod-acceptor", "--bin-dir"]);
    refused(&["chaos", "--at-once", "2"], &daemons.file, &["--beyond-quorum"]);
    let (node, address) = daemons.cluster.nodes().nth(3).unwrap();
    let _holder = TcpListener::bind(address).unwrap();
    refused(&["up"], &daemons.file, &[address, &node.to_string(), "ss -ltnp"]);
    assert!(binary("synod-supervisor").is_file());
}
