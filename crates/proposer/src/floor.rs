//! The floor: the first slot that acceptors must keep, from what learners say they have synced (S11).
//!
//! f_l + 1 of the L configured learners, f_l = (L - 1) / 2, must have synced a slot before it may be dropped: so many hold it that the
//! loss of f_l learner disks loses nothing, and as few that dead learners don't keep the log for ever. What a learner has pinned,
//! for a transfer that is under way, is kept as long as that learner is connected. A floor that was told once is a fact: what
//! is below it is chosen, and was synced by enough. Learners that aren't configured (observers) count for nothing. Pure state.

use std::collections::{BTreeMap, BTreeSet};

use synod_planted::Bug;
use synod_protocol::{LearnerId, Slot};

/// What the configured learners have reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reports {
    learners: BTreeSet<LearnerId>,
    /// The latest report of each, whether it is connected or not: what is synced is so without a connection. It is lower than the one
    /// before when a learner has lost its disk.
    synced: BTreeMap<LearnerId, Slot>,
    /// Slots above are pinned.
    pinned: BTreeMap<LearnerId, Slot>,
}

impl Reports {
    /// No reports, of these configured learners.
    pub fn new(learners: BTreeSet<LearnerId>) -> Reports {
        Reports { learners, synced: BTreeMap::new(), pinned: BTreeMap::new() }
    }

    /// Takes a report in.
    pub fn note(&mut self, from: LearnerId, synced: Slot, pinned: Option<Slot>) {
        if !self.learners.contains(&from) && !synod_planted::is(Bug::FloorOfObservers) {
            return;
        }
        self.synced.insert(from, synced);
        match pinned {
            Some(slot) => drop(self.pinned.insert(from, slot)),
            None => drop(self.pinned.remove(&from)),
        }
    }

    /// A learner's connection is gone, and with it the transfer that it pinned slots for.
    pub fn unpin(&mut self, learner: LearnerId) {
        self.pinned.remove(&learner);
    }

    /// The floor that follows for a leader whose floor so far and chosen prefix are these. It never falls.
    pub fn floor(&self, so_far: Slot, chosen: Slot) -> Slot {
        let mut synced: Vec<Slot> = self.synced.values().copied().collect();
        synced.sort_unstable_by(|a, b| b.cmp(a));
        let mut needed = self.learners.len().saturating_sub(1) / 2 + 1;
        if synod_planted::is(Bug::FloorOfOneReport) {
            needed = 1;
        } else if synod_planted::is(Bug::FloorOfAllReports) {
            needed = self.learners.len();
        }
        let Some(enough) = needed.checked_sub(1).and_then(|at| synced.get(at)) else { return so_far };
        let pinned = self.pinned.values().copied().min();
        let pinned = pinned.filter(|_| !synod_planted::is(Bug::FloorAbovePin)).unwrap_or(*enough);
        let chosen = if synod_planted::is(Bug::FloorAboveChosen) { *enough } else { chosen };
        so_far.max((*enough).min(pinned).min(chosen).next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Slot = Slot(1_000);

    fn reports(count: u16, synced: &[(u16, u64)]) -> Reports {
        let mut reports = Reports::new((1..=count).map(LearnerId).collect());
        synced.iter().for_each(|(id, slot)| reports.note(LearnerId(*id), Slot(*slot), None));
        reports
    }

    #[test]
    fn s11_the_floor_follows_a_majority_of_the_configured_learners() {
        assert_eq!(reports(3, &[]).floor(Slot::FIRST, ALL), Slot::FIRST);
        assert_eq!(reports(3, &[(1, 90)]).floor(Slot::FIRST, ALL), Slot::FIRST, "one of three isn't enough");
        assert_eq!(reports(3, &[(1, 90), (2, 40)]).floor(Slot::FIRST, ALL), Slot(41), "a third may be dead");
        assert_eq!(reports(3, &[(1, 90), (2, 40), (3, 60)]).floor(Slot::FIRST, ALL), Slot(61));
        assert_eq!(reports(1, &[(1, 7)]).floor(Slot::FIRST, ALL), Slot(8));
        assert_eq!(reports(2, &[(1, 7), (2, 3)]).floor(Slot::FIRST, ALL), Slot(8));
        assert_eq!(reports(5, &[(1, 9), (2, 8), (3, 7), (4, 6), (5, 5)]).floor(Slot::FIRST, ALL), Slot(8));
    }

    #[test]
    fn s11_observers_count_for_nothing() {
        let mut reports = reports(3, &[(1, 90), (7, 90), (8, 90)]);
        assert_eq!(reports.floor(Slot::FIRST, ALL), Slot::FIRST);
        reports.note(LearnerId(2), Slot(50), None);
        reports.note(LearnerId(8), Slot(50), Some(Slot(3)));
        assert_eq!(reports.floor(Slot::FIRST, ALL), Slot(51));
    }

    #[test]
    fn s11_a_pin_holds_the_floor_while_its_learner_is_connected() {
        let mut reports = reports(3, &[(1, 90), (2, 40)]);
        reports.note(LearnerId(1), Slot(90), Some(Slot(20)));
        assert_eq!(reports.floor(Slot::FIRST, ALL), Slot(21));
        reports.unpin(LearnerId(1));
        assert_eq!(reports.floor(Slot::FIRST, ALL), Slot(41), "the report stays, the pin doesn't");
        reports.note(LearnerId(2), Slot(40), Some(Slot(30)));
        reports.note(LearnerId(2), Slot(40), None);
        assert_eq!(reports.floor(Slot::FIRST, ALL), Slot(41));
    }

    #[test]
    fn s11_the_floor_never_falls_and_stays_within_the_chosen_prefix() {
        let mut reports = reports(3, &[(1, 90), (2, 40)]);
        assert_eq!(reports.floor(Slot::FIRST, Slot(30)), Slot(31));
        assert_eq!(reports.floor(Slot(60), ALL), Slot(60));
        // A disk was lost: what is lower now was reported and holds for the floor of then, not for that of tomorrow.
        reports.note(LearnerId(1), Slot(0), None);
        assert_eq!(reports.floor(Slot(41), ALL), Slot(41));
        reports.note(LearnerId(3), Slot(70), None);
        assert_eq!(reports.floor(Slot(41), ALL), Slot(41));
    }
}
