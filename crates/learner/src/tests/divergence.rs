//! S7: hash chains are compared, the first slot that differs is named, and the odd one stops.

use super::*;
use synod_protocol::message::{Attach, AttachState, Chains};

/// Learners that tell each other their chains; some links may be cut.
struct Peers {
    drivers: BTreeMap<u16, Driver>,
    cut: Vec<(u16, u16)>,
    halted: BTreeMap<u16, String>,
}

impl Peers {
    /// Learners 1 to 3 and observer 7; `odd` of them were told another value at slot `first`.
    fn new(odd: &[(u16, u64)], slots: u64) -> Peers {
        let drivers = [1, 2, 3, 7].map(|id| {
            let mut driver = Driver::of(id, |_| {});
            for other in [1, 2, 3, 7].into_iter().filter(|other| *other != id) {
                driver.link(LearnerId(other), true);
            }
            let wrong = odd.iter().find(|(odd, _)| *odd == id).map(|(_, first)| *first);
            for slot in 1..=slots {
                let value =
                    if wrong == Some(slot) { filler(1_000_000 + u64::from(id)) } else { filler(slot) };
                driver.choose(slot, &[value]);
            }
            (id, driver)
        });
        Peers { drivers: drivers.into(), cut: Vec::new(), halted: BTreeMap::new() }
    }

    /// Everybody compares once, and all that follows is delivered, `times`.
    fn compare(&mut self, times: u32) {
        for _ in 0..times {
            let mut mail: Vec<(u16, NodeId, Message)> = Vec::new();
            for id in self.drivers.keys().copied().collect::<Vec<_>>() {
                self.step(id, &mut mail, |learner, effects| learner.on_timer(Timer::Compare, effects));
            }
            let mut delivered = 0;
            while let Some((from, NodeId::Learner(to), Message::Learner(message))) = mail.pop() {
                delivered += 1;
                assert!(delivered < 500, "they talk in circles");
                let cut = self.cut.contains(&(from, to.0)) || self.cut.contains(&(to.0, from));
                if !cut && self.drivers.contains_key(&to.0) {
                    self.step(to.0, &mut mail, |learner, effects| {
                        learner.on_message(LearnerId(from).into(), message, effects).unwrap();
                    });
                }
            }
        }
    }

    fn step(
        &mut self,
        id: u16,
        mail: &mut Vec<(u16, NodeId, Message)>,
        event: impl FnOnce(&mut Learner, &mut Out),
    ) {
        let mut effects = Effects::default();
        let learner = &mut self.drivers.get_mut(&id).unwrap().learner;
        event(learner, &mut effects);
        learner.end_of_batch(&mut effects);
        let released = effects.release(&mut NothingToPersist).unwrap();
        mail.extend(released.messages.into_iter().map(|(to, message)| (id, to, message)));
        if let Some(why) = released.halt {
            self.drivers.remove(&id);
            self.halted.insert(id, why);
        }
    }

    fn in_doubt(&self) -> Vec<u16> {
        let doubtful = |(id, driver): (&u16, &Driver)| driver.learner.status().in_doubt.then_some(*id);
        self.drivers.iter().filter_map(doubtful).collect()
    }

    fn halted(&self) -> Vec<u16> {
        self.halted.keys().copied().collect()
    }
}

#[test]
fn s7_whoever_differs_from_a_majority_stops_and_names_the_slot() {
    for odd in [1, 2, 3] {
        let mut peers = Peers::new(&[(odd, 700)], 1_000);
        peers.compare(12);
        assert_eq!((peers.halted(), peers.in_doubt()), (vec![odd], vec![]), "l{odd}");
        let why = &peers.halted[&odd];
        assert!(
            why.contains("slot 700 is the first that differs") && why.contains("move its data directory"),
            "{why}"
        );
    }
}

#[test]
fn s7_equal_learners_and_those_that_are_behind_go_on() {
    let mut peers = Peers::new(&[], 300);
    peers.drivers.get_mut(&1).unwrap().choose(301, &fillers(301..=900));
    peers.compare(3);
    assert_eq!((peers.halted(), peers.in_doubt()), (vec![], vec![]));
}

#[test]
fn s7_while_nobody_knows_who_is_odd_both_are_silent() {
    let mut peers = Peers::new(&[(1, 5)], 9);
    peers.cut = vec![(1, 3), (2, 3), (7, 3)];
    peers.compare(20);
    // The observer agrees with l2, and vouches for nobody.
    assert_eq!((peers.halted(), peers.in_doubt()), (vec![], vec![1, 2, 7]));
    let driver = peers.drivers.get_mut(&2).unwrap();
    let sent = driver.hear(C7, ToLearner::Read([read(1, Consistency::Stale)].into_iter().collect()));
    let [ToClient::ReadReplies(replies)] = &to_client(&sent, C7)[..] else { panic!("{sent:?}") };
    assert!(replies.iter().all(|reply| matches!(reply.outcome, ReadOutcome::Busy { .. })), "{replies:?}");
    assert_eq!(driver.hear(C7, ToLearner::Attach(Attach::Nonce(1))), []);
    assert_eq!(checkpoints::subscription(driver).1, 0, "what it has synced may be wrong");
    assert!(!driver.learner.may_checkpoint());
    // The third learner is there again.
    peers.cut.clear();
    peers.compare(20);
    assert_eq!((peers.halted(), peers.in_doubt()), (vec![1], vec![]));
    let sent = peers.drivers.get_mut(&2).unwrap().hear(C7, ToLearner::Attach(Attach::Nonce(1)));
    assert_eq!(to_client(&sent, C7), [ToClient::Attached { session: None, state: AttachState::Behind }]);
}

#[test]
fn s7_an_observer_that_differs_stops_alone_and_three_that_differ_all_stop() {
    let mut peers = Peers::new(&[(7, 4)], 9);
    peers.compare(12);
    assert_eq!((peers.halted(), peers.in_doubt()), (vec![7], vec![]));
    let mut peers = Peers::new(&[(1, 4), (2, 5)], 9);
    peers.compare(12);
    assert_eq!(peers.halted(), [1, 2, 3, 7], "no majority agrees on anything");
}

#[test]
fn s7_stale_repeated_and_senseless_chains_are_harmless() {
    let mut driver = Driver::new();
    driver.choose(1, &fillers(1..=9));
    let chain = driver.learner.machine.chain();
    let tell = |driver: &mut Driver, told: &[(u64, u64)], asked: &[u64]| {
        let told = told.iter().map(|(slot, chain)| (Slot(*slot), *chain)).collect();
        let asked = asked.iter().map(|slot| Slot(*slot)).collect();
        driver.hear(LearnerId(2), ToLearner::Chains(Chains { told, asked }))
    };
    assert_eq!(tell(&mut driver, &[(9, chain), (9, chain), (100, 1)], &[100, u64::MAX]), []);
    assert_eq!(tell(&mut driver, &[(5, 1)], &[]), [], "below what is known to be equal: late");
    let many: Vec<u64> = vec![9; 1_000];
    let sent = tell(&mut driver, &[], &many);
    let [(_, Message::Learner(ToLearner::Chains(chains)))] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((chains.told.len(), chains.asked.len()), (64, 0), "answers are bounded");
    assert!(!driver.learner.status().in_doubt);
}
