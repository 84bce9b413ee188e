//! Reads: sent to one learner, sent again to it or another until answered. They change nothing, so they never end as unknown.
//!
//! A read that is answered soon, as nearly all are, costs a place in a queue and nothing else: it is found by its number, and times are looked
//! through only when the earliest of them may have come, which it has for reads that are slow.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use synod_protocol::message::{Consistency, Read as WireRead, Reads as WireReads, ReadsBuilder};

use super::random::Random;

/// A read unanswered for this long is sent again; doubles.
const RESEND: Duration = Duration::from_millis(300);
/// So often.
const DOUBLED: u32 = 3;
/// Reads in one message, at most; keys are short, so that it always fits a frame.
const READS: usize = 1_024;
/// Bytes of keys in one message, at most.
const KEY_BYTES: usize = 1 << 20;
/// Places of ended reads that may lie between others, beside as many as there are reads.
const HOLES: usize = 1_024;

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
    /// The read `first`, `first + 1`, ...; absent where it has ended. The front is never absent.
    reads: VecDeque<Option<Read<T>>>,
    first: u64,
    /// Reads before `first`: they last so long that their places in the queue are given up.
    slow: BTreeMap<u64, Read<T>>,
    count: usize,
    /// To be sent, in order; some may have ended, or been put off.
    unsent: VecDeque<u64>,
    /// No deadline is earlier.
    earliest_deadline: Option<Duration>,
    /// None is sent again earlier.
    earliest_due: Option<Duration>,
}

impl<T> Reads<T> {
    pub(crate) fn new() -> Reads<T> {
        Reads {
            reads: VecDeque::new(),
            first: 1,
            slow: BTreeMap::new(),
            count: 0,
            unsent: VecDeque::new(),
            earliest_deadline: None,
            earliest_due: None,
        }
    }

    pub(crate) fn begin(&mut self, ticket: T, key: Bytes, consistency: Consistency, deadline: Duration) {
        let id = self.first + self.reads.len() as u64;
        let read = Read { ticket, key, consistency, deadline, due: None, attempts: 0, busy: false };
        self.reads.push_back(Some(read));
        self.count += 1;
        self.unsent.push_back(id);
        bring_forward(&mut self.earliest_deadline, deadline);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn place(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first)?).ok()
    }

    fn get_mut(&mut self, id: u64) -> Option<&mut Read<T>> {
        match self.place(id) {
            Some(place) => self.reads.get_mut(place)?.as_mut(),
            None => self.slow.get_mut(&id),
        }
    }

    pub(crate) fn end(&mut self, id: u64) -> Option<Read<T>> {
        let read = match self.place(id) {
            Some(place) => self.reads.get_mut(place)?.take()?,
            None => self.slow.remove(&id)?,
        };
        self.count -= 1;
        self.give_up_places();
        Some(read)
    }

    /// Whatever one read waits for, what is kept of those that have ended stays in proportion to those that haven't (I14).
    fn give_up_places(&mut self) {
        while let Some(front) = self.reads.front() {
            if front.is_some() && self.reads.len() <= HOLES + 2 * self.count {
                break;
            }
            if let Some(read) = self.reads.pop_front().flatten() {
                self.slow.insert(self.first, read);
            }
            self.first += 1;
        }
        if self.count == 0 {
            self.unsent.clear();
            (self.earliest_deadline, self.earliest_due) = (None, None);
        }
    }

    fn all(&self) -> impl Iterator<Item = (u64, &Read<T>)> {
        let queued = (self.first..).zip(&self.reads).filter_map(|(id, read)| Some((id, read.as_ref()?)));
        self.slow.iter().map(|(id, read)| (*id, read)).chain(queued)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = (u64, &mut Read<T>)> {
        let queued = (self.first..).zip(&mut self.reads).filter_map(|(id, read)| Some((id, read.as_mut()?)));
        self.slow.iter_mut().map(|(id, read)| (*id, read)).chain(queued)
    }

    /// Ends and returns the reads whose deadline has come, earliest first.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Read<T>> {
        if self.earliest_deadline.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let mut over: Vec<(Duration, u64)> =
            self.all().filter(|(_, read)| read.deadline <= now).map(|(id, read)| (read.deadline, id)).collect();
        over.sort_unstable();
        let ended = over.into_iter().filter_map(|(_, id)| self.end(id)).collect();
        self.earliest_deadline = self.all().map(|(_, read)| read.deadline).min();
        ended
    }

    /// The learner has too much to do.
    pub(crate) fn busy(&mut self, id: u64, retry: Duration, now: Duration, random: &mut Random) {
        let Some(read) = self.get_mut(id) else { return };
        read.busy = true;
        let due = now + random.between(retry, retry * 2);
        read.due = Some(due);
        bring_forward(&mut self.earliest_due, due);
    }

    /// The learner was left: all are sent again, to another.
    pub(crate) fn send_all_again(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.clear();
        unsent.extend(self.all_mut().map(|(id, read)| {
            read.due = None;
            id
        }));
        self.unsent = unsent;
        self.earliest_due = None;
    }

    /// Those unanswered for too long are sent again.
    pub(crate) fn send_due_again(&mut self, now: Duration) {
        if self.earliest_due.is_none_or(|earliest| earliest > now) {
            return;
        }
        let (mut unsent, mut earliest) = (std::mem::take(&mut self.unsent), None);
        for (id, read) in self.all_mut() {
            match read.due {
                Some(due) if due <= now => {
                    read.due = None;
                    unsent.push_back(id);
                }
                Some(due) => bring_forward(&mut earliest, due),
                None => {}
            }
        }
        (self.unsent, self.earliest_due) = (unsent, earliest);
    }

    /// Takes reads that wait to be sent, as many as fit one message.
    pub(crate) fn take_unsent(&mut self, now: Duration, random: &mut Random) -> Option<WireReads> {
        if self.unsent.is_empty() {
            return None;
        }
        let mut taken = ReadsBuilder::default();
        // One draw for all: they are asked at once, and what is to be spread is one client's asking against another's.
        let spread = random.around(RESEND);
        let mut unsent = std::mem::take(&mut self.unsent);
        let mut earliest = None;
        while taken.len() < READS && taken.key_bytes() < KEY_BYTES {
            let Some(id) = unsent.pop_front() else { break };
            // One that ended, or was put off, is here in vain.
            let Some(read) = self.get_mut(id).filter(|read| read.due.is_none()) else { continue };
            let delay = spread * (1 << read.attempts.min(DOUBLED));
            read.attempts += 1;
            read.due = Some(now + delay);
            bring_forward(&mut earliest, now + delay);
            taken.push(WireRead { id, key: &read.key, consistency: read.consistency });
        }
        self.unsent = unsent;
        if let Some(earliest) = earliest {
            bring_forward(&mut self.earliest_due, earliest);
        }
        (!taken.is_empty()).then(|| taken.finish())
    }

    /// When a deadline may come, or a read may be sent again.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        [self.earliest_deadline, self.earliest_due].into_iter().flatten().min()
    }
}

fn bring_forward(earliest: &mut Option<Duration>, time: Duration) {
    *earliest = Some(earliest.map_or(time, |earliest| earliest.min(time)));
}
