//! A peer's state for which the disk has no room: what has come waits in memory, and nothing more is asked for until it is written down.
//!
//! An engine on disk writes a state down as it comes. Without room for that it holds what has come, up to a limit (I14); the transfer stops there, says
//! so, and tries again by itself. The state that serves is as it was meanwhile. Nobody waits for such a learner: whoever gives the snapshot drops it
//! when it isn't asked for any more, and with it what it had pinned (S11). The transfer then starts over when there is room again. Absent on purpose: checkpoints
//! that find no room ([`crate::checkpoints`]).

use synod_protocol::role::Delay;
use synod_store::Storage;
use tracing::{info, warn};

use crate::{Learner, Out, Timer};

/// Milliseconds before it is tried again; doubles.
const RETRY_MS: u64 = 1_000;
/// Milliseconds, at most.
const RETRY_MOST_MS: u64 = 60_000;

/// Whether a transfer waits for room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Wait {
    /// Milliseconds after which it is tried again, while it does.
    retry_ms: Option<u64>,
}

impl Wait {
    pub(crate) fn is_over(&self) -> bool {
        self.retry_ms.is_none()
    }
}

impl<S: Storage> Learner<S> {
    /// The storage of the state that is being built is full: asks for nothing more before what it holds is written down.
    pub(crate) fn wait_for_room(&mut self, effects: &mut Out) {
        let Some(wait) = self.receiving.waiting_mut() else { return };
        if wait.is_over() {
            warn!(
                "no room on disk for the state that a peer gives: waits until there is, and tries again by itself. Nothing is lost, and what this \
                 learner has applied it serves; make room in the data directory"
            );
        }
        let retry_ms = wait.retry_ms.map_or(RETRY_MS, |ms| (ms * 2).min(RETRY_MOST_MS));
        wait.retry_ms = Some(retry_ms);
        effects.set_timer(Timer::Transfer, Delay::exactly(retry_ms));
    }

    /// Tries to write down what has come; whether the transfer may go on.
    pub(crate) fn finds_room(&mut self) -> bool {
        let is_full = self.receiving.relieve();
        if let Some(wait) = self.receiving.waiting_mut().filter(|_| !is_full)
            && wait.retry_ms.take().is_some()
        {
            info!("there is room for a peer's state again");
        }
        !is_full
    }
}
