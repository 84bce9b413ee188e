//! Says what is impossible, in a sentence and the fewest calls.

use crate::history::{Call, History, Operation, Outcome, Reply};
use crate::keys::{Effect, Item, Key};
use crate::shrink::shrink;
use crate::verdict::{Check, Rejected, Violation};

/// Writers of a value that are shown besides the calls that are wrong.
const MOST_WRITERS: usize = 4;

/// The order told by slots is wrong at the last of these calls.
pub(crate) fn wrong_order(window: &[&Operation], why: &str) -> Rejected {
    let last = window.last().expect("somebody is to blame");
    let mut violation = Violation {
        check: Check::Certificate,
        key: last.key.clone(),
        impossible: format!("{} {}, but {why}", last.asked(), last.came_to()),
        window: window.iter().map(|operation| (*operation).clone()).collect(),
        left_out: 0,
    };
    violation.window.sort_by_key(|operation| operation.called_at);
    Rejected::Violation(Box::new(violation))
}

/// No order explains the items of a key.
pub(crate) fn not_explained(check: Check, history: &History, key: &Key<'_>, items: &[Item]) -> Violation {
    let mut few = shrink(items);
    few.sort_by_key(|item| (item.end, item.start));
    let operations = history.operations();
    let of_key = || key.numbers.iter().map(|number| &operations[*number]);
    let observer = few.iter().rev().find(|item| !matches!(item.effect, Effect::Put(_)));
    let impossible = match observer {
        Some(observer) => {
            let operation = &operations[observer.number];
            let others: Vec<_> = few.iter().filter(|item| item.number != observer.number).collect();
            let why = why(check, operations, of_key(), observer, &others);
            format!("{} {}, but {why}", operation.asked(), operation.came_to())
        }
        None => "no order of these calls explains their replies".to_string(),
    };
    let window = window(history, key, &few);
    let left_out = key.numbers.len() - window.len();
    Violation { check, key: key.key.clone(), impossible, window, left_out }
}

/// The calls that show it, and the puts that might have explained what they found.
fn window(history: &History, key: &Key<'_>, few: &[Item]) -> Vec<Operation> {
    let operations = history.operations();
    let ended_at = |item: &Item| operations[item.number].returned_at;
    let last = few.iter().filter_map(ended_at).max().unwrap_or(u64::MAX);
    let mut window: Vec<usize> = few.iter().map(|item| item.number).collect();
    for item in few {
        let value = found(&operations[item.number]);
        let found_any = item.effect == Effect::Delete(Some(true));
        let explains = |number: &&usize| {
            let operation = &operations[**number];
            let any = found_any && operation.called_at <= last && matches!(operation.call, Call::Put(_));
            any || writes(operation, value)
        };
        window.extend(key.numbers.iter().rev().filter(explains).take(MOST_WRITERS));
    }
    window.sort_by_key(|number| (operations[*number].called_at, *number));
    window.dedup();
    window.into_iter().map(|number| operations[number].clone()).collect()
}

/// Why this get or delete is wrong, given the other calls that matter.
fn why<'a>(
    check: Check,
    operations: &[Operation],
    of_key: impl Iterator<Item = &'a Operation>,
    observer: &Item,
    others: &[&Item],
) -> String {
    let operation = &operations[observer.number];
    let value = found(operation);
    let comes_before = match check {
        Check::Search => "ended before it began",
        Check::Certificate => "comes before it",
    };
    let before = |a: &Item, b: &Item| a.end.is_some_and(|end| end < b.start);
    match others {
        [] => nobody_did(operation, of_key),
        [write] if before(write, observer) => {
            let undone = if value.is_some() { "nothing put that after it" } else { "nothing undid it" };
            format!("{} {comes_before}, and {undone}", operations[write.number].asked())
        }
        [first, second]
            if before(first, second)
                && before(second, observer)
                && (writes(&operations[first.number], value)
                    || found(&operations[first.number]) == value) =>
        {
            let (second, first) = (operations[second.number].asked(), operations[first.number].asked());
            format!("{second} {comes_before}, {first} before that, and nothing put it again")
        }
        _ => "no order of these calls explains it".to_string(),
    }
}

/// Why a reply can't be explained by any write at all.
fn nobody_did<'a>(operation: &Operation, of_key: impl Iterator<Item = &'a Operation>) -> String {
    let value = found(operation);
    let mut reasons = Vec::new();
    let any_put = |write: &Operation| value.is_none() && matches!(write.call, Call::Put(_));
    for write in of_key.filter(|write| writes(write, value) || any_put(write)) {
        let why = if write.outcome == Outcome::Failed { "failed for certain" } else { "came only later" };
        reasons.push(format!("{} {why}", write.asked()));
    }
    match reasons.as_slice() {
        [] => "nobody ever did what that takes".to_string(),
        few if few.len() <= MOST_WRITERS => few.join(" and "),
        many => format!("all {} writes that could explain it failed for certain or came later", many.len()),
    }
}

/// The value that a get found.
fn found(operation: &Operation) -> Option<&bytes::Bytes> {
    match &operation.outcome {
        Outcome::Ok { reply: Reply::Found(value), .. } => value.as_ref(),
        Outcome::Ok { reply: Reply::Put | Reply::Deleted { .. }, .. }
        | Outcome::Failed
        | Outcome::Unknown => None,
    }
}

/// Whether it is a put of this value.
fn writes(operation: &Operation, value: Option<&bytes::Bytes>) -> bool {
    matches!(&operation.call, Call::Put(put) if Some(put) == value)
}
