//! Becoming the leader: probes, the jitter, Phase 1, and giving way to higher ballots.
//!
//! Upholds S5: a ballot's round is above all that this life has used or heard of, and a life never takes up a ballot again. What
//! replies add up to is [`crate::phase`]'s; what to propose afterwards [`crate::safe_value`]'s.

use synod_planted::Bug;
use synod_protocol::message::{Promise, ToAcceptor};
use synod_protocol::role::Delay;
use synod_protocol::{AcceptorId, Ballot};
use tracing::info;

use crate::phase::{Preparing, Resolve, Step};
use crate::{Out, Phase, Proposer, Timer, ignore_stale};

impl Proposer {
    /// Once every `probe_ms`: drops the resolve to stand if the latest probe no longer calls the leader silent, and asks again.
    pub(crate) fn probe(&mut self, effects: &mut Out) {
        let Phase::Probing(probing) = &mut self.phase else { return };
        if !probing.may_stand(&self.config.quorums) {
            probing.resolve = Resolve::Watching;
            effects.cancel_timer(Timer::Stand);
        }
        self.send_probe(effects);
    }

    /// The wait before Phase 1 is over.
    pub(crate) fn confirm(&mut self, effects: &mut Out) {
        match &mut self.phase {
            Phase::Probing(probing) if probing.resolve == Resolve::Waiting => {
                probing.resolve = Resolve::Confirming
            }
            Phase::Probing(_) | Phase::Preparing(_) | Phase::Leading(_) => return,
        }
        self.send_probe(effects);
    }

    fn send_probe(&mut self, effects: &mut Out) {
        let Phase::Probing(probing) = &mut self.phase else { return };
        probing.next_probe();
        self.probes = probing.probe;
        for acceptor in self.config.quorums.acceptors() {
            effects.send(acceptor, ToAcceptor::Probe { probe: probing.probe });
        }
        effects.set_timer(Timer::Probe, Delay::exactly(self.config.tuning.probe_ms));
    }

    pub(crate) fn on_probe_reply(
        &mut self,
        from: AcceptorId,
        probe: u64,
        promised: Ballot,
        silent: bool,
        effects: &mut Out,
    ) {
        self.heard_of(promised);
        let heard = self.is_heard();
        let Phase::Probing(probing) = &mut self.phase else {
            return ignore_stale(from, "an answer to a probe from before Phase 1");
        };
        if probing.probe != probe {
            return ignore_stale(from, "an answer to an earlier probe");
        }
        probing.count(from, promised, silent);
        self.leader_alive = probing.heard_leader().is_some_and(|ballot| ballot == self.highest_ballot);
        if !heard || !probing.may_stand(&self.config.quorums) {
            return;
        }
        match probing.resolve {
            Resolve::Watching => {
                probing.resolve = Resolve::Waiting;
                effects.set_timer(Timer::Stand, Delay::between(1, self.config.tuning.election_jitter_ms));
            }
            Resolve::Waiting => {}
            Resolve::Confirming => self.prepare(effects),
        }
    }

    pub(crate) fn prepare(&mut self, effects: &mut Out) {
        // S5: higher than any round this life has used or seen, so never the ballot of an earlier leadership.
        let round = self.highest_round + 1;
        let ballot = Ballot { round, proposer: self.config.id, life: self.config.life };
        assert!(ballot > self.highest_ballot, "S5: {ballot:?} is not above {:?}", self.highest_ballot);
        if !synod_planted::is(Bug::BallotReusedAfterStepDown) {
            self.heard_of(ballot);
        }
        info!(%ballot, "prepares");
        let counted = self.replacement.filter(|_| !synod_planted::is(Bug::ReadmissionCountsReplaced));
        let known = self.incarnations.clone();
        let known = counted.map_or(known.clone(), |replacement| replacement.seat(ballot, known));
        self.phase = Phase::Preparing(Preparing::new(ballot, known));
        let set = [Timer::Probe, Timer::Stand, Timer::Heartbeat, Timer::Heal, Timer::Check, Timer::Thrifty];
        set.into_iter().for_each(|timer| effects.cancel_timer(timer));
        effects.set_timer(Timer::PrepareTimeout, Delay::exactly(self.config.tuning.election_timeout_ms));
        self.ask_for_promises(effects);
    }

    pub(crate) fn ask_for_promises(&mut self, effects: &mut Out) {
        let Phase::Preparing(preparing) = &self.phase else { return };
        for acceptor in self.config.quorums.acceptors() {
            if let Some(after) = preparing.wanted(acceptor) {
                // First of all a disk that went back is to hear of it.
                if let Some(rows) = preparing.positions() {
                    effects.send(acceptor, ToAcceptor::Reached { ballot: preparing.ballot, rows });
                }
                effects.send(acceptor, ToAcceptor::Prepare { ballot: preparing.ballot, after });
            }
        }
        effects.set_timer(Timer::Resend, Delay::exactly(self.config.tuning.resend_ms));
    }

    pub(crate) fn on_promise(&mut self, from: AcceptorId, promise: Promise, effects: &mut Out) {
        let ballot = promise.ballot;
        let Phase::Preparing(preparing) = &mut self.phase else {
            return ignore_stale(from, "a promise outside Phase 1");
        };
        if preparing.ballot != ballot {
            return ignore_stale(from, "a promise of another ballot");
        }
        effects.set_timer(Timer::PrepareTimeout, Delay::exactly(self.config.tuning.election_timeout_ms));
        self.incarnations.merge(&promise.incarnations);
        match preparing.take(from, promise, &self.config.quorums) {
            Step::Older => self.ignore_older_promise(from, effects),
            Step::AskAgain => self.ask_for_promises(effects),
            Step::AskMore(after) => effects.send(from, ToAcceptor::Prepare { ballot, after }),
            Step::Gap(after) => {
                ignore_stale(from, "a chunk behind a lost one");
                effects.send(from, ToAcceptor::Prepare { ballot, after });
            }
            Step::Waiting => {}
            Step::Done(found) => self.lead(ballot, *found, effects),
        }
    }

    /// S12: the disk was replaced, or went back; in that case it is to stop.
    fn ignore_older_promise(&self, from: AcceptorId, effects: &mut Out) {
        let Phase::Preparing(preparing) = &self.phase else { return };
        ignore_stale(from, "a promise on a disk that was replaced, or went back (S12)");
        if let Some(rows) = preparing.positions() {
            effects.send(from, ToAcceptor::Reached { ballot: preparing.ballot, rows });
        }
    }

    pub(crate) fn on_nack(&mut self, from: AcceptorId, ballot: Ballot, promised: Ballot, effects: &mut Out) {
        self.heard_of(promised);
        let current = match &self.phase {
            Phase::Probing(_) => None,
            Phase::Preparing(preparing) => Some(preparing.ballot),
            Phase::Leading(leading) => Some(leading.ballot),
        };
        if current != Some(ballot) || promised <= ballot {
            return ignore_stale(from, "a refusal of another ballot");
        }
        if self.replacement.is_some() && synod_planted::is(Bug::ReadmissionSurvivesNack) {
            return;
        }
        info!(%ballot, %promised, %from, "gives way to a higher ballot");
        self.step_down(effects);
    }
}
