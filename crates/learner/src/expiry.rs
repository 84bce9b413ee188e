//! Sessions without a renewal, counted in sweeps of this learner's own timer.
//!
//! Expiry needs no clock that agrees with anybody's: a session whose last renewal has been the same for [`SWEEPS`] whole
//! intervals *since a sweep of this learner saw it applied* is proposed to expire, and the command takes effect only if that
//! renewal is still the last. A process that was paused counts one sweep however long the pause was.

use std::collections::BTreeMap;

use synod_protocol::Slot;
use synod_protocol::command::SessionId;

/// Sweeps in a session's time to live.
pub(crate) const SWEEPS: u64 = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Idle {
    /// Each open session's last renewal, and how many sweeps ago it was first seen.
    seen: BTreeMap<SessionId, (Slot, u64)>,
}

impl Idle {
    /// Sweeps over the open sessions with their last renewals; tells those that were idle for their whole time.
    pub(crate) fn sweep(
        &mut self,
        renewals: impl Iterator<Item = (SessionId, Slot)>,
    ) -> Vec<(SessionId, Slot)> {
        let before = std::mem::take(&mut self.seen);
        let mut idle = Vec::new();
        self.seen = renewals
            .map(|(session, renewed)| {
                let same = before.get(&session).filter(|(slot, _)| *slot == renewed);
                let sweeps = same.map_or(0, |(_, sweeps)| sweeps + 1);
                if sweeps >= SWEEPS {
                    idle.push((session, renewed));
                }
                (session, (renewed, sweeps))
            })
            .collect();
        idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_renewal_that_was_seen_for_the_whole_time_is_idle() {
        let session = |slot| SessionId { slot: Slot(slot), position: 0 };
        let mut idle = Idle::default();
        for sweep in 0..SWEEPS {
            let renewals = [(session(1), Slot(1)), (session(2), Slot(10 + sweep / 2))];
            assert_eq!(idle.sweep(renewals.into_iter()), [], "sweep {sweep}");
        }
        let renewals = [(session(1), Slot(1)), (session(2), Slot(11)), (session(3), Slot(3))];
        assert_eq!(idle.sweep(renewals.into_iter()), [(session(1), Slot(1))]);
        assert_eq!(
            idle.sweep(renewals.into_iter()),
            [(session(1), Slot(1))],
            "proposed again until it is gone"
        );
        assert_eq!(idle.sweep(renewals[1..].iter().copied()), [(session(2), Slot(11))]);
        assert_eq!(idle.seen.len(), 2);
    }
}
