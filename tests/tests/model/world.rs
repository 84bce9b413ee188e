//! What one configuration consists of and how far it goes, and the names that the other modules share.

use std::collections::BTreeSet;

use synod_acceptor::{Durable, Record};
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{BatchBuilder, Call, Command, Operation, SessionId};
use synod_protocol::message::{Admission, Admit, Formation, Founding, Message};
use synod_protocol::tuning::Tuning;
use synod_protocol::{
    AcceptorId, Ballot, ClientId, DiskId, Incarnation, Incarnations, LearnerId, NodeId, ProposerId,
    QuorumSystem, Slot, Value,
};

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
    /// Acceptors whose disks were replaced, and who readmits them.
    pub(crate) replaced: Replaced,
    /// Timers that fire beside those that lead to Phase 1: whose, which, how often ([`ANY`]: at will).
    pub(crate) timers: &'static [(u16, synod_proposer::Timer, u8)],
    /// Learners' timers that fire, at will.
    pub(crate) learner_timers: &'static [synod_learner::Timer],
    /// Whether the learner that leaders stream to syncs whatever it is told is chosen, and reports so to every proposer.
    pub(crate) reports: bool,
    /// How many learners are configured where none of them runs; the one that listens is one of them.
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
    /// p1 leads, p2 has heard of it, and nothing is offered in that ballot.
    Heard,
    /// The same, but a1 and a3 have voted for a value, which so is chosen; a learner has told a client.
    ChosenWithLast,
    /// p1 leads in the ballot that readmits a3's new disk, which has entered, and nothing was offered.
    Readmitted,
    /// a3 alone voted for a value of p1's; then p2 led without a3, and another value was chosen for slot 1.
    Overruled,
}

/// All acceptors are asked at once, in all worlds but one: what a leader keeps back for a while is what the network delivers late, which is explored
/// anyway.
pub(crate) fn usual() -> Tuning {
    Tuning { thrifty_ms: 0, ..Tuning::default() }
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
            replaced: Replaced::None,
            timers: &[],
            learner_timers: &[],
            reports: false,
            configured: 1,
            reads: 0,
            learner_restarts: 0,
            tuning: Tuning { batch_commands: 1 << 10, ..usual() },
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
        usize::from(self.acceptors + self.proposers + self.learners) + self.replaced.processes().len()
    }

    /// The processes that run with another disk of an acceptor than its own place, behind all other nodes: place, acceptor, disk.
    pub(crate) fn others(&self) -> impl Iterator<Item = (u8, AcceptorId, DiskId)> {
        let first = u8::try_from(self.acceptors + self.proposers + self.learners).unwrap();
        (first..)
            .zip(self.replaced.processes())
            .map(|(place, (id, disk))| (place, AcceptorId(*id), DiskId(*disk)))
    }

    /// The acceptor at a place, and the disk that it runs with, if it is one.
    pub(crate) fn seat(&self, place: u8) -> Option<(AcceptorId, DiskId)> {
        let other = self.others().find(|(other, ..)| *other == place);
        let own = (u16::from(place) < self.acceptors).then(|| AcceptorId(u16::from(place) + 1));
        let own = own.map(|id| (id, if self.replaced.had_one(id) { DiskId(2) } else { DiskId(1) }));
        other.map(|(_, id, disk)| (id, disk)).or(own)
    }

    /// The acceptor whose disk is to be readmitted, and that disk.
    pub(crate) fn replacement(&self) -> Option<(AcceptorId, DiskId)> {
        let (id, disk) = *self.replaced.processes().last()?;
        Some((AcceptorId(id), DiskId(disk)))
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
        if let Some((id, _)) = self.seat(u8::try_from(place).unwrap()) {
            return id.into();
        }
        let place = u16::try_from(place).unwrap() + 1;
        if place <= self.acceptors + self.proposers {
            ProposerId(place - self.acceptors).into()
        } else {
            LearnerId(place - self.acceptors - self.proposers).into()
        }
    }

    /// An acceptor's disk after formation.
    pub(crate) fn formed(&self, id: AcceptorId) -> Durable {
        // One name for all, so that acceptors stay alike; tables tell disks of one acceptor apart.
        let disk = |_| DiskId(1);
        let disks: Vec<_> = (1..=self.acceptors).map(AcceptorId).map(|id| (id, disk(id))).collect();
        let cluster = synod_protocol::Cluster::id_of(1, 1, &disks);
        let mut durable = Durable::empty(id);
        durable.apply(&Record::Prepared { formation: 1, disk: disk(id) });
        durable.apply(&Record::Opened { disks, cluster });
        durable
    }

    /// The disk at a place when the exploration begins.
    pub(crate) fn disk_at(&self, place: u8) -> Durable {
        let (id, disk) = self.seat(place).expect("only acceptors have disks");
        let waits = self.replacement() == Some((id, disk));
        let admit = Admit { ballot: EARLIER, acceptor: AcceptorId(2), disk: DiskId(2) };
        let mut incarnations = Incarnations::default();
        incarnations.note(admit.acceptor, Incarnation::new(EARLIER, admit.disk));
        let mut durable = Durable::empty(id);
        if waits || disk != DiskId(1) {
            durable.apply(&Record::Replaced { disk });
        }
        if waits {
            return durable;
        }
        let formed = self.formed(id);
        if disk != DiskId(1) {
            let Formation::Open { formation, disks, cluster, .. } = formed.head().formation.clone() else {
                unreachable!("it is formed")
            };
            let founding = Founding { formation, disks };
            let (floor, highest) = (Slot::FIRST, Slot::ZERO);
            let admission = Admission { admit, founding, incarnations, floor, highest };
            durable.apply(&Record::Entered { admission, cluster });
            return durable;
        }
        durable = formed;
        if self.replaced == Replaced::LastAfterSecond && id != admit.acceptor {
            durable.apply(&Record::Readmitted { admit });
        }
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
            learners: match self.learners {
                0 => (0..self.configured).map(|more| LearnerId(LISTENER.0 + more)).collect(),
                learners => (1..=learners).map(LearnerId).collect(),
            },
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
            is_observer: false,
            engine: "memory",
            limits: Limits::default(),
            tuning: self.tuning.clone(),
        }
    }
}

/// Which acceptors' disks were replaced. The old disk's process may go on at any moment, whatever became of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// None.
    None,
    /// a3's new disk waits to be readmitted.
    Last,
    /// The same after a2 was readmitted with a new disk, whose old one goes on too.
    LastAfterSecond,
}

impl Replaced {
    /// Further processes: acceptor and disk. The last of them waits.
    fn processes(self) -> &'static [(u16, u64)] {
        match self {
            Replaced::None => &[],
            Replaced::Last => &[(3, 2)],
            Replaced::LastAfterSecond => &[(2, 1), (3, 2)],
        }
    }

    /// Whether an acceptor was readmitted before the exploration begins.
    fn had_one(self, id: AcceptorId) -> bool {
        self == Replaced::LastAfterSecond && id == AcceptorId(2)
    }
}

/// The ballot of the readmission that is over when the exploration begins.
pub(crate) const EARLIER: Ballot = Ballot { round: 1, proposer: ProposerId(0), life: 1 };

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
