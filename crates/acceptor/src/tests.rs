//! Each handler with fresh, stale, duplicate, reordered and misdirected messages.

mod reached;
mod readmission;

use bytes::Bytes;
use synod_protocol::message::{Fetch, FormStep, Message, Promise};
use synod_protocol::role::{Persist, Released};
use synod_protocol::value::Entry;
use synod_protocol::{ClientId, DiskId, Incarnations, LearnerId, Value};

use super::*;

mod truncation;

const P1: NodeId = NodeId::Proposer(ProposerId(1));
const P2: NodeId = NodeId::Proposer(ProposerId(2));
const L1: NodeId = NodeId::Learner(LearnerId(1));
const ADMIN: NodeId = NodeId::Client(ClientId(9));

/// An acceptor with what it made durable; a crash is [`World::restart`].
struct World {
    acceptor: Acceptor,
    durable: Vec<Record>,
}

struct Memory<'a>(&'a mut Vec<Record>);

impl Persist<Record> for Memory<'_> {
    type Error = std::convert::Infallible;
    fn persist(&mut self, records: Vec<Record>) -> Result<(), Self::Error> {
        self.0.extend(records);
        Ok(())
    }
}

fn config() -> Config {
    Config {
        id: AcceptorId(1),
        acceptors: (1..=3).map(AcceptorId).collect(),
        parameters: 77,
        election_timeout_ms: 100,
        chunk_bytes: 200,
        cache_bytes: u64::MAX,
    }
}

fn disks() -> Vec<(AcceptorId, DiskId)> {
    (1..=3).map(|id| (AcceptorId(id), DiskId(u64::from(id) * 11))).collect()
}

impl World {
    fn empty() -> World {
        World { acceptor: Acceptor::new(config(), Durable::empty(AcceptorId(1))), durable: Vec::new() }
    }

    fn open() -> World {
        let mut world = World::empty();
        world.form(FormStep::Prepare { formation: 5, disk: DiskId(11) });
        world.form(FormStep::Open { formation: 5, disks: disks() });
        world
    }

    fn restart(&mut self) {
        let mut durable = Durable::empty(AcceptorId(1));
        self.durable.iter().for_each(|record| durable.apply(record));
        self.acceptor = Acceptor::new(config(), durable);
    }

    /// Feeds one batch of messages and releases its effects.
    fn batch(&mut self, messages: impl IntoIterator<Item = (NodeId, ToAcceptor)>) -> Released<Timer> {
        let mut effects = Effects::default();
        for (from, message) in messages {
            self.acceptor.on_message(from, message, &mut effects).unwrap();
        }
        self.acceptor.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut Memory(&mut self.durable));
        released
    }

    fn one(&mut self, from: NodeId, message: ToAcceptor) -> Option<Message> {
        let mut messages = self.batch([(from, message)]).messages;
        assert!(messages.len() <= 1, "one answer at most: {messages:?}");
        messages.pop().map(|(_, message)| message)
    }

    fn form(&mut self, step: FormStep) -> Option<String> {
        match self.one(ADMIN, ToAcceptor::Form { request: 1, step }) {
            Some(Message::Client(ToClient::Formed { refused, .. })) => refused,
            other => panic!("not an answer to formation: {other:?}"),
        }
    }

    fn refuses(&mut self, from: NodeId, message: ToAcceptor) -> Misdirected {
        let before = self.acceptor.clone();
        let mut effects = Effects::default();
        let refused = self.acceptor.on_message(from, message, &mut effects).unwrap_err();
        assert!(effects.is_empty() && before == self.acceptor, "a misdirected message changes nothing");
        refused
    }
}

fn ballot(round: u64, proposer: u16) -> Ballot {
    Ballot { round, proposer: ProposerId(proposer), life: 1 }
}

fn prepare(round: u64, proposer: u16, after: u64) -> ToAcceptor {
    ToAcceptor::Prepare { ballot: ballot(round, proposer), after: Slot(after) }
}

fn value(text: &str) -> Value {
    Value::new(Bytes::copy_from_slice(text.as_bytes()))
}

fn accept(round: u64, proposer: u16, chosen: u64, entries: &[(u64, &str)]) -> ToAcceptor {
    let entries =
        entries.iter().map(|(slot, text)| Entry { slot: Slot(*slot), value: value(text) }).collect();
    let (ballot, chosen) = (ballot(round, proposer), Slot(chosen));
    ToAcceptor::Accept(Accept { ballot, chosen, floor: Slot::FIRST, entries })
}

fn promise(message: Option<Message>) -> Promise {
    match message {
        Some(Message::Proposer(ToProposer::Promise(promise))) => promise,
        other => panic!("not a promise: {other:?}"),
    }
}

fn accepted(message: Option<Message>) -> (u64, String, u64) {
    match message {
        Some(Message::Proposer(ToProposer::Accepted(accepted))) => {
            (accepted.ballot.round, format!("{:?}", accepted.slots), accepted.held.0)
        }
        other => panic!("not an accepted: {other:?}"),
    }
}

fn is_nack(message: Option<Message>, promised: Ballot) -> bool {
    matches!(message, Some(Message::Proposer(ToProposer::Nack { promised: told, .. })) if told == promised)
}

#[test]
fn s1_promises_only_above_or_the_same_again() {
    let mut world = World::open();
    assert_eq!(promise(world.one(P2, prepare(5, 2, 0))).ballot, ballot(5, 2));
    assert!(is_nack(world.one(P1, prepare(4, 1, 0)), ballot(5, 2)));
    assert!(is_nack(world.one(P1, prepare(5, 1, 0)), ballot(5, 2)));
    let records = world.durable.len();
    assert_eq!(promise(world.one(P2, prepare(5, 2, 0))).ballot, ballot(5, 2));
    assert_eq!(world.durable.len(), records, "the same promise again needs no record");
    assert_eq!(promise(world.one(P1, prepare(6, 1, 0))).ballot, ballot(6, 1));
}

#[test]
fn s1_accepts_at_or_above_its_promise_and_accepting_raises_it() {
    let mut world = World::open();
    world.one(P2, prepare(5, 2, 0));
    assert!(is_nack(world.one(P1, accept(4, 1, 0, &[(1, "low")])), ballot(5, 2)));
    assert_eq!(accepted(world.one(P2, accept(5, 2, 0, &[(1, "same")]))), (5, "[1]".into(), 0));
    assert_eq!(accepted(world.one(P1, accept(7, 1, 0, &[(2, "high")]))), (7, "[2]".into(), 0));
    assert!(is_nack(world.one(P2, accept(5, 2, 0, &[(3, "late")])), ballot(7, 1)));
    assert!(is_nack(world.one(P2, prepare(6, 2, 0)), ballot(7, 1)));
}

#[test]
fn s1_a_second_value_at_one_ballot_is_refused() {
    let mut world = World::open();
    world.one(P1, accept(1, 1, 0, &[(1, "first")]));
    assert_eq!(world.one(P1, accept(1, 1, 0, &[(1, "second")])), None);
    assert_eq!(promise(world.one(P2, prepare(2, 2, 0))).votes[0].value, value("first"));
}

#[test]
fn s2_promise_and_vote_outlive_a_crash() {
    let mut world = World::open();
    world.one(P1, accept(3, 1, 0, &[(1, "a"), (2, "b")]));
    world.one(P2, prepare(4, 2, 0));
    let before = world.acceptor.durable().clone();
    world.restart();
    assert_eq!(*world.acceptor.durable(), before);
    assert!(is_nack(world.one(P1, accept(3, 1, 0, &[(3, "c")])), ballot(4, 2)));
    let slots: Vec<u64> =
        promise(world.one(P2, prepare(4, 2, 0))).votes.iter().map(|vote| vote.slot.0).collect();
    assert_eq!(slots, vec![1, 2]);
}

#[test]
fn s2_one_reply_names_exact_slots_of_all_that_one_sync_made_durable() {
    let mut world = World::open();
    let released = world.batch([
        (P1, accept(1, 1, 0, &[(1, "a"), (2, "b")])),
        (P1, accept(1, 1, 0, &[(3, "c")])),
        (P1, accept(1, 1, 0, &[(7, "g")])),
    ]);
    let [(to, message)] = released.messages.try_into().unwrap();
    assert_eq!((to, accepted(Some(message))), (P1, (1, "[1-3, 7]".into(), 0)));
}

#[test]
fn s2_votes_of_two_ballots_in_one_batch_are_told_apart() {
    let mut world = World::open();
    let released = world.batch([
        (P1, accept(1, 1, 0, &[(1, "a")])),
        (P2, accept(2, 2, 0, &[(2, "b")])),
        (P1, accept(1, 1, 0, &[(3, "late")])),
    ]);
    let told: Vec<_> = released.messages.into_iter().collect();
    assert_eq!(told.len(), 3);
    assert_eq!((told[0].0, accepted(Some(told[0].1.clone()))), (P1, (1, "[1]".into(), 0)));
    assert!(is_nack(Some(told[1].1.clone()), ballot(2, 2)));
    assert_eq!((told[2].0, accepted(Some(told[2].1.clone()))), (P2, (2, "[2]".into(), 0)));
}

#[test]
fn s2_a_repeated_accept_is_answered_again_and_recorded_once() {
    let mut world = World::open();
    world.one(P1, accept(1, 1, 0, &[(1, "a")]));
    let records = world.durable.len();
    assert_eq!(accepted(world.one(P1, accept(1, 1, 0, &[(1, "a")]))), (1, "[1]".into(), 0));
    assert_eq!(world.durable.len(), records);
}

#[test]
fn s4_a_promise_comes_in_chunks_that_name_what_they_cover() {
    let mut world = World::open();
    let long = "x".repeat(100);
    let entries: Vec<_> = (1..=5).map(|slot| (slot, long.as_str())).collect();
    world.one(P1, accept(1, 1, 1, &entries));
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let chunk = promise(world.one(P2, prepare(2, 2, after)));
        assert_eq!((chunk.held, chunk.after), (Slot(1), Slot(after.max(1))));
        assert!(chunk.votes.len() <= 2, "chunk_bytes is kept to");
        seen.extend(chunk.votes.iter().map(|vote| vote.slot.0));
        assert_eq!(chunk.upto.0, *seen.last().unwrap());
        if chunk.complete {
            break;
        }
        after = chunk.upto.0;
    }
    assert_eq!(seen, vec![2, 3, 4, 5]);
}

#[test]
fn s6_the_held_prefix_advances_only_over_votes_at_the_ballot_that_states_it() {
    let mut world = World::open();
    world.one(P1, accept(1, 1, 0, &[(1, "a"), (2, "b"), (4, "d")]));
    assert_eq!(accepted(world.one(P1, accept(1, 1, 1, &[]))).2, 1);
    // Slot 2 was voted at another ballot than the one that now calls it chosen: it may hold another value.
    assert_eq!(accepted(world.one(P2, accept(2, 2, 9, &[(3, "c")]))).2, 1);
    assert_eq!(accepted(world.one(P2, accept(2, 2, 9, &[(2, "B")]))).2, 3);
    assert_eq!(accepted(world.one(P2, accept(2, 2, 9, &[(4, "d"), (5, "e")]))).2, 5);
}

#[test]
fn s6_fetch_serves_the_held_prefix_alone() {
    let mut world = World::open();
    world.one(P1, accept(1, 1, 2, &[(1, "a"), (2, "b"), (3, "not known chosen")]));
    let fetch = |first, last| ToAcceptor::Fetch(Fetch { first: Slot(first), last: Slot(last) });
    let fetched = |message| match message {
        Some(Message::Learner(ToLearner::Fetched(fetched))) => fetched,
        other => panic!("not fetched values: {other:?}"),
    };
    assert_eq!(fetched(world.one(L1, fetch(1, 9))).values, vec![value("a"), value("b")]);
    assert_eq!(fetched(world.one(L1, fetch(2, 2))).values, vec![value("b")]);
    assert_eq!(fetched(world.one(L1, fetch(3, 9))).values, Vec::new());
    assert_eq!(fetched(world.one(L1, fetch(0, u64::MAX))).values.len(), 2);
}

#[test]
fn s10_a_quorum_read_tells_the_highest_slot_voted_on() {
    let mut world = World::open();
    let highest = |world: &mut World| match world.one(L1, ToAcceptor::QuorumRead { round: 3 }) {
        Some(Message::Learner(ToLearner::QuorumReadReply { round: 3, highest, .. })) => highest.0,
        other => panic!("not an answer to a quorum read: {other:?}"),
    };
    assert_eq!(highest(&mut world), 0);
    world.one(P1, accept(1, 1, 0, &[(4, "d"), (2, "b")]));
    assert_eq!(highest(&mut world), 4);
    world.restart();
    assert_eq!(highest(&mut world), 4);
}

#[test]
fn a_leader_is_silent_only_after_the_timeout_and_until_its_next_word() {
    let mut world = World::open();
    let silent = |world: &mut World| match world.one(P2, ToAcceptor::Probe { probe: 1 }) {
        Some(Message::Proposer(ToProposer::ProbeReply { probe: 1, silent, .. })) => silent,
        other => panic!("not an answer to a probe: {other:?}"),
    };
    assert!(silent(&mut world), "nobody was ever promised");
    world.one(P1, accept(1, 1, 0, &[]));
    assert!(!silent(&mut world));
    world.acceptor.on_timer(Timer::LeaderSilent, &mut Effects::default());
    assert!(silent(&mut world));
    world.one(P2, accept(0, 2, 0, &[]));
    assert!(silent(&mut world), "a word at a lower ballot isn't the leader's");
    world.one(P1, accept(1, 1, 0, &[]));
    assert!(!silent(&mut world));
    world.restart();
    assert!(!silent(&mut world), "after a restart the leader has a whole timeout to be heard");
}

#[test]
fn a_leader_whose_connection_closes_is_silent_at_once_until_its_next_word() {
    let mut world = World::open();
    world.one(P1, accept(1, 1, 0, &[]));
    let mut links = |peer, up| {
        world.acceptor.on_link(peer, up, &mut Effects::default());
        world.acceptor.leader_silent
    };
    assert!(!links(P2, false), "another proposer's connection says nothing of the leader");
    assert!(!links(P1, true));
    assert!(links(P1, false));
    assert!(links(P1, true), "a connection is not yet a word");
    world.one(P1, accept(1, 1, 0, &[]));
    assert!(!world.acceptor.leader_silent);
}

#[test]
fn s12_an_acceptor_that_is_not_open_votes_on_nothing() {
    let mut world = World::empty();
    for prepared in [false, true] {
        if prepared {
            world.form(FormStep::Prepare { formation: 5, disk: DiskId(11) });
        }
        for message in [prepare(1, 1, 0), accept(1, 1, 0, &[(1, "a")]), ToAcceptor::Probe { probe: 1 }] {
            let before = world.durable.clone();
            assert_eq!(world.one(P1, message), None);
            assert_eq!(world.durable, before);
        }
        assert_eq!(world.one(L1, ToAcceptor::QuorumRead { round: 1 }), None);
        assert_eq!(world.acceptor.standing().cluster, None);
    }
}

#[test]
fn s12_formation_has_two_steps_and_neither_can_be_skipped_or_changed() {
    let mut world = World::empty();
    let open = |formation, disks| FormStep::Open { formation, disks };
    assert!(world.form(open(5, disks())).is_some(), "empty");
    assert_eq!(world.form(FormStep::Prepare { formation: 5, disk: DiskId(11) }), None);
    assert_eq!(world.form(FormStep::Prepare { formation: 5, disk: DiskId(99) }), None);
    assert_eq!(world.acceptor.durable().head().formation.disk(), Some(DiskId(11)), "the disk keeps its name");
    assert!(world.form(FormStep::Prepare { formation: 6, disk: DiskId(11) }).is_some(), "another formation");
    let mut other_disk = disks();
    other_disk[0].1 = DiskId(12);
    assert!(world.form(open(5, other_disk)).is_some(), "wiped and prepared again since");
    assert!(world.form(open(5, disks()[..2].to_vec())).is_some(), "an acceptor is missing");
    assert!(world.form(open(6, disks())).is_some(), "another formation");
    assert_eq!(world.form(open(5, disks())), None);
    assert_eq!(world.form(open(5, disks())), None, "told again");
    let cluster = Cluster::id_of(77, 5, &disks());
    world.restart();
    assert_eq!(world.acceptor.standing().cluster, Some(cluster));
    assert!(world.form(FormStep::Prepare { formation: 5, disk: DiskId(11) }).is_some(), "open already");
}

#[test]
fn misdirected_messages_are_refused_and_change_nothing() {
    let mut world = World::open();
    for (from, message) in [
        (L1, prepare(1, 1, 0)),
        (P2, prepare(1, 1, 0)),
        (P2, accept(1, 1, 0, &[(1, "a")])),
        (P1, accept(1, 1, 0, &[(0, "slot zero")])),
        (ADMIN, accept(1, 1, 0, &[])),
        (P1, ToAcceptor::QuorumRead { round: 1 }),
        (P2, ToAcceptor::Reached { ballot: ballot(1, 1), rows: Incarnations::default() }),
        (L1, ToAcceptor::Reached { ballot: ballot(1, 1), rows: Incarnations::default() }),
        (L1, ToAcceptor::Probe { probe: 1 }),
        (P1, ToAcceptor::Form { request: 1, step: FormStep::Query }),
        (P1, ToAcceptor::Status { request: 1 }),
        (ADMIN, ToAcceptor::Fetch(Fetch { first: Slot(1), last: Slot(1) })),
    ] {
        assert_eq!(world.refuses(from, message).from, from);
    }
    let none = ToAcceptor::Prepare { ballot: Ballot::NONE, after: Slot(0) };
    world.refuses(NodeId::Proposer(ProposerId(0)), none);
}
