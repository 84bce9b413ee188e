//! S12: how far disks have come, passed on by leaders; disks that went back aren't counted.

use synod_protocol::DiskAt;
use synod_protocol::incarnations::POSITION_STEP;

use super::*;

const A1: AcceptorId = AcceptorId(1);
const A3: AcceptorId = AcceptorId(3);

fn at(steps: u64) -> DiskAt {
    DiskAt { id: DISK, position: steps * POSITION_STEP }
}

fn table(acceptor: AcceptorId, steps: u64) -> Incarnations {
    let mut table = Incarnations::default();
    table.reached(acceptor, at(steps));
    table
}

/// A promise of a disk so far on, with what its acceptor knows of others.
fn promise_at(ballot: Ballot, steps: u64, incarnations: Incarnations) -> ToProposer {
    let ToProposer::Promise(promise) = promise(ballot, 0, &[]) else { unreachable!() };
    ToProposer::Promise(Promise { disk: at(steps), incarnations, ..promise })
}

fn accepted_at(ballot: Ballot, slots: &[u64], steps: u64) -> ToProposer {
    let ToProposer::Accepted(told) = accepted(ballot, slots, 0) else { unreachable!() };
    ToProposer::Accepted(Accepted { disk: at(steps), ..told })
}

/// What is told of positions, and to whom.
fn told(sent: &Sent) -> Vec<(NodeId, Ballot, Incarnations)> {
    let reached = |(to, message): &(NodeId, Message)| match message {
        Message::Acceptor(ToAcceptor::Reached { ballot, rows }) => Some((*to, *ballot, rows.clone())),
        _ => None,
    };
    sent.iter().filter_map(reached).collect()
}

#[test]
fn s12_a_leader_tells_all_how_far_disks_have_come_with_its_heartbeats() {
    let (mut world, ballot) = World::leading();
    assert_eq!(told(&world.timer(Timer::Heartbeat)), [], "nothing to tell");
    let sent = world.message(acceptor(1), accepted_at(ballot, &[], 2));
    assert_eq!(told(&sent), [], "not with every vote");
    world.message(acceptor(1), accepted_at(ballot, &[], 1));
    let expected = (1..=3).map(|id| (acceptor(id), ballot, table(A1, 2))).collect::<Vec<_>>();
    for _ in 0..2 {
        assert_eq!(told(&world.timer(Timer::Heartbeat)), expected, "again and again: messages get lost");
    }
    assert_eq!(world.proposer.incarnations(), Some(&table(A1, 2)), "for the next hello");
}

#[test]
fn s12_a_disk_that_went_back_is_not_counted_in_phase_1_and_is_told() {
    // Whether the others tell of it before or after its promise has come.
    for late in [false, true] {
        let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
        if late {
            assert_eq!(told(&world.message(acceptor(3), promise_at(ballot, 4, table(A1, 3)))), []);
        }
        let sent = world.message(acceptor(1), promise_at(ballot, 8, table(A3, 5)));
        let asked =
            sent.iter().filter(|(_, sent)| matches!(sent, Message::Acceptor(ToAcceptor::Prepare { .. })));
        assert_eq!(
            asked.count(),
            if late { 3 } else { 0 },
            "what others were asked for depends on what it told"
        );
        if late {
            world.message(acceptor(1), promise_at(ballot, 8, table(A3, 5)));
        }
        let sent = world.message(acceptor(3), promise_at(ballot, 4, Incarnations::default()));
        let [(to, at, rows)] = &told(&sent)[..] else { panic!("a3 is told: {sent:?}") };
        assert_eq!((*to, *at, rows.get(A3)), (acceptor(3), ballot, table(A3, 5).get(A3)));
        assert!(matches!(world.proposer.phase, Phase::Preparing(_)), "a3 isn't the second");
        let again = told(&world.timer(Timer::Resend));
        assert_eq!(again.iter().map(|(to, ..)| *to).collect::<Vec<_>>(), [acceptor(2), acceptor(3)]);
        world.message(acceptor(2), promise_at(ballot, 0, Incarnations::default()));
        assert!(matches!(world.proposer.phase, Phase::Leading(_)));
    }
}

#[test]
fn s12_a_disk_exactly_as_far_as_is_known_counts() {
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    world.message(acceptor(1), promise_at(ballot, 0, table(A3, 5)));
    world.message(acceptor(3), promise_at(ballot, 5, Incarnations::default()));
    assert!(matches!(world.proposer.phase, Phase::Leading(_)));
}

#[test]
fn s12_votes_of_a_disk_that_went_back_do_not_count_and_late_ones_do() {
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    world.message(acceptor(1), promise_at(ballot, 0, table(A3, 5)));
    world.message(acceptor(2), promise_at(ballot, 0, Incarnations::default()));
    world.message(C7, propose(1, 1));
    world.message(acceptor(3), accepted_at(ballot, &[1], 4));
    world.message(acceptor(1), accepted_at(ballot, &[1], 1));
    assert_eq!(world.chosen(), 0, "a3 went back");
    // What was heard in this ballot is held against nobody: messages overtake each other.
    world.message(acceptor(2), accepted_at(ballot, &[], 7));
    world.message(acceptor(2), accepted_at(ballot, &[1], 6));
    assert_eq!(world.chosen(), 1);
}
