//! What one configuration consists of and how far it goes, and the names that the other modules share.

use std::collections::BTreeSet;

use synod_acceptor::Durable;
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{BatchBuilder, Call, Command, Operation, SessionId};
use synod_protocol::message::Message;
use synod_protocol::tuning::Tuning;
use synod_protocol::{AcceptorId, ClientId, LearnerId, NodeId, ProposerId, QuorumSystem, Slot, Value};

/// Nodes of a configuration, at most.
pub(crate) const NODES: usize = 7;
/// No bound on how often a timer fires: firing again changes nothing.
pub(crate) const ANY: u8 = u8::MAX;
/// The key that every value offered sets.
pub(crate) const KEY: &[u8] = b"k";
/// The one client; it offers values and reads.
pub(crate) const CLIENT: ClientId = ClientId(1);
/// A learner without a node of its own: leaders need one that listens.
pub(crate) const LISTENER: LearnerId = LearnerId(9);

/// A bounded world. Everything in it that isn't bounded here is finite by itself.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) acceptors: u16,
    pub(crate) phase1: usize,
    pub(crate) phase2: usize,
    pub(crate) proposers: u16,
    pub(crate) learners: u16,
    /// Phase 1s that each proposer begins, all its lives together.
    pub(crate) ballots: &'static [u8],
    /// Highest slot.
    pub(crate) slots: u64,
    /// Fresh values that each leadership is offered.
    pub(crate) offers: u8,
    /// Messages that an acceptor may absorb before a sync; 0 makes absorbing and what follows it one step.
    pub(crate) batch: u8,
    /// Acceptor crashes; nothing where any number of them is explored.
    pub(crate) crashes: Option<u8>,
    /// Restarts of each proposer.
    pub(crate) restarts: u8,
    /// Timers that fire beside those that lead to Phase 1: whose, which, how often ([`ANY`]: at will).
    pub(crate) timers: &'static [(u16, synod_proposer::Timer, u8)],
    /// Learners' timers that fire, at will.
    pub(crate) learner_timers: &'static [synod_learner::Timer],
    /// Whether the learner that leaders stream to syncs whatever it is told is chosen, and reports so to every proposer.
    pub(crate) reports: bool,
    /// How many learners are configured; the one that listens is one of them.
    pub(crate) configured: u16,
    /// Reads, all together.
    pub(crate) reads: u8,
    /// Restarts of each learner.
    pub(crate) learner_restarts: u8,
    pub(crate) tuning: Tuning,
    /// Whether states that differ by acceptors' names alone are one.
    pub(crate) symmetry: bool,
    /// Whether receipts that show nothing are put off.
    pub(crate) lazy: bool,
    /// Whether messages that no role will ever heed again are dropped from the state.
    pub(crate) forget: bool,
    /// Leaderships, one after the other, that are over before the exploration begins.
    pub(crate) start: Start,
    /// Whether disks and chosen values of every state are collected.
    pub(crate) collect: bool,
    pub(crate) bug: Option<Bug>,
}

/// Where the exploration begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing has happened.
    Fresh,
    /// p1 leads, every acceptor has promised and nothing was offered.
    Led,
    /// p1 leads; slot 1 is chosen, and a2 knows it and has voted for slots 2 and 3.
    Filled,
    /// a3 alone voted for a value of p1's; then p2 led without a3, and another value was chosen for slot 1.
    Overruled,
}

impl Config {
    /// Two proposers and three acceptors, majorities, two ballots, one slot; no faults but the network's and crashes.
    pub(crate) fn small() -> Config {
        Config {
            acceptors: 3,
            phase1: 2,
            phase2: 2,
            proposers: 2,
            learners: 0,
            ballots: &[1, 1],
            slots: 1,
            offers: 1,
            batch: 0,
            crashes: None,
            restarts: 0,
            timers: &[],
            learner_timers: &[],
            reports: false,
            configured: 1,
            reads: 0,
            learner_restarts: 0,
            tuning: Tuning { batch_commands: 1 << 10, ..Tuning::default() },
            symmetry: false,
            lazy: false,
            forget: false,
            start: Start::Fresh,
            collect: false,
            bug: None,
        }
    }

    pub(crate) fn quorums(&self) -> QuorumSystem {
        QuorumSystem::flexible((1..=self.acceptors).map(AcceptorId), self.phase1, self.phase2).unwrap()
    }

    /// How often a proposer's timer may fire.
    pub(crate) fn fires(&self, id: ProposerId, timer: synod_proposer::Timer) -> u8 {
        let found = self.timers.iter().find(|(whose, which, _)| *whose == id.0 && *which == timer);
        found.map_or(0, |(_, _, most)| *most)
    }

    /// Whether leaders heal.
    pub(crate) fn heals(&self) -> bool {
        self.timers.iter().any(|(_, timer, _)| *timer == synod_proposer::Timer::Heal)
    }

    /// Whether a promise always comes in one chunk.
    pub(crate) fn is_unchunked(&self) -> bool {
        self.tuning.chunk_bytes >= Tuning::default().chunk_bytes
    }

    pub(crate) fn nodes(&self) -> usize {
        usize::from(self.acceptors + self.proposers + self.learners)
    }

    /// The place of a node in the state, if the configuration has it.
    pub(crate) fn place(&self, node: NodeId) -> Option<u8> {
        let (place, first, count) = match node {
            NodeId::Acceptor(AcceptorId(id)) => (id, 0, self.acceptors),
            NodeId::Proposer(ProposerId(id)) => (id, self.acceptors, self.proposers),
            NodeId::Learner(LearnerId(id)) => (id, self.acceptors + self.proposers, self.learners),
            NodeId::Client(_) => return None,
        };
        (1..=count).contains(&place).then(|| u8::try_from(first + place - 1).unwrap())
    }

    pub(crate) fn node(&self, place: usize) -> NodeId {
        let place = u16::try_from(place).unwrap() + 1;
        if place <= self.acceptors {
            AcceptorId(place).into()
        } else if place <= self.acceptors + self.proposers {
            ProposerId(place - self.acceptors).into()
        } else {
            LearnerId(place - self.acceptors - self.proposers).into()
        }
    }

    /// An acceptor's disk after formation.
    pub(crate) fn formed(&self, id: AcceptorId) -> Durable {
        let disk = |id: AcceptorId| synod_protocol::DiskId(u64::from(id.0));
        let disks: Vec<_> = (1..=self.acceptors).map(AcceptorId).map(|id| (id, disk(id))).collect();
        let cluster = synod_protocol::Cluster::id_of(1, 1, &disks);
        let mut durable = Durable::empty(id);
        durable.apply(&synod_acceptor::Record::Prepared { formation: 1, disk: disk(id) });
        durable.apply(&synod_acceptor::Record::Opened { disks, cluster });
        durable
    }

    pub(crate) fn acceptor(&self, id: AcceptorId) -> synod_acceptor::Config {
        synod_acceptor::Config {
            id,
            acceptors: (1..=self.acceptors).map(AcceptorId).collect(),
            parameters: 1,
            election_timeout_ms: self.tuning.election_timeout_ms,
            chunk_bytes: self.tuning.chunk_bytes,
            cache_bytes: u64::MAX,
        }
    }

    pub(crate) fn proposer(&self, id: ProposerId, life: u64) -> synod_proposer::Config {
        synod_proposer::Config {
            id,
            life,
            quorums: self.quorums(),
            learners: (0..self.configured).map(|more| LearnerId(LISTENER.0 + more)).collect(),
            tuning: self.tuning.clone(),
        }
    }

    pub(crate) fn learner(&self, id: LearnerId, life: u64) -> synod_learner::Config {
        let peers: BTreeSet<_> = (1..=self.learners).map(LearnerId).filter(|peer| *peer != id).collect();
        synod_learner::Config {
            id,
            life,
            quorums: self.quorums(),
            proposers: (1..=self.proposers).map(ProposerId).collect(),
            peers,
            limits: Limits::default(),
            tuning: self.tuning.clone(),
        }
    }
}

/// What an exploration shows: the disks of the acceptors, and what is chosen.
pub(crate) type Shown = (Vec<Durable>, Vec<(Slot, Value)>);

/// A message with its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

/// Where a value comes from: it is the `number`th that was offered in the `lead`th Phase 1 that `proposer` began, whatever its
/// lives; so every lead has values of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) proposer: u16,
    pub(crate) lead: u8,
    pub(crate) number: u8,
}

/// The value of that origin: opens a session, and sets [`KEY`] through the session that slot 1 opened.
pub(crate) fn value_of(Origin { proposer, lead, number }: Origin) -> Value {
    let name = u32::from(proposer) << 8 | u32::from(lead) << 4 | u32::from(number);
    let mut batch = BatchBuilder::default();
    batch.push(&Command::Open { nonce: name.into() });
    let session = SessionId { slot: Slot::FIRST, position: 0 };
    let operation = Operation::Put { key: KEY, value: &name.to_le_bytes() };
    batch.push(&Command::Call(Call { session, sequence: u64::from(name), lowest: 1, operation }));
    batch.finish().0
}

/// Where a value comes from; nothing for the noop or what nobody offered.
pub(crate) fn origin_of(value: &Value) -> Option<Origin> {
    let Some(Some(Command::Open { nonce })) = synod_protocol::command::commands(value.bytes()).next() else {
        return None;
    };
    let name = u16::try_from(nonce).ok()?;
    let [proposer, small] = name.to_be_bytes();
    let origin = Origin { proposer: proposer.into(), lead: small >> 4, number: small & 15 };
    (value_of(origin) == *value).then_some(origin)
}

/// A value for people: `noop`, or whose, of which lead and which number there.
pub(crate) fn tell_value(value: &Value) -> String {
    match origin_of(value) {
        Some(Origin { proposer, lead, number }) => format!("p{proposer}#{lead}.{number}"),
        None if value.is_noop() => "noop".into(),
        None => format!("{value:?}"),
    }
}
