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
        let mut over: Vec<(Duration, u64)> = self
            .all()
            .filter(|(_, read)| read.deadline <= now)
            .map(|(id, read)| (read.deadline, id))
            .collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn sent(reads: &mut Reads<u64>, now: Duration, random: &mut Random) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(message) = reads.take_unsent(now, random) {
            all.extend(message.iter().map(|read| read.id));
        }
        all
    }

    /// What is kept, beside what the reads themselves take.
    fn kept(reads: &Reads<u64>) -> usize {
        reads.reads.len() + reads.unsent.len() + reads.slow.len()
    }

    /// Reads, ends and waits at random beside a plain account of what should be there.
    #[test]
    fn i14_reads_are_sent_again_and_expire_as_if_each_had_a_timer_whatever_others_do() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut draw = Random::new(seed + 1_000);
            let (mut reads, mut now) = (Reads::new(), Duration::ZERO);
            // By id: deadline, and when it was last sent.
            let mut account: BTreeMap<u64, (Duration, Option<Duration>)> = BTreeMap::new();
            for ticket in 1..3_000 {
                let deadline = now + MS * (1 + draw.below(if ticket % 50 == 0 { 4_000 } else { 40 }) as u32);
                reads.begin(ticket, Bytes::from_static(b"k"), Consistency::Linearizable, deadline);
                account.insert(ticket, (deadline, None));
                if draw.below(3) == 0 {
                    now += MS * draw.below(4) as u32;
                }
                let over: Vec<u64> = reads.expire(now).into_iter().map(|read| read.ticket).collect();
                let mut due: Vec<_> = account
                    .iter()
                    .filter(|(_, (at, _))| *at <= now)
                    .map(|(id, (at, _))| (*at, *id))
                    .collect();
                due.sort_unstable();
                assert_eq!(over, due.iter().map(|(_, id)| *id).collect::<Vec<_>>(), "seed {seed}");
                account.retain(|id, _| !over.contains(id));
                reads.send_due_again(now);
                for id in sent(&mut reads, now, &mut random) {
                    let before = account.get_mut(&id).unwrap().1.replace(now);
                    let early = before.is_some_and(|before| now < before + RESEND * 3 / 4);
                    assert!(!early, "seed {seed}: {id} was sent at {before:?} and {now:?}");
                }
                for (id, (_, last)) in &account {
                    let last = last.expect("all are sent at once");
                    assert!(
                        now <= last + RESEND * 10,
                        "seed {seed}: {id} waits since {last:?}, it is {now:?}"
                    );
                }
                let wake = reads.next_wake();
                assert!(wake.is_none_or(|wake| wake > now), "seed {seed}: {wake:?} is past at {now:?}");
                let first = account.values().map(|(deadline, _)| *deadline).min();
                assert!(wake <= first || first.is_none(), "seed {seed}: sleeps past {first:?}");
                for id in ticket.saturating_sub(2)..=ticket {
                    if draw.below(4) > 0 {
                        assert_eq!(reads.end(id).is_some(), account.remove(&id).is_some(), "seed {seed}");
                    }
                }
                assert_eq!((reads.count, reads.is_empty()), (account.len(), account.is_empty()));
                assert!(kept(&reads) <= HOLES + 1 + 5 * account.len(), "seed {seed}: {}", kept(&reads));
            }
        }
    }

    /// One read that nobody answers makes a thousand others a second no dearer.
    #[test]
    fn i14_a_slow_read_keeps_no_places_of_those_that_came_after_it() {
        let (mut reads, mut random) = (Reads::new(), Random::new(1));
        reads.begin(1, Bytes::new(), Consistency::Linearizable, MS * 5_000);
        for id in 2..10_000 {
            reads.begin(id, Bytes::new(), Consistency::Linearizable, MS * 5_000);
            sent(&mut reads, MS, &mut random);
            assert_eq!(reads.end(id).map(|read| read.ticket), Some(id));
        }
        assert!(kept(&reads) <= HOLES + 3, "{}", kept(&reads));
        assert_eq!(reads.end(1).map(|read| read.ticket), Some(1));
        assert!(reads.is_empty() && reads.next_wake().is_none());
    }

    #[test]
    fn all_are_sent_again_in_order_and_once_when_a_learner_is_left() {
        let (mut reads, mut random) = (Reads::new(), Random::new(1));
        (1..=5).for_each(|id| reads.begin(id, Bytes::new(), Consistency::Linearizable, MS * 5_000));
        assert_eq!(sent(&mut reads, MS, &mut random), [1, 2, 3, 4, 5]);
        reads.begin(6, Bytes::new(), Consistency::Linearizable, MS * 5_000);
        reads.busy(2, MS * 50, MS, &mut random);
        reads.end(3);
        reads.send_all_again();
        assert_eq!(sent(&mut reads, MS, &mut random), [1, 2, 4, 5, 6]);
        assert_eq!(sent(&mut reads, MS, &mut random), [0; 0]);
    }
}
