//! Random histories: of a true execution, with a change, and of nothing at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::{Call, History, Operation, Outcome, Reply};

/// How a true execution is drawn.
struct Shape {
    operations: usize,
    keys: u32,
    /// Distinct values; without, each put has a value of its own.
    values: Option<u32>,
    /// Calls under way at a time, about.
    overlap: u64,
    /// In 1000.
    unknown: u32,
    failed: u32,
}

/// A true execution: each call takes effect at one moment between its call and its answer, one after another; writes fill slots in
/// that order.
fn execute(rng: &mut StdRng, shape: &Shape) -> History {
    let mut history = History::new();
    let mut map: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let mut slot = 1;
    let mut was_read = false;
    let spread = 10 * shape.overlap;
    for number in 0..shape.operations {
        let moment = spread + 10 * number as u64;
        let key = Bytes::from(format!("k{}", rng.random_range(0..shape.keys)));
        let value = shape.values.map_or(number as u32, |values| rng.random_range(0..values));
        let call = match rng.random_range(0..5) {
            0 | 1 => Call::Put(format!("v{value}").into()),
            2 => Call::Delete,
            _ => Call::Get,
        };
        let id = history.call(
            rng.random_range(1..9),
            key.clone(),
            call.clone(),
            moment - rng.random_range(0..spread),
        );
        // One in 500 is stalled while many others come and go.
        let stall = if rng.random_range(0..500) == 0 { 200 } else { 1 };
        let answered_at = moment + rng.random_range(1..spread * stall);
        let fate = rng.random_range(0..1000);
        if fate < shape.failed {
            history.failed(id, answered_at);
            continue;
        }
        let unknown = fate < shape.failed + shape.unknown;
        if unknown && rng.random() {
            history.unknown(id, answered_at);
            continue;
        }
        if call != Call::Get && (was_read || rng.random_range(0..3) > 0) {
            (slot, was_read) = (slot + 1, false);
        }
        let reply = match call {
            Call::Put(value) => {
                map.insert(key, value);
                Reply::Put
            }
            Call::Delete => Reply::Deleted { existed: map.remove(&key).is_some() },
            Call::Get => {
                was_read = true;
                Reply::Found(map.get(&key).cloned())
            }
        };
        if !unknown {
            history.ok(id, reply, Some(slot), answered_at);
        } else if rng.random() {
            // The client gave up some time before or after it took effect; or waits still.
            history.unknown(id, answered_at + spread - rng.random_range(0..spread));
        }
    }
    history
}

/// A history of a true execution.
pub(super) fn of_true_execution(rng: &mut StdRng, operations: usize, keys: u32) -> History {
    let values = rng.random::<bool>().then_some(3);
    let overlap = rng.random_range(1..8);
    execute(rng, &Shape { operations, keys, values, overlap, unknown: 60, failed: 30 })
}

/// Many calls of eight clients at once.
pub(super) fn busy(rng: &mut StdRng, operations: usize, keys: u32, unknown: u32) -> History {
    execute(rng, &Shape { operations, keys, values: None, overlap: 8, unknown, failed: unknown })
}

/// Few calls on two keys; true, changed, or of nothing at all.
pub(super) fn tiny(rng: &mut StdRng) -> History {
    let operations = rng.random_range(2..7);
    let overlap = rng.random_range(1..4);
    let shape = Shape { operations, keys: 2, values: Some(2), overlap, unknown: 250, failed: 80 };
    let mut history = execute(rng, &shape);
    match rng.random_range(0..6) {
        0 => history,
        1 => changed(rng, &history),
        2 | 3 => {
            history = changed(rng, &history);
            changed(rng, &history)
        }
        _ => of_nothing(rng, operations),
    }
}

/// The history with one thing changed.
pub(super) fn changed(rng: &mut StdRng, history: &History) -> History {
    let mut operations = history.operations().to_vec();
    let (one, other) = (rng.random_range(0..operations.len()), rng.random_range(0..operations.len()));
    let values = operations.iter().filter_map(|operation| match &operation.call {
        Call::Put(value) => Some(value.clone()),
        Call::Delete | Call::Get => None,
    });
    let values: Vec<Bytes> = values.collect();
    let key = operations[other].key.clone();
    let operation = &mut operations[one];
    match rng.random_range(0..6) {
        0 => operation.key = key,
        1 => {
            let later = rng.random_range(0..100);
            operation.called_at += later;
            operation.returned_at = operation.returned_at.map(|at| at + later);
        }
        2 => operation.outcome = Outcome::Failed,
        3 => {
            if let Outcome::Ok { slot: Some(slot), .. } = &mut operation.outcome {
                *slot = slot.saturating_add_signed(rng.random_range(-2..3)).max(1);
            }
        }
        _ => match &mut operation.outcome {
            Outcome::Ok { reply: Reply::Found(value), .. } => *value = pick(rng, &values),
            Outcome::Ok { reply: Reply::Deleted { existed }, .. } => *existed = !*existed,
            Outcome::Ok { reply: Reply::Put, .. } | Outcome::Failed | Outcome::Unknown => {
                operation.outcome = Outcome::Unknown;
            }
        },
    }
    again(operations)
}

fn pick(rng: &mut StdRng, values: &[Bytes]) -> Option<Bytes> {
    let at = rng.random_range(0..=values.len());
    values.get(at).cloned()
}

/// A history of these calls.
fn again(operations: Vec<Operation>) -> History {
    let mut history = History::new();
    for operation in operations {
        let Operation { client, key, call, called_at, returned_at, outcome } = operation;
        let id = history.call(client, key, call, called_at);
        match (outcome, returned_at) {
            (Outcome::Ok { reply, slot }, Some(at)) => history.ok(id, reply, slot, at),
            (Outcome::Failed, Some(at)) => history.failed(id, at),
            (Outcome::Unknown, Some(at)) => history.unknown(id, at),
            (_, None) => {}
        }
    }
    history
}

/// Calls and answers that come from no execution.
fn of_nothing(rng: &mut StdRng, operations: usize) -> History {
    let mut history = History::new();
    let value = |rng: &mut StdRng| Bytes::from(format!("v{}", rng.next_u32() % 2));
    for _ in 0..operations {
        let key = if rng.random_range(0..5) == 0 { "b" } else { "a" };
        let called_at = rng.random_range(0..20);
        let at = called_at + rng.random_range(0..6);
        let (call, reply) = match rng.random_range(0..4) {
            0 | 1 => (Call::Put(value(rng)), Reply::Put),
            2 => (Call::Delete, Reply::Deleted { existed: rng.random() }),
            _ => (Call::Get, Reply::Found(rng.random::<bool>().then(|| value(rng)))),
        };
        let id = history.call(1, key, call, called_at);
        match rng.random_range(0..6) {
            0 => history.unknown(id, at),
            1 if rng.random() => history.failed(id, at),
            _ => history.ok(id, reply, Some(called_at / 4 + rng.random_range(1..3)), at),
        }
    }
    history
}
