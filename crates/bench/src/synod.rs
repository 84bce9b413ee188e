//! A Synod cluster to measure: daemons as they ship, on this host, with data on its disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use synod_client::{Client, Options, admin, ask};
use synod_protocol::message::{PhaseName, ProposerStatus, Status};
use synod_protocol::{Cluster, ProposerId};

use crate::process::{Part, Started, free_ports, write_file};
use crate::shape::{Engine, Shape};

/// Time in which a new cluster must be formed and answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a process may take to say how it is.
const ANSWER: Duration = Duration::from_millis(200);

/// The cluster file in its folder.
const FILE: &str = "cluster.toml";

/// A cluster that runs.
#[derive(Debug)]
pub struct Synod {
    /// Its processes.
    pub processes: Vec<Started>,
    /// What its cluster file says.
    pub cluster: Cluster,
    engine: Engine,
    bin_dir: PathBuf,
    folder: PathBuf,
}

impl Synod {
    /// Starts a new cluster with everything in `folder`, forms it, and waits until it takes a command.
    ///
    /// # Errors
    /// When a daemon can't be started, or the cluster doesn't answer in time.
    pub async fn start(shape: &Shape, bin_dir: &Path, folder: &Path) -> Result<Synod> {
        let tables = [
            ("acceptors", Part::Acceptor, shape.acceptors),
            ("proposers", Part::Proposer, shape.proposers),
            ("learners", Part::Learner, shape.learners),
        ];
        let mut ports = free_ports(tables.iter().map(|(_, _, count)| count).sum())?.into_iter();
        let mut text = String::from("name = \"bench\"\n");
        for (table, _, count) in &tables {
            for (id, port) in (1..=*count).zip(&mut ports) {
                text += &format!("[[{table}]]\nid = {id}\naddress = \"127.0.0.1:{port}\"\n");
            }
        }
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join(FILE);
        write_file(&file, &text)?;
        let cluster = Cluster::parse(&text, &[]).context("the benchmark's cluster file")?;
        let mut processes = Vec::new();
        for (_, part, count) in &tables {
            for id in 1..=*count {
                processes.push(daemon(*part, id, shape.engine, bin_dir, folder)?);
            }
        }
        let (bin_dir, folder) = (bin_dir.to_path_buf(), folder.to_path_buf());
        let synod = Synod { processes, cluster, engine: shape.engine, bin_dir, folder };
        synod.form().await?;
        Ok(synod)
    }

    async fn form(&self) -> Result<()> {
        let begun = Instant::now();
        while let Err(error) = admin::form(&self.cluster, |_, _| {}).await {
            if begun.elapsed() > PATIENCE {
                bail!("the cluster was not formed in time: {error}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let client = self.client();
        let first = client.put("first", "").await;
        first.context("the new cluster doesn't take a command; its logs tell more")?;
        // A session that could not be ended expires by itself.
        let _ended = client.close().await;
        Ok(())
    }

    /// The proposer that leads; asked until one says so.
    ///
    /// # Errors
    /// When nobody leads in time.
    pub async fn leader(&self) -> Result<ProposerId> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            for proposer in self.cluster.proposers.keys() {
                let answer = ask::status(&self.cluster, (*proposer).into(), ANSWER).await;
                let leads = |status: &ProposerStatus| status.phase == PhaseName::Leading;
                if matches!(&answer, Ok(Status::Proposer(status)) if leads(status)) {
                    return Ok(*proposer);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("nobody leads after {PATIENCE:?}; the proposers' logs tell more")
    }

    /// Its cluster file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Stops all its processes where they are, until [`Synod::go_on`].
    pub fn pause(&self) {
        self.processes.iter().for_each(Started::pause);
    }

    /// Lets all its processes go on.
    pub fn go_on(&self) {
        self.processes.iter().for_each(Started::go_on);
    }

    /// Kills one of its processes.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn stop(&mut self, part: Part, id: usize) -> Result<()> {
        let found = self.processes.iter().position(|started| (started.part, started.id) == (part, id));
        drop(self.processes.remove(found.context("no such process runs")?));
        Ok(())
    }

    /// Starts a process again that was stopped.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_again(&mut self, part: Part, id: usize) -> Result<()> {
        self.processes.push(daemon(part, id, self.engine, &self.bin_dir, &self.folder)?);
        Ok(())
    }

    /// A client of its own.
    pub fn client(&self) -> Client {
        Client::connect(self.cluster.clone(), Options { deadline: PATIENCE })
    }
}

fn daemon(part: Part, id: usize, engine: Engine, bin_dir: &Path, folder: &Path) -> Result<Started> {
    let (name, letter) = match part {
        Part::Acceptor => ("synod-acceptor", 'a'),
        Part::Proposer => ("synod-proposer", 'p'),
        Part::Learner => ("synod-learner", 'l'),
        Part::Member | Part::Client => bail!("{} is no daemon", part.name()),
    };
    let binary: PathBuf = bin_dir.join(name);
    let mut command = Command::new(&binary);
    command.arg("--cluster").arg(folder.join(FILE)).arg("--id").arg(id.to_string()).arg("--lifeline");
    if part != Part::Proposer {
        command.arg("--data-dir").arg(folder.join(format!("{letter}{id}")));
    }
    if part == Part::Learner {
        command.args(["--engine", engine.name()]);
    }
    Started::start(part, id, command, &folder.join(format!("{letter}{id}.log"))).with_context(|| {
        format!(
            "{} must be there: build with scripts/bench.sh, or name its folder with --bin-dir",
            binary.display()
        )
    })
}
