//! status.

use clap::Args;

use super::{Exit, Invocation};

/// Who leads, which processes are up, and how many more acceptors may fail.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Ends as no quorum when the acceptors that are up can't choose anything.
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let status = synod_client::status::status(&invocation.cluster).await;
        if self.json {
            println!("{}", serde_json::to_string(&status)?);
        } else {
            print!("{status}");
        }
        Ok(if status.acceptors.quorum { Exit::Ok } else { Exit::NoQuorum })
    }
}
