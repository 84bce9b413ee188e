//! The cluster files that ship: they parse, they are what they say, and the defaults they show are the defaults.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::path::Path;

use synod_protocol::cluster::Limits;
use synod_protocol::tuning::Tuning;
use synod_protocol::{Cluster, NodeId};

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sizes(cluster: &Cluster) -> (usize, usize, usize) {
    (cluster.acceptors.len(), cluster.proposers.len(), cluster.learners.len())
}

#[test]
fn the_local_cluster_is_on_loopback() {
    let cluster = Cluster::parse(&text("local.toml"), &[]).unwrap();
    assert_eq!((cluster.name.as_str(), sizes(&cluster)), ("local", (5, 3, 3)));
    assert!(cluster.nodes().all(|(_, address)| address.starts_with("127.0.0.1:7")));
    assert_eq!(cluster.quorums.failures_survived(), 2);
}

#[test]
fn the_local_file_shows_every_setting_with_its_default() {
    let text = text("local.toml");
    let shown = |line: &str| {
        line.starts_with("# [") || line.starts_with("# ") && line.contains(" = ") && !line.contains("set ")
    };
    let uncommented: Vec<_> =
        text.lines().map(|line| if shown(line) { line.trim_start_matches("# ") } else { line }).collect();
    let uncommented = uncommented.join("\n");
    let cluster = Cluster::parse(&uncommented, &[]).unwrap();
    let plain = Cluster::parse(&text, &[]).unwrap();
    assert_eq!((cluster.limits, &cluster.tuning), (Limits::default(), &Tuning::default()));
    assert_eq!(cluster.parameters_hash(), plain.parameters_hash());
    for (key, _, _) in Tuning::KEYS {
        assert!(uncommented.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} isn't shown");
    }
    for key in ["key_bytes", "value_bytes", "session_window", "sessions", "phase1", "phase2"] {
        assert!(uncommented.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} isn't shown");
    }
}

#[test]
fn each_of_the_five_servers_has_one_of_each() {
    let cluster = Cluster::parse(&text("five-servers.toml"), &[]).unwrap();
    assert_eq!(sizes(&cluster), (5, 5, 5));
    for number in 1..=5 {
        let host = format!("s{number}.example:");
        let here: BTreeSet<_> =
            cluster.nodes().filter(|(_, address)| address.starts_with(&host)).map(|(node, _)| node).collect();
        let kinds: Vec<_> = here.iter().map(NodeId::to_string).collect();
        assert_eq!(kinds, [format!("a{number}"), format!("p{number}"), format!("l{number}")], "{host}");
    }
}
