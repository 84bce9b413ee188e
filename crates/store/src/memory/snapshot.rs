//! The keys of a store in memory at one moment, and what has changed since an older one.

use std::fmt;
use std::hint::black_box;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use imbl::OrdSet;
use imbl::ordset::DiffItem;
use synod_planted::Bug;

use super::arena::{At, Shelf};
use super::pages::Pages;
use super::place::{Place, Sought};
use super::record::Packed;
use super::{Cell, TOGETHER};
use crate::storage::{RecordRef, Snapshot};

/// A [`MemoryStorage`](super::MemoryStorage) at one moment.
#[derive(Clone)]
pub struct MemorySnapshot {
    pub(super) shelf: Shelf,
    pub(super) cells: Pages<Cell>,
    pub(super) order: OrdSet<Place>,
    /// Puts before it.
    pub(super) writes: u64,
}

impl MemorySnapshot {
    fn at(&self, place: &Place) -> At {
        self.cells.get(place.cell as usize).at
    }

    /// The records of some places; they are far, and wait together.
    fn fetch<'a>(&'a self, places: impl Iterator<Item = At>, into: &mut Vec<Packed<'a>>) {
        into.clear();
        into.extend(places.map(|at| self.shelf.packed(at)));
        black_box(into.iter().fold(0, |sum, packed| sum ^ packed.touch()));
    }
}

impl fmt::Debug for MemorySnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.order.len())
    }
}

/// What is kept of a [`MemorySnapshot`]: its keys without their records.
#[derive(Clone)]
pub struct MemoryMark {
    order: OrdSet<Place>,
    writes: u64,
}

impl fmt::Debug for MemoryMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.order.len())
    }
}

/// The keys in which a snapshot differs from an older one, in order.
#[derive(Clone, Debug)]
pub struct Differing(Arc<Vec<Place>>);

impl Snapshot for MemorySnapshot {
    type Mark = MemoryMark;
    type Difference = Differing;

    fn scan<V>(&self, after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], RecordRef<'_>) -> ControlFlow<()>,
    {
        let first = after.map_or(Bound::Unbounded, |key| Bound::Excluded(Sought::new(key)));
        let mut places = self.order.range((first, Bound::Unbounded));
        let mut together = Vec::with_capacity(TOGETHER);
        loop {
            let next = places.by_ref().take(TOGETHER);
            self.fetch(next.map(|place| self.at(place)), &mut together);
            if together.is_empty() {
                return;
            }
            for packed in &together {
                if visit(packed.key(), packed.record()).is_break() {
                    return;
                }
            }
        }
    }

    fn mark(&self) -> MemoryMark {
        MemoryMark { order: self.order.clone(), writes: self.writes }
    }

    fn difference(&self, older: &MemoryMark) -> Differing {
        let written = self.cells.iter().filter(|cell| cell.write > older.writes && cell.at != At::NOWHERE);
        let mut written = written.map(|cell| cell.at);
        let (mut differing, mut together) = (Vec::new(), Vec::with_capacity(TOGETHER));
        loop {
            self.fetch(written.by_ref().take(TOGETHER), &mut together);
            if together.is_empty() {
                break;
            }
            differing.extend(together.iter().map(|packed| Place::new(packed.key(), packed.cell())));
        }
        if !synod_planted::is(Bug::DeletesNotCheckpointed) {
            let gone = older.order.diff(&self.order).filter_map(|item| match item {
                DiffItem::Remove(place) => Some(place.gone()),
                DiffItem::Add(_) => None,
            });
            differing.extend(gone);
        }
        differing.sort_unstable();
        Differing(Arc::new(differing))
    }

    fn changes<V>(&self, Differing(differing): &Differing, after: Option<&[u8]>, mut visit: V)
    where
        V: FnMut(&[u8], Option<RecordRef<'_>>) -> ControlFlow<()>,
    {
        let first =
            after.map_or(0, |key| differing.partition_point(|place| Sought::new(key).is_behind(place)));
        let mut together = Vec::with_capacity(TOGETHER);
        for places in differing[first..].chunks(TOGETHER) {
            let there = places.iter().filter(|place| !place.is_gone());
            self.fetch(there.map(|place| self.at(place)), &mut together);
            let mut records = together.iter();
            for place in places {
                let flow = if place.is_gone() {
                    visit(&place.key(), None)
                } else {
                    records.next().map_or(ControlFlow::Continue(()), |packed| {
                        visit(packed.key(), Some(packed.record()))
                    })
                };
                if flow.is_break() {
                    return;
                }
            }
        }
    }

    fn len(&self) -> u64 {
        self.order.len() as u64
    }
}
