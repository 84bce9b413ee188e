//! The demo: a new cluster, acceptors killed under a workload, every answer checked, one verdict.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rand::RngExt;
use synod_client::admin;
use synod_client::workload::{self, Config, Second, Verification};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::layout::{self, Layout};
use crate::policy::{Chaos, Kind, Wishes};
use crate::session::{Ended, Session};
use crate::timeline::Happening;
use crate::verdict::Findings;

/// Time in which a new cluster must be formed, and every process serve after chaos.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Time in which every call must end.
pub(crate) const CALL: Duration = Duration::from_secs(10);
/// Milliseconds that a killed acceptor stays down, least and most.
const DOWNTIME_MS: (u64, u64) = (300, 1_500);
/// Seconds of workload in one line of the timeline.
const LOAD_LINE: usize = 5;
/// Ports that may be taken instead of the file's: below those from which Linux takes ports for outgoing connections.
const FREE_PORTS: std::ops::Range<u16> = 12_000..32_000;

/// What a demo is to do.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The cluster file.
    pub cluster: PathBuf,
    /// A folder that doesn't exist yet.
    pub data_dir: PathBuf,
    /// Where the executables are.
    pub bin_dir: PathBuf,
    /// Seconds of workload.
    pub seconds: u64,
    /// Clients at once.
    pub clients: u64,
    /// Milliseconds between two kills, on average.
    pub interval_ms: u64,
    /// Seed of kills and workload.
    pub seed: u64,
}

/// Runs a demo to its verdict.
///
/// # Errors
/// When it can't begin, or the cluster can't be formed.
pub async fn run(demo: Demo) -> Result<ExitCode> {
    if demo.data_dir.exists() {
        bail!("{} exists; nothing was started; a demo needs a new --data-dir", demo.data_dir.display());
    }
    let file = own_cluster_file(&demo.cluster, &demo.data_dir)?;
    let layout = Layout::check(&file, demo.bin_dir.clone(), &demo.data_dir)?;
    let wishes = Wishes {
        interval_ms: demo.interval_ms,
        downtime_ms: DOWNTIME_MS,
        kinds: [Kind::Acceptor].into(),
        at_once: None,
        beyond_quorum: false,
    };
    let chaos = Chaos::new(demo.seed, wishes, &layout.cluster)?;
    layout.needs_formation().context("cannot note that the cluster is new")?;
    println!(
        "demo: {} clients for {} s, an acceptor killed about every {} ms, at most {} down at once; --seed {}",
        demo.clients,
        demo.seconds,
        demo.interval_ms,
        chaos.at_once(),
        demo.seed
    );
    let mut session = Session::start(&layout).context("nothing was started")?;
    let ended = play(&mut session, &layout, &demo, chaos).await;
    conclude(session, &layout, ended?).await
}

/// Stops every process, tells the verdict, and removes the data of a run that has passed.
pub(crate) async fn conclude(session: Session, layout: &Layout, ended: Ended<Findings>) -> Result<ExitCode> {
    let counts = session.counts();
    session.stop().await;
    let Ended::Done(findings) = ended else {
        println!("\nverdict: FAIL: stopped before its end; logs are in {}", layout.logs().display());
        return Ok(ExitCode::FAILURE);
    };
    let findings = Findings { counts, ..findings };
    println!("\n{}", findings.report());
    if findings.faults().is_empty() {
        layout.remove_data().context("cannot remove what the processes wrote")?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("logs, timeline and the processes' data are in {}", layout.data_dir.display());
    Ok(ExitCode::FAILURE)
}

/// Forms the cluster, works and kills, waits until all serve again, and reads everything back.
async fn play(session: &mut Session, layout: &Layout, demo: &Demo, chaos: Chaos) -> Result<Ended<Findings>> {
    if form(session, layout).await? == Ended::Asked
        || session.until_all_serve(Instant::now() + PATIENCE).await == Ended::Asked
    {
        return Ok(Ended::Asked);
    }
    let config = Config {
        clients: usize::try_from(demo.clients).context("too many clients")?,
        duration: Duration::from_secs(demo.seconds),
        seed: demo.seed,
        deadline: CALL,
        ..Config::default()
    };
    session.start_chaos(chaos);
    let mut load = LoadLines::new(session.happenings());
    let working = workload::run(&layout.cluster, &config, |second| load.take(second));
    let Ended::Done(mut finished) = session.until(working).await else { return Ok(Ended::Asked) };
    session.end_chaos();
    let Ended::Done(all_serve) = session.until_all_serve(Instant::now() + PATIENCE).await else {
        return Ok(Ended::Asked);
    };
    let Ended::Done(verification) = session.until(finished.verify()).await else { return Ok(Ended::Asked) };
    let findings = findings(&finished.report, &verification, all_serve);
    for violation in finished.report.violations_described.iter().chain(&verification.violations) {
        println!("violation: {violation}");
    }
    // Whether the sessions could be ended doesn't matter to a cluster that is stopped next.
    let _ended = session.until(finished.close()).await;
    Ok(Ended::Done(findings))
}

pub(crate) fn findings(report: &workload::Report, verification: &Verification, all_serve: bool) -> Findings {
    Findings {
        ok: report.ok,
        failed: report.failed + verification.unreadable,
        unknown: report.unknown,
        violations: report.violations + verification.violations.len() as u64,
        read_back: verification.keys,
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        max_us: report.max_us,
        longest_gap_us: report.longest_gap_ms.unwrap_or_default() * 1_000,
        all_serve,
        ..Findings::default()
    }
}

/// Gathers seconds of the workload into lines of the timeline.
pub(crate) struct LoadLines {
    happenings: mpsc::UnboundedSender<Happening>,
    seconds: Vec<Second>,
}

impl LoadLines {
    pub(crate) fn new(happenings: mpsc::UnboundedSender<Happening>) -> LoadLines {
        LoadLines { happenings, seconds: Vec::new() }
    }

    pub(crate) fn take(&mut self, second: &Second) {
        self.seconds.push(second.clone());
        if self.seconds.len() < LOAD_LINE {
            return;
        }
        let sum = |of: fn(&Second) -> u64| self.seconds.iter().map(of).sum::<u64>();
        let happening = Happening::Load {
            ok_per_s: sum(|second| second.ok) / LOAD_LINE as u64,
            failed: sum(|second| second.failed),
            unknown: sum(|second| second.unknown),
            p99_us: self.seconds.iter().map(|second| second.p99_us).max().unwrap_or_default(),
        };
        self.seconds.clear();
        // Nobody listens only when the session is over.
        let _over = self.happenings.send(happening);
    }
}

/// A name for the folder of a new demo or soak.
pub fn folder_name(what: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{what}-{}-{}", since.as_secs(), std::process::id())
}

/// Forms a new cluster, as `synod admin form` does by hand.
///
/// # Errors
/// When it can't be formed in time; the processes go on.
pub async fn form(session: &mut Session, layout: &Layout) -> Result<Ended<()>> {
    let started = Instant::now();
    let attempts = async {
        loop {
            match admin::form(&layout.cluster, |_, _| {}).await {
                Ok(formed) => return Ok(formed.cluster),
                // The acceptors may still be starting.
                Err(error) if started.elapsed() > PATIENCE => return Err(error),
                Err(error) => tracing::debug!(%error, "not formed yet"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match session.until(attempts).await {
        Ended::Done(formed) => {
            let cluster =
                formed.context("the new cluster could not be formed; its acceptors vote on nothing")?;
            layout.formed().context("cannot note that the cluster is formed")?;
            session.tell(&Happening::Formed { cluster: cluster.to_string() });
            Ok(Ended::Done(()))
        }
        Ended::Asked => Ok(Ended::Asked),
    }
}

/// A cluster file of one's own: a copy of the original, with other ports where its own are taken.
pub(crate) fn own_cluster_file(original: &Path, data_dir: &Path) -> Result<PathBuf> {
    let (cluster, mut text) = layout::read_cluster(original)?;
    let taken = layout::taken(&cluster).len();
    if taken > 0 {
        let first = free_ports(cluster.nodes().count())?;
        for ((_, address), port) in cluster.nodes().zip(first..) {
            text = text.replace(&format!("\"{address}\""), &format!("\"127.0.0.1:{port}\""));
        }
        println!(
            "{taken} addresses of {} are taken: ports from {first} on are used instead",
            original.display()
        );
    }
    std::fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let file = data_dir.join("cluster.toml");
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// The first of `count` free ports in a row.
fn free_ports(count: usize) -> Result<u16> {
    let count = u16::try_from(count).context("more processes than ports")?;
    for _ in 0..100 {
        let first = rand::rng().random_range(FREE_PORTS.start..FREE_PORTS.end - count);
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("found no {count} free ports in a row; nothing was started; stop what uses them")
}
