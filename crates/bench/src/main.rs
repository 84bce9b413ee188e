//! `synod-bench`: flags in, rounds run, a table or JSON lines out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use synod_bench::etcd::Etcd;
use synod_bench::join::{self, Join};
use synod_bench::load::{self, Service};
use synod_bench::process::{DiskUsage, Part, Started, Usage};
use synod_bench::result::{Outcome, ratios};
use synod_bench::shape::{Calls, Case, Shape};
use synod_bench::synod::Synod;

/// Seconds of a round.
const SECONDS: u64 = 5;
/// Seconds of a phase of a join: more than learners need from one checkpoint to the next.
const JOIN_SECONDS: u64 = 30;

/// Measures a Synod cluster on this host: speed, latency, and what a call costs
#[derive(Debug, Parser)]
#[command(name = "synod-bench", version, after_help = AFTER)]
struct Flags {
    /// Which calls; several give several cases
    #[arg(long = "case", value_enum, value_delimiter = ',', default_value = "puts")]
    cases: Vec<Calls>,
    /// Calls under way at once; several give several cases
    #[arg(long, value_delimiter = ',', default_value = "1,64,256,1024", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: Vec<u32>,
    /// Bytes of a value; several give several cases
    #[arg(long, value_delimiter = ',', default_value = "256", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    value_bytes: Vec<u32>,
    /// Acceptors, and members of etcd; several give several cases
    #[arg(long, value_delimiter = ',', default_value = "5", value_parser = clap::value_parser!(u32).range(1..=9))]
    acceptors: Vec<u32>,
    /// Learners [default: 2 beside up to 3 acceptors, else 3; proposers always so]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=9))]
    learners: Option<u32>,
    /// Keys in use
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Sessions or connections that the callers share [default: one for each 64 callers, at least 4]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    sessions: Option<u32>,
    /// Measured seconds of a round [default: 5; with --join 30 for each phase that has no end of its own]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Seconds before them that aren't measured
    #[arg(long, default_value_t = 1)]
    warm_up_seconds: u64,
    /// Rounds of each case; medians are told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure another system in the same rounds
    #[arg(long, value_enum)]
    against: Option<Peer>,
    /// Instead: how long a learner with --keys keys takes to serve again, and what it costs puts when one joins with an empty directory
    #[arg(long, conflicts_with_all = ["against", "json", "cases", "rounds"])]
    join: bool,
    /// With --join: fail when the rate of puts falls by more percent than that while a learner joins, or after
    #[arg(long, value_name = "PERCENT", requires = "join", value_parser = clap::value_parser!(u8).range(0..=100))]
    most_dip: Option<u8>,
    /// One JSON object a case on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// Where the daemons' executables are [default: beside this one]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where clusters keep their data while they are measured [default: beside the executables' folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const AFTER: &str = "Every round starts a new cluster, with data on the disk of --data-dir and every vote synced. Keys have 16 bytes.\nExit codes: 0 \
                     measured, 1 not, 2 usage.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// `etcd` from PATH, with as many members as acceptors
    Etcd,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&flags))
}

async fn run(flags: &Flags) -> Result<()> {
    let own = std::env::current_exe()
        .context("cannot find this executable; name the daemons' folder with --bin-dir")?;
    let beside = own.parent().context("this executable lies in no folder")?;
    let bin_dir = flags.bin_dir.clone().unwrap_or_else(|| beside.to_path_buf());
    let data_dir = flags.data_dir.clone().unwrap_or_else(|| {
        let target = beside.parent().filter(|target| target.join("CACHEDIR.TAG").is_file());
        target.map_or_else(|| PathBuf::from("synod-data"), |target| target.join("synod"))
    });
    if flags.join {
        for case in cases(flags) {
            let folder = data_dir.join(format!("bench-{}-join", std::process::id()));
            let Case { shape, keys, value_bytes, in_flight, .. } = case;
            let window = Duration::from_secs(flags.seconds.unwrap_or(JOIN_SECONDS));
            let (sessions, most_dip_percent) = (sessions(flags, case), flags.most_dip);
            let join = Join { shape, keys, value_bytes, in_flight, sessions, window, most_dip_percent };
            cleared(join::run(&join, &bin_dir, &folder).await, &folder)?;
        }
        return Ok(());
    }
    if !flags.json {
        println!("{}", Outcome::head());
    }
    for case in cases(flags) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..flags.rounds {
            // A new folder for each cluster; what it leaves is removed when it has been measured.
            let folder = data_dir.join(format!("bench-{}-{round}", std::process::id()));
            ours.push(measure_synod(flags, case, &bin_dir, &folder).await?);
            if flags.against == Some(Peer::Etcd) {
                theirs.push(measure_etcd(flags, case, &folder).await?);
            }
        }
        let all: Vec<Outcome> =
            [&ours, &theirs].into_iter().filter_map(|some| Outcome::median(some)).collect();
        for outcome in &all {
            if flags.json {
                println!("{}", serde_json::to_string(outcome)?);
            } else {
                println!("{}", outcome.row());
            }
        }
        if let ([ours, theirs], false) = (all.as_slice(), flags.json) {
            println!("{}", ratios(ours, theirs));
        }
    }
    Ok(())
}

fn cases(flags: &Flags) -> Vec<Case> {
    let mut cases = Vec::new();
    for acceptors in &flags.acceptors {
        let shape = Shape::with(*acceptors as usize, flags.learners.map(|learners| learners as usize));
        for case in &flags.cases {
            for value_bytes in &flags.value_bytes {
                for in_flight in &flags.in_flight {
                    cases.push(Case {
                        case: *case,
                        in_flight: *in_flight as usize,
                        value_bytes: *value_bytes as usize,
                        keys: flags.keys as usize,
                        shape,
                    });
                }
            }
        }
    }
    cases
}

fn sessions(flags: &Flags, case: Case) -> usize {
    let usual = case.in_flight.div_ceil(64).max(4);
    flags.sessions.map_or(usual, |sessions| sessions as usize).min(case.in_flight)
}

async fn measure_synod(flags: &Flags, case: Case, bin_dir: &Path, folder: &Path) -> Result<Outcome> {
    let synod = Synod::start(&case.shape, bin_dir, folder).await?;
    let services: Vec<Service> = (0..sessions(flags, case)).map(|_| Service::Synod(synod.client())).collect();
    let outcome = measure(flags, "synod", case, &services, (&synod.processes, folder)).await;
    drop(synod);
    cleared(outcome, folder)
}

async fn measure_etcd(flags: &Flags, case: Case, folder: &Path) -> Result<Outcome> {
    let etcd = Etcd::start(case.shape.acceptors, folder).await?;
    let mut services = Vec::new();
    for _ in 0..sessions(flags, case) {
        services.push(Service::Etcd(etcd.connect().await?));
    }
    let outcome =
        measure(flags, &format!("etcd {}", etcd.version), case, &services, (&etcd.processes, folder)).await;
    drop(etcd);
    cleared(outcome, folder)
}

/// The data of a cluster that was measured is removed; that of one that failed stays, to be looked at.
fn cleared<T>(outcome: Result<T>, folder: &Path) -> Result<T> {
    match outcome {
        Ok(outcome) => {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            Ok(outcome)
        }
        Err(error) => Err(error.context(format!("logs and data are in {}", folder.display()))),
    }
}

async fn measure(
    flags: &Flags,
    system: &str,
    case: Case,
    services: &[Service],
    (processes, folder): (&[Started], &Path),
) -> Result<Outcome> {
    if case.case != Calls::Puts {
        load::fill(services, case.keys, case.value_bytes).await.context("the keys could not be put first")?;
    }
    let look = || -> (BTreeMap<Part, Usage>, Option<u64>) {
        let own = (Part::Client, std::process::id());
        let mut all = BTreeMap::new();
        for (part, pid) in processes.iter().map(|started| (started.part, started.pid())).chain([own]) {
            let sum: &mut Usage = all.entry(part).or_default();
            *sum = sum.plus(Usage::of(pid));
        }
        (all, DiskUsage::of(folder).map(|disk| disk.written_bytes))
    };
    let (mut before, mut after) = ((BTreeMap::new(), None), (BTreeMap::new(), None));
    let measured = load::run(
        services,
        &case,
        Duration::from_secs(flags.warm_up_seconds),
        Duration::from_secs(flags.seconds.unwrap_or(SECONDS)),
        (|| before = look(), || after = look()),
    )
    .await?;
    if let Some(why) = &measured.first_failure {
        ensure!(
            measured.failed * 100 < measured.ok,
            "{} calls failed, the first with: {why}",
            measured.failed
        );
    }
    let Some(usage) = after
        .0
        .into_iter()
        .map(|(part, usage)| Some((part, usage.since(*before.0.get(&part)?))))
        .collect::<Option<BTreeMap<Part, Usage>>>()
    else {
        bail!("a process was not there when the measurement began");
    };
    let disk_bytes = before.1.zip(after.1).map(|(before, after)| after.saturating_sub(before));
    Ok(Outcome::of(system, case, &measured, &usage, disk_bytes))
}
