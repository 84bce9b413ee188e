//! Why a daemon ends other than by being asked to, and its exit code: 2 for usage and configuration, 1 for the rest.

use std::fmt::Display;

use crate::arguments::ConfigError;

/// Why a daemon could not start, or had to stop. The text says what happened, what is safe, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Started wrongly: nothing has happened yet.
    #[error("{0}")]
    Configuration(String),
    /// Could not go on.
    #[error("{0}")]
    Fatal(String),
}

impl Failure {
    /// Started wrongly: exit code 2.
    pub fn configuration(text: impl Display) -> Failure {
        Failure::Configuration(text.to_string())
    }

    /// Could not go on: exit code 1.
    pub fn fatal(text: impl Display) -> Failure {
        Failure::Fatal(text.to_string())
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Configuration(_) => 2,
            Failure::Fatal(_) => 1,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::configuration(error)
    }
}
