//! Arguments of the `synod` command, and what becomes an exit code.

mod admin;
mod backup;
mod data;
mod status;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use synod_client::{CallError, Client, Failure, Options};
use synod_protocol::Cluster;
use synod_protocol::cluster::Override;
use synod_protocol::tuning::Tuning;

const EXAMPLES: &str = "\
Examples:
  synod --cluster deploy/local.toml put greeting hello
  synod --cluster deploy/local.toml get greeting
  export SYNOD_CLUSTER=deploy/local.toml      # instead of --cluster each time
  synod put picture < picture.png             # a value from standard input, any bytes
  synod get picture > copy.png                # raw bytes, nothing added
  synod delete greeting                       # exit code 1 if it wasn't there
  synod status
  synod workload --clients 64 --seconds 10
  synod backup monday.backup                  # of a running cluster
  synod --cluster new.toml restore monday.backup

Exit codes:
  0  ok
  1  not found, or failed for certain
  2  usage or configuration
  3  no quorum: nobody took the call, nothing was done
  4  outcome unknown: it may or may not have happened";

/// Use and look after a Synod cluster: a key-value store that is replicated by Paxos.
///
/// A put or delete that was acknowledged is on the disks of a quorum of acceptors and takes effect once. A get sees every write
/// acknowledged before it began. Data goes to standard output, messages to standard error.
#[derive(Debug, Parser)]
#[command(name = "synod", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The cluster file, the same that the cluster's processes were started with
    #[arg(long, env = "SYNOD_CLUSTER", value_name = "FILE", global = true)]
    cluster: Option<PathBuf>,
    /// Milliseconds within which every call ends, one way or the other
    #[arg(long, env = "SYNOD_DEADLINE_MS", value_name = "MS", global = true, default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    deadline_ms: u64,
    /// What is logged to standard error: error, warn, info, debug, trace, or by module (synod_client=debug)
    #[arg(long, env = "SYNOD_LOG", value_name = "FILTER", global = true, default_value = "warn")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a key to a value, given as an argument or on standard input
    Put(data::Put),
    /// Print a key's value: raw bytes, with a line end added only for a terminal
    Get(data::Get),
    /// Remove a key and say whether it was there
    Delete(data::Delete),
    /// Who leads, which processes are up, and how many more acceptors may fail
    Status(status::Status),
    /// Drive the cluster with calls, measure, and check every answer
    Workload(workload::Workload),
    Backup(backup::Backup),
    Restore(backup::Restore),
    VerifyBackup(backup::VerifyBackup),
    /// Form a cluster, readmit an acceptor
    Admin(admin::Admin),
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Ok,
    /// Not found, or failed for certain.
    Failed,
    Usage,
    NoQuorum,
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NoQuorum => 3,
            Exit::Unknown => 4,
        })
    }
}

/// What every command gets.
#[derive(Debug)]
struct Invocation {
    cluster: Cluster,
    deadline: Duration,
}

/// Runs the command that the arguments name.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    // Needs no cluster, and so no cluster file.
    if let Command::VerifyBackup(verify) = arguments.command {
        return told(verify.run());
    }
    let (invocation, runtime) = match prepare(&arguments) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("synod: {error:#}");
            return Exit::Usage.into();
        }
    };
    let ended = runtime.block_on(async {
        match arguments.command {
            Command::Put(put) => put.run(&invocation).await,
            Command::Get(get) => get.run(&invocation).await,
            Command::Delete(delete) => delete.run(&invocation).await,
            Command::Status(status) => status.run(&invocation).await,
            Command::Workload(workload) => workload.run(&invocation).await,
            Command::Backup(backup) => backup.run(&invocation).await,
            Command::Restore(restore) => restore.run(&invocation).await,
            Command::VerifyBackup(verify) => verify.run(),
            Command::Admin(admin) => admin.run(&invocation).await,
        }
    });
    told(ended)
}

/// Tells why it failed, if it did.
fn told(ended: anyhow::Result<Exit>) -> ExitCode {
    ended
        .unwrap_or_else(|error| {
            eprintln!("synod: {error:#}");
            exit_of(&error)
        })
        .into()
}

fn exit_of(error: &anyhow::Error) -> Exit {
    match error.chain().find_map(|cause| cause.downcast_ref::<CallError>()) {
        Some(CallError::Unknown) => Exit::Unknown,
        Some(CallError::Failed(Failure::NoQuorum { .. })) => Exit::NoQuorum,
        Some(CallError::Failed(
            Failure::Busy | Failure::TooManySessions | Failure::Refused(_) | Failure::Closed,
        ))
        | None => Exit::Failed,
    }
}

fn prepare(arguments: &Arguments) -> anyhow::Result<(Invocation, tokio::runtime::Runtime)> {
    let filter = tracing_subscriber::EnvFilter::try_new(&arguments.log)
        .with_context(|| format!("--log {:?} is no filter", arguments.log))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let path = arguments.cluster.as_ref().context(
        "which cluster? Name its file with --cluster FILE or SYNOD_CLUSTER (deploy/local.toml is an example)",
    )?;
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the cluster file {}; name it with --cluster FILE or SYNOD_CLUSTER",
            path.display()
        )
    })?;
    let cluster =
        Cluster::parse(&text, &overrides()).with_context(|| format!("in cluster file {}", path.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok((Invocation { cluster, deadline: Duration::from_millis(arguments.deadline_ms) }, runtime))
}

/// `SYNOD_<KEY>` for each tuning key.
fn overrides() -> Vec<Override> {
    let found = Tuning::KEYS.iter().filter_map(|(key, _, _)| {
        let source_name = format!("SYNOD_{}", key.to_uppercase());
        let value = std::env::var(&source_name).ok()?;
        Some(Override { source_name, key: (*key).to_string(), value })
    });
    found.collect()
}

impl Invocation {
    fn client(&self) -> Client {
        Client::connect(self.cluster.clone(), Options { deadline: self.deadline })
    }
}
