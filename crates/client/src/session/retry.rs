//! When commands are sent again: after silence with a growing delay, and at once when nobody is left to answer.

use std::time::Duration;

use synod_protocol::NodeId;

use super::flights::Flight;
use super::{Life, Session};

/// First delay before an unanswered call is sent again, at least; more while replies take long.
const RESEND: Duration = Duration::from_millis(100);
/// The delay doubles up to this.
const RESEND_MOST: Duration = Duration::from_secs(1);

impl<T> Session<T> {
    /// The delay after so many attempts in vain.
    pub(super) fn resend_delay(&mut self, attempts: u32) -> Duration {
        let first = RESEND.max(self.reply_time.patience());
        self.random.around(first.saturating_mul(1 << attempts.min(16)).min(RESEND_MOST))
    }

    /// Sends again what was not answered in time.
    pub(super) fn resend_overdue(&mut self, now: Duration) {
        while let Some((tag, mut flight)) = self.flights.take_due(now) {
            let calls = &mut self.calls;
            flight.calls.retain(|id| calls.get_mut(*id).is_some());
            if flight.calls.is_empty() {
                continue;
            }
            // While others are answered it is only slow; sending it again would make that worse.
            let progress = self.replied.is_some_and(|at| at > flight.sent && now < at + flight.delay);
            let patient = progress && self.leader.is_target(flight.to) && now < flight.sent + RESEND_MOST;
            if !patient {
                self.send_again_from(&flight, tag, now);
            }
            // Kept for a refusal that may still come, as long as its calls last.
            flight.due = now + if patient { flight.delay } else { RESEND_MOST };
            self.flights.insert(tag, flight);
        }
    }

    /// Asks again for a session that was asked for in vain.
    pub(super) fn reopen_overdue(&mut self, now: Duration) {
        let waited = !self.calls.is_empty();
        let Life::Opening(opening) = &mut self.life else { return };
        let Some((_, to)) = opening.asked.filter(|_| waited && now >= opening.due) else { return };
        opening.asked = None;
        opening.attempts += 1;
        if opening.attempts > 1 {
            self.leader.suspect(to, now);
        }
        self.home.attached = None;
    }

    fn send_again_from(&mut self, flight: &Flight, tag: u64, now: Duration) {
        let mut silent = false;
        for id in &flight.calls {
            if let Some(call) = self.calls.send_again(*id, tag) {
                call.attempts += 1;
                silent |= call.attempts > 1;
            }
        }
        if silent {
            self.leader.suspect(flight.to, now);
        }
        // The reply may have been lost instead of the call: asking for it again brings it back without the leader.
        self.home.attached = None;
    }

    /// Nobody at `node` will answer any more: everything unanswered that went there goes elsewhere at once.
    pub(super) fn send_again_what_went_to(&mut self, node: NodeId, now: Duration) {
        for (tag, flight) in self.flights.to(node) {
            for id in &flight.calls {
                self.calls.send_again(*id, tag);
            }
        }
        if let Life::Opening(opening) = &mut self.life
            && opening.asked.take_if(|(_, to)| *to == node).is_some()
        {
            opening.due = now;
        }
    }
}
