//! put, get, delete.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use synod_client::Client;
use synod_protocol::command::Record;
use synod_protocol::message::Consistency;

use super::{Exit, Invocation};

/// How long a command waits for its session to end; one that can't be ended expires by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// Set a key to a value.
#[derive(Debug, Args)]
pub(super) struct Put {
    /// The key
    key: String,
    /// The value; read from standard input, any bytes, if it isn't given
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
}

/// Print a key's value.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// The key
    key: String,
    /// Read what one learner has: quicker, needs no quorum, and may be old
    #[arg(long)]
    stale: bool,
    /// Also tell, on standard error, the slot of the answer and the key's revisions and version
    #[arg(long)]
    verbose: bool,
}

/// Remove a key.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The key
    key: String,
}

impl Put {
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let value = match self.value {
            Some(value) => Bytes::from(value),
            None => read_value(invocation.cluster.limits.value_bytes)?,
        };
        let client = invocation.client();
        let ended = client.put(self.key, value).await;
        farewell(&client).await;
        let answer = ended?;
        eprintln!("ok, slot {}, revision {}", answer.slot, answer.value);
        Ok(Exit::Ok)
    }
}

impl Get {
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let client = invocation.client();
        let consistency = if self.stale { Consistency::Stale } else { Consistency::Linearizable };
        let answer = client.record(self.key, consistency).await?;
        if self.stale {
            eprintln!("as of slot {}", answer.slot);
        }
        let Some(Record { created, modified, version, value }) = answer.value else {
            eprintln!("not found");
            return Ok(Exit::Failed);
        };
        if self.verbose {
            let slot = answer.slot;
            eprintln!(
                "slot {slot}, created at revision {created}, modified at {modified}, version {version}"
            );
        }
        let mut stdout = std::io::stdout().lock();
        let end: &[u8] = if stdout.is_terminal() { b"\n" } else { b"" };
        let written = stdout.write_all(&value).and_then(|()| stdout.write_all(end));
        written.and_then(|()| stdout.flush()).context("cannot write the value to standard output")?;
        Ok(Exit::Ok)
    }
}

impl Delete {
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let client = invocation.client();
        let ended = client.delete(self.key).await;
        farewell(&client).await;
        let answer = ended?;
        let Some(revision) = answer.value else {
            eprintln!("it wasn't there, slot {}", answer.slot);
            return Ok(Exit::Failed);
        };
        eprintln!("deleted, slot {}, revision {revision}", answer.slot);
        Ok(Exit::Ok)
    }
}

pub(super) async fn farewell(client: &Client) {
    if let Err(error) = client.with_deadline(FAREWELL).close().await {
        tracing::info!(%error, "the session was not ended; it expires by itself");
    }
}

/// Reads no more than one byte beyond the limit: enough to be refused.
fn read_value(limit: u64) -> anyhow::Result<Bytes> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("reading the value from standard input; end it with Ctrl-D");
    }
    let mut value = Vec::new();
    let read = stdin.lock().take(limit.saturating_add(1)).read_to_end(&mut value);
    read.context("cannot read the value from standard input; nothing was done")?;
    Ok(value.into())
}
