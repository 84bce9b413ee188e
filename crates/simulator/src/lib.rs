//! Synod's simulator: a whole cluster with its clients in one thread, in virtual time, every choice drawn from one seed.
//!
//! The roles, the journal, the store and the client session are the very code that ships. Around them: a network that loses, repeats,
//! delays and cuts; disks that lose power in the midst of a write; processes that crash, pause and start again; clocks that
//! drift. After every event the ledger checks the invariants; when the faults have ended the cluster must go on, and what clients saw must be
//! linearizable. The same seed gives the same run, to the last message.
//!
//! Start at [`Plan`] (what a seed means), then [`run`]. Upholds nothing itself; it is what the safety rules are held against. Absent on
//! purpose: threads, real time and sockets (daemons are tested as processes).

pub mod batch;
mod client;
pub mod coverage;
mod delivery;
pub mod fault;
mod inject;
mod ledger;
mod network;
mod node;
mod operator;
pub mod plan;
mod process;
mod random;
mod records;
mod recovered;
pub mod reduce;
mod scribe;
mod seating;
mod seats;
mod story;
mod transfers;
mod trial;
mod violation;
mod world;

pub use coverage::{Coverage, Seen};
pub use fault::Fault;
pub use plan::Plan;
pub use trial::{LEAST_EVENTS, Outcome, run};
pub use violation::Violation;
