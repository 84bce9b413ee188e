//! What every Synod daemon shares: configuration, connections, timers, run loop, shutdown, logging.
//!
//! A role's `main.rs` is a few lines around this crate:
//!
//! ```no_run
//! # use synod_daemon::{Arguments, Failure, Setup};
//! #[derive(clap::Parser)]
//! #[command(version, about = "Synod's proposer: the order")]
//! struct Flags {
//!     #[command(flatten)]
//!     daemon: Arguments,
//! }
//!
//! # fn role(_: &Setup) -> Result<(), Failure> { Ok(()) }
//! fn main() -> std::process::ExitCode {
//!     synod_daemon::main(synod_daemon::Kind::Proposer, |flags: &Flags| flags.daemon.clone(), |_flags, setup| {
//!         // let role = Proposer::new(.., synod_daemon::random_u64());
//!         // setup.run(role, NothingToPersist)
//! #       role(&setup)
//!     })
//! }
//! ```
//!
//! One thread, one current-thread tokio runtime: what a wake-up finds is taken in together, the role runs, its records are synced
//! once, and each peer gets one write (`run.rs`). Upholds the shell's share of S2 and S3 (nothing is sent before it is
//! durable, nothing at all after a failed sync), and S12 at the door (`identity`, `door`). Knows no role by name beyond who
//! dials whom, and has no retries, no queues without a bound, and no clock in any decision but when a timer fires.

mod arguments;
mod connection;
mod dialer;
mod door;
mod failure;
mod help;
mod identity;
mod limits;
mod listener;
mod logging;
mod peers;
mod run;
mod setup;
mod shutdown;
mod storage;
mod timers;

pub use arguments::{Arguments, ConfigError, Kind};
pub use failure::Failure;
pub use logging::{LogFormat, READY};
pub use setup::{Setup, main};
pub use storage::Storage;

/// 64 bits that no other process draws: a proposer's life, a disk's name.
pub fn random_u64() -> u64 {
    rand::random()
}

#[cfg(test)]
mod tests;
