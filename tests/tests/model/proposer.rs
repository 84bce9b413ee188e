//! A proposer with its timers. What leads it to Phase 1 is one step: its own timers fire until it gives up what it does, and every
//! acceptor calls the leader silent, twice. That is always possible (each of these may happen at any time), and probing tells it
//! nothing else but rounds, which here it hears of by refusals; so nothing is lost by doing it at once.

use std::collections::{BTreeMap, BTreeSet};

use synod_proposer::{Proposer, Timer};
use synod_protocol::message::{
    Admit, FormStep, Message, PhaseName, Propose, ProposerStatus, Readmission, Status, Subscribe, ToAcceptor,
    ToClient, ToLearner, ToProposer, Wants,
};
use synod_protocol::role::{Effects, Never, NothingToPersist, Role, TimerOrder};
use synod_protocol::{AcceptorId, Ballot, Incarnation, LearnerId, NodeId, ProposerId, Slot, SlotRange};

use crate::step::{Cell, Fact, Outcome, Witness};
use crate::world::{ANY, CLIENT, Config, LISTENER, Origin, Start, value_of};

type Out = Effects<Never, Timer>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProposerCell {
    id: ProposerId,
    pub(crate) role: Proposer,
    pub(crate) timers: BTreeSet<Timer>,
    /// Which life it is in, from 1.
    life: u64,
    /// Phase 1s begun in all lives.
    stood: u8,
    /// The last probe it sent.
    probe: u64,
    /// How often each bounded timer has fired.
    fired: BTreeMap<Timer, u8>,
    /// The ballot that it leads, and how many values it was offered in it.
    offered: (Ballot, u8),
}

impl ProposerCell {
    pub(crate) fn new(config: &Config, id: ProposerId, life: u64, stood: u8) -> ProposerCell {
        let mut cell = ProposerCell {
            id,
            role: Proposer::new(config.proposer(id, life)),
            timers: BTreeSet::new(),
            life,
            stood,
            probe: 0,
            fired: BTreeMap::new(),
            offered: (Ballot::NONE, 0),
        };
        let mut effects = Out::default();
        cell.role.on_start(&mut effects);
        for learner in listeners(config) {
            let subscribe = ToProposer::Subscribe(Subscribe {
                next: Slot::FIRST,
                synced: Slot::ZERO,
                pinned: None,
                wants: Wants::AtOnce,
            });
            cell.role.on_message(learner.into(), subscribe, &mut effects).expect("learners subscribe");
        }
        cell.take(effects);
        cell
    }

    /// Phase, ballot and prefix, as the role tells them.
    pub(crate) fn status(&self) -> ProposerStatus {
        let mut effects = Out::default();
        let ask = ToProposer::Status { request: 0 };
        self.role.clone().on_message(CLIENT.into(), ask, &mut effects).expect("clients ask");
        let Ok(released) = effects.release(&mut NothingToPersist);
        let [(_, Message::Client(ToClient::Status { status: Status::Proposer(status), .. }))] =
            released.messages.as_slice()
        else {
            panic!("a status is one message: {:?}", released.messages);
        };
        status.clone()
    }

    /// Ends a batch of events: sets its timers, gives out its messages.
    fn take(&mut self, mut effects: Out) -> Vec<(NodeId, Message)> {
        self.role.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut NothingToPersist);
        for order in released.timers {
            match order {
                TimerOrder::Set(timer, _) => self.timers.insert(timer),
                TimerOrder::Cancel(timer) => self.timers.remove(&timer),
            };
        }
        for (_, message) in &released.messages {
            if let Message::Acceptor(ToAcceptor::Probe { probe }) = message {
                self.probe = *probe;
            }
        }
        released.messages
    }

    fn on_timer(&mut self, timer: Timer, sends: &mut Vec<(NodeId, Message)>) {
        let mut effects = Out::default();
        self.timers.remove(&timer);
        self.role.on_timer(timer, &mut effects);
        sends.extend(self.take(effects));
    }

    fn outcome(mut self, sends: Vec<(NodeId, Message)>) -> Outcome {
        let status = self.status();
        if status.phase != PhaseName::Leading || status.ballot != self.offered.0 {
            let leads = status.phase == PhaseName::Leading;
            self.offered = (if leads { status.ballot } else { Ballot::NONE }, 0);
        }
        let id = self.id;
        let mut outcome = Outcome::new(Cell::Proposer(Box::new(self)));
        for (to, message) in sends {
            note(id, &message, &mut outcome);
            outcome.sends.push((to, message));
        }
        outcome
    }

    pub(crate) fn deliver(mut self, config: &Config, from: NodeId, message: ToProposer) -> Outcome {
        let before = self.status();
        let granted = self.granted(config);
        let fetched = matches!(&message, ToProposer::Fetched(fetched) if !fetched.values.is_empty());
        let mut effects = Out::default();
        self.role.on_message(from, message, &mut effects).expect("roles send only what is theirs");
        let mut sends = self.take(effects);
        let after = self.status();
        if granted.is_none() {
            sends.extend(self.granted(config));
        }
        let restarted = self.life > 1;
        let mut outcome = self.outcome(sends);
        match (before.phase, after.phase) {
            (PhaseName::Leading, PhaseName::Probing) => outcome.witness(Witness::NackedLeaderStepsDown),
            (PhaseName::Preparing, PhaseName::Leading) if restarted => {
                outcome.witness(Witness::RestartedProposerLeads);
            }
            (PhaseName::Probing | PhaseName::Preparing | PhaseName::Leading, _) => {}
        }
        if fetched && after.phase == PhaseName::Leading {
            outcome.witness(Witness::ValueFetched);
        }
        outcome
    }

    /// A timer fires, if it is set and may fire (again).
    pub(crate) fn fire(mut self, config: &Config, timer: Timer) -> Option<Outcome> {
        let most = config.fires(self.id, timer);
        let fired = self.fired.get(&timer).copied().unwrap_or_default();
        if !self.timers.contains(&timer) || fired >= most {
            return None;
        }
        if most < ANY {
            self.fired.insert(timer, fired + 1);
        }
        let (mut sends, before) = (Vec::new(), self.status().phase);
        self.on_timer(timer, &mut sends);
        let prepares_again = before == PhaseName::Leading && self.status().phase == PhaseName::Preparing;
        if prepares_again {
            if !self.may_stand(config) {
                return None;
            }
            self.stood += 1;
        }
        let again = timer == Timer::Resend && !sends.is_empty();
        let spared = timer == Timer::Thrifty && !sends.is_empty();
        let mut outcome = self.outcome(sends);
        if again {
            outcome.witness(Witness::SentAgain);
        }
        if spared {
            outcome.witness(Witness::SparesAsked);
        }
        if prepares_again {
            outcome.witness(Witness::PreparedAgain);
        }
        Some(outcome)
    }

    /// The admin command asks the leader to readmit the disk that waits; nothing unless that begins a ballot.
    pub(crate) fn readmit(mut self, config: &Config) -> Option<Outcome> {
        if self.status().phase != PhaseName::Leading || !self.may_stand(config) {
            return None;
        }
        let ballot = self.status().ballot;
        let (sends, _) = self.ask_to_readmit(config)?;
        if self.status().ballot == ballot {
            return None;
        }
        self.stood += 1;
        Some(self.outcome(sends))
    }

    fn ask_to_readmit(&mut self, config: &Config) -> Option<(Vec<(NodeId, Message)>, Readmission)> {
        let (acceptor, disk) = config.replacement()?;
        let ask = ToProposer::Readmit { request: 0, acceptor, disk };
        let mut effects = Out::default();
        self.role.on_message(CLIENT.into(), ask, &mut effects).expect("the admin command asks");
        let mut sends = self.take(effects);
        let answer = sends.iter().position(|(to, _)| *to == NodeId::from(CLIENT)).expect("it is answered");
        let (_, Message::Client(ToClient::Readmission { readmission, .. })) = sends.remove(answer) else {
            panic!("the answer is how far it is")
        };
        Some((sends, readmission))
    }

    /// What the admin command carries to the disk that waits, once the leader grants it. Asking changes nothing then.
    fn granted(&self, config: &Config) -> Option<(NodeId, Message)> {
        if config.replacement().is_none() || self.status().phase != PhaseName::Leading {
            return None;
        }
        let (_, readmission) = self.clone().ask_to_readmit(config)?;
        let Readmission::Granted(admission) = readmission else { return None };
        let to = NodeId::from(admission.admit.acceptor);
        Some((to, Message::Acceptor(ToAcceptor::Form { request: 0, step: FormStep::Enter(admission) })))
    }

    /// It hears of a ballot.
    pub(crate) fn heard(mut self, promised: Ballot) -> ProposerCell {
        let mut effects = Out::default();
        let reply = ToProposer::ProbeReply { probe: self.probe, promised, silent: false };
        let from = AcceptorId(1).into();
        self.role.on_message(from, reply, &mut effects).expect("acceptors answer");
        self.take(effects);
        self
    }

    fn may_stand(&self, config: &Config) -> bool {
        self.stood < config.ballots[usize::from(self.id.0) - 1]
    }

    /// Begins Phase 1, whatever it does; nothing if it did so often enough.
    pub(crate) fn stand(mut self, config: &Config) -> Option<Outcome> {
        if !self.may_stand(config) {
            return None;
        }
        self.stood += 1;
        let mut sends = Vec::new();
        self.give_up(&mut sends);
        if self.probe == 0 {
            self.on_timer(Timer::Probe, &mut sends);
        }
        for step in 0..2 {
            for acceptor in config.quorums().acceptors() {
                if self.status().phase == PhaseName::Probing {
                    let (probe, promised) = (self.probe, Ballot::NONE);
                    let reply = ToProposer::ProbeReply { probe, promised, silent: true };
                    let mut effects = Out::default();
                    self.role.on_message(acceptor.into(), reply, &mut effects).expect("acceptors answer");
                    sends.extend(self.take(effects));
                }
            }
            if step == 0 && self.timers.contains(&Timer::Stand) {
                self.on_timer(Timer::Stand, &mut sends);
            }
        }
        let phase = self.status().phase;
        assert!(phase == PhaseName::Preparing, "a proposer that may stand is {phase:?}");
        Some(self.outcome(sends))
    }

    /// Its timers fire until it neither prepares nor leads.
    fn give_up(&mut self, sends: &mut Vec<(NodeId, Message)>) {
        // Two checks without an answer between them end a lead; one timeout ends a Phase 1.
        for _ in 0..2 {
            match self.status().phase {
                PhaseName::Probing => {}
                PhaseName::Preparing => self.on_timer(Timer::PrepareTimeout, sends),
                PhaseName::Leading => self.on_timer(Timer::Check, sends),
            }
        }
    }

    pub(crate) fn step_down(mut self) -> Outcome {
        let mut sends = Vec::new();
        self.give_up(&mut sends);
        self.outcome(sends)
    }

    /// The ballot it prepares or leads with, and whether it leads.
    pub(crate) fn ballot(&self) -> Option<(Ballot, bool)> {
        let status = self.status();
        match status.phase {
            PhaseName::Probing => None,
            PhaseName::Preparing => Some((status.ballot, false)),
            PhaseName::Leading => Some((status.ballot, true)),
        }
    }

    /// A client offers a fresh value to the leader; nothing if it doesn't lead or was offered enough.
    pub(crate) fn offer(mut self, config: &Config) -> Option<Outcome> {
        let (ballot, number) = self.offered;
        let quiet = matches!(config.start, Start::Heard | Start::Readmitted) && ballot.round == 1;
        if ballot.is_none() || number >= config.offers || quiet {
            return None;
        }
        self.offered.1 += 1;
        let commands = value_of(Origin { proposer: self.id.0, lead: self.stood, number });
        let propose = ToProposer::Propose(Propose { tag: 0, commands });
        let mut effects = Out::default();
        self.role.on_message(CLIENT.into(), propose, &mut effects).expect("clients propose");
        let sends = self.take(effects);
        let tail = AcceptorId(config.acceptors).into();
        let promoted = sends.len() < usize::from(config.acceptors) && sends.iter().any(|(to, _)| *to == tail);
        let mut outcome = self.outcome(sends);
        if promoted {
            outcome.witness(Witness::SpareAskedAtOnce);
        }
        Some(outcome)
    }

    /// The process dies and starts again; nothing if it did so often enough.
    pub(crate) fn restart(self, config: &Config) -> Option<Outcome> {
        (self.life <= u64::from(config.restarts)).then(|| {
            Outcome::new(Cell::Proposer(Box::new(ProposerCell::new(
                config,
                self.id,
                self.life + 1,
                self.stood,
            ))))
        })
    }

    /// Whether the message will never again change what this proposer shows: its ballot's Phase 1, or lead, is over for good
    /// (S5); or it tells of no higher round; or of no vote that isn't counted. A refusal alone ends a lead, which
    /// enables nothing; and what acceptors hold matters only to healing.
    pub(crate) fn is_spent(&self, config: &Config, from: NodeId, message: &ToProposer) -> bool {
        let status = self.status();
        let (preparing, leading) = match status.phase {
            PhaseName::Probing => (None, None),
            PhaseName::Preparing => (Some(status.ballot), None),
            PhaseName::Leading => (None, Some(status.ballot)),
        };
        let heals = config.heals();
        let over = match message {
            ToProposer::Promise(promise) => preparing != Some(promise.ballot),
            ToProposer::Accepted(accepted) => {
                let counted = |range: &SlotRange| range.last <= status.chosen;
                let tells_floor = accepted.floor > status.floor;
                let matters = heals || tells_floor || config.replacement().is_some();
                let nothing_new = !matters && accepted.slots.iter().all(counted);
                if leading == Some(accepted.ballot) && nothing_new {
                    return true;
                }
                ![preparing, leading].contains(&Some(accepted.ballot))
            }
            ToProposer::Admitted(admitted) => ![preparing, leading].contains(&Some(admitted.admit.ballot)),
            ToProposer::Nack { promised, .. } => {
                return promised.round <= status.ballot.round || !self.may_stand(config);
            }
            ToProposer::ProbeReply { .. }
            | ToProposer::Fetched(_)
            | ToProposer::Propose(_)
            | ToProposer::Subscribe(_)
            | ToProposer::Settle { .. }
            | ToProposer::Readmit { .. }
            | ToProposer::Status { .. } => false,
        };
        over && {
            let (mut role, mut effects) = (self.role.clone(), Out::default());
            role.on_message(from, message.clone(), &mut effects).expect("roles send only what is theirs");
            role == self.role && effects.is_empty()
        }
    }
}

/// Learners that leaders stream to.
fn listeners(config: &Config) -> Vec<LearnerId> {
    let learners: Vec<_> = (1..=config.learners).map(LearnerId).collect();
    if learners.is_empty() { vec![LISTENER] } else { learners }
}

/// What a proposer's message says of the world.
fn note(id: ProposerId, message: &Message, outcome: &mut Outcome) {
    let who = NodeId::from(id);
    match message {
        Message::Acceptor(ToAcceptor::Accept(accept)) => {
            outcome.facts.push(Fact::CalledPrefix { who, slot: accept.chosen });
            for entry in &accept.entries {
                let (slot, value) = (entry.slot, entry.value.clone());
                outcome.facts.push(Fact::Asked { slot, ballot: accept.ballot, value });
            }
        }
        Message::Acceptor(ToAcceptor::Admit(Admit { ballot, acceptor, disk })) => {
            let row = Incarnation::new(*ballot, *disk);
            let fact = Fact::Admits { acceptor: *acceptor, row };
            if !outcome.facts.contains(&fact) {
                outcome.facts.push(fact);
            }
        }
        Message::Learner(ToLearner::Chosen(chosen)) => {
            outcome.facts.push(Fact::CalledPrefix { who, slot: chosen.prefix });
            for (offset, value) in (0..).zip(&chosen.values) {
                let slot = chosen.first.plus(offset);
                outcome.facts.push(Fact::CalledChosen { who, slot, value: value.clone() });
            }
        }
        Message::Acceptor(_) | Message::Learner(_) | Message::Proposer(_) | Message::Client(_) => {}
    }
}
