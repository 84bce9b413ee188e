//! One phase of a join: what puts, processors and the disk did between two looks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use synod_protocol::LearnerId;
use tokio::time::Instant;

use crate::process::{DiskUsage, Part, Usage};
use crate::synod::Synod;

/// Seconds over which the slowest stretch of a phase is told.
const STRETCH: usize = 5;
/// What takes less is over before anybody can tell its rate.
const LONG: Duration = Duration::from_secs(5);
/// The learner that joins, beside the parts of [`Part::name`].
const JOINS: &str = "joins";

/// Everything that counts up, at one moment.
pub(super) struct Look {
    at: Instant,
    acknowledged: u64,
    cpu_us: BTreeMap<&'static str, u64>,
    disk: Option<DiskUsage>,
}

impl Look {
    /// At this moment: so many puts were acknowledged, and `comes` is the learner that joins.
    pub(super) fn at(synod: &Synod, comes: LearnerId, folder: &Path, acknowledged: u64) -> Look {
        let mut cpu_us = BTreeMap::from([(Part::Client.name(), Usage::of(std::process::id()).cpu_us)]);
        for started in &synod.processes {
            let is_joining = (started.part, started.id) == (Part::Learner, usize::from(comes.0));
            let name = if is_joining { JOINS } else { started.part.name() };
            *cpu_us.entry(name).or_default() += Usage::of(started.pid()).cpu_us;
        }
        Look { at: Instant::now(), acknowledged, cpu_us, disk: DiskUsage::of(folder) }
    }
}

/// What was seen between two looks.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    took: Duration,
    puts: u64,
    /// Puts a second in its slowest stretch, if it had one.
    slowest: Option<f64>,
    cpu_us: BTreeMap<&'static str, u64>,
    disk: Option<DiskUsage>,
}

impl Phase {
    /// `seconds`: what was acknowledged by each second of the phase.
    pub(super) fn between(name: &'static str, begun: &Look, ended: &Look, seconds: &[u64]) -> Phase {
        let cpu_us = ended.cpu_us.iter().map(|(part, cpu_us)| {
            (*part, cpu_us.saturating_sub(begun.cpu_us.get(part).copied().unwrap_or(0)))
        });
        let disk = begun.disk.zip(ended.disk).map(|(begun, ended)| DiskUsage {
            read_bytes: ended.read_bytes.saturating_sub(begun.read_bytes),
            written_bytes: ended.written_bytes.saturating_sub(begun.written_bytes),
        });
        let least = seconds.windows(STRETCH + 1).map(|stretch| stretch[STRETCH] - stretch[0]).min();
        Phase {
            name,
            took: ended.at - begun.at,
            puts: ended.acknowledged - begun.acknowledged,
            slowest: least.map(|puts| puts as f64 / STRETCH as f64),
            cpu_us: cpu_us.collect(),
            disk,
        }
    }

    /// Whether it took long enough to tell its rate.
    pub(super) fn is_long(&self) -> bool {
        self.took >= LONG
    }

    fn rate(&self) -> f64 {
        self.puts as f64 / self.took.as_secs_f64()
    }

    /// The rate, in percent of that of another phase.
    pub(super) fn percent_of(&self, other: &Phase) -> f64 {
        100.0 * self.rate() / other.rate()
    }

    /// The head of a table of [`Phase::row`]s.
    pub(super) fn head() -> String {
        format!(
            "{:<18} {:>8} {:>8} {:>5} {:>9}  {:<57} {:>13}",
            "phase",
            "seconds",
            "puts/s",
            "%",
            format!("worst {STRETCH}s"),
            "processor us/put (client+proposers+acceptors+others+joins)",
            "disk r+w MB/s"
        )
    }

    /// One line; its rate in percent of that of `before`.
    pub(super) fn row(&self, before: &Phase) -> String {
        let seconds = self.took.as_secs_f64();
        let parts =
            [Part::Client.name(), Part::Proposer.name(), Part::Acceptor.name(), Part::Learner.name(), JOINS];
        let parts = parts.map(|part| self.cpu_us.get(part).copied().unwrap_or(0) as f64 / self.puts as f64);
        let [client, proposers, acceptors, others, joins] = parts;
        let all: u64 = self.cpu_us.values().sum();
        let busy = all as f64 / 1e6 / seconds;
        let costs = format!(
            "{:.1} = {client:.1}+{proposers:.1}+{acceptors:.1}+{others:.1}+{joins:.1}, {busy:.2} cores",
            parts.iter().sum::<f64>()
        );
        let disk = self.disk.map_or("-".into(), |disk| {
            let rate = |bytes: u64| bytes as f64 / 1e6 / seconds;
            format!("{:.0}+{:.0}", rate(disk.read_bytes), rate(disk.written_bytes))
        });
        let slowest = self.slowest.map_or("-".into(), |slowest| format!("{slowest:.0}"));
        format!(
            "{:<18} {seconds:>8.1} {:>8.0} {:>5.0} {slowest:>9}  {costs:<57} {disk:>13}",
            self.name,
            self.rate(),
            self.percent_of(before)
        )
    }
}
