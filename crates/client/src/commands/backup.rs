//! backup, restore, verify-backup.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use synod_client::backup::{self, Verified};
use synod_client::restore;
use synod_protocol::Slot;
use synod_protocol::message::Consistency;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Invocation};

/// Write the whole state of a running cluster into one file
///
/// The state is that of one slot, at or after every write that was acknowledged before the command began; clients are served meanwhile. The file is
/// checksummed, and gets its name only when it is whole and synced. Sessions are of no use in another cluster and aren't restored.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write
    file: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    /// Take what some learner has: needs no quorum, and may lack the latest writes
    #[arg(long)]
    stale: bool,
}

/// Restore a backup into a new cluster
///
/// The cluster must be formed and must never have taken a write. The whole file is verified before anything is sent. Every key gets the
/// revisions and the version that it had. If it is interrupted, run it again with the same file: it goes on; until it has ended, the cluster takes
/// no writes and no other backup.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
}

/// Read a backup and say whether it is sound; needs no cluster
#[derive(Debug, Args)]
pub(super) struct VerifyBackup {
    /// The backup
    file: PathBuf,
}

impl Backup {
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let Backup { file, force, stale } = self;
        if !force && file.symlink_metadata().is_ok() {
            return Err(backup::BackUpError::Exists(file).into());
        }
        let making = async {
            let least = if stale { Slot::ZERO } else { slot_of_now(invocation).await? };
            let report = |line: &str| eprintln!("{line}");
            anyhow::Ok(backup::back_up(&invocation.cluster, &file, force, least, report).await?)
        };
        let made: backup::Made = tokio::select! {
            made = making => made?,
            () = interrupted()? => bail!("interrupted; no file was made"),
        };
        let backup::Made { summary, bytes, checksum } = made;
        eprintln!(
            "backed up to {}: slot {}, {} keys, {bytes} bytes, revision {}, checksum {checksum:016x}",
            file.display(),
            summary.applied,
            summary.keys,
            summary.revision
        );
        Ok(Exit::Ok)
    }
}

/// The slot at which a read is answered: it sees every write that was acknowledged before.
async fn slot_of_now(invocation: &Invocation) -> anyhow::Result<Slot> {
    let answer = invocation.client().record("", Consistency::Linearizable).await;
    let hint = "can't learn what was acknowledged so far, and no file was made; `--stale` takes what some learner has";
    Ok(answer.context(hint)?.slot)
}

/// Resolves when the command is asked to stop.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut asked = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    Ok(async move {
        let [interrupt, terminate] = &mut asked;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

impl Restore {
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let client = invocation.client();
        let report = |line: &str| eprintln!("{line}");
        let ended = restore::restore(&client, &invocation.cluster.limits, &self.file, report).await;
        super::data::farewell(&client).await;
        let Verified { summary, .. } =
            ended.with_context(|| format!("{} wasn't restored", self.file.display()))?;
        eprintln!(
            "restored {}: {} keys, revision {}; the cluster takes writes",
            self.file.display(),
            summary.keys,
            summary.revision
        );
        Ok(Exit::Ok)
    }
}

impl VerifyBackup {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let Verified { summary, bytes, checksum, .. } =
            backup::verify(&self.file).with_context(|| self.file.display().to_string())?;
        println!(
            "{}: sound: slot {}, {} keys, {bytes} bytes, revision {}, checksum {checksum:016x}",
            self.file.display(),
            summary.applied,
            summary.keys,
            summary.revision
        );
        Ok(Exit::Ok)
    }
}
