//! Sessions that are open and do nothing but stay so: in processes of their own, since each holds two connections, and one process may
//! hold fewer files than that.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use synod_client::{Client, Options, ask};
use synod_protocol::Cluster;
use synod_protocol::message::Status;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use crate::process::{Part, Started};
use crate::synod::Synod;

/// Sessions of one process.
const SESSIONS: usize = 2_000;
/// Opened at once.
const AT_ONCE: usize = 100;
/// How long opening may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts processes that open so many sessions in all, and waits until the cluster has them.
///
/// # Errors
/// When they aren't all open in time.
pub async fn start(synod: &Synod, sessions: usize, folder: &Path) -> Result<Vec<Started>> {
    let own = std::env::current_exe().context("cannot find this executable")?;
    let mut processes = Vec::new();
    for first in (0..sessions).step_by(SESSIONS) {
        let mut command = Command::new(&own);
        command.arg("--hold-sessions").arg(SESSIONS.min(sessions - first).to_string());
        command.arg("--cluster").arg(synod.file());
        let id = first / SESSIONS;
        processes.push(Started::start(Part::Client, id, command, &folder.join(format!("idle-{id}.log")))?);
    }
    let begun = Instant::now();
    let learner = *synod.cluster.learners.keys().next().context("no learner")?;
    loop {
        let answer = ask::status(&synod.cluster, learner.into(), PATIENCE).await?;
        if matches!(answer, Status::Learner(status) if status.sessions >= sessions as u64) {
            return Ok(processes);
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{sessions} sessions are not open after {PATIENCE:?}; idle-*.log tell more"
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// What such a process does: opens so many sessions in the cluster of that file, and holds them until standard input ends.
///
/// # Errors
/// When one can't be opened.
pub async fn hold(sessions: usize, cluster: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(cluster).with_context(|| format!("cannot read {}", cluster.display()))?;
    let cluster = Cluster::parse(&text, &[])?;
    let mut held: Vec<Client> = Vec::new();
    while held.len() < sessions {
        let some: Vec<Client> = (0..AT_ONCE.min(sessions - held.len()))
            .map(|_| Client::connect(cluster.clone(), Options { deadline: PATIENCE }))
            .collect();
        // The first write opens a session.
        let opened = join_all(some.iter().map(|client| client.put("idle", "")));
        opened.await.into_iter().collect::<Result<Vec<_>, _>>().context("a session could not be opened")?;
        held.extend(some);
    }
    // Nothing is ever said there; it ends with whoever started this.
    let _ended = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    Ok(())
}
