//! The benchmark: starts a cluster on this host, drives it with the client library, and tells speed, latency and cost; beside etcd if
//! asked, in the same run, with the same load, round by round.
//!
//! [`shape`] says what is measured, [`synod`] and [`etcd`] are what it is measured on, [`load`] drives it, [`rounds`] measures a case, [`process`]
//! and [`calls`] read what it cost, [`result`] sums rounds up and sets them beside each other. Other questions have modules of their own: [`gap`] (the
//! leader killed), [`growth`] (aged, or with something lost), [`overload`] (more than can be answered), [`join`] (a learner comes back or joins).
//! Absent on purpose: any figure that isn't measured in the run.

pub mod calls;
pub mod etcd;
pub mod gap;
pub mod growth;
pub mod idle;
pub mod join;
pub mod load;
pub mod overload;
pub mod process;
pub mod result;
pub mod rounds;
pub mod shape;
pub mod steady;
pub mod synod;
