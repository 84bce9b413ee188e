//! Each handler with fresh, stale, duplicate, reordered and misdirected messages.

use synod_protocol::command::{BatchBuilder, Command};
use synod_protocol::message::{
    Accept, Message, Promise, Propose, Subscribe, ToClient, ToLearner, Vote, Wants,
};
use synod_protocol::role::{NothingToPersist, TimerOrder};
use synod_protocol::{ClientId, DiskId, Slot, SlotRange, Value};

use super::*;

mod late;
mod leading;
mod positions;
mod readmission;
mod thrifty;
mod truncation;

const DISK: DiskId = DiskId(1);
const L1: NodeId = NodeId::Learner(LearnerId(1));
const C7: NodeId = NodeId::Client(ClientId(7));

fn acceptor(id: u16) -> NodeId {
    NodeId::Acceptor(AcceptorId(id))
}

fn tuning() -> Tuning {
    Tuning { window_slots: 2, batch_commands: 4, thrifty_ms: 0, ..Tuning::default() }
}

fn proposer_with(tuning: Tuning, acceptors: u16) -> World {
    let quorums = QuorumSystem::majority((1..=acceptors).map(AcceptorId)).unwrap();
    World {
        proposer: Proposer::new(Config {
            id: ProposerId(1),
            life: 42,
            quorums,
            learners: [LearnerId(1)].into(),
            tuning,
        }),
        timers: Vec::new(),
    }
}

struct World {
    proposer: Proposer,
    timers: Vec<Timer>,
}

type Sent = Vec<(NodeId, Message)>;

impl World {
    fn step(&mut self, event: impl FnOnce(&mut Proposer, &mut Out)) -> Sent {
        let mut effects = Out::default();
        event(&mut self.proposer, &mut effects);
        self.proposer.end_of_batch(&mut effects);
        let Ok(released) = effects.release(&mut NothingToPersist);
        for order in released.timers {
            match order {
                TimerOrder::Set(timer, _) => self.timers.push(timer),
                TimerOrder::Cancel(timer) => self.timers.retain(|set| *set != timer),
            }
        }
        released.messages
    }

    fn message(&mut self, from: NodeId, message: ToProposer) -> Sent {
        self.step(|proposer, effects| proposer.on_message(from, message, effects).unwrap())
    }

    fn timer(&mut self, timer: Timer) -> Sent {
        self.timers.retain(|set| *set != timer);
        self.step(|proposer, effects| proposer.on_timer(timer, effects))
    }

    /// Subscribes a learner, and lets a quorum call the leader silent until Phase 1 begins.
    fn preparing(mut self, promised: Ballot) -> (World, Ballot) {
        let quorum = self.proposer.config.quorums.phase1() as u16;
        self.message(
            L1,
            ToProposer::Subscribe(Subscribe {
                next: Slot(1),
                synced: Slot::ZERO,
                pinned: None,
                wants: Wants::AtOnce,
            }),
        );
        self.timer(Timer::Probe);
        for id in 1..=quorum {
            let probe = self.proposer.probes;
            self.message(acceptor(id), ToProposer::ProbeReply { probe, promised, silent: true });
        }
        assert!(self.timers.contains(&Timer::Stand));
        self.timer(Timer::Stand);
        let probe = self.proposer.probes;
        let mut sent = Sent::new();
        for id in 1..=quorum {
            sent.extend(self.message(acceptor(id), ToProposer::ProbeReply { probe, promised, silent: true }));
        }
        let ballot = sent.iter().find_map(|(_, message)| match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) => Some(*ballot),
            _ => None,
        });
        (self, ballot.expect("Phase 1 begins"))
    }

    fn leading_with(self, votes: &[Vote]) -> (World, Ballot) {
        let (mut world, ballot) = self.preparing(Ballot::NONE);
        world.message(acceptor(1), promise(ballot, 0, votes));
        world.message(acceptor(2), promise(ballot, 0, &[]));
        assert!(matches!(world.proposer.phase, Phase::Leading(_)));
        (world, ballot)
    }

    fn leading() -> (World, Ballot) {
        proposer_with(tuning(), 3).leading_with(&[])
    }

    fn chosen(&self) -> u64 {
        match &self.proposer.phase {
            Phase::Leading(leading) => leading.pipeline.chosen().0,
            Phase::Probing(_) | Phase::Preparing(_) => panic!("not leading"),
        }
    }
}

fn promise(ballot: Ballot, held: u64, votes: &[Vote]) -> ToProposer {
    ToProposer::Promise(Promise {
        ballot,
        disk: DISK.into(),
        incarnations: Incarnations::default(),
        floor: Slot(1),
        held: Slot(held),
        after: Slot(held),
        upto: votes.last().map_or(Slot(held), |vote| vote.slot),
        complete: true,
        votes: votes.to_vec(),
    })
}

fn accepted(ballot: Ballot, slots: &[u64], held: u64) -> ToProposer {
    let mut ranges = Vec::new();
    slots.iter().for_each(|slot| SlotRange::push(&mut ranges, Slot(*slot)));
    ToProposer::Accepted(Accepted {
        ballot,
        disk: DISK.into(),
        slots: ranges,
        held: Slot(held),
        floor: Slot::FIRST,
        full: false,
    })
}

fn batch(commands: u32) -> Value {
    let mut builder = BatchBuilder::default();
    (0..commands).for_each(|nonce| builder.push(&Command::Open { nonce: nonce.into() }));
    builder.finish().0
}

fn propose(tag: u64, commands: u32) -> ToProposer {
    ToProposer::Propose(Propose { tag, commands: batch(commands) })
}

/// Slots of the Accepts sent to one acceptor.
fn accepts(sent: &Sent, to: NodeId) -> Vec<u64> {
    accepts_in_full(sent, to)
        .iter()
        .flat_map(|accept| accept.entries.iter().map(|entry| entry.slot.0))
        .collect()
}

fn accepts_in_full(sent: &Sent, to: NodeId) -> Vec<Accept> {
    let accept = |(whom, message): &(NodeId, Message)| match message {
        Message::Acceptor(ToAcceptor::Accept(accept)) if *whom == to => Some(accept.clone()),
        _ => None,
    };
    sent.iter().filter_map(accept).collect()
}

fn refusals(sent: &Sent) -> Vec<(u64, NotTaken)> {
    let refusal = |(_, message): &(NodeId, Message)| match message {
        Message::Client(ToClient::Refused { tag, reason }) => Some((*tag, *reason)),
        _ => None,
    };
    sent.iter().filter_map(refusal).collect()
}

/// First slot and count of each Chosen with values.
fn streamed(sent: &Sent) -> Vec<(u64, usize)> {
    let run = |(_, message): &(NodeId, Message)| match message {
        Message::Learner(ToLearner::Chosen(chosen)) if !chosen.values.is_empty() => {
            Some((chosen.first.0, chosen.values.len()))
        }
        _ => None,
    };
    sent.iter().filter_map(run).collect()
}

#[test]
fn it_stands_only_when_a_quorum_calls_the_leader_silent_and_a_learner_listens() {
    let mut world = proposer_with(tuning(), 3);
    let reply = |probe, silent| ToProposer::ProbeReply { probe, promised: Ballot::NONE, silent };
    world.timer(Timer::Probe);
    world.message(acceptor(1), reply(1, true));
    world.message(acceptor(2), reply(1, true));
    assert!(!world.timers.contains(&Timer::Stand), "no learner is subscribed");
    world.message(
        L1,
        ToProposer::Subscribe(Subscribe {
            next: Slot(1),
            synced: Slot::ZERO,
            pinned: None,
            wants: Wants::AtOnce,
        }),
    );
    world.timer(Timer::Probe);
    world.message(acceptor(1), reply(2, true));
    world.message(acceptor(1), reply(2, true));
    world.message(acceptor(2), reply(1, true));
    world.message(acceptor(2), reply(2, false));
    assert!(!world.timers.contains(&Timer::Stand), "duplicate, stale and alive don't make a quorum");
    world.message(acceptor(3), reply(2, true));
    assert!(world.timers.contains(&Timer::Stand));
    world.timer(Timer::Probe);
    world.timer(Timer::Probe);
    assert!(!world.timers.contains(&Timer::Stand), "the leader was heard again meanwhile");
    assert!(world.timer(Timer::Stand).is_empty(), "a timer that had fired already changes nothing");
}

#[test]
fn it_does_not_stand_against_one_who_stood_while_it_waited() {
    let mut world = proposer_with(tuning(), 3);
    world.message(
        L1,
        ToProposer::Subscribe(Subscribe {
            next: Slot(1),
            synced: Slot::ZERO,
            pinned: None,
            wants: Wants::AtOnce,
        }),
    );
    world.timer(Timer::Probe);
    let reply = |probe, silent| ToProposer::ProbeReply { probe, promised: Ballot::NONE, silent };
    for id in [1, 2] {
        world.message(acceptor(id), reply(1, true));
    }
    world.timer(Timer::Stand);
    assert_eq!(
        world.message(acceptor(3), reply(1, true)),
        Sent::new(),
        "an answer from before the wait was over"
    );
    for (id, silent) in [(1, true), (2, false), (3, false)] {
        assert_eq!(world.message(acceptor(id), reply(2, silent)), Sent::new());
    }
    world.timer(Timer::Probe);
    for id in [1, 2] {
        assert_eq!(
            world.message(acceptor(id), reply(3, true)),
            Sent::new(),
            "it waits again before it stands"
        );
    }
    assert!(world.timers.contains(&Timer::Stand));
}

#[test]
fn s5_a_round_is_above_all_that_was_used_or_seen() {
    let seen = Ballot { round: 9, proposer: ProposerId(3), life: 1 };
    let (mut world, first) = proposer_with(tuning(), 3).preparing(seen);
    assert_eq!((first.round, first.proposer, first.life), (10, ProposerId(1), 42));
    let higher = Ballot { round: 15, proposer: ProposerId(2), life: 5 };
    world.message(acceptor(1), ToProposer::Nack { ballot: first, promised: higher });
    let (mut world, second) = world.preparing(Ballot::NONE);
    assert_eq!(second.round, 16);
    world.timer(Timer::PrepareTimeout);
    let (_, third) = world.preparing(Ballot::NONE);
    assert_eq!(third.round, 17, "a ballot whose Phase 1 failed isn't used again");
}

#[test]
fn s6_promises_of_another_ballot_do_not_make_a_leader() {
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    let other = Ballot { round: ballot.round + 1, ..ballot };
    world.message(acceptor(1), promise(ballot, 0, &[]));
    world.message(acceptor(1), promise(ballot, 0, &[]));
    world.message(acceptor(2), promise(other, 0, &[]));
    assert!(matches!(world.proposer.phase, Phase::Preparing(_)));
}

#[test]
fn s4_the_leader_proposes_the_reported_vote_and_fills_the_gap() {
    let old = Ballot { round: 1, proposer: ProposerId(3), life: 1 };
    let reported = batch(1);
    let votes = [Vote { slot: Slot(2), ballot: old, value: reported.clone() }];
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    world.message(acceptor(2), promise(ballot, 0, &[]));
    let sent = world.message(acceptor(1), promise(ballot, 0, &votes));
    let entries: Vec<_> =
        accepts_in_full(&sent, acceptor(3)).into_iter().flat_map(|accept| accept.entries).collect();
    assert_eq!(entries.len(), 2);
    assert!(entries[0].slot == Slot(1) && entries[0].value.is_noop());
    assert!(entries[1].slot == Slot(2) && entries[1].value == reported);
    let sent = world.message(acceptor(1), accepted(ballot, &[1, 2], 0));
    assert_eq!(accepts(&sent, acceptor(1)), Vec::<u64>::new());
    let sent = world.message(acceptor(2), accepted(ballot, &[1, 2], 0));
    assert_eq!(streamed(&sent), vec![(1, 2)]);
    assert_eq!(accepts(&world.message(C7, propose(1, 1)), acceptor(1)), vec![3]);
}

#[test]
fn misdirected_messages_are_refused() {
    let (mut world, ballot) = World::leading();
    for (from, message) in [
        (L1, accepted(ballot, &[1], 0)),
        (C7, promise(ballot, 0, &[])),
        (acceptor(1), propose(1, 1)),
        (
            C7,
            ToProposer::Subscribe(Subscribe {
                next: Slot(1),
                synced: Slot::ZERO,
                pinned: None,
                wants: Wants::AtOnce,
            }),
        ),
        (C7, ToProposer::Settle { slot: Slot(1) }),
        (acceptor(1), ToProposer::Readmit { request: 1, acceptor: AcceptorId(3), disk: DISK }),
        (L1, ToProposer::Status { request: 1 }),
        (NodeId::Proposer(ProposerId(2)), ToProposer::Nack { ballot, promised: ballot }),
    ] {
        let mut effects = Out::default();
        let refused = world.proposer.on_message(from, message, &mut effects).unwrap_err();
        assert!(refused.from == from && effects.is_empty());
    }
}
