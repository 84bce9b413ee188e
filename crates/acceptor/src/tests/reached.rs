//! S12: how far disks have come, told and kept; fresh, stale, duplicate, reordered and misdirected.

use synod_protocol::Incarnation;
use synod_protocol::incarnations::POSITION_STEP;
use synod_protocol::message::{Admission, Admit, Founding};

use super::*;

const A1: AcceptorId = AcceptorId(1);
const A2: AcceptorId = AcceptorId(2);
const A3: AcceptorId = AcceptorId(3);

fn rows(rows: &[(AcceptorId, u64, u64)]) -> Incarnations {
    let mut table = Incarnations::default();
    for (acceptor, disk, position) in rows {
        table.reached(*acceptor, DiskAt::new(DiskId(*disk), *position));
    }
    table
}

fn reached(round: u64, rows: Incarnations) -> ToAcceptor {
    ToAcceptor::Reached { ballot: ballot(round, 1), rows }
}

fn position(world: &World, acceptor: AcceptorId) -> u64 {
    world.acceptor.durable().head().incarnations.get(acceptor).map_or(0, |row| row.position)
}

#[test]
fn s12_positions_of_others_are_kept_when_told_at_the_promised_ballot() {
    let mut world = World::open();
    world.one(P1, prepare(3, 1, 0));
    let told = rows(&[(A1, 11, 0), (A2, 22, 300), (A3, 33, 100)]);
    for round in [2, 4] {
        assert_eq!(world.one(P1, reached(round, told.clone())), None);
        assert!(world.acceptor.durable().head().incarnations.is_empty(), "told at another ballot: {round}");
    }
    let before = world.durable.len();
    for _ in 0..2 {
        assert_eq!(world.one(P1, reached(3, told.clone())), None);
        assert_eq!(world.durable.len(), before + 1, "recorded once");
    }
    world.one(P1, reached(3, rows(&[(A2, 22, 200), (A3, 33, 400)])));
    assert_eq!((position(&world, A2), position(&world, A3)), (300, 400), "the highest of each");
    world.restart();
    assert_eq!((position(&world, A2), position(&world, A3)), (300, 400));
    let told = promise(world.one(P1, prepare(5, 1, 0)));
    assert_eq!(told.incarnations, rows(&[(A2, 22, 300), (A3, 33, 400)]));
    // A full disk keeps what room it has for promises and floors.
    world.acceptor.set_room(Space::Last(1 << 20));
    world.one(P1, reached(5, rows(&[(A2, 22, 900)])));
    assert_eq!(position(&world, A2), 300);
}

#[test]
fn s12_a_readmitted_disk_starts_anew_for_those_that_know_of_it() {
    let mut world = World::open();
    world.one(P1, prepare(3, 1, 0));
    world.one(P1, reached(3, rows(&[(A2, 22, 300)])));
    let mut told = Incarnations::default();
    told.note(A2, Incarnation { since: ballot(2, 1), disk: DiskId(99), position: 100 });
    world.one(P1, reached(3, told.clone()));
    assert_eq!(position(&world, A2), 300, "it has no record of that readmission");
    world.one(P1, ToAcceptor::Admit(Admit { ballot: ballot(4, 1), acceptor: A2, disk: DiskId(99) }));
    assert_eq!(position(&world, A2), 0);
    told.note(A2, Incarnation { since: ballot(4, 1), disk: DiskId(99), position: 100 });
    world.one(P1, reached(4, told));
    assert_eq!(position(&world, A2), 100);
}

#[test]
fn s12_a_disk_that_went_back_stops_and_says_what_to_do() {
    let mut world = World::open();
    for slot in 1..POSITION_STEP {
        let Some(Message::Proposer(ToProposer::Accepted(told))) =
            world.one(P1, accept(1, 1, 0, &[(slot, "v")]))
        else {
            panic!("no vote")
        };
        let records = world.durable.len() as u64;
        assert_eq!(world.acceptor.standing().position, records);
        assert_eq!(told.disk, DiskAt { id: DiskId(11), position: records / POSITION_STEP * POSITION_STEP });
    }
    let mut tell = |round, position| {
        world.batch([(P1, reached(round, rows(&[(A1, 11, position), (A2, 22, 100)])))]).halt
    };
    assert_eq!(tell(1, POSITION_STEP), None, "it is further on");
    for round in [1, 9] {
        let why = tell(round, 2 * POSITION_STEP).expect("it went back, whoever says so");
        assert!(
            why.contains("S12") && why.contains("200 records") && why.contains("readmit-acceptor"),
            "{why}"
        );
    }
    let other = rows(&[(A1, 12, 900)]);
    assert_eq!(world.batch([(P1, reached(1, other))]).halt, None, "another disk's position");
}

#[test]
fn s12_a_readmitted_disk_says_since_when_it_counts() {
    let mut world = World::open();
    assert_eq!(world.acceptor.standing().since, Ballot::NONE);
    world = World::empty();
    world.form(FormStep::Replace { disk: DiskId(77) });
    let admit = Admit { ballot: ballot(7, 1), acceptor: A1, disk: DiskId(77) };
    let mut incarnations = rows(&[(A2, 22, 300)]);
    incarnations.note(A1, Incarnation::new(admit.ballot, admit.disk));
    let founding = Founding { formation: 5, disks: disks() };
    let admission = Admission { admit, founding, incarnations, floor: Slot(4), highest: Slot(9) };
    assert_eq!(world.form(FormStep::Enter(Box::new(admission))), None);
    world.restart();
    assert_eq!(world.acceptor.standing().since, ballot(7, 1));
    assert_eq!(position(&world, A2), 300, "it takes over what the leader knows");
}
