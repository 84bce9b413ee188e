//! Processes that a measurement starts, and what the kernel says that they used.
//!
//! A process is killed when its handle is dropped. Linux only: everything is read from `/proc`.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// What a process is in the system measured; costs are told for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Votes.
    Acceptor,
    /// Order.
    Proposer,
    /// State.
    Learner,
    /// All of these in one.
    Member,
    /// The load generator itself.
    Client,
}

impl Part {
    /// Its name in a result.
    pub fn name(self) -> &'static str {
        match self {
            Part::Acceptor => "acceptors",
            Part::Proposer => "proposers",
            Part::Learner => "learners",
            Part::Member => "members",
            Part::Client => "client",
        }
    }
}

/// A process started here.
#[derive(Debug)]
pub struct Started {
    /// What it is.
    pub part: Part,
    /// Which of them, from 1.
    pub id: usize,
    child: Child,
    /// Held open: a daemon started with a lifeline ends when it closes.
    _lifeline: Option<ChildStdin>,
}

impl Started {
    /// Starts `command`, with its output in `log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(part: Part, id: usize, mut command: Command, log: &Path) -> Result<Started> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let lifeline = child.stdin.take();
        Ok(Started { part, id, child, _lifeline: lifeline })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it where it is, until [`Started::go_on`]; one that has ended stays so.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // Its number is its own until it has been waited for, which dropping does.
        let _ended = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill or wait for.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// What a process has used since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, microseconds, to the kernel's tick.
    pub cpu_us: u64,
    /// Resident memory, bytes; what it is, not a sum over time.
    pub resident_bytes: u64,
    /// Times that one of its threads gave up a core to wait: for messages, the disk, or another thread.
    pub waits: u64,
}

impl Usage {
    /// What process `pid` has used; nothing of what can't be read.
    pub fn of(pid: u32) -> Usage {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; the fields after it are numbers.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
        let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let page = rustix::param::page_size() as u64;
        Usage {
            cpu_us: (field(11) + field(12)) * tick_us,
            resident_bytes: field(21) * page,
            waits: waits(pid),
        }
    }

    /// What was used from `before` to this; memory as it is.
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            cpu_us: self.cpu_us.saturating_sub(before.cpu_us),
            resident_bytes: self.resident_bytes,
            waits: self.waits.saturating_sub(before.waits),
        }
    }

    /// Both together.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            cpu_us: self.cpu_us + other.cpu_us,
            resident_bytes: self.resident_bytes + other.resident_bytes,
            waits: self.waits + other.waits,
        }
    }
}

/// Of all its threads; those that have ended count no more.
fn waits(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of = |status: String| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line?.trim().parse().ok()
    };
    let threads = threads.flatten();
    threads
        .filter_map(|thread| of(std::fs::read_to_string(thread.path().join("status")).unwrap_or_default()))
        .sum()
}

/// What a disk has ever been asked for, by anybody. (What the kernel tells of one process counts whole pages in memory, many times what
/// reaches the disk.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

impl DiskUsage {
    /// Of the disk that holds `path`; nothing if the kernel doesn't tell.
    pub fn of(path: &Path) -> Option<DiskUsage> {
        let device = rustix::fs::stat(path).ok()?.st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
        let sectors = |at: usize| stat.split_whitespace().nth(at)?.parse::<u64>().ok();
        Some(DiskUsage { read_bytes: sectors(2)? * 512, written_bytes: sectors(6)? * 512 })
    }
}

/// `count` free ports on the loopback; they are free when asked for, and taken soon after.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<std::io::Result<_>>()
        .context("no free ports on 127.0.0.1")?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Writes a file.
///
/// # Errors
/// When it can't be written.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_what_it_uses() {
        let before = Usage::of(std::process::id());
        let mut number = 1_u64;
        std::thread::sleep(std::time::Duration::from_millis(1));
        while Usage::of(std::process::id()).since(before).cpu_us < 20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).rotate_left(7);
        }
        let used = Usage::of(std::process::id()).since(before);
        assert!(used.waits > 0 && used.resident_bytes > 100_000, "{used:?} {number}");
        assert_eq!(Usage::of(u32::MAX), Usage::default());
    }
}
