//! The soak: many puts over many keys with kills of every role, and bounds on what processes may take of memory and disk.
//!
//! Passes only if nothing acknowledged is lost, no process was ever larger than its bound, and the learners' hash chains are equal
//! at the same slot in the end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use synod_client::workload::{self, Config, Mix};
use tokio::time::Instant;

use crate::demo::{CALL, LoadLines, PATIENCE, conclude, findings, form, own_cluster_file};
use crate::layout::Layout;
use crate::meter::{Bounds, Meter};
use crate::policy::{Chaos, Kind, Wishes};
use crate::session::{Ended, Session};
use crate::verdict::Findings;

/// Milliseconds that a killed process stays down, least and most.
const DOWNTIME_MS: (u64, u64) = (300, 3_000);
/// Time in which learners must have caught up when the puts have ended.
const LEVEL: Duration = Duration::from_secs(120);
/// More than any soak takes; the number of puts ends it.
const WITHOUT_END: Duration = Duration::from_secs(7 * 86_400);

/// What a soak is to do.
#[derive(Clone, Debug)]
pub struct Soak {
    /// The cluster file.
    pub cluster: PathBuf,
    /// A folder that doesn't exist yet.
    pub data_dir: PathBuf,
    /// Where the executables are.
    pub bin_dir: PathBuf,
    /// Puts that must be acknowledged.
    pub puts: u64,
    /// Keys they are spread over.
    pub keys: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Clients at once.
    pub clients: usize,
    /// Milliseconds between two kills, on average.
    pub interval_ms: u64,
    /// How large processes may become.
    pub bounds: Bounds,
    /// Seed of kills and workload.
    pub seed: u64,
}

/// Runs a soak to its verdict.
///
/// # Errors
/// When it can't begin, or the cluster can't be formed.
pub async fn run(soak: Soak) -> Result<ExitCode> {
    if soak.data_dir.exists() {
        bail!("{} exists; nothing was started; a soak needs a new --data-dir", soak.data_dir.display());
    }
    let file = own_cluster_file(&soak.cluster, &soak.data_dir)?;
    let layout = Layout::check(&file, soak.bin_dir.clone(), &soak.data_dir)?;
    let wishes = Wishes {
        interval_ms: soak.interval_ms,
        downtime_ms: DOWNTIME_MS,
        kinds: [Kind::Acceptor, Kind::Proposer, Kind::Learner].into(),
        at_once: None,
        beyond_quorum: false,
    };
    let chaos = Chaos::new(soak.seed, wishes, &layout.cluster)?;
    layout.needs_formation().context("cannot note that the cluster is new")?;
    println!(
        "soak: {} puts of {} bytes over {} keys, a process killed about every {} ms; --seed {}",
        soak.puts, soak.value_bytes, soak.keys, soak.interval_ms, soak.seed
    );
    let mut session = Session::start(&layout).context("nothing was started")?;
    let ended = play(&mut session, &layout, &soak, chaos).await;
    conclude(session, &layout, ended?).await
}

/// Forms the cluster, puts and kills, waits until all serve again, reads everything back, compares the learners.
async fn play(session: &mut Session, layout: &Layout, soak: &Soak, chaos: Chaos) -> Result<Ended<Findings>> {
    if form(session, layout).await? == Ended::Asked
        || session.until_all_serve(Instant::now() + PATIENCE).await == Ended::Asked
    {
        return Ok(Ended::Asked);
    }
    let config = Config {
        clients: soak.clients,
        duration: WITHOUT_END,
        calls: Some(soak.puts),
        mix: Mix { put: 100, get: 0 },
        keys: soak.keys,
        value_bytes: soak.value_bytes,
        seed: soak.seed,
        deadline: CALL,
        ..Config::default()
    };
    session.start_chaos(chaos);
    session.start_meter(Meter::new(layout.data_dir.clone()));
    let mut load = LoadLines::new(session.happenings());
    let working = workload::run(&layout.cluster, &config, |second| load.take(second));
    let Ended::Done(mut finished) = session.until(working).await else { return Ok(Ended::Asked) };
    session.end_chaos();
    let Ended::Done(all_serve) = session.until_all_serve(Instant::now() + PATIENCE).await else {
        return Ok(Ended::Asked);
    };
    let Ended::Done(verification) = session.until(finished.verify()).await else { return Ok(Ended::Asked) };
    let mut findings = findings(&finished.report, &verification, all_serve);
    for violation in finished.report.violations_described.iter().chain(&verification.violations) {
        println!("violation: {violation}");
    }
    // The sessions' ends are commands too: what the learners apply comes to rest with them.
    let _ended = session.until(finished.close()).await;
    findings.others = session.end_meter().map_or_else(Vec::new, |meter| meter.excesses(&soak.bounds));
    let Ended::Done(chains) = session.until_learners_are_level(Instant::now() + LEVEL).await else {
        return Ok(Ended::Asked);
    };
    match chains {
        None => findings.others.push("the learners didn't come to the same slot".into()),
        Some(chains) if chains.values().collect::<BTreeSet<_>>().len() > 1 => {
            findings.others.push(format!("the learners' hash chains differ: {chains:x?}"));
        }
        Some(chains) => println!("the hash chains of {} learners are equal", chains.len()),
    }
    Ok(Ended::Done(findings))
}
