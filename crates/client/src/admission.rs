//! Which writes a handle passes on: what the session would refuse as too much is refused where it is asked for.
//!
//! A driver that took in every write to refuse it would be kept from the replies of those that were sent, and what waits for it would have no bound.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by a client's handles and its driver. Nothing else depends on these numbers, so their order among other memory doesn't matter.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Writes passed on so far.
    passed: AtomicU64,
    /// So many may have been, as the driver saw it last.
    allowed: AtomicU64,
}

impl Admission {
    /// Room for so many writes.
    pub(crate) fn new(room: u64) -> Admission {
        Admission { passed: AtomicU64::new(0), allowed: AtomicU64::new(room) }
    }

    /// Whether one more write may be passed on; counts it if so.
    pub(crate) fn admit(&self) -> bool {
        let allowed = self.allowed.load(Ordering::Relaxed);
        let next = |passed| (passed < allowed).then_some(passed + 1);
        self.passed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// The driver has taken in so many writes since it began, and has room for so many more.
    pub(crate) fn allow(&self, taken: u64, room: u64) {
        self.allowed.store(taken + room, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_passed_on_than_the_driver_has_room_for() {
        let admission = Admission::new(2);
        let admitted = |count: u32| (0..count).filter(|_| admission.admit()).count();
        assert_eq!(admitted(5), 2);
        admission.allow(2, 3);
        assert_eq!(admitted(5), 3);
        // Of five it has taken two, and has no room: the other three are too many already.
        admission.allow(2, 0);
        assert_eq!(admitted(1), 0);
        admission.allow(5, 1);
        assert_eq!(admitted(5), 1);
    }
}
