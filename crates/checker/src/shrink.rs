//! From the many calls of a key that can't be explained, to the few that show it.
//!
//! What is known is taken away as long as the rest can't be explained either, in ways that never make sound calls look wrong: a get is
//! dropped, and an answered write is treated as one of unknown outcome. What is left would be wrong whatever the others did.

use crate::keys::{Effect, Item, Moment};
use crate::order::{Found, find_order};

/// Partial orders for one attempt, and attempts.
const BOUND: usize = 20_000;
const ATTEMPTS: usize = 2_000;

/// The items that show it, of items that can't be explained.
pub(crate) fn shrink(items: &[Item]) -> Vec<Item> {
    let early = earliest(items);
    let mut needed: Vec<bool> = early.iter().map(|item| item.end.is_some()).collect();
    let mut attempts = ATTEMPTS;
    let mut size = early.len();
    while size > 0 {
        let places: Vec<usize> = (0..early.len()).filter(|place| needed[*place]).collect();
        for chunk in places.chunks(size) {
            let mut fewer = needed.clone();
            chunk.iter().for_each(|place| fewer[*place] = false);
            attempts = attempts.saturating_sub(1);
            if attempts > 0 && is_wrong(&weaker(&early, &fewer)) {
                needed = fewer;
            }
        }
        size /= 2;
    }
    early.into_iter().zip(needed).filter_map(|(item, needed)| needed.then_some(item)).collect()
}

/// What was known at the first moment at which it could be known that it is wrong.
fn earliest(items: &[Item]) -> Vec<Item> {
    let mut ends: Vec<Moment> = items.iter().filter_map(|item| item.end).collect();
    ends.sort_unstable();
    ends.dedup();
    let until = |end: Moment| {
        let begun: Vec<Item> = items.iter().filter(|item| item.start <= end).copied().collect();
        let ended: Vec<bool> = begun.iter().map(|item| item.end.is_some_and(|own| own <= end)).collect();
        weaker(&begun, &ended)
    };
    // Whoever is wrong stays wrong, so the first such moment is found by halving.
    let wrong = ends.partition_point(|end| !is_wrong(&until(*end)));
    ends.get(wrong).map_or_else(|| items.to_vec(), |end| until(*end))
}

/// The items of which only some are known to have taken effect.
fn weaker(items: &[Item], needed: &[bool]) -> Vec<Item> {
    let weaken = |(item, needed): (&Item, &bool)| match item.effect {
        _ if *needed => Some(*item),
        Effect::Get(_) => None,
        Effect::Put(_) | Effect::Delete(_) => Some(Item { end: None, ..*item }),
    };
    items.iter().zip(needed).filter_map(weaken).collect()
}

fn is_wrong(items: &[Item]) -> bool {
    find_order(items, &mut 0, BOUND) == Found::Nothing
}
