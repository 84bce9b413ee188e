//! Who is asked at once, when the others are, and who takes whose place.

use super::*;

const MS: u64 = 5;

fn leading_five() -> (World, Ballot) {
    let tuning = Tuning { window_slots: 64, thrifty_ms: MS, ..tuning() };
    let (mut world, ballot) = proposer_with(tuning, 5).preparing(Ballot::NONE);
    (1..=3).for_each(|id| drop(world.message(acceptor(id), promise(ballot, 0, &[]))));
    assert!(matches!(world.proposer.phase, Phase::Leading(_)));
    (world, ballot)
}

/// Whom `sent` asks for votes on which slots.
fn asked(sent: &Sent) -> Vec<(u16, Vec<u64>)> {
    let slots = (1..=5).map(|id| (id, accepts(sent, acceptor(id))));
    slots.filter(|(_, slots)| !slots.is_empty()).collect()
}

fn put(world: &mut World, tag: u64) -> Vec<(u16, Vec<u64>)> {
    asked(&world.message(C7, propose(tag, 1)))
}

fn vote(world: &mut World, ballot: Ballot, ids: &[u16], slots: &[u64]) {
    ids.iter().for_each(|id| drop(world.message(acceptor(*id), accepted(ballot, slots, 0))));
}

#[test]
fn a_quorum_is_asked_at_once_and_the_others_all_together_later() {
    let (mut world, ballot) = leading_five();
    for slot in [1, 2] {
        assert_eq!(put(&mut world, slot), (1..=3).map(|id| (id, vec![slot])).collect::<Vec<_>>());
        vote(&mut world, ballot, &[1, 2, 3], &[slot]);
    }
    assert_eq!(world.chosen(), 2);
    assert!(world.timers.contains(&Timer::Thrifty));
    let sent = world.timer(Timer::Thrifty);
    assert_eq!(asked(&sent), [(4, vec![1, 2]), (5, vec![1, 2])], "though they are chosen");
    assert!(!world.timers.contains(&Timer::Thrifty), "nothing is kept back");
    vote(&mut world, ballot, &[4, 5], &[1, 2]);
    assert!(asked(&world.timer(Timer::Resend)).is_empty() && asked(&world.timer(Timer::Resend)).is_empty());
}

#[test]
fn one_that_hangs_is_replaced_once_a_spare_keeps_up() {
    let (mut world, ballot) = leading_five();
    put(&mut world, 1);
    vote(&mut world, ballot, &[1, 3], &[1]);
    world.timer(Timer::Thrifty);
    vote(&mut world, ballot, &[4], &[1]);
    assert_eq!(world.chosen(), 1, "the spares' votes count as any");
    assert_eq!(put(&mut world, 2).len(), 3);
    assert!(world.timers.contains(&Timer::Thrifty), "set for every round");
    vote(&mut world, ballot, &[1, 3], &[2]);
    assert_eq!(asked(&world.timer(Timer::Thrifty)), [(4, vec![2]), (5, vec![2])]);
    vote(&mut world, ballot, &[4], &[2]);
    // a2 hasn't voted on what it was sent two rounds ago; a5 hasn't either.
    assert_eq!(put(&mut world, 3), [(1, vec![3]), (3, vec![3]), (4, vec![3])]);
    vote(&mut world, ballot, &[1, 3, 4], &[3]);
    assert_eq!(asked(&world.timer(Timer::Thrifty)), [(2, vec![3]), (5, vec![3])]);
}

#[test]
fn none_is_replaced_while_no_spare_is_better() {
    let (mut world, _) = leading_five();
    for tag in 1..=4 {
        assert_eq!(put(&mut world, tag), (1..=3).map(|id| (id, vec![tag])).collect::<Vec<_>>());
        world.timer(Timer::Thrifty);
    }
}

#[test]
fn a_closed_connection_calls_the_spares_at_once() {
    let (mut world, ballot) = leading_five();
    put(&mut world, 1);
    let sent = world.step(|proposer, effects| proposer.on_link(acceptor(1), false, effects));
    assert_eq!(asked(&sent), [(4, vec![1]), (5, vec![1])]);
    vote(&mut world, ballot, &[2, 3, 4], &[1]);
    assert_eq!((world.chosen(), put(&mut world, 2)), (1, [2, 3, 4].map(|id| (id, vec![2])).to_vec()));
    // Back again, it is a spare; and takes the place of the next that is gone only after a5, which never was.
    world.step(|proposer, effects| proposer.on_link(acceptor(1), true, effects));
    world.step(|proposer, effects| proposer.on_link(acceptor(3), false, effects));
    assert_eq!(put(&mut world, 3), [2, 4, 5].map(|id| (id, vec![3])));
}

#[test]
fn spares_are_sent_what_is_as_much_as_two_batches_without_waiting() {
    let tuning = Tuning { window_slots: 64, thrifty_ms: MS, batch_bytes: batch(1).len() as u64, ..tuning() };
    let (mut world, _) = proposer_with(tuning, 3).leading_with(&[]);
    assert_eq!(put(&mut world, 1), [(1, vec![1]), (2, vec![1])]);
    assert_eq!(put(&mut world, 2), [(1, vec![2]), (2, vec![2]), (3, vec![1, 2])]);
}

#[test]
fn healing_waits_until_the_spares_were_asked() {
    let (mut world, ballot) = leading_five();
    put(&mut world, 1);
    vote(&mut world, ballot, &[1, 2, 3], &[1]);
    put(&mut world, 2);
    // They have told that they hold nothing, and haven't been asked for anything either.
    vote(&mut world, ballot, &[4, 5], &[]);
    assert!((0..3).all(|_| asked(&world.timer(Timer::Heal)).is_empty()));
    world.timer(Timer::Thrifty);
    let healed: Vec<_> = (0..3).flat_map(|_| asked(&world.timer(Timer::Heal))).collect();
    assert!(healed.contains(&(4, vec![1])), "{healed:?}");
    // Once all hold what all were told was chosen, nothing is healed, though slot 2 is on its way.
    (1..=5).for_each(|id| drop(world.message(acceptor(id), accepted(ballot, &[], 1))));
    assert!((0..40).all(|_| world.timer(Timer::Heal).is_empty()));
}

#[test]
fn nothing_is_sent_late_by_who_leads_no_longer() {
    let (mut world, ballot) = leading_five();
    put(&mut world, 1);
    let promised = Ballot { round: ballot.round + 3, ..ballot };
    world.message(acceptor(1), ToProposer::Nack { ballot, promised });
    assert!(!world.timers.contains(&Timer::Thrifty));
    assert!(asked(&world.timer(Timer::Thrifty)).is_empty());
}
