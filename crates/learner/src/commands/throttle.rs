//! How quickly checkpoints are written: what shares the disk and the processors with them serves clients.
//!
//! The thread that writes sleeps after each step for as long as its rate tells; the run loop sets that rate, higher the further the log
//! is ahead of the checkpoint. So a checkpoint always ends, and soon enough that acceptors needn't keep the log for long. When the
//! process ends nothing waits. Absent on purpose: clocks; the time that a step takes is never made good for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest sleep: a new rate is heeded after that.
const NAP: Duration = Duration::from_millis(20);

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

    /// So many bytes were written: sleeps until more may be.
    pub(crate) fn wrote(&self, bytes: u64) {
        let mut left = bytes as f64;
        while left > 0.0 {
            let (nap, after) = nap(left, self.0.load(Ordering::Relaxed));
            std::thread::sleep(nap);
            left = after;
        }
    }
}

/// How long to sleep for so many bytes at that rate, at most [`NAP`]; and the bytes for which more has to be slept.
fn nap(bytes: f64, bytes_per_s: u64) -> (Duration, f64) {
    let rate = bytes_per_s.max(1) as f64;
    if bytes <= rate * NAP.as_secs_f64() {
        (Duration::from_secs_f64(bytes / rate), 0.0)
    } else {
        (NAP, bytes - rate * NAP.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_slept_for_in_naps() {
        assert_eq!(nap(10_000.0, 1_000_000), (Duration::from_millis(10), 0.0));
        assert_eq!(nap(50_000.0, 1_000_000), (NAP, 30_000.0));
        assert_eq!(nap(1.0, 0), (NAP, 0.98), "never for ever");
    }

    #[test]
    fn a_higher_rate_is_heeded_at_once() {
        let rate = Rate::new(1);
        let writes = rate.clone();
        // At the first rate it would take days.
        let writer = std::thread::spawn(move || writes.wrote(1_000_000));
        rate.set(u64::MAX);
        writer.join().unwrap();
    }
}
