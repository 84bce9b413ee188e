//! What a session receives, in protocol order. Everything may come late, twice, or from somebody who isn't asked any more.

use std::time::Duration;

use synod_protocol::command::{Opened, Outcome, Refusal, Reply, SessionId};
use synod_protocol::message::{AttachState, NotTaken, ReadOutcome, ReadReply, ToClient};
use synod_protocol::{NodeId, Slot};
use tracing::{debug, trace, warn};

use super::calls::{Call, CallId, Work, Write};
use super::home::Attached;
use super::{Life, Session, TOO_MANY_RETRY};
use crate::outcome::{Answer, CallError, Failure, What};

/// What a reply tells of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alive {
    Perhaps,
    Gone,
}

impl<T> Session<T> {
    /// A message has come.
    pub fn on_message(&mut self, from: NodeId, message: ToClient, now: Duration) {
        match message {
            ToClient::Opened(opened) => self.on_opened(from, &opened, now),
            ToClient::Attached { session, state } => self.on_attached(session, state, now),
            ToClient::Replies(replies) => self.on_replies(from, &replies, now),
            ToClient::ReadReplies(replies) => {
                for reply in replies.iter() {
                    self.on_read_reply(from, reply, now);
                }
            }
            ToClient::Refused { tag, reason } => self.on_refused(from, tag, reason, now),
            ToClient::SnapshotChunk(_)
            | ToClient::NoSnapshot(_)
            | ToClient::Formed { .. }
            | ToClient::Readmission { .. }
            | ToClient::Status { .. } => ignore_unasked(from),
        }
    }

    fn on_opened(&mut self, from: NodeId, opened: &Opened, now: Duration) {
        let Life::Opening(opening) = &mut self.life else { return ignore_stale_opened(from) };
        if opening.nonce != opened.nonce {
            return ignore_stale_opened(from);
        }
        self.links.praise(from);
        self.leader.praise();
        self.home.praise(now);
        match opened.session {
            Some(session) => {
                debug!(%session, learner = %from, "session opened");
                self.life = Life::Open(session);
                self.too_many = false;
                self.open_at = now;
                self.renew_at = now + self.renew_every;
                // The learner sends the session's replies to whom it told of the opening.
                if self.home.is(from) {
                    self.home.attached = Some(Attached::Session(session));
                }
            }
            None => {
                (opening.asked, opening.due) = (None, now + TOO_MANY_RETRY);
                self.too_many = true;
                self.home.attached = None;
            }
        }
    }

    fn on_attached(&mut self, session: Option<SessionId>, state: AttachState, now: Duration) {
        match (session, state, &self.life) {
            (Some(session), AttachState::Ended, Life::Open(ours)) if session == *ours => self.on_ended(now),
            (Some(session), AttachState::Open, Life::Open(ours)) if session == *ours => self.open_at = now,
            (Some(_) | None, AttachState::Open | AttachState::Behind | AttachState::Ended, _) => {
                // Whether a learner that is behind catches up shows by what it sends.
                trace!(?session, ?state, "attached");
            }
        }
    }

    /// The session has expired: what may have happened in it is unknown, the rest goes into a fresh one.
    fn on_ended(&mut self, now: Duration) {
        let Life::Open(session) = self.life else { return };
        debug!(%session, "session has ended");
        self.life = Life::None;
        self.flights.clear();
        self.home.attached = None;
        for call in self.calls.start_over() {
            match call.work {
                Work::Close(ticket) => self.end(ticket, closed(session.slot)),
                Work::Write(..) | Work::KeepAlive => self.end_unanswered(call, now),
            }
        }
    }

    fn on_replies(&mut self, from: NodeId, replies: &[Reply], now: Duration) {
        let before = self.life.clone();
        // All of them are weighed before the session is given up: each may tell that its call did nothing.
        let gone = replies.iter().filter(|reply| self.on_reply(from, reply, now) == Alive::Gone).count();
        if gone > 0 && self.life == before {
            self.on_ended(now);
        }
    }

    fn on_reply(&mut self, from: NodeId, reply: &Reply, now: Duration) -> Alive {
        let ours = matches!(self.life, Life::Open(session) if session == reply.session);
        let Some(id) = ours.then(|| self.calls.by_sequence(reply.sequence)).flatten() else {
            ignore_stale_reply(from, reply);
            return Alive::Perhaps;
        };
        self.replied = Some(now);
        self.open_at = now;
        self.links.praise(from);
        self.leader.praise();
        self.home.praise(now);
        match reply.outcome {
            Outcome::Put { revision } => self.answer(id, reply, What::Put { revision }, now),
            Outcome::Deleted { revision } => self.answer(id, reply, What::Deleted { revision }, now),
            Outcome::Restored => self.answer(id, reply, What::Restored, now),
            Outcome::Renewed => self.answer(id, reply, What::Renewed, now),
            Outcome::Closed => self.answer(id, reply, What::Closed, now),
            Outcome::Refused(Refusal::NoSession) => {
                // The copy that was answered did nothing. If no other is under way, the call may go into a fresh session.
                if let Some(call) = self.calls.get_mut(id).filter(|call| call.unresolved == 1) {
                    call.unresolved = 0;
                }
                return Alive::Gone;
            }
            Outcome::Refused(
                refusal @ (Refusal::KeyTooLong { .. }
                | Refusal::ValueTooLong { .. }
                | Refusal::OutsideWindow
                | Refusal::Restoring
                | Refusal::OtherBackup { .. }
                | Refusal::NotEmpty { .. }
                | Refusal::BadRevision),
            ) => self.refuse(id, refusal, now),
        }
        Alive::Perhaps
    }

    fn answer(&mut self, id: CallId, reply: &Reply, what: What, now: Duration) {
        let fits = match self.calls.get_mut(id).map(|call| &call.work) {
            Some(Work::Write(_, Write::Put { .. })) => matches!(what, What::Put { .. }),
            Some(Work::Write(_, Write::Delete { .. })) => matches!(what, What::Deleted { .. }),
            Some(Work::Write(_, Write::Restore { .. } | Write::RestoreEnd { .. })) => what == What::Restored,
            Some(Work::KeepAlive) => what == What::Renewed,
            Some(Work::Close(_)) => what == What::Closed,
            None => false,
        };
        if !fits {
            return ignore_misfit(reply);
        }
        let Some(call) = self.calls.end(id) else { return };
        self.congestion.answered(call.bytes());
        self.reply_time.note(now.saturating_sub(call.sent));
        match call.work {
            Work::Write(ticket, _) => self.end(ticket, Ok(Answer { value: what, slot: reply.slot })),
            Work::Close(ticket) => {
                self.end(ticket, closed(reply.slot));
                self.on_ended(now);
            }
            Work::KeepAlive => {}
        }
    }

    fn refuse(&mut self, id: CallId, refusal: Refusal, now: Duration) {
        let Some(call) = self.calls.end(id) else { return };
        let certain = match refusal {
            // The same for every copy of the call: it is kept as the reply.
            Refusal::KeyTooLong { .. }
            | Refusal::ValueTooLong { .. }
            | Refusal::Restoring
            | Refusal::OtherBackup { .. }
            | Refusal::NotEmpty { .. }
            | Refusal::BadRevision => true,
            // Of this copy only.
            Refusal::NoSession | Refusal::OutsideWindow => call.unresolved <= 1,
        };
        match call {
            Call { work: Work::Write(ticket, _) | Work::Close(ticket), .. } if certain => {
                self.end(ticket, Err(Failure::Refused(refusal).into()));
            }
            call => self.end_unanswered(call, now),
        }
    }

    fn on_read_reply(&mut self, from: NodeId, reply: ReadReply, now: Duration) {
        match reply.outcome {
            ReadOutcome::Busy { retry_ms } => {
                let retry = Duration::from_millis(retry_ms);
                // No answer: whoever is busy for as long as patience lasts is left, as if it were silent.
                self.reads.busy(reply.id, retry, now, &mut self.random);
            }
            ReadOutcome::Value(value) => {
                let Some(read) = self.reads.end(reply.id) else { return ignore_stale_read_reply(from) };
                self.links.praise(from);
                self.home.praise(now);
                self.end(read.ticket, Ok(Answer { value: What::Value(value), slot: reply.slot }));
            }
        }
    }

    /// None of the commands of that message will be chosen because of it.
    fn on_refused(&mut self, from: NodeId, tag: u64, reason: NotTaken, now: Duration) {
        let opening = match &mut self.life {
            Life::Opening(opening) => Some(opening).filter(|opening| opening.asked == Some((tag, from))),
            Life::None | Life::Open(_) => None,
        };
        let sent = match (opening, self.flights.remove(tag)) {
            // An answer, so not silent: nobody is suspected for it, and the refusal makes the pause.
            (Some(opening), _) => {
                (opening.asked, opening.due, opening.attempts) = (None, now, 0);
                now
            }
            (None, Some(flight)) => {
                self.take_back(tag, &flight.calls, reason);
                flight.sent
            }
            (None, None) => return ignore_stale_refusal(from, tag),
        };
        match reason {
            NotTaken::Busy { retry_ms } => {
                self.leader.busy(Duration::from_millis(retry_ms), now, &mut self.random);
                let under_way_bytes = self.calls.under_way_bytes();
                self.congestion.refused(sent, under_way_bytes, self.leader.pause_until, now);
            }
            NotTaken::NotLeader { leader } => {
                self.leader.refused(from, leader, now, &mut self.random);
                self.send_again_what_went_to(from, now);
            }
            NotTaken::Malformed => {
                warn!(%from, "says that a proposal's lengths don't add up: versions that don't match, or a bug");
                self.leader.refused(from, None, now, &mut self.random);
            }
        }
    }

    fn take_back(&mut self, tag: u64, calls: &[CallId], reason: NotTaken) {
        for id in calls {
            let Some(call) = self.calls.get_mut(*id) else { continue };
            call.unresolved = call.unresolved.saturating_sub(1);
            call.busy = matches!(reason, NotTaken::Busy { .. });
            self.calls.send_again(*id, tag);
        }
    }
}

fn closed(slot: Slot) -> Result<Answer<What>, CallError> {
    Ok(Answer { value: What::Closed, slot })
}

/// A sequence names one call for ever (S9), so its reply is of the call's kind.
fn ignore_misfit(reply: &Reply) {
    warn!(session = %reply.session, sequence = reply.sequence, outcome = ?reply.outcome, "S9: ignores a reply to another kind of call");
}

/// Only [`crate::ask`] asks for these.
fn ignore_unasked(from: NodeId) {
    debug!(%from, "ignores an answer to a question this session never asked");
}

/// It was asked for again, and both were answered; or it answers an earlier opening.
fn ignore_stale_opened(from: NodeId) {
    debug!(%from, "ignores an opening that isn't waited for");
}

/// A repeated reply, or one to a call that has ended or a session that is gone.
fn ignore_stale_reply(from: NodeId, reply: &Reply) {
    trace!(%from, session = %reply.session, sequence = reply.sequence, "ignores a reply that isn't waited for");
}

/// The read was answered before, by this learner or another, or has ended.
fn ignore_stale_read_reply(from: NodeId) {
    trace!(%from, "ignores an answer to a read that isn't waited for");
}

/// All its calls have ended, or their session has.
fn ignore_stale_refusal(from: NodeId, tag: u64) {
    trace!(%from, tag, "ignores a refusal of commands that have ended");
}
