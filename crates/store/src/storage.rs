//! Where keys and their records lie: the traits that an engine implements.
//!
//! They ask for no more than an ordered map with snapshots has. A snapshot costs next to nothing, never changes, and can be read on
//! another thread while the storage goes on: from it checkpoints, transfers and backups are made ([`Image`](crate::Image)). An engine
//! whose disk fails, or gives back other bytes than it was given, ends the process instead of returning (S3): nothing that it
//! would answer afterwards could be trusted.
//!
//! What comes on top and how it fits: *history* is a second ordered map, from revision to (key, record or nothing), with the same
//! snapshots, cut at a compaction revision; every mutation has a revision of its own, so its order is that of the log. *Watches* read it from a
//! revision on. *Transactions* are several mutations of one command: they take consecutive revisions, and compare with the stamps below.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
pub use synod_protocol::command::{Record, Stamp};

/// A record whose value lies elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordRef<'a> {
    /// When it came to be.
    pub stamp: Stamp,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// What `record` holds.
    pub fn of(record: &'a Record) -> RecordRef<'a> {
        let Record { created, modified, version, value } = record;
        let stamp = Stamp { created: *created, modified: *modified, version: *version };
        RecordRef { stamp, value }
    }
    /// The record with a copy of its value.
    pub fn to_record(self) -> Record {
        let Stamp { created, modified, version } = self.stamp;
        Record { created, modified, version, value: Bytes::copy_from_slice(self.value) }
    }
}

/// Ordered keys with their records; keys and values are any bytes, possibly none.
pub trait Storage {
    /// The keys at one moment.
    type Snapshot: Snapshot;

    /// The record of `key`.
    fn get(&self, key: &[u8]) -> Option<Record>;

    /// Shows the records of `keys`, in order; where they lie, if the engine can.
    fn show(&self, keys: &[&[u8]], mut see: impl FnMut(usize, Option<RecordRef<'_>>)) {
        for (number, key) in keys.iter().enumerate() {
            see(number, self.get(key).as_ref().map(RecordRef::of));
        }
    }

    /// These keys will be asked for or set next: an engine may look for them at once. Nothing to do for most.
    fn expect<'a>(&self, _keys: impl Iterator<Item = &'a [u8]>) {}

    /// Sets `key`, with the stamp that `stamp` makes of the one it had; returns that.
    fn put(&mut self, key: &[u8], value: &[u8], stamp: impl FnOnce(Option<Stamp>) -> Stamp) -> Stamp;

    /// Removes `key`; tells whether it was there.
    fn delete(&mut self, key: &[u8]) -> bool;

    /// How many keys there are.
    fn len(&self) -> u64;

    /// Whether it holds as much in memory as it may of what no checkpoint holds: it should be given nothing more until one is durable (I14).
    /// Never so for an engine in memory.
    fn is_full(&self) -> bool {
        false
    }

    /// Writes down what belongs to no checkpoint yet, as far as there is room for it: it may be full no more. Nothing to do for an engine in
    /// memory.
    fn relieve(&mut self) {}

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys as they are, for next to nothing.
    fn snapshot(&self) -> Self::Snapshot;

    /// A checkpoint of what the next [`Storage::snapshot`] shows begins: an engine that writes it down itself tells from here on what
    /// came after. Nothing to do for an engine in memory.
    fn freeze(&mut self) {}

    /// The checkpoint that began last is durable: an engine that wrote it down itself may forget its own copy.
    fn thaw(&mut self) {}
}

/// Keys that are written down elsewhere: only how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere(pub u64);

impl Snapshot for Elsewhere {
    type Mark = ();
    type Difference = ();

    fn scan<V>(&self, _after: Option<&[u8]>, _visit: V)
    where
        V: FnMut(&[u8], RecordRef<'_>) -> ControlFlow<()>,
    {
    }

    fn mark(&self) {}

    fn difference(&self, _older: &()) {}

    fn changes<V>(&self, _difference: &(), _after: Option<&[u8]>, _visit: V)
    where
        V: FnMut(&[u8], Option<RecordRef<'_>>) -> ControlFlow<()>,
    {
    }

    fn len(&self) -> u64 {
        self.0
    }
}

/// The keys of a [`Storage`] at one moment.
pub trait Snapshot: Clone + Send + 'static {
    /// What is kept of a snapshot so that later ones can be compared with it.
    type Mark: Clone + fmt::Debug + Send;
    /// What is found out once of two snapshots, so that their changes can be visited in parts.
    type Difference: Clone + fmt::Debug + Send;

    /// Visits keys in order, from the one behind `after` on, or from the first, until the visitor breaks.
    fn scan<V>(&self, after: Option<&[u8]>, visit: V)
    where
        V: FnMut(&[u8], RecordRef<'_>) -> ControlFlow<()>;

    /// What is to be kept of it, instead of all of it.
    fn mark(&self) -> Self::Mark;

    /// What [`Snapshot::changes`] needs to know of an older snapshot of the same storage.
    fn difference(&self, older: &Self::Mark) -> Self::Difference;

    /// Visits, in the same order, keys that differ from those of an older snapshot: with their records, or without if they are gone. May visit keys
    /// that don't differ.
    fn changes<V>(&self, difference: &Self::Difference, after: Option<&[u8]>, visit: V)
    where
        V: FnMut(&[u8], Option<RecordRef<'_>>) -> ControlFlow<()>;

    /// How many keys there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
