//! Reads: sent to one learner, sent again to it or another until answered. They change nothing, so they never end as unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use synod_protocol::message::{Consistency, Read as WireRead};

use super::random::Random;

/// A read unanswered for this long is sent again; doubles.
const RESEND: Duration = Duration::from_millis(300);
/// At most this long.
const RESEND_MOST: Duration = Duration::from_millis(2_400);
/// Reads in one message, at most; keys are short, so that it always fits a frame.
const READS: usize = 1_024;
/// Bytes of keys in one message, at most.
const KEY_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read<T> {
    pub(crate) ticket: T,
    key: Bytes,
    consistency: Consistency,
    deadline: Duration,
    /// When it is sent again; absent while it waits to be sent.
    due: Option<Duration>,
    attempts: u32,
    pub(crate) busy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reads<T> {
    next_id: u64,
    reads: BTreeMap<u64, Read<T>>,
    deadlines: BTreeSet<(Duration, u64)>,
    dues: BTreeSet<(Duration, u64)>,
    unsent: BTreeSet<u64>,
}

impl<T> Reads<T> {
    pub(crate) fn new() -> Reads<T> {
        Reads {
            next_id: 1,
            reads: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            dues: BTreeSet::new(),
            unsent: BTreeSet::new(),
        }
    }

    pub(crate) fn begin(&mut self, ticket: T, key: Bytes, consistency: Consistency, deadline: Duration) {
        let id = self.next_id;
        self.next_id += 1;
        let read = Read { ticket, key, consistency, deadline, due: None, attempts: 0, busy: false };
        self.reads.insert(id, read);
        self.deadlines.insert((deadline, id));
        self.unsent.insert(id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    pub(crate) fn end(&mut self, id: u64) -> Option<Read<T>> {
        let read = self.reads.remove(&id)?;
        self.deadlines.remove(&(read.deadline, id));
        self.unsent.remove(&id);
        if let Some(due) = read.due {
            self.dues.remove(&(due, id));
        }
        Some(read)
    }

    /// Ends and returns a read whose deadline has come.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<Read<T>> {
        let (_, id) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.end(id)
    }

    /// The learner has too much to do.
    pub(crate) fn busy(&mut self, id: u64, retry: Duration, now: Duration, random: &mut Random) {
        let Some(read) = self.reads.get_mut(&id) else { return };
        read.busy = true;
        let due = now + random.between(retry, retry * 2);
        if let Some(before) = read.due.replace(due) {
            self.dues.remove(&(before, id));
        }
        self.unsent.remove(&id);
        self.dues.insert((due, id));
    }

    /// The learner was left: all are sent again, to another.
    pub(crate) fn send_all_again(&mut self) {
        self.dues.clear();
        for (id, read) in &mut self.reads {
            read.due = None;
            self.unsent.insert(*id);
        }
    }

    /// Those unanswered for too long are sent again.
    pub(crate) fn send_due_again(&mut self, now: Duration) {
        while let Some((due, id)) = self.dues.first().copied().filter(|(due, _)| *due <= now) {
            self.dues.remove(&(due, id));
            if let Some(read) = self.reads.get_mut(&id) {
                read.due = None;
                self.unsent.insert(id);
            }
        }
    }

    /// Takes reads that wait to be sent, as many as fit one message.
    pub(crate) fn take_unsent(&mut self, now: Duration, random: &mut Random) -> Vec<WireRead> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < READS && bytes < KEY_BYTES {
            let Some(id) = self.unsent.pop_first() else { break };
            let Some(read) = self.reads.get_mut(&id) else { continue };
            let delay = random.around(RESEND.saturating_mul(1 << read.attempts.min(16)).min(RESEND_MOST));
            read.attempts += 1;
            read.due = Some(now + delay);
            self.dues.insert((now + delay, id));
            bytes += read.key.len();
            taken.push(WireRead { id, key: read.key.clone(), consistency: read.consistency });
        }
        taken
    }

    /// When a deadline comes, or a read is sent again.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let times = [self.deadlines.first(), self.dues.first()];
        times.into_iter().flatten().map(|(time, _)| *time).min()
    }
}
