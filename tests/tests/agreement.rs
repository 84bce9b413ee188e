//! Agreement under random faults: the roles that ship, on a network that loses, repeats, delays and cuts, with crashes.
//!
//! One seed, one run, in virtual time. After every event the durable acceptor states are checked: at most one value is chosen for a slot
//! (I1), whatever a leader announces is chosen (I5, I6), promises never fall (I3). Then the faults end and a command must be chosen
//! within ten election timeouts (I15), and every acceptor must hold what it missed. `SYNOD_AGREEMENT_SEED` replays one seed, `SYNOD_AGREEMENT_SEEDS` sets how many run.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use synod_acceptor::{Acceptor, Durable, Record};
use synod_proposer::Proposer;
use synod_protocol::command::{BatchBuilder, Command};
use synod_protocol::message::{Message, Propose, ToLearner, ToProposer};
use synod_protocol::role::{Effects, NothingToPersist, Persist, Released, Role, TimerOrder};
use synod_protocol::tuning::Tuning;
use synod_protocol::{
    AcceptorId, Ballot, ClientId, LearnerId, NodeId, ProposerId, QuorumSystem, Slot, Value,
};

const LEARNER: NodeId = NodeId::Learner(LearnerId(1));
const CLIENT: NodeId = NodeId::Client(ClientId(1));
const FAULTY_MS: u64 = 20_000;

struct World {
    random: StdRng,
    now_ms: u64,
    /// Events by time; the number keeps those of one time apart.
    queue: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    acceptors: BTreeMap<AcceptorId, (Acceptor, Vec<Record>)>,
    proposers: BTreeMap<ProposerId, Proposer>,
    timers: BTreeMap<(NodeId, String), u64>,
    quorums: QuorumSystem,
    tuning: Tuning,
    /// Per mille of messages lost; 0 when the faults have ended.
    loss: u64,
    /// Nodes that hear and tell nothing.
    cut: BTreeSet<NodeId>,
    chosen: BTreeMap<Slot, Value>,
    announced: BTreeMap<Slot, Value>,
    proposed: u128,
    counts: BTreeMap<&'static str, u64>,
}

enum Event {
    Message { from: NodeId, to: NodeId, message: Message },
    AcceptorTimer(AcceptorId, synod_acceptor::Timer, u64),
    ProposerTimer(ProposerId, synod_proposer::Timer, u64),
    Client,
    Subscribe,
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
    fn new(seed: u64) -> World {
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
            timers: BTreeMap::new(),
            quorums: quorums.unwrap(),
            tuning,
            loss: random.random_range(0..300),
            cut: BTreeSet::new(),
            chosen: BTreeMap::new(),
            announced: BTreeMap::new(),
            proposed: 0,
            counts: BTreeMap::new(),
            random,
        };
        world.quorums.clone().acceptors().for_each(|id| world.start_acceptor(id));
        (1..=3).for_each(|id| world.start_proposer(ProposerId(id)));
        for event in [Event::Client, Event::Subscribe, Event::Fault] {
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
        event: impl FnOnce(&mut Proposer, &mut Effects<synod_protocol::role::Never, synod_proposer::Timer>),
    ) {
        let proposer = self.proposers.get_mut(&id).unwrap();
        let mut effects = Effects::default();
        event(proposer, &mut effects);
        proposer.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut NothingToPersist);
        let node = NodeId::Proposer(id);
        self.release(node, released, |timer, number| Event::ProposerTimer(id, timer, number));
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
            Event::Subscribe => {
                let next = Slot(1 + self.announced.len() as u64);
                for id in 1..=3 {
                    let message = Message::Proposer(ToProposer::Subscribe { next });
                    self.send(LEARNER, NodeId::Proposer(ProposerId(id)), message);
                }
                self.after(100, Event::Subscribe);
            }
            Event::Fault => self.fault(),
        }
    }

    fn propose(&mut self) {
        self.proposed += 1;
        let mut builder = BatchBuilder::default();
        builder.push(&Command::Open { nonce: self.proposed });
        let message = ToProposer::Propose(Propose { tag: 1, commands: builder.finish().0 });
        for id in 1..=3 {
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
            (NodeId::Learner(_), Message::Learner(ToLearner::Chosen(chosen))) => {
                for (slot, value) in (chosen.first.0..).map(Slot).zip(chosen.values) {
                    assert_eq!(self.chosen.get(&slot), Some(&value), "I5: slot {slot} announced, not chosen");
                    self.announced.insert(slot, value);
                }
            }
            (NodeId::Client(_) | NodeId::Learner(_), _) => {}
            (to, message) => panic!("{message:?} was sent to {to}"),
        }
    }

    fn fault(&mut self) {
        if self.loss == 0 {
            return;
        }
        let acceptor = AcceptorId(self.random.random_range(1..=self.quorums.count() as u16));
        let proposer = ProposerId(self.random.random_range(1..=3));
        match self.random.random_range(0..6) {
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
            _ => self.cut.clear(),
        }
        let delay_ms = self.random.random_range(1..1500);
        self.after(delay_ms, Event::Fault);
    }

    fn run_until(&mut self, end_ms: u64, mut done: impl FnMut(&World) -> bool) -> bool {
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

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed);
    world.run_until(FAULTY_MS, |_| false);
    world.loss = 0;
    world.cut.clear();
    let last = |slots: &BTreeMap<Slot, Value>| slots.last_key_value().map_or(Slot::ZERO, |(slot, _)| *slot);
    let before = last(&world.chosen);
    let patience_ms = 10 * world.tuning.election_timeout_ms;
    let end_ms = world.now_ms + patience_ms;
    let resumed = world.run_until(end_ms, |world| last(&world.announced) > before);
    let announced = last(&world.announced);
    assert_eq!(
        world.chosen.range(..=announced).count() as u64,
        announced.0,
        "a hole below what was announced"
    );
    assert!(
        resumed,
        "I15: nothing new was chosen and announced within {patience_ms} ms after the faults ended"
    );
    // A chunk may carry one slot in this test, and healing asks for one chunk at a time.
    let healed = world.run_until(end_ms + 40 * patience_ms, |world| {
        world.acceptors.values().all(|(acceptor, _)| acceptor.durable().head().held >= before)
    });
    let held: Vec<_> = world.acceptors.values().map(|(acceptor, _)| acceptor.durable().head().held).collect();
    assert!(healed, "acceptors hold {held:?} of {before} slots long after the faults ended");
    let chosen = world.chosen.len() as u64;
    *world.counts.entry("slots chosen").or_default() += chosen;
    *world.counts.entry("noops chosen").or_default() +=
        world.chosen.values().filter(|value| value.is_noop()).count() as u64;
    world.counts
}

#[test]
fn s1_to_s6_one_value_is_chosen_for_a_slot_under_random_faults() {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().expect(name));
    let seeds = match number("SYNOD_AGREEMENT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("SYNOD_AGREEMENT_SEEDS").unwrap_or(60),
    };
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds.clone() {
        println!("seed {seed} (replay: SYNOD_AGREEMENT_SEED={seed})");
        for (what, count) in run(seed) {
            *totals.entry(what).or_default() += count;
        }
    }
    println!("{totals:?}");
    if seeds.end - seeds.start > 10 {
        for rare in ["lost", "repeated", "acceptor restarted", "proposer restarted", "noops chosen"] {
            assert!(totals.contains_key(rare), "no run has seen: {rare}");
        }
    }
}
