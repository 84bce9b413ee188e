//! Floors: what they drop and raise, whose they are, and what is told of slots below them. Room, and the lack of it.

use super::*;

fn accept_with_floor(
    round: u64,
    proposer: u16,
    chosen: u64,
    floor: u64,
    entries: &[(u64, &str)],
) -> ToAcceptor {
    let ToAcceptor::Accept(accept) = accept(round, proposer, chosen, entries) else { unreachable!() };
    ToAcceptor::Accept(Accept { floor: Slot(floor), ..accept })
}

fn full_answer(message: Option<Message>) -> Accepted {
    match message {
        Some(Message::Proposer(ToProposer::Accepted(accepted))) => accepted,
        other => panic!("not an accepted: {other:?}"),
    }
}

/// Slots 1 to 4 voted at round 1, the first two held.
fn voted() -> World {
    let mut world = World::open();
    world.one(P1, accept(1, 1, 2, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")]));
    world
}

#[test]
fn s11_a_higher_floor_drops_what_lies_below_and_raises_held_and_highest() {
    let mut world = voted();
    let told = full_answer(world.one(P1, accept_with_floor(1, 1, 3, 4, &[])));
    assert_eq!((told.floor, told.held), (Slot(4), Slot(3)));
    let slots = |world: &World| -> Vec<u64> {
        world.acceptor.durable.votes_above(Slot::ZERO).map(|(slot, _)| slot.0).collect()
    };
    assert_eq!(slots(&world), [4]);
    // An acceptor that missed slots needs nothing below the floor.
    let told = full_answer(world.one(P1, accept_with_floor(1, 1, 8, 9, &[])));
    assert_eq!((told.floor, told.held), (Slot(9), Slot(8)));
    assert_eq!((slots(&world), world.acceptor.durable.head().highest), (vec![], Slot(8)));
    // It goes on from there, and a crash gives back the same.
    assert_eq!(accepted(world.one(P1, accept_with_floor(1, 1, 9, 9, &[(9, "i"), (10, "j")]))).2, 9);
    let before = world.acceptor.durable.clone();
    world.restart();
    assert_eq!(world.acceptor.durable, before);
}

#[test]
fn s11_a_floor_never_falls_and_is_recorded_once() {
    let mut world = voted();
    world.one(P1, accept_with_floor(1, 1, 3, 4, &[]));
    let records = world.durable.len();
    for floor in [4, 2, 1] {
        world.one(P1, accept_with_floor(1, 1, 3, floor, &[]));
        assert_eq!((world.acceptor.durable.head().floor, world.durable.len()), (Slot(4), records));
    }
}

#[test]
fn s11_the_floor_of_a_refused_accept_is_not_taken() {
    let mut world = voted();
    world.one(P2, prepare(5, 2, 0));
    assert!(is_nack(world.one(P1, accept_with_floor(1, 1, 3, 4, &[])), ballot(5, 2)));
    assert_eq!(world.acceptor.durable.head().floor, Slot(1));
}

#[test]
fn s2_a_floor_is_durable_before_it_is_told() {
    let mut world = voted();
    let mut effects = Effects::default();
    world.acceptor.on_message(P1, accept_with_floor(1, 1, 3, 4, &[]), &mut effects).unwrap();
    world.acceptor.end_of_batch(&mut effects);
    let released = effects.release(&mut Memory(&mut world.durable)).unwrap();
    assert_eq!(released.messages.len(), 1);
    assert!(world.durable.contains(&Record::Truncated { floor: Slot(4) }));
}

#[test]
fn s4_below_the_floor_is_never_a_vote() {
    let mut world = voted();
    world.one(P1, accept_with_floor(1, 1, 3, 4, &[]));
    // Neither cast nor told as cast ...
    let told = full_answer(world.one(P1, accept_with_floor(1, 1, 3, 4, &[(2, "b"), (3, "c"), (5, "e")])));
    assert_eq!(format!("{:?}", told.slots), "[5]");
    assert_eq!(world.acceptor.durable.vote(Slot(2)), None);
    // ... nor told as free: a promise says where it begins.
    let told = promise(world.one(P2, prepare(7, 2, 0)));
    assert_eq!((told.floor, told.held, told.after), (Slot(4), Slot(3), Slot(3)));
    assert_eq!(told.votes.iter().map(|vote| vote.slot.0).collect::<Vec<_>>(), [4, 5]);
    // Fetch has nothing there.
    let fetch = ToAcceptor::Fetch(Fetch { first: Slot(2), last: Slot(9) });
    let Some(Message::Proposer(ToProposer::Fetched(fetched))) = world.one(P1, fetch) else { panic!() };
    assert!(fetched.values.is_empty() && fetched.floor == Slot(4) && fetched.held == Slot(3));
}

#[test]
fn s10_a_quorum_read_counts_what_was_dropped() {
    let mut world = World::open();
    world.one(P1, accept_with_floor(1, 1, 8, 9, &[]));
    let reply = world.one(L1, ToAcceptor::QuorumRead { round: 1 });
    assert!(
        matches!(reply, Some(Message::Learner(ToLearner::QuorumReadReply { highest: Slot(8), .. }))),
        "{reply:?}"
    );
}

#[test]
#[should_panic(expected = "S11")]
fn s11_a_falling_floor_is_never_applied() {
    let mut durable = Durable::empty(AcceptorId(1));
    durable.apply(&Record::Truncated { floor: Slot(4) });
    durable.apply(&Record::Truncated { floor: Slot(3) });
}

#[test]
fn s11_a_floor_and_votes_of_one_accept_are_taken_together() {
    let mut world = voted();
    let told = full_answer(world.one(P2, accept_with_floor(3, 2, 6, 7, &[(7, "g"), (8, "h")])));
    assert_eq!((told.held, told.floor), (Slot(6), Slot(7)));
    assert_eq!(world.acceptor.durable.head().promised, ballot(3, 2));
    assert_eq!(accepted(world.one(P2, accept_with_floor(3, 2, 8, 7, &[]))).2, 8);
}

#[test]
fn s2_without_room_nothing_is_voted_on_and_all_else_goes_on() {
    let mut world = voted();
    world.acceptor.set_room(Space::Last(300));
    let told = full_answer(world.one(P1, accept(1, 1, 2, &[(5, "e"), (6, "f"), (7, "g")])));
    assert_eq!((format!("{:?}", told.slots), told.full), ("[5-6]".into(), true), "a third doesn't fit");
    let told = full_answer(world.one(P1, accept(1, 1, 2, &[(7, ""), (4, "d")])));
    assert_eq!((format!("{:?}", told.slots), told.full), ("[4]".into(), true), "what it has voted it tells");
    // A chosen prefix alone is no reason to use the last room.
    let records = world.durable.len();
    assert!(full_answer(world.one(P1, accept(1, 1, 4, &[]))).full);
    assert_eq!(world.durable.len(), records);
    // Promises and floors have room of their own.
    assert_eq!(promise(world.one(P2, prepare(5, 2, 0))).ballot, ballot(5, 2));
    assert_eq!(full_answer(world.one(P2, accept_with_floor(5, 2, 4, 5, &[]))).floor, Slot(5));
    world.acceptor.set_room(Space::Unlimited);
    let told = full_answer(world.one(P2, accept(5, 2, 4, &[(7, "g")])));
    assert_eq!((format!("{:?}", told.slots), told.full), ("[7]".into(), false));
}

#[test]
fn i14_what_is_left_to_the_disk_is_the_lowest_and_the_same_vote() {
    let mut world = voted();
    let before = world.acceptor.durable.clone();
    world.acceptor.durable.evict(2);
    assert_eq!(world.acceptor.durable, before, "it is about what was voted, not where it is");
    let in_memory = |world: &World| -> Vec<u64> {
        let votes = world.acceptor.durable.votes_above(Slot::ZERO);
        votes.filter(|(_, vote)| vote.value.in_memory().is_some()).map(|(slot, _)| slot.0).collect()
    };
    assert_eq!((in_memory(&world), world.acceptor.durable.memory_bytes()), (vec![3, 4], 2));
    // A vote cast anew below what was left to the disk is in memory again, and the next to go.
    world.one(P2, accept(3, 2, 0, &[(1, "a")]));
    assert_eq!((in_memory(&world), world.acceptor.durable.memory_bytes()), (vec![1, 3, 4], 3));
    world.acceptor.durable.evict(2);
    assert_eq!(in_memory(&world), [3, 4]);
    world.one(P2, accept_with_floor(3, 2, 0, 4, &[]));
    assert_eq!((in_memory(&world), world.acceptor.durable.memory_bytes()), (vec![4], 1));
}
