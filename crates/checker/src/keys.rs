//! A history, key by key: what remains of a call for those who look for an order.

use std::collections::HashMap;

use bytes::Bytes;

use crate::flaw::{self, Flaw};
use crate::history::{Call, History, Operation, Outcome, Reply};
use crate::verdict::Stats;

/// A moment: compared in this order. The search has times in it, the certificate first slots and then times.
pub(crate) type Moment = (u64, u64);

/// A value, numbered for one key.
pub(crate) type ValueId = u32;
/// No value.
pub(crate) const ABSENT: ValueId = 0;
/// Every value that no get found: they differ in nothing that was seen.
pub(crate) const UNSEEN: ValueId = 1;

/// What a call does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Sets it.
    Put(ValueId),
    /// Removes it; tells what was found, if that is known.
    Delete(Option<bool>),
    /// Reads it.
    Get(ValueId),
}

impl Effect {
    /// The value that a key has after it.
    pub(crate) fn leaves(self) -> ValueId {
        match self {
            Effect::Put(value) | Effect::Get(value) => value,
            Effect::Delete(_) => ABSENT,
        }
    }

    /// Whether its reply fits a key that has this value.
    pub(crate) fn fits(self, value: ValueId) -> bool {
        match self {
            Effect::Put(_) => true,
            Effect::Delete(existed) => existed.is_none_or(|existed| existed == (value != ABSENT)),
            Effect::Get(found) => found == value,
        }
    }
}

/// A call that took effect, or may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// It takes effect at this moment or later.
    pub(crate) start: Moment,
    /// It took effect at this moment or before; absent when it need not take effect at all.
    pub(crate) end: Option<Moment>,
    /// What it does.
    pub(crate) effect: Effect,
    /// Its number in the history.
    pub(crate) number: usize,
}

/// The calls of one key.
pub(crate) struct Key<'a> {
    pub(crate) key: &'a Bytes,
    /// Their numbers in the history.
    pub(crate) numbers: Vec<usize>,
    /// Values that gets found.
    values: HashMap<&'a Bytes, ValueId>,
}

impl Key<'_> {
    /// Its calls, but those without effect; `moments` tells the first and the last moment at which one may take effect.
    pub(crate) fn items(
        &self,
        history: &History,
        moments: impl Fn(usize, &Operation) -> (Moment, Moment),
    ) -> Vec<Item> {
        let item = |number: &usize| {
            let operation = &history.operations()[*number];
            let (effect, maybe) = self.effect(operation)?;
            let (start, end) = match moments(*number, operation) {
                _ if flaw::is(Flaw::IgnoresRealTime) => ((0, 0), (u64::MAX, u64::MAX)),
                moments => moments,
            };
            Some(Item { start, end: (!maybe).then_some(end), effect, number: *number })
        };
        self.numbers.iter().filter_map(item).collect()
    }

    /// What a call does, and whether it need not have happened; nothing for one that has no effect.
    fn effect(&self, operation: &Operation) -> Option<(Effect, bool)> {
        let maybe = match &operation.outcome {
            Outcome::Ok { reply, .. } => {
                return Some((self.effect_of(&operation.call, Some(reply)), false));
            }
            Outcome::Unknown => !flaw::is(Flaw::UnknownIsOk),
            Outcome::Failed if flaw::is(Flaw::FailedIsUnknown) => true,
            Outcome::Failed => return None,
        };
        match operation.call {
            Call::Get => None,
            _ if flaw::is(Flaw::UnknownNeverHappens) => None,
            Call::Put(_) | Call::Delete => Some((self.effect_of(&operation.call, None), maybe)),
        }
    }

    fn effect_of(&self, call: &Call, reply: Option<&Reply>) -> Effect {
        match (call, reply) {
            (Call::Put(value), _) => Effect::Put(self.values.get(value).copied().unwrap_or(UNSEEN)),
            (_, Some(Reply::Found(Some(value)))) => Effect::Get(self.values[value]),
            (_, Some(Reply::Found(None))) => Effect::Get(ABSENT),
            (_, Some(Reply::Deleted { existed })) if !flaw::is(Flaw::IgnoresExisted) => {
                Effect::Delete(Some(*existed))
            }
            (Call::Delete | Call::Get, _) => Effect::Delete(None),
        }
    }
}

/// The calls of each key, keys in the order of their first call.
pub(crate) fn split(history: &History) -> Vec<Key<'_>> {
    let mut found: HashMap<&Bytes, usize> = HashMap::new();
    let mut keys: Vec<Key<'_>> = Vec::new();
    for (number, operation) in history.operations().iter().enumerate() {
        let merged = flaw::is(Flaw::MergesKeys) && !keys.is_empty();
        let at = if merged { 0 } else { *found.entry(&operation.key).or_insert(keys.len()) };
        if at == keys.len() {
            keys.push(Key { key: &operation.key, numbers: Vec::new(), values: HashMap::new() });
        }
        let key = &mut keys[at];
        key.numbers.push(number);
        if let Outcome::Ok { reply: Reply::Found(Some(value)), .. } = &operation.outcome {
            let next = UNSEEN + 1 + key.values.len() as ValueId;
            key.values.entry(value).or_insert(next);
        }
    }
    keys
}

impl Stats {
    pub(crate) fn of(history: &History, keys: usize) -> Stats {
        let mut stats = Stats { keys, ..Stats::default() };
        for operation in history.operations() {
            match operation.outcome {
                Outcome::Ok { .. } => stats.ok += 1,
                Outcome::Failed => stats.failed += 1,
                Outcome::Unknown => stats.unknown += 1,
            }
        }
        stats
    }
}
