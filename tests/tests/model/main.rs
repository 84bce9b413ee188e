//! The exhaustive model: Synod's own role structs in small worlds, every state of which is visited (I1-I6, I8, I13).
//!
//! stateright's `Model` drives the very `Acceptor`, `Proposer` and `Learner` that ship, through `Role` and `Effects::release`
//! ([`acceptor`], [`proposer`], [`learner`]). Messages are lost, repeated and reordered; timers fire at any moment; an acceptor's
//! disk has a durable image and what is pending, and a crash keeps any prefix of that. A ghost ([`history`]) remembers what
//! was ever voted, asked for and chosen, and judges every step. A panic of a role is a broken rule with its text.
//!
//! | bound | where |
//! |---|---|
//! | acceptors, proposers, quorums, Phase 1s, slots, values, crashes, restarts, timers | [`world::Config`]; the worlds are in [`configurations`] |
//! | nothing else: no count, depth or time | [`explore`] |
//!
//! What makes states fewer, and why nothing is lost by it:
//!
//! 1. Probing is one step (`proposer`): silence can be reported at any time, and probes tell nothing else but rounds.
//! 2. An acceptor absorbs and then syncs or crashes as one step, since nobody sees it in between. With `batch` the pending records are
//!    states of their own, and several messages share one sync.
//! 3. `lazy`: a receipt that sends nothing happens just before the step that shows it, since messages don't go away (`events`).
//! 4. `forget`: refusals are lost, and what could only be refused or ignored is taken out (`settle`). It rests on promises that never
//!    fall, which is checked at every step.
//! 5. `symmetry`: acceptors are alike (`symmetry`); that the roles don't prefer one is checked for every cell.
//!
//! A world small enough is explored with and without 3 and 4, and shows the same disks and chosen values. Worlds with planted bugs ([`bugs`])
//! do without what their bug makes wrong. A number of states is pinned for each world: it changes with the roles' state and behaviour,
//! and is then to be looked at and set anew. Absent on purpose: liveness (the simulator's), truncation.
//!
//! Where a disk was replaced ([`world::Replaced`]), several processes have one acceptor's id, all of them get what is sent to it, and what they send may
//! come from any: the old disk's goes on whatever happens. A vote counts for the ghost unless its disk was replaced: by the ballot of the vote
//! itself, or by a lower one that a quorum has recorded.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod acceptor;
mod bugs;
mod configurations;
mod events;
mod explore;
mod history;
mod intern;
mod learnable;
mod learner;
mod model;
mod proposer;
mod settle;
mod start;
mod step;
mod symmetry;
mod tables;
mod world;
mod worlds;
