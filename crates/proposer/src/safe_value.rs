//! The hard step of Paxos: which values a leader must propose after Phase 1. Pure, with the argument in numbered steps.
//!
//! Upholds S4 and the first half of S6. Lamport, "Paxos Made Simple" (2001), section 2.2, for a log whose older part is told
//! as a held prefix instead of votes. Collecting the promises is [`crate::phase`]'s work.

use std::collections::BTreeMap;

use synod_planted::Bug;
use synod_protocol::value::Entry;
use synod_protocol::{Ballot, Slot, Value};

/// What one acceptor's promise says, all chunks together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// First slot it keeps.
    pub floor: Slot,
    /// Its held prefix.
    pub held: Slot,
    /// Its votes: every one above the highest held prefix that is used with it, perhaps more.
    pub votes: BTreeMap<Slot, (Ballot, Value)>,
}

impl Report {
    /// Every slot up to here is chosen, by this report alone: below the floor or held.
    pub fn known_chosen(&self) -> Slot {
        if self.floor > Slot::FIRST && synod_planted::is(Bug::NewSlotsBelowFloor) {
            return Slot::ZERO;
        }
        self.held.max(self.floor.previous())
    }
}

/// What follows from the promises of a Phase-1 quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inheritance {
    /// Every slot up to here is chosen.
    pub chosen: Slot,
    /// First slot that some acceptor still keeps, at least: below, everything is chosen and synced by enough learners (S11).
    pub floor: Slot,
    /// What must be proposed above, in slot order, without a gap.
    pub entries: Vec<Entry>,
    /// Where new values start.
    pub next: Slot,
}

/// Derives what a leader inherits from the complete promises of a Phase-1 quorum for its ballot, and from `known`: the highest
/// prefix that any promise of this ballot, complete or not, called chosen. Above that, `reports` tell every vote.
pub fn inherit<'a>(known: Slot, reports: impl Iterator<Item = &'a Report> + Clone) -> Inheritance {
    // 1. A slot that one acceptor holds, or has dropped, is chosen: its leader said so at the ballot of the vote (S6). So the
    //    highest such prefix among the promises is chosen, and nothing up to it needs a proposal. What this proposer
    //    knew before takes no part: only what a quorum says covers what other ballots may have done meanwhile.
    let chosen = reports.clone().map(Report::known_chosen).fold(known, Slot::max);

    //    What one of them has dropped, nobody needs to keep.
    let floor = reports.clone().map(|report| report.floor).fold(Slot::FIRST, Slot::max);

    // 2. Above it, a value may have been chosen at a lower ballot only with the votes of a Phase-2 quorum. That meets the
    //    acceptors heard here, and each of them promised to vote at no lower ballot any more: what it hasn't voted, it
    //    never will. So a slot without a vote among them is free, at every lower ballot, for ever.
    let mut highest: BTreeMap<Slot, (Ballot, &Value)> = BTreeMap::new();
    for (slot, (ballot, value)) in reports.clone().flat_map(|report| report.votes.range(chosen.next()..)) {
        let best = highest.entry(*slot).or_insert((*ballot, value));
        // 3. Of several votes for a slot, the one at the highest ballot decides: its leader chose its value by this same
        //    rule, so if a value was chosen at any ballot up to that one, it is this value. At one ballot there is
        //    one value (S1), so ties are equal.
        let decides = *ballot > best.0 && !synod_planted::is(Bug::FirstReportedValue);
        if decides || synod_planted::is(Bug::LastReportedValue) {
            *best = (*ballot, value);
        }
    }

    // 4. New values start above every vote and above what is chosen, and so not below any floor (step 1).
    let highest_vote = highest.last_key_value().filter(|_| !synod_planted::is(Bug::NewSlotsOverVotes));
    let next = highest_vote.map_or(chosen, |(slot, _)| *slot).next();

    // 5. Slots between that nobody voted on are filled with noops, so that learners can pass them.
    let entries = (chosen.next().0..next.0)
        .map(Slot)
        .map(|slot| Entry {
            slot,
            value: highest
                .get(&slot)
                .filter(|_| !synod_planted::is(Bug::OwnValueDespiteVote))
                .map_or(Value::NOOP, |(_, value)| (*value).clone()),
        })
        .collect();
    Inheritance { chosen, floor, entries, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use synod_protocol::ProposerId;

    fn ballot(round: u64) -> Ballot {
        Ballot { round, proposer: ProposerId(1), life: 1 }
    }

    fn value(text: &'static str) -> Value {
        Value::new(Bytes::from_static(text.as_bytes()))
    }

    fn report(floor: u64, held: u64, votes: &[(u64, u64, &'static str)]) -> Report {
        let votes =
            votes.iter().map(|(slot, round, text)| (Slot(*slot), (ballot(*round), value(text)))).collect();
        Report { floor: Slot(floor), held: Slot(held), votes }
    }

    fn texts(inheritance: &Inheritance) -> Vec<(u64, String)> {
        let text = |entry: &Entry| String::from_utf8(entry.value.bytes().to_vec()).unwrap();
        inheritance.entries.iter().map(|entry| (entry.slot.0, text(entry))).collect()
    }

    #[test]
    fn s4_without_votes_everything_is_free() {
        let inheritance = inherit(Slot::ZERO, [report(1, 0, &[]), report(1, 0, &[])].iter());
        assert_eq!(
            inheritance,
            Inheritance { chosen: Slot(0), floor: Slot(1), entries: Vec::new(), next: Slot(1) }
        );
    }

    #[test]
    fn s4_the_vote_at_the_highest_ballot_is_proposed_wherever_it_stands() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let all = [
                report(1, 0, &[(1, 1, "old")]),
                report(1, 0, &[(1, 3, "new")]),
                report(1, 0, &[(1, 2, "mid")]),
            ];
            let inheritance = inherit(Slot::ZERO, order.map(|at| all[at].clone()).iter());
            assert_eq!(texts(&inheritance), vec![(1, "new".to_string())]);
        }
    }

    #[test]
    fn s4_a_gap_becomes_a_noop_and_new_slots_start_above_the_last_vote() {
        let inheritance =
            inherit(Slot::ZERO, [report(1, 2, &[(4, 1, "four")]), report(1, 1, &[(2, 1, "two")])].iter());
        assert_eq!(inheritance.chosen, Slot(2));
        assert_eq!(texts(&inheritance), vec![(3, String::new()), (4, "four".to_string())]);
        assert_eq!(inheritance.next, Slot(5));
    }

    #[test]
    fn s4_a_floor_is_no_vote_and_new_slots_are_not_below_it() {
        let inheritance = inherit(Slot::ZERO, [report(9, 8, &[]), report(1, 3, &[(4, 7, "four")])].iter());
        assert_eq!(
            inheritance,
            Inheritance { chosen: Slot(8), floor: Slot(9), entries: Vec::new(), next: Slot(9) }
        );
    }

    #[test]
    fn s4_a_held_prefix_shortens_the_proposals_of_all() {
        let votes = [(1, 1, "a"), (2, 1, "b"), (3, 2, "c")];
        let inheritance = inherit(Slot::ZERO, [report(1, 0, &votes), report(1, 2, &[(3, 1, "x")])].iter());
        assert_eq!((inheritance.chosen, texts(&inheritance)), (Slot(2), vec![(3, "c".to_string())]));
    }
}
