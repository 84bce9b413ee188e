//! A cluster of real daemons for tests: real processes, real sockets, data on the real disk under cargo's target folder.
//!
//! Each cluster claims a block of ports for as long as it lives, so that clusters of parallel tests never meet and a port is still
//! free when its process is started again. Nothing here sleeps and hopes: everything waits for what it needs to see, under one
//! deadline, and says what it saw when that doesn't come. A cluster that a failing test leaves behind names its seed and keeps
//! its logs.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod binaries;
mod ports;
mod probe;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use synod_protocol::message::Status;
use synod_protocol::{AcceptorId, Cluster, LearnerId, NodeId, ProposerId};

pub use binaries::{bin_dir, binary, command};
pub use ports::Block;
pub use probe::{connect, dial_as, status};

/// The longest that anything is waited for. Generous: it bounds a hang, not a speed.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// The variable that sets the seed of every random choice in these tests.
pub const SEED: &str = "SYNOD_PROCESS_SEED";

/// A cluster of daemons; ends with them.
#[derive(Debug)]
pub struct Daemons {
    /// What the cluster file says.
    pub cluster: Cluster,
    /// The cluster file.
    pub file: PathBuf,
    /// Logs and data.
    pub folder: PathBuf,
    /// Every random choice of the test comes from it.
    pub seed: u64,
    running: BTreeMap<NodeId, Child>,
    ports: Block,
}

/// The seed of this run: drawn, or from the environment.
pub fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().unwrap_or_else(|error| panic!("{SEED}={seed}: {error}")),
        Err(_) => rand::random(),
    }
}

/// A new empty folder on disk for the test `name`.
pub fn new_folder(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let target = bin_dir().parent().expect("binaries lie in a folder of the target folder");
    let folder = target.join("process-tests").join(format!("{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The text of a cluster file with so many of each, on the ports of `ports`, and `rest` at its end.
pub fn cluster_text(ports: &Block, (acceptors, proposers, learners): (u16, u16, u16), rest: &str) -> String {
    let mut text = String::from("name = \"process-test\"\n");
    let mut next = ports.addresses();
    for (table, count) in [("acceptors", acceptors), ("proposers", proposers), ("learners", learners)] {
        for id in 1..=count {
            let address = next.next().expect("a block has ports for every test's cluster");
            text += &format!("[[{table}]]\nid = {id}\naddress = \"{address}\"\n");
        }
    }
    // Small segments: what a new acceptor fills with zeros before it votes.
    let tuning = if rest.contains("[tuning]") { "" } else { "[tuning]\nsegment_bytes = 1048576\n" };
    text + rest + "\n" + tuning
}

impl Daemons {
    /// A cluster file and a folder; nothing runs.
    pub fn prepare(name: &str, sizes: (u16, u16, u16), rest: &str) -> Daemons {
        let ports = Block::claim();
        let folder = new_folder(name);
        let text = cluster_text(&ports, sizes, rest);
        let file = folder.join("cluster.toml");
        std::fs::write(&file, &text).unwrap();
        let cluster = Cluster::parse(&text, &[]).unwrap();
        let seed = seed();
        Daemons { cluster, file, folder, seed, running: BTreeMap::new(), ports }
    }

    /// A formed cluster in which every process takes part and one leads.
    pub async fn formed(name: &str, sizes: (u16, u16, u16)) -> Daemons {
        let mut daemons = Daemons::prepare(name, sizes, "");
        daemons.start_all();
        daemons.form().await;
        daemons.wait_until_serving().await;
        daemons
    }

    /// Forms the cluster, as `synod admin form` does.
    pub async fn form(&self) {
        self.wait_for("the cluster to be formed", async |daemons| {
            // The acceptors may not listen yet.
            synod_client::admin::form(&daemons.cluster, |_, _| {}).await.ok()
        })
        .await;
    }

    /// Adds an observer to the cluster file; processes that run need not know of it.
    pub fn add_observer(&mut self, id: u16) {
        let address = self.ports.addresses().last().expect("a block has ports for every test's cluster");
        let text = std::fs::read_to_string(&self.file).unwrap();
        let text = format!("{text}\n[[observers]]\nid = {id}\naddress = \"{address}\"\n");
        std::fs::write(&self.file, &text).unwrap();
        self.cluster = Cluster::parse(&text, &[]).unwrap();
    }

    /// Asks a node that runs to stop, as an operator does, and waits until it is gone.
    pub async fn stop(&mut self, node: impl Into<NodeId>) {
        let node = node.into();
        // It stops when its standard input closes.
        drop(self.running.get_mut(&node).and_then(|child| child.stdin.take()));
        let (code, log) = self.ended(node).await;
        assert_eq!(code, Some(0), "{node} didn't stop well:\n{log}");
    }

    /// Every node of the cluster file.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.cluster.nodes().map(|(node, _)| node).collect()
    }

    /// Starts every node that doesn't run.
    pub fn start_all(&mut self) {
        for node in self.nodes() {
            if !self.running.contains_key(&node) {
                self.start(node);
            }
        }
    }

    /// Starts a node.
    pub fn start(&mut self, node: impl Into<NodeId>) {
        self.start_with(node, &[]);
    }

    /// Starts a node with more flags.
    pub fn start_with(&mut self, node: impl Into<NodeId>, flags: &[&str]) {
        let node = node.into();
        let child = self.daemon(node, &self.file, &self.data_dir(node)).args(flags).spawn().unwrap();
        let before = self.running.insert(node, child);
        assert!(before.is_none(), "{node} was started twice");
    }

    /// How a node is started with that cluster file and (but for a proposer) that data directory; its output goes to its log.
    pub fn daemon(&self, node: NodeId, file: &Path, data_dir: &Path) -> Command {
        let (name, id) = match node {
            NodeId::Acceptor(AcceptorId(id)) => ("synod-acceptor", id),
            NodeId::Proposer(ProposerId(id)) => ("synod-proposer", id),
            NodeId::Learner(LearnerId(id)) => ("synod-learner", id),
            NodeId::Client(_) => panic!("{node} is no daemon"),
        };
        let mut command = command(name);
        let is_observer = name == "synod-learner" && self.cluster.observers.contains_key(&LearnerId(id));
        let who = if is_observer { "--observer" } else { "--id" };
        command.args(["--cluster".as_ref(), file.as_os_str(), who.as_ref(), id.to_string().as_ref()]);
        command.args(["--lifeline", "--log", "info"]);
        if name != "synod-proposer" {
            command.arg("--data-dir").arg(data_dir);
        }
        let log = self.append_to_log(node);
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        command
    }

    fn append_to_log(&self, node: NodeId) -> File {
        OpenOptions::new().create(true).append(true).open(self.log_file(node)).unwrap()
    }

    /// Where an acceptor's journal is, or a learner's store.
    pub fn data_dir(&self, node: impl Into<NodeId>) -> PathBuf {
        self.folder.join(node.into().to_string())
    }

    fn log_file(&self, node: NodeId) -> PathBuf {
        self.folder.join(format!("{node}.log"))
    }

    /// Everything a node has logged.
    pub fn log(&self, node: impl Into<NodeId>) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file(node.into())).unwrap_or_default()).into_owned()
    }

    /// Kills a node (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self, node: impl Into<NodeId>) {
        let node = node.into();
        let mut child = self.running.remove(&node).unwrap_or_else(|| panic!("{node} doesn't run"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Kills every node at once.
    pub fn kill_all(&mut self) {
        for child in self.running.values_mut() {
            child.kill().unwrap();
        }
        for (_, mut child) in std::mem::take(&mut self.running) {
            child.wait().unwrap();
        }
    }

    /// The process id of every node that runs.
    pub fn pids(&self) -> BTreeMap<NodeId, u32> {
        self.running.iter().map(|(node, child)| (*node, child.id())).collect()
    }

    /// How a node that is expected to end has ended, and what it logged.
    pub async fn ended(&mut self, node: impl Into<NodeId>) -> (Option<i32>, String) {
        let node = node.into();
        let mut child = self.running.remove(&node).unwrap_or_else(|| panic!("{node} doesn't run"));
        let started = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if started.elapsed() > DEADLINE => {
                    child.kill().unwrap();
                    panic!("{node} goes on; it logged:\n{}", self.log(node));
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        (status.code(), self.log(node))
    }

    /// How a node says it is; nothing when it doesn't answer.
    pub async fn status(&self, node: impl Into<NodeId>) -> Option<Status> {
        status(&self.cluster, node.into()).await
    }

    /// The leader, if a proposer says it leads.
    pub async fn leader(&self) -> Option<(ProposerId, synod_protocol::Ballot)> {
        let mut leader = None;
        for id in self.cluster.proposers.keys() {
            if let Some(Status::Proposer(status)) = self.status(*id).await
                && status.phase == synod_protocol::message::PhaseName::Leading
            {
                leader = leader.max(Some((status.ballot, *id)));
            }
        }
        leader.map(|(ballot, id)| (id, ballot))
    }

    /// Waits until some proposer leads.
    pub async fn wait_for_leader(&self) -> (ProposerId, synod_protocol::Ballot) {
        self.wait_for("a leader", async |daemons| daemons.leader().await).await
    }

    /// Waits until somebody leads and every process that runs answers.
    pub async fn wait_until_serving(&self) {
        self.wait_for_leader().await;
        for node in self.running.keys() {
            self.wait_for(&format!("{node} to answer"), async |daemons| daemons.status(*node).await).await;
        }
    }

    /// Asks again and again until there is an answer; fails with the end of every log when none comes in time.
    pub async fn wait_for<T>(&self, what: &str, ask: impl AsyncFn(&Daemons) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(answer) = ask(self).await {
                return answer;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "waited {DEADLINE:?} for {what}; logs are in {}",
                self.folder.display()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended by itself.
            let _gone = child.kill();
            let _waited = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("logs and data: {}; replay with {SEED}={}", self.folder.display(), self.seed);
        } else {
            let _removed = std::fs::remove_dir_all(&self.folder);
        }
    }
}
