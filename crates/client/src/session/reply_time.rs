//! How long replies take, and so how long one is waited for: smoothed as TCP smooths round trips (RFC 6298).
//!
//! A cluster with much to do answers later than usual. What is sent again while it waits in a queue there makes the queue longer, until everything is
//! ordered twice.

use std::time::Duration;

/// Of the calls of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplyTime {
    smoothed: Duration,
    deviation: Duration,
}

impl ReplyTime {
    /// A reply came so long after the first message that may have brought it about.
    pub(crate) fn note(&mut self, took: Duration) {
        self.deviation = (self.deviation * 3 + self.smoothed.abs_diff(took)) / 4;
        self.smoothed = (self.smoothed * 7 + took) / 8;
    }

    /// How long the next one may well take: beyond it something is wrong. Twice the usual at least, since delays are drawn around it.
    pub(crate) fn patience(&self) -> Duration {
        self.smoothed * 2 + self.deviation * 4
    }
}
