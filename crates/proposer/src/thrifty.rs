//! Thrifty Accepts: new slots go to one Phase-2 quorum at once, to the other acceptors a little later, many in one message.
//!
//! A vote costs an acceptor a wake-up and a synced write, however little it holds; what a quorum has voted on is chosen, so the others needn't pay
//! for each slot. They are the spares (the word "thrifty" is of Moraru et al., "There Is More Consensus in Egalitarian Parliaments",
//! 2013). Every slot still goes to every acceptor, whether or not it is chosen by then: an acceptor that hangs costs the slots that wait for
//! it `thrifty_ms`, and then a spare takes its place; one whose connection closes is replaced at once. Decides only when an Accept is sent, on
//! which no safety rule depends. Pure state: what to send comes back as data.

use std::collections::BTreeMap;

use synod_protocol::tuning::Tuning;
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, QuorumSystem, Slot};

/// What is kept back, from spares or from learners that nobody waits for, goes out when it comes to so many full batches: more would make them work
/// in bursts, in which all others wait.
pub(crate) const LATE_BATCHES: u64 = 2;

/// Who is asked at once, and what the spares haven't been sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Thrifty {
    /// All acceptors; those that are asked at once come first.
    order: Vec<AcceptorId>,
    /// How many of them are.
    at_once: usize,
    /// Of each acceptor, if there are spares.
    progress: BTreeMap<AcceptorId, Progress>,
    /// The highest slot of all.
    opened: Slot,
    deferred: Vec<Entry>,
    deferred_bytes: u64,
    /// The chosen prefix that the others were told with the last of that.
    told: Slot,
}

/// How an acceptor keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Progress {
    /// The highest slot that it was sent before the round before this one: by now it should have voted.
    due: Slot,
    /// The highest slot that it was sent before this round.
    sent: Slot,
    /// The highest slot that it has voted on.
    voted: Slot,
    /// Its connection has closed, and no other has come up.
    is_gone: bool,
}

impl Progress {
    fn is_late(&self) -> bool {
        self.is_gone || self.voted < self.due
    }
}

/// What the spares are to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// Whom.
    pub spares: Vec<AcceptorId>,
    /// What they lack.
    pub entries: Vec<Entry>,
    /// The chosen prefix that all acceptors have been told, once that is sent.
    pub told: Slot,
}

impl Thrifty {
    /// Nothing sent yet.
    pub fn new(quorums: &QuorumSystem, tuning: &Tuning) -> Thrifty {
        let order: Vec<_> = quorums.acceptors().collect();
        let at_once = if tuning.thrifty_ms == 0 { order.len() } else { quorums.phase2() };
        let ranked = order.iter().filter(|_| at_once < order.len());
        Thrifty {
            progress: ranked.map(|acceptor| (*acceptor, Progress::default())).collect(),
            order,
            at_once,
            opened: Slot::ZERO,
            deferred: Vec::new(),
            deferred_bytes: 0,
            told: Slot::ZERO,
        }
    }

    /// Takes in what is sent, with the chosen prefix told with it; returns whom it is sent at once. The others need it later, unless there are none.
    pub fn ask(&mut self, entries: &[Entry], told: Slot) -> Vec<AcceptorId> {
        let (asked, spares) = self.order.split_at(self.at_once);
        if !spares.is_empty() {
            self.told = told;
            self.opened = entries.last().map_or(self.opened, |entry| entry.slot);
            self.deferred.extend_from_slice(entries);
            self.deferred_bytes += entries.iter().map(|entry| entry.value.len() as u64).sum::<u64>();
        }
        asked.to_vec()
    }

    /// Whether the spares lack anything.
    pub fn is_behind(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Whether they lack as much as one message should hold.
    pub fn is_full(&self, tuning: &Tuning) -> bool {
        self.deferred_bytes >= LATE_BATCHES * tuning.batch_bytes
    }

    /// An acceptor has voted on a slot.
    pub fn note_vote(&mut self, from: AcceptorId, slot: Slot) {
        if let Some(progress) = self.progress.get_mut(&from) {
            progress.voted = progress.voted.max(slot);
        }
    }

    /// The connection to an acceptor has come up, or closed: then the spares are needed.
    pub fn note_link(&mut self, acceptor: AcceptorId, up: bool) {
        if let Some(progress) = self.progress.get_mut(&acceptor) {
            progress.is_gone = !up;
        }
    }

    /// What the spares are to be sent now. The places of acceptors that don't keep up, among those asked at once, go to spares that do.
    pub fn take(&mut self) -> Deferred {
        let spares = self.order[self.at_once..].to_vec();
        for place in 0..self.at_once {
            let is_late = |acceptor: &AcceptorId| self.progress.get(acceptor).is_some_and(Progress::is_late);
            let mut places = self.at_once..self.order.len();
            if is_late(&self.order[place])
                && let Some(spare) = places.find(|spare| !is_late(&self.order[*spare]))
            {
                self.order.swap(place, spare);
                // Its own turn comes last.
                self.order[spare..].rotate_left(1);
            }
        }
        self.deferred_bytes = 0;
        Deferred { spares, entries: std::mem::take(&mut self.deferred), told: self.told }
    }

    /// `thrifty_ms` have passed since the last round: whoever hasn't voted on what it was sent before that is late.
    pub fn next_round(&mut self) {
        for progress in self.progress.values_mut() {
            (progress.due, progress.sent) = (progress.sent, self.opened);
        }
    }
}
