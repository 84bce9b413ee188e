//! Whoever talks nonsense to a daemon is shown the door, and nobody else notices.

use std::io;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use synod_protocol::hello::{Greeting, Hello, Standing};
use synod_protocol::message::{Message, ToAcceptor, ToLearner, ToProposer};
use synod_protocol::{Ballot, ClientId, DiskId, Incarnations, NodeId, Slot, wire};
use synod_tests::{DEADLINE, Daemons, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn dial(daemons: &Daemons, node: NodeId) -> TcpStream {
    let address: SocketAddr = daemons.cluster.address(node).unwrap().parse().unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// Waits until the other side closes the connection, whatever it says before.
async fn is_closed(mut stream: TcpStream, what: &str) {
    let mut bytes = [0; 4096];
    let read = async {
        // A connection reset is as closed as one can be.
        while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
    };
    tokio::time::timeout(DEADLINE, read)
        .await
        .unwrap_or_else(|_| panic!("{what}: the connection stays open"));
}

/// Sends what the other side may refuse to read to the end.
async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let sent: io::Result<()> = stream.write_all(bytes).await;
    // It may have closed the connection at the first wrong byte.
    let _closed = sent;
}

fn greeting(daemons: &Daemons, to: NodeId) -> Vec<u8> {
    let hello = Hello {
        from: ClientId(rand::random()).into(),
        to,
        parameters: daemons.cluster.parameters_hash(),
        standing: Standing::default(),
    };
    let mut bytes = Vec::new();
    wire::encode_greeting(&Greeting::Hello(hello), &mut bytes);
    bytes
}

/// A connection past its handshake, with raw bytes to follow.
async fn welcomed(daemons: &Daemons, node: NodeId) -> TcpStream {
    let mut stream = dial(daemons, node).await;
    stream.write_all(&greeting(daemons, node)).await.unwrap();
    let length = stream.read_u32_le().await.unwrap();
    stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
    stream
}

async fn garbage(daemons: &Daemons, node: NodeId, random: &mut StdRng) {
    for round in 0..20 {
        let bytes: Vec<u8> = (0..random.random_range(1..3_000)).map(|_| random.random()).collect();
        let mut stream =
            if round % 2 == 0 { dial(daemons, node).await } else { welcomed(daemons, node).await };
        // A length that fits, so that what is judged is the body.
        send(&mut stream, &(bytes.len() as u32).to_le_bytes()).await;
        send(&mut stream, &bytes).await;
        is_closed(stream, &format!("garbage to {node}")).await;
    }
}

async fn oversized(daemons: &Daemons, node: NodeId) {
    let (before, after) = (dial(daemons, node).await, welcomed(daemons, node).await);
    for (mut stream, cap) in [(before, wire::CAP_BEFORE_HELLO), (after, wire::CAP_CLIENT)] {
        send(&mut stream, &(cap as u32 + 1).to_le_bytes()).await;
        is_closed(stream, &format!("a frame of more than {cap} bytes to {node}")).await;
    }
    let mut stream = dial(daemons, node).await;
    send(&mut stream, &u32::MAX.to_le_bytes()).await;
    is_closed(stream, &format!("a frame of 4 GiB to {node}")).await;
}

/// Half a hello to everyone, and then nothing: closed after `hello_timeout_ms`.
async fn slow(daemons: &Daemons) {
    let mut waiting = Vec::new();
    for node in daemons.nodes() {
        let silent = dial(daemons, node).await;
        let mut half = dial(daemons, node).await;
        let bytes = greeting(daemons, node);
        half.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
        waiting.push((node, silent, half));
    }
    for (node, silent, half) in waiting {
        is_closed(half, &format!("half a hello to {node}")).await;
        is_closed(silent, &format!("no hello to {node}")).await;
    }
}

/// Sound messages that a client has no business sending.
async fn misdirected(daemons: &Daemons, node: NodeId) {
    let ballot = Ballot { round: u64::MAX, ..Ballot::NONE };
    let message = match node {
        NodeId::Acceptor(_) => Message::Acceptor(ToAcceptor::Prepare { ballot, after: Slot::ZERO }),
        NodeId::Proposer(_) => Message::Proposer(ToProposer::Nack { ballot, promised: ballot }),
        NodeId::Learner(_) => Message::Learner(ToLearner::QuorumReadReply {
            round: 1,
            highest: Slot(u64::MAX),
            disk: DiskId(1).into(),
            incarnations: Incarnations::default(),
        }),
        NodeId::Client(_) => panic!("{node} is no daemon"),
    };
    let mut link = connect(&daemons.cluster, node).await.unwrap();
    link.outbox.push(&message);
    link.outbox.flush().unwrap();
    let closed = async { while matches!(link.reader.next().await, Some(Ok(_))) {} };
    let closed = tokio::time::timeout(DEADLINE, closed).await;
    assert!(closed.is_ok(), "{node} goes on listening to a client that plays another role");
}

#[tokio::test]
async fn strangers_are_shown_the_door_while_a_client_goes_on() {
    let tuning = "[tuning]\nhello_timeout_ms = 700\nsegment_bytes = 1048576\n";
    let mut daemons = Daemons::prepare("strangers", (3, 2, 2), tuning);
    daemons.start_all();
    daemons.form().await;
    daemons.wait_until_serving().await;
    let mut random = StdRng::seed_from_u64(daemons.seed);
    let pids_before = daemons.pids();
    let client = crate::steady::Steady::start(&daemons).await;
    for node in daemons.nodes() {
        garbage(&daemons, node, &mut random).await;
        oversized(&daemons, node).await;
        misdirected(&daemons, node).await;
    }
    slow(&daemons).await;
    client.finish_well().await;
    assert_eq!(daemons.pids(), pids_before);
    for node in daemons.nodes() {
        assert!(daemons.status(node).await.is_some(), "{node} is gone");
    }
}
