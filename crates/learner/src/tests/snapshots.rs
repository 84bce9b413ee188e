//! I10: a peer's state, chunk by chunk, over a network that loses, repeats and reorders.

use super::*;
use bytes::Bytes;
use synod_protocol::message::{Attach, AttachState, Fetch, NoSnapshot, SnapshotChunk, SnapshotFetch};

const CHUNK: u64 = 300;

fn tune(tuning: &mut Tuning) {
    (tuning.chunk_bytes, tuning.learner_tail_bytes) = (CHUNK, 1);
}

/// A state of 40 keys and two sessions with kept replies, at slot 42.
fn giver(id: u16) -> (Driver, SessionId) {
    let mut driver = Driver::of(id, tune);
    let session = driver.open(5);
    driver.open(6);
    for number in 1..=40 {
        driver.choose(
            2 + number,
            &[batch(&[put(session, number, format!("key-{number}").as_bytes(), &[7; 20])])],
        );
    }
    (driver, session)
}

/// Learner l1, which knows of slot 42 and hears from every source that the log begins at slot 40.
fn behind() -> (Driver, Sent) {
    behind_after(0, tune)
}

/// The same, when it has applied so many slots before.
fn behind_after(slots: u64, tune: fn(&mut Tuning)) -> (Driver, Sent) {
    let mut driver = Driver::of(1, tune);
    for slot in 1..=slots {
        driver.choose(slot, &[filler(slot)]);
    }
    driver.hear(ProposerId(2), chosen(5, 2, 42, 42, &[]));
    let mut sent = Vec::new();
    for _ in 0..10 {
        if driver.learner.status().transfer.is_some() {
            break;
        }
        let asked = driver.fire(Timer::CatchUp);
        for (source, message) in asked {
            let first = match message {
                Message::Acceptor(ToAcceptor::Fetch(Fetch { first, .. }))
                | Message::Learner(ToLearner::Fetch(Fetch { first, .. })) => first,
                other => panic!("{other:?}"),
            };
            let lacking = Fetched { first, values: Vec::new(), held: Slot(42), floor: Slot(40) };
            sent = driver.hear(source, ToLearner::Fetched(lacking));
        }
    }
    assert!(driver.learner.status().transfer.is_some(), "no source has the next slot");
    (driver, sent)
}

/// The one request that was sent, and to whom.
fn asked(sent: &Sent) -> Option<(LearnerId, SnapshotFetch)> {
    let mut asked = sent.iter().filter_map(|(to, message)| match (to, message) {
        (NodeId::Learner(to), Message::Learner(ToLearner::SnapshotFetch(fetch))) => {
            Some((*to, fetch.clone()))
        }
        _ => None,
    });
    let first = asked.next();
    assert_eq!(asked.next(), None, "one request at a time");
    first
}

/// Gives `driver` an empty storage and lets it ask.
fn begin(driver: &mut Driver) -> Sent {
    assert!(driver.learner.needs_storage());
    driver.learner.on_storage(MemoryStorage::default());
    driver.fire(Timer::Transfer)
}

fn answer(giver: &mut Driver, fetch: &SnapshotFetch) -> Result<SnapshotChunk, NoSnapshot> {
    let sent = giver.hear(LearnerId(1), ToLearner::SnapshotFetch(fetch.clone()));
    match &sent[..] {
        [(_, Message::Learner(ToLearner::SnapshotChunk(chunk)))] => Ok(chunk.clone()),
        [(_, Message::Learner(ToLearner::NoSnapshot(none)))] => Err(*none),
        other => panic!("{other:?}"),
    }
}

fn give(driver: &mut Driver, from: u16, chunk: SnapshotChunk) -> Sent {
    driver.hear(LearnerId(from), ToLearner::SnapshotChunk(chunk))
}

#[test]
fn whoever_joins_pauses_between_chunks_and_whoever_had_a_state_does_not() {
    for had in [0, 3] {
        let (mut source, _) = giver(2);
        let (mut driver, _) = behind_after(had, |tuning| {
            tune(tuning);
            tuning.join_bytes_per_s = 1_000;
        });
        let mut request = asked(&begin(&mut driver)).unwrap();
        while request.0 != LearnerId(2) {
            let none = NoSnapshot { slot: request.1.slot, applied: Slot(1) };
            request = asked(&driver.hear(request.0, ToLearner::NoSnapshot(none))).unwrap();
        }
        let chunk = answer(&mut source, &request.1).unwrap();
        let next = asked(&give(&mut driver, 2, chunk));
        let pauses = driver.timers.contains_key(&Timer::Pace);
        assert_eq!((next.is_some(), pauses), (had > 0, had == 0), "{had} slots before");
    }
}

#[test]
fn i10_the_state_comes_whole_with_replies_and_chain_though_messages_are_lost_and_repeated() {
    for seed in 0..20_u64 {
        let (mut source, session) = giver(2);
        let (mut driver, _) = behind();
        let mut random = seed;
        let mut chance = |of: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33).is_multiple_of(of)
        };
        let mut request = asked(&begin(&mut driver));
        let mut late: Vec<SnapshotChunk> = Vec::new();
        for round in 0.. {
            assert!(round < 2_000, "seed {seed}: it never ends");
            if driver.learner.status().transfer.is_none() {
                break;
            }
            let Some((to, fetch)) = request.take() else {
                request = asked(&driver.fire(Timer::Transfer));
                continue;
            };
            if to != LearnerId(2) {
                driver.hear(to, ToLearner::NoSnapshot(NoSnapshot { slot: fetch.slot, applied: Slot(1) }));
                continue;
            }
            if chance(4) {
                continue;
            }
            let chunk = answer(&mut source, &fetch).unwrap();
            // It goes on applying meanwhile.
            if chance(3) {
                let next = source.applied() + 1;
                source.choose(next, &[filler(next)]);
            }
            late.push(chunk.clone());
            if chance(3) {
                let old = late[late.len() / 2].clone();
                give(&mut driver, 3, old);
            }
            if !chance(4) {
                request = asked(&give(&mut driver, 2, chunk));
            }
        }
        assert_eq!(driver.applied(), 42, "seed {seed}");
        let (mut control, _) = giver(3);
        assert_eq!(driver.learner.machine, control.learner.machine, "seed {seed}");
        // A call that is retried is answered as before, and the log goes on.
        let retried = batch(&[put(session, 40, b"key-40", b"twice")]);
        control.choose(43, std::slice::from_ref(&retried));
        driver.choose(43, &[retried]);
        assert_eq!(driver.learner.machine, control.learner.machine, "seed {seed}");
        late.into_iter().for_each(|chunk| drop(give(&mut driver, 2, chunk)));
        assert_eq!(driver.applied(), 43);
        assert!(driver.learner.is_checkpoint_due(), "what came isn't on disk yet");
        assert_eq!(driver.learner.status().synced, Slot::ZERO);
        assert_eq!(driver.learner.history.at(Slot(42)), control.learner.history.at(Slot(42)));
        assert_eq!(driver.learner.history.at(Slot(1)), None);
    }
}

#[test]
fn i10_another_peer_with_the_same_slot_goes_on_and_without_one_it_starts_over() {
    let ((mut second, _), (mut third, _)) = (giver(2), giver(3));
    let (mut driver, _) = behind();
    let (to, fetch) = asked(&begin(&mut driver)).unwrap();
    assert_eq!((to, fetch.slot, fetch.least), (LearnerId(2), None, Slot(39)));
    let chunk = answer(&mut second, &fetch).unwrap();
    let (_, fetch) = asked(&give(&mut driver, 2, chunk)).unwrap();
    // l3 is asked by someone else too, so it has an image of the same slot.
    let start = SnapshotFetch { slot: None, least: Slot(1), cursor: Bytes::new() };
    answer(&mut third, &start).unwrap();
    driver.link(LearnerId(2), false);
    driver.fire(Timer::Transfer);
    let (to, same) = asked(&driver.fire(Timer::Transfer)).unwrap();
    assert_eq!((to, &same), (LearnerId(3), &fetch));
    let chunk = answer(&mut third, &same).unwrap();
    assert!(asked(&give(&mut driver, 3, chunk)).is_some());
    // l3 drops it; nobody else has that slot.
    third.fire(Timer::Give);
    third.fire(Timer::Give);
    assert_eq!(third.learner.status().serving, None);
    let none = answer(&mut third, &SnapshotFetch { slot: Some(Slot(42)), ..start.clone() }).unwrap_err();
    assert_eq!(none, NoSnapshot { slot: Some(Slot(42)), applied: Slot(42) });
    driver.fire(Timer::Transfer);
    driver.hear(LearnerId(3), ToLearner::NoSnapshot(none));
    driver.fire(Timer::Transfer);
    driver.fire(Timer::Transfer);
    assert!(driver.learner.needs_storage(), "what was built can't be gone on with");
    assert_eq!(asked(&begin(&mut driver)), Some((LearnerId(3), SnapshotFetch { least: Slot(39), ..start })));
}

#[test]
fn chunks_of_other_slots_places_and_content_are_not_taken() {
    let (mut source, _) = giver(2);
    let (mut driver, _) = behind();
    let (_, fetch) = asked(&begin(&mut driver)).unwrap();
    let first = answer(&mut source, &fetch).unwrap();
    let (_, fetch) = asked(&give(&mut driver, 2, first.clone())).unwrap();
    let second = answer(&mut source, &fetch).unwrap();
    let before = driver.learner.clone();
    let sound = |mut chunk: SnapshotChunk| {
        chunk.checksum =
            SnapshotChunk::checksum(chunk.slot, &chunk.cursor, &chunk.bytes, chunk.next.as_deref());
        chunk
    };
    let other_slot = sound(SnapshotChunk { slot: Slot(43), ..second.clone() });
    for stale in [first.clone(), other_slot] {
        assert_eq!(give(&mut driver, 2, stale), []);
    }
    assert_eq!(driver.learner, before);
    // Damaged on its way, and damaged where it was made: the peer isn't asked again.
    give(&mut driver, 2, SnapshotChunk { checksum: second.checksum ^ 1, ..second.clone() });
    let mut bytes = second.bytes.to_vec();
    bytes[20] ^= 1;
    let sent = give(&mut driver, 2, sound(SnapshotChunk { bytes: bytes.into(), ..second }));
    assert_eq!((asked(&sent), driver.applied()), (None, 0));
    assert!(driver.learner.needs_storage());
    // Nothing of an older state, and nothing that wasn't asked for.
    let mut ahead = Driver::of(1, tune);
    ahead.choose(1, &fillers(1..=50));
    let before = ahead.learner.clone();
    give(&mut ahead, 2, first);
    assert_eq!(ahead.learner, before);
}

#[test]
fn i10_a_snapshot_is_never_installed_over_a_newer_state() {
    let (mut source, _) = giver(2);
    let (mut driver, _) = behind();
    let mut request = asked(&begin(&mut driver));
    while let Some((_, fetch)) = request.take() {
        let chunk = answer(&mut source, &fetch).unwrap();
        if chunk.next.is_none() {
            // An acceptor that kept the log is there again.
            driver.choose(1, &fillers(1..=60));
            give(&mut driver, 2, chunk);
            break;
        }
        request = asked(&give(&mut driver, 2, chunk));
    }
    assert_eq!((driver.applied(), driver.learner.installed()), (60, 0));
    let machine = source.learner.machine.clone();
    driver.run(|learner, effects| learner.install(machine, effects));
    assert_eq!(driver.applied(), 60);
}

#[test]
fn s11_slots_above_a_snapshot_are_pinned_while_it_is_fetched_and_within_the_budget() {
    let (mut source, _) = giver(2);
    source.learner.config.tuning.pin_bytes = 200;
    let start = SnapshotFetch { slot: None, least: Slot(1), cursor: Bytes::new() };
    assert_eq!(checkpoints::subscription(&mut source), (43, 0, None));
    answer(&mut source, &start).unwrap();
    source.choose(43, &[filler(43)]);
    assert_eq!(checkpoints::subscription(&mut source), (44, 0, Some(42)));
    assert_eq!(answer(&mut source, &start).unwrap().slot, Slot(42), "one image for all who ask");
    source.choose(44, &fillers(44..=60));
    assert_eq!(checkpoints::subscription(&mut source).2, None, "over the budget");
    assert_eq!(answer(&mut source, &start).unwrap().slot, Slot(60));
    let later = SnapshotFetch { least: Slot(61), ..start.clone() };
    assert_eq!(answer(&mut source, &later), Err(NoSnapshot { slot: None, applied: Slot(60) }));
    source.fire(Timer::Give);
    source.fire(Timer::Give);
    assert_eq!(checkpoints::subscription(&mut source).2, None, "nobody asks any more");
    let garbage = SnapshotFetch { cursor: Bytes::from_static(b"\xff\xff"), ..start };
    let refused = source.learner.on_message(
        LearnerId(1).into(),
        ToLearner::SnapshotFetch(garbage),
        &mut Effects::default(),
    );
    assert!(refused.is_err());
}

#[test]
fn clients_that_wait_hear_what_the_installed_state_knows() {
    let (source, session) = giver(2);
    let mut driver = Driver::of(1, tune);
    driver.hear(C7, ToLearner::Attach(Attach::Session { session, pending: vec![40] }));
    driver.hear(C7, ToLearner::Attach(Attach::Nonce(6)));
    let gone = SessionId { slot: Slot(30), position: 3 };
    driver.hear(C8, ToLearner::Attach(Attach::Session { session: gone, pending: Vec::new() }));
    let machine = source.learner.machine.clone();
    let sent = driver.run(|learner, effects| learner.install(machine, effects));
    let told = to_client(&sent, C7);
    assert!(
        told.contains(&ToClient::Attached { session: Some(session), state: AttachState::Open }),
        "{told:?}"
    );
    assert!(
        told.iter().any(|message| matches!(message, ToClient::Opened(opened) if opened.nonce == 6)),
        "{told:?}"
    );
    let replies: usize = told
        .iter()
        .map(|message| if let ToClient::Replies(replies) = message { replies.len() } else { 0 })
        .sum();
    assert_eq!(replies, 40);
    assert_eq!(to_client(&sent, C8), [ToClient::Attached { session: Some(gone), state: AttachState::Ended }]);
}

/// Peers whose tails begin where l2's did wait for each other, unless they ask the acceptors again that were out of reach.
#[test]
fn the_log_is_asked_again_while_no_peer_has_a_snapshot() {
    let (mut driver, _) = behind();
    let mut sent = begin(&mut driver);
    for _ in 0..6 {
        while let Some((to, fetch)) = asked(&sent) {
            let none = NoSnapshot { slot: fetch.slot, applied: Slot(1) };
            sent = driver.hear(to, ToLearner::NoSnapshot(none));
        }
        for (source, message) in driver.fire(Timer::CatchUp) {
            if let Message::Acceptor(ToAcceptor::Fetch(Fetch { first, .. })) = message {
                let values = vec![filler(first.0)];
                let fetched = Fetched { first, values, held: Slot(42), floor: Slot::FIRST };
                driver.hear(source, ToLearner::Fetched(fetched));
            }
        }
        if driver.learner.status().transfer.is_none() {
            break;
        }
        sent = driver.fire(Timer::Transfer);
    }
    assert!(driver.applied() > 0, "acceptors have slot 1");
    assert_eq!(driver.learner.status().transfer, None);
}

#[test]
fn when_nobody_can_help_it_says_so_once_and_goes_on_when_somebody_comes() {
    let (mut driver, _) = behind();
    for peer in [2, 3] {
        driver.link(LearnerId(peer), false);
    }
    driver.learner.on_storage(MemoryStorage::default());
    for _ in 0..5 {
        driver.fire(Timer::Transfer);
        let transfer = driver.learner.status().transfer.unwrap();
        if transfer.from.is_none() {
            break;
        }
    }
    assert_eq!(driver.learner.status().transfer.unwrap().from, None);
    driver.link(LearnerId(3), true);
    assert_eq!(asked(&driver.fire(Timer::Transfer)).map(|(to, _)| to), Some(LearnerId(3)));
    // The log is there again, after all.
    driver.choose(1, &fillers(1..=42));
    assert_eq!(driver.learner.status().transfer, None);
}
