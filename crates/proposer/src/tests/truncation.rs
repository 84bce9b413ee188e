//! The leader's floor: what raises it, whom it is told, and what is needed no longer. Acceptors that have dropped more, or have no room.

use super::*;

fn subscribe(next: u64, synced: u64) -> ToProposer {
    ToProposer::Subscribe(Subscribe {
        next: Slot(next),
        synced: Slot(synced),
        pinned: None,
        wants: Wants::AtOnce,
    })
}

fn floors(sent: &Sent) -> Vec<u64> {
    let told = |(_, message): &(NodeId, Message)| match message {
        Message::Acceptor(ToAcceptor::Accept(accept)) => Some(accept.floor.0),
        _ => None,
    };
    sent.iter().filter_map(told).collect()
}

/// Two slots are chosen; a3 has missed them.
fn two_chosen() -> (World, Ballot) {
    let (mut world, ballot) = World::leading();
    for slot in [1, 2] {
        world.message(C7, propose(slot, 1));
        world.message(acceptor(1), accepted(ballot, &[slot], slot));
        world.message(acceptor(2), accepted(ballot, &[slot], slot));
    }
    assert_eq!(world.chosen(), 2);
    (world, ballot)
}

fn dropped(ballot: Ballot, floor: u64, held: u64) -> ToProposer {
    let ToProposer::Accepted(told) = accepted(ballot, &[], held) else { unreachable!() };
    ToProposer::Accepted(Accepted { floor: Slot(floor), ..told })
}

fn full(ballot: Ballot, full: bool) -> ToProposer {
    let ToProposer::Accepted(told) = accepted(ballot, &[], 0) else { unreachable!() };
    ToProposer::Accepted(Accepted { full, ..told })
}

#[test]
fn s11_the_floor_travels_with_every_accept_and_never_passes_the_chosen_prefix() {
    let (mut world, _) = two_chosen();
    assert_eq!(floors(&world.timer(Timer::Heartbeat)), [1, 1, 1]);
    world.message(L1, subscribe(2, 1));
    assert_eq!(floors(&world.timer(Timer::Heartbeat)), [2, 2, 2]);
    world.message(L1, subscribe(9, 8));
    assert_eq!(floors(&world.timer(Timer::Heartbeat)), [3, 3, 3], "synced under another leader");
    world.message(L1, subscribe(1, 0));
    assert_eq!(floors(&world.timer(Timer::Heartbeat)), [3, 3, 3], "a disk was lost, the floor stays");
}

#[test]
fn s11_a_new_leader_starts_from_the_highest_floor_that_promises_tell() {
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    let ToProposer::Promise(told) = promise(ballot, 9, &[]) else { unreachable!() };
    world.message(acceptor(1), ToProposer::Promise(Promise { floor: Slot(10), ..told }));
    let sent = world.message(acceptor(2), promise(ballot, 4, &[]));
    assert_eq!(floors(&sent), [10, 10, 10]);
    let sent = world.message(C7, propose(1, 1));
    assert_eq!(accepts(&sent, acceptor(1)), [10], "S4: new slots start at the floor");
}

#[test]
fn s11_what_lies_below_the_floor_is_neither_kept_nor_healed() {
    let (mut world, ballot) = two_chosen();
    world.message(acceptor(3), accepted(ballot, &[], 0));
    world.message(L1, subscribe(3, 2));
    world.message(acceptor(1), accepted(ballot, &[], 2));
    let Phase::Leading(leading) = &world.proposer.phase else { panic!() };
    assert_eq!(leading.pipeline.retained_bytes(), 0);
    for _ in 0..40 {
        let sent = world.timer(Timer::Heal);
        assert!(sent.is_empty(), "nothing is missing, nothing fetched: {sent:?}");
    }
}

#[test]
fn s11_what_an_acceptor_has_dropped_is_not_missing() {
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    world.message(acceptor(1), promise(ballot, 6, &[]));
    world.message(acceptor(2), promise(ballot, 0, &[]));
    world.message(acceptor(2), accepted(ballot, &[], 0));
    world.message(acceptor(3), dropped(ballot, 7, 6));
    assert_eq!(floors(&world.timer(Timer::Heartbeat)), [7, 7, 7]);
    for _ in 0..40 {
        assert!(world.timer(Timer::Heal).is_empty());
    }
}

/// a3 has dropped slots that this ballot still needs votes for, and a2 is gone: no Phase-2 quorum is left for them.
#[test]
fn s11_a_leader_behind_an_acceptors_floor_prepares_again() {
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    let vote = Vote { slot: Slot(1), ballot: Ballot { round: 0, ..ballot }, value: batch(1) };
    world.message(acceptor(1), promise(ballot, 0, &[vote]));
    world.message(acceptor(2), promise(ballot, 0, &[]));
    world.message(acceptor(1), accepted(ballot, &[1], 0));
    world.message(acceptor(3), dropped(ballot, 7, 6));
    assert_eq!(floors(&world.timer(Timer::Heartbeat)), [1, 1, 1], "its own prefix isn't that far");
    let patience = tuning().election_timeout_ms / tuning().heal_ms + 4;
    let prepares = |sent: Sent| {
        sent.iter().find_map(|(_, message)| match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) => Some(*ballot),
            _ => None,
        })
    };
    let again = (0..patience).find_map(|_| prepares(world.timer(Timer::Heal)));
    assert!(again.is_some_and(|again| again.round > ballot.round), "{again:?}");
}

#[test]
fn s6_nothing_heard_raises_the_chosen_prefix() {
    let (mut world, ballot) = two_chosen();
    world.message(acceptor(3), dropped(ballot, 7, 6));
    world.message(L1, subscribe(9, 8));
    let fetched = Fetched { first: Slot(3), values: Vec::new(), held: Slot(6), floor: Slot(7) };
    world.message(acceptor(3), ToProposer::Fetched(fetched));
    assert_eq!(world.chosen(), 2);
}

#[test]
fn i14_clients_are_told_busy_while_too_few_acceptors_have_room() {
    let (mut world, ballot) = two_chosen();
    world.message(acceptor(1), full(ballot, true));
    assert_eq!(accepts(&world.message(C7, propose(7, 1)), acceptor(1)), [3], "two of three have room");
    world.message(acceptor(2), full(ballot, true));
    let sent = world.message(C7, propose(8, 1));
    assert!(matches!(refusals(&sent)[..], [(8, NotTaken::Busy { .. })]), "{sent:?}");
    world.message(acceptor(1), full(ballot, false));
    assert_eq!(refusals(&world.message(C7, propose(9, 1))), []);
}

#[test]
fn an_acceptor_without_room_is_not_healed_until_it_has_some() {
    let (mut world, ballot) = two_chosen();
    world.message(acceptor(3), full(ballot, true));
    for _ in 0..20 {
        assert_eq!(accepts(&world.timer(Timer::Heal), acceptor(3)), Vec::<u64>::new());
    }
    world.message(acceptor(3), full(ballot, false));
    assert_eq!(accepts(&world.timer(Timer::Heal), acceptor(3)), [1], "as far as it was stated");
}
