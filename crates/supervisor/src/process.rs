//! One daemon as an operating-system process: started in a group of its own, held by a lifeline, signalled only while it is ours.
//!
//! The task that waits for a process is the only one that signals it, so that a signal can never reach a stranger that was given
//! the same process id. The daemon's standard input is a pipe that the supervisor holds open: when the supervisor ends, however it
//! ends, the daemon reads the end of it and stops.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use synod_protocol::NodeId;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Variables that belong to one process; those of tuning and logging are passed on.
const NOT_PASSED_ON: [&str; 4] = ["SYNOD_CLUSTER", "SYNOD_ID", "SYNOD_LISTEN", "SYNOD_DATA_DIR"];

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// Who it is.
    pub node: NodeId,
    /// Where it listens.
    pub address: String,
    /// The executable.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes; appended to.
    pub log: PathBuf,
}

/// A process ended.
#[derive(Debug)]
pub struct Exit {
    /// Who it was.
    pub node: NodeId,
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub status: io::Result<ExitStatus>,
}

/// A process that was started and hasn't been seen to end.
#[derive(Debug)]
pub struct Running {
    /// Its process id.
    pub pid: u32,
    signals: mpsc::UnboundedSender<Signal>,
}

impl Running {
    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it at once, as a crash would.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // The task has gone only when the process has ended, and then there is nobody to signal.
        let _ended = self.signals.send(signal);
    }
}

/// Starts `program`; `exits` hears when it ends.
///
/// # Errors
/// When its log can't be opened or the executable can't be run.
pub fn start(program: &Program, exits: &mpsc::UnboundedSender<Exit>) -> io::Result<Running> {
    let log = OpenOptions::new().create(true).append(true).open(&program.log)?;
    let mut command = Command::new(&program.binary);
    command.args(&program.arguments).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    command.process_group(0);
    for name in NOT_PASSED_ON {
        command.env_remove(name);
    }
    let child = command.spawn()?;
    let pid = child.id().expect("it was not waited for yet");
    let (signals, orders) = mpsc::unbounded_channel();
    tokio::spawn(watch(program.node, pid, child, orders, exits.clone()));
    Ok(Running { pid, signals })
}

async fn watch(
    node: NodeId,
    pid: u32,
    mut child: Child,
    mut orders: mpsc::UnboundedReceiver<Signal>,
    exits: mpsc::UnboundedSender<Exit>,
) {
    // Taken out, because waiting for a child closes what is left in it.
    let lifeline = child.stdin.take();
    let mut ordering = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            order = orders.recv(), if ordering => match order {
                Some(signal) => send(&child, signal),
                None => ordering = false,
            },
        }
    };
    drop(lifeline);
    // Nobody listens any more only when the supervisor is ending.
    let _ending = exits.send(Exit { node, pid, status });
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
        tracing::debug!(%error, "a signal was not delivered: the process had ended");
    }
}
