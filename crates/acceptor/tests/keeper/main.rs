//! The keeper over real files, and over a disk in memory that loses power, fails and rots.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod faults;
mod files;
mod roles;
mod tools;
mod trials;
