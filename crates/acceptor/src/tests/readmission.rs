//! S12: recording another acceptor's new disk, and entering with a new disk; fresh, stale, duplicate, reordered and misdirected.

use synod_protocol::message::{Admission, Admit, Founding};
use synod_protocol::{Incarnation, Incarnations};

use super::*;

const A1: AcceptorId = AcceptorId(1);
const A3: AcceptorId = AcceptorId(3);

fn admit(round: u64, acceptor: AcceptorId, disk: u64) -> Admit {
    Admit { ballot: ballot(round, 1), acceptor, disk: DiskId(disk) }
}

fn admission(round: u64, disk: u64) -> Admission {
    let admit = admit(round, A1, disk);
    let mut incarnations = Incarnations::default();
    incarnations.note(A1, Incarnation::new(admit.ballot, admit.disk));
    incarnations.note(A3, Incarnation::new(ballot(2, 1), DiskId(99)));
    let founding = Founding { formation: 5, disks: disks() };
    Admission { admit, founding, incarnations, floor: Slot(4), highest: Slot(9) }
}

fn replaced() -> World {
    let mut world = World::empty();
    assert_eq!(world.form(FormStep::Replace { disk: DiskId(77) }), None);
    world
}

fn enter(world: &mut World, admission: Admission) -> Option<String> {
    world.form(FormStep::Enter(Box::new(admission)))
}

#[test]
fn s12_a_replaced_disk_is_recorded_under_the_rule_of_a_vote() {
    let mut world = World::open();
    world.one(P1, prepare(3, 1, 0));
    let refused = world.one(P1, ToAcceptor::Admit(admit(2, A3, 99)));
    assert!(matches!(refused, Some(Message::Proposer(ToProposer::Nack { .. }))), "{refused:?}");
    assert!(world.acceptor.durable().head().incarnations.is_empty());
    let recorded = world.durable.len();
    for _ in 0..2 {
        let Some(Message::Proposer(ToProposer::Admitted(told))) =
            world.one(P1, ToAcceptor::Admit(admit(4, A3, 99)))
        else {
            panic!("not recorded")
        };
        assert_eq!((told.admit, told.disk.id, told.founding.disks), (admit(4, A3, 99), DiskId(11), disks()));
        assert_eq!(world.durable.len(), recorded + 1, "told again, not recorded again");
    }
    assert_eq!(world.one(P1, ToAcceptor::Admit(admit(4, A3, 98))), None, "a second disk at one ballot");
    world.restart();
    assert_eq!(world.acceptor.durable().head().promised, ballot(4, 1), "it raised the promise");
    let told = promise(world.one(P1, prepare(5, 1, 0)));
    assert_eq!(told.incarnations.get(A3), Some(Incarnation::new(ballot(4, 1), DiskId(99))));
    // A later readmission supersedes it; a late one of before changes nothing.
    world.one(P1, ToAcceptor::Admit(admit(6, A3, 100)));
    world.one(P1, ToAcceptor::Admit(admit(4, A3, 99)));
    assert!(world.acceptor.durable().head().incarnations.is_replaced(A3, DiskId(99)));
    assert!(!world.acceptor.durable().head().incarnations.is_replaced(A3, DiskId(100)));
}

#[test]
fn s12_a_disk_that_waits_answers_nobody_and_enters_with_what_was_granted() {
    let mut world = replaced();
    for message in [prepare(1, 1, 0), accept(1, 1, 0, &[(1, "a")]), ToAcceptor::Probe { probe: 1 }] {
        assert_eq!(world.one(P1, message), None);
    }
    assert_eq!(world.one(L1, ToAcceptor::QuorumRead { round: 1 }), None);
    assert!(enter(&mut world, admission(7, 78)).is_some(), "granted to another disk");
    assert_eq!(world.form(FormStep::Replace { disk: DiskId(78) }), None, "keeps the disk it has");
    assert_eq!(enter(&mut world, admission(7, 77)), None);
    assert_eq!(enter(&mut world, admission(7, 77)), None, "told again");
    assert!(enter(&mut world, admission(8, 78)).is_some(), "it is in with another disk");
    world.restart();
    let head = world.acceptor.durable().head().clone();
    assert_eq!(
        (head.promised, head.floor, head.held, head.highest),
        (ballot(7, 1), Slot(4), Slot(3), Slot(9))
    );
    assert_eq!(head.incarnations, admission(7, 77).incarnations);
    assert_eq!(world.acceptor.standing().cluster, Some(Cluster::id_of(77, 5, &disks())));
    assert!(matches!(world.one(P1, prepare(6, 1, 0)), Some(Message::Proposer(ToProposer::Nack { .. }))));
    assert_eq!(promise(world.one(P1, prepare(8, 1, 0))).disk.id, DiskId(77));
    let read = world.one(L1, ToAcceptor::QuorumRead { round: 1 });
    let Some(Message::Learner(ToLearner::QuorumReadReply { highest, disk, incarnations, .. })) = read else {
        panic!("{read:?}")
    };
    assert_eq!((highest, disk.id, incarnations), (Slot(9), DiskId(77), admission(7, 77).incarnations));
}

#[test]
fn s12_only_an_empty_disk_replaces_a_lost_one_and_it_is_never_formed() {
    let mut world = World::open();
    assert!(world.form(FormStep::Replace { disk: DiskId(77) }).is_some(), "it is open");
    assert!(enter(&mut world, admission(7, 77)).is_some(), "it waits for nothing");
    let mut world = World::empty();
    assert!(enter(&mut world, admission(7, 77)).is_some(), "it has no disk yet");
    let mut world = replaced();
    assert!(world.form(FormStep::Prepare { formation: 5, disk: DiskId(11) }).is_some());
    assert!(world.form(FormStep::Open { formation: 5, disks: disks() }).is_some());
}

#[test]
fn s12_misdirected_records_are_refused_and_change_nothing() {
    let mut world = World::open();
    let [own, stranger] = [A1, AcceptorId(9)].map(|id| ToAcceptor::Admit(admit(1, id, 99)));
    for (from, message) in [
        (P1, own),
        (P1, stranger),
        (P2, ToAcceptor::Admit(admit(1, A3, 99))),
        (L1, ToAcceptor::Admit(admit(1, A3, 99))),
        (ADMIN, ToAcceptor::Admit(admit(1, A3, 99))),
    ] {
        assert_eq!(world.refuses(from, message).from, from);
    }
}
