//! Checkpoints from the role's side: when, what is reported as synced, and a full disk.

use super::tight::Tight;
use super::*;

/// What the next subscription reports: next, synced, pinned.
pub(super) fn subscription(driver: &mut Driver) -> (u64, u64, Option<u64>) {
    let sent = driver.fire(Timer::Subscribe);
    match sent_to(&sent, ProposerId(1)).first() {
        Some(Message::Proposer(ToProposer::Subscribe(Subscribe { next, synced, pinned, .. }))) => {
            (next.0, synced.0, pinned.map(|slot| slot.0))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn s11_a_slot_is_synced_when_its_checkpoint_is_and_not_before() {
    let mut driver = Driver::tuned(|tuning| tuning.checkpoint_bytes = 3 * 4_096);
    driver.choose(1, &fillers(1..=2));
    assert!(!driver.learner.is_checkpoint_due());
    driver.choose(3, &[filler(3)]);
    assert!(driver.learner.is_checkpoint_due(), "each slot counts as a block at least");
    let image = driver.learner.checkpoint();
    driver.choose(4, &fillers(4..=9));
    assert_eq!((image.applied(), driver.learner.is_checkpoint_due()), (Slot(3), false), "one at a time");
    assert_eq!(subscription(&mut driver), (10, 0, None));
    driver.learner.on_checkpointed(Slot(3));
    assert_eq!(subscription(&mut driver), (10, 3, None));
    assert!(driver.learner.is_checkpoint_due());
}

#[test]
fn a_checkpoint_that_finds_no_room_is_tried_again_later_and_later() {
    let mut driver = Driver::tuned(|tuning| tuning.checkpoint_bytes = 1);
    driver.choose(1, &fillers(1..=2));
    for wait_ms in [1_000, 2_000, 4_000] {
        assert!(driver.learner.is_checkpoint_due());
        driver.learner.checkpoint();
        driver.learner.on_no_room();
        assert!(driver.learner.status().full && !driver.learner.is_checkpoint_due());
        driver.run(|_, _| {});
        assert_eq!(driver.timers[&Timer::Room], Delay::exactly(wait_ms));
        let sent = driver.hear(C7, ToLearner::Read([read(1, Consistency::Stale)].into_iter().collect()));
        assert_eq!(to_client(&sent, C7).len(), 1, "it goes on serving");
        driver.fire(Timer::Room);
    }
    driver.learner.checkpoint();
    driver.learner.on_checkpointed(Slot(2));
    assert!(!driver.learner.status().full);
    assert_eq!(subscription(&mut driver), (3, 2, None));
}

#[test]
fn a_restarted_learner_goes_on_from_its_checkpoint() {
    let mut driver = Driver::new();
    let session = driver.open(5);
    driver.choose(2, &[batch(&[put(session, 1, b"k", b"v")])]);
    let state = driver.learner.machine.clone();
    let config = driver.learner.config.clone();
    let mut again = Driver::start(Learner::recovered(config.clone(), state.clone(), None, true));
    assert_eq!(subscription(&mut again), (3, 2, None));
    for driver in [&mut driver, &mut again] {
        driver.choose(1, &fillers(1..=1)[..0]);
        driver.choose(3, &[batch(&[put(session, 1, b"k", b"twice"), put(session, 2, b"k", b"w")])]);
    }
    assert_eq!(driver.learner.machine, again.learner.machine, "S9: the reply table came with it");
    let unsure = Learner::recovered(config, state, None, false);
    assert!(unsure.is_checkpoint_due(), "what may not be synced is made so at once");
    assert_eq!(unsure.status().synced, Slot::ZERO);
}

#[test]
fn s12_a_state_is_continued_in_its_own_cluster_alone() {
    for (cluster, halts) in [(7, false), (8, true)] {
        let mut learner = Driver::new().learner;
        learner.cluster = Some(ClusterId(7));
        let mut effects = Effects::default();
        learner.on_cluster(ClusterId(cluster), &mut effects);
        let halt = effects.release(&mut NothingToPersist).unwrap().halt;
        assert_eq!(halt.is_some_and(|why| why.contains("S12")), halts, "{cluster}");
    }
}

#[test]
fn a_checkpoint_is_written_the_quicker_the_further_the_log_is_ahead() {
    let mut driver = Driver::tuned(|tuning| {
        (tuning.checkpoint_bytes, tuning.checkpoint_bytes_per_s) = (4 * 4_096, 1_000);
    });
    driver.choose(1, &fillers(1..=4));
    assert_eq!(driver.learner.checkpoint().applied(), Slot(4));
    let mut rates = Vec::new();
    for slot in 5..=16 {
        driver.choose(slot, &[filler(slot)]);
        rates.push(driver.learner.checkpoint_bytes_per_s());
    }
    let expected: Vec<u64> = (1..=12_u64).map(|ahead| 1_000 + 250 * ahead.saturating_sub(4)).collect();
    assert_eq!(rates, expected, "a block for each slot; four of them make another checkpoint due");
}

#[test]
fn i14_nothing_is_applied_to_a_full_storage_until_a_checkpoint_is_durable() {
    let config = Config::new(LearnerId(1), LIFE, &cluster());
    let mut learner = Learner::new(config, Tight::<2>::default());
    let session = SessionId { slot: Slot(1), position: 0 };
    let opening = batch(&[Command::Open { nonce: 5 }]);
    let puts = (1..=4).map(|sequence| batch(&[put(session, sequence, b"k", b"v")]));
    let values: Vec<Value> = std::iter::once(opening).chain(puts).collect();
    let mut effects = Effects::default();
    let link = NodeId::from(ProposerId(2));
    learner.on_link(link, true, &mut effects);
    learner.on_message(link, chosen(5, 2, 5, 1, &values), &mut effects).unwrap();
    assert_eq!(learner.machine.applied(), Slot(3), "two puts, and the rest waits");
    assert!(learner.is_checkpoint_due(), "however little was applied");
    learner.checkpoint();
    learner.on_timer(Timer::Subscribe, &mut effects);
    learner.on_no_room();
    learner.on_timer(Timer::Subscribe, &mut effects);
    assert_eq!(learner.machine.applied(), Slot(3), "no checkpoint is durable");
    learner.on_timer(Timer::Room, &mut effects);
    let image = learner.checkpoint();
    learner.on_checkpointed(image.applied());
    learner.on_timer(Timer::Subscribe, &mut effects);
    assert_eq!(learner.machine.applied(), Slot(5), "it goes on by itself");
}
