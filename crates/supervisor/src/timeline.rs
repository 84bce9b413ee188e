//! The timeline: what happened to whom, in seconds since the start, as short aligned lines and as JSON lines in a file.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use synod_protocol::Ballot;

/// Something that happened to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// Every process of the cluster was started.
    Started {
        /// How many.
        processes: usize,
    },
    /// The acceptors were formed into a cluster.
    Formed {
        /// Its name.
        cluster: String,
    },
    /// A proposer leads at a ballot seen for the first time.
    Elected {
        /// The proposer.
        node: String,
        /// The ballot.
        ballot: String,
    },
    /// No proposer says that it leads.
    NoLeader,
    /// Chaos killed a process.
    Killed {
        /// Whom.
        node: String,
        /// Its process id.
        pid: u32,
        /// Milliseconds until it is started again.
        back_in_ms: u64,
        /// Whether it led.
        led: bool,
    },
    /// A process died of itself, or by another's hand.
    Died {
        /// Whom.
        node: String,
        /// Its process id.
        pid: u32,
        /// How: exit code or signal.
        how: String,
        /// Milliseconds until it is started again.
        back_in_ms: u64,
    },
    /// A process dies again and again.
    CrashLoop {
        /// Whom.
        node: String,
        /// Deaths in a row.
        deaths: u32,
        /// Its log.
        log: String,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// A process was started again.
    Restarted {
        /// Whom.
        node: String,
        /// Its process id.
        pid: u32,
    },
    /// A process could not be started; it is tried again.
    NotStarted {
        /// Whom.
        node: String,
        /// Why.
        why: String,
        /// Milliseconds until it is tried again.
        back_in_ms: u64,
    },
    /// What the workload came to since it was told last.
    Load {
        /// Calls answered in a second.
        ok_per_s: u64,
        /// Calls that failed.
        failed: u64,
        /// Calls whose outcome is unknown.
        unknown: u64,
        /// The worst second's 99th percentile, microseconds.
        p99_us: u64,
    },
    /// How large processes and their directories are.
    Sizes {
        /// The largest journal of an acceptor, bytes on disk.
        acceptor_disk_bytes: u64,
        /// The largest acceptor in memory, bytes.
        acceptor_memory_bytes: u64,
        /// The largest store of a learner, bytes on disk.
        learner_disk_bytes: u64,
        /// The largest learner in memory, bytes.
        learner_memory_bytes: u64,
    },
    /// Every process was stopped.
    Stopped {
        /// How many had to be killed.
        killed: usize,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    at_s: f64,
    #[serde(flatten)]
    happening: &'a Happening,
}

impl Happening {
    /// A leader was elected.
    pub fn elected(ballot: Ballot) -> Happening {
        Happening::Elected { node: ballot.proposer.to_string(), ballot: ballot.to_string() }
    }

    /// Verb, colour, whom, and the rest.
    fn told(&self) -> (&'static str, &'static str, &str, String) {
        const PLAIN: &str = "0";
        const RED: &str = "31";
        const GREEN: &str = "32";
        const YELLOW: &str = "33";
        const CYAN: &str = "36";
        match self {
            Happening::Started { processes } => ("started", GREEN, "all", format!("{processes} processes")),
            Happening::Formed { cluster } => ("formed", GREEN, "", format!("cluster {cluster}")),
            Happening::Elected { node, ballot } => {
                ("elected", CYAN, node, format!("leads at ballot {ballot}"))
            }
            Happening::NoLeader => ("no leader", YELLOW, "", String::new()),
            Happening::Killed { node, pid, back_in_ms, led } => {
                let led = if *led { ", the leader" } else { "" };
                ("killed", RED, node, format!("pid {pid}{led}; back in {back_in_ms} ms"))
            }
            Happening::Died { node, pid, how, back_in_ms } => {
                ("died", RED, node, format!("pid {pid}, {how}; back in {back_in_ms} ms"))
            }
            Happening::CrashLoop { node, deaths, log, tail } => {
                let tail: String = tail.iter().map(|line| format!("\n{:>29}| {line}", "")).collect();
                ("crash loop", RED, node, format!("died {deaths} times in a row; end of {log}:{tail}"))
            }
            Happening::Restarted { node, pid } => ("restarted", GREEN, node, format!("pid {pid}")),
            Happening::NotStarted { node, why, back_in_ms } => {
                ("not started", RED, node, format!("{why}; tried again in {back_in_ms} ms"))
            }
            Happening::Load { ok_per_s, failed, unknown, p99_us } => {
                let p99_ms = *p99_us as f64 / 1e3;
                let rest =
                    format!("{ok_per_s} calls/s, {failed} failed, {unknown} unknown, p99 {p99_ms:.1} ms");
                ("load", PLAIN, "", rest)
            }
            Happening::Sizes {
                acceptor_disk_bytes,
                acceptor_memory_bytes,
                learner_disk_bytes,
                learner_memory_bytes,
            } => {
                let mib = |bytes: &u64| bytes >> 20;
                let rest = format!(
                    "at most: acceptors {} MiB on disk, {} in memory; learners {} on disk, {} in memory",
                    mib(acceptor_disk_bytes),
                    mib(acceptor_memory_bytes),
                    mib(learner_disk_bytes),
                    mib(learner_memory_bytes)
                );
                ("sizes", PLAIN, "", rest)
            }
            Happening::Stopped { killed: 0 } => ("stopped", GREEN, "all", "cleanly".into()),
            Happening::Stopped { killed } => ("stopped", YELLOW, "all", format!("{killed} had to be killed")),
        }
    }

    /// One line for people.
    fn line(&self, at_s: f64, colour: bool) -> String {
        let (verb, code, whom, rest) = self.told();
        let verb = format!("{verb:<11}");
        let verb = if colour { format!("\x1b[{code}m{verb}\x1b[0m") } else { verb };
        format!("{at_s:>9.3} s  {verb}  {whom:<3}  {rest}").trim_end().to_string()
    }
}

/// Tells what happens, on standard output and in a file.
#[derive(Debug)]
pub struct Timeline {
    begun: Instant,
    file: File,
    colour: bool,
}

impl Timeline {
    /// A timeline that starts at zero, with its JSON lines in `path`.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn begin(path: &Path) -> std::io::Result<Timeline> {
        Ok(Timeline {
            begun: Instant::now(),
            file: File::create(path)?,
            colour: std::io::stdout().is_terminal(),
        })
    }

    /// Tells of it. A reader that has gone away doesn't stop the supervisor.
    pub fn tell(&mut self, happening: &Happening) {
        let at_s = (self.begun.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let mut out = std::io::stdout().lock();
        let printed = writeln!(out, "{}", happening.line(at_s, self.colour)).and_then(|()| out.flush());
        let json = serde_json::to_string(&Line { at_s, happening }).expect("plain data with string keys");
        let noted = writeln!(self.file, "{json}");
        if let Err(error) = printed.and(noted) {
            tracing::debug!(%error, "part of the timeline was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_plain_without_a_terminal() {
        let killed = Happening::Killed { node: "a3".into(), pid: 41, back_in_ms: 700, led: false };
        let restarted = Happening::Restarted { node: "a3".into(), pid: 42 };
        assert_eq!(killed.line(3.2, false), "    3.200 s  killed       a3   pid 41; back in 700 ms");
        assert_eq!(restarted.line(12.9, false), "   12.900 s  restarted    a3   pid 42");
        assert_eq!(Happening::NoLeader.line(0.5, false), "    0.500 s  no leader");
        assert!(killed.line(3.2, true).contains("\x1b[31mkilled"));
    }

    #[test]
    fn json_lines_say_the_same() {
        let happening = Happening::Restarted { node: "a3".into(), pid: 42 };
        let json = serde_json::to_string(&Line { at_s: 1.25, happening: &happening }).unwrap();
        assert_eq!(json, r#"{"at_s":1.25,"event":"restarted","node":"a3","pid":42}"#);
    }
}
