//! S12: the leader's steps of a readmission, and whose promises and votes count.

use synod_protocol::Incarnation;
use synod_protocol::message::{Admit, Admitted, Founding, Readmission};

use super::*;
use crate::readmission::UNASKED_CHECKS;

const A3: AcceptorId = AcceptorId(3);
const NEW: DiskId = DiskId(30);

fn ask(world: &mut World) -> Readmission {
    let sent = world.message(C7, ToProposer::Readmit { request: 4, acceptor: A3, disk: NEW });
    let answer = sent.into_iter().find_map(|(_, message)| match message {
        Message::Client(ToClient::Readmission { request: 4, readmission }) => Some(readmission),
        _ => None,
    });
    answer.expect("it is answered")
}

fn admitted(ballot: Ballot, disk: DiskId) -> ToProposer {
    let admit = Admit { ballot, acceptor: A3, disk: NEW };
    let founding = Founding { formation: 5, disks: Vec::new() };
    ToProposer::Admitted(Admitted { admit, disk: disk.into(), founding })
}

fn row(ballot: Ballot, disk: DiskId) -> Incarnations {
    let mut table = Incarnations::default();
    table.note(A3, Incarnation::new(ballot, disk));
    table
}

/// A promise without votes of another disk, or with a table.
fn promise_of(ballot: Ballot, disk: DiskId, table: Incarnations) -> ToProposer {
    let ToProposer::Promise(promise) = promise(ballot, 0, &[]) else { unreachable!() };
    ToProposer::Promise(Promise { disk: disk.into(), incarnations: table, ..promise })
}

/// A leader in the ballot begun to readmit a3, which inherited slot 1.
fn readmitting() -> (World, Ballot) {
    let (mut world, ballot) = World::leading();
    assert!(matches!(ask(&mut world), Readmission::UnderWay { .. }));
    let fresh = world.proposer.highest_ballot;
    assert!(fresh > ballot, "a ballot of its own");
    let vote = Vote { slot: Slot(1), ballot, value: batch(1) };
    world.message(acceptor(3), promise(fresh, 0, &[]));
    world.message(acceptor(1), promise(fresh, 0, &[vote]));
    assert!(matches!(world.proposer.phase, Phase::Preparing(_)), "S12: a3's lost disk isn't counted");
    let sent = world.message(acceptor(2), promise(fresh, 0, &[]));
    let asked: Vec<_> = sent
        .iter()
        .filter(|(_, message)| matches!(message, Message::Acceptor(ToAcceptor::Admit(_))))
        .map(|(to, _)| *to)
        .collect();
    assert_eq!(asked, [acceptor(1), acceptor(2)]);
    (world, fresh)
}

#[test]
fn s12_a_disk_is_granted_once_a_quorum_without_it_holds_and_has_recorded() {
    let (mut world, ballot) = readmitting();
    world.message(acceptor(3), accepted(ballot, &[1], 0));
    world.message(acceptor(1), accepted(ballot, &[1], 0));
    assert_eq!(world.chosen(), 0, "S12: the lost disk's vote doesn't count");
    assert_eq!(ask(&mut world), Readmission::UnderWay { ballot, slots: 1, acceptors: 2 });
    world.message(acceptor(2), accepted(ballot, &[1], 0));
    world.message(acceptor(1), admitted(ballot, DISK));
    world.message(acceptor(1), admitted(ballot, DISK));
    world.message(acceptor(3), admitted(ballot, DISK));
    world.message(acceptor(2), admitted(Ballot { round: 1, ..ballot }, DISK));
    assert_eq!(ask(&mut world), Readmission::UnderWay { ballot, slots: 0, acceptors: 1 });
    assert_eq!(
        world.proposer.incarnations(),
        Some(&Incarnations::default()),
        "not before a quorum has recorded it"
    );
    let again = world.timer(Timer::Resend);
    assert!(again.iter().any(|(to, message)| {
        *to == acceptor(2) && matches!(message, Message::Acceptor(ToAcceptor::Admit(_)))
    }));
    world.message(acceptor(2), admitted(ballot, DISK));
    for _ in 0..2 {
        let Readmission::Granted(admission) = ask(&mut world) else { panic!("granted, and again") };
        assert_eq!(admission.admit, Admit { ballot, acceptor: A3, disk: NEW });
        assert_eq!((admission.incarnations, admission.highest), (row(ballot, NEW), Slot(1)));
        assert_eq!(
            world.proposer.incarnations(),
            Some(&row(ballot, NEW)),
            "it is dialed as the disk that counts"
        );
    }
}

/// Found by the simulator: two admin commands at once took each other's ballot away for ever, each before the other had heard of its grant.
#[test]
fn s12_a_grant_is_told_before_another_disk_has_its_turn() {
    let other = |world: &mut World| {
        let ask = ToProposer::Readmit { request: 9, acceptor: AcceptorId(2), disk: DiskId(20) };
        world.message(ClientId(8).into(), ask);
        world.proposer.highest_ballot
    };
    let granted = || {
        let (mut world, ballot) = readmitting();
        for from in [1, 2] {
            world.message(acceptor(from), accepted(ballot, &[1], 0));
            world.message(acceptor(from), admitted(ballot, DISK));
        }
        (world, ballot)
    };
    let (mut world, ballot) = granted();
    assert_eq!(other(&mut world), ballot, "whoever asked for a3 hasn't heard of it");
    assert!(matches!(ask(&mut world), Readmission::Granted(_)));
    assert!(other(&mut world) > ballot);
    // One that isn't asked for any more isn't waited for.
    let (mut world, ballot) = granted();
    for _ in 0..UNASKED_CHECKS {
        assert_eq!(other(&mut world), ballot);
        for from in [1, 2] {
            world.message(acceptor(from), accepted(ballot, &[], 1));
        }
        world.timer(Timer::Check);
    }
    assert!(other(&mut world) > ballot);
}

#[test]
fn s12_what_was_held_already_must_be_held_by_a_quorum_without_it() {
    let (mut world, _) = World::leading();
    ask(&mut world);
    let ballot = world.proposer.highest_ballot;
    world.message(acceptor(1), promise(ballot, 5, &[]));
    world.message(acceptor(2), promise(ballot, 0, &[]));
    for from in [1, 2] {
        world.message(acceptor(from), admitted(ballot, DISK));
    }
    world.message(acceptor(1), accepted(ballot, &[], 5));
    assert!(matches!(ask(&mut world), Readmission::UnderWay { slots: 5, .. }));
    world.message(acceptor(3), accepted(ballot, &[], 5));
    world.message(acceptor(2), accepted(ballot, &[], 3));
    assert!(matches!(ask(&mut world), Readmission::UnderWay { slots: 2, .. }));
    world.message(acceptor(2), accepted(ballot, &[], 5));
    assert!(matches!(ask(&mut world), Readmission::Granted(_)));
}

#[test]
fn s12_a_nack_ends_the_ballot_and_the_next_one_is_fresh() {
    let (mut world, ballot) = readmitting();
    let promised = Ballot { round: 9, proposer: ProposerId(2), life: 1 };
    world.message(acceptor(2), ToProposer::Nack { ballot, promised });
    assert!(matches!(ask(&mut world), Readmission::NotLeading { .. }));
    world.message(acceptor(1), admitted(ballot, DISK));
    world.message(acceptor(2), admitted(ballot, DISK));
    assert!(matches!(ask(&mut world), Readmission::NotLeading { .. }), "records of a ballot that is over");
}

#[test]
fn s12_an_older_disk_is_not_counted_whenever_it_turns_out_to_be_older() {
    // First the old disk, then a table that tells of it: everybody is asked again.
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    let since = Ballot { round: 0, proposer: ProposerId(3), life: 3 };
    world.message(acceptor(3), promise_of(ballot, DISK, Incarnations::default()));
    let again = world.message(acceptor(1), promise_of(ballot, DISK, row(since, NEW)));
    let prepares =
        again.iter().filter(|(_, message)| matches!(message, Message::Acceptor(ToAcceptor::Prepare { .. })));
    assert_eq!(prepares.count(), 3);
    for from in [1, 3] {
        world.message(acceptor(from), promise_of(ballot, DISK, row(since, NEW)));
    }
    assert!(matches!(world.proposer.phase, Phase::Preparing(_)), "a3's old disk isn't a second");
    world.message(acceptor(3), promise_of(ballot, NEW, row(since, NEW)));
    assert!(matches!(world.proposer.phase, Phase::Leading(_)));
    assert_eq!(world.proposer.incarnations(), Some(&row(since, NEW)));
}

#[test]
fn s12_a_readmission_without_quorums_or_of_a_stranger_is_refused() {
    let quorums = QuorumSystem::flexible((1..=3).map(AcceptorId), 3, 1).unwrap();
    let learners = [LearnerId(1)].into();
    let config = Config { id: ProposerId(1), life: 1, quorums, learners, tuning: tuning() };
    let mut world = World { proposer: Proposer::new(config), timers: Vec::new() };
    let Readmission::Refused { why } = ask(&mut world) else { panic!("a3 is needed by every Phase 1") };
    assert!(why.contains("a3") && why.contains("quorums of 3 and 1"), "{why}");
    let mut world = proposer_with(tuning(), 2);
    assert!(matches!(ask(&mut world), Readmission::Refused { .. }), "there is no a3");
    assert_eq!(ask(&mut proposer_with(tuning(), 3)), Readmission::NotLeading { leader: None });
}
