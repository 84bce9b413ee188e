//! What is checked before anything starts, and where everything lies: cluster file, executables, ports, data directory.
//!
//! Every complaint says what is wrong, that nothing was started, and who should do what.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};

use synod_protocol::{Cluster, NodeId};

use crate::policy::Kind;
use crate::process::Program;

/// Marks a data directory whose acceptors were started new and aren't known to be formed.
const FORMING: &str = "forming";

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The cluster file can't be read or is wrong.
    #[error("cluster file {}: {why}; nothing was started; correct it, or name another with --cluster", path.display())]
    Cluster {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A cluster of other hosts.
    #[error(
        "cluster file {}: {nodes} not on this host; nothing was started; the supervisor runs a cluster whose addresses are all \
         loopback (127.0.0.1, like deploy/local.toml); on real hosts start each daemon by itself, for instance with systemd",
        path.display()
    )]
    Remote {
        /// The file.
        path: PathBuf,
        /// Who isn't here.
        nodes: String,
    },
    /// Executables aren't there.
    #[error(
        "{missing} not in {}; nothing was started; build with scripts/supervisor.sh (or cargo build --release), or say where they \
         are with --bin-dir", bin_dir.display()
    )]
    Binaries {
        /// Which.
        missing: String,
        /// Where they were looked for.
        bin_dir: PathBuf,
    },
    /// Ports are taken.
    #[error(
        "addresses of cluster file {} can't be listened on:\n{taken}nothing was started; if that is an earlier cluster, stop its supervisor \
         (Ctrl-C there); `ss -ltnp` names the process behind a port; or copy the cluster file and give it other ports (--cluster)",
        path.display()
    )]
    Ports {
        /// The file.
        path: PathBuf,
        /// A line for each.
        taken: String,
    },
    /// The data directory can't be made.
    #[error("data directory {}: {error}; nothing was started; make it writable, or name another with --data-dir", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A cluster on this host, and where its things lie.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The cluster.
    pub cluster: Cluster,
    /// Its file, absolute.
    pub cluster_file: PathBuf,
    /// Where the executables are.
    pub bin_dir: PathBuf,
    /// Where data, logs and the timeline go, absolute.
    pub data_dir: PathBuf,
}

/// Reads a cluster file.
///
/// # Errors
/// When it can't be read or is wrong.
pub fn read_cluster(path: &Path) -> Result<(Cluster, String), LayoutError> {
    let refuse = |why: String| LayoutError::Cluster { path: path.to_path_buf(), why };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let cluster = Cluster::parse(&text, &[]).map_err(|error| refuse(error.to_string()))?;
    Ok((cluster, text))
}

/// Those addresses of `cluster` that can't be listened on, with the reason.
pub fn taken(cluster: &Cluster) -> Vec<(NodeId, String, io::Error)> {
    let mut taken = Vec::new();
    for (node, address) in cluster.nodes() {
        if let Err(error) = TcpListener::bind(address) {
            taken.push((node, address.to_string(), error));
        }
    }
    taken
}

impl Layout {
    /// Checks the cluster of `cluster_file` and makes its directories.
    ///
    /// # Errors
    /// When anything would keep it from starting.
    pub fn check(cluster_file: &Path, bin_dir: PathBuf, data_dir: &Path) -> Result<Layout, LayoutError> {
        let (cluster, _) = read_cluster(cluster_file)?;
        let path = cluster_file.to_path_buf();
        let remote: Vec<_> = cluster.nodes().filter(|(_, address)| !is_loopback(address)).collect();
        if !remote.is_empty() {
            let nodes: Vec<_> = remote.iter().map(|(node, address)| format!("{node} ({address})")).collect();
            let verb = if nodes.len() == 1 { "is" } else { "are" };
            return Err(LayoutError::Remote { path, nodes: format!("{} {verb}", nodes.join(", ")) });
        }
        let layout =
            Layout { cluster, cluster_file: absolute(cluster_file), bin_dir, data_dir: absolute(data_dir) };
        layout.check_binaries()?;
        let taken = taken(&layout.cluster);
        if !taken.is_empty() {
            let mut lines = String::new();
            for (node, address, error) in taken {
                writeln!(lines, "  {address} ({node}): {error}").expect("writing to a string can't fail");
            }
            return Err(LayoutError::Ports { path, taken: lines });
        }
        std::fs::create_dir_all(layout.logs())
            .map_err(|error| LayoutError::Data { path: layout.data_dir.clone(), error })?;
        Ok(layout)
    }

    fn check_binaries(&self) -> Result<(), LayoutError> {
        let kinds = [Kind::Acceptor, Kind::Proposer, Kind::Learner];
        let missing: Vec<_> = kinds.into_iter().filter(|kind| !self.binary(*kind).is_file()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.iter().map(|kind| format!("synod-{}", kind.name())).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        let missing = format!("{} {verb}", names.join(", "));
        Err(LayoutError::Binaries { missing, bin_dir: self.bin_dir.clone() })
    }

    fn binary(&self, kind: Kind) -> PathBuf {
        self.bin_dir.join(format!("synod-{}{}", kind.name(), std::env::consts::EXE_SUFFIX))
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.data_dir.join("logs")
    }

    /// Where the JSON lines of the timeline go.
    pub fn timeline(&self) -> PathBuf {
        self.data_dir.join("timeline.jsonl")
    }

    /// How each process of the cluster is started.
    pub fn programs(&self) -> Vec<Program> {
        let program = |(node, address): (NodeId, &str)| {
            let (kind, id) = match node {
                NodeId::Acceptor(id) => (Kind::Acceptor, id.0),
                NodeId::Proposer(id) => (Kind::Proposer, id.0),
                NodeId::Learner(id) => (Kind::Learner, id.0),
                NodeId::Client(_) => return None,
            };
            let mut arguments = vec![
                "--cluster".into(),
                self.cluster_file.clone().into(),
                "--id".into(),
                id.to_string().into(),
            ];
            arguments.push("--lifeline".into());
            if kind != Kind::Proposer {
                arguments.extend(["--data-dir".into(), self.data_dir.join(node.to_string()).into()]);
            }
            Some(Program {
                node,
                address: address.to_string(),
                binary: self.binary(kind),
                arguments,
                log: self.logs().join(format!("{node}.log")),
            })
        };
        self.cluster.nodes().filter_map(program).collect()
    }

    /// Whether the acceptors are to be formed into a new cluster: all their directories are new, or an earlier formation of them
    /// wasn't finished. Noted on disk, so that it is remembered if this process is killed.
    ///
    /// # Errors
    /// When the note can't be written.
    pub fn needs_formation(&self) -> io::Result<bool> {
        if self.data_dir.join(FORMING).exists() {
            return Ok(true);
        }
        let new = self.cluster.acceptors.keys().all(|id| !self.data_dir.join(id.to_string()).exists());
        if new {
            std::fs::write(
                self.data_dir.join(FORMING),
                "the acceptors here are new; formation hasn't finished\n",
            )?;
        }
        Ok(new)
    }

    /// The acceptors were formed.
    ///
    /// # Errors
    /// When the note can't be removed.
    pub fn formed(&self) -> io::Result<()> {
        std::fs::remove_file(self.data_dir.join(FORMING))
    }

    /// Removes what acceptors and learners wrote; logs and timeline stay.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_data(&self) -> io::Result<()> {
        let acceptors = self.cluster.acceptors.keys().map(ToString::to_string);
        let learners = self.cluster.learners.keys().map(ToString::to_string);
        let mut directories = acceptors.chain(learners).map(|node| self.data_dir.join(node));
        directories.try_for_each(std::fs::remove_dir_all)
    }

    /// The table of processes: id, pid, address, log; and where all of it lies.
    pub fn table(&self, pids: impl Fn(NodeId) -> Option<u32>) -> String {
        let mut table = format!("  data and logs in {}\n\n", self.data_dir.display());
        let mut row = |id: &str, pid: &str, address: &str, log: &str| {
            writeln!(table, "  {id:<4} {pid:<8} {address:<22} {log}")
                .expect("writing to a string can't fail");
        };
        row("id", "pid", "address", "log");
        for program in self.programs() {
            let pid = pids(program.node).map_or_else(|| "-".to_string(), |pid| pid.to_string());
            let log = program.log.strip_prefix(&self.data_dir).unwrap_or(&program.log);
            row(&program.node.to_string(), &pid, &program.address, &log.display().to_string());
        }
        table
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_other_hosts() {
        for address in ["127.0.0.1:1", "127.8.0.1:1", "localhost:1", "[::1]:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["s1.example:7101", "10.0.0.1:1", "0.0.0.0:1", "localhost.example:1"] {
            assert!(!is_loopback(address), "{address}");
        }
    }

    #[test]
    fn taken_ports_are_named() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap().to_string();
        let text = format!(
            "name = \"t\"\n[[acceptors]]\nid = 1\naddress = \"{address}\"\n[[proposers]]\nid = 1\naddress = \"localhost:1\"\n\
             [[learners]]\nid = 1\naddress = \"127.0.0.1:2\"\n"
        );
        let cluster = Cluster::parse(&text, &[]).unwrap();
        let taken = taken(&cluster);
        assert!(
            taken.iter().any(|(node, found, _)| node.to_string() == "a1" && *found == address),
            "{taken:?}"
        );
    }
}
