//! Bugs of learners among themselves, and of observers: a few learners and their messages, by hand, through what anybody may call.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;
use synod_learner::{Config, Learner, Timer};
use synod_planted::Bug;
use synod_proposer::Proposer;
use synod_protocol::command::{BatchBuilder, Command};
use synod_protocol::message::{
    Chains, Chosen, Consistency, Fetched, Message, Read, ReadOutcome, SnapshotChunk, SnapshotFetch,
    Subscribe, ToAcceptor, ToClient, ToLearner, ToProposer, Wants,
};
use synod_protocol::role::{Effects, NothingToPersist, Released, Role, TimerOrder};
use synod_protocol::{AcceptorId, Ballot, ClientId, Cluster, LearnerId, NodeId, ProposerId, Slot, Value};
use synod_store::MemoryStorage;

use super::check;

const STATES: &str = "learners started";

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

fn take_runs() -> u64 {
    RUNS.take()
}

fn cluster() -> Cluster {
    let node = |table, id| format!("[[{table}]]\nid = {id}\naddress = \"{table}:{id}\"\n");
    let nodes: String = (1..=3)
        .flat_map(|id| [node("acceptors", id), node("learners", id)])
        .chain([node("proposers", 1)])
        .collect();
    let tuning = "[tuning]\nchunk_bytes = 200\nlearner_tail_bytes = 1\ncheckpoint_bytes = 1\nlearner_buffer_bytes = 500\n";
    Cluster::parse(&format!("name = \"test\"\n{nodes}{tuning}"), &[]).unwrap()
}

fn ballot() -> Ballot {
    Ballot { round: 1, proposer: ProposerId(1), life: 9 }
}

/// Learners 1 to 3 and observer 7, all linked to each other.
struct World {
    learners: BTreeMap<u16, Learner>,
    halted: BTreeMap<u16, String>,
}

/// Opens a session: a state of many of them takes several chunks.
fn filler(number: u64) -> Value {
    let mut builder = BatchBuilder::default();
    builder.push(&Command::Open { nonce: u128::from(number) });
    builder.finish().0
}

impl World {
    fn new() -> World {
        RUNS.set(RUNS.get() + 1);
        let ids = [1, 2, 3, 7];
        let start = |id: u16| {
            let config = Config::new(LearnerId(id), u64::from(id), &cluster());
            (id, Learner::new(config, MemoryStorage::default()))
        };
        let mut world = World { learners: ids.map(start).into(), halted: BTreeMap::new() };
        for id in ids {
            world.step(id, |learner, effects| {
                learner.on_start(effects);
                learner.on_link(ProposerId(1).into(), true, effects);
                learner.on_link(AcceptorId(1).into(), true, effects);
                let others = ids.into_iter().filter(|other| *other != id);
                others.for_each(|other| learner.on_link(LearnerId(other).into(), true, effects));
            });
        }
        world
    }

    fn step(
        &mut self,
        id: u16,
        event: impl FnOnce(&mut Learner, &mut Effects<synod_protocol::role::Never, Timer>),
    ) -> Vec<(NodeId, Message)> {
        let mut effects = Effects::default();
        let learner = self.learners.get_mut(&id).unwrap();
        event(learner, &mut effects);
        learner.end_of_batch(&mut effects);
        let Released { messages, halt, .. } = effects.release(&mut NothingToPersist).unwrap();
        if let Some(why) = halt {
            self.learners.remove(&id);
            self.halted.insert(id, why);
        }
        messages
    }

    fn hear(&mut self, id: u16, from: impl Into<NodeId>, message: ToLearner) -> Vec<(NodeId, Message)> {
        self.step(id, |learner, effects| learner.on_message(from.into(), message, effects).unwrap())
    }

    fn choose(&mut self, id: u16, first: u64, values: &[Value]) {
        let prefix = Slot(first + values.len() as u64 - 1);
        let chosen = Chosen {
            ballot: ballot(),
            prefix,
            first: Slot(first),
            values: values.to_vec(),
            withheld_bytes: 0,
        };
        self.hear(id, ProposerId(1), ToLearner::Chosen(chosen));
    }

    /// Everybody tells its chains, and what follows is delivered but to and from `away`.
    fn compare(&mut self, away: &[u16]) {
        let mut mail = Vec::new();
        for id in self.learners.keys().copied().collect::<Vec<_>>() {
            let sent = self.step(id, |learner, effects| learner.on_timer(Timer::Compare, effects));
            mail.extend(sent.into_iter().map(|(to, message)| (id, to, message)));
        }
        while let Some((from, to, message)) = mail.pop() {
            let (NodeId::Learner(LearnerId(to)), Message::Learner(message)) = (to, message) else { continue };
            if self.learners.contains_key(&to) && !away.contains(&from) && !away.contains(&to) {
                let sent = self.hear(to, LearnerId(from), message);
                mail.extend(sent.into_iter().map(|(next, message)| (to, next, message)));
            }
        }
    }

    /// A stale read of `id`: whether it is answered.
    fn answers(&mut self, id: u16) -> bool {
        let read = Read { id: 1, key: b"k", consistency: Consistency::Stale };
        let reads = [read].into_iter().collect();
        let sent = self.hear(id, ClientId(5), ToLearner::Read(reads));
        sent.iter().any(|(_, message)| match message {
            Message::Client(ToClient::ReadReplies(replies)) => {
                replies.iter().any(|reply| matches!(reply.outcome, ReadOutcome::Value(_)))
            }
            _ => false,
        })
    }

    fn synced_and_pinned(&mut self, id: u16) -> (Slot, Option<Slot>) {
        let Subscribe { synced, pinned, .. } = self.subscription(id);
        (synced, pinned)
    }

    fn subscription(&mut self, id: u16) -> Subscribe {
        let sent = self.step(id, |learner, effects| learner.on_timer(Timer::Subscribe, effects));
        let reports = sent.into_iter().filter_map(|(_, message)| match message {
            Message::Proposer(ToProposer::Subscribe(subscribe)) => Some(subscribe),
            _ => None,
        });
        reports.last().unwrap()
    }

    /// l2 has applied something else than l1, l3 and the observer, from slot 5 on.
    fn diverged() -> World {
        let mut world = World::new();
        for id in [1, 2, 3, 7] {
            let values: Vec<Value> =
                (1..=9).map(|slot| filler(if (id, slot) == (2, 5) { 99 } else { slot })).collect();
            world.choose(id, 1, &values);
        }
        world
    }
}

fn the_odd_one_stops() {
    let mut world = World::diverged();
    (0..12).for_each(|_| world.compare(&[]));
    assert_eq!(world.halted.keys().copied().collect::<Vec<_>>(), [2], "S7: the odd one stops");
    assert!(world.halted[&2].contains("slot 5 is the first"), "{}", world.halted[&2]);
}

fn in_doubt_nobody_answers() {
    let mut world = World::diverged();
    (0..12).for_each(|_| world.compare(&[3]));
    for id in [1, 2] {
        assert!(!world.answers(id), "S7: l{id} answers though nobody knows whose state is right");
    }
}

fn a_transfer() {
    transfer(0);
}

fn a_transfer_overtaken_by_the_log() {
    transfer(30);
}

/// l2 gives its state at slot 20 to l1, which knows that the log begins at slot 15; before the last chunk comes, the log brings l1 to `overtaken`.
fn transfer(overtaken: u64) {
    let mut world = World::new();
    let values: Vec<Value> = (1..=20).map(filler).collect();
    world.choose(2, 1, &values);
    let heartbeat =
        Chosen { ballot: ballot(), prefix: Slot(20), first: Slot(21), values: Vec::new(), withheld_bytes: 0 };
    world.hear(1, ProposerId(1), ToLearner::Chosen(heartbeat));
    for _ in 0..9 {
        for (source, message) in world.step(1, |learner, effects| learner.on_timer(Timer::CatchUp, effects)) {
            if let Message::Acceptor(ToAcceptor::Fetch(fetch)) | Message::Learner(ToLearner::Fetch(fetch)) =
                message
            {
                let lacking =
                    Fetched { first: fetch.first, values: Vec::new(), held: Slot(20), floor: Slot(15) };
                world.hear(1, source, ToLearner::Fetched(lacking));
            }
        }
    }
    let learner = world.learners.get_mut(&1).unwrap();
    assert!(learner.needs_storage(), "a transfer begins");
    learner.on_storage(MemoryStorage::default());
    let mut cursor = Bytes::new();
    let mut slot = None;
    let mut is_first = true;
    loop {
        world.step(1, |learner, effects| learner.on_timer(Timer::Transfer, effects));
        let fetch = SnapshotFetch { slot, least: Slot(1), cursor: cursor.clone() };
        let sent = world.hear(2, LearnerId(1), ToLearner::SnapshotFetch(fetch));
        let [(_, Message::Learner(ToLearner::SnapshotChunk(chunk)))] = &sent[..] else { panic!("{sent:?}") };
        slot = Some(chunk.slot);
        if is_first {
            let (_, pinned) = world.synced_and_pinned(2);
            assert_eq!(pinned, Some(Slot(20)), "S11: what follows the snapshot is pinned");
        } else {
            other_slot(&mut world, chunk);
        }
        is_first = false;
        if chunk.next.is_none() && overtaken > 0 {
            let values: Vec<Value> = (1..=overtaken).map(filler).collect();
            world.choose(1, 1, &values);
        }
        world.hear(1, LearnerId(2), ToLearner::SnapshotChunk(chunk.clone()));
        match &chunk.next {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    let applied = world.learners[&1].machine().applied();
    if overtaken > 0 {
        return assert_eq!(applied.0, overtaken, "S7: an older state took the place of a newer one");
    }
    for _ in 0..2 {
        world.step(2, |learner, effects| learner.on_timer(Timer::Give, effects));
    }
    let (_, pinned) = world.synced_and_pinned(2);
    assert_eq!(pinned, Some(Slot(20)), "S11: whoever was given a snapshot needs the log above it");
    let (one, two) = (&world.learners[&1], &world.learners[&2]);
    assert_eq!(one.machine(), two.machine(), "I10: the state is the giver's");
    let chain = two.machine().chain();
    world.choose(1, 21, &[filler(21)]);
    let asked = Chains { told: Vec::new(), asked: vec![Slot(20)] };
    let sent = world.hear(1, LearnerId(3), ToLearner::Chains(asked));
    let [(_, Message::Learner(ToLearner::Chains(chains)))] = &sent[..] else {
        panic!("S7: no chain of slot 20")
    };
    assert_eq!(chains.told, [(Slot(20), chain)], "S7: it tells a chain of its former state");
}

/// l1 lacks slot 1 while more is chosen than it has room for, and then learns all of it.
fn far_behind_and_level_again() {
    let mut world = World::new();
    let values: Vec<Value> = (1..=40).map(filler).collect();
    world.choose(1, 2, &values[1..]);
    assert_eq!(world.subscription(1).wants, Wants::Nothing, "what it is streamed it can't keep");
    world.choose(1, 1, &values);
    assert_eq!(world.learners[&1].machine().applied(), Slot(40));
    assert_ne!(
        world.subscription(1).wants,
        Wants::Nothing,
        "a learner that lacks nothing asks for no values"
    );
}

fn synced_is_said_when_it_is() {
    let mut world = World::new();
    world.choose(1, 1, &[filler(1)]);
    let learner = world.learners.get_mut(&1).unwrap();
    assert!(learner.is_checkpoint_due());
    let slot = learner.checkpoint().applied();
    assert_eq!(world.synced_and_pinned(1).0, Slot::ZERO, "S11: a slot is called synced before it is");
    world.learners.get_mut(&1).unwrap().on_checkpointed(slot);
    assert_eq!(world.synced_and_pinned(1).0, Slot(1));
}

/// Only an observer has subscribed, and a quorum calls the leader silent.
fn an_observer_alone() {
    let mut proposer = Proposer::new(synod_proposer::Config::new(ProposerId(1), 9, &cluster()));
    RUNS.set(RUNS.get() + 1);
    let mut effects = Effects::default();
    proposer.on_start(&mut effects);
    let subscribe = ToProposer::Subscribe(Subscribe {
        next: Slot(1),
        synced: Slot::ZERO,
        pinned: None,
        wants: Wants::AtOnce,
    });
    proposer.on_message(LearnerId(7).into(), subscribe, &mut effects).unwrap();
    proposer.on_timer(synod_proposer::Timer::Probe, &mut effects);
    let asked = effects.release(&mut NothingToPersist).unwrap().messages;
    let probes = asked.iter().filter_map(|(_, message)| match message {
        Message::Acceptor(ToAcceptor::Probe { probe }) => Some(*probe),
        _ => None,
    });
    let probe = probes.last().expect("it probes");
    let mut effects = Effects::default();
    for acceptor in 1..=3 {
        let reply = ToProposer::ProbeReply { probe, promised: Ballot::NONE, silent: true };
        proposer.on_message(AcceptorId(acceptor).into(), reply, &mut effects).unwrap();
    }
    let timers = effects.release(&mut NothingToPersist).unwrap().timers;
    let stands = timers.iter().any(|order| matches!(order, TimerOrder::Set(synod_proposer::Timer::Stand, _)));
    assert!(!stands, "a proposer stands for the sake of an observer");
}

/// A chunk of another slot, whole in itself, changes nothing.
fn other_slot(world: &mut World, chunk: &SnapshotChunk) {
    let mut other = chunk.clone();
    other.slot = Slot(21);
    other.checksum = SnapshotChunk::checksum(other.slot, &other.cursor, &other.bytes, other.next.as_deref());
    let before = world.learners[&1].clone();
    world.hear(1, LearnerId(3), ToLearner::SnapshotChunk(other));
    assert!(world.learners[&1] == before, "I10: a chunk of another slot is taken");
}

#[test]
fn s7_comparing_chains_catches_bugs_of_the_alarm() {
    check(
        "one learner of three differs",
        STATES,
        the_odd_one_stops,
        take_runs,
        &[(Bug::DivergenceIgnored, "the odd one stops")],
    );
    let doubt = [
        (Bug::ObserverVouches, "though nobody knows whose state is right"),
        (Bug::AnswersInDoubt, "though nobody knows whose state is right"),
    ];
    check("nobody knows who is odd", STATES, in_doubt_nobody_answers, take_runs, &doubt);
}

#[test]
fn i10_a_transfer_catches_bugs_of_snapshots() {
    let bugs = [
        (Bug::PinIgnored, "S11: what follows the snapshot is pinned"),
        (Bug::FollowerUnpinned, "S11: whoever was given a snapshot needs the log above it"),
        (Bug::ChunkOfAnotherSlot, "a chunk of another slot is taken"),
        (Bug::HistoryOfOlderState, "S7: "),
    ];
    check("a snapshot goes from one learner to another", STATES, a_transfer, take_runs, &bugs);
    let newer = [(Bug::SnapshotOverNewer, "an older state took the place")];
    check("the log is quicker than a snapshot", STATES, a_transfer_overtaken_by_the_log, take_runs, &newer);
}

#[test]
fn a_learner_that_catches_up_catches_a_bug_of_streams() {
    let bugs = [(Bug::FarForEver, "a learner that lacks nothing asks for no values")];
    check("far behind, and level again", STATES, far_behind_and_level_again, take_runs, &bugs);
}

#[test]
fn s11_reports_and_observers_catch_bugs() {
    let early = [(Bug::SyncedBeforeSync, "before it is")];
    check("a checkpoint is made", STATES, synced_is_said_when_it_is, take_runs, &early);
    let observer = [(Bug::ObserverHeard, "for the sake of an observer")];
    check("an observer alone", STATES, an_observer_alone, take_runs, &observer);
}
