//! What learners and clients ask of a proposer: subscriptions with their reports, proposals, slots to settle, status.
//!
//! Upholds I14 (over a limit, and while too few acceptors have room, clients are told Busy) and S11 through [`crate::floor`].

use synod_planted::Bug;
use synod_protocol::message::{
    Chosen, NotTaken, PhaseName, Propose, ProposerStatus, Status, Subscribe, ToClient, ToLearner, Wants,
};
use synod_protocol::{ClientId, LearnerId, NodeId, Slot};
use tracing::debug;

use crate::{Out, Phase, Proposer};

impl Proposer {
    pub(crate) fn on_propose(&mut self, from: NodeId, propose: &Propose, effects: &mut Out) {
        let tuning = &self.config.tuning;
        let taken = match &mut self.phase {
            Phase::Leading(leading) if !leading.has_room(&self.config.quorums) => {
                Err(NotTaken::Busy { retry_ms: tuning.busy_retry_ms })
            }
            Phase::Leading(leading) => leading.pipeline.enqueue(from, propose.tag, &propose.commands, tuning),
            Phase::Probing(_) | Phase::Preparing(_) => Err(NotTaken::NotLeader { leader: self.leader() }),
        };
        if let Err(reason) = taken {
            refuse(from, propose.tag, reason, effects);
        }
    }

    pub(crate) fn on_subscribe(&mut self, from: LearnerId, subscribe: Subscribe, effects: &mut Out) {
        let Subscribe { next, synced, pinned, wants } = subscribe;
        if let Phase::Leading(leading) = &mut self.phase
            && self.subscribers.late().any(|late| late == from)
            && wants == Wants::AtOnce
        {
            leading.stream_late(&self.subscribers, effects);
        }
        if self.subscribers.subscribe(from, wants) {
            debug!(learner = %from, %next, %synced, ?wants, "subscribed");
        }
        self.reports.note(from, synced, pinned);
        if let Phase::Leading(leading) = &mut self.phase {
            if synod_planted::is(Bug::ChosenPrefixFromHearsay) {
                leading.pipeline.believe(synced);
            }
            leading.raise_floor(&self.reports);
            let withheld_bytes = self.subscribers.withheld_bytes(from);
            let chosen = leading.chosen_from(next, self.config.tuning.chunk_bytes);
            effects.send(from, ToLearner::Chosen(Chosen { withheld_bytes, ..chosen }));
        }
    }

    pub(crate) fn on_settle(&mut self, slot: Slot) {
        if let Phase::Leading(leading) = &mut self.phase {
            leading.pipeline.settle(slot, &self.config.tuning);
        }
    }

    pub(crate) fn on_status(&self, from: ClientId, request: u64, effects: &mut Out) {
        let mut status = ProposerStatus {
            phase: PhaseName::Probing,
            ballot: self.highest_ballot,
            chosen: Slot::ZERO,
            floor: Slot::FIRST,
            in_flight: 0,
            queued_bytes: 0,
            retained_bytes: 0,
            learners: self.subscribers.all().collect(),
            held: Vec::new(),
            full: Vec::new(),
        };
        match &self.phase {
            Phase::Probing(_) => {}
            Phase::Preparing(_) => status.phase = PhaseName::Preparing,
            Phase::Leading(leading) => {
                status.phase = PhaseName::Leading;
                status.ballot = leading.ballot;
                status.chosen = leading.pipeline.chosen();
                status.floor = leading.floor();
                status.in_flight = leading.pipeline.in_flight() as u64;
                status.queued_bytes = leading.pipeline.waiting_bytes();
                status.retained_bytes = leading.pipeline.retained_bytes();
                status.held = leading.healing.held().collect();
                status.full = leading.full().collect();
            }
        }
        effects.send(from, ToClient::Status { request, status: Status::Proposer(status) });
    }
}

pub(crate) fn refuse(from: NodeId, tag: u64, reason: NotTaken, effects: &mut Out) {
    match from {
        NodeId::Client(client) => effects.send(client, ToClient::Refused { tag, reason }),
        NodeId::Learner(learner) => effects.send(learner, ToLearner::Refused { tag, reason }),
        NodeId::Acceptor(_) | NodeId::Proposer(_) => unreachable!("proposals of {from} are misdirected"),
    }
}
