//! Who is refused, how, and that the others don't notice.

use synod_protocol::hello::Refused;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::listener::listen_with;

/// Reads what a raw socket gets until it is closed, by end or reset.
async fn closes(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _reset_is_an_end_too = patient(stream.read_to_end(&mut all)).await;
    all
}

fn refusal(result: Result<Link, LinkError>) -> Refused {
    match result {
        Err(LinkError::Refused(refused)) => refused,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn s12_who_does_not_belong_is_refused_and_others_go_on() {
    let mut world = World::new(2, "").await;
    let acceptor = world.acceptor(1, Disk::default());
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    let right = world.own(L1, Some(7));
    let wrong_parameters = Own { parameters: right.parameters + 1, ..right };
    assert!(matches!(refusal(world.call(wrong_parameters, A1).await), Refused::Parameters { .. }));
    let other_cluster = world.call(world.own(L1, Some(8)), A1).await;
    assert!(matches!(refusal(other_cluster), Refused::OtherCluster { .. }));
    let wrong_address = link::dial(&world.address(A1), right, AcceptorId(2).into(), PATIENCE).await;
    assert!(matches!(refusal(wrong_address), Refused::WrongAddress { .. }));
    let not_served = world.call(world.own(AcceptorId(2), Some(7)), A1).await;
    assert!(matches!(refusal(not_served), Refused::NotServed { .. }));
    assert!(world.call(right, A1).await.is_ok());
    assert!(answers_status(&mut client, 1).await);
    assert_eq!(acceptor.door.counts.refused.count(), 4);
}

#[tokio::test]
async fn s12_a_hello_tells_the_standing_after_the_last_release() {
    let mut world = World::new(1, "").await;
    let mut acceptor = world.acceptor(1, Disk::default());
    let mut learner = world.call(world.own(L1, None), A1).await.unwrap();
    assert_eq!(acceptor.sees().await, Seen::Link(L1.into(), true));
    assert_eq!((learner.hello.standing.cluster, learner.hello.standing.position), (Some(ClusterId(7)), 1));
    acceptor.standing.lock().unwrap().position = 2;
    let client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    assert_eq!(client.hello.standing.position, 1, "the role isn't asked before its records are released");
    send(&mut learner, [quorum_read(1)]);
    receive::<ToLearner>(&mut learner).await;
    let client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    assert_eq!(client.hello.standing.position, 2);
}

#[tokio::test]
async fn i14_garbage_oversized_and_silent_callers_are_closed_and_others_go_on() {
    let mut world = World::new(1, "hello_timeout_ms = 100").await;
    let acceptor = world.acceptor(1, Disk::default());
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    let oversized = (wire::CAP_BEFORE_HELLO as u32 + 1).to_le_bytes();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[3, 0, 0, 0, 1, 2, 3], &oversized, b"half", b""] {
        let mut stream = TcpStream::connect(world.address(A1)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(closes(&mut stream).await, b"", "{bytes:?}");
    }
    assert!(answers_status(&mut client, 1).await);
    assert_eq!(acceptor.door.counts.refused.count(), 5);
}

#[tokio::test]
async fn i14_garbage_and_misdirected_messages_close_their_connection_alone() {
    let mut world = World::new(1, "").await;
    let mut acceptor = world.acceptor(1, Disk::default());
    let mut client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    assert_eq!(acceptor.sees().await, Seen::Link(CLIENT.into(), true));

    let mut misdirecting = world.call(world.own(L1, None), A1).await.unwrap();
    send(&mut misdirecting, [status(1), quorum_read(1)]);
    assert!(is_closed(&mut misdirecting).await, "the message behind it isn't answered");
    assert_eq!(acceptor.sees().await, Seen::Link(L1.into(), true));
    assert_eq!(acceptor.sees().await, Seen::Message(L1.into(), ToAcceptor::Status { request: 1 }));
    assert_eq!(acceptor.sees().await, Seen::Link(L1.into(), false));

    let mut wrong_kind = world.call(world.own(L1, None), A1).await.unwrap();
    send(
        &mut wrong_kind,
        [Message::Client(ToClient::Refused { tag: u64::MAX, reason: NotTaken::Malformed })],
    );
    assert!(is_closed(&mut wrong_kind).await);
    assert_eq!(acceptor.sees().await, Seen::Link(L1.into(), true));
    assert_eq!(acceptor.sees().await, Seen::Link(L1.into(), false));

    assert!(answers_status(&mut client, 1).await);
    assert_eq!(acceptor.door.counts.garbage.count(), 2);
}

#[tokio::test]
async fn i14_a_closed_connection_gives_its_place_back_though_the_caller_holds_on() {
    let mut world = World::new(1, "connections = 1").await;
    let _acceptor = world.acceptor(1, Disk::default());
    let mut misdirecting = world.call(world.own(CLIENT, None), A1).await.unwrap();
    send(&mut misdirecting, [quorum_read(1)]);
    assert!(is_closed(&mut misdirecting).await);
    assert!(world.call(world.own(ClientId(12), None), A1).await.is_ok());
    drop(misdirecting);
}

#[tokio::test]
async fn i14_a_crowd_of_silent_callers_does_not_keep_a_quick_one_out() {
    let mut world = World::new(1, "hello_timeout_ms = 60000").await;
    let listener = world.listener(A1.into());
    let door = Arc::new(Door::new(A1.into(), world.cluster.clone(), Standing::default()));
    let (events, _inbox) = mpsc::unbounded_channel();
    tokio::spawn(listen_with::<ToAcceptor>(door, listener, events, 3));
    let mut crowd = Vec::new();
    for _ in 0..5 {
        crowd.push(TcpStream::connect(world.address(A1)).await.unwrap());
    }
    assert!(patient(world.call(world.own(CLIENT, None), A1)).await.is_ok());
    for oldest in &mut crowd[..3] {
        assert_eq!(closes(oldest).await, b"");
    }
}

#[tokio::test]
async fn i14_clients_beyond_the_limit_are_told_and_the_cluster_s_own_nodes_get_in() {
    let mut world = World::new(1, "connections = 1").await;
    let mut acceptor = world.acceptor(1, Disk::default());
    let client = world.call(world.own(CLIENT, None), A1).await.unwrap();
    assert_eq!(acceptor.sees().await, Seen::Link(CLIENT.into(), true));
    let another = world.own(ClientId(12), None);
    assert!(matches!(refusal(world.call(another, A1).await), Refused::Full { .. }));
    assert!(world.call(world.own(L1, None), A1).await.is_ok());
    drop(client);
    while acceptor.sees().await != Seen::Link(CLIENT.into(), false) {}
    assert!(patient(world.call(another, A1)).await.is_ok(), "its place is free again");
}

#[tokio::test]
async fn a_node_that_connects_again_replaces_its_older_connection() {
    let mut world = World::new(1, "").await;
    let mut acceptor = world.acceptor(1, Disk::default());
    let mut older = world.call(world.own(L1, None), A1).await.unwrap();
    let mut newer = world.call(world.own(L1, None), A1).await.unwrap();
    for up in [true, false, true] {
        assert_eq!(acceptor.sees().await, Seen::Link(L1.into(), up));
    }
    assert!(is_closed(&mut older).await);
    send(&mut newer, [quorum_read(9)]);
    let reply = receive::<ToLearner>(&mut newer).await;
    assert_eq!(reply, quorum_read_reply(9));
    assert!(matches!(acceptor.sees().await, Seen::Message(..)), "and the end of the older one is no news");
}
