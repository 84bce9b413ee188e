//! One case, measured round by round: a new cluster each, and in every other round the other system first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::calls::{Counted, Counter};
use crate::etcd::Etcd;
use crate::load::{self, Service};
use crate::process::{DiskUsage, Part, Started, Usage};
use crate::result::Outcome;
use crate::shape::{Calls, Case};
use crate::synod::Synod;

/// How a case is measured.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// Sessions that the callers share.
    pub sessions: usize,
    /// Connections to etcd that they share.
    pub connections: usize,
    /// Before what is measured.
    pub warm_up: Duration,
    /// What is measured.
    pub duration: Duration,
    /// How often; medians are told.
    pub count: u32,
    /// Whether etcd is measured too.
    pub against_etcd: bool,
    /// Whether one more round counts system calls.
    pub system_calls: bool,
    /// Where the daemons' executables are.
    pub bin_dir: PathBuf,
    /// Where a cluster's data lies, in a folder of its own that is removed when it has been measured.
    pub data_dir: PathBuf,
}

impl Rounds {
    /// The median of ours, and that of etcd if it is asked for.
    ///
    /// # Errors
    /// When a cluster can't be started, or one call of a hundred fails.
    pub async fn run(&self, case: Case) -> Result<Vec<Outcome>> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..self.count {
            let first = round % 2 == 1 && self.against_etcd;
            if first {
                theirs.push(self.etcd(case, false).await?.0);
            }
            ours.push(self.synod(case, false).await?.0);
            if self.against_etcd && !first {
                theirs.push(self.etcd(case, false).await?.0);
            }
        }
        let mut all: Vec<Outcome> =
            [ours, theirs].iter().filter_map(|rounds| Outcome::median(rounds)).collect();
        if self.system_calls {
            for outcome in &mut all {
                let ours = outcome.system == "synod";
                let (of, counted) =
                    if ours { self.synod(case, true).await? } else { self.etcd(case, true).await? };
                outcome.count(counted, of.ops_per_s * self.duration.as_secs_f64());
            }
        }
        Ok(all)
    }

    async fn synod(&self, case: Case, counting: bool) -> Result<(Outcome, Counted)> {
        let folder = self.folder();
        let synod = Synod::start(&case.shape, &self.bin_dir, &folder).await?;
        let services: Vec<Service> = (0..self.sessions).map(|_| Service::Synod(synod.client())).collect();
        let outcome = self.measure("synod", case, &services, (&synod.processes, &folder), counting).await;
        drop(synod);
        cleared(outcome, &folder)
    }

    async fn etcd(&self, case: Case, counting: bool) -> Result<(Outcome, Counted)> {
        let folder = self.folder();
        let etcd = Etcd::start(case.shape.acceptors, &folder).await?;
        let mut services = Vec::new();
        for _ in 0..self.connections {
            services.push(Service::Etcd(etcd.connect().await?));
        }
        let system = format!("etcd {}", etcd.version);
        let outcome = self.measure(&system, case, &services, (&etcd.processes, &folder), counting).await;
        drop(etcd);
        cleared(outcome, &folder)
    }

    fn folder(&self) -> PathBuf {
        self.data_dir.join(format!("bench-{}", std::process::id()))
    }

    async fn measure(
        &self,
        system: &str,
        case: Case,
        services: &[Service],
        (processes, folder): (&[Started], &Path),
        counting: bool,
    ) -> Result<(Outcome, Counted)> {
        if case.case != Calls::Puts {
            let filled = load::fill(services, case.keys, case.value_bytes).await;
            filled.context("the keys could not be put first")?;
        }
        let pids: Vec<u32> = processes.iter().map(Started::pid).collect();
        let counter = if counting { Some(Counter::start(&pids, folder).await?) } else { None };
        let warm_up = if counting { Duration::ZERO } else { self.warm_up };
        let (mut before, mut after) = ((BTreeMap::new(), None), (BTreeMap::new(), None));
        let look = || (used(processes), DiskUsage::of(folder).map(|disk| disk.written_bytes));
        let looks = (|| before = look(), || after = look());
        let measured = load::run(services, &case, warm_up, self.duration, looks).await?;
        let counted = counter.map_or(Ok(Counted::default()), Counter::stop)?;
        if let Some(why) = &measured.first_failure {
            let few = measured.failed * 100 < measured.ok;
            ensure!(few, "{} calls failed, the first with: {why}", measured.failed);
        }
        let since = |(part, usage): (Part, Usage)| Some((part, usage.since(*before.0.get(&part)?)));
        let Some(usage) = after.0.into_iter().map(since).collect::<Option<BTreeMap<Part, Usage>>>() else {
            bail!("a process was not there when the measurement began");
        };
        let disk_bytes = before.1.zip(after.1).map(|(before, after)| after.saturating_sub(before));
        Ok((Outcome::of(system, case, &measured, &usage, disk_bytes), counted))
    }
}

/// What these processes and this one have used, by part.
pub fn used(processes: &[Started]) -> BTreeMap<Part, Usage> {
    let own = (Part::Client, std::process::id());
    let mut all = BTreeMap::new();
    for (part, pid) in processes.iter().map(|started| (started.part, started.pid())).chain([own]) {
        let sum: &mut Usage = all.entry(part).or_default();
        *sum = sum.plus(Usage::of(pid));
    }
    all
}

/// The data of a cluster that was measured is removed; that of one that failed stays, to be looked at.
///
/// # Errors
/// The measurement's own, or that the data can't be removed.
pub fn cleared<T>(outcome: Result<T>, folder: &Path) -> Result<T> {
    match outcome {
        Ok(outcome) => {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            Ok(outcome)
        }
        Err(error) => Err(error.context(format!("logs and data are in {}", folder.display()))),
    }
}
