//! How a learner learns: the leader's stream, Fetch and its answers, in slot order into the state machine (S7).

use synod_protocol::command::Outcome;
use synod_protocol::message::{
    AttachState, Chosen, Fetch, Fetched, Subscribe, ToAcceptor, ToClient, ToLearner, ToProposer, Wants,
};
use synod_protocol::role::{Delay, Misdirected};
use synod_protocol::{Ballot, LearnerId, NodeId, ProposerId, Slot, Value};
use synod_store::{Applied, Storage};
use tracing::{debug, error, info};

use crate::log::Contradiction;
use crate::{Learner, Out, Timer};

impl<S: Storage> Learner<S> {
    /// Chosen slots from a leader. A deposed leader's are as chosen as any other's; only who leads isn't told by them.
    pub(crate) fn on_chosen(
        &mut self,
        from: ProposerId,
        chosen: Chosen,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        let Chosen { ballot, prefix, first, values, withheld_bytes } = chosen;
        if ballot.proposer != from || ballot.is_none() {
            return Err(Misdirected::new(from, format!("S5: ballot {ballot} isn't its own")));
        }
        if ballot > self.leader {
            info!(%ballot, slot = %prefix, "follows this leader's stream");
            self.leader = ballot;
        } else if ballot < self.leader {
            self.ignore_deposed_leader(from, ballot);
        }
        let withheld_bytes = self.receiving.withheld.more(from, withheld_bytes);
        if let Some(pace) = &mut self.receiving.pace {
            pace.note_streamed(first, &values);
            pace.note_withheld(withheld_bytes, prefix);
        }
        self.log.note_known(prefix);
        self.learn(from.into(), first, values, effects)
    }

    /// Values from an acceptor's held prefix, or applied by a peer: chosen, whenever they come.
    pub(crate) fn on_fetched(
        &mut self,
        from: NodeId,
        fetched: Fetched,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        let Fetched { first, values, held, floor } = fetched;
        let is_lacking = values.is_empty();
        let awaited = self.catch_up.answered(from, first);
        self.log.note_known(held);
        let before = self.log.next();
        let bytes = values.iter().map(|value| value.len() as u64).sum();
        let slots = values.len() as u64;
        self.learn(from, first, values, effects)?;
        let moved = self.log.next() > before;
        if moved {
            self.log.note_fetched(bytes, slots);
        }
        match (awaited, moved) {
            (true, true) => self.go_on(bytes, effects),
            // It has nothing for us; the timer asks the next.
            (true, false) => {
                self.catch_up.turn();
                if is_lacking {
                    self.note_lacking(from, first, floor, effects);
                }
            }
            (false, true) => {}
            (false, false) => self.ignore_stale_fetched(from, first),
        }
        Ok(())
    }

    /// A peer is behind.
    pub(crate) fn on_fetch(&mut self, from: LearnerId, fetch: Fetch, effects: &mut Out) {
        // What a learner in doubt has applied is given to nobody (S7).
        if !self.alarm.is_in_doubt() {
            effects.send(from, ToLearner::Fetched(self.log.serve(fetch, self.config.tuning.chunk_bytes)));
        }
    }

    fn learn(
        &mut self,
        from: NodeId,
        first: Slot,
        values: Vec<Value>,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        if first < Slot::FIRST && !values.is_empty() {
            return Err(Misdirected::new(from, "slots count from 1"));
        }
        for (offset, value) in (0..).zip(values) {
            if let Err(Contradiction(slot)) = self.log.learn(first.plus(offset), value) {
                error!(%from, %slot, "S7: was told another value for a slot that is learned; keeps what it has");
                return Err(Misdirected::new(
                    from,
                    format!("S7: slot {slot} was learned with another value"),
                ));
            }
            self.learn_waiting(effects);
        }
        Ok(())
    }

    /// Applies what has no gap before it, as far as the storage takes it.
    pub(crate) fn learn_waiting(&mut self, effects: &mut Out) {
        let before = self.log.next();
        while self.may_apply()
            && let Some((slot, value)) = self.log.take_next()
        {
            let applied = self.machine.apply(slot, &value);
            self.history.note(slot, self.machine.chain());
            let bytes = value.len() as u64;
            self.checkpoints.note_applied(bytes);
            self.giving.note_applied(bytes, self.config.tuning.pin_bytes);
            self.route(slot, applied, effects);
        }
        if self.log.next() > before {
            self.note_learned();
        }
    }

    /// Tells the attached clients what came of a slot.
    fn route(&mut self, slot: Slot, applied: Applied, effects: &mut Out) {
        for (session, client) in self.attachments.opened_at(slot) {
            let state = if self.machine.is_open(session) { AttachState::Open } else { AttachState::Ended };
            if state == AttachState::Ended {
                self.attachments.detach(session);
            }
            if self.answers() {
                effects.send(client, ToClient::Attached { session: Some(session), state });
            }
        }
        for opened in applied.opened {
            if let Some(client) = self.attachments.detach_nonce(opened.nonce) {
                if let Some(session) = opened.session {
                    self.attachments.attach(session, client);
                }
                if self.answers() {
                    effects.send(client, ToClient::Opened(opened));
                }
            }
        }
        for reply in applied.replies {
            let client = match reply.outcome {
                Outcome::Closed => self.attachments.detach(reply.session),
                Outcome::Put { .. }
                | Outcome::Deleted { .. }
                | Outcome::Restored
                | Outcome::Renewed
                | Outcome::Refused(_) => self.attachments.client(reply.session),
            };
            if let Some(client) = client.filter(|_| self.answers()) {
                self.outgoing.reply(client, reply);
            }
        }
        for session in applied.expired {
            info!(%session, %slot, "expired");
            if let Some(client) = self.attachments.detach(session).filter(|_| self.answers()) {
                self.outgoing.ended(client, session);
            }
        }
    }

    pub(crate) fn subscribe(&self, proposer: ProposerId, effects: &mut Out) {
        // What is synced counts (S11) only where it is right (S7).
        let synced = if self.alarm.is_in_doubt() { Slot::ZERO } else { self.checkpoints.synced };
        let (next, pinned) = (self.log.next(), self.pinned());
        let wants = match self.log.is_far() {
            true => Wants::Nothing,
            false => self.audience.wants(),
        };
        effects.send(proposer, ToProposer::Subscribe(Subscribe { next, synced, pinned, wants }));
    }

    /// Tells the proposers at once when clients begin to wait for what it learns.
    pub(crate) fn watch_audience(&mut self, effects: &mut Out) {
        if self.audience.comes(&self.attachments) {
            self.linked_proposers().for_each(|proposer| self.subscribe(proposer, effects));
        }
    }

    pub(crate) fn on_subscribe_timer(&mut self, effects: &mut Out) {
        // A checkpoint may have let it go on.
        self.learn_waiting(effects);
        self.audience.next_round(&self.attachments);
        self.linked_proposers().for_each(|proposer| self.subscribe(proposer, effects));
        effects.set_timer(Timer::Subscribe, Delay::exactly(self.config.tuning.subscribe_ms));
    }

    /// Starts to watch a gap that no timer watches.
    pub(crate) fn watch_gap(&mut self, effects: &mut Out) {
        if self.log.gap().is_none() && !self.receiving.is_under_way() {
            self.receiving.pace = None;
            self.log.note_fetched(0, 0);
        }
        if self.log.gap().is_some() && !self.catch_up.is_watching() {
            self.catch_up.watch(self.log.next());
            effects.set_timer(Timer::CatchUp, Delay::exactly(self.config.tuning.catch_up_ms));
        }
    }

    pub(crate) fn on_catch_up_timer(&mut self, effects: &mut Out) {
        if self.catch_up.is_stuck(self.log.next()) && !self.receiving.is_pausing() {
            self.fetch(effects);
        }
    }

    /// Asks for the lowest gap, if there is one and somebody to ask.
    pub(crate) fn fetch(&mut self, effects: &mut Out) {
        let Some(gap) = self.log.gap().filter(|_| !self.receiving.is_under_way()) else { return };
        let Some(source) = self.catch_up.ask(gap.first, &self.linked) else { return };
        debug!(%source, slots = %gap, "fetches what it missed");
        let fetch = Fetch { first: gap.first, last: gap.last };
        match source {
            NodeId::Acceptor(acceptor) => effects.send(acceptor, ToAcceptor::Fetch(fetch)),
            NodeId::Learner(peer) => effects.send(peer, ToLearner::Fetch(fetch)),
            NodeId::Proposer(_) | NodeId::Client(_) => unreachable!("the ring holds acceptors and learners"),
        }
        self.catch_up.watch(gap.first);
        effects.set_timer(Timer::CatchUp, Delay::exactly(self.config.tuning.catch_up_ms));
    }

    /// Its values are chosen all the same; it doesn't lead any more.
    fn ignore_deposed_leader(&self, from: ProposerId, ballot: Ballot) {
        debug!(%from, %ballot, leader = %self.leader, "takes a deposed leader's values, not its claim to lead");
    }

    /// An answer that comes late, or twice: all it holds is applied.
    fn ignore_stale_fetched(&self, from: NodeId, first: Slot) {
        debug!(%from, %first, next = %self.log.next(), "ignores a Fetched that tells nothing new");
    }
}
