//! Looks for an order of one key's calls that explains every reply (Wing and Gong 1993, Lowe 2017).
//!
//! It takes one call after another whose moment has come, and goes back where that leads nowhere. What it may take next is decided by
//! the calls taken so far and the value they leave, so no such pair is tried twice. Four rules keep it from trying what
//! can't matter:
//!
//! 1. A reply that fits the value at hand and changes nothing is taken at once: it can't be in anybody's way.
//! 2. A call of unknown outcome is taken only right before one whose reply needs it. One that is overwritten unseen may as well
//!    come never.
//! 3. Calls of unknown outcome that leave the same value differ only in when they may come first: the earliest is taken.
//! 4. A value that is yet to be found is not given up when nothing is left that could bring it back.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::flaw::{self, Flaw};
use crate::keys::{ABSENT, Effect, Item, Moment, ValueId};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is such an order.
    Order,
    /// There is none.
    Nothing,
    /// The bound was reached.
    Exhausted,
}

/// Looks for an order. `steps` counts the partial orders, and stops at `bound`.
pub(crate) fn find_order(items: &[Item], steps: &mut usize, bound: usize) -> Found {
    let mut search = Search::new(items);
    let mut frames: Vec<Frame> = Vec::new();
    loop {
        if search.is_done() {
            return Found::Order;
        }
        if search.is_new() {
            *steps += 1;
            if *steps > bound {
                return Found::Exhausted;
            }
            frames.push(Frame { taken: search.taken.len(), moves: search.moves() });
        }
        loop {
            let Some(frame) = frames.last_mut() else {
                return Found::Nothing;
            };
            search.go_back_to(frame.taken);
            match frame.moves.pop() {
                Some(next) => break search.go(next),
                None => frames.pop(),
            };
        }
    }
}

/// A partial order from which several ways lead on.
struct Frame {
    /// How many were taken in it.
    taken: usize,
    /// Ways not tried yet, the best last.
    moves: Vec<Move>,
}

/// A call to be taken next, after one of unknown outcome where it needs that.
#[derive(Clone, Copy, Debug)]
struct Move {
    call: usize,
    maybe: Option<usize>,
}

/// What was taken, and the value before it.
enum Taken {
    Call(usize, ValueId),
    Maybe(usize, ValueId),
}

/// Calls of unknown outcome that leave the same value.
struct Class {
    value: ValueId,
    /// From when on each may come, in order.
    starts: Vec<Moment>,
}

struct Search<'a> {
    /// Calls that took effect, by start.
    calls: Vec<&'a Item>,
    /// The calls not taken, as a ring through `calls.len()`.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Bits of the calls taken.
    done: Vec<u64>,
    /// No call above it was ever taken.
    highest: usize,
    classes: Vec<Class>,
    class_of: HashMap<ValueId, usize>,
    /// How many of each class were taken.
    used: BTreeMap<usize, usize>,
    value: ValueId,
    /// Gets not taken, by what they found.
    awaited: Vec<usize>,
    /// What is not taken and leaves a value, by that value.
    sources: Vec<usize>,
    taken: Vec<Taken>,
    tried: HashSet<Box<[u64]>>,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Item]) -> Search<'a> {
        let mut calls: Vec<_> = items.iter().filter(|item| item.end.is_some()).collect();
        calls.sort_by_key(|item| (item.start, item.end));
        let count = calls.len();
        let values = items.iter().map(|item| item.effect.leaves() as usize + 1).max().unwrap_or(0);
        let mut search = Search {
            next: (1..=count).chain([0]).collect(),
            previous: [count].into_iter().chain(0..count).collect(),
            done: vec![0; count / 64 + 1],
            highest: 0,
            classes: Vec::new(),
            class_of: HashMap::new(),
            used: BTreeMap::new(),
            value: ABSENT,
            awaited: vec![0; values.max(1)],
            sources: vec![0; values.max(1)],
            taken: Vec::new(),
            tried: HashSet::new(),
            calls,
        };
        for item in items {
            search.count_in(item);
        }
        for class in &mut search.classes {
            class.starts.sort();
        }
        search.settle();
        search
    }

    fn count_in(&mut self, item: &Item) {
        let value = item.effect.leaves();
        if item.end.is_none() {
            let class = *self.class_of.entry(value).or_insert(self.classes.len());
            if class == self.classes.len() {
                self.classes.push(Class { value, starts: Vec::new() });
            }
            self.classes[class].starts.push(item.start);
        }
        match item.effect {
            Effect::Get(_) => self.awaited[value as usize] += 1,
            Effect::Put(_) | Effect::Delete(_) => self.sources[value as usize] += 1,
        }
    }

    fn is_done(&self) -> bool {
        self.next[self.calls.len()] == self.calls.len()
    }

    /// The calls that may come next, and the end before which one must.
    fn candidates(&self) -> (Vec<usize>, Moment) {
        let mut limit = (u64::MAX, u64::MAX);
        let mut found = Vec::new();
        let mut at = self.next[self.calls.len()];
        while at < self.calls.len() && self.calls[at].start <= limit {
            found.push(at);
            limit = limit.min(self.end_of(at));
            at = self.next[at];
        }
        // The limit fell on the way: those that start after it are called after somebody was answered.
        found.retain(|at| self.calls[*at].start <= limit);
        (found, limit)
    }

    fn end_of(&self, call: usize) -> Moment {
        self.calls[call].end.expect("calls are the items with an end")
    }

    /// The first of a class that isn't taken, if its moment has come (rule 3).
    fn available(&self, value: ValueId, limit: Moment) -> Option<usize> {
        let class = *self.class_of.get(&value)?;
        let used = if flaw::is(Flaw::UnknownHappensOften) { 0 } else { self.used_of(class) };
        let start = self.classes[class].starts.get(used)?;
        (*start <= limit).then_some(class)
    }

    fn used_of(&self, class: usize) -> usize {
        self.used.get(&class).copied().unwrap_or(0)
    }

    /// Ways that lead on, the best last.
    fn moves(&self) -> Vec<Move> {
        let (candidates, limit) = self.candidates();
        let mut moves = Vec::new();
        for call in candidates.iter().copied() {
            let effect = self.calls[call].effect;
            if effect.fits(self.value) {
                moves.push(Move { call, maybe: None });
                continue;
            }
            // Rule 2: what would make this reply fit.
            let needed: Vec<ValueId> = match effect {
                Effect::Get(value) => vec![value],
                Effect::Delete(Some(false)) => vec![ABSENT],
                Effect::Delete(_) => self.class_of.keys().copied().filter(|value| *value != ABSENT).collect(),
                Effect::Put(_) => Vec::new(),
            };
            let maybes = needed.into_iter().filter_map(|value| self.available(value, limit));
            moves.extend(maybes.map(|maybe| Move { call, maybe: Some(maybe) }));
        }
        moves.retain(|next| !self.gives_up_for_good(next));
        let urgent = candidates.into_iter().find(|call| self.end_of(*call) == limit);
        let wanted = urgent.map(|call| self.calls[call].effect.leaves());
        moves.sort_by_key(|next| {
            let brings = Some(self.calls[next.call].effect.leaves()) == wanted;
            let class = next.maybe.map(|class| (self.awaited[self.classes[class].value as usize], class));
            std::cmp::Reverse((class, !brings, self.end_of(next.call), next.call))
        });
        moves
    }

    /// Rule 4.
    fn gives_up_for_good(&self, next: &Move) -> bool {
        let given_up = self.value as usize;
        let leaves = self.calls[next.call].effect.leaves();
        leaves != self.value && self.awaited[given_up] > 0 && self.sources[given_up] == 0
    }

    fn go(&mut self, next: Move) {
        if let Some(class) = next.maybe {
            self.taken.push(Taken::Maybe(class, self.value));
            *self.used.entry(class).or_default() += 1;
            self.value = self.classes[class].value;
            self.sources[self.value as usize] -= usize::from(!flaw::is(Flaw::UnknownHappensOften));
        }
        self.take(next.call);
        self.settle();
    }

    fn take(&mut self, call: usize) {
        self.taken.push(Taken::Call(call, self.value));
        let (before, after) = (self.previous[call], self.next[call]);
        self.next[before] = after;
        self.previous[after] = before;
        self.done[call / 64] |= 1 << (call % 64);
        self.highest = self.highest.max(call);
        let effect = self.calls[call].effect;
        self.value = effect.leaves();
        match effect {
            Effect::Get(found) => self.awaited[found as usize] -= 1,
            Effect::Put(_) | Effect::Delete(_) => self.sources[self.value as usize] -= 1,
        }
    }

    /// Rule 1.
    fn settle(&mut self) {
        loop {
            let (mut candidates, _) = self.candidates();
            candidates.retain(|call| match self.calls[*call].effect {
                Effect::Get(found) => found == self.value,
                Effect::Delete(Some(false)) => self.value == ABSENT,
                Effect::Delete(_) | Effect::Put(_) => false,
            });
            if candidates.is_empty() {
                return;
            }
            for call in candidates {
                self.take(call);
            }
        }
    }

    fn go_back_to(&mut self, count: usize) {
        while self.taken.len() > count {
            match self.taken.pop() {
                Some(Taken::Call(call, value)) => {
                    match self.calls[call].effect {
                        Effect::Get(found) => self.awaited[found as usize] += 1,
                        Effect::Put(_) | Effect::Delete(_) => self.sources[self.value as usize] += 1,
                    }
                    self.next[self.previous[call]] = call;
                    self.previous[self.next[call]] = call;
                    self.done[call / 64] &= !(1 << (call % 64));
                    self.value = value;
                }
                Some(Taken::Maybe(class, value)) => {
                    self.sources[self.value as usize] += usize::from(!flaw::is(Flaw::UnknownHappensOften));
                    *self.used.entry(class).or_default() -= 1;
                    self.value = value;
                }
                None => unreachable!("more are taken than {count}"),
            }
        }
    }

    /// Whether nothing equal was tried: the calls taken, the value they leave, and what was taken of unknown outcome.
    fn is_new(&mut self) -> bool {
        let first = self.next[self.calls.len()];
        let value = if flaw::is(Flaw::MemoryForgetsValue) { 0 } else { self.value };
        let mut state = vec![(first as u64) << 32 | u64::from(value), 0];
        state.extend(&self.done[first / 64..=self.highest.max(first) / 64]);
        while state.len() > 2 && state.last() == Some(&0) {
            state.pop();
        }
        state[1] = state.len() as u64;
        if !flaw::is(Flaw::MemoryForgetsUnknown) {
            let used = self.used.iter().filter(|(_, used)| **used > 0);
            state.extend(used.map(|(class, used)| (*class as u64) << 32 | *used as u64));
        }
        self.tried.insert(state.into_boxed_slice())
    }
}
