//! Linearizability by its definition: every order of every subset of the calls of unknown outcome, all keys together.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Call, History, Operation, Outcome, Reply};

pub(super) fn is_linearizable(history: &History) -> bool {
    Trial { operations: history.operations(), by_slots: false }.go(&mut Vec::new(), &BTreeMap::new(), 0)
}

/// As [`is_linearizable`], by an order that slots tell: writes of slot 1, gets at slot 1, writes of slot 2, ...; a call of unknown
/// outcome takes effect among the writes of any slot.
pub(super) fn is_certified(history: &History) -> bool {
    Trial { operations: history.operations(), by_slots: true }.go(&mut Vec::new(), &BTreeMap::new(), 0)
}

struct Trial<'a> {
    operations: &'a [Operation],
    by_slots: bool,
}

type Map = BTreeMap<Bytes, Bytes>;

impl Trial<'_> {
    fn go(&self, order: &mut Vec<usize>, map: &Map, place: u64) -> bool {
        let rest: Vec<usize> = (0..self.operations.len()).filter(|number| !order.contains(number)).collect();
        if rest.iter().all(|number| !self.operations[*number].is_ok()) {
            return true;
        }
        rest.iter().any(|number| {
            let operation = &self.operations[*number];
            let after_somebody = rest
                .iter()
                .map(|other| &self.operations[*other])
                .any(|other| other.is_ok() && other.returned_at.is_some_and(|at| at < operation.called_at));
            let own = match (operation.slot(), &operation.call) {
                (Some(slot), Call::Get) => 2 * slot + 1,
                (Some(slot), Call::Put(_) | Call::Delete) => 2 * slot,
                (None, _) => place.next_multiple_of(2),
            };
            if after_somebody || operation.outcome == Outcome::Failed || self.by_slots && own < place {
                return false;
            }
            let Some(map) = after(operation, map) else { return false };
            order.push(*number);
            let explained = self.go(order, &map, own);
            order.pop();
            explained
        })
    }
}

/// The map after a call, if its reply fits.
fn after(operation: &Operation, map: &Map) -> Option<Map> {
    let mut map = map.clone();
    let before = map.get(&operation.key).cloned();
    match &operation.call {
        Call::Put(value) => {
            map.insert(operation.key.clone(), value.clone());
        }
        Call::Delete => {
            map.remove(&operation.key);
        }
        Call::Get => {}
    }
    let fits = match &operation.outcome {
        Outcome::Ok { reply: Reply::Put, .. } | Outcome::Unknown => true,
        Outcome::Ok { reply: Reply::Deleted { existed }, .. } => *existed == before.is_some(),
        Outcome::Ok { reply: Reply::Found(value), .. } => *value == before,
        Outcome::Failed => false,
    };
    fits.then_some(map)
}
