//! From the command line to a running role: parse, check, log, listen, run, exit code.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use synod_protocol::role::Role;
use synod_protocol::wire::Payload;
use synod_protocol::{Cluster, NodeId};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::arguments::{Arguments, Kind};
use crate::failure::Failure;
use crate::limits::raise_open_files;
use crate::logging::{self, READY};
use crate::run::Shell;
use crate::storage::Storage;
use crate::{help, shutdown};

/// A daemon that is configured and hasn't started to listen.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who this process is.
    pub node: NodeId,
    /// The number in it.
    pub id: u16,
    /// The cluster file, with what flags and environment set over it.
    pub cluster: Cluster,
    /// Where it listens: host and port.
    pub listen: String,
    /// Whether it stops when standard input closes.
    pub lifeline: bool,
}

/// A daemon's whole `main`: reads the configuration, starts logging, and calls `body`, which makes the role and runs it.
/// Errors go to standard error; the exit code is 0 for a clean stop, 2 for usage and configuration, 1 for the rest.
pub fn main<C: Parser>(
    kind: Kind,
    arguments: impl FnOnce(&C) -> Arguments,
    body: impl FnOnce(&C, Setup) -> Result<(), Failure>,
) -> ExitCode {
    let command = C::command().after_long_help(help::after(kind));
    let known: BTreeSet<_> = command
        .get_arguments()
        .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()))
        .collect();
    let parsed = match C::from_arg_matches(&command.get_matches()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    match start(kind, &arguments(&parsed), &known, |setup| body(&parsed, setup)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match &failure {
                // Told to whoever typed the command; the log may not exist yet.
                Failure::Configuration(text) => eprintln!("synod-{}: {text}", kind.name()),
                // Told in the log already, by `start`.
                Failure::Fatal(_) => {}
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(
    kind: Kind,
    arguments: &Arguments,
    known: &BTreeSet<String>,
    body: impl FnOnce(Setup) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (cluster, node) = arguments.load(kind, known, std::env::vars_os())?;
    let filter = logging::filter(&arguments.log)?;
    let listen =
        arguments.listen.clone().or_else(|| cluster.address(node).map(Into::into)).unwrap_or_default();
    let _named = logging::start(node, arguments.log_format, filter);
    let id = arguments.observer.or(arguments.id).unwrap_or_default();
    let ended = body(Setup { node, id, cluster, listen, lifeline: arguments.lifeline });
    if let Err(Failure::Fatal(text)) = &ended {
        error!("{text}");
    }
    ended
}

impl Setup {
    /// Listens, runs `role` until the process is asked to stop, and shuts down cleanly.
    pub fn run<R, S>(self, role: R, storage: S) -> Result<(), Failure>
    where
        R: Role<Message: Payload + Send, Record: Send, Timer: Send> + Send + 'static,
        S: Storage<R> + Send + 'static,
    {
        raise_open_files();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::fatal(format!("cannot start the tokio runtime: {error}")))?;
        let ended = runtime.block_on(async {
            let listener = self.bind().await?;
            let (events, inbox) = mpsc::unbounded_channel();
            shutdown::watch(self.lifeline, &events)?;
            self.announce(&listener);
            let shell = Shell::new(self.node, self.cluster, role, storage, (events, inbox));
            // As a task, not as the future of block_on: a reader that wakes it then puts it at the end of the scheduler's queue,
            // behind the readers woken by the same turn, and without a system call. See `run`.
            tokio::spawn(shell.run(listener)).await.unwrap_or_else(|error| Err(Failure::fatal(error)))
        });
        // A name that is still being resolved must not hold up the end of the process.
        runtime.shutdown_background();
        ended
    }

    pub(crate) async fn bind(&self) -> Result<TcpListener, Failure> {
        let Setup { node, listen, .. } = self;
        TcpListener::bind(listen).await.map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::AddrInUse => format!(
                    "another process listens there: whoever runs this host should find it (`ss -ltnp`); if it is an \
                     older {node}, leave only one running, else give one of them another address"
                ),
                ErrorKind::AddrNotAvailable => format!(
                    "this host doesn't have that address: start {node} on the host that the cluster file names, or set \
                     --listen (SYNOD_LISTEN) to an address of this one"
                ),
                ErrorKind::PermissionDenied => "this user may not use that port: take one above 1023".into(),
                _ => "correct the address in the cluster file, or set --listen (SYNOD_LISTEN) to HOST:PORT".into(),
            };
            Failure::fatal(format!("{node} cannot listen on {listen}: {error}; nothing was changed; {advice}"))
        })
    }

    fn announce(&self, listener: &TcpListener) {
        let address =
            listener.local_addr().map_or_else(|_| self.listen.clone(), |address| address.to_string());
        let version = env!("CARGO_PKG_VERSION");
        info!(%version, %address, cluster = %self.cluster.name, "{READY}");
    }
}
