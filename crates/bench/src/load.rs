//! The load: callers that each begin a call when their last one has ended, for a while that is measured after one that isn't.
//!
//! Callers are tasks like the client's own, in one queue with it: what all of them ask once they were answered is there when the client runs.
//! The load shares its cores with what it measures, so a call costs it one look at the clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use synod_client::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::etcd::Connection;
use crate::shape::Case;

/// Longest latency told apart from longer ones, microseconds.
pub(crate) const LONGEST_US: u64 = 600_000_000;
/// Keys put at once when a cluster is filled.
const FILLERS: usize = 512;

/// Whatever is measured, through one connection or session.
#[derive(Clone, Debug)]
pub enum Service {
    /// A session with a Synod cluster.
    Synod(Client),
    /// A connection to an etcd member.
    Etcd(Connection),
}

impl Service {
    pub(crate) async fn put(&self, key: Bytes, value: Bytes) -> Result<()> {
        match self {
            Service::Synod(client) => client.put(key, value).await.map(|_| ()).map_err(Into::into),
            Service::Etcd(connection) => connection.put(key, value).await,
        }
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>> {
        match self {
            Service::Synod(client) => Ok(client.get(key).await?.value),
            Service::Etcd(connection) => connection.get(key).await,
        }
    }
}

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Calls answered in the time that is measured.
    pub ok: u64,
    /// Calls that ended otherwise, from the beginning.
    pub failed: u64,
    /// Why the first of them did.
    pub first_failure: Option<String>,
    /// The time that is measured.
    pub elapsed: Duration,
    /// Microseconds of each call.
    pub latencies: Histogram<u64>,
}

/// The 16 bytes of a key.
pub(crate) fn key(number: usize) -> Bytes {
    let mut key = *b"key-000000000000";
    let mut left = number;
    for digit in key[4..].iter_mut().rev() {
        *digit += (left % 10) as u8;
        left /= 10;
    }
    Bytes::copy_from_slice(&key)
}

/// Random bytes.
pub(crate) fn value(random: &mut SmallRng, bytes: usize) -> Bytes {
    let mut value = BytesMut::with_capacity(bytes + 8);
    while value.len() < bytes {
        value.put_u64_le(random.random());
    }
    value.truncate(bytes);
    value.freeze()
}

/// Puts every key once.
///
/// # Errors
/// When a put fails.
pub async fn fill(services: &[Service], keys: usize, value_bytes: usize) -> Result<()> {
    let next = Rc::new(RefCell::new(0..keys));
    let fill = |filler: usize| {
        let (service, next) = (services[filler % services.len()].clone(), Rc::clone(&next));
        async move {
            let mut random = SmallRng::seed_from_u64(filler as u64);
            loop {
                let Some(number) = next.borrow_mut().next() else { return Ok(()) };
                service.put(key(number), value(&mut random, value_bytes)).await?;
            }
        }
    };
    let filled: Vec<Result<()>> = join_all((0..FILLERS.min(keys)).map(fill)).await;
    filled.into_iter().collect()
}

struct Book {
    measured: Measured,
    from: Instant,
    until: Instant,
}

/// Runs one case: `warm_up` unmeasured, then `seconds`; `at_start` and `at_end` are called as the measured time begins and ends.
///
/// # Errors
/// When no call was answered.
pub async fn run(
    services: &[Service],
    case: &Case,
    warm_up: Duration,
    duration: Duration,
    (mut at_start, mut at_end): (impl FnMut(), impl FnMut()),
) -> Result<Measured> {
    let from = Instant::now() + warm_up;
    let latencies = Histogram::new_with_bounds(1, LONGEST_US, 3)?;
    let measured = Measured { ok: 0, failed: 0, first_failure: None, elapsed: duration, latencies };
    let book = Arc::new(Mutex::new(Book { measured, from, until: from + duration }));
    let mut callers: JoinSet<()> = (0..case.in_flight)
        .map(|number| {
            let service = services[number % services.len()].clone();
            caller(service, *case, number as u64, Arc::clone(&book))
        })
        .collect();
    tokio::time::sleep_until(from).await;
    at_start();
    tokio::time::sleep_until(from + duration).await;
    at_end();
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    let measured = lock(&book).measured.clone();
    ensure!(measured.ok > 0, "no call was answered: {}", measured.first_failure.unwrap_or_default());
    Ok(measured)
}

async fn caller(service: Service, case: Case, number: u64, book: Arc<Mutex<Book>>) {
    let mut random = SmallRng::seed_from_u64(number);
    let value = value(&mut random, case.value_bytes);
    let mut begun = Instant::now();
    loop {
        let key = key(random.random_range(0..case.keys));
        let ended = if random.random_range(0..100) < case.case.put_percent() {
            service.put(key, value.clone()).await
        } else {
            service.get(key).await.map(|_| ())
        };
        let now = Instant::now();
        let Book { measured, from, until } = &mut *lock(&book);
        match ended {
            Ok(()) if now >= *from && now < *until => {
                measured.ok += 1;
                measured.latencies.saturating_record((now - begun).as_micros() as u64);
            }
            Ok(()) => {}
            Err(error) => {
                measured.failed += 1;
                measured.first_failure.get_or_insert_with(|| error.to_string());
            }
        }
        if now >= *until {
            return;
        }
        begun = now;
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().expect("no caller panics while it writes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_number_in_twelve_digits() {
        for number in [0, 9, 10, 4_711, 999_999_999_999] {
            assert_eq!(key(number), format!("key-{number:012}").as_bytes());
        }
    }
}
