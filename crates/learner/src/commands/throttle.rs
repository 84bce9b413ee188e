//! How quickly checkpoints are written: what shares the disk and the processors with them serves clients.
//!
//! The thread that writes waits after each step until it is no further than its rate allows; the run loop sets that rate, higher the further the log
//! is ahead of the checkpoint. So a checkpoint always ends, and soon enough that acceptors needn't keep the log for long. When the
//! process ends nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest sleep: a new rate is heeded after that.
const NAP: Duration = Duration::from_millis(20);
/// A step that took longer than it may isn't made good for by steps without any pause.
const MOST_BEHIND: Duration = Duration::from_millis(100);

/// Bytes that may be written in a second, as one side sets and the other reads it.
#[derive(Clone, Debug)]
pub(crate) struct Rate(Arc<AtomicU64>);

impl Rate {
    /// So many at first.
    pub(crate) fn new(bytes_per_s: u64) -> Rate {
        Rate(Arc::new(AtomicU64::new(bytes_per_s)))
    }

    /// So many from here on.
    pub(crate) fn set(&self, bytes_per_s: u64) {
        self.0.store(bytes_per_s, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed).max(1)
    }
}

/// Whoever writes at a rate.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: Rate,
    /// When what was written so far may have been written.
    due: Instant,
}

impl Throttle {
    /// Nothing is written so far.
    pub(crate) fn new(rate: Rate) -> Throttle {
        Throttle { rate, due: Instant::now() }
    }

    /// So many bytes were written: waits until more may be.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        let mut left = bytes as f64;
        self.due = self.due.max(Instant::now().checked_sub(MOST_BEHIND).unwrap_or(self.due));
        while left > 0.0 {
            let rate = self.rate.get() as f64;
            let nap_s = (left / rate).min(NAP.as_secs_f64());
            left -= rate * nap_s;
            self.due += Duration::from_secs_f64(nap_s);
            std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_and_a_higher_one_heeded_at_once() {
        let rate = Rate::new(1_000_000);
        let mut throttle = Throttle::new(rate.clone());
        let begun = Instant::now();
        (0..10).for_each(|_| throttle.wrote(20_000));
        // Never less: sleeps last at least as long as they are told to. What it was behind at first is at most this.
        assert!(begun.elapsed() + MOST_BEHIND >= Duration::from_millis(200), "{:?}", begun.elapsed());
        let writer = std::thread::spawn(move || throttle.wrote(1_000_000_000_000));
        rate.set(u64::MAX);
        writer.join().unwrap();
        // It has ended, which at the first rate would have taken days.
    }
}
