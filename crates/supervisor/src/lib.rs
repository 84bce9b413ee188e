//! Starts, watches, kills and restarts the daemons of a cluster on this host, and proves with a demo that it survives.
//!
//! [`policy`] judges (pure, seeded), [`fleet`] holds the processes, [`session`] is the loop around both, [`watch`] looks at the cluster
//! through its own answers, [`demo`] is chaos plus workload plus verdict, [`soak`] the same for long and with bounds
//! on memory and disk. Signals only processes that it started itself. No
//! daemon is left behind, however the supervisor ends: each holds the other end of a pipe as its lifeline. Nothing here
//! takes part in the protocol, and no daemon needs it.

pub mod demo;
pub mod fleet;
pub mod layout;
pub mod meter;
pub mod policy;
pub mod process;
pub mod session;
pub mod soak;
pub mod timeline;
pub mod verdict;
pub mod watch;
