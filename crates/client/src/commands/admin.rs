//! admin form.

use clap::{Args, Subcommand};
use synod_client::admin;

use super::{Exit, Invocation};

/// Form a cluster.
#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Form a new cluster, once in its life: prepare all acceptors, then open them
    ///
    /// Every acceptor of the cluster file must be running. First all of them note that they are prepared, on disk; only then
    /// are they opened, and only open acceptors vote. If it is interrupted, run it again: it goes on where it stopped.
    /// A cluster that is formed already is left as it is.
    Form,
}

impl Admin {
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        match self.step {
            Step::Form => {
                let report = |acceptor, line: &str| eprintln!("{acceptor}: {line}");
                let formed = admin::form(&invocation.cluster, report).await?;
                let how = if formed.already { "already formed" } else { "formed" };
                eprintln!("{how}: cluster {}", formed.cluster);
                Ok(Exit::Ok)
            }
        }
    }
}
