//! How a learner is, told to whoever asks.

use synod_protocol::ClientId;
use synod_protocol::message::{LearnerStatus, Status, ToClient};
use synod_store::Storage;

use crate::{Learner, Out};

impl<S: Storage> Learner<S> {
    /// How it is.
    pub fn status(&self) -> LearnerStatus {
        LearnerStatus {
            applied: self.machine.applied(),
            known: self.log.known(),
            chain: self.machine.chain(),
            keys: self.machine.storage().len(),
            sessions: self.machine.session_count(),
            waiting_reads: self.reads.len(),
            leader: self.leader,
            synced: self.checkpoints.synced,
            engine: self.config.engine.into(),
            full: self.checkpoints.is_full || self.receiving.is_waiting(),
            in_doubt: self.alarm.is_in_doubt(),
            transfer: self.receiving.status(),
            serving: self.giving.slot(),
        }
    }

    pub(crate) fn on_status(&self, from: ClientId, request: u64, effects: &mut Out) {
        effects.send(from, ToClient::Status { request, status: Status::Learner(self.status()) });
    }
}
