//! What a check comes to.

use std::fmt;

use bytes::Bytes;

use crate::history::Operation;

/// Which check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// [`crate::certificate`].
    Certificate,
    /// [`crate::search`].
    Search,
}

/// What was looked at; every call was explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stats {
    /// Calls that were answered.
    pub ok: usize,
    /// Calls that failed for certain.
    pub failed: usize,
    /// Calls whose outcome is unknown.
    pub unknown: usize,
    /// Distinct keys.
    pub keys: usize,
    /// Partial orders that were tried.
    pub steps: usize,
}

/// No order of the calls explains the replies; or the order that the replies tell is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who found it.
    pub check: Check,
    /// The key; for an order that is wrong across keys, that of the later call.
    pub key: Bytes,
    /// What is impossible, in a sentence.
    pub impossible: String,
    /// The few calls that show it, by the time at which they were called.
    pub window: Vec<Operation>,
    /// How many calls of the key are left out of the window.
    pub left_out: usize,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check = match self.check {
            Check::Certificate => "not explained by its slots",
            Check::Search => "not linearizable",
        };
        write!(f, "key {:?} is {check}: {}", self.key, self.impossible)?;
        for operation in &self.window {
            write!(f, "\n  {operation}")?;
        }
        write!(f, "\n  ({} other calls of this key don't matter)", self.left_out)
    }
}

/// The search gave up: nothing is shown either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Who gave up.
    pub check: Check,
    /// The key at which it did.
    pub key: Bytes,
    /// Partial orders that were tried, all keys together.
    pub steps: usize,
}

/// The history was not shown to be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is wrong.
    #[error("{0}")]
    Violation(Box<Violation>),
    /// Nobody knows.
    #[error("gave up at key {:?} after {} partial orders: shown neither right nor wrong", .0.key, .0.steps)]
    Exhausted(Exhausted),
}

impl Rejected {
    /// The violation, if it is one.
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Rejected::Violation(violation) => Some(violation),
            Rejected::Exhausted(_) => None,
        }
    }
}
