//! Batches: one sync for all that has arrived, nothing sent without it, timers, housekeeping, the end.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::connection::Event;

#[tokio::test]
async fn all_that_has_arrived_is_synced_at_once() {
    let mut world = World::new(1, "").await;
    let disk = Disk::default();
    let _acceptor = world.acceptor(1, disk.clone());
    let mut links = Vec::new();
    for id in 1..=3 {
        links.push(world.call(world.own(LearnerId(id), None), A1).await.unwrap());
    }
    // Everything is in the kernel before the runtime, which has one thread, gets to look.
    for (place, link) in (0..).zip(&mut links) {
        send(link, (0..50).map(|round| quorum_read(place * 50 + round)));
    }
    for (place, link) in (0..).zip(&mut links) {
        for round in (0..50).map(|round| place * 50 + round) {
            let reply = receive::<ToLearner>(link).await;
            assert_eq!(reply, quorum_read_reply(round));
        }
    }
    let log = disk.log.lock().unwrap();
    assert_eq!(log.len(), 1, "150 messages over three connections, one sync: {log:?}");
}

#[tokio::test]
async fn s3_nothing_is_sent_when_the_disk_fails() {
    let mut world = World::new(1, "").await;
    let acceptor = world.acceptor(1, Disk { broken: true, ..Disk::default() });
    let mut learner = world.call(world.own(L1, None), A1).await.unwrap();
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    send(&mut client, [status(1)]);
    send(&mut learner, [quorum_read(1)]);
    let failure = patient(acceptor.task).await.unwrap().unwrap_err();
    let text = failure.to_string();
    assert!(text.contains("S3: a1") && text.contains("no more blocks") && text.contains("isn't tried again"));
    assert_eq!(failure.exit_code(), 1);
    assert!(is_closed(&mut learner).await, "no reply may have left");
    assert!(is_closed(&mut client).await, "nor that of another message of the batch");
}

#[tokio::test]
async fn timers_fire_and_what_came_meanwhile_is_heard_first() {
    let mut world = World::new(1, "").await;
    let rearm = Arc::new(Mutex::new(true));
    let again = Arc::clone(&rearm);
    let plan = ToyPlan::<ToAcceptor> {
        start: vec![(1, Delay::exactly(0)), (2, Delay::exactly(0)), (3, Delay::between(1, 3))],
        end_of_batch: Box::new(move |effects| {
            if *again.lock().unwrap() {
                effects.set_timer(1, Delay::exactly(3_600_000));
                effects.cancel_timer(2);
            }
        }),
        ..ToyPlan::default()
    };
    let mut toy = world.run(A1, plan, Disk::default());
    // Timers 1 and 2 are put off by the batch in which they would have fired, over and over.
    assert_eq!(toy.sees().await, Seen::Timer(3));
    toy.events.send(Event::Stop("test")).unwrap();
    patient(toy.task).await.unwrap().unwrap();
    assert_eq!(toy.sees.recv().await, None);
}

/// A toy that does nothing.
fn toy() -> (Toy<ToAcceptor>, mpsc::UnboundedReceiver<Seen<ToAcceptor>>) {
    let (seen, sees) = mpsc::unbounded_channel();
    let toy = Toy {
        seen,
        standing: Arc::default(),
        start: Vec::new(),
        on_message: Box::new(|_, _, _| Ok(())),
        end_of_batch: Box::new(|_| {}),
        told: Arc::default(),
        incarnations: Incarnations::default(),
        gives_way: false,
    };
    (toy, sees)
}

/// An event that changes nothing.
fn stale<M>() -> Event<M> {
    Event::Writable { node: CLIENT.into(), connection: 0 }
}

#[tokio::test]
async fn a_role_that_nobody_waits_for_gives_way_before_a_batch() {
    static WAYS: AtomicUsize = AtomicUsize::new(0);
    let world = World::new(1, "").await;
    for (gives_way, arrived, ways) in [(false, 3, 0), (true, 3, 1)] {
        let (events, inbox) = mpsc::unbounded_channel();
        let toy = Toy { gives_way, ..toy().0 };
        let mut shell =
            Shell::new(A1.into(), world.cluster.clone(), toy, Disk::default(), (events.clone(), inbox));
        shell.give_way = || _ = WAYS.fetch_add(1, Ordering::Relaxed);
        (1..arrived).for_each(|_| events.send(stale()).unwrap());
        shell.turn(Some(stale())).unwrap();
        assert_eq!(WAYS.swap(0, Ordering::Relaxed), ways, "{arrived} events, gives way: {gives_way}");
    }
}

#[tokio::test]
async fn a_due_timer_is_put_off_by_a_message_of_the_same_turn() {
    let world = World::new(1, "").await;
    let (toy, mut sees) = toy();
    let toy =
        Toy { end_of_batch: Box::new(|effects| effects.set_timer(1, Delay::exactly(3_600_000))), ..toy };
    let (events, inbox) = mpsc::unbounded_channel();
    let mut shell = Shell::new(A1.into(), world.cluster.clone(), toy, Disk::default(), (events, inbox));
    shell.set_timer_for_test(1);
    shell.set_timer_for_test(2);
    shell.turn(Some(stale())).unwrap();
    assert_eq!(sees.try_recv(), Ok(Seen::Timer(2)), "2 was due and stayed due");
    assert!(sees.try_recv().is_err(), "1 was put off before due timers were looked at");
}

#[tokio::test]
async fn the_storage_gets_its_time_and_is_closed_at_the_end() {
    let mut world = World::new(1, "seal_ms = 1").await;
    let (idle, mut idles) = mpsc::unbounded_channel();
    let disk = Disk { steps: 3, idle: Some(idle), ..Disk::default() };
    let acceptor = world.acceptor(1, disk.clone());
    for more in [true, true, false] {
        assert_eq!(patient(idles.recv()).await, Some(more));
    }
    let mut learner = world.call(world.own(L1, None), A1).await.unwrap();
    send(&mut learner, [quorum_read(1)]);
    assert_eq!(patient(idles.recv()).await, Some(false), "idle again after a record");
    acceptor.events.send(Event::Stop("test")).unwrap();
    patient(acceptor.task).await.unwrap().unwrap();
    assert_eq!(*disk.log.lock().unwrap(), ["[1]", "shut down"]);
}

#[tokio::test]
async fn what_was_answered_before_the_end_is_written() {
    let mut world = World::new(1, "").await;
    let mut acceptor = world.acceptor(1, Disk::default());
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    assert_eq!(acceptor.sees().await, Seen::Link(CLIENT.into(), true));
    send(&mut client, [status(5)]);
    assert!(matches!(acceptor.sees().await, Seen::Message(..)));
    acceptor.events.send(Event::Stop("test")).unwrap();
    patient(acceptor.task).await.unwrap().unwrap();
    assert_eq!(
        receive::<ToClient>(&mut client).await,
        ToClient::Refused { tag: 5, reason: NotTaken::Malformed }
    );
    assert!(is_closed(&mut client).await);
}
