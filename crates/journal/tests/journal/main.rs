//! The journal against power loss at every operation, damage to every bit, failing and full disks, and a real
//! directory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod damage;
mod failure;
mod memory;
mod power_loss;
mod random;
mod reading;
mod real;
mod recycling;
mod trials;
