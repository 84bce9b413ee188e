//! A learner whose replies to writes get lost on the way to its clients, for as long as one likes.

use std::net::SocketAddr;
use std::path::PathBuf;

use synod_client::{Client, Options};
use synod_protocol::message::ToClient;
use synod_protocol::{Cluster, LearnerId, wire};
use synod_tests::{Block, DEADLINE, Daemons};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Every reply to a write.
    EveryReply,
    /// Two of three, so that each call must be asked again: what is kept of the first answer, and what is proposed again.
    TwoOfThree,
}

async fn serve(learner: SocketAddr, listener: TcpListener, loss: Loss) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(pass_on(learner, client, loss));
    }
}

async fn pass_on(learner: SocketAddr, client: TcpStream, loss: Loss) {
    let server = TcpStream::connect(learner).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut frames = 0_u64;
    let mut replies = 0_u64;
    while let Ok(length) = from_server.read_u32_le().await {
        let mut body = vec![0; length as usize];
        if from_server.read_exact(&mut body).await.is_err() {
            return;
        }
        frames += 1;
        // The first frame is the greeting, which is no message.
        if frames > 1 && matches!(wire::decode_frame(body.clone().into()), Ok(ToClient::Replies(_))) {
            replies += 1;
            if loss == Loss::EveryReply || !replies.is_multiple_of(3) {
                continue;
            }
        }
        if to_client.write_all(&[&length.to_le_bytes()[..], &body].concat()).await.is_err() {
            return;
        }
    }
}

/// The cluster file as clients behind such a learner have it, and the port it holds.
pub(crate) async fn behind_a_lossy_learner(daemons: &Daemons, loss: Loss) -> (PathBuf, Block) {
    let ports = Block::claim();
    let address = ports.addresses().next().unwrap();
    let listener = TcpListener::bind(&address).await.unwrap();
    let learner = daemons.cluster.address(LearnerId(1).into()).unwrap();
    tokio::spawn(serve(learner.parse().unwrap(), listener, loss));
    let text = std::fs::read_to_string(&daemons.file).unwrap().replace(learner, &address);
    let file = daemons.folder.join("lossy.toml");
    std::fs::write(&file, text).unwrap();
    (file, ports)
}

#[tokio::test]
async fn s9_a_call_whose_reply_was_lost_is_asked_again_and_takes_effect_once() {
    let daemons = Daemons::formed("lost-replies", (3, 1, 1)).await;
    let (file, _ports) = behind_a_lossy_learner(&daemons, Loss::TwoOfThree).await;
    let cluster = Cluster::parse(&std::fs::read_to_string(file).unwrap(), &[]).unwrap();
    let client = Client::connect(cluster, Options { deadline: DEADLINE });
    for round in 0..5 {
        client.put("key", round.to_string()).await.unwrap();
        let deleted = client.delete("key").await.unwrap();
        assert!(
            deleted.value.is_some(),
            "round {round}: the delete took effect twice: asked again, it found the key gone"
        );
        assert_eq!(client.get("key").await.unwrap().value, None, "round {round}: the put took effect again");
    }
}
