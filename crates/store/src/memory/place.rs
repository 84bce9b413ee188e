//! A key in the order of keys, with the cell that holds its record.
//!
//! The key's first bytes lie in the tree's own nodes as numbers: a search that follows pointers waits for memory at each of its steps.

use std::cmp::Ordering;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};

/// Bytes of a key that lie in the place itself.
const BEGINNING_BYTES: usize = 16;
/// Instead of the cell of a key that has none.
const GONE: u32 = u32::MAX;

/// The first bytes of a key, zeros behind a shorter one: of two keys that differ there, the lesser has the lesser.
fn beginning(key: &[u8]) -> [u64; 2] {
    let mut bytes = [0; BEGINNING_BYTES];
    let length = key.len().min(BEGINNING_BYTES);
    bytes[..length].copy_from_slice(&key[..length]);
    let number = u128::from_be_bytes(bytes);
    [(number >> 64) as u64, number as u64]
}

fn rest(key: &[u8]) -> &[u8] {
    key.get(BEGINNING_BYTES..).unwrap_or_default()
}

/// Of keys with equal beginnings one that ends within them comes first, since the other only adds bytes.
fn order(one: ([u64; 2], usize, &[u8]), other: ([u64; 2], usize, &[u8])) -> Ordering {
    let within = |length: usize| length.min(BEGINNING_BYTES);
    one.0.cmp(&other.0).then_with(|| within(one.1).cmp(&within(other.1))).then_with(|| one.2.cmp(other.2))
}

/// A key's place; ordered and compared by the key alone.
#[derive(Clone, Debug)]
pub(super) struct Place {
    beginning: [u64; 2],
    /// What is longer than the beginning.
    rest: Option<Arc<[u8]>>,
    /// How many bytes of the beginning are the key's.
    within: u8,
    /// Where its record is.
    pub(super) cell: u32,
}

impl Place {
    pub(super) fn new(key: &[u8], cell: u32) -> Place {
        let rest = rest(key);
        Place {
            beginning: beginning(key),
            rest: (!rest.is_empty()).then(|| Arc::from(rest)),
            within: key.len().min(BEGINNING_BYTES) as u8,
            cell,
        }
    }

    /// The same key, which is in no cell any more.
    pub(super) fn gone(&self) -> Place {
        Place { cell: GONE, ..self.clone() }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.cell == GONE
    }

    /// The key.
    pub(super) fn key(&self) -> Vec<u8> {
        let [first, second] = self.beginning.map(u64::to_be_bytes);
        let mut key = [first, second].concat();
        key.truncate(self.within.into());
        key.extend_from_slice(self.rest.as_deref().unwrap_or_default());
        key
    }

    fn parts(&self) -> ([u64; 2], usize, &[u8]) {
        (self.beginning, self.within.into(), self.rest.as_deref().unwrap_or_default())
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.parts(), other.parts())
    }
}

/// A key that is looked for.
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    beginning: [u64; 2],
    key: &'a [u8],
}

impl<'a> Sought<'a> {
    pub(super) fn new(key: &'a [u8]) -> Sought<'a> {
        Sought { beginning: beginning(key), key }
    }

    /// Whether it comes behind that place, or is there.
    pub(super) fn is_behind(&self, place: &Place) -> bool {
        self.compare(place).is_ge()
    }
}

impl Equivalent<Place> for Sought<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        self.compare(place).is_eq()
    }
}

impl Comparable<Place> for Sought<'_> {
    fn compare(&self, place: &Place) -> Ordering {
        order((self.beginning, self.key.len(), rest(self.key)), place.parts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_their_keys() {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for length in [0, 1, 2, 15, 16, 17, 18, 40] {
            for byte in [0, 1, 255] {
                let mut key = vec![0; length];
                keys.push(key.clone());
                for at in [0, length / 2, length.saturating_sub(1)] {
                    key.get_mut(at).into_iter().for_each(|found| *found = byte);
                    keys.push(key.clone());
                }
            }
        }
        for one in &keys {
            for other in &keys {
                let (place, sought) = (Place::new(other, 1), Sought::new(one));
                assert_eq!(Place::new(one, 2).cmp(&place), one.cmp(other), "{one:?} and {other:?}");
                assert_eq!(sought.compare(&place), one.cmp(other), "{one:?} and {other:?}");
                assert_eq!(sought.equivalent(&place), one == other);
            }
        }
    }
}
