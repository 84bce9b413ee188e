//! The proposer: the order. Multi-Paxos without I/O, and nothing on disk.
//!
//! It probes the acceptors until a Phase-1 quorum calls the leader silent, runs Phase 1 once, and then leads: assigns slots,
//! batches, pipelines, counts votes, streams what is chosen to the learners, heals acceptors that missed slots. It never
//! looks into values and never talks to other proposers. Upholds S4 ([`safe_value`]), S5 (a ballot belongs to one life and
//! one leadership) S6
//! ([`pipeline`]) and S11 ([`floor`]). Absent on purpose: sessions (learners' and clients'), files, clocks.

mod election;
pub mod floor;
pub mod healing;
pub mod leading;
pub mod phase;
pub mod pipeline;
pub mod readmission;
mod requests;
pub mod safe_value;
pub mod subscribers;
pub mod thrifty;

use std::collections::BTreeSet;

use synod_planted::Bug;
use synod_protocol::cluster::Cluster;
use synod_protocol::hello::Standing;
use synod_protocol::message::{Accepted, Fetched, NotTaken, ToAcceptor, ToProposer};
use synod_protocol::role::{Delay, Effects, Misdirected, Never, Role};
use synod_protocol::tuning::Tuning;
use synod_protocol::{AcceptorId, Ballot, Incarnations, LearnerId, NodeId, ProposerId, QuorumSystem};
use tracing::{debug, info, warn};

use floor::Reports;
use leading::{Leading, Unfit};
use phase::{Found, Preparing, Probing};
use readmission::Replacement;
use requests::refuse;
use subscribers::Subscribers;

/// What a proposer is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Who it is.
    pub id: ProposerId,
    /// 64 random bits drawn for this life of the process (S5).
    pub life: u64,
    /// The acceptors and their quorums.
    pub quorums: QuorumSystem,
    /// The configured learners, whose reports raise the floor (S11).
    pub learners: BTreeSet<LearnerId>,
    /// Timeouts and limits.
    pub tuning: Tuning,
}

impl Config {
    /// The part of a cluster file that proposer `id` needs; `life` must be drawn at random for each start.
    pub fn new(id: ProposerId, life: u64, cluster: &Cluster) -> Config {
        Config {
            id,
            life,
            quorums: cluster.quorums.clone(),
            learners: cluster.learners.keys().copied().collect(),
            tuning: cluster.tuning.clone(),
        }
    }
}

/// A proposer's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Probe the acceptors again.
    Probe,
    /// The jitter before Phase 1 is over.
    Stand,
    /// Phase 1: ask again where no answer came. Leading: send again what was not answered.
    Resend,
    /// Phase 1 has not moved for an election timeout.
    PrepareTimeout,
    /// Leading: tell that the leader is alive.
    Heartbeat,
    /// Leading: heal acceptors that are behind.
    Heal,
    /// Leading: see whether a quorum and a learner are still there.
    Check,
    /// Leading: send the spare acceptors what a quorum was sent before.
    Thrifty,
}

pub(crate) type Out = Effects<Never, Timer>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Probing(Probing),
    Preparing(Preparing),
    Leading(Box<Leading>),
}

/// A proposer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposer {
    config: Config,
    phase: Phase,
    /// Number of the latest probe of this life.
    probes: u64,
    /// The highest round that this life has used or heard of (S5).
    highest_round: u64,
    /// The highest ballot heard of; whose it is, clients are told.
    highest_ballot: Ballot,
    /// Whether the leader of that ballot was heard by some acceptor lately.
    leader_alive: bool,
    /// Learners that are connected and have subscribed.
    subscribers: Subscribers,
    /// What the configured learners have synced and pinned.
    reports: Reports,
    /// Which disks were replaced, and how far disks have come (S12), as promises and votes have told in this life, or readmitted by this
    /// leader itself.
    incarnations: Incarnations,
    /// The disk that the current ballot was begun to readmit.
    replacement: Option<Replacement>,
}

impl Proposer {
    /// A proposer that knows nothing yet.
    pub fn new(mut config: Config) -> Proposer {
        if synod_planted::is(Bug::BallotReusedAfterRestart) {
            config.life = 0;
        }
        let reports = Reports::new(config.learners.clone());
        Proposer {
            reports,
            config,
            phase: Phase::Probing(Probing::after(0)),
            probes: 0,
            highest_round: 0,
            highest_ballot: Ballot::NONE,
            leader_alive: false,
            subscribers: Subscribers::default(),
            incarnations: Incarnations::default(),
            replacement: None,
        }
    }

    fn heard_of(&mut self, ballot: Ballot) {
        self.highest_round = self.highest_round.max(ballot.round);
        self.highest_ballot = self.highest_ballot.max(ballot);
    }

    /// Whether a configured learner is subscribed; observers come and go, and what they hold counts for nothing.
    fn is_heard(&self) -> bool {
        let mut heard = self.subscribers.all();
        heard.any(|learner| self.config.learners.contains(&learner) || synod_planted::is(Bug::ObserverHeard))
    }

    /// Whom clients should turn to, as far as this proposer knows.
    fn leader(&self) -> Option<ProposerId> {
        match &self.phase {
            Phase::Leading(_) => Some(self.config.id),
            Phase::Probing(_) | Phase::Preparing(_) => {
                let other = self.highest_ballot.proposer != self.config.id && !self.highest_ballot.is_none();
                (self.leader_alive && other).then_some(self.highest_ballot.proposer)
            }
        }
    }

    fn lead(&mut self, ballot: Ballot, found: Found, effects: &mut Out) {
        let Config { quorums, tuning, .. } = &self.config;
        let leading = Box::new(Leading::new(ballot, found, self.replacement, quorums, tuning));
        leading.announce();
        if let Some(readmitting) = &leading.readmitting {
            readmitting.ask(&self.config.quorums, effects);
        }
        self.phase = Phase::Leading(leading);
        let tuning = &self.config.tuning;
        effects.cancel_timer(Timer::PrepareTimeout);
        effects.set_timer(Timer::Resend, Delay::exactly(tuning.resend_ms));
        effects.set_timer(Timer::Heal, Delay::exactly(tuning.heal_ms));
        effects.set_timer(Timer::Check, Delay::exactly(tuning.election_timeout_ms));
        self.heartbeat(effects);
    }

    fn heartbeat(&mut self, effects: &mut Out) {
        if let Phase::Leading(leading) = &mut self.phase {
            leading.raise_floor(&self.reports);
            leading.heartbeat(&self.subscribers, &self.config.quorums, effects);
            effects.set_timer(Timer::Heartbeat, Delay::exactly(self.config.tuning.heartbeat_ms));
        }
    }

    /// Leaves Phase 1 or the lead. What waits is refused; what is in flight stays unknown to this proposer.
    fn step_down(&mut self, effects: &mut Out) {
        let old = std::mem::replace(&mut self.phase, Phase::Probing(Probing::after(self.probes)));
        self.replacement = None;
        let set = [
            Timer::Resend,
            Timer::PrepareTimeout,
            Timer::Heartbeat,
            Timer::Heal,
            Timer::Check,
            Timer::Thrifty,
        ];
        set.into_iter().for_each(|timer| effects.cancel_timer(timer));
        if let Phase::Leading(mut leading) = old {
            self.leader_alive = self.highest_ballot > leading.ballot;
            let reason = NotTaken::NotLeader { leader: self.leader() };
            for (from, tag) in leading.pipeline.refuse_waiting() {
                refuse(from, tag, reason, effects);
            }
        }
        self.probe(effects);
    }

    fn on_accepted(&mut self, from: AcceptorId, accepted: &Accepted) {
        match &mut self.phase {
            Phase::Leading(leading)
                if leading.ballot == accepted.ballot || synod_planted::is(Bug::AcksOfTwoBallotsMixed) =>
            {
                leading.on_accepted(from, accepted, &self.config.quorums, &self.config.tuning);
                if let Some(known) = leading.reached(from, accepted.disk) {
                    let raised = self.incarnations.raised_by(known);
                    self.incarnations.merge(&raised);
                }
            }
            Phase::Probing(_) | Phase::Preparing(_) | Phase::Leading(_) => {
                ignore_stale(from, "votes of another ballot (S6: they never count)");
            }
        }
    }

    fn on_fetched(&mut self, from: AcceptorId, fetched: Fetched) {
        match &mut self.phase {
            Phase::Leading(leading) => {
                if synod_planted::is(Bug::ChosenPrefixFromHearsay) {
                    leading.pipeline.believe(fetched.held);
                }
                leading.healing.take_fetched(from, fetched);
            }
            Phase::Probing(_) | Phase::Preparing(_) => {
                ignore_stale(from, "values fetched for an earlier lead")
            }
        }
    }

    fn on_check(&mut self, effects: &mut Out) {
        let heard = self.is_heard();
        let Phase::Leading(leading) = &mut self.phase else { return };
        effects.set_timer(Timer::Check, Delay::exactly(self.config.tuning.election_timeout_ms));
        match leading.check(heard, &self.config.quorums) {
            Ok(()) => {}
            Err(unfit @ (Unfit::NoQuorum | Unfit::NoLearner)) => {
                warn!(ballot = %leading.ballot, chosen = %leading.pipeline.chosen(), ?unfit, "steps down");
                self.step_down(effects);
            }
        }
    }

    fn on_heal(&mut self, effects: &mut Out) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        effects.set_timer(Timer::Heal, Delay::exactly(self.config.tuning.heal_ms));
        if synod_planted::is(Bug::HealingForgotten) {
            return;
        }
        if leading.heal(&self.config.quorums, &self.config.tuning, effects) {
            warn!(ballot = %leading.ballot, "a chosen value is held by no acceptor that answers: prepares again");
            self.step_down(effects);
            self.prepare(effects);
        }
    }
}

fn ignore_stale(from: AcceptorId, what: &str) {
    debug!(%from, what, "ignored");
}

impl Role for Proposer {
    type Message = ToProposer;
    type Record = Never;
    type Timer = Timer;

    fn on_start(&mut self, effects: &mut Out) {
        effects.set_timer(Timer::Probe, Delay::between(1, self.config.tuning.probe_ms));
    }

    fn on_message(
        &mut self,
        from: NodeId,
        message: ToProposer,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        match (message, from) {
            (ToProposer::Promise(promise), NodeId::Acceptor(from)) => self.on_promise(from, promise, effects),
            (ToProposer::Nack { ballot, promised }, NodeId::Acceptor(from)) => {
                self.on_nack(from, ballot, promised, effects);
            }
            (ToProposer::Accepted(accepted), NodeId::Acceptor(from)) => self.on_accepted(from, &accepted),
            (ToProposer::ProbeReply { probe, promised, silent }, NodeId::Acceptor(from)) => {
                self.on_probe_reply(from, probe, promised, silent, effects);
            }
            (ToProposer::Fetched(fetched), NodeId::Acceptor(from)) => self.on_fetched(from, fetched),
            (ToProposer::Propose(propose), NodeId::Client(_) | NodeId::Learner(_)) => {
                self.on_propose(from, &propose, effects);
            }
            (ToProposer::Subscribe(subscribe), NodeId::Learner(from)) => {
                self.on_subscribe(from, subscribe, effects);
            }
            (ToProposer::Settle { slot }, NodeId::Learner(_)) => self.on_settle(slot),
            (ToProposer::Admitted(admitted), NodeId::Acceptor(from)) => self.on_admitted(from, admitted),
            (ToProposer::Readmit { request, acceptor, disk }, NodeId::Client(from)) => {
                self.on_readmit(from, request, Replacement { acceptor, disk }, effects);
            }
            (ToProposer::Status { request }, NodeId::Client(from)) => self.on_status(from, request, effects),
            (
                ToProposer::Promise(_)
                | ToProposer::Nack { .. }
                | ToProposer::Accepted(_)
                | ToProposer::ProbeReply { .. }
                | ToProposer::Fetched(_)
                | ToProposer::Propose(_)
                | ToProposer::Subscribe(_)
                | ToProposer::Settle { .. }
                | ToProposer::Admitted(_)
                | ToProposer::Readmit { .. }
                | ToProposer::Status { .. },
                from,
            ) => return Err(Misdirected::new(from, "another role sends this message")),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, effects: &mut Out) {
        match timer {
            Timer::Probe => self.probe(effects),
            Timer::Stand => self.confirm(effects),
            Timer::Resend => match &mut self.phase {
                Phase::Probing(_) => {}
                Phase::Preparing(_) => self.ask_for_promises(effects),
                Phase::Leading(leading) => {
                    if !synod_planted::is(Bug::ResendForgotten) {
                        leading.resend(&self.config.quorums, effects);
                    }
                    effects.set_timer(Timer::Resend, Delay::exactly(self.config.tuning.resend_ms));
                }
            },
            Timer::PrepareTimeout => {
                if let Phase::Preparing(preparing) = &self.phase {
                    info!(ballot = %preparing.ballot, "no quorum promises: gives up");
                    self.step_down(effects);
                }
            }
            Timer::Heartbeat => self.heartbeat(effects),
            Timer::Heal => self.on_heal(effects),
            Timer::Check => self.on_check(effects),
            Timer::Thrifty => {
                if let Phase::Leading(leading) = &mut self.phase {
                    leading.on_thrifty(&self.subscribers, effects);
                }
            }
        }
    }

    fn on_link(&mut self, peer: NodeId, up: bool, effects: &mut Out) {
        match (peer, up) {
            (NodeId::Learner(learner), false) => {
                self.subscribers.remove(learner);
                self.reports.unpin(learner);
            }
            (NodeId::Acceptor(acceptor), up) => match &mut self.phase {
                Phase::Probing(_) => {}
                Phase::Preparing(preparing) => {
                    if let Some(after) = preparing.wanted(acceptor).filter(|_| up) {
                        effects.send(acceptor, ToAcceptor::Prepare { ballot: preparing.ballot, after });
                    }
                }
                Phase::Leading(leading) => {
                    leading.on_link(acceptor, up, effects);
                }
            },
            (NodeId::Learner(_), true) | (NodeId::Proposer(_) | NodeId::Client(_), _) => {}
        }
    }

    fn end_of_batch(&mut self, effects: &mut Out) {
        if let Phase::Leading(leading) = &mut self.phase {
            leading.send_ready(&mut self.subscribers, &self.config.quorums, &self.config.tuning, effects);
        }
    }

    fn standing(&self) -> Standing {
        Standing::default()
    }

    fn incarnations(&self) -> Option<&Incarnations> {
        Some(&self.incarnations)
    }
}

#[cfg(test)]
mod tests;
