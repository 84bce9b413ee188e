//! Learners that nobody waits for are streamed many values at a time.

use super::*;

const L2: NodeId = NodeId::Learner(LearnerId(2));

fn subscribe(world: &mut World, learner: NodeId, next: u64, wants: Wants) -> Sent {
    let subscribe = Subscribe { next: Slot(next), synced: Slot::ZERO, pinned: None, wants };
    world.message(learner, ToProposer::Subscribe(subscribe))
}

/// A leader of l1, for which clients wait, and l2, for which none does.
fn leading_two(tuning: Tuning) -> (World, Ballot) {
    let (mut world, ballot) = proposer_with(tuning, 3).leading_with(&[]);
    subscribe(&mut world, L2, 1, Wants::Late);
    (world, ballot)
}

/// First slot and count of what `sent` streams to each.
fn told(sent: &Sent) -> [Vec<(u64, usize)>; 2] {
    [L1, L2].map(|learner| streamed(&sent.iter().filter(|(to, _)| *to == learner).cloned().collect()))
}

/// Chooses the next slot, which is `slot`.
fn choose(world: &mut World, ballot: Ballot, slot: u64) -> Sent {
    world.message(C7, propose(slot, 1));
    world.message(acceptor(1), accepted(ballot, &[slot], 0));
    world.message(acceptor(2), accepted(ballot, &[slot], 0))
}

#[test]
fn what_nobody_waits_for_comes_late_and_in_one_message() {
    let (mut world, ballot) = leading_two(Tuning { thrifty_ms: 5, ..tuning() });
    for slot in 1..=3 {
        assert_eq!(told(&choose(&mut world, ballot, slot)), [vec![(slot, 1)], vec![]]);
    }
    assert!(world.timers.contains(&Timer::Thrifty));
    assert_eq!(told(&world.timer(Timer::Thrifty)), [vec![], vec![(1, 3)]]);
    assert_eq!(told(&choose(&mut world, ballot, 4)), [vec![(4, 1)], vec![]]);
    assert_eq!(
        told(&world.timer(Timer::Heartbeat)),
        [vec![], vec![(4, 1)]],
        "before it is told that it is chosen"
    );
    assert_eq!(told(&world.timer(Timer::Thrifty)), [vec![], vec![]]);
}

#[test]
fn as_much_as_two_batches_or_without_a_delay_it_comes_at_once() {
    let bytes = batch(1).len() as u64;
    let (mut world, ballot) = leading_two(Tuning { thrifty_ms: 5, batch_bytes: bytes, ..tuning() });
    assert_eq!(told(&choose(&mut world, ballot, 1))[1], []);
    assert_eq!(told(&choose(&mut world, ballot, 2))[1], [(1, 2)]);
    let (mut world, ballot) = leading_two(Tuning { thrifty_ms: 0, ..tuning() });
    assert_eq!(told(&choose(&mut world, ballot, 1)), [vec![(1, 1)], vec![(1, 1)]]);
}

#[test]
fn a_learner_that_is_waited_for_now_gets_at_once_what_it_lacks() {
    // Its subscription alone would be answered with one slot.
    let tuning = Tuning { thrifty_ms: 5, chunk_bytes: 1, ..tuning() };
    let (mut world, ballot) = leading_two(tuning);
    (1..=3).for_each(|slot| drop(choose(&mut world, ballot, slot)));
    let sent = told(&subscribe(&mut world, L2, 1, Wants::AtOnce));
    assert_eq!(sent[1][0], (1, 3));
    assert_eq!(told(&choose(&mut world, ballot, 4)), [vec![(4, 1)], vec![(4, 1)]]);
}

#[test]
fn values_are_kept_until_they_are_streamed_late_though_all_acceptors_hold_them() {
    let (mut world, ballot) = leading_two(Tuning { thrifty_ms: 5, ..tuning() });
    choose(&mut world, ballot, 1);
    (1..=3).for_each(|id| drop(world.message(acceptor(id), accepted(ballot, &[], 1))));
    assert_eq!(told(&world.timer(Timer::Thrifty))[1], [(1, 1)]);
}
