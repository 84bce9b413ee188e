//! The search that trusts nobody: calls, replies and times alone.

use crate::explain::not_explained;
use crate::history::History;
use crate::keys::{Item, Key, split};
use crate::order::{Found, find_order};
use crate::verdict::{Check, Exhausted, Rejected, Stats};

/// Partial orders that [`search`] tries before it gives up; each takes about a hundred bytes.
pub const DEFAULT_BOUND: usize = 4_000_000;

/// Whether some order of the calls explains every reply and keeps to real time.
pub fn search(history: &History) -> Result<Stats, Rejected> {
    search_within(history, DEFAULT_BOUND)
}

/// As [`search`]; gives up after `bound` partial orders, all keys together.
pub fn search_within(history: &History, bound: usize) -> Result<Stats, Rejected> {
    let keys = split(history);
    let mut stats = Stats::of(history, keys.len());
    for key in &keys {
        let items = key.items(history, |_, operation| {
            ((operation.called_at, 0), (operation.returned_at.unwrap_or(u64::MAX), 0))
        });
        decide(Check::Search, history, key, &items, (&mut stats, bound))?;
    }
    Ok(stats)
}

/// Whether some order of these items explains them.
pub(crate) fn decide(
    check: Check,
    history: &History,
    key: &Key<'_>,
    items: &[Item],
    (stats, bound): (&mut Stats, usize),
) -> Result<(), Rejected> {
    match find_order(items, &mut stats.steps, bound) {
        Found::Order => Ok(()),
        Found::Nothing => {
            let violation = not_explained(check, history, key, items);
            Err(Rejected::Violation(Box::new(violation)))
        }
        Found::Exhausted => {
            Err(Rejected::Exhausted(Exhausted { check, key: key.key.clone(), steps: stats.steps }))
        }
    }
}
