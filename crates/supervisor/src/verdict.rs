//! The verdict of a demo or soak: what was measured, whether it is good enough, and how it is told. Pure.

use std::fmt::Write;

use crate::fleet::Counts;

/// What a demo or soak found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Calls that ended ok, checks at the end included.
    pub ok: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls whose outcome is unknown.
    pub unknown: u64,
    /// Answers that contradict what was acknowledged.
    pub violations: u64,
    /// Keys that were read back at the end.
    pub read_back: u64,
    /// Median time of a call, microseconds.
    pub p50_us: u64,
    /// Time within which 99 of 100 calls ended, microseconds.
    pub p99_us: u64,
    /// Longest time of a call, microseconds.
    pub max_us: u64,
    /// Longest time in which no call ended ok, microseconds.
    pub longest_gap_us: u64,
    /// Kills, restarts and other deaths.
    pub counts: Counts,
    /// Whether every process served again in the end.
    pub all_serve: bool,
    /// What else was wrong, in words.
    pub others: Vec<String>,
}

impl Findings {
    /// Why it has failed; nothing when it has passed.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, otherwise: String| {
            if !holds {
                faults.push(otherwise);
            }
        };
        let Counts { kills, restarts, deaths } = self.counts;
        must(self.violations == 0, format!("{} answers contradict what was acknowledged", self.violations));
        must(self.failed == 0, format!("{} calls failed", self.failed));
        must(self.unknown == 0, format!("the outcome of {} calls is unknown", self.unknown));
        must(self.ok > 0, "no call was answered".into());
        must(self.read_back > 0, "nothing was read back".into());
        must(kills > 0, "nothing was killed".into());
        must(kills == restarts, format!("{kills} were killed and {restarts} restarted"));
        must(deaths == 0, format!("processes died {deaths} times by themselves"));
        must(self.all_serve, "not every process served in the end".into());
        faults.extend(self.others.iter().cloned());
        faults
    }

    /// The report, ending in the verdict.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, rest: String| {
            writeln!(text, "  {name:<12} {rest}").expect("writing to a string can't fail");
        };
        line("operations", format!("{} ok, {} failed, {} unknown", self.ok, self.failed, self.unknown));
        let [p50, p99, max, gap] = [self.p50_us, self.p99_us, self.max_us, self.longest_gap_us].map(duration);
        line("latency", format!("p50 {p50}, p99 {p99}, max {max}; longest gap {gap}"));
        line("chaos", format!("{} kills, {} restarts", self.counts.kills, self.counts.restarts));
        line("checked", format!("{} keys read back, {} violations", self.read_back, self.violations));
        let faults = self.faults();
        let verdict = if faults.is_empty() { "PASS".into() } else { format!("FAIL: {}", faults.join("; ")) };
        text + "verdict: " + &verdict
    }
}

/// Microseconds for people: three digits and a unit.
fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000.. => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Findings {
        Findings {
            ok: 1_000,
            read_back: 10,
            p50_us: 900,
            p99_us: 12_300,
            max_us: 345_678,
            longest_gap_us: 1_234_567,
            counts: Counts { kills: 3, restarts: 3, deaths: 0 },
            all_serve: true,
            ..Findings::default()
        }
    }

    #[test]
    fn a_good_run_passes_and_is_told_plainly() {
        let expected = "  operations   1000 ok, 0 failed, 0 unknown\n  latency      p50 900 us, p99 12.3 ms, max 345 ms; \
                        longest gap 1.23 s\n  chaos        3 kills, 3 restarts\n  checked      10 keys read back, 0 violations\n\
                        verdict: PASS";
        assert_eq!(good().report(), expected);
    }

    #[test]
    fn every_fault_alone_fails_it_and_is_named() {
        let bad: [(&str, Findings); 10] = [
            ("contradict", Findings { violations: 1, ..good() }),
            ("calls failed", Findings { failed: 1, ..good() }),
            ("unknown", Findings { unknown: 1, ..good() }),
            ("no call", Findings { ok: 0, ..good() }),
            ("read back", Findings { read_back: 0, ..good() }),
            ("nothing was killed", Findings { counts: Counts::default(), ..good() }),
            (
                "3 were killed and 2",
                Findings { counts: Counts { kills: 3, restarts: 2, deaths: 0 }, ..good() },
            ),
            ("by themselves", Findings { counts: Counts { kills: 3, restarts: 3, deaths: 1 }, ..good() }),
            ("not every process", Findings { all_serve: false, ..good() }),
            ("too large", Findings { others: vec!["too large".into()], ..good() }),
        ];
        for (word, findings) in bad {
            let faults = findings.faults();
            assert!(faults.len() == 1 && faults[0].contains(word), "{word}: {faults:?}");
            assert!(findings.report().contains("verdict: FAIL: "));
        }
    }
}
