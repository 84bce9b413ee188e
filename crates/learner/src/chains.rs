//! The hash chains of slots that were applied, and what comparing them with peers has told (S7).
//!
//! Chains are kept for each of the last few thousand slots, and for every so many slots far longer, so that a peer that is
//! behind can be compared too. Equal chains at a slot mean equal logs and equal states up to there; so one pair of numbers compares
//! everything. Where a peer differs, the first slot that does is searched between the highest slot known to be equal and the
//! lowest known to differ. Absent on purpose: what follows for this process (see [`crate::alarm`]).

use std::collections::{BTreeMap, VecDeque};

use synod_protocol::{LearnerId, Slot};

/// Slots, up to the last, whose chains are kept.
const RECENT: usize = 4_096;
/// Every so many slots is a mark.
const MARK: u64 = 256;
/// Marks kept: of the last quarter of a million slots.
const MARKS: usize = 1_024;
/// Slots asked for at once where a difference is searched.
const PROBES: usize = 16;

/// Chains of applied slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// The last slot applied; its chain is the last of `recent`.
    last: Slot,
    recent: VecDeque<u64>,
    marks: BTreeMap<Slot, u64>,
}

impl History {
    /// Of a state of which nothing but the last slot's chain is known.
    pub(crate) fn of(applied: Slot, chain: u64) -> History {
        History { last: applied, recent: VecDeque::from([chain]), marks: BTreeMap::new() }
    }

    /// The next slot was applied.
    pub(crate) fn note(&mut self, slot: Slot, chain: u64) {
        self.last = slot;
        self.recent.push_back(chain);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        if slot.0.is_multiple_of(MARK) {
            self.marks.insert(slot, chain);
            if self.marks.len() > MARKS {
                self.marks.pop_first();
            }
        }
    }

    fn first_recent(&self) -> Slot {
        Slot((self.last.0 + 1).saturating_sub(self.recent.len() as u64))
    }

    /// The chain at `slot`, while it is kept.
    pub(crate) fn at(&self, slot: Slot) -> Option<u64> {
        if slot > self.last {
            return None;
        }
        let recent = slot.0.checked_sub(self.first_recent().0).and_then(|at| self.recent.get(at as usize));
        recent.or_else(|| self.marks.get(&slot)).copied()
    }

    /// What is told to everybody: the last slot, and the last mark, which a peer that is behind may have.
    pub(crate) fn news(&self) -> Vec<(Slot, u64)> {
        let mark = self.marks.last_key_value().map(|(slot, chain)| (*slot, *chain));
        let last = self.at(self.last).map(|chain| (self.last, chain));
        mark.into_iter()
            .filter(|(slot, _)| *slot != self.last)
            .chain(last)
            .filter(|(slot, _)| slot.0 > 0)
            .collect()
    }

    /// Some slots above `equal` and below `differs` whose chains are kept, evenly over all of them.
    fn between(&self, equal: Slot, differs: Slot) -> Vec<Slot> {
        let (first, end) = (equal.next().max(self.first_recent()), differs);
        let recent = (first.0..end.0.max(first.0)).map(Slot);
        let marks = self.marks.range(equal.next()..differs.max(equal.next())).map(|(slot, _)| *slot);
        let mut kept: Vec<Slot> = marks.filter(|slot| *slot < first).chain(recent).collect();
        let step = kept.len().div_ceil(PROBES).max(1);
        // From the middle of each step on, so that a few are halved too.
        let mut at = 0;
        kept.retain(|_| {
            at += 1;
            (at - 1) % step == step / 2
        });
        kept
    }
}

/// What comparing with one peer has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Compared {
    /// The highest slot at which the chains were seen to be equal.
    pub(crate) equal: Slot,
    /// The lowest slot at which they were seen to differ; above `equal`.
    pub(crate) differs: Option<Slot>,
}

/// Each peer's chains against ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Comparison {
    peers: BTreeMap<LearnerId, Compared>,
}

impl Comparison {
    /// Takes in what a peer has told; whether that changed where it differs.
    pub(crate) fn take(&mut self, from: LearnerId, told: &[(Slot, u64)], ours: &History) -> bool {
        let before = self.of(from);
        let mut compared = before;
        for (slot, chain) in told {
            let Some(own) = ours.at(*slot) else { continue };
            if own != *chain {
                if *slot > compared.equal {
                    compared.differs = Some(compared.differs.unwrap_or(*slot).min(*slot));
                }
            } else {
                compared.equal = compared.equal.max(*slot);
                // Equal above where they differed: one of the two has been built anew.
                compared.differs = compared.differs.filter(|differs| *differs > *slot);
            }
        }
        self.peers.insert(from, compared);
        compared.differs != before.differs || (compared.differs.is_some() && compared != before)
    }

    /// What is known of a peer.
    pub(crate) fn of(&self, peer: LearnerId) -> Compared {
        self.peers.get(&peer).copied().unwrap_or_default()
    }

    /// Everything that was compared belongs to a state that is gone.
    pub(crate) fn forget(&mut self) {
        self.peers.clear();
    }

    /// Slots to ask a peer for, where it differs and the first slot that does isn't known yet.
    pub(crate) fn probes(&self, peer: LearnerId, ours: &History) -> Vec<Slot> {
        let Compared { equal, differs } = self.of(peer);
        differs.map_or_else(Vec::new, |differs| ours.between(equal, differs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L2: LearnerId = LearnerId(2);

    fn history(from: u64, to: u64, wrong_from: u64) -> History {
        let chain = |slot: u64| slot * 10 + u64::from(slot >= wrong_from);
        let mut history = History::of(Slot(from), chain(from));
        (from + 1..=to).for_each(|slot| history.note(Slot(slot), chain(slot)));
        history
    }

    #[test]
    fn the_last_slots_and_marks_are_kept() {
        let history = history(0, 300_000, u64::MAX);
        for (slot, kept) in
            [(300_000, true), (300_001, false), (295_905, true), (295_904, false), (295_936, true)]
        {
            assert_eq!(history.at(Slot(slot)), kept.then_some(slot * 10), "{slot}");
        }
        assert_eq!((history.at(Slot(37_888)), history.at(Slot(37_632))), (Some(378_880), None));
        assert_eq!(history.news(), [(Slot(299_776), 2_997_760), (Slot(300_000), 3_000_000)]);
        assert_eq!(History::of(Slot::ZERO, 0).news(), []);
    }

    /// Asks until nothing more can be asked; how often it asked.
    fn narrow(ours: &History, theirs: &History) -> (Compared, usize) {
        let mut comparison = Comparison::default();
        let mut told = theirs.news();
        for round in 0..100 {
            comparison.take(L2, &told, ours);
            let probes = comparison.probes(L2, ours);
            assert!(probes.len() <= PROBES + 1, "{}", probes.len());
            told = probes.iter().filter_map(|slot| Some((*slot, theirs.at(*slot)?))).collect();
            if told.is_empty() {
                return (comparison.of(L2), round);
            }
        }
        panic!("never ends");
    }

    #[test]
    fn s7_the_first_slot_that_differs_is_found() {
        let ours = history(0, 5_000, u64::MAX);
        for first in [906, 907, 1_000, 2_000, 4_095, 4_999, 5_000] {
            let (compared, rounds) = narrow(&ours, &history(0, 5_000, first));
            assert_eq!(compared, Compared { equal: Slot(first - 1), differs: Some(Slot(first)) });
            assert!(rounds <= 5, "{rounds} rounds");
        }
        // Further back only marks are kept, and what the other side has lost can't be compared.
        let (compared, _) = narrow(&ours, &history(0, 5_000, 300));
        assert_eq!(compared, Compared { equal: Slot(256), differs: Some(Slot(512)) });
        let (compared, _) = narrow(&ours, &history(4_000, 5_000, 300));
        assert_eq!(compared.equal, Slot::ZERO);
        assert!(compared.differs.is_some_and(|slot| (4_000..4_300).contains(&slot.0)), "{compared:?}");
        let (compared, rounds) = narrow(&ours, &history(0, 5_000, u64::MAX));
        assert_eq!((compared, rounds), (Compared { equal: Slot(5_000), differs: None }, 0));
    }

    #[test]
    fn s7_stale_and_unknown_chains_change_nothing_and_later_equality_clears() {
        let ours = history(0, 1_000, u64::MAX);
        let mut comparison = Comparison::default();
        assert!(!comparison.take(L2, &[(Slot(900), 9_000), (Slot(5_000), 1)], &ours));
        assert_eq!(comparison.of(L2), Compared { equal: Slot(900), differs: None });
        // Chains below what is equal come from a message that was late, and from a state that is gone.
        assert!(!comparison.take(L2, &[(Slot(800), 1)], &ours));
        assert!(comparison.take(L2, &[(Slot(950), 1)], &ours));
        assert_eq!(comparison.of(L2).differs, Some(Slot(950)));
        assert!(comparison.take(L2, &[(Slot(960), 9_600)], &ours));
        assert_eq!(comparison.of(L2), Compared { equal: Slot(960), differs: None });
    }
}
