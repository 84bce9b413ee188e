//! One deadline for each timer tag; the delay is drawn here, so that roles need no randomness.
//!
//! Setting the same timer again tens of thousands of times a second is the usual case: it costs one map write, and the
//! process wakes at the old deadline once, finds nothing due, and sleeps on.

use std::collections::BTreeMap;

use synod_protocol::role::{Delay, TimerOrder};
use tokio::time::{Duration, Instant};

/// The timers of one role.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    deadlines: BTreeMap<T, Instant>,
    /// No deadline lies before this; may lie before all of them.
    wake_at: Option<Instant>,
}

impl<T: Copy + Ord> Timers<T> {
    pub(crate) fn new() -> Self {
        Timers { deadlines: BTreeMap::new(), wake_at: None }
    }

    /// Carries out one order, given at `now`.
    pub(crate) fn apply(&mut self, order: TimerOrder<T>, now: Instant) {
        match order {
            TimerOrder::Set(timer, delay) => {
                let deadline = now + Duration::from_millis(draw_ms(delay));
                self.deadlines.insert(timer, deadline);
                self.wake_at = Some(self.wake_at.map_or(deadline, |wake_at| wake_at.min(deadline)));
            }
            TimerOrder::Cancel(timer) => {
                self.deadlines.remove(&timer);
            }
        }
    }

    /// When to ask for due timers next.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Takes out what is due at `now`, in the order of deadlines.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<T> {
        if self.wake_at.is_none_or(|wake_at| now < wake_at) {
            return Vec::new();
        }
        let mut due: Vec<_> = self
            .deadlines
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(timer, deadline)| (*deadline, *timer))
            .collect();
        due.sort_unstable();
        self.deadlines.retain(|_, deadline| *deadline > now);
        self.wake_at = self.deadlines.values().min().copied();
        due.into_iter().map(|(_, timer)| timer).collect()
    }
}

fn draw_ms(delay: Delay) -> u64 {
    if delay.least_ms < delay.most_ms {
        rand::random_range(delay.least_ms..=delay.most_ms)
    } else {
        delay.least_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn timers_fire_once_in_order_and_can_be_set_again_or_cancelled() {
        let start = Instant::now();
        let mut timers = Timers::new();
        for (timer, ms) in [('a', 30), ('b', 10), ('c', 20), ('d', 20)] {
            timers.apply(TimerOrder::Set(timer, Delay::exactly(ms)), start);
        }
        timers.apply(TimerOrder::Cancel('d'), start);
        timers.apply(TimerOrder::Set('b', Delay::exactly(25)), start);
        assert_eq!(timers.wake_at(), Some(after(start, 10)), "the old deadline wakes");
        assert_eq!(timers.due(after(start, 10)), vec![], "and nothing is due");
        assert_eq!(timers.wake_at(), Some(after(start, 20)));
        assert_eq!(timers.due(after(start, 29)), vec!['c', 'b']);
        assert_eq!(timers.due(after(start, 30)), vec!['a']);
        assert_eq!((timers.due(after(start, 999)), timers.wake_at()), (vec![], None));
    }

    #[test]
    fn delays_are_drawn_between_their_ends() {
        let drawn: Vec<_> = (0..200).map(|_| draw_ms(Delay::between(5, 8))).collect();
        assert!(drawn.iter().all(|ms| (5..=8).contains(ms)));
        assert!((5..=8).all(|ms| drawn.contains(&ms)), "{drawn:?}");
    }
}
