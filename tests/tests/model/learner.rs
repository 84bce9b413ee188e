//! A learner with its timers; every link it could have is up.

use std::collections::BTreeSet;

use synod_learner::{Learner, Timer};
use synod_protocol::command::SessionId;
use synod_protocol::message::{
    Attach, Consistency, Message, Read, ReadOutcome, ReadReply, ToAcceptor, ToClient, ToLearner, ToProposer,
};
use synod_protocol::role::{Effects, Never, NothingToPersist, Role, TimerOrder};
use synod_protocol::{AcceptorId, LearnerId, NodeId, ProposerId, Slot};
use synod_store::MemoryStorage;

use crate::step::{Cell, Fact, Outcome, Rule, Witness};
use crate::world::{CLIENT, Config, KEY};

type Out = Effects<Never, Timer>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LearnerCell {
    id: LearnerId,
    role: Learner,
    timers: BTreeSet<Timer>,
    /// Which life it is in, from 1.
    life: u64,
    /// Reads begun here in this life.
    reads: u64,
    /// Whether it ever asked to settle a slot.
    settles: bool,
}

impl LearnerCell {
    pub(crate) fn new(config: &Config, id: LearnerId, life: u64) -> (LearnerCell, Vec<(NodeId, Message)>) {
        // Lives lie far apart, as those drawn at random do.
        let role = Learner::new(config.learner(id, life * 1000), MemoryStorage::default());
        let mut cell = LearnerCell { id, role, timers: BTreeSet::new(), life, reads: 0, settles: false };
        let mut effects = Out::default();
        cell.role.on_start(&mut effects);
        let acceptors = (1..=config.acceptors).map(|id| NodeId::from(AcceptorId(id)));
        let proposers = (1..=config.proposers).map(|id| NodeId::from(ProposerId(id)));
        let peers = (1..=config.learners).map(|id| NodeId::from(LearnerId(id)));
        for peer in acceptors.chain(proposers).chain(peers.filter(|peer| *peer != NodeId::from(id))) {
            cell.role.on_link(peer, true, &mut effects);
        }
        // The client waits here for the replies to what the first value's session does.
        let session = SessionId { slot: Slot::FIRST, position: 0 };
        let attach = Attach::Session { session, pending: Vec::new() };
        cell.role.on_message(CLIENT.into(), ToLearner::Attach(attach), &mut effects).expect("clients attach");
        let sends = cell.take(effects);
        (cell, sends)
    }

    fn take(&mut self, mut effects: Out) -> Vec<(NodeId, Message)> {
        self.role.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut NothingToPersist);
        for order in released.timers {
            match order {
                TimerOrder::Set(timer, _) => self.timers.insert(timer),
                TimerOrder::Cancel(timer) => self.timers.remove(&timer),
            };
        }
        released.messages
    }

    fn outcome(mut self, before: Slot, sends: Vec<(NodeId, Message)>) -> Outcome {
        self.settles |= sends.iter().any(|(_, message)| is_settle(message));
        let who = NodeId::from(self.id);
        let (applied, chain) = (self.role.machine().applied(), self.role.machine().chain());
        let settles = self.settles;
        let mut outcome = Outcome::new(Cell::Learner(Box::new(self)));
        if applied != before {
            outcome.facts.push(Fact::Applied { who, slot: applied, chain });
        }
        for (to, message) in sends {
            note(who, settles, &message, &mut outcome);
            outcome.sends.push((to, message));
        }
        outcome
    }

    pub(crate) fn deliver(mut self, from: NodeId, message: ToLearner) -> Outcome {
        let fetched = matches!(&message, ToLearner::Fetched(_));
        let applied = self.role.machine().applied();
        let mut effects = Out::default();
        let taken = self.role.on_message(from, message, &mut effects);
        let sends = self.take(effects);
        let caught_up = fetched && self.role.machine().applied() > applied;
        let mut outcome = self.outcome(applied, sends);
        if caught_up {
            outcome.witness(Witness::LearnerCaughtUp);
        }
        if let Err(misdirected) = taken {
            outcome.fail(Rule::I6, || misdirected.to_string());
        }
        outcome
    }

    pub(crate) fn fire(mut self, timer: Timer) -> Option<Outcome> {
        if !self.timers.remove(&timer) {
            return None;
        }
        let applied = self.role.machine().applied();
        let mut effects = Out::default();
        self.role.on_timer(timer, &mut effects);
        let sends = self.take(effects);
        Some(self.outcome(applied, sends))
    }

    /// The client asks it to read.
    pub(crate) fn read(mut self) -> Outcome {
        self.reads += 1;
        let id = self.read_id(self.reads);
        let read = Read { id, key: KEY, consistency: Consistency::Linearizable };
        let mut effects = Out::default();
        self.role
            .on_message(CLIENT.into(), ToLearner::Read([read].into_iter().collect()), &mut effects)
            .expect("clients read");
        let sends = self.take(effects);
        let applied = self.role.machine().applied();
        let mut outcome = self.outcome(applied, sends);
        outcome.facts.insert(0, Fact::ReadBegan { id });
        outcome
    }

    /// Whether the learner will never heed the message again: it tells of slots and leaders that it knows, or answers a round that is
    /// over; what it knows only grows, and rounds are never counted twice (S10).
    pub(crate) fn is_spent(&self, from: NodeId, message: &ToLearner) -> bool {
        let known = match message {
            ToLearner::Chosen(_) | ToLearner::QuorumReadReply { .. } => true,
            ToLearner::Fetched(_)
            | ToLearner::Refused { .. }
            | ToLearner::Fetch(_)
            | ToLearner::SnapshotFetch(_)
            | ToLearner::SnapshotChunk(_)
            | ToLearner::NoSnapshot(_)
            | ToLearner::Chains(_)
            | ToLearner::Attach(_)
            | ToLearner::Read(_)
            | ToLearner::Forward(_)
            | ToLearner::Status { .. } => false,
        };
        known && {
            let (mut role, mut effects) = (self.role.clone(), Out::default());
            let taken = role.on_message(from, message.clone(), &mut effects);
            taken.is_ok() && role == self.role && effects.is_empty()
        }
    }

    fn read_id(&self, number: u64) -> u64 {
        u64::from(self.id.0) * 100 + self.life * 10 + number
    }

    pub(crate) fn restart(self, config: &Config) -> Option<Outcome> {
        (self.life <= u64::from(config.learner_restarts)).then(|| {
            let (cell, sends) = LearnerCell::new(config, self.id, self.life + 1);
            cell.outcome(Slot::ZERO, sends)
        })
    }
}

fn is_settle(message: &Message) -> bool {
    matches!(message, Message::Proposer(ToProposer::Settle { .. }))
}

/// What a learner's message says of the world.
fn note(who: NodeId, settles: bool, message: &Message, outcome: &mut Outcome) {
    match message {
        Message::Client(ToClient::Replies(replies)) => {
            outcome.facts.extend(replies.iter().map(|reply| Fact::Replied { slot: reply.slot }));
        }
        Message::Client(ToClient::ReadReplies(replies)) => {
            for ReadReply { id, slot, outcome: read } in replies.iter() {
                let ReadOutcome::Value(record) = read else { continue };
                let value = record.map(|record| record.value);
                outcome.witness(Witness::ReadAnswered);
                if settles {
                    outcome.witness(Witness::ReadAfterSettle);
                }
                outcome.facts.push(Fact::ReadAnswered { id, slot, value });
            }
        }
        Message::Learner(ToLearner::Fetched(fetched)) => {
            outcome.facts.push(Fact::CalledPrefix { who, slot: fetched.held });
            for (offset, value) in (0..).zip(&fetched.values) {
                let slot = fetched.first.plus(offset);
                outcome.facts.push(Fact::CalledChosen { who, slot, value: value.clone() });
            }
        }
        Message::Acceptor(
            ToAcceptor::Prepare { .. }
            | ToAcceptor::Accept(_)
            | ToAcceptor::Probe { .. }
            | ToAcceptor::QuorumRead { .. }
            | ToAcceptor::Fetch(_)
            | ToAcceptor::Admit(_)
            | ToAcceptor::Reached { .. }
            | ToAcceptor::Form { .. }
            | ToAcceptor::Status { .. },
        )
        | Message::Proposer(_)
        | Message::Learner(_)
        | Message::Client(_) => {}
    }
}
