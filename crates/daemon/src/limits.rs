//! Small bounds: how often the same complaint is logged, how long to wait before the next attempt, how many files may be open.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long a complaint isn't repeated in the log.
const REPEAT: Duration = Duration::from_secs(10);

/// Counts every occurrence of a complaint and lets one in ten seconds be logged.
#[derive(Debug, Default)]
pub(crate) struct Sparse(Mutex<(u64, Option<Instant>)>);

impl Sparse {
    /// Counts one; the count so far, if it should be logged.
    pub(crate) fn note(&self) -> Option<u64> {
        self.note_at(Instant::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, logged_at) = &mut *noted;
        *count += 1;
        if logged_at.is_some_and(|logged_at| now < logged_at + REPEAT) {
            return None;
        }
        *logged_at = Some(now);
        Some(*count)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap().0
    }
}

/// Waits between attempts: doubled from the least to the most, each drawn between half of it and all of it.
#[derive(Debug)]
pub(crate) struct Backoff {
    least_ms: u64,
    most_ms: u64,
    next_ms: u64,
}

impl Backoff {
    pub(crate) fn new(least_ms: u64, most_ms: u64) -> Self {
        Backoff { least_ms, most_ms: most_ms.max(least_ms), next_ms: least_ms }
    }

    /// How long to wait before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let wait_ms = rand::random_range(self.next_ms / 2..=self.next_ms);
        self.next_ms = (self.next_ms * 2).min(self.most_ms);
        Duration::from_millis(wait_ms)
    }

    /// It went well: start over.
    pub(crate) fn reset(&mut self) {
        self.next_ms = self.least_ms;
    }
}

/// Raises this process's limit of open files as far as it may: the usual 1,024 is less than `connections`.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it can't be raised, the listener says so when it runs out.
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_counted_and_seldom_logged() {
        let (sparse, start) = (Sparse::default(), Instant::now());
        let logged: Vec<_> =
            [0, 1, 9, 10, 11, 30].iter().map(|s| sparse.note_at(start + Duration::from_secs(*s))).collect();
        assert_eq!(logged, vec![Some(1), None, None, Some(4), None, Some(6)]);
        assert_eq!(sparse.count(), 6);
    }

    #[test]
    fn waits_double_up_to_the_most_and_start_over() {
        let mut backoff = Backoff::new(20, 500);
        for expected_ms in [20, 40, 80, 160, 320, 500, 500] {
            let wait_ms = backoff.next().as_millis() as u64;
            assert!((expected_ms / 2..=expected_ms).contains(&wait_ms), "{wait_ms} of {expected_ms}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(20));
    }
}
