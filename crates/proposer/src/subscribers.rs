//! Learners that have subscribed, and what each of them is streamed.
//!
//! A learner that is far behind wants no values: it could keep none of them until it has fetched what comes before, and would fetch them again. It is told how
//! far everything is chosen, with every heartbeat, and how many bytes it wasn't streamed, so that it knows how quickly the log grows. Absent on
//! purpose: what learners have synced ([`crate::floor`]), which counts whatever they are streamed.

use std::collections::BTreeMap;

use synod_protocol::LearnerId;

/// Who listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subscribers {
    /// Bytes of chosen values withheld from each since it asked for none; absent for those that are streamed all.
    learners: BTreeMap<LearnerId, Option<u64>>,
}

impl Subscribers {
    /// `learner` subscribes, again or for the first time; whether for the first time.
    pub fn subscribe(&mut self, learner: LearnerId, is_far: bool) -> bool {
        let before = self.learners.get(&learner).copied();
        let withheld = is_far.then(|| before.flatten().unwrap_or(0));
        self.learners.insert(learner, withheld);
        before.is_none()
    }

    /// Its connection is gone.
    pub fn remove(&mut self, learner: LearnerId) {
        self.learners.remove(&learner);
    }

    /// Everybody.
    pub fn all(&self) -> impl Iterator<Item = LearnerId> {
        self.learners.keys().copied()
    }

    /// Whether nobody is subscribed.
    pub fn is_empty(&self) -> bool {
        self.learners.is_empty()
    }

    /// Those that are streamed values.
    pub fn streamed(&self) -> impl Iterator<Item = LearnerId> {
        self.learners.iter().filter(|(_, withheld)| withheld.is_none()).map(|(learner, _)| *learner)
    }

    /// So many bytes are streamed to the others.
    pub fn withhold(&mut self, bytes: u64) {
        self.learners.values_mut().flatten().for_each(|withheld| *withheld += bytes);
    }

    /// Bytes withheld from `learner` since it asked for no values.
    pub fn withheld_bytes(&self, learner: LearnerId) -> u64 {
        self.learners.get(&learner).copied().flatten().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_that_is_far_behind_is_counted_what_it_misses() {
        let (near, far) = (LearnerId(1), LearnerId(2));
        let mut subscribers = Subscribers::default();
        assert!(subscribers.is_empty());
        assert!(subscribers.subscribe(near, false) && subscribers.subscribe(far, true));
        subscribers.withhold(7);
        assert!(!subscribers.subscribe(far, true), "again");
        subscribers.withhold(5);
        assert_eq!((subscribers.withheld_bytes(near), subscribers.withheld_bytes(far)), (0, 12));
        assert_eq!((subscribers.streamed().collect(), subscribers.all().count()), (vec![near], 2));
        subscribers.subscribe(far, false);
        assert_eq!((subscribers.streamed().count(), subscribers.withheld_bytes(far)), (2, 0));
        subscribers.subscribe(far, true);
        assert_eq!(subscribers.withheld_bytes(far), 0, "counted anew");
        subscribers.remove(far);
        assert!(subscribers.subscribe(far, true));
    }
}
