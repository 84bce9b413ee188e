//! I14, I10: a peer's state for which the disk has no room.

use bytes::Bytes;
use synod_protocol::message::{Fetch, SnapshotFetch};
use synod_store::{MemorySnapshot, Snapshot as _};

use super::tight::{HAS_ROOM, Tight};
use super::*;

/// Learner l1 on a full disk, which fetches a state of 40 keys from l2.
struct World {
    learner: Learner<Tight<5>>,
    giver: Driver,
    transfer_ms: Option<u64>,
}

impl World {
    fn new() -> World {
        let tune = |tuning: &mut Tuning| (tuning.chunk_bytes, tuning.learner_tail_bytes) = (100, 1);
        let mut giver = Driver::of(2, tune);
        let session = giver.open(5);
        for number in 1..=40 {
            let key = format!("key-{number}");
            giver.choose(1 + number, &[batch(&[put(session, number, key.as_bytes(), &[7; 20])])]);
        }
        let mut config = Config::new(LearnerId(1), LIFE, &cluster());
        tune(&mut config.tuning);
        config.tuning.join_bytes_per_s = 1 << 40;
        let learner = Learner::new(config, Tight::<5>::default());
        let mut world = World { learner, giver, transfer_ms: None };
        world.run(|learner, effects| {
            learner.on_link(LearnerId(2).into(), true, effects);
            let heartbeat = chosen(5, 2, 41, 42, &[]);
            learner.on_link(ProposerId(2).into(), true, effects);
            learner.on_message(ProposerId(2).into(), heartbeat, effects).unwrap();
        });
        let asked = world.run(|learner, effects| learner.on_timer(Timer::CatchUp, effects));
        let [(source, Message::Learner(ToLearner::Fetch(Fetch { first, .. })))] = &asked[..] else {
            panic!("{asked:?}")
        };
        let lacking = Fetched { first: *first, values: Vec::new(), held: Slot(41), floor: Slot(40) };
        let source = *source;
        world.run(|learner, effects| {
            learner.on_message(source, ToLearner::Fetched(lacking), effects).unwrap()
        });
        world
    }

    fn run(&mut self, batch: impl FnOnce(&mut Learner<Tight<5>>, &mut Out)) -> Sent {
        let mut effects = Effects::default();
        batch(&mut self.learner, &mut effects);
        self.learner.end_of_batch(&mut effects);
        let released = effects.release(&mut NothingToPersist).unwrap();
        for order in released.timers {
            match order {
                TimerOrder::Set(Timer::Transfer, delay) => self.transfer_ms = Some(delay.most_ms),
                TimerOrder::Set(..) | TimerOrder::Cancel(_) => {}
            }
        }
        released.messages
    }

    /// Fires the transfer's timer.
    fn fire(&mut self) -> Sent {
        assert!(self.transfer_ms.take().is_some(), "the timer isn't set");
        self.run(|learner, effects| learner.on_timer(Timer::Transfer, effects))
    }

    /// Answers what l1 asks, as long as it does.
    fn give(&mut self, mut sent: Sent) -> u64 {
        let mut chunks = 0;
        loop {
            let asked = sent.into_iter().find_map(|(_, message)| match message {
                Message::Learner(ToLearner::SnapshotFetch(fetch)) => Some(fetch),
                _ => None,
            });
            let Some(fetch) = asked else { return chunks };
            sent = self.answer(fetch);
            chunks += 1;
        }
    }

    fn answer(&mut self, fetch: SnapshotFetch) -> Sent {
        let answers = self.giver.hear(LearnerId(1), ToLearner::SnapshotFetch(fetch));
        let Some((_, Message::Learner(answer))) = answers.into_iter().next() else { panic!("no answer") };
        self.run(|learner, effects| learner.on_message(LearnerId(2).into(), answer, effects).unwrap())
    }

    /// Fetches until there is no room.
    fn full() -> World {
        HAS_ROOM.set(false);
        let mut world = World::new();
        assert!(world.learner.needs_storage());
        world.learner.on_storage(Tight::<5>::default());
        let sent = world.fire();
        assert!(world.give(sent) > 1);
        assert!(world.learner.status().full, "it says so");
        world
    }
}

#[test]
fn i14_a_transfer_without_room_asks_for_nothing_more_and_goes_on_when_there_is_some() {
    let mut world = World::full();
    let mut waits = Vec::new();
    for _ in 0..9 {
        waits.extend(world.transfer_ms);
        let sent = world.fire();
        assert!(
            world.give(sent) == 0 && world.learner.status().full,
            "it asks for more than it has room for"
        );
        world.run(|learner, effects| learner.on_timer(Timer::Pace, effects));
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    HAS_ROOM.set(true);
    for _ in 0..20 {
        let sent = world.fire();
        world.give(sent);
        if world.learner.status().transfer.is_none() {
            break;
        }
    }
    assert_eq!(world.learner.machine.applied(), Slot(41));
    let whole = |image: synod_store::Image<MemorySnapshot>| -> Bytes {
        image.chunk(&synod_store::Cursor::start(), u64::MAX).bytes
    };
    assert_eq!(whole(world.learner.machine.image()), whole(world.giver.learner.machine.image()));
    assert!(!world.learner.status().full && world.learner.machine.storage().snapshot().len() == 40);
}

#[test]
fn i10_a_snapshot_that_was_dropped_while_there_was_no_room_is_fetched_anew() {
    let mut world = World::full();
    for _ in 0..2 {
        world.giver.fire(Timer::Give);
    }
    assert_eq!(world.giver.learner.pinned(), None, "S11: nobody waits for a learner whose disk is full");
    HAS_ROOM.set(true);
    for _ in 0..40 {
        let sent = world.fire();
        world.give(sent);
        if world.learner.needs_storage() {
            world.learner.on_storage(Tight::<5>::default());
        }
        if world.learner.status().transfer.is_none() {
            break;
        }
    }
    assert_eq!(world.learner.machine.applied(), Slot(41));
}
