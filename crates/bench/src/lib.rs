//! The benchmark: starts a cluster on this host, drives it with the client library, and tells speed, latency and cost; beside etcd if
//! asked, in the same run, with the same load, round by round.
//!
//! [`shape`] says what is measured, [`synod`] and [`etcd`] are what it is measured on, [`load`] drives it, [`join`] has a learner come back and join under load, [`process`] reads what the
//! kernel says of costs, [`result`] sums rounds up and sets them beside each other. Absent on purpose: any figure that isn't measured in the run.

pub mod etcd;
pub mod join;
pub mod load;
pub mod process;
pub mod result;
pub mod shape;
pub mod synod;
