//! The cluster file: who takes part and where, what is fixed at formation, and the numbers that may be tuned.
//!
//! Unknown keys are refused, and every mistake is told with what to do about it. Upholds the fixed half of S12: acceptor ids,
//! quorum sizes, learner ids and [`Limits`] are hashed into identity and hello.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{AcceptorId, ClusterId, DiskId, LearnerId, NodeId, ProposerId};
use crate::quorum::{QuorumError, QuorumSystem};
use crate::tuning::Tuning;
use crate::wire;

/// What every process of a cluster knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// A name for people.
    pub name: String,
    /// `host:port` of each acceptor.
    pub acceptors: BTreeMap<AcceptorId, String>,
    /// `host:port` of each proposer.
    pub proposers: BTreeMap<ProposerId, String>,
    /// `host:port` of each configured learner.
    pub learners: BTreeMap<LearnerId, String>,
    /// `host:port` of each observer that is to be found: a learner for reads alone, which counts for nothing. Others may join all the same.
    pub observers: BTreeMap<LearnerId, String>,
    /// Quorum sizes over the acceptors.
    pub quorums: QuorumSystem,
    /// What decides how a command applies.
    pub limits: Limits,
    /// What may differ from process to process.
    pub tuning: Tuning,
}

/// Limits that decide how a command applies: fixed at formation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a key, at most.
    pub key_bytes: u64,
    /// Bytes of a value, at most.
    pub value_bytes: u64,
    /// Calls of one session that may be unacknowledged at once.
    pub session_window: u64,
    /// Sessions open at once.
    pub sessions: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { key_bytes: 4 << 10, value_bytes: 1 << 20, session_window: 8_192, sessions: 100_000 }
    }
}

/// Why a cluster file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// An id that isn't from 1, or stands twice.
    #[error("[[{table}]] has id {id} {what}; ids are whole numbers from 1, each used once")]
    Id {
        /// The table.
        table: &'static str,
        /// The id.
        id: u16,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An address that isn't `host:port`, or stands twice.
    #[error("address {address:?} of {node} {what}")]
    Address {
        /// Whose.
        node: NodeId,
        /// The address.
        address: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A table without entries.
    #[error("a cluster needs at least one [[{0}]] with id and address")]
    Missing(&'static str),
    /// An observer with an id among those of the learners.
    #[error("[[observers]] has id {}; observers have ids above those of all [[learners]], so above {}", id.0, highest.0)]
    Observer {
        /// The id.
        id: LearnerId,
        /// The highest id of a configured learner.
        highest: LearnerId,
    },
    /// Quorum sizes that can't be.
    #[error("[quorum]: {0}")]
    Quorum(#[from] QuorumError),
    /// A number that can't be.
    #[error("{key} = {value} can't work: it must be {needed}")]
    Number {
        /// The key with its table.
        key: String,
        /// The number.
        value: u64,
        /// What it must be.
        needed: String,
    },
    /// An override of a tuning key that doesn't exist, or isn't a number.
    #[error("{source_name}: {what}; `--help` lists the keys of [tuning] with their units")]
    Override {
        /// Where the override came from.
        source_name: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A tuning number that flag or environment sets over the file's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Where it came from, for the error: `--set`, `SYNOD_HEARTBEAT_MS`, ...
    pub source_name: String,
    /// A key of `[tuning]`.
    pub key: String,
    /// The number, as text.
    pub value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    quorum: Option<Quorum>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    tuning: toml::Table,
    #[serde(default)]
    acceptors: Vec<Node>,
    #[serde(default)]
    proposers: Vec<Node>,
    #[serde(default)]
    learners: Vec<Node>,
    #[serde(default)]
    observers: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quorum {
    phase1: usize,
    phase2: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    id: u16,
    address: String,
}

impl Cluster {
    /// Reads a cluster file's text; `overrides` win over its `[tuning]`, later ones over earlier ones.
    pub fn parse(text: &str, overrides: &[Override]) -> Result<Cluster, ClusterError> {
        let mut file: File = toml::from_str(text)?;
        for one in overrides {
            apply_override(&mut file.tuning, one)?;
        }
        let tuning: Tuning = file.tuning.try_into()?;
        let mut addresses = BTreeSet::new();
        let acceptors = nodes("acceptors", file.acceptors, AcceptorId, &mut addresses)?;
        let proposers = nodes("proposers", file.proposers, ProposerId, &mut addresses)?;
        let learners = nodes("learners", file.learners, LearnerId, &mut addresses)?;
        let observers = if file.observers.is_empty() {
            BTreeMap::new()
        } else {
            nodes("observers", file.observers, LearnerId, &mut addresses)?
        };
        if let Some(id) = observers.keys().copied().find(|id| !is_observer(&learners, *id)) {
            return Err(ClusterError::Observer { id, highest: highest(&learners) });
        }
        let quorums = match file.quorum {
            Some(Quorum { phase1, phase2 }) => {
                QuorumSystem::flexible(acceptors.keys().copied(), phase1, phase2)?
            }
            None => QuorumSystem::majority(acceptors.keys().copied())?,
        };
        check_numbers(&file.limits, &tuning)?;
        let File { name, limits, .. } = file;
        Ok(Cluster { name, acceptors, proposers, learners, observers, quorums, limits, tuning })
    }

    /// Hash of what is fixed at formation: acceptor ids, quorum sizes, learner ids, limits.
    pub fn parameters_hash(&self) -> u64 {
        let learners: BTreeSet<_> = self.learners.keys().copied().collect();
        wire::hash_of(&(&self.quorums, &learners, &self.limits)) as u64
    }

    /// Name of the cluster that a formation with these disks makes (S12).
    pub fn id_of(parameters: u64, formation: u128, disks: &[(AcceptorId, DiskId)]) -> ClusterId {
        let disks: BTreeMap<_, _> = disks.iter().copied().collect();
        ClusterId(wire::hash_of(&(parameters, formation, &disks)))
    }

    /// The address of a node of the file; clients have none.
    pub fn address(&self, node: NodeId) -> Option<&str> {
        match node {
            NodeId::Acceptor(id) => self.acceptors.get(&id),
            NodeId::Proposer(id) => self.proposers.get(&id),
            NodeId::Learner(id) => self.learners.get(&id).or_else(|| self.observers.get(&id)),
            NodeId::Client(_) => None,
        }
        .map(String::as_str)
    }

    /// Whether `id` may be an observer's: higher than that of every configured learner, so that whoever dials only learners of lower ids
    /// is dialed by none of them.
    pub fn is_observer(&self, id: LearnerId) -> bool {
        is_observer(&self.learners, id)
    }

    /// The observers of the file, with their addresses.
    pub fn observers(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.observers.iter().map(|(id, address)| (NodeId::from(*id), address.as_str()))
    }

    /// Every node of the file that counts for something, with its address: acceptors, proposers, learners.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &str)> {
        let acceptors = self.acceptors.iter().map(|(id, address)| (NodeId::from(*id), address.as_str()));
        let proposers = self.proposers.iter().map(|(id, address)| (NodeId::from(*id), address.as_str()));
        let learners = self.learners.iter().map(|(id, address)| (NodeId::from(*id), address.as_str()));
        acceptors.chain(proposers).chain(learners)
    }
}

fn highest(learners: &BTreeMap<LearnerId, String>) -> LearnerId {
    learners.keys().next_back().copied().unwrap_or(LearnerId(0))
}

fn is_observer(learners: &BTreeMap<LearnerId, String>, id: LearnerId) -> bool {
    id > highest(learners)
}

fn apply_override(tuning: &mut toml::Table, one: &Override) -> Result<(), ClusterError> {
    let refuse = |what| ClusterError::Override { source_name: one.source_name.clone(), what };
    if !Tuning::KEYS.iter().any(|(key, _, _)| *key == one.key) {
        return Err(refuse(format!("there is no tuning key {:?}", one.key)));
    }
    let number: u32 = one.value.trim().parse().map_err(|_| {
        refuse(format!("{} = {:?} isn't a whole number from 0 to {}", one.key, one.value, u32::MAX))
    })?;
    tuning.insert(one.key.clone(), toml::Value::Integer(number.into()));
    Ok(())
}

fn nodes<Id: Copy + Ord + Into<NodeId>>(
    table: &'static str,
    nodes: Vec<Node>,
    id: impl Fn(u16) -> Id,
    addresses: &mut BTreeSet<String>,
) -> Result<BTreeMap<Id, String>, ClusterError> {
    let mut found = BTreeMap::new();
    for node in nodes {
        let key = id(node.id);
        let refuse = |what| ClusterError::Address { node: key.into(), address: node.address.clone(), what };
        if node.id == 0 {
            return Err(ClusterError::Id { table, id: node.id, what: "" });
        }
        let port = node.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return Err(refuse("isn't host:port with a port from 1 to 65535"));
        }
        if !addresses.insert(node.address.clone()) {
            return Err(refuse("is used twice; every process needs its own"));
        }
        if found.insert(key, node.address).is_some() {
            return Err(ClusterError::Id { table, id: node.id, what: "twice" });
        }
    }
    if found.is_empty() { Err(ClusterError::Missing(table)) } else { Ok(found) }
}

fn check_numbers(limits: &Limits, tuning: &Tuning) -> Result<(), ClusterError> {
    let number =
        |key: &str, value, needed: String| Err(ClusterError::Number { key: key.into(), value, needed });
    if let Some((key, value, least)) = tuning.too_small().first() {
        return number(&format!("[tuning] {key}"), *value, format!("{least} or more"));
    }
    let chunk_most = (wire::CAP_PEER / 4) as u64;
    for (key, value) in [
        ("chunk_bytes", tuning.chunk_bytes),
        ("batch_bytes", tuning.batch_bytes),
        ("window_bytes", tuning.window_bytes),
        ("heal_bytes", tuning.heal_bytes),
    ] {
        if value > chunk_most {
            return number(
                &format!("[tuning] {key}"),
                value,
                format!("{chunk_most} or less, to fit a frame"),
            );
        }
    }
    if tuning.heartbeat_ms * 2 > tuning.election_timeout_ms {
        let needed = format!("at most half of election_timeout_ms = {}", tuning.election_timeout_ms);
        return number("[tuning] heartbeat_ms", tuning.heartbeat_ms, needed);
    }
    let value_most = (wire::CAP_CLIENT / 2) as u64;
    let ranges = [
        ("key_bytes", limits.key_bytes, 1, 64 << 10),
        ("value_bytes", limits.value_bytes, 1, value_most),
        ("session_window", limits.session_window, 1, 1 << 20),
        ("sessions", limits.sessions, 1, 10_000_000),
    ];
    for (key, value, least, most) in ranges {
        if value < least || value > most {
            return number(&format!("[limits] {key}"), value, format!("between {least} and {most}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        name = "small"
        [[acceptors]]
        id = 1
        address = "127.0.0.1:7101"
        [[proposers]]
        id = 1
        address = "127.0.0.1:7201"
        [[learners]]
        id = 1
        address = "127.0.0.1:7301"
    "#;

    fn refused(text: &str) -> String {
        Cluster::parse(text, &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_small_file_has_all_defaults() {
        let cluster = Cluster::parse(SMALL, &[]).unwrap();
        assert_eq!((cluster.quorums.phase1(), &cluster.tuning), (1, &Tuning::default()));
        assert_eq!(cluster.address(AcceptorId(1).into()), Some("127.0.0.1:7101"));
        assert_eq!(cluster.nodes().count(), 3);
    }

    #[test]
    fn overrides_win_and_unknown_keys_are_refused() {
        let one = |key: &str, value: &str| Override {
            source_name: "--set".into(),
            key: key.into(),
            value: value.into(),
        };
        let cluster = Cluster::parse(SMALL, &[one("probe_ms", "5"), one("probe_ms", "7")]).unwrap();
        assert_eq!(cluster.tuning.probe_ms, 7);
        for (key, value) in [("probe", "5"), ("probe_ms", "fast"), ("probe_ms", "-1"), ("heartbeat_ms", "0")]
        {
            assert!(Cluster::parse(SMALL, &[one(key, value)]).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(refused(&SMALL.replace("name", "nam")).contains("nam"));
        assert!(refused(&SMALL.replace("7201", "7101")).contains("used twice"));
        assert!(refused(&SMALL.replace("127.0.0.1:7301", "nowhere")).contains("host:port"));
        assert!(refused(&SMALL.replacen("id = 1", "id = 0", 1)).contains("from 1"));
        assert!(refused("name = \"x\"").contains("acceptors"));
        let observer = format!("{SMALL}\n[[observers]]\nid = 1\naddress = \"127.0.0.1:1\"");
        assert!(refused(&observer).contains("observers have ids above"));
        assert!(refused(&format!("{SMALL}\n[quorum]\nphase1 = 1\nphase2 = 2")).contains("[quorum]"));
        assert!(refused(&format!("{SMALL}\n[tuning]\nspeed = 11")).contains("speed"));
        assert!(refused(&format!("{SMALL}\n[limits]\nvalue_bytes = 0")).contains("value_bytes = 0"));
    }

    #[test]
    fn s12_the_hash_covers_what_is_fixed_and_nothing_else() {
        let hash = |text: &str| Cluster::parse(text, &[]).unwrap().parameters_hash();
        let base = hash(SMALL);
        assert_eq!(base, hash(&SMALL.replace("7101", "9999")));
        assert_eq!(base, hash(&format!("{SMALL}\n[tuning]\nprobe_ms = 9")));
        assert_eq!(base, hash(&format!("{SMALL}\n[[observers]]\nid = 2\naddress = \"127.0.0.1:1\"")));
        assert_ne!(base, hash(&format!("{SMALL}\n[limits]\nvalue_bytes = 100")));
        assert_ne!(base, hash(&format!("{SMALL}\n[[acceptors]]\nid = 2\naddress = \"127.0.0.1:1\"")));
        assert_ne!(base, hash(&format!("{SMALL}\n[[learners]]\nid = 2\naddress = \"127.0.0.1:1\"")));
        let three = (2..=3).fold(SMALL.to_string(), |text, id| {
            format!("{text}\n[[acceptors]]\nid = {id}\naddress = \"127.0.0.1:{id}\"")
        });
        assert_ne!(hash(&three), hash(&format!("{three}\n[quorum]\nphase1 = 3\nphase2 = 1")));
    }
}
