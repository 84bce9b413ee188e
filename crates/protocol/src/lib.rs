//! Synod's vocabulary and contracts: what the roles say to each other, and how it travels.
//!
//! ```text
//!  client            proposer (leader)        acceptors (5)           learners (3)
//!    | Propose ---------> |                        |                       |
//!    |                    | Prepare -------------> |     Phase 1, once     |
//!    |                    | <------------- Promise |                       |
//!    |                    | Accept --------------> |     Phase 2, pipelined|
//!    |                    |                  (one sync)                    |
//!    |                    | <------------ Accepted |                       |
//!    |                    | Chosen ---------------------------------------> | apply in slot order
//!    | <------------------------------------------------------- Replies     |
//!    | Read ---------------------------------------------------------------> |
//!    |                    |                        | <--------- QuorumRead |
//!    |                    |                        | QuorumReadReply ----> |
//!    | <--------------------------------------------------- ReadReplies     |
//! ```
//!
//! The crate holds data and pure functions, the contract between a role and the shell around it ([`role`]), and the
//! one module that knows bytes ([`wire`]). It upholds the types behind S1-S6 (ballots, slots, quorums, tallies) and
//! persist-before-send ([`role::Effects`]). No role's logic lives here.

pub mod cluster;
pub mod command;
pub mod hello;
pub mod ids;
pub mod incarnations;
pub mod link;
pub mod message;
pub mod quorum;
pub mod role;
pub mod tuning;
pub mod value;
pub mod wire;

pub use cluster::Cluster;
pub use ids::{
    AcceptorId, Ballot, ClientId, ClusterId, DiskId, LearnerId, NodeId, ProposerId, Revision, Slot, SlotRange,
};
pub use incarnations::{DiskAt, Incarnation, Incarnations};
pub use quorum::{QuorumSystem, Tally};
pub use value::Value;
