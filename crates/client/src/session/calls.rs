//! The calls of a session: who waits, which sequences are in flight, and which is the lowest still waited for.
//!
//! Upholds the client's half of S9: a sequence names one call for ever, the mark passes a sequence only when its call has
//! ended, and no sequence lies a whole window above the mark. A call remembers how many messages that carry it were not
//! refused: with none, it can't happen any more, whatever is still under way.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use synod_planted::Bug;
use synod_protocol::Revision;
use synod_protocol::command::{Call as WireCall, Command, Operation, Record, SessionId, Stamp};

/// A call's number within the client, in the order in which calls came; never told to anybody.
pub(crate) type CallId = u64;

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Sets a key as a backup has it.
    Restore {
        /// The key.
        key: Bytes,
        /// What the backup has of it.
        record: Record,
        /// The backup's checksum.
        backup: u64,
    },
    /// Ends a restore.
    RestoreEnd {
        /// The backup's revision.
        revision: Revision,
        /// The backup's checksum.
        backup: u64,
    },
}

/// What a call takes in a message beside key and value, about.
const CALL_BYTES: usize = 64;

/// What a call does, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work<T> {
    Write(T, Write),
    /// Renews the session, or carries the mark past a call that ended as unknown; nobody waits for it.
    KeepAlive,
    Close(T),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call<T> {
    pub(crate) work: Work<T>,
    pub(crate) deadline: Duration,
    /// Its number in the session; absent until it is sent.
    pub(crate) sequence: Option<u64>,
    /// Messages that carry it and weren't refused.
    pub(crate) unresolved: u32,
    /// When the first of them was sent.
    pub(crate) sent: Duration,
    /// The tag of the latest message that carries it; 0 when no answer to that is waited for.
    pub(crate) flight: u64,
    /// How often it was sent in vain: no answer, no refusal.
    pub(crate) attempts: u32,
    /// Whether its last refusal said Busy.
    pub(crate) busy: bool,
}

impl<T> Call<T> {
    /// Bytes that it takes in a message, about.
    pub(crate) fn bytes(&self) -> u64 {
        let content = match &self.work {
            Work::Write(_, Write::Put { key, value }) => key.len() + value.len(),
            Work::Write(_, Write::Restore { key, record, .. }) => key.len() + record.value.len(),
            Work::Write(_, Write::Delete { key }) => key.len(),
            Work::Write(_, Write::RestoreEnd { .. }) | Work::KeepAlive | Work::Close(_) => 0,
        };
        (content + CALL_BYTES) as u64
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calls<T> {
    window: u64,
    /// Of calls in messages to which an answer is waited for.
    under_way_bytes: u64,
    /// The call `first`, `first + 1`, ...; absent where it has ended. The front is never absent.
    calls: VecDeque<Option<Call<T>>>,
    first: CallId,
    /// By time; some may have ended since, the front never.
    deadlines: VecDeque<(Duration, CallId)>,
    /// Not sent yet, in order; some may have ended since.
    fresh: VecDeque<CallId>,
    /// To be sent again.
    again: BTreeSet<CallId>,
    /// The call of sequence `lowest`, `lowest + 1`, ...; absent where it has ended. The front is never absent.
    pending: VecDeque<Option<CallId>>,
    lowest: u64,
}

impl<T> Calls<T> {
    pub(crate) fn new(window: u64) -> Calls<T> {
        Calls {
            window,
            under_way_bytes: 0,
            calls: VecDeque::new(),
            first: 1,
            deadlines: VecDeque::new(),
            fresh: VecDeque::new(),
            again: BTreeSet::new(),
            pending: VecDeque::new(),
            lowest: 1,
        }
    }

    pub(crate) fn begin(&mut self, work: Work<T>, deadline: Duration) {
        let id = self.first + self.calls.len() as u64;
        let call = Call {
            work,
            deadline,
            sequence: None,
            unresolved: 0,
            sent: Duration::ZERO,
            flight: 0,
            attempts: 0,
            busy: false,
        };
        self.calls.push_back(Some(call));
        self.fresh.push_back(id);
        // Nearly always the last.
        let after = self.deadlines.iter().rev().take_while(|(other, _)| *other > deadline).count();
        self.deadlines.insert(self.deadlines.len() - after, (deadline, id));
    }

    fn get(&self, id: CallId) -> Option<&Call<T>> {
        self.calls.get(usize::try_from(id.checked_sub(self.first)?).ok()?)?.as_ref()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut Call<T>> {
        self.calls.get_mut(usize::try_from(id.checked_sub(self.first)?).ok()?)?.as_mut()
    }

    /// Bytes of calls in messages to which an answer is waited for.
    pub(crate) fn under_way_bytes(&self) -> u64 {
        self.under_way_bytes
    }

    /// How many wait to be sent, first or again.
    pub(crate) fn unsent(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Call<T>> {
        self.calls.iter().flatten()
    }

    /// Whether a call waits to be sent and may be.
    pub(crate) fn has_ready(&mut self) -> bool {
        while self.fresh.front().is_some_and(|id| self.get(*id).is_none()) {
            self.fresh.pop_front();
        }
        !self.again.is_empty() || (!self.fresh.is_empty() && self.has_room())
    }

    fn has_room(&self) -> bool {
        (self.pending.len() as u64) < self.window
    }

    /// Whether replies are waited for.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The sequences whose replies are waited for.
    pub(crate) fn pending(&self) -> impl Iterator<Item = u64> + '_ {
        (self.lowest..).zip(&self.pending).filter(|(_, id)| id.is_some()).map(|(sequence, _)| sequence)
    }

    /// The call that waits for the reply to `sequence`.
    pub(crate) fn by_sequence(&self, sequence: u64) -> Option<CallId> {
        let offset = usize::try_from(sequence.checked_sub(self.lowest)?).ok()?;
        *self.pending.get(offset)?
    }

    /// The next call to send, with its sequence; those to be sent again come first.
    pub(crate) fn next_ready(&mut self) -> Option<CallId> {
        if let Some(id) = self.again.pop_first() {
            return Some(id);
        }
        if !self.has_ready() {
            return None;
        }
        let id = self.fresh.pop_front()?;
        let sequence = self.lowest + self.pending.len() as u64;
        self.pending.push_back(Some(id));
        if let Some(call) = self.get_mut(id) {
            call.sequence = Some(sequence);
        }
        Some(id)
    }

    /// The message `tag` carries the call now; returns how often it was sent in vain.
    pub(crate) fn launch(&mut self, id: CallId, tag: u64, now: Duration) -> u32 {
        let Some(call) = self.get_mut(id) else { return 0 };
        if call.unresolved == 0 {
            call.sent = now;
        }
        call.unresolved += 1;
        call.flight = tag;
        let (attempts, bytes) = (call.attempts, call.bytes());
        self.under_way_bytes += bytes;
        attempts
    }

    /// If the message `tag` was the latest that carried the call: it must be sent again. Gives back the call if so.
    pub(crate) fn send_again(&mut self, id: CallId, tag: u64) -> Option<&mut Call<T>> {
        let call = self.get_mut(id).filter(|call| call.flight == tag)?;
        call.flight = 0;
        let (bytes, sequence) = (call.bytes(), call.sequence);
        self.under_way_bytes -= bytes;
        self.line_up(id, sequence);
        self.get_mut(id)
    }

    fn line_up(&mut self, id: CallId, sequence: Option<u64>) {
        if let Some(sequence) = sequence.filter(|_| synod_planted::is(Bug::RetryWithNewSequence)) {
            self.pending[(sequence - self.lowest) as usize] = None;
            return self.fresh.push_front(id);
        }
        self.again.insert(id);
    }

    /// The command of a call that has its sequence.
    pub(crate) fn command(&self, id: CallId, session: SessionId) -> Option<Command<'_>> {
        let call = self.get(id)?;
        let operation = match &call.work {
            Work::Write(_, Write::Put { key, value }) => Operation::Put { key, value },
            Work::Write(_, Write::Delete { key }) => Operation::Delete { key },
            Work::Write(_, Write::Restore { key, record, backup }) => {
                let Record { created, modified, version, ref value } = *record;
                Operation::Restore {
                    key,
                    value,
                    stamp: Stamp { created, modified, version },
                    backup: *backup,
                }
            }
            Work::Write(_, Write::RestoreEnd { revision, backup }) => {
                Operation::RestoreEnd { revision: *revision, backup: *backup }
            }
            Work::KeepAlive => Operation::KeepAlive,
            Work::Close(_) => Operation::Close,
        };
        Some(Command::Call(WireCall { session, sequence: call.sequence?, lowest: self.lowest, operation }))
    }

    /// Ends a call; the mark passes its sequence once all below have ended too.
    pub(crate) fn end(&mut self, id: CallId) -> Option<Call<T>> {
        let call = self.calls.get_mut(usize::try_from(id.checked_sub(self.first)?).ok()?)?.take()?;
        if call.flight != 0 {
            self.under_way_bytes -= call.bytes();
        }
        self.forget_ended();
        self.again.remove(&id);
        if let Some(sequence) = call.sequence {
            self.pending[(sequence - self.lowest) as usize] = None;
            while self.pending.front().is_some_and(Option::is_none) {
                self.pending.pop_front();
                self.lowest += 1;
            }
        }
        Some(call)
    }

    /// Lets go of what has ended in front.
    fn forget_ended(&mut self) {
        while self.calls.front().is_some_and(Option::is_none) {
            self.calls.pop_front();
            self.first += 1;
        }
        while self.deadlines.front().is_some_and(|(_, id)| self.get(*id).is_none()) {
            self.deadlines.pop_front();
        }
    }

    /// When the next deadline is.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Ends and returns a call whose deadline has come.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<Call<T>> {
        let (_, id) = *self.deadlines.front().filter(|(deadline, _)| *deadline <= now)?;
        self.end(id)
    }

    /// The session has ended: gives back the calls that may have happened in it; the others start over, in their order.
    pub(crate) fn start_over(&mut self) -> Vec<Call<T>> {
        self.pending.clear();
        self.again.clear();
        self.lowest = 1;
        self.under_way_bytes = 0;
        let (mut ended, mut fresh) = (Vec::new(), VecDeque::new());
        for (id, place) in (self.first..).zip(&mut self.calls) {
            let stays = |call: &mut Call<T>| call.unresolved == 0 && matches!(call.work, Work::Write(..));
            ended.extend(place.take_if(|call| !stays(call)));
            if let Some(call) = place {
                (call.sequence, call.flight, call.attempts) = (None, 0, 0);
                fresh.push_back(id);
            }
        }
        self.fresh = fresh;
        self.forget_ended();
        ended
    }
}
