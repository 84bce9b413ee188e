//! System calls of the processes measured, counted by `perf`, else by `strace`: the kernel keeps no count of its own.
//!
//! Both slow what they watch, `strace` many times over, so that nothing else is read from a round in which they count; under `strace` batches
//! also grow, and calls for an operation become fewer than they are. Absent on purpose: a count from `/proc/PID/io`, which leaves out syncs,
//! sockets and polling.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// What perf is asked to count; all but the first are syncs.
const EVENTS: [&str; 5] = [
    "raw_syscalls:sys_enter",
    "syscalls:sys_enter_fdatasync",
    "syscalls:sys_enter_fsync",
    "syscalls:sys_enter_sync_file_range",
    "syscalls:sys_enter_msync",
];
/// What strace calls these.
const SYNCS: [&str; 4] = ["fdatasync", "fsync", "sync_file_range", "msync"];
/// Time in which a counter must have begun; it says nothing when it has.
const BEGINS: Duration = Duration::from_millis(500);

const HOW: &str = "system calls are counted by `perf` (Debian: linux-perf; needs root, or kernel.perf_event_paranoid = -1 and a \
                   readable /sys/kernel/tracing) or `strace` (Debian: strace; needs to be allowed to trace what this program starts)";

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All system calls.
    pub all: u64,
    /// Those of them that sync.
    pub syncs: u64,
}

/// Counts until it is asked.
#[derive(Debug)]
pub struct Counter {
    child: Child,
    /// How what it writes is read.
    read: fn(&str) -> Option<Counted>,
    file: PathBuf,
}

impl Counter {
    /// Begins to count what these processes call; `folder` takes what the counter writes.
    ///
    /// # Errors
    /// When neither counter is there or may be used.
    pub async fn start(pids: &[u32], folder: &Path) -> Result<Counter> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut perf = Command::new("perf");
        let file = folder.join("perf.csv");
        perf.args(["stat", "-x,", "-e", &EVENTS.join(","), "-p", &pids.join(","), "-o"]).arg(&file);
        if let Some(counter) = begin(perf, of_perf, file).await? {
            return Ok(counter);
        }
        let mut strace = Command::new("strace");
        let file = folder.join("strace.txt");
        strace.args(["-f", "-c", "-o"]).arg(&file);
        for pid in &pids {
            strace.args(["-p", pid]);
        }
        begin(strace, of_strace, file).await?.with_context(|| format!("neither works here: {HOW}"))
    }

    /// Ends counting, and tells what was counted.
    ///
    /// # Errors
    /// When the counter didn't say.
    pub fn stop(mut self) -> Result<Counted> {
        // It says what it has when interrupted. If it has ended, what it wrote tells.
        let _ended = kill_process(Pid::from_child(&self.child), Signal::INT);
        self.child.wait()?;
        let said = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let counted = (self.read)(&said);
        let counted = counted.with_context(|| format!("not understood: {said:?}; {HOW}"))?;
        ensure!(counted.all > 0, "no system call was counted: {HOW}");
        Ok(counted)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill or wait for.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Nothing if the program isn't there, or gives up at once.
async fn begin(
    mut command: Command,
    read: fn(&str) -> Option<Counted>,
    file: PathBuf,
) -> Result<Option<Counter>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => bail!("cannot start {:?}: {error}", command.get_program()),
    };
    let mut counter = Counter { child, read, file };
    tokio::time::sleep(BEGINS).await;
    Ok(counter.child.try_wait()?.is_none().then_some(counter))
}

/// Lines of `number,unit,event,...`; an event that this kernel doesn't have, or that nobody made, has no number.
fn of_perf(said: &str) -> Option<Counted> {
    let mut counted = Counted::default();
    for line in said.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [number, _, event, ..] = fields[..] else { continue };
        let number: u64 = number.parse().unwrap_or(0);
        match EVENTS.iter().position(|known| *known == event)? {
            0 => counted.all = number,
            _ => counted.syncs += number,
        }
    }
    Some(counted)
}

/// A table of `% time, seconds, usecs/call, calls, errors (if any), syscall`.
fn of_strace(said: &str) -> Option<Counted> {
    let mut counted = Counted::default();
    for line in said.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [percent, _, _, calls, .., name] = fields[..] else { continue };
        let (Ok(_), Ok(calls)) = (percent.parse::<f64>(), calls.parse::<u64>()) else { continue };
        if name != "total" {
            counted.all += calls;
            counted.syncs += if SYNCS.contains(&name) { calls } else { 0 };
        }
    }
    (counted.all > 0).then_some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_says_is_understood() {
        let said = "# started on Sat\n\n960406,,raw_syscalls:sys_enter,390,100.00,,\n7,,syscalls:sys_enter_fdatasync,390,100.00,,\n\
                    3,,syscalls:sys_enter_fsync,390,100.00,,\n<not counted>,,syscalls:sys_enter_msync,0,100.00,,\n";
        assert_eq!(of_perf(said), Some(Counted { all: 960_406, syncs: 10 }));
        assert_eq!(of_perf("5,,cycles,1,100.00,,\n"), None);
    }

    #[test]
    fn what_strace_says_is_understood() {
        let said = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    50.21    0.062940           2     22015        12 recvfrom\n \
                    49.79    0.062419           2       100           fdatasync\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.125359           2     22115        12 total\n";
        assert_eq!(of_strace(said), Some(Counted { all: 22_115, syncs: 100 }));
        assert_eq!(of_strace("strace: Operation not permitted\n"), None);
    }
}
