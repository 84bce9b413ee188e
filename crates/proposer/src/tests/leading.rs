//! Past Phase 1: votes, batches, limits, resending, healing, learners, stepping down.

use super::*;

#[test]
fn s6_a_slot_is_chosen_by_distinct_votes_of_this_ballot_alone() {
    let (mut world, ballot) = World::leading();
    world.message(C7, propose(1, 1));
    let other = Ballot { round: ballot.round + 1, ..ballot };
    world.message(acceptor(1), accepted(ballot, &[1], 0));
    world.message(acceptor(1), accepted(ballot, &[1], 0));
    world.message(acceptor(2), accepted(other, &[1], 0));
    assert_eq!(world.chosen(), 0);
    let sent = world.message(acceptor(2), accepted(ballot, &[1], 0));
    assert_eq!((world.chosen(), streamed(&sent)), (1, vec![(1, 1)]));
    let sent = world.message(acceptor(3), accepted(ballot, &[1], 0));
    assert_eq!(streamed(&sent), Vec::new(), "a quorum is reached once");
}

#[test]
fn s7_slots_are_streamed_in_order_whatever_the_order_of_votes() {
    let (mut world, ballot) = World::leading();
    world.message(C7, propose(1, 1));
    world.message(C7, propose(2, 1));
    for id in [1, 2] {
        assert_eq!(streamed(&world.message(acceptor(id), accepted(ballot, &[2], 0))), Vec::new());
    }
    world.message(acceptor(3), accepted(ballot, &[1], 0));
    assert_eq!(streamed(&world.message(acceptor(2), accepted(ballot, &[1], 0))), vec![(1, 2)]);
}

#[test]
fn batches_form_while_the_window_is_full() {
    let (mut world, ballot) = World::leading();
    for tag in 1..=7 {
        let sent = world.message(C7, propose(tag, 1));
        let expected: Vec<u64> = if tag <= 2 { vec![tag] } else { Vec::new() };
        assert_eq!(accepts(&sent, acceptor(1)), expected, "two slots fit the window");
    }
    world.message(acceptor(1), accepted(ballot, &[1], 0));
    let sent = world.message(acceptor(2), accepted(ballot, &[1], 0));
    let [accept] = accepts_in_full(&sent, acceptor(1)).try_into().unwrap();
    assert_eq!((accept.chosen, accept.entries.len()), (Slot(1), 1));
    assert_eq!(synod_protocol::command::count(&accept.entries[0].value), Some(4), "at most batch_commands");
}

#[test]
fn a_large_proposal_is_cut_into_batches() {
    let (mut world, _) = World::leading();
    let sent = world.message(C7, propose(1, 9));
    let counts: Vec<_> = accepts_in_full(&sent, acceptor(1))
        .iter()
        .flat_map(|accept| accept.entries.iter().map(|entry| synod_protocol::command::count(&entry.value)))
        .collect();
    assert_eq!(counts, vec![Some(4), Some(4)]);
}

#[test]
fn it_is_busy_over_its_limit_and_refuses_what_is_malformed() {
    let tuning = Tuning { queue_bytes: batch(3).len() as u64, ..tuning() };
    let (mut world, _) = proposer_with(tuning, 3).leading_with(&[]);
    (1..=2).for_each(|tag| assert_eq!(refusals(&world.message(C7, propose(tag, 1))), Vec::new()));
    assert_eq!(refusals(&world.message(C7, propose(3, 3))), Vec::new());
    let busy = NotTaken::Busy { retry_ms: Tuning::default().busy_retry_ms };
    assert_eq!(refusals(&world.message(C7, propose(4, 1))), vec![(4, busy)]);
    let malformed = ToProposer::Propose(Propose { tag: 5, commands: Value::new(vec![9, 0, 0].into()) });
    assert_eq!(refusals(&world.message(C7, malformed)), vec![(5, NotTaken::Malformed)]);
}

#[test]
fn it_is_busy_when_what_waits_would_take_more_than_two_resend_rounds() {
    let (mut world, ballot) = World::leading();
    let mut tag = 0;
    let mut offer = |world: &mut World| {
        tag += 1;
        refusals(&world.message(C7, propose(tag, 1))).len()
    };
    let choose = |world: &mut World, slots: &[u64]| {
        [1, 2].into_iter().for_each(|id| drop(world.message(acceptor(id), accepted(ballot, slots, 0))));
    };
    // Two slots take a command each, the rest waits; nothing has waited long, and then nothing gets a slot: no reason.
    (0..40).for_each(|_| assert_eq!(offer(&mut world), 0));
    (0..3).for_each(|_| drop(world.timer(Timer::Resend)));
    assert_eq!(offer(&mut world), 0);
    // A slot of four commands in a round, while far more than eight wait.
    choose(&mut world, &[1]);
    world.timer(Timer::Resend);
    assert_eq!(offer(&mut world), 1);
    // At a pace of sixteen in a round, what waits is soon through.
    (2..=5).for_each(|slot| choose(&mut world, &[slot]));
    world.timer(Timer::Resend);
    assert_eq!(offer(&mut world), 0);
}

#[test]
fn what_waits_is_refused_when_it_steps_down_and_what_is_in_flight_is_not() {
    let (mut world, ballot) = World::leading();
    (1..=4).for_each(|tag| drop(world.message(C7, propose(tag, 1))));
    let higher = Ballot { round: ballot.round + 3, proposer: ProposerId(2), life: 1 };
    let sent = world.message(acceptor(1), ToProposer::Nack { ballot, promised: higher });
    let reason = NotTaken::NotLeader { leader: Some(ProposerId(2)) };
    assert_eq!(refusals(&sent), vec![(3, reason), (4, reason)]);
    assert_eq!(refusals(&world.message(C7, propose(5, 1))), vec![(5, reason)]);
}

#[test]
fn a_refusal_of_an_earlier_ballot_is_stale() {
    let (mut world, ballot) = World::leading();
    let earlier = Ballot { round: 0, ..ballot };
    let higher = Ballot { round: ballot.round + 3, ..ballot };
    world.message(acceptor(1), ToProposer::Nack { ballot: earlier, promised: higher });
    world.message(acceptor(1), ToProposer::Nack { ballot, promised: ballot });
    assert!(matches!(world.proposer.phase, Phase::Leading(_)));
}

#[test]
fn what_was_not_answered_is_sent_again_in_the_same_ballot() {
    let (mut world, ballot) = World::leading();
    world.message(C7, propose(1, 1));
    world.message(acceptor(1), accepted(ballot, &[1], 0));
    assert_eq!(accepts(&world.timer(Timer::Resend), acceptor(2)), Vec::<u64>::new(), "just sent");
    let sent = world.timer(Timer::Resend);
    assert_eq!(accepts(&sent, acceptor(1)), Vec::<u64>::new());
    assert_eq!(accepts(&sent, acceptor(2)), vec![1]);
    assert!(accepts_in_full(&sent, acceptor(3)).iter().all(|accept| accept.ballot == ballot));
}

#[test]
fn it_steps_down_without_a_quorum_and_without_learners() {
    let (mut world, ballot) = World::leading();
    world.message(acceptor(1), accepted(ballot, &[], 0));
    world.message(acceptor(2), accepted(ballot, &[], 0));
    world.timer(Timer::Check);
    assert!(matches!(world.proposer.phase, Phase::Leading(_)));
    world.message(acceptor(1), accepted(ballot, &[], 0));
    world.timer(Timer::Check);
    assert!(matches!(world.proposer.phase, Phase::Probing(_)), "one of three isn't a quorum");

    let (mut world, ballot) = World::leading();
    world.step(|proposer, effects| proposer.on_link(L1, false, effects));
    for check in 1..=5 {
        assert!(matches!(world.proposer.phase, Phase::Leading(_)), "check {check}");
        world.message(acceptor(1), accepted(ballot, &[], 0));
        world.message(acceptor(2), accepted(ballot, &[], 0));
        world.timer(Timer::Check);
    }
    assert!(matches!(world.proposer.phase, Phase::Probing(_)));
}

/// Slots 1 and 2 chosen by a1 and a2, known held there; a3 has voted on nothing.
fn with_a_laggard() -> (World, Ballot) {
    let (mut world, ballot) = World::leading();
    for tag in 1..=2 {
        world.message(C7, propose(tag, 1));
    }
    for id in [1, 2] {
        world.message(acceptor(id), accepted(ballot, &[1, 2], 0));
    }
    world.timer(Timer::Heartbeat);
    for (id, held) in [(1, 2), (2, 2), (3, 0)] {
        world.message(acceptor(id), accepted(ballot, &[], held));
    }
    (world, ballot)
}

#[test]
fn an_acceptor_that_missed_slots_is_healed_from_memory() {
    let (mut world, ballot) = with_a_laggard();
    world.timer(Timer::Heal);
    assert_eq!(
        accepts(&world.timer(Timer::Heal), acceptor(3)),
        Vec::<u64>::new(),
        "its answer may be on the way"
    );
    let sent = world.timer(Timer::Heal);
    assert_eq!((accepts(&sent, acceptor(3)), accepts(&sent, acceptor(1))), (vec![1, 2], Vec::new()));
    assert!(accepts_in_full(&sent, acceptor(3)).iter().all(|accept| accept.ballot == ballot));
    assert_eq!(accepts(&world.timer(Timer::Heal), acceptor(3)), Vec::<u64>::new(), "one batch is under way");
    world.message(acceptor(3), accepted(ballot, &[1, 2], 2));
    (0..9).for_each(|_| assert_eq!(accepts(&world.timer(Timer::Heal), acceptor(3)), Vec::<u64>::new()));
}

#[test]
fn an_acceptor_is_healed_with_values_fetched_from_another() {
    let votes = [];
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    world.message(acceptor(1), promise(ballot, 2, &votes));
    world.message(acceptor(2), promise(ballot, 0, &votes));
    world.message(acceptor(1), accepted(ballot, &[], 2));
    world.message(acceptor(2), accepted(ballot, &[], 0));
    let fetches = |sent: &Sent| -> Vec<(NodeId, u64)> {
        let fetch = |(to, message): &(NodeId, Message)| match message {
            Message::Acceptor(ToAcceptor::Fetch(fetch)) => Some((*to, fetch.first.0)),
            _ => None,
        };
        sent.iter().filter_map(fetch).collect()
    };
    let asked = (0..3).map(|_| world.timer(Timer::Heal)).flat_map(|sent| fetches(&sent)).collect::<Vec<_>>();
    assert_eq!(asked, vec![(acceptor(1), 1)], "asked once, of the one that holds it");
    let fetched = |first: u64| {
        ToProposer::Fetched(Fetched {
            first: Slot(first),
            values: vec![batch(1), batch(2)],
            held: Slot(2),
            floor: Slot(1),
        })
    };
    world.message(acceptor(2), fetched(1));
    assert_eq!(
        accepts(&world.timer(Timer::Heal), acceptor(2)),
        Vec::<u64>::new(),
        "not from whom it was asked"
    );
    world.message(acceptor(1), fetched(1));
    assert_eq!(accepts(&world.timer(Timer::Heal), acceptor(2)), vec![1, 2]);
}

#[test]
fn it_prepares_again_when_a_chosen_value_is_held_by_none_that_answers() {
    let (mut world, ballot) = proposer_with(tuning(), 3).preparing(Ballot::NONE);
    world.message(acceptor(1), promise(ballot, 2, &[]));
    world.message(acceptor(2), promise(ballot, 0, &[]));
    let patience = tuning().election_timeout_ms / tuning().heal_ms + 8;
    let mut prepared = None;
    for _ in 0..patience {
        world.message(acceptor(2), accepted(ballot, &[], 0));
        world.message(acceptor(3), accepted(ballot, &[], 0));
        let sent = world.timer(Timer::Heal);
        prepared = sent.iter().find_map(|(_, message)| match message {
            Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) => Some(*ballot),
            _ => None,
        });
        if prepared.is_some() {
            break;
        }
    }
    assert!(prepared.is_some_and(|again| again.round > ballot.round), "S5: {prepared:?} after {ballot:?}");
}

#[test]
fn settle_fills_with_noops_within_the_window() {
    let (mut world, _) = World::leading();
    let beyond = ToProposer::Settle { slot: Slot(1 + tuning().window_slots) };
    assert_eq!(accepts(&world.message(L1, beyond), acceptor(1)), Vec::<u64>::new());
    let sent = world.message(L1, ToProposer::Settle { slot: Slot(2) });
    let entries: Vec<_> =
        accepts_in_full(&sent, acceptor(1)).into_iter().flat_map(|accept| accept.entries).collect();
    assert!(entries.len() == 2 && entries.iter().all(|entry| entry.value.is_noop()));
    let again = world.message(L1, ToProposer::Settle { slot: Slot(2) });
    assert_eq!(accepts(&again, acceptor(1)), Vec::<u64>::new());
}

#[test]
fn a_learner_that_subscribes_gets_what_is_kept_from_where_it_is() {
    let (mut world, _) = with_a_laggard();
    assert_eq!(
        streamed(&world.message(
            L1,
            ToProposer::Subscribe(Subscribe {
                next: Slot(2),
                synced: Slot::ZERO,
                pinned: None,
                wants: Wants::AtOnce
            })
        )),
        vec![(2, 1)]
    );
    assert_eq!(
        streamed(&world.message(
            L1,
            ToProposer::Subscribe(Subscribe {
                next: Slot(3),
                synced: Slot::ZERO,
                pinned: None,
                wants: Wants::AtOnce
            })
        )),
        Vec::new()
    );
}
