//! Results: one round, the median of several, the ratio of two systems, for people and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::calls::Counted;
use crate::load::Measured;
use crate::process::{Part, Usage};
use crate::shape::Case;

/// What one case came to on one system.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// `synod`, or `etcd` with its version.
    pub system: String,
    /// The load.
    #[serde(flatten)]
    pub case: Case,
    /// Rounds of which this is the median, number by number.
    pub rounds: usize,
    /// Calls answered in a second.
    pub ops_per_s: f64,
    /// Least and most of the rounds.
    pub ops_per_s_range: (f64, f64),
    /// Median latency, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// 99.9th percentile, microseconds.
    pub p999_us: f64,
    /// Processor time of all server processes for one call, microseconds.
    pub cpu_us_per_op: f64,
    /// The same of each kind of process, the load generator included.
    pub cpu_us_per_op_by_part: BTreeMap<&'static str, f64>,
    /// Resident memory of all server processes at the end, MiB.
    pub rss_mib: f64,
    /// Bytes written to the disk for one call, whoever else writes to it included; absent if the kernel doesn't tell.
    pub disk_bytes_per_op: Option<f64>,
    /// Times that a thread of a server process waited, for one call; each is at least one system call.
    pub waits_per_op: f64,
    /// System calls of server processes for one call, if they were counted; then in a round of its own, which slows what it counts.
    pub system_calls_per_op: Option<f64>,
    /// Those of them that sync a file.
    pub syncs_per_op: Option<f64>,
    /// Calls that failed or whose outcome is unknown.
    pub failed: u64,
}

impl Outcome {
    /// The outcome of one round.
    pub fn of(
        system: &str,
        case: Case,
        measured: &Measured,
        usage: &BTreeMap<Part, Usage>,
        disk_bytes: Option<u64>,
    ) -> Outcome {
        let ok = measured.ok as f64;
        let servers = usage.iter().filter(|(part, _)| **part != Part::Client);
        let servers = servers.fold(Usage::default(), |sum, (_, usage)| sum.plus(*usage));
        let ops_per_s = ok / measured.elapsed.as_secs_f64();
        let quantile = |at| measured.latencies.value_at_quantile(at) as f64;
        Outcome {
            system: system.to_string(),
            case,
            rounds: 1,
            ops_per_s,
            ops_per_s_range: (ops_per_s, ops_per_s),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            cpu_us_per_op: servers.cpu_us as f64 / ok,
            cpu_us_per_op_by_part: usage
                .iter()
                .map(|(part, usage)| (part.name(), usage.cpu_us as f64 / ok))
                .collect(),
            rss_mib: servers.resident_bytes as f64 / f64::from(1 << 20),
            disk_bytes_per_op: disk_bytes.map(|bytes| bytes as f64 / ok),
            waits_per_op: servers.waits as f64 / ok,
            system_calls_per_op: None,
            syncs_per_op: None,
            failed: measured.failed,
        }
    }

    /// The median of some rounds of one case on one system; nothing of none.
    pub fn median(rounds: &[Outcome]) -> Option<Outcome> {
        let first = rounds.first()?;
        let of = |number: fn(&Outcome) -> f64| median(rounds.iter().map(number).collect());
        let speeds = rounds.iter().map(|round| round.ops_per_s);
        let parts = first.cpu_us_per_op_by_part.keys().map(|part| {
            let numbers = rounds.iter().filter_map(|round| round.cpu_us_per_op_by_part.get(part).copied());
            (*part, median(numbers.collect()))
        });
        Some(Outcome {
            system: first.system.clone(),
            case: first.case,
            rounds: rounds.len(),
            ops_per_s: of(|round| round.ops_per_s),
            ops_per_s_range: (speeds.clone().fold(f64::MAX, f64::min), speeds.fold(0.0, f64::max)),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
            p999_us: of(|round| round.p999_us),
            cpu_us_per_op: of(|round| round.cpu_us_per_op),
            cpu_us_per_op_by_part: parts.collect(),
            rss_mib: of(|round| round.rss_mib),
            disk_bytes_per_op: rounds
                .iter()
                .map(|round| round.disk_bytes_per_op)
                .collect::<Option<Vec<f64>>>()
                .map(median),
            waits_per_op: of(|round| round.waits_per_op),
            system_calls_per_op: None,
            syncs_per_op: None,
            failed: rounds.iter().map(|round| round.failed).sum(),
        })
    }

    /// Adds what system calls were counted while so many calls were answered.
    pub(crate) fn count(&mut self, counted: Counted, answered: f64) {
        self.system_calls_per_op = Some(counted.all as f64 / answered);
        self.syncs_per_op = Some(counted.syncs as f64 / answered);
    }

    /// What a call costs, for people, under its row.
    pub fn costs(&self) -> String {
        let parts: Vec<String> =
            self.cpu_us_per_op_by_part.iter().map(|(part, us)| format!("{part} {us:.2}")).collect();
        let calls = self.system_calls_per_op.zip(self.syncs_per_op);
        let calls = calls.map_or_else(String::new, |(calls, syncs)| {
            format!(", system calls {calls:.2}, syncs {syncs:.3}")
        });
        format!("{:<12} cpu us/op: {}; waits/op {:.2}{calls}", "  costs", parts.join(", "), self.waits_per_op)
    }

    /// The head of a table of [`Outcome::row`]s.
    pub fn head() -> String {
        format!(
            "{:<12} {:<5} {:>9} {:>7}  {:<14} {:>10} {:>21} {:>9} {:>9} {:>10} {:>8} {:>9} {:>6}",
            "system",
            "calls",
            "in flight",
            "bytes",
            "processes",
            "ops/s",
            "(range)",
            "p50 us",
            "p99 us",
            "cpu us/op",
            "rss MiB",
            "disk B/op",
            "failed"
        )
    }

    /// One line of a table.
    pub fn row(&self) -> String {
        let Case { case, in_flight, value_bytes, shape, .. } = self.case;
        let processes = if self.system == "synod" {
            format!("{}a {}p {}l", shape.acceptors, shape.proposers, shape.learners)
        } else {
            format!("{} members", shape.acceptors)
        };
        let (least, most) = self.ops_per_s_range;
        format!(
            "{:<12} {:<5} {in_flight:>9} {value_bytes:>7}  {processes:<14} {:>10.0} {:>21} {:>9.0} {:>9.0} {:>10.2} {:>8.0} {:>9} {:>6}",
            self.system,
            format!("{case:?}").to_lowercase(),
            self.ops_per_s,
            format!("({least:.0}-{most:.0})"),
            self.p50_us,
            self.p99_us,
            self.cpu_us_per_op,
            self.rss_mib,
            self.disk_bytes_per_op.map_or_else(|| "-".into(), |bytes| format!("{bytes:.0}")),
            self.failed
        )
    }
}

/// Ours set beside another's, for people: how many times as much.
pub fn ratios(ours: &Outcome, theirs: &Outcome) -> String {
    format!(
        "{:<12} ops/s x{:.1}, p50 x{:.2}, p99 x{:.2}, cpu/op x{:.3}, memory x{:.2}",
        "  ratio",
        ours.ops_per_s / theirs.ops_per_s,
        ours.p50_us / theirs.p50_us,
        ours.p99_us / theirs.p99_us,
        ours.cpu_us_per_op / theirs.cpu_us_per_op,
        ours.rss_mib / theirs.rss_mib
    )
}

/// The middle one of some numbers, or the mean of the two in the middle.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        _ if numbers.is_empty() => f64::NAN,
        1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;
    use crate::shape::{Calls, Engine, Shape};

    fn outcome(ok: u64, us: u64) -> Outcome {
        let mut latencies = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        latencies.record_n(us, ok).unwrap();
        let measured =
            Measured { ok, failed: 1, first_failure: None, elapsed: Duration::from_secs(2), latencies };
        let case = Case {
            case: Calls::Puts,
            in_flight: 4,
            value_bytes: 256,
            keys: 10,
            shape: Shape::with(5, None, Engine::Memory),
        };
        let used = |cpu_us| Usage { cpu_us, resident_bytes: 1 << 20, waits: 50 };
        let usage = BTreeMap::from([
            (Part::Acceptor, used(1_000)),
            (Part::Learner, used(500)),
            (Part::Client, used(9)),
        ]);
        Outcome::of("synod", case, &measured, &usage, Some(1_000))
    }

    #[test]
    fn costs_are_those_of_the_servers_for_each_call() {
        let one = outcome(100, 7);
        assert_eq!((one.ops_per_s, one.p50_us, one.cpu_us_per_op), (50.0, 7.0, 15.0));
        assert_eq!((one.rss_mib, one.disk_bytes_per_op, one.waits_per_op), (2.0, Some(10.0), 1.0));
        assert_eq!(one.cpu_us_per_op_by_part["client"], 0.09);
    }

    #[test]
    fn the_median_stands_for_the_rounds_and_their_range_is_told() {
        let rounds = [outcome(100, 9), outcome(400, 7), outcome(200, 8)];
        let all = Outcome::median(&rounds).unwrap();
        assert_eq!((all.ops_per_s, all.ops_per_s_range, all.p50_us), (100.0, (50.0, 200.0), 8.0));
        assert_eq!((all.rounds, all.failed), (3, 3));
        assert_eq!(median(vec![1.0, 4.0, 2.0, 3.0]), 2.5);
        assert!(Outcome::median(&[]).is_none());
    }
}
