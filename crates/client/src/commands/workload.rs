//! workload.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use synod_client::workload::{self, Config, Mix};

use super::{Exit, Invocation};

const EXAMPLES: &str = "\
Examples:
  synod workload                                       # 16 clients, 10 s, half puts
  synod workload --clients 1024 --put 100 --get 0 --delete 0
  synod workload --clients 1 --seconds 5 --json        # one object on standard output
  synod workload --seed 7                              # the same choice of operations each time

Exits with 1 if an answer was wrong, with 3 if no call was answered.";

/// Drive the cluster with calls, measure, and check every answer.
///
/// Each client has one call in flight and works on keys of its own, so that it knows what each answer may be. At the end
/// every key is read back and compared with what was acknowledged.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Workload {
    /// Logical clients, each with one call in flight
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Sessions, each with connections of its own, that the clients share; 0: one for 64 clients, at least 4
    #[arg(long, default_value_t = 0)]
    sessions: u32,
    /// How long new calls are begun, seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Stop earlier, after so many answered calls
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,
    /// Percent of puts
    #[arg(long, default_value_t = 50)]
    put: u8,
    /// Percent of gets
    #[arg(long, default_value_t = 40)]
    get: u8,
    /// Percent of deletes; the three must add up to 100
    #[arg(long, default_value_t = 10)]
    delete: u8,
    /// Keys in all; each client has at least one
    #[arg(long, default_value_t = 1_000)]
    keys: u32,
    /// Bytes of a value, at least 16
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..))]
    value_bytes: u32,
    /// Seed of the choice of operations and keys
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Don't read everything back at the end
    #[arg(long)]
    no_verify: bool,
}

#[derive(serde::Serialize)]
struct Printed {
    #[serde(flatten)]
    report: workload::Report,
    verification: Option<workload::Verification>,
}

impl Workload {
    pub(super) async fn run(self, invocation: &Invocation) -> anyhow::Result<Exit> {
        let sum = u32::from(self.put) + u32::from(self.get) + u32::from(self.delete);
        let value_limit = invocation.cluster.limits.value_bytes;
        if let Err(error) = check(sum, self.value_bytes, value_limit) {
            eprintln!("synod: {error}");
            return Ok(Exit::Usage);
        }
        let config = Config {
            clients: self.clients as usize,
            sessions: self.sessions as usize,
            duration: Duration::from_secs(self.seconds),
            calls: self.calls,
            mix: Mix { put: self.put, get: self.get },
            keys: self.keys as usize,
            value_bytes: self.value_bytes as usize,
            seed: self.seed,
            deadline: invocation.deadline,
        };
        let mut finished = workload::run(&invocation.cluster, &config, |second| {
            eprintln!(
                "{:>4.0} s  {:>8} ok  {:>6} failed  {:>6} unknown  p50 {:>7} us  p99 {:>8} us",
                second.at, second.ok, second.failed, second.unknown, second.p50_us, second.p99_us
            );
        })
        .await;
        let verification = if self.no_verify { None } else { Some(finished.verify().await) };
        let printed = Printed { report: finished.report.clone(), verification };
        finished.close().await;
        print(&printed, self.json)?;
        Ok(printed.exit())
    }
}

fn check(sum: u32, value_bytes: u32, limit: u64) -> anyhow::Result<()> {
    ensure!(sum == 100, "--put, --get and --delete add up to {sum}, not to 100; nothing was done");
    ensure!(
        u64::from(value_bytes) <= limit,
        "--value-bytes {value_bytes} is more than this cluster's limit of {limit}; nothing was done"
    );
    Ok(())
}

impl Printed {
    fn exit(&self) -> Exit {
        let wrong = self.verification.as_ref().is_some_and(|found| !found.violations.is_empty());
        if wrong || self.report.violations > 0 {
            Exit::Failed
        } else if self.report.ok == 0 {
            Exit::NoQuorum
        } else {
            Exit::Ok
        }
    }
}

fn print(printed: &Printed, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(printed)?);
        return Ok(());
    }
    let report = &printed.report;
    println!(
        "{} ok, {} failed, {} unknown in {:.1} s: {:.0} calls/s",
        report.ok, report.failed, report.unknown, report.seconds, report.ops_per_s
    );
    println!("latency  p50 {} us, p99 {} us, max {} us", report.p50_us, report.p99_us, report.max_us);
    if let Some(gap) = report.longest_gap_ms {
        println!("longest time without an acknowledged write  {gap} ms");
    }
    let mut wrong = report.violations;
    report.violations_described.iter().for_each(|what| println!("WRONG  {what}"));
    if let Some(found) = &printed.verification {
        wrong += found.violations.len() as u64;
        found.violations.iter().for_each(|what| println!("WRONG  {what}"));
        println!("read back  {} keys, {} unreadable", found.keys, found.unreadable);
    }
    println!("wrong answers  {wrong}");
    Ok(())
}
