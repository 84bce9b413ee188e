//! What is measured: how many processes, how many calls at once, which calls, on what keys and values.

use clap::ValueEnum;
use serde::Serialize;

/// Which calls a case makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Calls {
    /// Puts of random keys.
    Puts,
    /// Linearizable gets of random keys that exist.
    Gets,
    /// 90 gets to 10 puts.
    Mix,
}

impl Calls {
    /// Percent of puts.
    pub fn put_percent(self) -> u8 {
        match self {
            Calls::Puts => 100,
            Calls::Gets => 0,
            Calls::Mix => 10,
        }
    }
}

/// What learners keep the keys in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Memory, with checkpoints on disk.
    Memory,
    /// Disk, with a cache.
    Disk,
}

impl Engine {
    /// As a learner's `--engine` has it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Memory => "memory",
            Engine::Disk => "disk",
        }
    }
}

/// The processes of a cluster; for etcd, as many members as acceptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Shape {
    /// Voters.
    pub acceptors: usize,
    /// Proposers.
    pub proposers: usize,
    /// Learners.
    pub learners: usize,
    /// What these keep the keys in.
    pub engine: Engine,
}

impl Shape {
    /// As many proposers and learners as it takes to lose one with few acceptors, two with many, unless told otherwise.
    pub fn with(acceptors: usize, learners: Option<usize>, engine: Engine) -> Shape {
        let few = if acceptors <= 3 { 2 } else { 3 };
        Shape { acceptors, proposers: few, learners: learners.unwrap_or(few), engine }
    }
}

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Case {
    /// Which calls.
    pub case: Calls,
    /// Calls under way at once, each by a caller that begins the next when one has ended.
    pub in_flight: usize,
    /// Bytes of a value; keys have 16.
    pub value_bytes: usize,
    /// Keys in use.
    pub keys: usize,
    /// The processes.
    #[serde(flatten)]
    pub shape: Shape,
}
