//! The check that believes the slots which replies carry: is the order they tell one that explains everything?
//!
//! 1. The order keeps to real time, across keys: whoever was answered before another called does not come after it. A write has
//!    the place of its slot; a get comes after the writes of the slot at which it was answered, and before those of the next.
//! 2. Gets of one key at one slot found the same.
//! 3. Each key is replayed in that order. Writes of one slot are told apart by when they were called. Where that explains every reply,
//!    which is the usual case, nothing is left to do.
//! 4. Otherwise the key is given to the search (`order`) with the slots as moments and real time only between writes of one
//!    slot, whose places inside it replies don't tell. It also places calls of unknown outcome, which carry no slot: such
//!    a write comes no earlier than what was answered before it was called, and never between two gets of one slot.

use std::collections::BTreeMap;

use crate::explain::wrong_order;
use crate::flaw::{self, Flaw};
use crate::history::{Call, History, Operation};
use crate::keys::{ABSENT, Effect, Item, Key, split};
use crate::search::{DEFAULT_BOUND, decide};
use crate::verdict::{Check, Rejected, Stats};

/// Whether the order that replies tell by their slots explains every reply and keeps to real time.
///
/// Every call that was answered must carry its slot.
pub fn certificate(history: &History) -> Result<Stats, Rejected> {
    let places = places(history)?;
    let floors = keeps_to_real_time(history, &places)?;
    let keys = split(history);
    let mut stats = Stats::of(history, keys.len());
    for key in &keys {
        let items = key.items(history, |number, operation| match places[number] {
            Some(place) if operation.call == Call::Get => ((place, 0), (place, u64::MAX)),
            Some(place) => ((place, operation.called_at), (place, operation.returned_at.unwrap_or(u64::MAX))),
            None => ((floors[number], operation.called_at), (u64::MAX, u64::MAX)),
        });
        let items = one_get_a_slot(history, key, items)?;
        if !replays(&items) {
            decide(Check::Certificate, history, key, &items, (&mut stats, DEFAULT_BOUND))?;
        }
    }
    Ok(stats)
}

/// The place of each call that was answered: writes of slot 1, gets at slot 1, writes of slot 2, ...
fn places(history: &History) -> Result<Vec<Option<u64>>, Rejected> {
    let place = |operation: &Operation| match (operation.is_ok(), operation.slot()) {
        (true, None) => Err(wrong_order(&[operation], "it was answered without a slot")),
        (true, Some(slot)) if operation.call != Call::Get => Ok(Some(slot.saturating_mul(2))),
        (true, Some(slot)) if flaw::is(Flaw::ReadsComeFirst) => {
            Ok(Some(slot.saturating_mul(2).saturating_sub(1)))
        }
        (true, Some(slot)) => Ok(Some(slot.saturating_mul(2).saturating_add(1))),
        (false, _) => Ok(None),
    };
    history.operations().iter().map(place).collect()
}

/// Checks the order against real time; tells for each call the lowest place at which a write may come that was called then.
fn keeps_to_real_time(history: &History, places: &[Option<u64>]) -> Result<Vec<u64>, Rejected> {
    let operations = history.operations();
    // At one moment, calls come before answers: two calls that only touch overlap.
    let mut events = Vec::with_capacity(2 * operations.len());
    for (number, operation) in operations.iter().enumerate() {
        events.push((operation.called_at, false, number));
        if let (Some(returned_at), true) = (operation.returned_at, operation.is_ok()) {
            events.push((returned_at, true, number));
        }
    }
    events.sort_unstable();
    let mut floors = vec![0; operations.len()];
    let mut highest: Option<(u64, usize)> = None;
    for (_, answered, number) in events {
        if answered {
            highest = highest.max(places[number].map(|place| (place, number)));
            continue;
        }
        let Some((place, before)) = highest else { continue };
        floors[number] = place.next_multiple_of(2);
        let late = places[number].is_some_and(|own| own < place);
        if late && !flaw::is(Flaw::SlotsIgnoreRealTime) && !flaw::is(Flaw::IgnoresRealTime) {
            let pair = [&operations[before], &operations[number]];
            return Err(wrong_order(&pair, "it comes before a call that was answered before it began"));
        }
    }
    Ok(floors)
}

/// One get for each slot at which the key was read; all of that slot must have found the same.
fn one_get_a_slot(history: &History, key: &Key<'_>, items: Vec<Item>) -> Result<Vec<Item>, Rejected> {
    let mut first: BTreeMap<u64, Item> = BTreeMap::new();
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let (Effect::Get(_), (place, _)) = (item.effect, item.start) else {
            kept.push(item);
            continue;
        };
        let other = *first.entry(place).or_insert(item);
        if other.number == item.number {
            kept.push(item);
        } else if other.effect != item.effect && !flaw::is(Flaw::ReadsMayDiffer) {
            let pair = [&history.operations()[other.number], &history.operations()[item.number]];
            let mut violation = wrong_order(&pair, "another get at the same slot found something else");
            if let Rejected::Violation(violation) = &mut violation {
                violation.left_out = key.numbers.len() - pair.len();
            }
            return Err(violation);
        }
    }
    Ok(kept)
}

/// Whether the items explain themselves in order of place and call.
fn replays(items: &[Item]) -> bool {
    let mut order: Vec<&Item> = items.iter().filter(|item| item.end.is_some()).collect();
    order.sort_by_key(|item| item.start);
    let mut value = ABSENT;
    order.into_iter().all(|item| {
        let fits = item.effect.fits(value);
        value = item.effect.leaves();
        fits
    })
}
