//! How a learner serves clients: attachments, reads (S10), forwarded commands, expiry of idle sessions.

use synod_planted::Bug;
use synod_protocol::command::{self, BatchBuilder, Command, SessionId};
use synod_protocol::message::{
    Attach, AttachState, Consistency, NotTaken, Propose, Read, Reads, ReadsBuilder, ToAcceptor, ToClient,
    ToProposer,
};
use synod_protocol::role::Delay;
use synod_protocol::{AcceptorId, ClientId, ProposerId, Slot};
use synod_store::Storage;
use tracing::{debug, warn};

use crate::expiry::SWEEPS;
use crate::reads::{Answer, Waiting};
use crate::{Learner, Out, Timer};

impl<S: Storage> Learner<S> {
    /// Whether it answers clients: not while its state may be wrong (S7).
    pub(crate) fn answers(&self) -> bool {
        !self.alarm.is_in_doubt() || synod_planted::is(Bug::AnswersInDoubt)
    }

    pub(crate) fn on_attach(&mut self, from: ClientId, attach: Attach, effects: &mut Out) {
        if !self.answers() {
            return debug!(%from, "ignores an Attach while it is in doubt: the client turns to another learner");
        }
        match attach {
            Attach::Nonce(nonce) => self.on_attach_nonce(from, nonce, effects),
            Attach::Session { session, pending } => self.on_attach_session(from, session, pending, effects),
        }
    }

    fn on_attach_nonce(&mut self, from: ClientId, nonce: u128, effects: &mut Out) {
        let session = self.machine.session_of(nonce);
        if session.is_none() && self.attachments.is_full() {
            return self.ignore_attach_over_limit(from);
        }
        let state = if session.is_some() { AttachState::Open } else { AttachState::Behind };
        effects.send(from, ToClient::Attached { session: None, state });
        match session {
            Some(session) => {
                self.attachments.attach(session, from);
                effects.send(from, ToClient::Opened(command::Opened { nonce, session: Some(session) }));
            }
            None => self.attachments.attach_nonce(nonce, from),
        }
    }

    fn on_attach_session(
        &mut self,
        from: ClientId,
        session: SessionId,
        mut pending: Vec<u64>,
        effects: &mut Out,
    ) {
        let state = if self.machine.applied() < session.slot {
            AttachState::Behind
        } else if self.machine.is_open(session) {
            AttachState::Open
        } else {
            AttachState::Ended
        };
        match state {
            AttachState::Behind if self.attachments.is_full() => return self.ignore_attach_over_limit(from),
            AttachState::Open | AttachState::Behind => self.attachments.attach(session, from),
            AttachState::Ended => {}
        }
        effects.send(from, ToClient::Attached { session: Some(session), state });
        // No more than a window of calls can wait, so no more are looked up.
        pending.truncate(usize::try_from(self.config.limits.session_window).unwrap_or(usize::MAX));
        for reply in self.machine.kept_replies(session, &pending) {
            self.outgoing.reply(from, reply);
        }
    }

    /// An attachment costs memory until its client goes; the client asks again.
    fn ignore_attach_over_limit(&self, from: ClientId) {
        warn!(%from, "ignores an Attach: as many wait as may");
    }

    pub(crate) fn on_read(&mut self, from: ClientId, reads: Reads) {
        let most_key_bytes = usize::try_from(self.config.limits.key_bytes).unwrap_or(usize::MAX);
        let waits = |read: &Read<'_>| {
            read.consistency == Consistency::Linearizable && !synod_planted::is(Bug::ReadWithoutRound)
        };
        let is_plain = |read: Read<'_>| waits(&read) && read.key.len() <= most_key_bytes;
        if reads.len() as u64 <= self.reads.room() && reads.iter().all(is_plain) {
            return self.wait(from, reads);
        }
        let room = usize::try_from(self.reads.room()).unwrap_or(usize::MAX);
        let (stale, asked): (Vec<Read<'_>>, Vec<Read<'_>>) = reads.iter().partition(|read| !waits(read));
        if !stale.is_empty() {
            self.answer(from, &stale);
        }
        let mut waiting = ReadsBuilder::default();
        for read in asked {
            if waiting.len() < room {
                // A byte too many is enough to tell that there can't be such a key.
                let key = &read.key[..read.key.len().min(most_key_bytes.saturating_add(1))];
                waiting.push(Read { key, ..read });
            } else {
                self.answer_busy(from, read.id);
            }
        }
        self.wait(from, waiting.finish());
    }

    /// Keeps no frame: what waits may have come in a small part of a large one (I14).
    fn wait(&mut self, client: ClientId, reads: Reads) {
        if !reads.is_empty() {
            self.audience.reads();
            self.reads.arrive(Waiting { client, reads: reads.detached() });
        }
    }

    fn answer(&mut self, client: ClientId, reads: &[Read<'_>]) {
        let (slot, retry_ms, answers) =
            (self.machine.applied(), self.config.tuning.busy_retry_ms, self.answers());
        let outgoing = &mut self.outgoing;
        outgoing.expect(client, reads.len());
        let keys: Vec<&[u8]> = reads.iter().map(|read| read.key).collect();
        self.machine.storage().show(&keys, |number, record| {
            let Read { id, key, .. } = reads[number];
            if outgoing.is_full_for(client) || !answers {
                return outgoing.busy(client, id, slot, retry_ms);
            }
            // One that is too long may be only the beginning of what was asked for.
            let record = record.filter(|_| key.len() as u64 <= self.config.limits.key_bytes);
            outgoing.read_reply(client, id, slot, record.map(|record| (record.stamp, record.value)));
        });
    }

    fn answer_busy(&mut self, client: ClientId, id: u64) {
        let retry_ms = self.config.tuning.busy_retry_ms;
        self.outgoing.busy(client, id, self.machine.applied(), retry_ms);
    }

    pub(crate) fn on_quorum_read_reply(&mut self, answer: Answer) {
        let (from, round) = (answer.from, answer.round);
        if !self.reads.answer(answer, &self.config.quorums) {
            self.ignore_stale_quorum_read_reply(from, round);
        }
    }

    /// An answer to an earlier round tells of a time before the reads of this one arrived (S10); a replaced disk lacks what its successor
    /// voted for (S12).
    fn ignore_stale_quorum_read_reply(&self, from: AcceptorId, round: u64) {
        debug!(%from, round, "ignores an answer to another round, a repeated one, or one of a replaced disk");
    }

    pub(crate) fn answer_ready_reads(&mut self) {
        for Waiting { client, reads } in self.reads.take_ready(self.machine.applied()) {
            self.answer(client, &reads.iter().collect::<Vec<_>>());
        }
    }

    /// Begins a round for the reads that have arrived, and sees that a timer watches it.
    pub(crate) fn begin_round(&mut self, effects: &mut Out) {
        if let Some(round) = self.reads.begin() {
            for acceptor in self.config.quorums.acceptors() {
                effects.send(acceptor, ToAcceptor::QuorumRead { round });
            }
        }
        if self.reads.watched_round.is_none() && self.reads.round_in_flight().is_some() {
            self.reads.watched_round = self.reads.round_in_flight();
            effects.set_timer(Timer::Round, Delay::exactly(self.config.tuning.resend_ms));
        }
    }

    /// Asks again where no answer came, if the round is still the one that the timer was set for.
    pub(crate) fn on_round_timer(&mut self, effects: &mut Out) {
        if self.reads.watched_round.take() == self.reads.round_in_flight() {
            for acceptor in self.config.quorums.acceptors() {
                self.ask_for_round(acceptor, effects);
            }
        }
    }

    pub(crate) fn ask_for_round(&self, acceptor: AcceptorId, effects: &mut Out) {
        if let Some(round) = self.reads.round_without(acceptor) {
            effects.send(acceptor, ToAcceptor::QuorumRead { round });
        }
    }

    /// Sees that a timer watches reads that wait for a slot.
    pub(crate) fn watch_unsettled(&mut self, effects: &mut Out) {
        let highest = self.reads.highest_unsettled(Slot(u64::MAX));
        if self.reads.watched_slot.is_none() && highest.is_some() {
            self.reads.watched_slot = highest;
            effects.set_timer(Timer::Settle, Delay::exactly(self.config.tuning.settle_ms));
        }
    }

    /// Reads have waited for long: a slot that nobody is known to have chosen may hold a dead leader's vote.
    pub(crate) fn on_settle_timer(&mut self, effects: &mut Out) {
        let watched = self.reads.watched_slot.take();
        let slot = watched.and_then(|watched| self.reads.highest_unsettled(watched));
        if let Some(slot) = slot.filter(|slot| *slot > self.log.known()) {
            debug!(%slot, known = %self.log.known(), "reads wait for an unsettled slot");
            self.linked_proposers().for_each(|proposer| effects.send(proposer, ToProposer::Settle { slot }));
        }
    }

    pub(crate) fn on_forward(&mut self, from: ClientId, propose: Propose, effects: &mut Out) {
        let Propose { tag, commands } = propose;
        let refuse = |reason, effects: &mut Out| effects.send(from, ToClient::Refused { tag, reason });
        if command::count(&commands).is_none_or(|count| count == 0) {
            return refuse(NotTaken::Malformed, effects);
        }
        let Some(leader) = self.leader() else {
            return refuse(NotTaken::NotLeader { leader: None }, effects);
        };
        let tag = self.forwarded.tag_for(from, tag);
        effects.send(leader, ToProposer::Propose(Propose { tag, commands }));
    }

    /// A proposer didn't take what was forwarded: the client hears it; commands of our own are proposed again by themselves.
    pub(crate) fn on_refused(&mut self, from: ProposerId, tag: u64, reason: NotTaken, effects: &mut Out) {
        match self.forwarded.take(tag) {
            Some((client, tag)) => effects.send(client, ToClient::Refused { tag, reason }),
            None => self.ignore_unknown_refusal(from, tag),
        }
    }

    /// Of an Expire, of an earlier life, or repeated.
    fn ignore_unknown_refusal(&self, from: ProposerId, tag: u64) {
        debug!(%from, tag, "ignores a refusal that no client waits for");
    }

    pub(crate) fn on_client_gone(&mut self, client: ClientId) {
        self.attachments.forget(client);
        self.reads.forget(client);
    }

    pub(crate) fn sweep_delay(&self) -> Delay {
        Delay::exactly(self.config.tuning.session_ttl_ms.div_ceil(SWEEPS))
    }

    /// Proposes that sessions expire which were idle for their whole time; again at each sweep while they are there.
    pub(crate) fn on_sweep_timer(&mut self, effects: &mut Out) {
        effects.set_timer(Timer::Sweep, self.sweep_delay());
        let idle = self.idle.sweep(self.machine.renewals());
        let Some(leader) = self.leader() else { return };
        let most = usize::try_from(self.config.tuning.batch_commands).unwrap_or(usize::MAX);
        for some in idle.chunks(most) {
            let mut batch = BatchBuilder::default();
            some.iter().for_each(|(session, renewed)| {
                batch.push(&Command::Expire { session: *session, renewed: *renewed });
            });
            let (tag, (commands, _)) = (self.forwarded.tag(), batch.finish());
            effects.send(leader, ToProposer::Propose(Propose { tag, commands }));
        }
    }
}
