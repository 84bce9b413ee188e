//! The `synod` command as a process: exit codes, and what goes to which output.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::fake::{Fake, prepared};
use synod_protocol::AcceptorId;
use synod_protocol::message::Formation;

/// A fake cluster with its file, which is removed at the end.
struct Site {
    fake: Fake,
    file: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        // A file that is left behind harms nothing.
        let _left = std::fs::remove_file(&self.file);
    }
}

async fn site(name: &str) -> Site {
    let fake = Fake::start().await;
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id()));
    std::fs::write(&file, &fake.text).unwrap();
    Site { fake, file }
}

impl Site {
    /// Runs the command; the deadline is long unless the arguments say otherwise.
    async fn synod(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
        command.arg("--cluster").arg(&self.file).args(arguments);
        run(command, stdin.to_vec()).await
    }
}

async fn run(mut command: Command, stdin: Vec<u8>) -> Output {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SYNOD_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let work = move || {
        let mut child = command.spawn().unwrap();
        // A command that takes no input may be gone by then.
        let _gone = child.stdin.take().unwrap().write_all(&stdin);
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn messages(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn put_get_and_delete_keep_data_and_messages_apart() {
    let site = site("data").await;
    let put = site.synod(&["put", "k", "-v"], b"").await;
    assert_eq!((code(&put), put.stdout.len()), (0, 0), "{}", messages(&put));
    assert!(messages(&put).starts_with("ok, slot "));
    let get = site.synod(&["get", "k"], b"").await;
    assert_eq!((code(&get), &get.stdout[..], messages(&get).as_str()), (0, &b"-v"[..], ""));
    let binary = b"\0\xff\n\r\n";
    assert_eq!(code(&site.synod(&["put", "k"], binary).await), 0);
    assert_eq!(site.synod(&["get", "k"], b"").await.stdout, binary);
    let stale = site.synod(&["get", "--stale", "k"], b"").await;
    assert!(stale.stdout == binary && messages(&stale).starts_with("as of slot "));
    let delete = site.synod(&["delete", "k"], b"").await;
    assert_eq!((code(&delete), delete.stdout.len()), (0, 0));
    assert!(messages(&delete).starts_with("deleted"));
    let delete = site.synod(&["delete", "k"], b"").await;
    assert!(code(&delete) == 1 && messages(&delete).starts_with("it wasn't there"));
    let get = site.synod(&["get", "k"], b"").await;
    assert_eq!((code(&get), get.stdout.len(), messages(&get).as_str()), (1, 0, "not found\n"));
    assert_eq!(site.fake.state().machine.sessions(), Vec::new(), "every session was ended");
}

#[tokio::test]
async fn usage_and_a_bad_cluster_file_exit_with_2() {
    let site = site("usage").await;
    for arguments in [&["put"][..], &["fly"], &["get", "k", "--fast"], &["workload", "--put", "90"]] {
        let output = site.synod(arguments, b"").await;
        assert_eq!((code(&output), output.stdout.len()), (2, 0), "{arguments:?}: {}", messages(&output));
    }
    std::fs::write(&site.file, "name = \"x\"\nspeed = 3\n").unwrap();
    let output = site.synod(&["get", "k"], b"").await;
    assert!(code(&output) == 2 && messages(&output).contains("speed"), "{}", messages(&output));
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(["--cluster", "/nowhere.toml", "status"]);
    let output = run(command, Vec::new()).await;
    assert!(code(&output) == 2 && messages(&output).contains("/nowhere.toml"), "{}", messages(&output));
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.arg("status");
    let output = run(command, Vec::new()).await;
    assert!(code(&output) == 2 && messages(&output).contains("--cluster"), "{}", messages(&output));
}

#[tokio::test]
async fn no_quorum_unknown_and_refused_have_their_codes() {
    let site = site("codes").await;
    site.fake.state().leader = 0;
    let output = site.synod(&["--deadline-ms", "200", "put", "k", "v"], b"").await;
    assert!(code(&output) == 3 && messages(&output).contains("nothing was done"), "{}", messages(&output));
    site.fake.state().leader = 1;
    site.fake.state().lose_calls = true;
    let output = site.synod(&["--deadline-ms", "1500", "put", "k", "v"], b"").await;
    assert!(code(&output) == 4 && messages(&output).contains("may or may not"), "{}", messages(&output));
    site.fake.state().lose_calls = false;
    let long = vec![7; (1 << 20) + 1];
    let output = site.synod(&["put", "k"], &long).await;
    assert!(code(&output) == 1 && messages(&output).contains("1048576 bytes"), "{}", messages(&output));
}

#[tokio::test]
async fn status_tells_a_table_or_json() {
    let site = site("status").await;
    let unformed = site.synod(&["status"], b"").await;
    let table = String::from_utf8(unformed.stdout.clone()).unwrap();
    assert!(code(&unformed) == 3 && table.contains("not formed: 3 of 3"), "{table}");
    assert!(table.lines().any(|line| line.starts_with("l3") && line.contains(" no ")), "{table}");
    assert_eq!(code(&site.synod(&["admin", "form"], b"").await), 0);
    let json = site.synod(&["status", "--json"], b"").await;
    let json_text = String::from_utf8(json.stdout.clone()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json_text).unwrap();
    assert_eq!((code(&json), &value["acceptors"]["more_failures"]), (0, &1.into()), "{json_text}");
}

#[tokio::test]
async fn admin_form_reports_each_step_and_refuses_a_lost_disk() {
    let site = site("form").await;
    site.fake.state().formations.insert(AcceptorId(2), prepared(77, 5));
    let formed = site.synod(&["admin", "form"], b"").await;
    assert_eq!((code(&formed), formed.stdout.len()), (0, 0));
    assert!(messages(&formed).contains("a1: prepared") && messages(&formed).contains("\nformed: cluster"));
    let again = site.synod(&["admin", "form"], b"").await;
    assert!(code(&again) == 0 && messages(&again).contains("already formed"), "{}", messages(&again));
    site.fake.state().formations.insert(AcceptorId(3), Formation::Empty);
    let lost = site.synod(&["admin", "form"], b"").await;
    assert!(code(&lost) == 1 && messages(&lost).contains("a3 has an empty disk"), "{}", messages(&lost));
}

#[tokio::test]
async fn workload_prints_one_object() {
    let site = site("workload").await;
    let arguments = ["workload", "--clients", "4", "--seconds", "1", "--keys", "8", "--json"];
    let output = site.synod(&arguments, b"").await;
    assert_eq!(code(&output), 0, "{}", messages(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["seconds", "ok", "failed", "unknown", "ops_per_s", "p50_us", "p99_us", "max_us"] {
        assert!(value[key].is_number(), "{key}: {value}");
    }
    assert_eq!(value["verification"]["keys"], 8);
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
    site.fake.state().leader = 0;
    let arguments = ["--deadline-ms", "100", "workload", "--put", "100", "--get", "0", "--delete", "0"];
    let output = site
        .synod(&[&arguments[..], &["--seconds", "1", "--keys", "1", "--clients", "1"]].concat(), b"")
        .await;
    assert_eq!(code(&output), 3, "{}", messages(&output));
}

#[tokio::test]
async fn help_teaches_with_examples() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.arg("--help");
    let help = run(command, Vec::new()).await;
    let text = String::from_utf8(help.stdout.clone()).unwrap();
    assert!(code(&help) == 0 && text.contains("Examples:") && text.contains("outcome unknown"), "{text}");
}
