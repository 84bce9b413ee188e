//! How long nobody can write when the leader is killed: the longest time between two answers to a load of puts around a `kill -9`.
//!
//! The killed process is started again before the next is killed. For etcd the callers spread over all members and give up a put
//! after half a second, since one that waits at a dead leader would otherwise wait for seconds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use tokio::time::sleep;

use crate::etcd::Etcd;
use crate::load::Service;
use crate::process::Part;
use crate::result::median;
use crate::rounds::cleared;
use crate::shape::Case;
use crate::steady::Steady;
use crate::synod::Synod;

/// Under load before the first kill, and after a killed process has been started again.
const SETTLES: Duration = Duration::from_secs(2);
/// Watched after a kill, at least.
const WATCHED: Duration = Duration::from_secs(2);
/// When a put to etcd is given up.
const PUT: Duration = Duration::from_millis(500);

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Gaps {
    /// `synod`, or `etcd` with its version.
    pub system: String,
    /// The load.
    #[serde(flatten)]
    pub case: Case,
    /// Leaders killed.
    pub kills: usize,
    /// Milliseconds without a write.
    pub median_ms: f64,
    /// Least and most of them.
    pub range_ms: (f64, f64),
    /// Puts that failed or whose outcome is unknown.
    pub failed: u64,
}

impl Gaps {
    fn of(system: &str, case: Case, gaps: &[Duration], failed: u64) -> Gaps {
        let gaps: Vec<f64> = gaps.iter().map(|gap| gap.as_secs_f64() * 1_000.0).collect();
        let range_ms =
            (gaps.iter().copied().fold(f64::MAX, f64::min), gaps.iter().copied().fold(0.0, f64::max));
        Gaps { system: system.into(), case, kills: gaps.len(), median_ms: median(gaps), range_ms, failed }
    }

    /// For people.
    pub fn row(&self) -> String {
        let Gaps { system, kills, median_ms, range_ms: (least, most), failed, case } = self;
        format!(
            "{system:<12} {} puts under way, {kills} leaders killed with -9: without a write for {median_ms:.0} ms (median; \
             {least:.0}-{most:.0}), {failed} calls failed or unknown",
            case.in_flight
        )
    }
}

/// Kills so many leaders of a new Synod cluster.
///
/// # Errors
/// When the cluster can't be started or doesn't come back.
pub async fn synod(
    case: Case,
    sessions: usize,
    kills: u32,
    (bin_dir, folder): (&Path, PathBuf),
) -> Result<Gaps> {
    if case.shape.proposers < 2 {
        bail!("nobody is left to lead: name more acceptors, which brings more proposers");
    }
    let mut synod = Synod::start(&case.shape, bin_dir, &folder).await?;
    let services: Vec<Service> = (0..sessions).map(|_| Service::Synod(synod.client())).collect();
    let seen = async {
        let steady = Steady::start(&services, &case);
        let mut gaps = Vec::new();
        for _ in 0..kills {
            sleep(SETTLES).await;
            let leader = synod.leader().await?;
            steady.mark();
            synod.stop(Part::Proposer, leader.0.into())?;
            gaps.push(steady.longest_gap(WATCHED).await?);
            synod.start_again(Part::Proposer, leader.0.into())?;
        }
        Ok(Gaps::of("synod", case, &gaps, steady.failed()))
    };
    let seen = seen.await;
    drop(synod);
    cleared(seen, &folder)
}

/// Kills so many leaders of a new etcd cluster.
///
/// # Errors
/// When the cluster can't be started or doesn't come back.
pub async fn etcd(case: Case, sessions: usize, kills: u32, folder: PathBuf) -> Result<Gaps> {
    let mut etcd = Etcd::start(case.shape.acceptors, &folder).await?;
    let services: Vec<Service> = (0..sessions).map(|_| Service::Etcd(etcd.connect_to_all(PUT))).collect();
    let seen = async {
        let steady = Steady::start(&services, &case);
        let mut gaps = Vec::new();
        for _ in 0..kills {
            sleep(SETTLES).await;
            let leader = etcd.leader().await?;
            steady.mark();
            etcd.stop(leader)?;
            gaps.push(steady.longest_gap(WATCHED).await?);
            etcd.start_again(leader)?;
        }
        Ok(Gaps::of(&format!("etcd {}", etcd.version), case, &gaps, steady.failed()))
    };
    let seen = seen.await;
    drop(etcd);
    cleared(seen, &folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Calls, Engine, Shape};

    #[test]
    fn the_median_and_the_range_are_told() {
        let shape = Shape::with(5, None, Engine::Memory);
        let case = Case { case: Calls::Puts, in_flight: 64, value_bytes: 256, keys: 10, shape };
        let gaps = [300, 100, 200].map(Duration::from_millis);
        let gaps = Gaps::of("synod", case, &gaps, 0);
        assert_eq!((gaps.median_ms, gaps.range_ms, gaps.kills), (200.0, (100.0, 300.0), 3));
    }
}
