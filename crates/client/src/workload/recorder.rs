//! What a workload measures: counts, latencies, and the longest time without an acknowledged write.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use super::Config;
use crate::outcome::CallError;

/// Violations described, at most; all are counted.
const DESCRIBED: usize = 20;
/// Longest latency told apart from longer ones, microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// One second of a workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Second {
    /// Seconds since the beginning.
    pub at: f64,
    /// Calls answered in this second.
    pub ok: u64,
    /// Calls that failed for certain in this second.
    pub failed: u64,
    /// Calls that ended as unknown in this second.
    pub unknown: u64,
    /// Median latency of this second, microseconds.
    pub p50_us: u64,
    /// 99th percentile of this second, microseconds.
    pub p99_us: u64,
}

/// A whole workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// From the beginning to the end, or to the last answer if that came later.
    pub seconds: f64,
    /// Calls answered.
    pub ok: u64,
    /// Calls that failed for certain.
    pub failed: u64,
    /// Calls that ended as unknown.
    pub unknown: u64,
    /// Calls answered in a second.
    pub ops_per_s: f64,
    /// Median latency of the calls answered, microseconds.
    pub p50_us: u64,
    /// 99th percentile, microseconds.
    pub p99_us: u64,
    /// Longest, microseconds.
    pub max_us: u64,
    /// Longest time without an acknowledged write, milliseconds; absent if nothing was to be written.
    pub longest_gap_ms: Option<u64>,
    /// Answers that can't be.
    pub violations: u64,
    /// The first of them, described.
    pub violations_described: Vec<String>,
    /// Logical clients.
    pub clients: usize,
    /// Sessions they shared.
    pub sessions: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Seed of the choice of operations.
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    ok: u64,
    failed: u64,
    unknown: u64,
}

#[derive(Debug)]
pub(super) struct Recorder {
    begun: Instant,
    writes: bool,
    total: Counts,
    latencies: Histogram<u64>,
    recent: Counts,
    recent_latencies: Histogram<u64>,
    last_ok: Instant,
    last_write: Instant,
    longest_gap: Duration,
    violations: u64,
    described: Vec<String>,
}

impl Recorder {
    /// `writes` tells whether there will be any.
    pub(super) fn new(begun: Instant, writes: bool) -> Recorder {
        // With bounds: beyond those of a histogram that grows by itself, `saturating_record` would cut to what it has grown to.
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds and three digits are allowed");
        Recorder {
            begun,
            writes,
            total: Counts::default(),
            latencies: histogram(),
            recent: Counts::default(),
            recent_latencies: histogram(),
            last_ok: begun,
            last_write: begun,
            longest_gap: Duration::ZERO,
            violations: 0,
            described: Vec::new(),
        }
    }

    pub(super) fn ended(&mut self, begun: Instant, now: Instant, ended: &Result<(), CallError>, write: bool) {
        let counts = [&mut self.total, &mut self.recent];
        match ended {
            Ok(()) => {
                counts.into_iter().for_each(|counts| counts.ok += 1);
                let micros = (now - begun).as_micros() as u64;
                self.latencies.saturating_record(micros);
                self.recent_latencies.saturating_record(micros);
                self.last_ok = now;
                if write {
                    self.longest_gap = self.longest_gap.max(now - self.last_write);
                    self.last_write = now;
                }
            }
            Err(CallError::Failed(_)) => counts.into_iter().for_each(|counts| counts.failed += 1),
            Err(CallError::Unknown) => counts.into_iter().for_each(|counts| counts.unknown += 1),
        }
    }

    pub(super) fn violation(&mut self, what: String) {
        self.violations += 1;
        if self.described.len() < DESCRIBED {
            self.described.push(what);
        }
    }

    /// Calls answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.total.ok
    }

    /// What came since the last time.
    pub(super) fn second(&mut self) -> Second {
        let Counts { ok, failed, unknown } = std::mem::take(&mut self.recent);
        let second = Second {
            at: self.begun.elapsed().as_secs_f64(),
            ok,
            failed,
            unknown,
            p50_us: self.recent_latencies.value_at_quantile(0.5),
            p99_us: self.recent_latencies.value_at_quantile(0.99),
        };
        self.recent_latencies.reset();
        second
    }

    /// The whole, for calls that were begun until `stopped`.
    pub(super) fn report(&self, config: &Config, stopped: Instant) -> Report {
        let end = stopped.max(self.last_ok);
        let seconds = (end - self.begun).as_secs_f64();
        let Counts { ok, failed, unknown } = self.total;
        let gap = self.longest_gap.max(end - self.last_write);
        Report {
            seconds,
            ok,
            failed,
            unknown,
            ops_per_s: ok as f64 / seconds,
            p50_us: self.latencies.value_at_quantile(0.5),
            p99_us: self.latencies.value_at_quantile(0.99),
            max_us: self.latencies.max(),
            longest_gap_ms: self.writes.then_some(gap.as_millis() as u64),
            violations: self.violations,
            violations_described: self.described.clone(),
            clients: config.clients,
            sessions: config.session_count(),
            value_bytes: config.value_bytes,
            seed: config.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_latencies_are_told_apart() {
        let begun = Instant::now();
        let mut recorder = Recorder::new(begun, true);
        for millis in 1..=100 {
            recorder.ended(begun, begun + Duration::from_millis(millis), &Ok(()), true);
        }
        let report = recorder.report(&Config::default(), begun);
        let near = |told: u64, expected: u64| told.abs_diff(expected) <= expected / 500;
        assert!(near(report.p50_us, 50_000) && near(report.p99_us, 99_000), "{report:?}");
        assert!(near(report.max_us, 100_000), "{report:?}");
        assert_eq!(report.longest_gap_ms, Some(1));
    }
}
