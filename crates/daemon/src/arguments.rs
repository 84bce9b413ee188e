//! Flags, environment and cluster file, in this order of strength, made into one configuration.
//!
//! Unknown flags, `SYNOD_*` variables and file keys are all refused, so that a misspelt setting never passes unnoticed.
//! Every error says what to do; none of them leaves anything half started.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use synod_protocol::cluster::{ClusterError, Override};
use synod_protocol::tuning::Tuning;
use synod_protocol::{AcceptorId, Cluster, LearnerId, NodeId, ProposerId};

use crate::logging::LogFormat;

/// Flags that every daemon takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The cluster file: who takes part and where, quorums, limits, tuning. The same for every process of a cluster
    #[arg(long, env = "SYNOD_CLUSTER", value_name = "FILE")]
    pub cluster: PathBuf,
    /// Which process of its kind this is: an id from the cluster file
    #[arg(long, env = "SYNOD_ID", value_name = "N")]
    pub id: Option<u16>,
    /// Which observer this is, instead: a learner that the cluster file need not have.
    #[arg(skip)]
    pub observer: Option<u16>,
    /// Listen here instead of at the address in the cluster file (behind NAT, in a container: 0.0.0.0:7101)
    #[arg(long, env = "SYNOD_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Set a tuning number over environment and file; may be given again and again. --help lists the keys
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How log lines are written to standard error
    #[arg(long, env = "SYNOD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or by module (info,synod_proposer=debug)
    #[arg(long, env = "SYNOD_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Stop when standard input closes: a supervisor that holds the other end leaves no orphan even when it is killed
    #[arg(long)]
    pub lifeline: bool,
}

/// What kind of role a daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The votes.
    Acceptor,
    /// The order.
    Proposer,
    /// The state.
    Learner,
}

impl Kind {
    /// The node of this kind with that id.
    pub fn node(self, id: u16) -> NodeId {
        match self {
            Kind::Acceptor => AcceptorId(id).into(),
            Kind::Proposer => ProposerId(id).into(),
            Kind::Learner => LearnerId(id).into(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Acceptor => "acceptor",
            Kind::Proposer => "proposer",
            Kind::Learner => "learner",
        }
    }
}

/// Why a daemon was not started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The cluster file can't be read.
    #[error(
        "cannot read the cluster file {}: {error}; nothing was started; name it with --cluster FILE or SYNOD_CLUSTER \
         (deploy/local.toml is an example)", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The cluster file, or what overrides it, is wrong.
    #[error("in cluster file {}, with its overrides: {error}; nothing was started", path.display())]
    Cluster {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ClusterError,
    },
    /// `--set` without `=`.
    #[error("--set {0}: must be KEY=VALUE, such as heartbeat_ms=40; nothing was started")]
    Set(String),
    /// A variable that means nothing.
    #[error(
        "environment variable {name} means nothing to this program; nothing was started; unset it, or correct its name: \
         known are {known}, and SYNOD_<KEY> for each tuning key that --help lists"
    )]
    Variable {
        /// The variable.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// No such id.
    #[error(
        "{} has no {} with id {id}; its ids are {ids}; nothing was started; correct --id (SYNOD_ID) or add it to the file",
        path.display(), kind.name()
    )]
    Id {
        /// The file.
        path: PathBuf,
        /// Of which kind.
        kind: Kind,
        /// The id asked for.
        id: u16,
        /// Those that exist.
        ids: String,
    },
    /// Not told who it is.
    #[error("--id N (SYNOD_ID) is missing: which {} this is, one of {ids}; nothing was started", kind.name())]
    NoId {
        /// Of which kind.
        kind: Kind,
        /// Those that exist.
        ids: String,
    },
    /// An observer with the id of a learner.
    #[error(
        "--observer {id}: observers have ids above those of all configured learners, so above {highest}; nothing was started; to start a \
         configured learner, use --id"
    )]
    Observer {
        /// The id.
        id: u16,
        /// The highest of a configured learner.
        highest: u16,
    },
    /// An observer that can't be reached.
    #[error(
        "--observer {id} needs --listen HOST:PORT (SYNOD_LISTEN), or an entry under [[observers]] in the cluster file; nothing was started"
    )]
    NoListen {
        /// The id.
        id: u16,
    },
    /// A filter that isn't one.
    #[error("log filter {filter:?}: {error}; nothing was started; try info, or info,synod_proposer=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        error: String,
    },
}

impl Arguments {
    /// Reads the cluster file with what flags and `environment` (name and value of each variable) set over it, and finds
    /// this process in it. `known` are the variables that flags read.
    pub fn load(
        &self,
        kind: Kind,
        known: &BTreeSet<String>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Cluster, NodeId), ConfigError> {
        let mut overrides = overrides_of(known, environment)?;
        for one in &self.set {
            let (key, value) = one.split_once('=').ok_or_else(|| ConfigError::Set(one.clone()))?;
            overrides.push(Override {
                source_name: "--set".into(),
                key: key.trim().into(),
                value: value.into(),
            });
        }
        let path = || self.cluster.clone();
        let text = std::fs::read_to_string(&self.cluster)
            .map_err(|error| ConfigError::Unreadable { path: path(), error })?;
        let cluster = Cluster::parse(&text, &overrides)
            .map_err(|error| ConfigError::Cluster { path: path(), error })?;
        if let Some(observer) = self.observer {
            return self.observer(observer, cluster);
        }
        let ids = || ids(kind, &cluster).iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let Some(id) = self.id else { return Err(ConfigError::NoId { kind, ids: ids() }) };
        let node = kind.node(id);
        if cluster.nodes().all(|(known, _)| known != node) {
            return Err(ConfigError::Id { path: path(), kind, id, ids: ids() });
        }
        Ok((cluster, node))
    }

    fn observer(&self, id: u16, cluster: Cluster) -> Result<(Cluster, NodeId), ConfigError> {
        let highest = cluster.learners.keys().next_back().copied().unwrap_or(LearnerId(0));
        if !cluster.is_observer(LearnerId(id)) {
            return Err(ConfigError::Observer { id, highest: highest.0 });
        }
        if self.listen.is_none() && cluster.address(LearnerId(id).into()).is_none() {
            return Err(ConfigError::NoListen { id });
        }
        Ok((cluster, LearnerId(id).into()))
    }
}

fn overrides_of(
    known: &BTreeSet<String>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Override>, ConfigError> {
    let mut overrides = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix("SYNOD_") else { continue };
        let key = rest.to_ascii_lowercase();
        if known.contains(name.as_ref()) {
            continue;
        }
        let upper = !rest.contains(|letter: char| letter.is_ascii_lowercase());
        if !upper || !Tuning::KEYS.iter().any(|(tuning, _, _)| *tuning == key) {
            let known = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::Variable { name: name.into_owned(), known });
        }
        let value = value.to_string_lossy().into_owned();
        overrides.push(Override { source_name: name.into_owned(), key, value });
    }
    Ok(overrides)
}

fn ids(kind: Kind, cluster: &Cluster) -> Vec<u16> {
    match kind {
        Kind::Acceptor => cluster.acceptors.keys().map(|id| id.0).collect(),
        Kind::Proposer => cluster.proposers.keys().map(|id| id.0).collect(),
        Kind::Learner => cluster.learners.keys().map(|id| id.0).collect(),
    }
}
