//! What a session sends: proposals to the leader, attachments and reads to its learner. One message for all that is ready.

use std::time::Duration;

use synod_protocol::NodeId;
use synod_protocol::command::{BatchBuilder, Command, SessionId};
use synod_protocol::message::{Attach, Message, Propose, ToLearner, ToProposer};
use synod_protocol::{Value, wire};

use super::calls::CallId;
use super::flights::Flight;
use super::home::Attached;
use super::leader::Route;
use super::{Life, Opening, Session};

/// Bytes of commands in one proposal, at most (a larger command goes alone with those before it).
const PROPOSE_BYTES: usize = wire::CAP_CLIENT / 4;
/// Sequences in one Attach, at most, so that it fits a frame; the calls beyond are answered when they are sent again.
const PENDING: usize = wire::CAP_CLIENT / 16;

impl<T> Session<T> {
    /// Proposes what is ready, if somebody is there to take it.
    pub(super) fn send_commands(&mut self, now: Duration) {
        let ready = match &self.life {
            Life::None => false,
            Life::Opening(opening) => opening.asked.is_none() && !self.calls.is_empty() && now >= opening.due,
            Life::Open(_) => {
                let room = self.congestion.has_room(self.calls.under_way_bytes());
                room && self.calls.has_ready() && !self.is_doubtful(now)
            }
        };
        if !ready {
            return;
        }
        let through = self.home.learner().filter(|learner| self.links.is_up(*learner));
        match self.leader.route(&self.links, through, now) {
            Route::Wait => {}
            Route::Dial(proposer) => self.dial(proposer.into(), now),
            Route::Send(to) => match self.life {
                Life::None => {}
                Life::Opening(_) => self.propose_open(to, now),
                Life::Open(session) => self.propose_calls(to, session, now),
            },
        }
    }

    fn propose_open(&mut self, to: NodeId, now: Duration) {
        let Life::Opening(Opening { nonce, attempts, .. }) = self.life else { return };
        let mut batch = BatchBuilder::default();
        batch.push(&Command::Open { nonce });
        let tag = self.propose(to, batch.finish().0);
        let due = now + self.resend_delay(attempts);
        self.life = Life::Opening(Opening { nonce, asked: Some((tag, to)), due, attempts });
    }

    fn propose_calls(&mut self, to: NodeId, session: SessionId, now: Duration) {
        let mut batch = BatchBuilder::default();
        let (mut carried, mut attempts) = (Vec::new(), 0);
        while self.congestion.has_room(self.calls.under_way_bytes())
            && let Some(id) = self.calls.next_ready()
        {
            if let Some(command) = self.calls.command(id, session) {
                batch.push(&command);
            }
            attempts = attempts.max(self.calls.launch(id, self.tag + 1, now));
            carried.push(id);
            if batch.len() >= PROPOSE_BYTES {
                self.launch(to, batch.finish().0, std::mem::take(&mut carried), attempts, now);
            }
        }
        if !batch.is_empty() {
            self.launch(to, batch.finish().0, carried, attempts, now);
        }
        self.renew_at = now + self.renew_every;
    }

    fn launch(&mut self, to: NodeId, commands: Value, calls: Vec<CallId>, attempts: u32, now: Duration) {
        let delay = self.resend_delay(attempts);
        let tag = self.propose(to, commands);
        self.flights.insert(tag, Flight { to, sent: now, delay, due: now + delay, calls });
    }

    fn propose(&mut self, to: NodeId, commands: Value) -> u64 {
        self.tag += 1;
        let propose = Propose { tag: self.tag, commands };
        let message = match to {
            NodeId::Learner(_) => Message::Learner(ToLearner::Forward(propose)),
            NodeId::Proposer(_) => Message::Proposer(ToProposer::Propose(propose)),
            NodeId::Acceptor(_) | NodeId::Client(_) => {
                unreachable!("routes lead to proposers and learners, this one to {to}")
            }
        };
        self.send(to, message);
        self.tag
    }

    /// Sees that the home knows whose replies come here. Goes out behind the proposals, with what they carry as pending, so
    /// that no reply falls between them.
    pub(super) fn send_attach(&mut self, now: Duration) {
        let Some(learner) = self.home.learner().filter(|learner| self.links.is_up(*learner)) else { return };
        let needed = self.is_waiting(now);
        let (wanted, attach) = match &self.life {
            Life::Opening(opening) if needed => {
                (Attached::Nonce(opening.nonce), Attach::Nonce(opening.nonce))
            }
            Life::Open(session) if needed => {
                if self.home.attached == Some(Attached::Session(*session)) {
                    return;
                }
                let pending = self.calls.pending().take(PENDING).collect();
                (Attached::Session(*session), Attach::Session { session: *session, pending })
            }
            Life::None | Life::Opening(_) | Life::Open(_) => return,
        };
        if self.home.attached != Some(wanted) {
            self.home.attached = Some(wanted);
            self.send(learner.into(), Message::Learner(ToLearner::Attach(attach)));
        }
    }

    pub(super) fn send_reads(&mut self, now: Duration) {
        let Some(learner) = self.home.learner().filter(|learner| self.links.is_up(*learner)) else { return };
        while let Some(reads) = self.reads.take_unsent(now, &mut self.random) {
            self.send(learner.into(), Message::Learner(ToLearner::Read(reads)));
        }
    }
}
