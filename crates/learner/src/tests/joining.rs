//! A learner that joins under load: it takes its time, and always arrives.

use super::*;
use bytes::Bytes;
use synod_protocol::message::{Chains, Fetch, SnapshotFetch};

/// Bytes of values by which the log may grow beside what was given: far fewer than the state has, as many as come while sources are tried in turn.
const PIN_BYTES: u64 = 4_000;

fn tune(tuning: &mut Tuning) {
    (tuning.chunk_bytes, tuning.learner_tail_bytes, tuning.learner_buffer_bytes) = (300, 1, 2_000);
    (tuning.join_bytes_per_s, tuning.pin_bytes, tuning.snapshot_keep_ms) = (20_000, PIN_BYTES, 400);
}

/// Slots of the state that is given.
const STATE: u64 = 401;

/// Learner l2 gives; l1 joins; acceptors keep what l2 pins and no more. A message takes a millisecond. The leader streams values to whoever wants them.
struct World {
    now: u64,
    learners: BTreeMap<u16, Driver>,
    due: BTreeMap<(u16, Timer), u64>,
    /// To whom, from whom.
    under_way: Vec<(u64, NodeId, NodeId, Message)>,
    log: Vec<Value>,
    pinned: bool,
    /// Bytes withheld from those that want no values.
    withheld: BTreeMap<u16, u64>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            now: 0,
            learners: [1, 2].map(|id| (id, Driver::of(id, tune))).into(),
            due: BTreeMap::new(),
            under_way: Vec::new(),
            log: Vec::new(),
            pinned: true,
            withheld: BTreeMap::new(),
        };
        let puts = (1..=STATE - 1).map(|number| {
            let session = SessionId { slot: Slot(1), position: 0 };
            batch(&[put(session, number, format!("key-{number}").as_bytes(), &[7; 60])])
        });
        let open = batch(&[Command::Open { nonce: 5 }]);
        for value in std::iter::once(open).chain(puts) {
            world
                .learners
                .get_mut(&2)
                .unwrap()
                .choose(world.log.len() as u64 + 1, std::slice::from_ref(&value));
            world.log.push(value);
        }
        world.take_timers();
        world
    }

    fn take_timers(&mut self) {
        for (id, driver) in &mut self.learners {
            for (timer, delay) in std::mem::take(&mut driver.timers) {
                self.due.insert((*id, timer), self.now + delay.most_ms);
            }
        }
    }

    fn send(&mut self, from: u16, sent: Sent) {
        self.take_timers();
        for (to, message) in sent {
            self.under_way.push((self.now + 1, to, LearnerId(from).into(), message));
        }
    }

    /// The next slot is chosen, and streamed.
    fn grow(&mut self) {
        let slot = self.log.len() as u64 + 1;
        self.log.push(filler(slot));
        self.withheld.values_mut().for_each(|bytes| *bytes += filler(slot).len() as u64);
        for id in [1, 2] {
            if !self.withheld.contains_key(&id) {
                let sent = self.learners.get_mut(&id).unwrap().choose(slot, &[filler(slot)]);
                self.send(id, sent);
            }
        }
    }

    /// The leader tells everybody how far everything is chosen.
    fn heartbeat(&mut self) {
        let prefix = self.log.len() as u64;
        for id in [1, 2] {
            let ToLearner::Chosen(heartbeat) = chosen(5, 2, prefix, prefix + 1, &[]) else { unreachable!() };
            let withheld_bytes = self.withheld.get(&id).copied().unwrap_or(0);
            let heartbeat = ToLearner::Chosen(Chosen { withheld_bytes, ..heartbeat });
            let sent = self.learners.get_mut(&id).unwrap().hear(ProposerId(2), heartbeat);
            self.send(id, sent);
        }
    }

    fn on_subscribe(&mut self, from: u16, subscribe: Subscribe) {
        match subscribe.wants {
            Wants::Nothing => drop(self.withheld.entry(from).or_insert(0)),
            Wants::AtOnce | Wants::Late => drop(self.withheld.remove(&from)),
        }
    }

    /// One millisecond.
    fn pass(&mut self) {
        self.now += 1;
        if self.now.is_multiple_of(40) {
            self.heartbeat();
        }
        let due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= self.now).map(|(key, _)| *key).collect();
        for (id, timer) in due {
            self.due.remove(&(id, timer));
            let driver = self.learners.get_mut(&id).unwrap();
            driver.timers.insert(timer, Delay::exactly(0));
            let sent = driver.fire(timer);
            self.send(id, sent);
        }
        let (arrives, stays) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(at, ..)| *at <= self.now);
        self.under_way = stays;
        let arrives: Vec<_> = arrives;
        for (_, to, from, message) in arrives {
            self.deliver(to, from, message);
        }
        let joins = self.learners.get_mut(&1).unwrap();
        if joins.learner.needs_storage() {
            joins.learner.on_storage(MemoryStorage::default());
        }
    }

    fn deliver(&mut self, to: NodeId, from: NodeId, message: Message) {
        match (to, message) {
            (NodeId::Learner(LearnerId(id @ 1..=2)), Message::Learner(message)) => {
                let sent = self.learners.get_mut(&id).unwrap().hear(from, message);
                self.send(id, sent);
            }
            (_, Message::Acceptor(ToAcceptor::Fetch(fetch)) | Message::Learner(ToLearner::Fetch(fetch))) => {
                let answer = ToLearner::Fetched(self.kept(fetch));
                self.under_way.push((self.now + 1, from, to, Message::Learner(answer)));
            }
            (NodeId::Proposer(ProposerId(2)), Message::Proposer(ToProposer::Subscribe(subscribe))) => {
                let NodeId::Learner(from) = from else { unreachable!("learners subscribe") };
                self.on_subscribe(from.0, subscribe);
            }
            _ => {}
        }
    }

    /// All that isn't pinned is gone: every other learner has synced it.
    fn kept(&self, fetch: Fetch) -> Fetched {
        let chosen = self.log.len() as u64;
        let pinned = self.learners[&2].learner.pinned().filter(|_| self.pinned);
        let floor = pinned.map_or(chosen + 1, |slot| slot.0 + 1);
        let wanted = if fetch.first.0 < floor { 0..0 } else { fetch.first.0..fetch.last.0.min(chosen) + 1 };
        let mut bytes = 0;
        let values = wanted.map(|slot| self.log[slot as usize - 1].clone()).take_while(|value| {
            let fits = bytes < 300;
            bytes += value.len();
            fits
        });
        Fetched { first: fetch.first, values: values.collect(), held: Slot(chosen), floor: Slot(floor) }
    }

    /// Lets the log grow by `slots` in `ms`, until the learner that joins is level or gives up; the time it took.
    fn join(&mut self, slots: u64, ms: u64) -> Option<u64> {
        self.grow();
        while self.now < 20_000 {
            if self.now.is_multiple_of(ms) {
                (0..slots).for_each(|_| self.grow());
            }
            self.pass();
            let joins = &self.learners[&1].learner;
            if joins.installed() > 0 && joins.log.next().0 > self.log.len() as u64 {
                return Some(self.now);
            }
        }
        None
    }
}

#[test]
fn a_join_at_a_pace_ends_with_one_state_however_quickly_the_log_grows() {
    let mut took = Vec::new();
    for (slots, ms) in [(0, 1), (1, 20), (1, 5), (1, 2), (1, 1)] {
        let mut world = World::new();
        let level =
            world.join(slots, ms).unwrap_or_else(|| panic!("{slots} slots in {ms} ms: it never ends"));
        let (joins, gives) = (&world.learners[&1].learner, &world.learners[&2].learner);
        assert_eq!(joins.installed(), 1, "{slots} slots in {ms} ms: it had to begin anew");
        assert_eq!(joins.machine, gives.machine, "{slots} slots in {ms} ms");
        took.push(level);
        (0..2_000).for_each(|_| world.pass());
        assert_eq!(world.learners[&2].learner.pinned(), None, "nobody needs it any more");
    }
    // Some 60 kB at 20 kB a second.
    assert!(took[0] > 1_500, "{took:?}");
}

#[test]
fn without_a_pinned_log_the_same_join_never_ends() {
    let mut world = World { pinned: false, ..World::new() };
    assert_eq!(world.join(1, 5), None);
}

/// Gives all of a state to `to`.
fn give_all(driver: &mut Driver, to: NodeId) {
    let (mut slot, mut cursor) = (None, Bytes::new());
    loop {
        let fetch = SnapshotFetch { slot, least: Slot(1), cursor };
        let sent = driver.hear(to, ToLearner::SnapshotFetch(fetch));
        let chunk = match sent.into_iter().next() {
            Some((_, Message::Learner(ToLearner::SnapshotChunk(chunk)))) => chunk,
            Some((_, Message::Client(ToClient::SnapshotChunk(chunk)))) => chunk,
            other => panic!("{other:?}"),
        };
        let Some(next) = chunk.next else { return };
        (slot, cursor) = (Some(chunk.slot), next);
    }
}

/// The image isn't asked for any more.
fn drop_image(driver: &mut Driver) {
    driver.fire(Timer::Give);
    driver.fire(Timer::Give);
    assert_eq!(driver.learner.status().serving, None);
}

fn tell(driver: &mut Driver, from: u16, applied: u64) {
    let chains = Chains {
        told: vec![(Slot(applied), driver.learner.history.at(Slot(applied)).unwrap_or(0))],
        asked: Vec::new(),
    };
    driver.hear(LearnerId(from), ToLearner::Chains(chains));
}

#[test]
fn s11_the_log_above_a_state_that_was_given_stays_pinned_until_the_peer_has_it() {
    let mut world = World::new();
    let driver = world.learners.get_mut(&2).unwrap();
    driver.timers.insert(Timer::Subscribe, Delay::exactly(0));
    for peer in [LearnerId(1), LearnerId(3), LearnerId(7)] {
        driver.link(peer, true);
        give_all(driver, peer.into());
    }
    give_all(driver, C7.into());
    driver.choose(STATE + 1, &fillers(STATE + 1..=STATE + 9));
    driver.timers.insert(Timer::Give, Delay::exactly(0));
    drop_image(driver);
    assert_eq!(driver.learner.pinned(), Some(Slot(STATE)));
    tell(driver, 1, STATE + 5);
    tell(driver, 3, STATE + 7);
    tell(driver, 3, STATE + 3);
    assert_eq!(driver.learner.pinned(), Some(Slot(STATE)), "the observer has told nothing");
    driver.link(LearnerId(7), false);
    assert_eq!(driver.learner.pinned(), Some(Slot(STATE + 5)));
    tell(driver, 1, STATE + 9);
    assert_eq!(
        driver.learner.pinned(),
        Some(Slot(STATE + 7)),
        "l3 told of one slot, and of an earlier one late"
    );
    // It has its budget, which what was given adds to.
    driver.choose(STATE + 10, &fillers(STATE + 10..=STATE + 200));
    assert_eq!(driver.learner.pinned(), Some(Slot(STATE + 7)), "more than {PIN_BYTES} bytes were applied");
    driver.choose(STATE + 201, &fillers(STATE + 201..=STATE + 9_000));
    assert_eq!(driver.learner.pinned(), None);
}
