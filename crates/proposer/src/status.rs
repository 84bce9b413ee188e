//! How a proposer is, for whoever asks.

use synod_protocol::message::{PhaseName, ProposerStatus, Status, ToClient};
use synod_protocol::{ClientId, Slot};

use crate::{Out, Phase, Proposer};

impl Proposer {
    pub(crate) fn on_status(&self, from: ClientId, request: u64, effects: &mut Out) {
        let mut status = ProposerStatus {
            phase: PhaseName::Probing,
            ballot: self.highest_ballot,
            chosen: Slot::ZERO,
            in_flight: 0,
            queued_bytes: 0,
            retained_bytes: 0,
            learners: self.learners.iter().copied().collect(),
            held: Vec::new(),
        };
        match &self.phase {
            Phase::Probing(_) => {}
            Phase::Preparing(_) => status.phase = PhaseName::Preparing,
            Phase::Leading(leading) => {
                status.phase = PhaseName::Leading;
                status.ballot = leading.ballot;
                status.chosen = leading.pipeline.chosen();
                status.in_flight = leading.pipeline.in_flight() as u64;
                status.queued_bytes = leading.pipeline.waiting_bytes();
                status.retained_bytes = leading.pipeline.retained_bytes();
                status.held = leading.healing.held().collect();
            }
        }
        effects.send(from, ToClient::Status { request, status: Status::Proposer(status) });
    }
}
