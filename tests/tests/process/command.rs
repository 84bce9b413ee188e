//! The `synod` command as a script sees it: what goes to standard output, and the exit codes 0 to 4.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use synod_protocol::message::ToClient;
use synod_protocol::{AcceptorId, LearnerId, wire};
use synod_tests::{Block, Daemons, command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Runs `synod` with that cluster file and input.
async fn synod(file: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = command("synod");
    command.arg("--cluster").arg(file).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    tokio::task::spawn_blocking(move || {
        // A command that takes no input may have ended already.
        let _closed = stdin.write_all(&input);
        drop(stdin);
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32, stdout: &[u8]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(output.stdout, stdout, "{text}");
}

#[tokio::test]
async fn exit_codes_0_to_3() {
    let mut daemons = Daemons::formed("command", (3, 2, 2)).await;
    let file = daemons.file.clone();
    let run = async |arguments: &[&str], input: &[u8]| synod(&file, arguments, input).await;

    // 0: done. Values are bytes, from the argument or standard input, and come back as they went in.
    expect(&run(&["put", "greeting", "hello"], b"").await, 0, b"");
    expect(&run(&["get", "greeting"], b"").await, 0, b"hello");
    let binary: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    expect(&run(&["put", "binary"], &binary).await, 0, b"");
    expect(&run(&["get", "binary"], b"").await, 0, &binary);
    expect(&run(&["delete", "greeting"], b"").await, 0, b"");

    // 1: not there, or refused for certain.
    expect(&run(&["get", "greeting"], b"").await, 1, b"");
    expect(&run(&["delete", "greeting"], b"").await, 1, b"");
    let long = vec![b'v'; 2 << 20];
    expect(&run(&["put", "long"], &long).await, 1, b"");

    // 2: asked wrongly.
    expect(&run(&["put"], b"").await, 2, b"");
    expect(&run(&["frobnicate"], b"").await, 2, b"");
    let missing = synod(Path::new("missing.toml"), &["get", "greeting"], b"").await;
    expect(&missing, 2, b"");

    let status = run(&["status"], b"").await;
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    for node in daemons.nodes() {
        assert!(told.contains(&node.to_string()), "{node} isn't in:\n{told}");
    }

    // 3: no quorum; nothing was done.
    for acceptor in [1, 2] {
        daemons.kill(AcceptorId(acceptor));
    }
    let none = run(&["--deadline-ms", "1500", "get", "binary"], b"").await;
    expect(&none, 3, b"");
    let none = run(&["--deadline-ms", "1500", "put", "never", "set"], b"").await;
    expect(&none, 3, b"");
}

/// A learner's address for clients, where every reply to a write is lost.
async fn swallow_replies(learner: SocketAddr, listener: TcpListener) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let server = TcpStream::connect(learner).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mut greeted = false;
            while let Ok(length) = from_server.read_u32_le().await {
                let mut body = vec![0; length as usize];
                if from_server.read_exact(&mut body).await.is_err() {
                    return;
                }
                let message = wire::decode_frame::<ToClient>(body.clone().into());
                if greeted && matches!(message, Ok(ToClient::Replies(_))) {
                    continue;
                }
                greeted = true;
                let written = to_client.write_all(&[&length.to_le_bytes()[..], &body].concat()).await;
                if written.is_err() {
                    return;
                }
            }
        });
    }
}

/// The cluster file as clients behind such a learner have it.
async fn behind_a_lossy_learner(daemons: &Daemons) -> (PathBuf, Block) {
    let ports = Block::claim();
    let address = ports.addresses().next().unwrap();
    let listener = TcpListener::bind(&address).await.unwrap();
    let learner = daemons.cluster.address(LearnerId(1).into()).unwrap();
    tokio::spawn(swallow_replies(learner.parse().unwrap(), listener));
    let text = std::fs::read_to_string(&daemons.file).unwrap().replace(learner, &address);
    let file = daemons.folder.join("lossy.toml");
    std::fs::write(&file, text).unwrap();
    (file, ports)
}

#[tokio::test]
async fn exit_code_4_says_that_the_outcome_is_unknown() {
    let daemons = Daemons::formed("command-unknown", (3, 1, 1)).await;
    let (lossy, _ports) = behind_a_lossy_learner(&daemons).await;
    let put = synod(&lossy, &["--deadline-ms", "2000", "put", "perhaps", "set"], b"").await;
    expect(&put, 4, b"");
    // Here it did happen: the reply alone was lost.
    expect(&synod(&daemons.file, &["get", "perhaps"], b"").await, 0, b"set");
}
