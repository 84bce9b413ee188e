//! Synod's client: the session that numbers and retries calls, and what the `synod` command is made of.
//!
//! ```no_run
//! # async fn example(cluster: synod_protocol::Cluster) -> Result<(), synod_client::CallError> {
//! use synod_client::{Client, Options};
//!
//! let client = Client::connect(cluster, Options::default());
//! client.put("greeting", "hello").await?;
//! assert_eq!(client.get("greeting").await?.value.as_deref(), Some(&b"hello"[..]));
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`session`] is the logic without I/O, `driver` the task around it, [`Client`] the handle. [`workload`] drives a cluster and
//! checks every answer; [`status`] and [`admin`] ask processes directly; [`backup`] and [`restore`] carry a whole state
//! into a file and into a new cluster. Upholds the client's half of S9, and the
//! three-way outcome of every call. Absent on purpose: caches, and anything that would make a read less fresh than asked for.

pub mod admin;
mod admission;
pub mod ask;
pub mod backup;
mod client;
mod driver;
mod outcome;
pub mod readmission;
pub mod restore;
pub mod session;
pub mod status;
pub mod workload;

pub use client::{Client, Options};
pub use outcome::{Answer, CallError, Ended, Failure, What};
