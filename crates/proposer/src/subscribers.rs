//! Learners that have subscribed, and what each of them is streamed.
//!
//! A learner that clients wait for is streamed every value at once, one that nobody waits for many in one message, some milliseconds late: each message
//! costs both sides the same, whatever it holds. One that is far behind wants no values: it could keep none of them until it has fetched what comes before,
//! and would fetch them again. It is told how far everything is chosen, with every heartbeat, and how many bytes it wasn't streamed, so that it knows how
//! quickly the log grows. Absent on purpose: what learners have synced ([`crate::floor`]), which counts whatever they are streamed.

use std::collections::BTreeMap;

use synod_protocol::LearnerId;
use synod_protocol::message::Wants;

/// What a learner is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Streamed {
    AtOnce,
    Late,
    /// Nothing, and so many bytes of chosen values since it asked for none.
    Withheld(u64),
}

/// Who listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subscribers {
    learners: BTreeMap<LearnerId, Streamed>,
}

impl Subscribers {
    /// `learner` subscribes, again or for the first time; whether for the first time.
    pub fn subscribe(&mut self, learner: LearnerId, wants: Wants) -> bool {
        let streamed = match wants {
            Wants::AtOnce => Streamed::AtOnce,
            Wants::Late => Streamed::Late,
            Wants::Nothing => Streamed::Withheld(self.withheld_bytes(learner)),
        };
        self.learners.insert(learner, streamed).is_none()
    }

    /// Its connection is gone.
    pub fn remove(&mut self, learner: LearnerId) {
        self.learners.remove(&learner);
    }

    /// Everybody.
    pub fn all(&self) -> impl Iterator<Item = LearnerId> {
        self.learners.keys().copied()
    }

    /// Those that are streamed values at once.
    pub fn at_once(&self) -> impl Iterator<Item = LearnerId> {
        self.which(Streamed::AtOnce)
    }

    /// Those that are streamed values late.
    pub fn late(&self) -> impl Iterator<Item = LearnerId> {
        self.which(Streamed::Late)
    }

    fn which(&self, wanted: Streamed) -> impl Iterator<Item = LearnerId> {
        self.learners.iter().filter(move |(_, streamed)| **streamed == wanted).map(|(learner, _)| *learner)
    }

    /// So many bytes are chosen, of which some learners are streamed nothing.
    pub fn withhold(&mut self, bytes: u64) {
        for streamed in self.learners.values_mut() {
            if let Streamed::Withheld(withheld) = streamed {
                *withheld += bytes;
            }
        }
    }

    /// Bytes withheld from `learner` since it asked for no values.
    pub fn withheld_bytes(&self, learner: LearnerId) -> u64 {
        match self.learners.get(&learner) {
            Some(Streamed::Withheld(withheld)) => *withheld,
            Some(Streamed::AtOnce | Streamed::Late) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_that_is_far_behind_is_counted_what_it_misses() {
        let (near, far) = (LearnerId(1), LearnerId(2));
        let mut subscribers = Subscribers::default();
        assert!(subscribers.subscribe(near, Wants::AtOnce) && subscribers.subscribe(far, Wants::Nothing));
        subscribers.withhold(7);
        assert!(!subscribers.subscribe(far, Wants::Nothing), "again");
        subscribers.withhold(5);
        assert_eq!((subscribers.withheld_bytes(near), subscribers.withheld_bytes(far)), (0, 12));
        assert_eq!((subscribers.at_once().collect(), subscribers.all().count()), (vec![near], 2));
        subscribers.subscribe(far, Wants::Late);
        assert_eq!((subscribers.late().collect(), subscribers.withheld_bytes(far)), (vec![far], 0));
        subscribers.subscribe(far, Wants::Nothing);
        assert_eq!(subscribers.withheld_bytes(far), 0, "counted anew");
        subscribers.remove(far);
        assert!(subscribers.subscribe(far, Wants::Nothing));
    }
}
