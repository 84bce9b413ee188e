//! Where the latest vote for each slot stands in the journal: what is read back from there, and what of the journal is still needed.
//!
//! Kept in step with [`crate::durable::Durable`] by the same records, in the same order, once they are persisted. Upholds S11's part in the
//! journal: a batch is needed as long as it holds the latest vote for a slot that isn't below the floor.

use std::collections::BTreeMap;

use synod_journal::Place;
use synod_protocol::Slot;

use crate::durable::Record;

#[derive(Debug, Default)]
pub(crate) struct Index {
    places: BTreeMap<Slot, Place>,
    /// How many slots have their latest vote in each batch; batches without any aren't here.
    needed: BTreeMap<u64, u64>,
    floor: Slot,
}

impl Index {
    /// Everything below the floor is no vote.
    pub(crate) fn at(floor: Slot) -> Index {
        Index { floor, ..Index::default() }
    }

    /// A record was persisted in the batch at `place`.
    pub(crate) fn take(&mut self, record: &Record, place: Place) {
        match record {
            Record::Voted { entries, .. } => {
                let floor = self.floor;
                for entry in entries.iter().filter(|entry| entry.slot >= floor) {
                    *self.needed.entry(place.batch()).or_default() += 1;
                    let old = self.places.insert(entry.slot, place);
                    old.into_iter().for_each(|old| self.forget(old));
                }
            }
            Record::Truncated { floor } => {
                self.floor = self.floor.max(*floor);
                while let Some(lowest) = self.places.first_entry().filter(|lowest| *lowest.key() < self.floor)
                {
                    let place = lowest.remove();
                    self.forget(place);
                }
            }
            Record::Prepared { .. }
            | Record::Opened { .. }
            | Record::Promised { .. }
            | Record::Readmitted { .. }
            | Record::Reached { .. }
            | Record::Replaced { .. }
            | Record::Entered { .. } => {}
        }
    }

    /// A batch stands in another place: recovery wrote it again.
    pub(crate) fn moved(&mut self, place: Place) {
        self.places.values_mut().filter(|old| old.batch() == place.batch()).for_each(|old| *old = place);
    }

    /// Where the latest vote for `slot` stands.
    pub(crate) fn place(&self, slot: Slot) -> Option<Place> {
        self.places.get(&slot).copied()
    }

    /// The lowest batch that holds a latest vote.
    pub(crate) fn lowest_batch(&self) -> Option<u64> {
        self.needed.first_key_value().map(|(batch, _)| *batch)
    }

    fn forget(&mut self, place: Place) {
        if let Some(count) = self.needed.get_mut(&place.batch()) {
            *count -= 1;
            if *count == 0 {
                self.needed.remove(&place.batch());
            }
        }
    }
}
