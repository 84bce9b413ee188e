//! From the many calls of a key that can't be explained, to the few that show it.
//!
//! What is known is taken away as long as the rest can't be explained either, in ways that never make sound calls look wrong: a get is
//! dropped, and an answered write is treated as one of unknown outcome. What is left would be wrong whatever the others did.

use crate::keys::{Effect, Item};
use crate::order::{Found, find_order};

/// Partial orders for one attempt, and attempts.
const BOUND: usize = 20_000;
const ATTEMPTS: usize = 2_000;

/// The items that show it, in the order given: `blocked` is the place of the first one in time that can't be explained.
pub(crate) fn shrink(items: &[Item], blocked: usize) -> Vec<Item> {
    let end = items[blocked].end;
    let early: Vec<Item> = items.iter().filter(|item| Some(item.start) <= end).copied().collect();
    let mut needed: Vec<bool> = early.iter().map(|item| item.end.is_some() && item.end <= end).collect();
    if !is_wrong(&early, &needed) {
        needed = early.iter().map(|item| item.end.is_some()).collect();
    }
    let mut attempts = ATTEMPTS;
    let mut size = early.len();
    while size > 0 {
        let places: Vec<usize> = (0..early.len()).filter(|place| needed[*place]).collect();
        for chunk in places.chunks(size) {
            let mut fewer = needed.clone();
            chunk.iter().for_each(|place| fewer[*place] = false);
            attempts = attempts.saturating_sub(1);
            if attempts > 0 && is_wrong(&early, &fewer) {
                needed = fewer;
            }
        }
        size /= 2;
    }
    early.into_iter().zip(needed).filter_map(|(item, needed)| needed.then_some(item)).collect()
}

/// Whether what is needed can't be explained, whatever becomes of the other writes.
fn is_wrong(items: &[Item], needed: &[bool]) -> bool {
    let weaker = items.iter().zip(needed).filter_map(|(item, needed)| match item.effect {
        _ if *needed => Some(*item),
        Effect::Get(_) => None,
        Effect::Put(_) | Effect::Delete(_) => Some(Item { end: None, ..*item }),
    });
    matches!(find_order(&weaker.collect::<Vec<_>>(), &mut 0, BOUND), Found::Nothing { .. })
}
