//! Bugs of the roles that only stop something, or that only show where learners die, pin slots, or disks are full: each is caught by a trial of
//! the role alone.

use std::cell::Cell;

use bytes::Bytes;
use synod_acceptor::{Acceptor, Config, Durable, Record, Space};
use synod_planted::Bug;
use synod_proposer::floor::Reports;
use synod_protocol::message::{Accept, Accepted, Message, ToAcceptor, ToProposer};
use synod_protocol::role::{Effects, Persist, Role};
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, Ballot, Cluster, DiskId, LearnerId, ProposerId, Slot, Value};

use super::check;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// S11: whatever three learners and two observers report, in whatever order, the floor is what two configured learners have synced, within
/// pins and the chosen prefix.
fn reports() {
    let learners: Vec<LearnerId> = (1..=5).map(LearnerId).collect();
    for case in 0..5_u64.pow(5) {
        STEPS.set(STEPS.get() + 1);
        let slots: Vec<u64> = (0..5).map(|place| case / 5_u64.pow(place) % 5 * 10).collect();
        let mut reports = Reports::new(learners[..3].iter().copied().collect());
        for (learner, slot) in learners.iter().zip(&slots) {
            reports.note(*learner, Slot(*slot), (learner.0 == 1).then_some(Slot(25)));
        }
        let mut synced = slots[..3].to_vec();
        synced.sort_unstable();
        let floor = reports.floor(Slot(5), Slot(15));
        assert_eq!(floor.0, (synced[1].min(15) + 1).max(5), "floor within the chosen prefix: {slots:?}");
        let floor = reports.floor(Slot(5), Slot(100));
        assert_eq!(floor.0, (synced[1].min(25) + 1).max(5), "floor within the pin: {slots:?}");
        reports.unpin(LearnerId(1));
        let floor = reports.floor(Slot(5), Slot(100));
        assert_eq!(floor.0, (synced[1] + 1).max(5), "floor without a pin: {slots:?}");
    }
}

struct Memory;

impl Persist<Record> for Memory {
    type Error = std::convert::Infallible;
    fn persist(&mut self, _records: Vec<Record>) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn acceptor() -> Acceptor {
    let config = Config {
        id: AcceptorId(1),
        acceptors: [AcceptorId(1)].into(),
        parameters: 1,
        election_timeout_ms: 100,
        chunk_bytes: 1 << 20,
        cache_bytes: u64::MAX,
    };
    let disks = vec![(AcceptorId(1), DiskId(1))];
    let mut durable = Durable::empty(AcceptorId(1));
    durable.apply(&Record::Prepared { formation: 1, disk: DiskId(1) });
    durable.apply(&Record::Opened { cluster: Cluster::id_of(1, 1, &disks), disks });
    Acceptor::new(config, durable)
}

fn accept(role: &mut Acceptor, round: u64, chosen: u64, floor: u64, slots: &[u64]) -> Option<Accepted> {
    STEPS.set(STEPS.get() + 1);
    let ballot = Ballot { round, proposer: ProposerId(1), life: 1 };
    let entry = |slot: &u64| Entry { slot: Slot(*slot), value: Value::new(Bytes::from(vec![7; 100])) };
    let entries = slots.iter().map(entry).collect();
    let accept = Accept { ballot, chosen: Slot(chosen), floor: Slot(floor), entries };
    let mut effects = Effects::default();
    role.on_message(ProposerId(1).into(), ToAcceptor::Accept(accept), &mut effects).unwrap();
    role.end_of_batch(&mut effects);
    let Ok(released) = effects.release(&mut Memory);
    match released.messages.into_iter().next() {
        Some((_, Message::Proposer(ToProposer::Accepted(accepted)))) => Some(accepted),
        _ => None,
    }
}

/// S11: floors of ballots that are taken, and of those that are refused.
fn floors() {
    let mut role = acceptor();
    accept(&mut role, 5, 0, 1, &[1, 2, 3]);
    assert_eq!(accept(&mut role, 4, 3, 3, &[]), None);
    assert_eq!(role.durable().head().floor, Slot(1), "the floor of a refused accept");
    let told = accept(&mut role, 5, 9, 8, &[]).unwrap();
    assert_eq!((told.floor, told.held), (Slot(8), Slot(7)), "held prefix after the floor");
    let told = accept(&mut role, 5, 9, 8, &[8, 9]).unwrap();
    assert_eq!(told.held, Slot(9), "held prefix after the floor");
}

/// S2: no vote without room for it.
fn room() {
    let mut role = acceptor();
    role.set_room(Space::Last(500));
    let told = accept(&mut role, 5, 0, 1, &[1, 2, 3, 4]).unwrap();
    assert!(told.full && role.durable().head().highest == Slot(2), "voted on {:?}", told.slots);
}

#[test]
fn s11_trials_of_the_roles_alone_catch_bugs_of_floors() {
    const STEPS_TAKEN: &str = "steps";
    let take = || STEPS.take();
    let bugs = [
        (Bug::FloorOfOneReport, "floor within"),
        (Bug::FloorOfAllReports, "floor within"),
        (Bug::FloorOfObservers, "floor within"),
        (Bug::FloorAboveChosen, "floor within the chosen prefix"),
        (Bug::FloorAbovePin, "floor within the pin"),
    ];
    check("reports of learners", STEPS_TAKEN, reports, take, &bugs);
    let bugs = [
        (Bug::FloorOfRefusedAccept, "the floor of a refused accept"),
        (Bug::HeldNotRaisedWithFloor, "held prefix after the floor"),
    ];
    check("floors at an acceptor", STEPS_TAKEN, floors, take, &bugs);
    check("an acceptor's room", STEPS_TAKEN, room, take, &[(Bug::RoomIgnored, "voted on")]);
}
