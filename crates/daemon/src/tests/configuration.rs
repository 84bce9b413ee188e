//! Flag over environment over file, and what every mistake is told.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use synod_protocol::tuning::Tuning;

use super::*;
use crate::arguments::{Arguments, ConfigError, Kind};
use crate::setup::Setup;
use crate::{help, logging};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    daemon: Arguments,
}

const FILE: &str = "name = \"x\"\n[[acceptors]]\nid = 1\naddress = \"127.0.0.1:1\"\n[[acceptors]]\nid = 5\n\
    address = \"127.0.0.1:2\"\n[[proposers]]\nid = 1\naddress = \"127.0.0.1:3\"\n[[learners]]\nid = 1\n\
    address = \"127.0.0.1:4\"\n[tuning]\nprobe_ms = 11\nheal_ms = 12\nresend_ms = 13\n";

/// A cluster file of its own for each test.
fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("synod-daemon-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn load(
    path: &std::path::Path,
    flags: &[&str],
    environment: &[(&str, &str)],
) -> Result<(Cluster, NodeId), ConfigError> {
    let path = path.to_str().unwrap();
    let flags = ["synod-acceptor", "--cluster", path].into_iter().chain(flags.iter().copied());
    let known = Flags::command()
        .get_arguments()
        .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()))
        .collect::<BTreeSet<_>>();
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Flags::try_parse_from(flags).unwrap().daemon.load(Kind::Acceptor, &known, environment)
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let path = file("order", FILE);
    let flags = ["--id", "5", "--set", "probe_ms=31", "--set", "probe_ms=32"];
    let environment =
        [("SYNOD_PROBE_MS", "21"), ("SYNOD_HEAL_MS", "22"), ("SYNOD_LOG", "debug"), ("PATH", "/bin")];
    let (cluster, node) = load(&path, &flags, &environment).unwrap();
    std::fs::remove_file(path).unwrap();
    let Tuning { probe_ms, heal_ms, resend_ms, .. } = cluster.tuning;
    assert_eq!((node, probe_ms, heal_ms, resend_ms), (AcceptorId(5).into(), 32, 22, 13));
}

#[test]
fn mistakes_say_what_to_do() {
    let path = file("mistakes", FILE);
    let refused = |flags: &[&str], environment: &[(&str, &str)]| {
        let flags = [&["--id", "1"], flags].concat();
        load(&path, &flags, environment).unwrap_err().to_string()
    };
    for (text, wanted) in [
        (refused(&["--set", "probe_ms"], &[]), "must be KEY=VALUE"),
        (refused(&["--set", "prob_ms=1"], &[]), "there is no tuning key \"prob_ms\""),
        (refused(&["--set", "probe_ms=x"], &[]), "isn't a whole number"),
        (refused(&[], &[("SYNOD_PROB_MS", "1")]), "SYNOD_PROB_MS means nothing"),
        (refused(&[], &[("SYNOD_PROB_MS", "1")]), "SYNOD_CLUSTER, SYNOD_ID, SYNOD_LISTEN"),
        (refused(&[], &[("SYNOD_probe_ms", "1")]), "SYNOD_probe_ms means nothing"),
        (refused(&[], &[("SYNOD_PROBE_MS", "-1")]), "SYNOD_PROBE_MS: probe_ms = \"-1\" isn't"),
        (refused(&["--set", "heartbeat_ms=0"], &[]), "heartbeat_ms = 0 can't work"),
    ] {
        assert!(text.contains(wanted) && text.contains("nothing was started"), "{text}");
    }
    let unknown = load(&path, &["--id", "9"], &[]).unwrap_err().to_string();
    assert!(unknown.contains("no acceptor with id 9; its ids are 1, 5; nothing was started"), "{unknown}");
    std::fs::remove_file(&path).unwrap();
    let gone = load(&path, &["--id", "1"], &[]).unwrap_err();
    assert!(
        gone.to_string().contains("cannot read the cluster file") && gone.to_string().contains("--cluster")
    );
    assert_eq!(Failure::from(gone).exit_code(), 2);
    assert!(logging::filter("=x=").unwrap_err().to_string().contains("nothing was started; try info"));
}

#[tokio::test]
async fn an_address_in_use_is_told_with_what_to_check() {
    let mut world = World::new(1, "").await;
    let listen = world.address(A1);
    let _used = world.listener(A1.into());
    let setup =
        Setup { node: A1.into(), id: 1, cluster: world.cluster, listen: listen.clone(), lifeline: false };
    let text = setup.bind().await.unwrap_err().to_string();
    assert!(text.contains(&format!("a1 cannot listen on {listen}")) && text.contains("ss -ltnp"), "{text}");
    let setup = Setup { listen: "192.0.2.1:9".into(), ..setup };
    assert!(setup.bind().await.unwrap_err().to_string().contains("this host doesn't have that address"));
}

#[test]
fn help_lists_every_tuning_key_and_an_example() {
    for kind in [Kind::Acceptor, Kind::Proposer, Kind::Learner] {
        let help = help::after(kind);
        assert!(help.contains(&format!("synod-{} --cluster deploy/local.toml --id 1", kind.name())));
        for (key, default, _) in Tuning::KEYS {
            assert!(help.contains(&format!("\n  {key} = {default}\n")), "{key}");
        }
        assert!(help.lines().all(|line| line.len() <= 110));
    }
}
