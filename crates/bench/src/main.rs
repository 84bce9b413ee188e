//! `synod-bench`: flags in, rounds run, a table or JSON lines out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgGroup, Parser, ValueEnum};
use serde::Serialize;
use synod_bench::growth::{self, Condition, Growth};
use synod_bench::join::{self, Join};
use synod_bench::overload::{self, Overload};
use synod_bench::result::{Outcome, ratios};
use synod_bench::rounds::{Rounds, cleared};
use synod_bench::shape::{Calls, Case, Engine, Shape};
use synod_bench::{gap, idle};

/// Seconds of a round.
const SECONDS: u64 = 5;
/// Seconds of a phase of a join: more than learners need from one checkpoint to the next.
const JOIN_SECONDS: u64 = 30;

/// Measures a Synod cluster on this host: speed, latency, and what a call costs
#[derive(Debug, Parser)]
#[command(name = "synod-bench", version, after_help = AFTER)]
#[command(group = ArgGroup::new("question").args(["everything", "join", "growth", "overload", "gap"]))]
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
    /// Learners; several give several cases [default: 2 beside up to 3 acceptors, else 3; proposers always so]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=9))]
    learners: Vec<u32>,
    /// What learners keep the keys in
    #[arg(long, value_enum, default_value = "memory")]
    engine: Engine,
    /// Keys in use [default: 10000; for --growth 10000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    keys: Option<u32>,
    /// Sessions with Synod that the callers share [default: one for each 256 callers]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    sessions: Option<u32>,
    /// Connections to etcd that the callers share [default: one for each 64 callers, at least 4]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    connections: Option<u32>,
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
    /// One more round of each case that counts system calls and syncs, with perf, else strace
    #[arg(long)]
    system_calls: bool,
    /// All calls at 1 to 4,096 in flight, values of 16 bytes to 64 KiB, 3 and 5 acceptors, and gets with 1 to 3 learners, each with the rest as usual
    #[arg(long, conflicts_with_all = ["cases", "in_flight", "value_bytes", "acceptors", "learners"])]
    everything: bool,
    /// Instead: how long a learner with --keys keys takes to serve again, and what it costs puts when one joins with an empty directory
    #[arg(long, conflicts_with_all = ["against", "json", "cases", "rounds"])]
    join: bool,
    /// Instead: puts of a cluster that has aged or lost something, as a percentage of a fresh one's beside it; all conditions unless some are named
    #[arg(long, value_enum, value_name = "CONDITIONS", value_delimiter = ',', num_args = 0.., conflicts_with_all = ["against", "cases"])]
    growth: Option<Vec<Condition>>,
    /// Other sessions that are open in --growth sessions
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    idle_sessions: u32,
    /// How long puts go on before --growth time
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Instead: puts begun by a schedule, at these multiples of what the cluster answers to callers that wait [default: 0.5,1,3]
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', num_args = 0.., default_missing_value = "0.5,1,3", conflicts_with_all = ["against", "cases", "rounds"])]
    overload: Option<Vec<f64>>,
    /// Deadline of a call in --overload
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    deadline_ms: u64,
    /// Instead: how long nobody can put when the leader is killed, so many times
    #[arg(long, value_name = "KILLS", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["cases", "rounds"])]
    gap: Option<u32>,
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
    /// Holds so many sessions in the cluster of --cluster until standard input ends; this program starts itself so
    #[arg(long, hide = true, requires = "cluster")]
    hold_sessions: Option<usize>,
    #[arg(long, hide = true)]
    cluster: Option<PathBuf>,
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
    runtime.block_on(async {
        match (flags.hold_sessions, &flags.cluster) {
            (Some(sessions), Some(cluster)) => idle::hold(sessions, cluster).await,
            _ => run(&flags).await,
        }
    })
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
    let places = (bin_dir.as_path(), data_dir.join(format!("bench-{}", std::process::id())));
    if flags.join {
        return run_join(flags, places).await;
    }
    if let Some(conditions) = &flags.growth {
        return run_growth(flags, conditions, places).await;
    }
    if let Some(factors) = &flags.overload {
        return run_overload(flags, factors, places).await;
    }
    if let Some(kills) = flags.gap {
        return run_gap(flags, kills, places).await;
    }
    run_rounds(flags, bin_dir, data_dir).await
}

async fn run_rounds(flags: &Flags, bin_dir: PathBuf, data_dir: PathBuf) -> Result<()> {
    if !flags.json {
        println!("{}", Outcome::head());
    }
    for case in if flags.everything { everything(flags) } else { cases(flags) } {
        let rounds = Rounds {
            sessions: sessions(flags, case),
            connections: connections(flags, case),
            warm_up: Duration::from_secs(flags.warm_up_seconds),
            duration: Duration::from_secs(flags.seconds.unwrap_or(SECONDS)),
            count: flags.rounds,
            against_etcd: flags.against == Some(Peer::Etcd),
            system_calls: flags.system_calls,
            bin_dir: bin_dir.clone(),
            data_dir: data_dir.clone(),
        };
        let all = rounds.run(case).await?;
        for outcome in &all {
            tell(flags, outcome, format!("{}\n{}", outcome.row(), outcome.costs()))?;
        }
        if let ([ours, theirs], false) = (all.as_slice(), flags.json) {
            println!("{}", ratios(ours, theirs));
        }
    }
    Ok(())
}

async fn run_join(flags: &Flags, (bin_dir, folder): (&Path, PathBuf)) -> Result<()> {
    for case in cases(flags) {
        let window = Duration::from_secs(flags.seconds.unwrap_or(JOIN_SECONDS));
        let (sessions, most_dip_percent) = (sessions(flags, case), flags.most_dip);
        let join = Join { case, sessions, window, most_dip_percent };
        cleared(join::run(&join, bin_dir, &folder).await, &folder)?;
    }
    Ok(())
}

async fn run_growth(
    flags: &Flags,
    conditions: &[Condition],
    (bin_dir, folder): (&Path, PathBuf),
) -> Result<()> {
    let conditions = if conditions.is_empty() { Condition::value_variants() } else { conditions };
    for case in cases(flags) {
        let growth = Growth {
            case,
            sessions: sessions(flags, case),
            idle_sessions: flags.idle_sessions as usize,
            age: Duration::from_secs(60 * flags.minutes),
            warm_up: Duration::from_secs(flags.warm_up_seconds),
            window: Duration::from_secs(flags.seconds.unwrap_or(SECONDS)),
            rounds: flags.rounds,
        };
        for condition in conditions {
            let compared = growth::run(&growth, *condition, (bin_dir, folder.clone())).await?;
            tell(flags, &compared, compared.row())?;
        }
    }
    Ok(())
}

async fn run_overload(flags: &Flags, factors: &[f64], (bin_dir, folder): (&Path, PathBuf)) -> Result<()> {
    for case in cases(flags) {
        let overload = Overload {
            case,
            sessions: sessions(flags, case),
            factors: factors.to_vec(),
            duration: Duration::from_secs(flags.seconds.unwrap_or(SECONDS)),
            deadline: Duration::from_millis(flags.deadline_ms),
        };
        let tell = |offered: &overload::Offered| tell(flags, offered, offered.row());
        overload::run(&overload, (bin_dir, folder.clone()), tell).await?;
    }
    Ok(())
}

async fn run_gap(flags: &Flags, kills: u32, (bin_dir, folder): (&Path, PathBuf)) -> Result<()> {
    for case in cases(flags) {
        let gaps = gap::synod(case, sessions(flags, case), kills, (bin_dir, folder.clone())).await?;
        tell(flags, &gaps, gaps.row())?;
        if flags.against == Some(Peer::Etcd) {
            let gaps = gap::etcd(case, connections(flags, case), kills, folder.clone()).await?;
            tell(flags, &gaps, gaps.row())?;
        }
    }
    Ok(())
}

/// As JSON, or in these words.
fn tell(flags: &Flags, result: &impl Serialize, words: String) -> Result<()> {
    println!("{}", if flags.json { serde_json::to_string(result)? } else { words });
    Ok(())
}

/// What a run without flags has of a kind of question where one value is as good as several.
fn in_flight(flags: &Flags) -> &[u32] {
    let usual = [1, 64, 256, 1_024];
    let growth = flags.growth.is_some() || flags.join;
    match flags.in_flight.as_slice() {
        all if *all != usual => all,
        _ if flags.gap.is_some() => &[64],
        _ if growth => &[256],
        _ if flags.overload.is_some() => &[1_024],
        all => all,
    }
}

fn cases(flags: &Flags) -> Vec<Case> {
    let keys = flags.keys.unwrap_or(if flags.growth.is_some() { 10_000_000 } else { 10_000 });
    let usual: Vec<Option<u32>> = vec![None];
    let learners =
        if flags.learners.is_empty() { usual } else { flags.learners.iter().copied().map(Some).collect() };
    let mut cases = Vec::new();
    for acceptors in &flags.acceptors {
        for learners in &learners {
            let learners = learners.map(|learners| learners as usize);
            let shape = Shape::with(*acceptors as usize, learners, flags.engine);
            for case in &flags.cases {
                for value_bytes in &flags.value_bytes {
                    for in_flight in in_flight(flags) {
                        cases.push(Case {
                            case: *case,
                            in_flight: *in_flight as usize,
                            value_bytes: *value_bytes as usize,
                            keys: keys as usize,
                            shape,
                        });
                    }
                }
            }
        }
    }
    cases
}

/// Each of them varied alone: all combinations would take a day.
fn everything(flags: &Flags) -> Vec<Case> {
    const IN_FLIGHT: [usize; 6] = [1, 16, 64, 256, 1_024, 4_096];
    let keys = flags.keys.map_or(10_000, |keys| keys as usize);
    let mut cases = Vec::new();
    for acceptors in [5, 3] {
        let shape = Shape::with(acceptors, None, flags.engine);
        let usual = Case { case: Calls::Puts, in_flight: 256, value_bytes: 256, keys, shape };
        for case in [Calls::Puts, Calls::Gets, Calls::Mix] {
            cases.extend(IN_FLIGHT.map(|in_flight| Case { case, in_flight, ..usual }));
            cases.extend([16, 4 << 10, 64 << 10].map(|value_bytes| Case { case, value_bytes, ..usual }));
        }
        let learners = (1..=3).filter(|learners| *learners != shape.learners);
        cases.extend(learners.map(|learners| {
            let shape = Shape { learners, ..shape };
            Case { case: Calls::Gets, in_flight: 1_024, shape, ..usual }
        }));
    }
    cases
}

fn sessions(flags: &Flags, case: Case) -> usize {
    let usual = case.in_flight.div_ceil(256);
    flags.sessions.map_or(usual, |sessions| sessions as usize).min(case.in_flight)
}

fn connections(flags: &Flags, case: Case) -> usize {
    let usual = case.in_flight.div_ceil(64).max(4);
    flags.connections.map_or(usual, |connections| connections as usize).min(case.in_flight)
}
