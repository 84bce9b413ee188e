//! admin form, admin readmit-acceptor.

use clap::{Args, Subcommand};
use synod_client::{admin, readmission};
use synod_protocol::AcceptorId;

use super::{Exit, Invocation};

/// Form a cluster, readmit an acceptor.
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
    /// Let an acceptor whose disk was lost or replaced take part again
    ///
    /// Start it with an empty data directory first. It is given the name of its new disk; the leader makes sure that the other acceptors
    /// hold everything without the lost disk and have recorded the new one, and only then the acceptor enters. Clients are served
    /// meanwhile. If it is interrupted, run it again: it goes on where it stopped. Never give an acceptor a copy or an older state of
    /// its disk instead.
    ReadmitAcceptor {
        /// The acceptor, such as a2
        #[arg(value_name = "ACCEPTOR", value_parser = acceptor)]
        acceptor: AcceptorId,
    },
}

fn acceptor(text: &str) -> Result<AcceptorId, String> {
    let number = text.strip_prefix('a').and_then(|number| number.parse().ok());
    number.map(AcceptorId).ok_or_else(|| format!("`{text}` is no acceptor: they are named a1, a2, ..."))
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
            Step::ReadmitAcceptor { acceptor } => {
                let report = |line: &str| eprintln!("{line}");
                let done = readmission::readmit(&invocation.cluster, acceptor, readmission::PATIENCE, report)
                    .await?;
                if done.already {
                    eprintln!("{acceptor} is open with disk {}: it needs no readmission", done.disk);
                } else {
                    eprintln!("readmitted: {acceptor} takes part with disk {}", done.disk);
                }
                Ok(Exit::Ok)
            }
        }
    }
}
