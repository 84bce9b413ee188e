//! A client's session as a plain state machine: calls and messages in, messages and outcomes out. No I/O.
//!
//! Numbers calls, sends them until answered or their deadline comes, opens and renews the session, and finds the leader and
//! a learner. Upholds the client's half of S9 (one sequence, one call; the mark) and the three-way outcome: a call has failed
//! for certain only if no message that carries it is unrefused, and otherwise is unknown. Time is handed in; delays are drawn
//! from a seed. It is level-triggered: [`Session::step`] looks at everything that may be due, whatever happened before.
//! Absent on purpose: sockets, clocks, tasks (the `driver` module has them), and any belief about time on other machines.

mod calls;
mod congestion;
mod flights;
mod home;
mod leader;
mod links;
mod messages;
mod random;
mod reads;
mod reply_time;
mod retry;
mod sending;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use synod_planted::Bug;
use synod_protocol::cluster::Limits;
use synod_protocol::command::SessionId;
use synod_protocol::message::{Consistency, Message};
use synod_protocol::{Cluster, NodeId, Slot};

use crate::outcome::{Answer, CallError, Ended, Failure, What};
pub use calls::Write;
use calls::{Calls, Work};
use congestion::Congestion;
use flights::Flights;
use home::Home;
use leader::Leader;
use links::Links;
use random::Random;
use reads::Reads;
use reply_time::ReplyTime;

/// Delay before a session is asked for again when the cluster holds too many.
const TOO_MANY_RETRY: Duration = Duration::from_millis(500);

/// Writes that may always wait to be sent, also while the cluster is busy.
const UNSENT_LEAST: u64 = 1_024;

/// What the shell is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Connect; tell [`Session::on_link_up`] or [`Session::on_link_down`].
    Dial(NodeId),
    /// Close the connection; nothing is told back.
    HangUp(NodeId),
    /// Send by an established connection.
    Send(NodeId, Message),
    /// A call has ended.
    Ended(T, Ended),
}

/// What the shell draws at random for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Randomness {
    /// Seed of the jitter.
    pub seed: u64,
    /// The nonce of the first session; later ones count on from it.
    pub nonce: u128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    /// Opened with the next write.
    None,
    Opening(Opening),
    Open(SessionId),
}

/// A session that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opening {
    nonce: u128,
    /// The tag of the message that asks, and to whom it went; absent while it is to be asked for.
    asked: Option<(u64, NodeId)>,
    /// When it is asked for, or again if no answer comes.
    due: Duration,
    /// How often it was asked for in vain.
    attempts: u32,
}

/// A client's session; `T` names a call to whoever waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<T> {
    life: Life,
    calls: Calls<T>,
    reads: Reads<T>,
    flights: Flights,
    links: Links,
    leader: Leader,
    home: Home,
    congestion: Congestion,
    random: Random,
    /// The tag of the latest proposal.
    tag: u64,
    next_nonce: u128,
    limits: Limits,
    /// When a reply last ended a call.
    replied: Option<Duration>,
    reply_time: ReplyTime,
    /// When the session was last known to be open.
    open_at: Duration,
    /// When the session is to be renewed; brought forward after a call has ended as unknown.
    renew_at: Duration,
    renew_every: Duration,
    /// How long a renewal is tried: as long as a call by default, so that it never keeps the mark back.
    renew_deadline: Duration,
    /// Whether the cluster refused to open a session for holding too many.
    too_many: bool,
    /// Set by `close`: nothing new is taken.
    closing: Option<Closing<T>>,
    effects: Vec<Effect<T>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Closing<T> {
    /// Waits for the calls that are under way.
    After(T, Duration),
    Closed,
}

impl<T> Session<T> {
    /// A client of `cluster` that has done nothing; `deadline` is the usual one of its calls.
    pub fn new(cluster: &Cluster, deadline: Duration, drawn: Randomness) -> Session<T> {
        let mut random = Random::new(drawn.seed);
        let start = random.below(1 << 16) as usize;
        Session {
            life: Life::None,
            calls: Calls::new(cluster.limits.session_window),
            reads: Reads::new(),
            flights: Flights::default(),
            links: Links::new(&cluster.tuning),
            leader: Leader::new(cluster.proposers.keys().copied().collect(), start),
            home: Home::new(
                cluster.learners.keys().chain(cluster.observers.keys()).copied().collect(),
                start,
            ),
            congestion: Congestion::new(),
            random,
            tag: 0,
            next_nonce: drawn.nonce,
            limits: cluster.limits,
            replied: None,
            reply_time: ReplyTime::default(),
            open_at: Duration::ZERO,
            renew_at: Duration::ZERO,
            renew_every: Duration::from_millis(cluster.tuning.session_ttl_ms) / 3,
            renew_deadline: deadline,
            too_many: false,
            closing: None,
            effects: Vec::new(),
        }
    }

    /// Begins a write that must end before `deadline`.
    pub fn write(&mut self, ticket: T, write: Write, deadline: Duration) {
        let (key, value): (&[u8], &[u8]) = match &write {
            Write::Put { key, value } => (key, value),
            Write::Delete { key } => (key, &[]),
            Write::Restore { key, record, .. } => (key, &record.value),
            Write::RestoreEnd { .. } => (&[], &[]),
        };
        let too_many = || (self.room() == 0).then_some(Failure::Busy);
        match self.refuse_early(key, value).or_else(too_many) {
            Some(failure) => self.end(ticket, Err(failure.into())),
            None => self.calls.begin(Work::Write(ticket, write), deadline),
        }
    }

    /// Begins a read that must end before `deadline`.
    pub fn read(&mut self, ticket: T, key: Bytes, consistency: Consistency, deadline: Duration) {
        match self.refuse_early(&key, &[]) {
            Some(failure) => self.end(ticket, Err(failure.into())),
            None => self.reads.begin(ticket, key, consistency, deadline),
        }
    }

    /// Takes nothing new, waits for what is under way, and ends the session in the cluster.
    pub fn close(&mut self, ticket: T, deadline: Duration) {
        match self.closing {
            None => self.closing = Some(Closing::After(ticket, deadline)),
            Some(_) => self.end(ticket, Err(Failure::Closed.into())),
        }
    }

    /// A connection that was dialed is up.
    pub fn on_link_up(&mut self, node: NodeId) {
        self.links.up(node);
    }

    /// A connection that was dialed or up is down.
    pub fn on_link_down(&mut self, node: NodeId, why: String, now: Duration) {
        let broke = self.links.is_up(node);
        self.links.down(node, why, now, &mut self.random);
        if self.home.is(node) {
            self.home.lost();
            self.reads.send_all_again();
        }
        if broke {
            // One that only can't be reached from here may lead all the same: a learner reaches it.
            self.leader.suspect(node, now);
        }
        self.send_again_what_went_to(node, now);
    }

    /// What is to be done; empties the list.
    pub fn take_effects(&mut self) -> Vec<Effect<T>> {
        std::mem::take(&mut self.effects)
    }

    /// Does whatever is due; to be called after a batch of events, and at [`Session::next_wake`].
    pub fn step(&mut self, now: Duration) {
        self.congestion.forget(now);
        self.expire(now);
        self.close_when_idle(now);
        self.renew(now);
        self.resend_overdue(now);
        self.reopen_overdue(now);
        self.reads.send_due_again(now);
        if matches!(self.life, Life::None) && self.calls.has_ready() {
            self.open(now);
        }
        self.find_home(now);
        self.send_commands(now);
        self.send_attach(now);
        self.send_reads(now);
        let waits = self.is_waiting(now);
        self.home.wait(waits, now);
    }

    /// When [`Session::step`] has something to do, if nothing happens before.
    pub fn next_wake(&mut self, now: Duration) -> Option<Duration> {
        let wants_leader = self.wants_leader();
        let life = match &self.life {
            Life::None => None,
            Life::Opening(opening) => wants_leader.then_some(opening.due),
            Life::Open(_) => Some(self.renew_at),
        };
        let leader = wants_leader.then_some(self.leader.pause_until);
        let closing = match &self.closing {
            Some(Closing::After(_, deadline)) => Some(*deadline),
            Some(Closing::Closed) | None => None,
        };
        let busy = wants_leader || self.is_waiting(now);
        let links = busy.then(|| self.links.next_change(now)).flatten();
        let certain = [self.calls.next_deadline(), self.flights.next_due(), self.reads.next_wake()];
        let possible = [life, leader, closing, links, self.home.patience_ends()];
        // What is possible and past was looked at by the last step and waits for something else.
        let possible = possible.into_iter().flatten().filter(|time| *time > now);
        certain.into_iter().flatten().chain(possible).min()
    }

    fn wants_leader(&mut self) -> bool {
        matches!(self.life, Life::Opening(_)) && !self.calls.is_empty() || self.calls.has_ready()
    }

    /// Whether a learner is to tell something.
    fn is_waiting(&mut self, now: Duration) -> bool {
        let opening = matches!(self.life, Life::Opening(_)) && !self.calls.is_empty();
        let asking = self.is_doubtful(now) && self.calls.has_ready();
        opening || asking || self.calls.has_pending() || !self.reads.is_empty()
    }

    /// Whether nothing was heard of the session for so long that it may have expired: then a learner is asked before anything is
    /// sent in it, because what was sent could only end as unknown.
    fn is_doubtful(&self, now: Duration) -> bool {
        matches!(self.life, Life::Open(_)) && now > self.open_at + self.renew_every * 2
    }

    fn refuse_early(&self, key: &[u8], value: &[u8]) -> Option<Failure> {
        use synod_protocol::command::Refusal;
        if self.closing.is_some() {
            return Some(Failure::Closed);
        }
        let (key_limit, value_limit) = (self.limits.key_bytes, self.limits.value_bytes);
        if key.len() as u64 > key_limit {
            return Some(Refusal::KeyTooLong { limit: key_limit }.into());
        }
        (value.len() as u64 > value_limit).then(|| Refusal::ValueTooLong { limit: value_limit }.into())
    }

    /// Writes that may wait to be sent beside those that do; beyond it new ones are refused at once: they would wait here until their deadline, with
    /// the memory they take. A whole window for a time in which nobody leads, less while the cluster says that it has too much to do.
    pub fn room(&self) -> u64 {
        let window = self.limits.session_window;
        let most = if self.congestion.is_busy() { UNSENT_LEAST } else { window.max(UNSENT_LEAST) };
        most.saturating_sub(self.calls.unsent() as u64)
    }

    fn end(&mut self, ticket: T, ended: Ended) {
        self.effects.push(Effect::Ended(ticket, ended));
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.effects.push(Effect::Send(to, message));
    }

    fn dial(&mut self, node: NodeId, now: Duration) {
        self.links.dialing(node, now);
        self.effects.push(Effect::Dial(node));
    }

    /// Ends a call without a reply: failed for certain if nothing that carries it can be chosen, otherwise unknown.
    fn end_unanswered(&mut self, call: calls::Call<T>, now: Duration) {
        let outcome = if call.unresolved > 0 && !synod_planted::is(Bug::UnknownCalledFailed) {
            CallError::Unknown
        } else if call.busy || (call.sequence.is_none() && self.congestion.is_busy()) {
            Failure::Busy.into()
        } else if self.too_many {
            Failure::TooManySessions.into()
        } else {
            Failure::NoQuorum { trouble: self.links.trouble.clone() }.into()
        };
        match call.work {
            Work::Write(ticket, _) => {
                if outcome == CallError::Unknown {
                    // The next command carries the mark past it; no need to wait for one.
                    self.renew_at = self.renew_at.min(now);
                }
                self.end(ticket, Err(outcome));
            }
            Work::KeepAlive => {}
            Work::Close(ticket) => self.end(ticket, Err(outcome)),
        }
    }

    fn expire(&mut self, now: Duration) {
        while let Some(call) = self.calls.expire(now) {
            self.end_unanswered(call, now);
        }
        for read in self.reads.expire(now) {
            let failure = if read.busy {
                Failure::Busy
            } else {
                Failure::NoQuorum { trouble: self.links.trouble.clone() }
            };
            self.end(read.ticket, Err(failure.into()));
        }
    }

    fn close_when_idle(&mut self, now: Duration) {
        let Some(Closing::After(_, deadline)) = &self.closing else { return };
        let users = self.calls.values().any(|call| matches!(call.work, Work::Write(..)));
        if (users || !self.reads.is_empty()) && now < *deadline {
            return;
        }
        if let Some(Closing::After(ticket, deadline)) = self.closing.replace(Closing::Closed) {
            match self.life {
                Life::Open(_) => self.calls.begin(Work::Close(ticket), deadline),
                Life::None | Life::Opening(_) => {
                    self.end(ticket, Ok(Answer { value: What::Closed, slot: Slot::ZERO }));
                }
            }
        }
    }

    /// Keeps an idle session alive, and fences calls that have ended as unknown.
    fn renew(&mut self, now: Duration) {
        if matches!(self.life, Life::Open(_)) && self.closing.is_none() && now >= self.renew_at {
            self.renew_at = now + self.renew_every;
            self.calls.begin(Work::KeepAlive, now + self.renew_deadline);
        }
    }

    fn open(&mut self, now: Duration) {
        let nonce = self.next_nonce;
        self.next_nonce = nonce.wrapping_add(1);
        self.life = Life::Opening(Opening { nonce, asked: None, due: now, attempts: 0 });
    }

    fn find_home(&mut self, now: Duration) {
        if !self.is_waiting(now) && !self.wants_leader() {
            return;
        }
        if self.home.patience_ends().is_some_and(|end| now >= end) {
            if let Some(left) = self.home.leave(now)
                && self.links.is_up(left)
            {
                self.links.hung_up(left.into());
                self.effects.push(Effect::HangUp(left.into()));
                self.send_again_what_went_to(left.into(), now);
            }
            self.reads.send_all_again();
        }
        if let Some(learner) = self.home.candidate(&self.links, now) {
            self.dial(learner.into(), now);
        }
    }
}
