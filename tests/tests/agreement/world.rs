//! The world of one seed: roles, network, timers and faults in virtual time, and the checks made after every event.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use synod_acceptor::{Acceptor, Durable, Record};
use synod_learner::Learner;
use synod_proposer::Proposer;
use synod_protocol::cluster::Limits;
use synod_protocol::command::{BatchBuilder, Command};
use synod_protocol::message::{Message, Propose, ToProposer};
use synod_protocol::role::{Effects, Never, NothingToPersist, Persist, Released, Role, TimerOrder};
use synod_protocol::tuning::Tuning;
use synod_protocol::{
    AcceptorId, Ballot, ClientId, LearnerId, NodeId, ProposerId, QuorumSystem, Slot, Value,
};
use synod_store::MemoryStorage;

const PROPOSERS: u16 = 3;
const LEARNERS: u16 = 2;
const CLIENT: NodeId = NodeId::Client(ClientId(1));

pub(crate) struct World {
    random: StdRng,
    pub(crate) now_ms: u64,
    /// Events by time; the number keeps those of one time apart.
    queue: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    pub(crate) acceptors: BTreeMap<AcceptorId, (Acceptor, Vec<Record>)>,
    proposers: BTreeMap<ProposerId, Proposer>,
    pub(crate) learners: BTreeMap<LearnerId, Learner>,
    timers: BTreeMap<(NodeId, String), u64>,
    quorums: QuorumSystem,
    pub(crate) tuning: Tuning,
    /// Per mille of messages lost; 0 when the faults have ended.
    pub(crate) loss: u64,
    /// Nodes that hear and tell nothing.
    pub(crate) cut: BTreeSet<NodeId>,
    pub(crate) chosen: BTreeMap<Slot, Value>,
    /// The hash chain of every slot at which some learner stood.
    chains: BTreeMap<Slot, u64>,
    proposed: u128,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

enum Event {
    Message { from: NodeId, to: NodeId, message: Message },
    AcceptorTimer(AcceptorId, synod_acceptor::Timer, u64),
    ProposerTimer(ProposerId, synod_proposer::Timer, u64),
    LearnerTimer(LearnerId, synod_learner::Timer, u64),
    Client,
    Fault,
}

struct Memory<'a>(&'a mut Vec<Record>);

impl Persist<Record> for Memory<'_> {
    type Error = std::convert::Infallible;
    fn persist(&mut self, records: Vec<Record>) -> Result<(), Self::Error> {
        self.0.extend(records);
        Ok(())
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let count = if random.random_bool(0.5) { 3 } else { 5 };
        let ids = (1..=count).map(AcceptorId);
        let quorums = if count == 5 && random.random_bool(0.3) {
            QuorumSystem::flexible(ids, 4, 2)
        } else {
            QuorumSystem::majority(ids)
        };
        let tuning = Tuning {
            chunk_bytes: random.random_range(1..400),
            retained_bytes: random.random_range(200..20_000),
            window_slots: 4,
            ..Tuning::default()
        };
        let mut world = World {
            now_ms: 0,
            queue: BTreeMap::new(),
            numbered: 0,
            acceptors: BTreeMap::new(),
            proposers: BTreeMap::new(),
            learners: BTreeMap::new(),
            timers: BTreeMap::new(),
            quorums: quorums.unwrap(),
            tuning,
            loss: random.random_range(0..300),
            cut: BTreeSet::new(),
            chosen: BTreeMap::new(),
            chains: BTreeMap::new(),
            proposed: 0,
            counts: BTreeMap::new(),
            random,
        };
        world.quorums.clone().acceptors().for_each(|id| world.start_acceptor(id));
        (1..=PROPOSERS).for_each(|id| world.start_proposer(ProposerId(id)));
        (1..=LEARNERS).for_each(|id| world.start_learner(LearnerId(id)));
        for event in [Event::Client, Event::Fault] {
            world.after(1, event);
        }
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn after(&mut self, delay_ms: u64, event: Event) {
        self.numbered += 1;
        self.queue.insert((self.now_ms + delay_ms, self.numbered), event);
    }

    fn start_acceptor(&mut self, id: AcceptorId) {
        let records = self.acceptors.remove(&id).map_or_else(|| self.formed(id), |(_, records)| records);
        let mut durable = Durable::empty(id);
        records.iter().for_each(|record| durable.apply(record));
        let config = synod_acceptor::Config {
            id,
            acceptors: self.quorums.acceptors().collect(),
            parameters: 1,
            election_timeout_ms: self.tuning.election_timeout_ms,
            chunk_bytes: self.tuning.chunk_bytes,
        };
        self.acceptors.insert(id, (Acceptor::new(config, durable), records));
        self.acceptor(id, |acceptor, effects| acceptor.on_start(effects));
    }

    fn formed(&self, id: AcceptorId) -> Vec<Record> {
        let disk = |id: AcceptorId| synod_protocol::DiskId(u64::from(id.0));
        let disks: Vec<_> = self.quorums.acceptors().map(|id| (id, disk(id))).collect();
        let cluster = synod_protocol::Cluster::id_of(1, 1, &disks);
        vec![Record::Prepared { formation: 1, disk: disk(id) }, Record::Opened { disks, cluster }]
    }

    fn start_proposer(&mut self, id: ProposerId) {
        let config = synod_proposer::Config {
            id,
            life: self.random.random(),
            quorums: self.quorums.clone(),
            tuning: self.tuning.clone(),
        };
        self.proposers.insert(id, Proposer::new(config));
        self.timers.retain(|(node, _), _| *node != NodeId::Proposer(id));
        self.proposer(id, |proposer, effects| proposer.on_start(effects));
    }

    fn start_learner(&mut self, id: LearnerId) {
        let config = synod_learner::Config {
            id,
            life: self.random.random(),
            quorums: self.quorums.clone(),
            proposers: (1..=PROPOSERS).map(ProposerId).collect(),
            peers: (1..=LEARNERS).map(LearnerId).filter(|peer| *peer != id).collect(),
            limits: Limits::default(),
            tuning: self.tuning.clone(),
        };
        let acceptors = config.quorums.acceptors().map(NodeId::from);
        let proposers = config.proposers.iter().copied().map(NodeId::from);
        let peers = config.peers.iter().copied().map(NodeId::from);
        let links: Vec<NodeId> = acceptors.chain(proposers).chain(peers).collect();
        self.learners.insert(id, Learner::new(config, MemoryStorage::default()));
        self.timers.retain(|(node, _), _| *node != NodeId::Learner(id));
        self.learner(id, |learner, effects| {
            learner.on_start(effects);
            links.into_iter().for_each(|peer| learner.on_link(peer, true, effects));
        });
    }

    fn acceptor(
        &mut self,
        id: AcceptorId,
        event: impl FnOnce(&mut Acceptor, &mut Effects<Record, synod_acceptor::Timer>),
    ) {
        let (acceptor, records) = self.acceptors.get_mut(&id).unwrap();
        let promised = acceptor.durable().head().promised;
        let mut effects = Effects::default();
        event(acceptor, &mut effects);
        acceptor.end_of_batch(&mut effects);
        assert!(acceptor.durable().head().promised >= promised, "I3: a promise fell");
        let Ok(released) = effects.release(&mut Memory(records));
        self.note_chosen(id);
        let node = NodeId::Acceptor(id);
        self.release(node, released, |timer, number| Event::AcceptorTimer(id, timer, number));
    }

    fn proposer(
        &mut self,
        id: ProposerId,
        event: impl FnOnce(&mut Proposer, &mut Effects<Never, synod_proposer::Timer>),
    ) {
        let proposer = self.proposers.get_mut(&id).unwrap();
        let mut effects = Effects::default();
        event(proposer, &mut effects);
        proposer.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut NothingToPersist);
        let node = NodeId::Proposer(id);
        self.release(node, released, |timer, number| Event::ProposerTimer(id, timer, number));
    }

    fn learner(
        &mut self,
        id: LearnerId,
        event: impl FnOnce(&mut Learner, &mut Effects<Never, synod_learner::Timer>),
    ) {
        let learner = self.learners.get_mut(&id).unwrap();
        let mut effects = Effects::default();
        event(learner, &mut effects);
        learner.end_of_batch(&mut effects);
        let (applied, chain) = (learner.machine().applied(), learner.machine().chain());
        let Ok(released) = effects.release(&mut NothingToPersist);
        if applied > Slot::ZERO {
            assert!(self.chosen.contains_key(&applied), "I5: slot {applied} is applied, not chosen");
            assert_eq!(
                *self.chains.entry(applied).or_insert(chain),
                chain,
                "I6: chains differ at slot {applied}"
            );
        }
        let node = NodeId::Learner(id);
        self.release(node, released, |timer, number| Event::LearnerTimer(id, timer, number));
    }

    fn release<T: std::fmt::Debug>(
        &mut self,
        node: NodeId,
        released: Released<T>,
        event: impl Fn(T, u64) -> Event,
    ) {
        for order in released.timers {
            match order {
                TimerOrder::Set(timer, delay) => {
                    let delay_ms = self.random.random_range(delay.least_ms..=delay.most_ms);
                    self.timers.insert((node, format!("{timer:?}")), self.numbered + 1);
                    let number = self.numbered + 1;
                    self.after(delay_ms, event(timer, number));
                }
                TimerOrder::Cancel(timer) => drop(self.timers.remove(&(node, format!("{timer:?}")))),
            }
        }
        for (to, message) in released.messages {
            self.send(node, to, message);
        }
    }

    /// Loses, repeats, delays and so reorders.
    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.random.random_range(0..1000) < self.loss || self.cut.contains(&from) || self.cut.contains(&to)
        {
            return self.count("lost");
        }
        if self.random.random_range(0..2000) < self.loss {
            self.count("repeated");
            let delay_ms = self.random.random_range(0..400);
            self.after(delay_ms, Event::Message { from, to, message: message.clone() });
        }
        let delay_ms =
            if self.loss > 0 && self.random.random_bool(0.1) { self.random.random_range(0..200) } else { 1 };
        self.after(delay_ms, Event::Message { from, to, message });
    }

    /// I1: what has a Phase-2 quorum in the durable states is chosen, once and for all.
    fn note_chosen(&mut self, changed: AcceptorId) {
        let votes: Vec<(Slot, Ballot, Value)> = self.acceptors[&changed]
            .0
            .durable()
            .votes_above(Slot::ZERO)
            .map(|(slot, vote)| (slot, vote.ballot, vote.value.clone()))
            .collect();
        for (slot, ballot, value) in votes {
            let same = |acceptor: &Acceptor| {
                acceptor.durable().vote(slot).is_some_and(|vote| vote.ballot == ballot && vote.value == value)
            };
            if self.acceptors.values().filter(|(acceptor, _)| same(acceptor)).count() >= self.quorums.phase2()
            {
                let first = self.chosen.entry(slot).or_insert_with(|| value.clone());
                assert!(*first == value, "I1: two values chosen for slot {slot}");
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Message { from, to, message } => self.deliver(from, to, message),
            Event::AcceptorTimer(id, timer, number) => {
                if self.timers.get(&(NodeId::Acceptor(id), format!("{timer:?}"))) == Some(&number) {
                    self.acceptor(id, |acceptor, effects| acceptor.on_timer(timer, effects));
                }
            }
            Event::ProposerTimer(id, timer, number) => {
                if self.timers.get(&(NodeId::Proposer(id), format!("{timer:?}"))) == Some(&number) {
                    self.proposer(id, |proposer, effects| proposer.on_timer(timer, effects));
                }
            }
            Event::Client => {
                self.propose();
                let delay_ms = self.random.random_range(1..40);
                self.after(delay_ms, Event::Client);
            }
            Event::LearnerTimer(id, timer, number) => {
                if self.timers.get(&(NodeId::Learner(id), format!("{timer:?}"))) == Some(&number) {
                    self.learner(id, |learner, effects| learner.on_timer(timer, effects));
                }
            }
            Event::Fault => self.fault(),
        }
    }

    fn propose(&mut self) {
        self.proposed += 1;
        let mut builder = BatchBuilder::default();
        builder.push(&Command::Open { nonce: self.proposed });
        let message = ToProposer::Propose(Propose { tag: 1, commands: builder.finish().0 });
        for id in 1..=PROPOSERS {
            self.send(CLIENT, NodeId::Proposer(ProposerId(id)), Message::Proposer(message.clone()));
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: Message) {
        match (to, message) {
            (NodeId::Acceptor(id), Message::Acceptor(message)) => {
                self.acceptor(id, |acceptor, effects| acceptor.on_message(from, message, effects).unwrap());
            }
            (NodeId::Proposer(id), Message::Proposer(message)) => {
                self.proposer(id, |proposer, effects| proposer.on_message(from, message, effects).unwrap());
            }
            (NodeId::Learner(id), Message::Learner(message)) => {
                self.learner(id, |learner, effects| learner.on_message(from, message, effects).unwrap());
            }
            (NodeId::Client(_), _) => {}
            (to, message) => panic!("{message:?} was sent to {to}"),
        }
    }

    fn fault(&mut self) {
        if self.loss == 0 {
            return;
        }
        let acceptor = AcceptorId(self.random.random_range(1..=self.quorums.count() as u16));
        let proposer = ProposerId(self.random.random_range(1..=PROPOSERS));
        match self.random.random_range(0..7) {
            0 | 1 => {
                self.count("acceptor restarted");
                self.start_acceptor(acceptor);
            }
            2 => {
                self.count("proposer restarted");
                self.start_proposer(proposer);
            }
            3 => drop(self.cut.insert(acceptor.into())),
            4 => drop(self.cut.insert(proposer.into())),
            5 => {
                self.count("learner restarted");
                let learner = LearnerId(self.random.random_range(1..=LEARNERS));
                self.start_learner(learner);
            }
            _ => self.cut.clear(),
        }
        let delay_ms = self.random.random_range(1..1500);
        self.after(delay_ms, Event::Fault);
    }

    pub(crate) fn run_until(&mut self, end_ms: u64, mut done: impl FnMut(&World) -> bool) -> bool {
        while !done(self) {
            match self.queue.first_key_value() {
                Some((&(at_ms, _), _)) if at_ms <= end_ms => {}
                Some(_) | None => return false,
            }
            let ((at_ms, _), event) = self.queue.pop_first().unwrap();
            self.now_ms = at_ms;
            self.on_event(event);
        }
        true
    }
}
