//! Not leading: probing the acceptors for a silent leader, and Phase 1.
//!
//! The failure detector is the very quorum that a leader needs: only when a Phase-1 quorum of acceptors says that the leader is
//! silent does a proposer stand, so that one who can't reach a quorum disturbs no one. Phase 1 collects promises in
//! chunks (S4). Pure state; sending is [`crate::Proposer`]'s work. Upholds S4 (coverage) and S5 (replies of other ballots don't count).

use std::collections::{BTreeMap, BTreeSet};

use synod_planted::Bug;
use synod_protocol::message::Promise;
use synod_protocol::{AcceptorId, Ballot, DiskAt, Incarnations, QuorumSystem, Slot};

use crate::safe_value::{Inheritance, Report, inherit};

/// Watching the leader through the acceptors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probing {
    /// Number of the latest probe, unique in this life; answers to others are stale.
    pub probe: u64,
    /// Answers to it: the ballot promised, and whether its leader is silent.
    replies: BTreeMap<AcceptorId, (Ballot, bool)>,
    /// How near it is to Phase 1.
    pub resolve: Resolve,
}

/// From a leader called silent to Phase 1: first a random wait, so that not all stand at once, then one more probe, since
/// another may have stood meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolve {
    /// The leader isn't known to be silent.
    Watching,
    /// The random wait is running.
    Waiting,
    /// The wait is over: a quorum that calls the leader silent once more begins Phase 1.
    Confirming,
}

impl Probing {
    /// Probing whose first probe is the one after `probe`.
    pub fn after(probe: u64) -> Probing {
        Probing { probe, replies: BTreeMap::new(), resolve: Resolve::Watching }
    }

    /// Starts the next probe.
    pub fn next_probe(&mut self) {
        self.probe += 1;
        self.replies.clear();
    }

    /// Takes an answer to the latest probe.
    pub fn count(&mut self, from: AcceptorId, promised: Ballot, silent: bool) {
        self.replies.insert(from, (promised, silent));
    }

    /// Whether one probe was answered by the quorums that a leader needs: a Phase-1 quorum that calls its leader silent, and a
    /// Phase-2 quorum in all. One that reaches only the smaller of two quorums would depose leaders and then choose nothing.
    pub fn may_stand(&self, quorums: &QuorumSystem) -> bool {
        let silent: BTreeSet<_> =
            self.replies.iter().filter(|(_, (_, silent))| *silent).map(|(acceptor, _)| *acceptor).collect();
        let all: BTreeSet<_> = self.replies.keys().copied().collect();
        let reached = quorums.is_phase2(&all) || synod_planted::is(Bug::StandsWithoutPhase2Quorum);
        quorums.is_phase1(&silent) && reached
    }

    /// The highest ballot whose leader some acceptor hears.
    pub fn heard_leader(&self) -> Option<Ballot> {
        self.replies.values().filter(|(_, silent)| !silent).map(|(ballot, _)| *ballot).max()
    }
}

/// Phase 1 of one ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Preparing {
    /// The ballot.
    pub ballot: Ballot,
    /// Which disks were replaced (S12): what was known before, what a readmission at this ballot adds, what the promises tell.
    incarnations: Incarnations,
    reports: BTreeMap<AcceptorId, Progress>,
}

/// What Phase 1 found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What must be proposed, and from where on new values go.
    pub inheritance: Inheritance,
    /// Which disks were replaced: only votes of the others count in this ballot (S12).
    pub incarnations: Incarnations,
    /// The highest floor told: what lies below it is kept by few, and needed by nobody.
    pub floor: Slot,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Progress {
    disk: DiskAt,
    report: Report,
    /// Every vote above the report's held prefix and up to here has been told, but for slots known chosen by others' reports.
    covered: Slot,
    /// Whether there are no votes above `covered`.
    complete: bool,
}

/// What a chunk of a promise led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this acceptor for votes above this slot.
    AskMore(Slot),
    /// This acceptor is complete; wait for others.
    Waiting,
    /// A Phase-1 quorum is complete.
    Done(Box<Found>),
    /// This acceptor's disk was replaced since, or went back: it isn't counted (S12).
    Older,
    /// Another acceptor's disk, whose promise was counted, turns out to be older: everybody must be asked again.
    AskAgain,
    /// A chunk that leaves a gap (an earlier one was lost): dropped; ask again from this slot.
    Gap(Slot),
}

impl Preparing {
    /// Phase 1 of `ballot`, before any promise.
    pub fn new(ballot: Ballot, incarnations: Incarnations) -> Preparing {
        Preparing { ballot, incarnations, reports: BTreeMap::new() }
    }

    /// How far disks have come, to be told where promises are asked for; nothing if nothing is known.
    pub fn positions(&self) -> Option<Incarnations> {
        Some(self.incarnations.with_positions()).filter(|rows| !rows.is_empty())
    }

    /// The slot above which the next chunk of `acceptor` is wanted; nothing when it is complete.
    pub fn wanted(&self, acceptor: AcceptorId) -> Option<Slot> {
        match self.reports.get(&acceptor) {
            Some(progress) if progress.complete => None,
            Some(progress) => Some(progress.covered.max(self.known_chosen())),
            None => Some(self.known_chosen()),
        }
    }

    /// The highest prefix that any report calls chosen: votes up to it need not be told.
    fn known_chosen(&self) -> Slot {
        self.reports.values().map(|progress| progress.report.known_chosen()).max().unwrap_or(Slot::ZERO)
    }

    /// Takes in a chunk for this ballot. Repeated and reordered chunks are harmless: votes can't change at a promised ballot.
    pub fn take(&mut self, from: AcceptorId, promise: Promise, quorums: &QuorumSystem) -> Step {
        if let Some(step) = self.weigh_disk(from, &promise) {
            return step;
        }
        let known_chosen = self.known_chosen();
        let progress = self.reports.entry(from).or_insert_with(|| Progress {
            disk: promise.disk,
            report: Report { floor: promise.floor, held: promise.held, votes: BTreeMap::new() },
            covered: promise.held,
            complete: false,
        });
        // Slots up to `known_chosen` will not be proposed, whoever voted on them, so they need no cover.
        if promise.after > progress.covered.max(known_chosen) {
            return Step::Gap(progress.covered.max(known_chosen));
        }
        let votes = promise.votes.into_iter().map(|vote| (vote.slot, (vote.ballot, vote.value)));
        progress.report.votes.extend(votes);
        progress.covered = progress.covered.max(promise.upto);
        progress.complete |= promise.complete;
        if !progress.complete {
            return Step::AskMore(progress.covered.max(self.known_chosen()));
        }
        self.finish(quorums).map_or(Step::Waiting, |found| Step::Done(Box::new(found)))
    }

    /// Takes in what the sender knows of disks; what follows for this promise, if it can't just be counted (S12).
    fn weigh_disk(&mut self, from: AcceptorId, promise: &Promise) -> Option<Step> {
        if synod_planted::is(Bug::OlderPromiseCounts) {
            return None;
        }
        self.incarnations.merge(&promise.incarnations);
        let incarnations = &self.incarnations;
        let older = |acceptor: &AcceptorId, progress: &Progress| {
            incarnations.is_older(*acceptor, progress.disk)
                || (*acceptor == from && progress.disk.id != promise.disk.id)
        };
        if self.incarnations.is_older(from, promise.disk) {
            Some(Step::Older)
        } else if self.reports.iter().any(|(acceptor, progress)| older(acceptor, progress)) {
            // What it held may be why others were asked for less. Asked again they tell at least the same: they have promised.
            self.reports.clear();
            Some(Step::AskAgain)
        } else {
            None
        }
    }

    fn finish(&self, quorums: &QuorumSystem) -> Option<Found> {
        let complete = || {
            self.reports
                .iter()
                .filter(|(_, progress)| progress.complete || synod_planted::is(Bug::IncompletePromiseCounts))
        };
        let members: BTreeSet<_> = complete().map(|(acceptor, _)| *acceptor).collect();
        // An incomplete promise may be why others were not asked for votes up to what it holds: its prefix counts too.
        let reports = complete().map(|(_, progress)| &progress.report);
        let known = if synod_planted::is(Bug::HeldOfIncompletePromiseIgnored) {
            Slot::ZERO
        } else {
            self.known_chosen()
        };
        let floor = reports.clone().map(|report| report.floor).max().unwrap_or(Slot::FIRST);
        let too_few = synod_planted::is(Bug::PromisesOfTooFew) && members.len() + 1 >= quorums.phase1();
        (quorums.is_phase1(&members) || too_few).then(|| Found {
            inheritance: inherit(known, reports),
            incarnations: self.incarnations.clone(),
            floor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::message::Vote;
    use synod_protocol::{DiskId, ProposerId, Value};

    fn quorums() -> QuorumSystem {
        QuorumSystem::majority((1..=3).map(AcceptorId)).unwrap()
    }

    fn ballot(round: u64) -> Ballot {
        Ballot { round, proposer: ProposerId(1), life: 1 }
    }

    fn promise(held: u64, after: u64, slots: &[u64], complete: bool) -> Promise {
        let votes = slots
            .iter()
            .map(|slot| Vote {
                slot: Slot(*slot),
                ballot: ballot(1),
                value: Value::new(vec![*slot as u8].into()),
            })
            .collect();
        let upto = Slot(slots.last().copied().unwrap_or(after));
        Promise {
            ballot: ballot(2),
            disk: DiskId(1).into(),
            incarnations: Incarnations::default(),
            floor: Slot(1),
            held: Slot(held),
            after: Slot(after),
            upto,
            complete,
            votes,
        }
    }

    #[test]
    fn s4_a_capped_promise_is_asked_for_the_rest_before_it_counts() {
        let mut preparing = Preparing::new(ballot(2), Incarnations::default());
        assert_eq!(preparing.take(AcceptorId(1), promise(0, 0, &[], true), &quorums()), Step::Waiting);
        let step = preparing.take(AcceptorId(2), promise(0, 0, &[1, 2], false), &quorums());
        assert_eq!(step, Step::AskMore(Slot(2)));
        let Step::Done(found) = preparing.take(AcceptorId(2), promise(0, 2, &[3], true), &quorums()) else {
            panic!("a quorum is complete");
        };
        assert_eq!(
            found.inheritance.entries.iter().map(|entry| entry.slot.0).collect::<Vec<_>>(),
            vec![1, 2, 3]
        );
    }

    #[test]
    fn s4_a_chunk_after_a_lost_one_does_not_count() {
        let mut preparing = Preparing::new(ballot(2), Incarnations::default());
        preparing.take(AcceptorId(1), promise(0, 0, &[], true), &quorums());
        let step = preparing.take(AcceptorId(2), promise(0, 2, &[3], true), &quorums());
        assert_eq!(step, Step::Gap(Slot(0)));
        assert_eq!(preparing.wanted(AcceptorId(2)), Some(Slot(0)));
    }

    #[test]
    fn s4_what_another_holds_need_not_be_told() {
        let mut preparing = Preparing::new(ballot(2), Incarnations::default());
        assert_eq!(
            preparing.take(AcceptorId(1), promise(0, 0, &[1, 2], false), &quorums()),
            Step::AskMore(Slot(2))
        );
        assert_eq!(preparing.take(AcceptorId(2), promise(50, 50, &[51], true), &quorums()), Step::Waiting);
        assert_eq!(preparing.wanted(AcceptorId(1)), Some(Slot(50)));
        let Step::Done(found) = preparing.take(AcceptorId(1), promise(0, 50, &[], true), &quorums()) else {
            panic!("a quorum is complete");
        };
        assert_eq!((found.inheritance.chosen, found.inheritance.next), (Slot(50), Slot(52)));
    }

    /// Found by a randomised test of the roles: a2's first chunk says that it holds 50 slots, so a1 is not asked for
    /// its votes up to there; then a1 and a3 complete the quorum without a2. A leader that starts from what a1 and a3 hold
    /// would fill chosen slots with noops.
    #[test]
    fn s4_the_prefix_of_an_incomplete_promise_counts() {
        let mut preparing = Preparing::new(ballot(2), Incarnations::default());
        let take = |preparing: &mut Preparing, id, chunk| preparing.take(AcceptorId(id), chunk, &quorums());
        assert_eq!(take(&mut preparing, 1, promise(0, 0, &[1], false)), Step::AskMore(Slot(1)));
        assert_eq!(take(&mut preparing, 2, promise(50, 50, &[51], false)), Step::AskMore(Slot(51)));
        assert_eq!(take(&mut preparing, 1, promise(0, 50, &[51], true)), Step::Waiting);
        let Step::Done(found) = take(&mut preparing, 3, promise(2, 2, &[], true)) else {
            panic!("a quorum is complete");
        };
        assert_eq!((found.inheritance.chosen, found.inheritance.entries.len()), (Slot(50), 1));
    }

    #[test]
    fn a_repeated_promise_of_one_acceptor_is_one_promise() {
        let mut preparing = Preparing::new(ballot(2), Incarnations::default());
        for _ in 0..3 {
            assert_eq!(preparing.take(AcceptorId(1), promise(0, 0, &[1], true), &quorums()), Step::Waiting);
        }
    }

    /// Found by the simulator: in a partial partition proposers that reached a Phase-1 quorum and no Phase-2 quorum won one election
    /// after the other against one that reached all.
    #[test]
    fn one_who_reaches_no_phase2_quorum_does_not_stand() {
        let quorums = QuorumSystem::flexible((1..=4).map(AcceptorId), 1, 4).unwrap();
        let mut probing = Probing::after(0);
        for id in 1..=3 {
            probing.count(AcceptorId(id), ballot(1), true);
            assert!(!probing.may_stand(&quorums), "{id} answers");
        }
        probing.count(AcceptorId(4), ballot(1), false);
        assert!(probing.may_stand(&quorums));
    }

    #[test]
    fn only_a_quorum_in_answer_to_one_probe_calls_the_leader_silent() {
        let mut probing = Probing::after(0);
        probing.count(AcceptorId(1), ballot(1), true);
        probing.count(AcceptorId(1), ballot(1), true);
        assert!(!probing.may_stand(&quorums()));
        probing.count(AcceptorId(2), ballot(1), false);
        assert!(!probing.may_stand(&quorums()));
        assert_eq!(probing.heard_leader(), Some(ballot(1)));
        probing.count(AcceptorId(3), ballot(1), true);
        assert!(probing.may_stand(&quorums()));
        probing.next_probe();
        assert!(!probing.may_stand(&quorums()));
    }
}
