//! The `synod` command as a script sees it: what goes to standard output, and the exit codes 0 to 4.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use synod_protocol::AcceptorId;
use synod_tests::{Daemons, command};

use crate::lossy::{Loss, behind_a_lossy_learner};

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

#[tokio::test]
async fn exit_code_4_says_that_the_outcome_is_unknown() {
    let daemons = Daemons::formed("command-unknown", (3, 1, 1)).await;
    let (lossy, _ports) = behind_a_lossy_learner(&daemons, Loss::EveryReply).await;
    let put = synod(&lossy, &["--deadline-ms", "2000", "put", "perhaps", "set"], b"").await;
    expect(&put, 4, b"");
    // Here it did happen: the reply alone was lost.
    expect(&synod(&daemons.file, &["get", "perhaps"], b"").await, 0, b"set");
}
