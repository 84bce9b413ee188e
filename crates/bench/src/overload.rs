//! More calls than a cluster can answer: puts begun by a schedule that waits for no answer, at multiples of what callers that wait got.
//!
//! Arrivals are a Poisson process. A latency counts from the moment at which the schedule wanted the call, also when the generator
//! was late, and only for calls that were answered. After the overload half the capacity is offered, until latency is what it was.
//! The generator runs on the same machine: what it takes of the processors is told, and lowers what is left for the cluster. So that it isn't one of
//! a dozen processes in line for a core, as callers on other machines aren't, it asks for a higher priority than the cluster has. Where it is late
//! by more than some tens of milliseconds, or takes all of a core, it measures itself: offer larger values then, of which fewer are enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::poll;
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::setpriority_process;
use serde::Serialize;
use synod_client::{CallError, Client, Failure};
use tokio::time::{Instant, sleep, sleep_until};

use crate::load::{self, LONGEST_US, Service};
use crate::process::{Part, Started};
use crate::rounds::{cleared, used};
use crate::shape::Case;
use crate::synod::Synod;

/// Arrivals that are due are begun together, this often.
const TICK: Duration = Duration::from_millis(1);
/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(100);
/// Latencies after the overload are summed up for so long each.
const BUCKET: Duration = Duration::from_millis(100);
/// So many of these in a row must be as before.
const NORMAL_BUCKETS: usize = 5;
/// What is offered before and after the overload, of the capacity.
const LIGHT: f64 = 0.5;
/// The generator's priority, of -20 (most) to 19; the cluster keeps what this program was started with.
const PRIORITY: i32 = -15;

/// What is offered.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Calls under way while the capacity is measured; and keys, bytes, processes.
    pub case: Case,
    /// Sessions that share the calls.
    pub sessions: usize,
    /// Multiples of the capacity.
    pub factors: Vec<f64>,
    /// How long each is offered.
    pub duration: Duration,
    /// Deadline of a call.
    pub deadline: Duration,
}

/// What one multiple of the capacity came to.
#[derive(Clone, Debug, Serialize)]
pub struct Offered {
    /// Multiple of the capacity.
    pub factor: f64,
    /// The capacity: puts a second of callers that wait.
    pub capacity_per_s: f64,
    /// Calls begun in a second; fewer than wanted if the generator could not keep up.
    pub offered_per_s: f64,
    /// Calls answered in a second, while they were offered.
    pub ok_per_s: f64,
    /// Median latency of calls that were answered, from the moment at which they were wanted.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Calls that ended as Busy.
    pub busy: u64,
    /// Calls whose outcome is unknown.
    pub unknown: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
    /// Most memory that the processes of each kind were seen to hold, MiB.
    pub rss_mib_max: BTreeMap<&'static str, f64>,
    /// Most milliseconds by which the generator was late with a call; part of every latency.
    pub generator_late_ms: u64,
    /// Processor time of the generator, of one core.
    pub generator_cores: f64,
    /// Milliseconds from its end until calls at half the capacity were as fast as before; absent if they weren't in that time.
    pub recovered_ms: Option<u64>,
}

impl Offered {
    /// For people.
    pub fn row(&self) -> String {
        let Offered {
            factor, offered_per_s, ok_per_s, p50_us, p99_us, max_us, busy, unknown, failed, ..
        } = self;
        let memory: Vec<String> =
            self.rss_mib_max.iter().map(|(part, mib)| format!("{part} {mib:.0}")).collect();
        let recovered = self.recovered_ms.map_or_else(|| "not recovered".into(), |ms| format!("{ms} ms"));
        format!(
            "x{factor:<4} offered {offered_per_s:>8.0}/s, ok {ok_per_s:>8.0}/s ({:>4.0} % of the capacity), p50 {p50_us} us, p99 {p99_us} us, \
             max {max_us} us; busy {busy}, unknown {unknown}, failed {failed}; as before after {recovered}\n      memory MiB: {}; \
             generator {:.2} cores, at most {} ms late",
            100.0 * ok_per_s / self.capacity_per_s,
            memory.join(", "),
            self.generator_cores,
            self.generator_late_ms
        )
    }
}

/// Runs it in a new cluster with its data in `folder`.
///
/// # Errors
/// When the cluster can't be started, or answers nothing.
pub async fn run(
    overload: &Overload,
    (bin_dir, folder): (&Path, PathBuf),
    tell: impl Fn(&Offered) -> Result<()>,
) -> Result<()> {
    let synod = Synod::start(&overload.case.shape, bin_dir, &folder).await?;
    // Of this thread alone, which does all of it.
    if let Err(error) = setpriority_process(None, PRIORITY) {
        eprintln!(
            "the generator may not raise its priority to {PRIORITY} ({error}): it waits for a core like the cluster's processes, and what it is late by \
             is part of every latency; run this as root, or believe only rows where it is hardly late"
        );
    }
    let offered = offer_all(overload, &synod, tell).await;
    drop(synod);
    cleared(offered, &folder)
}

async fn offer_all(overload: &Overload, synod: &Synod, tell: impl Fn(&Offered) -> Result<()>) -> Result<()> {
    let Overload { case, duration, .. } = overload;
    let clients: Vec<Client> =
        (0..overload.sessions).map(|_| synod.client().with_deadline(overload.deadline)).collect();
    let services: Vec<Service> = clients.iter().cloned().map(Service::Synod).collect();
    let closed = load::run(&services, case, Duration::from_secs(1), *duration, (|| (), || ())).await?;
    let capacity = closed.ok as f64 / closed.elapsed.as_secs_f64();
    let offer = |rate| Offer { clients: &clients, case, rate, duration: *duration };
    let before = offer(capacity * LIGHT).make(&synod.processes).await?;
    let normal_us = before.latencies.value_at_quantile(0.99);
    for factor in &overload.factors {
        let (own, begun) = (used(&[])[&Part::Client], Instant::now());
        let seen = offer(capacity * factor).make(&synod.processes).await?;
        let generator =
            used(&[])[&Part::Client].since(own).cpu_us as f64 / begun.elapsed().as_micros() as f64;
        let after = offer(capacity * LIGHT).make(&synod.processes).await?;
        let (seconds, all) = (seen.took.as_secs_f64(), &seen.latencies);
        ensure!(!all.is_empty(), "no call was answered at {factor} times the capacity");
        tell(&Offered {
            factor: *factor,
            capacity_per_s: capacity,
            offered_per_s: seen.begun as f64 / seconds,
            ok_per_s: seen.ok_in_time as f64 / seconds,
            p50_us: all.value_at_quantile(0.5),
            p99_us: all.value_at_quantile(0.99),
            max_us: all.max(),
            busy: seen.busy,
            unknown: seen.unknown,
            failed: seen.failed,
            rss_mib_max: seen.rss_mib_max,
            generator_late_ms: seen.late.as_millis() as u64,
            generator_cores: generator,
            recovered_ms: recovered(&after.buckets, normal_us),
        })?;
    }
    Ok(())
}

/// When calls were as fast as `normal_us` again and stayed so, from the medians of the buckets in which they were wanted.
fn recovered(buckets: &[Vec<u64>], normal_us: u64) -> Option<u64> {
    let is_normal = |bucket: &Vec<u64>| {
        let mut sorted = bucket.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).is_some_and(|median| *median <= normal_us)
    };
    let at = buckets.windows(NORMAL_BUCKETS).position(|some| some.iter().all(is_normal))?;
    Some(at as u64 * BUCKET.as_millis() as u64)
}

/// Calls by a schedule.
struct Offer<'a> {
    clients: &'a [Client],
    case: &'a Case,
    /// A second.
    rate: f64,
    duration: Duration,
}

/// What became of them.
struct Seen {
    begun: u64,
    /// Time in which they were begun; longer than planned if the generator was late.
    took: Duration,
    late: Duration,
    is_over: bool,
    ended: u64,
    ok_in_time: u64,
    busy: u64,
    unknown: u64,
    failed: u64,
    latencies: Histogram<u64>,
    /// Microseconds of each call by when it was wanted; the longest there is for one that wasn't answered.
    buckets: Vec<Vec<u64>>,
    rss_mib_max: BTreeMap<&'static str, f64>,
}

impl Offer<'_> {
    /// Begins calls for as long as it says, and waits until all have ended.
    async fn make(&self, processes: &[Started]) -> Result<Seen> {
        let start = Instant::now();
        let seen = Arc::new(Mutex::new(Seen {
            begun: 0,
            took: Duration::ZERO,
            late: Duration::ZERO,
            is_over: false,
            ended: 0,
            ok_in_time: 0,
            busy: 0,
            unknown: 0,
            failed: 0,
            latencies: Histogram::new_with_bounds(1, LONGEST_US, 3)?,
            buckets: vec![Vec::new(); (self.duration.as_millis() / BUCKET.as_millis()) as usize],
            rss_mib_max: BTreeMap::new(),
        }));
        let mut random = SmallRng::seed_from_u64(1);
        let value = load::value(&mut random, self.case.value_bytes);
        let (mut wanted, mut looked, mut spare) = (Duration::ZERO, Duration::ZERO, None);
        while wanted < self.duration {
            let now = start.elapsed();
            while wanted < now.min(self.duration) {
                let client = self.clients[random.random_range(0..self.clients.len())].clone();
                let key = load::key(random.random_range(0..self.case.keys));
                lock(&seen).begun += 1;
                let begun = call((client, key, value.clone()), (start, wanted), Arc::clone(&seen));
                let mut call = match spare.take() {
                    Some(place) => renewed(place, begun),
                    None => Box::pin(begun),
                };
                // One that is refused at once needs no task.
                match poll!(&mut call) {
                    Poll::Pending => drop(tokio::spawn(call)),
                    Poll::Ready(()) => spare = Some(call),
                }
                // The time to the next arrival of a Poisson process.
                let uniform: f64 = random.random();
                wanted += Duration::from_secs_f64(-(1.0 - uniform).ln() / self.rate);
            }
            if now > looked + LOOK {
                looked = now;
                lock(&seen).look(processes);
            }
            sleep_until(start + now + TICK).await;
        }
        lock(&seen).took = start.elapsed();
        lock(&seen).is_over = true;
        while !lock(&seen).look(processes) {
            sleep(LOOK).await;
        }
        let seen = Arc::into_inner(seen).and_then(|seen| seen.into_inner().ok());
        seen.context("a call has not ended")
    }
}

/// The memory of a call that has ended, with the next one.
fn renewed<T>(mut place: Pin<Box<T>>, call: T) -> Pin<Box<T>> {
    place.set(call);
    place
}

async fn call(
    (client, key, value): (Client, Bytes, Bytes),
    (start, wanted): (Instant, Duration),
    seen: Arc<Mutex<Seen>>,
) {
    let late = start.elapsed().saturating_sub(wanted);
    {
        let mut seen = lock(&seen);
        seen.late = seen.late.max(late);
    }
    let ended = client.put(key, value).await;
    let now = Instant::now();
    let us = (now - (start + wanted)).as_micros() as u64;
    let mut seen = lock(&seen);
    seen.ended += 1;
    let bucket = (wanted.as_millis() / BUCKET.as_millis()) as usize;
    if let Some(bucket) = seen.buckets.get_mut(bucket) {
        bucket.push(if ended.is_ok() { us } else { LONGEST_US });
    }
    match ended {
        Ok(_) => {
            seen.latencies.saturating_record(us);
            seen.ok_in_time += u64::from(!seen.is_over);
        }
        Err(CallError::Failed(Failure::Busy)) => seen.busy += 1,
        Err(CallError::Unknown) => seen.unknown += 1,
        Err(CallError::Failed(_)) => seen.failed += 1,
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("no call panics while it writes")
}

impl Seen {
    /// Notes what memory is held; tells whether all calls have ended.
    fn look(&mut self, processes: &[Started]) -> bool {
        for (part, usage) in used(processes) {
            let most = self.rss_mib_max.entry(part.name()).or_default();
            *most = most.max(usage.resident_bytes as f64 / f64::from(1 << 20));
        }
        self.ended == self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovered_is_when_calls_are_fast_again_and_stay_so() {
        let (slow, fast) = (vec![900, 900, 5], vec![9, 5, 900]);
        let mut buckets = vec![slow.clone(), fast.clone(), slow.clone(), Vec::new()];
        buckets.extend(vec![fast; NORMAL_BUCKETS]);
        assert_eq!(recovered(&buckets, 10), Some(400));
        buckets.pop();
        assert_eq!(recovered(&buckets, 10), None);
    }
}
