//! What a daemon keeps on disk, as the run loop sees it: persist, and the moments at which there is time for more.
//!
//! Any error ends the process (S3): nothing is retried, and nothing that was waiting for the disk is sent.

use std::fmt::Display;

use synod_protocol::role::{Never, NothingToPersist, Persist, Role};

/// Makes a role's records durable, and is told when there is time for housekeeping; there it may tell the role what has come of it.
pub trait Storage<R: Role>: Persist<R::Record, Error: Display> {
    /// A batch has been handled and its messages are on their way: the place for one short step that need not wait for quiet.
    fn after_batch(&mut self, _role: &mut R) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Nothing was persisted for `seal_ms`: does one bounded step and tells whether there is more to do. Messages are
    /// handled between two steps.
    fn on_idle(&mut self, _role: &mut R) -> Result<bool, Self::Error> {
        Ok(false)
    }

    /// The process ends; nothing is persisted after this.
    fn on_shutdown(&mut self, _role: &mut R) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl<R: Role<Record = Never>> Storage<R> for NothingToPersist {}
