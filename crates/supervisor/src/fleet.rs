//! Every process of one cluster: started, restarted when it dies, killed when chaos says so, stopped in the end.
//!
//! Holds what is known of each process; when and whom is decided by [`crate::policy`]. Signals only what it started.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use synod_protocol::NodeId;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::policy::{Backoff, Kill};
use crate::process::{self, Exit, Program, Running};
use crate::timeline::{Happening, Timeline};

/// Time that a process has to stop when asked, before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);
/// Lines of a log that are shown when a process is in a crash loop.
const TAIL_LINES: usize = 3;
/// Bytes of a log that are searched for these lines.
const TAIL_BYTES: u64 = 4 << 10;

/// How often processes were killed by chaos, and came back from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kills by chaos.
    pub kills: u64,
    /// Starts after a kill by chaos.
    pub restarts: u64,
    /// Deaths of other causes.
    pub deaths: u64,
}

#[derive(Debug)]
struct Member {
    program: Program,
    backoff: Backoff,
    state: State,
}

#[derive(Debug)]
enum State {
    Up {
        running: Running,
        since: Instant,
        /// Chaos has killed it, and wants it back at that time.
        killed: Option<Instant>,
    },
    Down {
        back_at: Instant,
        by_chaos: bool,
    },
}

/// The processes of one cluster.
#[derive(Debug)]
pub struct Fleet {
    members: BTreeMap<NodeId, Member>,
    timeline: Timeline,
    exits: mpsc::UnboundedSender<Exit>,
    counts: Counts,
}

impl Fleet {
    /// Starts every program. Whatever can't be started is tried again like a process that died.
    pub fn start(programs: Vec<Program>, timeline: Timeline, exits: mpsc::UnboundedSender<Exit>) -> Fleet {
        let mut fleet = Fleet { members: BTreeMap::new(), timeline, exits, counts: Counts::default() };
        let now = Instant::now();
        for program in programs {
            let state = State::Down { back_at: now, by_chaos: false };
            fleet.members.insert(program.node, Member { program, backoff: Backoff::default(), state });
        }
        let nodes: Vec<_> = fleet.nodes().collect();
        for node in nodes {
            fleet.start_one(node);
        }
        fleet
    }

    /// Tells the timeline.
    pub fn tell(&mut self, happening: &Happening) {
        self.timeline.tell(happening);
    }

    /// Kills and restarts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The process id of a process that runs.
    pub fn pid(&self, node: NodeId) -> Option<u32> {
        match &self.members.get(&node)?.state {
            State::Up { running, .. } => Some(running.pid),
            State::Down { .. } => None,
        }
    }

    /// Every process that doesn't run, or was killed a moment ago.
    pub fn down(&self) -> BTreeSet<NodeId> {
        let is_down = |member: &Member| !matches!(member.state, State::Up { killed: None, .. });
        self.members.iter().filter(|(_, member)| is_down(member)).map(|(node, _)| *node).collect()
    }

    /// Every process.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied()
    }

    /// When a process is to be started again.
    pub fn next_start(&self) -> Option<Instant> {
        let back_at = |member: &Member| match member.state {
            State::Down { back_at, .. } => Some(back_at),
            State::Up { .. } => None,
        };
        self.members.values().filter_map(back_at).min()
    }

    /// Starts what is due.
    pub fn start_due(&mut self, now: Instant) {
        let due = |member: &Member| match member.state {
            State::Down { back_at, by_chaos } => (back_at <= now).then_some(by_chaos),
            State::Up { .. } => None,
        };
        let due: Vec<_> =
            self.members.iter().filter_map(|(node, member)| Some((*node, due(member)?))).collect();
        for (node, by_chaos) in due {
            if let Some(pid) = self.start_one(node) {
                self.counts.restarts += u64::from(by_chaos);
                self.tell(&Happening::Restarted { node: node.to_string(), pid });
            }
        }
    }

    /// Brings back at once whatever chaos keeps down.
    pub fn start_killed(&mut self) {
        let now = Instant::now();
        for member in self.members.values_mut() {
            match &mut member.state {
                State::Down { back_at, by_chaos: true } => *back_at = now,
                State::Up { killed: Some(back_at), .. } => *back_at = now,
                State::Down { by_chaos: false, .. } | State::Up { killed: None, .. } => {}
            }
        }
        self.start_due(now);
    }

    fn start_one(&mut self, node: NodeId) -> Option<u32> {
        let member = self.members.get_mut(&node)?;
        match process::start(&member.program, &self.exits) {
            Ok(running) => {
                let pid = running.pid;
                member.state = State::Up { running, since: Instant::now(), killed: None };
                Some(pid)
            }
            Err(error) => {
                let restart = member.backoff.on_death(0);
                let why = format!("{}: {error}", member.program.binary.display());
                let by_chaos = matches!(member.state, State::Down { by_chaos: true, .. });
                let back_at = Instant::now() + Duration::from_millis(restart.in_ms);
                member.state = State::Down { back_at, by_chaos };
                self.tell(&Happening::NotStarted { node: node.to_string(), why, back_in_ms: restart.in_ms });
                None
            }
        }
    }

    /// Kills a process that runs; `led` for the timeline.
    pub fn kill(&mut self, kill: Kill, led: bool) {
        let Some(member) = self.members.get_mut(&kill.node) else { return };
        let State::Up { running, killed, .. } = &mut member.state else { return };
        running.kill();
        *killed = Some(Instant::now() + Duration::from_millis(kill.downtime_ms));
        let happening = Happening::Killed {
            node: kill.node.to_string(),
            pid: running.pid,
            back_in_ms: kill.downtime_ms,
            led,
        };
        self.counts.kills += 1;
        self.tell(&happening);
    }

    /// A process has ended.
    pub fn on_exit(&mut self, exit: &Exit) {
        let Some(member) = self.members.get_mut(&exit.node) else { return };
        let State::Up { since, killed, .. } = &member.state else { return };
        if let Some(back_at) = *killed {
            member.state = State::Down { back_at, by_chaos: true };
            return;
        }
        let lived_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let restart = member.backoff.on_death(lived_ms);
        let back_at = Instant::now() + Duration::from_millis(restart.in_ms);
        member.state = State::Down { back_at, by_chaos: false };
        let node = exit.node.to_string();
        let how = exit.status.as_ref().map_or_else(ToString::to_string, |status| how(*status));
        let log = member.program.log.clone();
        self.counts.deaths += 1;
        self.tell(&Happening::Died { node: node.clone(), pid: exit.pid, how, back_in_ms: restart.in_ms });
        if restart.crash_loop {
            let tail = tail(&log);
            self.tell(&Happening::CrashLoop {
                node,
                deaths: restart.deaths,
                log: log.display().to_string(),
                tail,
            });
        }
    }

    /// Asks every process to stop, and kills what hasn't after some patience. Returns how many had to be killed.
    pub async fn stop(mut self, exits: &mut mpsc::UnboundedReceiver<Exit>) -> usize {
        let mut left: BTreeSet<_> =
            self.members.keys().copied().filter(|node| self.pid(*node).is_some()).collect();
        self.each_running(&left, Running::terminate);
        let deadline = Instant::now() + PATIENCE;
        let mut killed = 0;
        let mut patient = true;
        while !left.is_empty() {
            let exit = if patient {
                timeout_at(deadline, exits.recv()).await.ok()
            } else {
                Some(exits.recv().await)
            };
            match exit {
                Some(Some(exit)) => {
                    left.remove(&exit.node);
                }
                Some(None) => break,
                None => {
                    patient = false;
                    killed = left.len();
                    self.each_running(&left, Running::kill);
                }
            }
        }
        self.tell(&Happening::Stopped { killed });
        killed
    }

    fn each_running(&self, nodes: &BTreeSet<NodeId>, act: impl Fn(&Running)) {
        for node in nodes {
            if let Some(Member { state: State::Up { running, .. }, .. }) = self.members.get(node) {
                act(running);
            }
        }
    }
}

/// How a process ended, in words.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "killed by SIGKILL".into(),
        (None, Some(6)) => "aborted (SIGABRT)".into(),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    }
}

/// The last lines of a log; nothing when it can't be read.
fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(ToString::to_string).collect()
}
