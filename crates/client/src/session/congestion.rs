//! How much a session has under way at a cluster that has too much to do: halved when it says Busy, a little more with each reply, as TCP
//! does with what is lost (RFC 5681). So the queue at the leader stays full and is hardly overrun, by one client or by many.

use std::time::Duration;

/// Bytes of calls that may always be under way.
const LEAST_BYTES: u64 = 64 << 10;
/// How long a cluster that said Busy counts as busy, after the pause that it asked for.
const BUSY: Duration = Duration::from_secs(1);

/// What is known of the cluster's load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Congestion {
    /// While somebody who said Busy counts as busy.
    busy_until: Option<Duration>,
    /// Bytes of calls that may be under way meanwhile.
    most_bytes: u64,
    /// When that was halved last.
    halved: Duration,
}

impl Congestion {
    pub(crate) fn new() -> Congestion {
        Congestion { busy_until: None, most_bytes: LEAST_BYTES, halved: Duration::ZERO }
    }

    /// Whether somebody said Busy a short time ago.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy_until.is_some()
    }

    /// Forgets who was busy when that was long ago.
    pub(crate) fn forget(&mut self, now: Duration) {
        self.busy_until = self.busy_until.filter(|until| now < *until);
    }

    /// What was sent at `sent` was refused as too much, while these bytes are still under way; nothing is sent until `pause_until`.
    pub(crate) fn refused(
        &mut self,
        sent: Duration,
        under_way_bytes: u64,
        pause_until: Duration,
        now: Duration,
    ) {
        // One halving is the answer to all that was sent before it.
        if !self.is_busy() || sent > self.halved {
            self.most_bytes = (under_way_bytes / 2).max(LEAST_BYTES);
            self.halved = now;
        }
        self.busy_until = Some(pause_until + BUSY);
    }

    /// A call of so many bytes was answered.
    pub(crate) fn answered(&mut self, bytes: u64) {
        if self.is_busy() {
            self.most_bytes += LEAST_BYTES * bytes / self.most_bytes;
        }
    }

    /// Whether another call may be sent beside these bytes; any number while nobody is busy.
    pub(crate) fn has_room(&self, under_way_bytes: u64) -> bool {
        !self.is_busy() || under_way_bytes < self.most_bytes
    }
}
