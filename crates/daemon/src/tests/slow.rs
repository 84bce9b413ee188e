//! Peers that take in too little, and peers that send too much (I14).

use bytes::Bytes;
use synod_protocol::command::Record;
use synod_protocol::message::{Propose, ReadOutcome, ReadReplies, ReadReply, ToProposer};

use synod_protocol::{Revision, Value};

use super::*;
use crate::connection::{self, Event};

/// Replies that one request brings: more bytes than the kernel buffers for a connection.
const REPLIES: u64 = 300;
const REPLY_BYTES: usize = 128 << 10;

fn flood(from: NodeId, _message: &ToAcceptor, effects: &mut Orders) -> Result<(), Misdirected> {
    let NodeId::Client(from) = from else { return Err(Misdirected::new(from, "clients only")) };
    for id in 0..REPLIES {
        let (created, modified, version) = (Revision(1), Revision(1), 1);
        let record = Record { created, modified, version, value: Bytes::from(vec![0; REPLY_BYTES]) };
        let outcome = ReadOutcome::Value(Some(record));
        effects.send(
            from,
            ToClient::ReadReplies([ReadReply { id, slot: Slot(1), outcome }].into_iter().collect()),
        );
    }
    Ok(())
}

fn id_of(replies: &ReadReplies) -> u64 {
    replies.iter().next().unwrap().id
}

#[tokio::test]
async fn i14_a_slow_peer_loses_messages_and_recovers() {
    let mut world = World::new(1, "peer_queue_bytes = 20000000").await;
    let plan = ToyPlan { on_message: Box::new(flood), ..ToyPlan::default() };
    let mut acceptor = world.run(A1, plan, Disk::default());
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    send(&mut client, [status(1)]);
    assert_eq!(acceptor.sees().await, Seen::Link(CLIENT.into(), true));
    assert!(matches!(acceptor.sees().await, Seen::Message(..)));
    let most = 20_000_000 / REPLY_BYTES as u64 + 1;
    for id in 0..most {
        let reply = receive::<ToClient>(&mut client).await;
        assert!(matches!(reply, ToClient::ReadReplies(replies) if id_of(&replies) == id));
    }
    assert_eq!(acceptor.door.counts.dropped.count(), REPLIES - most);
    send(&mut client, [status(2)]);
    let reply = receive::<ToClient>(&mut client).await;
    assert!(matches!(reply, ToClient::ReadReplies(replies) if id_of(&replies) == 0), "it is served again");
}

#[tokio::test]
async fn what_was_answered_is_written_even_to_a_peer_that_lags() {
    let mut world = World::new(1, "").await;
    let plan = ToyPlan { on_message: Box::new(flood), ..ToyPlan::default() };
    let mut acceptor = world.run(A1, plan, Disk::default());
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    send(&mut client, [status(1)]);
    assert_eq!(acceptor.sees().await, Seen::Link(CLIENT.into(), true));
    assert!(matches!(acceptor.sees().await, Seen::Message(..)));
    acceptor.events.send(Event::Stop("test")).unwrap();
    for id in 0..REPLIES {
        let reply = receive::<ToClient>(&mut client).await;
        assert!(matches!(reply, ToClient::ReadReplies(replies) if id_of(&replies) == id));
    }
    assert!(is_closed(&mut client).await);
    patient(acceptor.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn i14_a_connection_is_not_read_beyond_its_budget() {
    let mut world = World::new(1, "inbound_bytes = 65536").await;
    let listener = world.listener(A1.into());
    let door = Arc::new(Door::new(A1.into(), world.cluster.clone(), Standing::default()));
    let (events, mut inbox) = mpsc::unbounded_channel::<Event<ToProposer>>();
    tokio::spawn(crate::listener::listen(door, listener, events));
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    // The last is larger than the whole budget, and passes alone.
    let sizes = [40_000, 20_000, 10_000, 500_000, 10];
    for (tag, size) in (0..).zip(sizes) {
        let commands = Value::new(Bytes::from(vec![1; size]));
        client.outbox.push(&Message::Proposer(ToProposer::Propose(Propose { tag, commands })));
    }
    tokio::spawn(async move {
        while let Flushed::Blocked = client.outbox.flush().unwrap() {
            client.outbox.writable().await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    let up = patient(inbox.recv()).await.unwrap();
    assert!(matches!(up, Event::Up(connection::Connection { .. })));
    let first = patient(inbox.recv()).await.unwrap();
    let second = patient(inbox.recv()).await.unwrap();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(inbox.try_recv().is_err(), "65,536 bytes don't hold the third");
    drop((first, second));
    for _ in 2..sizes.len() {
        let next = patient(inbox.recv()).await.unwrap();
        assert!(matches!(next, Event::Message { .. }));
    }
    drop(up);
}
