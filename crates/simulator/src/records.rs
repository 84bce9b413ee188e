//! What each key was after each slot, worked out from the calls that took effect, and apart from the real state machine.

use std::collections::HashMap;

use bytes::Bytes;
use synod_protocol::command::{Call, Operation, Outcome, Record};
use synod_protocol::{Revision, Slot};

use crate::violation::{Check, check};

/// The records of all keys, over time.
#[derive(Default)]
pub(crate) struct Records {
    /// What a key was set to, or that it was removed, and at which slot; in order.
    keys: HashMap<Bytes, Vec<(Slot, Option<Record>)>>,
    /// The revision of the last mutation.
    revision: Revision,
}

impl Records {
    /// The record of a key after `slot`.
    pub(crate) fn at(&self, key: &Bytes, slot: Slot) -> Option<&Record> {
        let records = self.keys.get(key)?;
        let after = records.partition_point(|(at, _)| *at <= slot);
        records[..after].last()?.1.as_ref()
    }

    /// A call took effect at `slot`. Every mutation takes the next revision, and a key that was gone begins anew.
    pub(crate) fn note(&mut self, slot: Slot, call: &Call<'_>, outcome: Outcome) -> Check {
        let (key, value, revision) = match (call.operation, outcome) {
            (Operation::Put { key, value }, Outcome::Put { revision }) => (key, Some(value), revision),
            (Operation::Delete { key }, Outcome::Deleted { revision: Some(revision) }) => {
                (key, None, revision)
            }
            _ => return Ok(()),
        };
        check(revision == self.revision.next(), "S7", || {
            format!("the mutation after revision {} is told to have taken {revision}", self.revision)
        })?;
        self.revision = revision;
        let records = self.keys.entry(Bytes::copy_from_slice(key)).or_default();
        let before = records.last().and_then(|(_, record)| record.as_ref());
        let record = value.map(|value| Record {
            created: before.map_or(revision, |before| before.created),
            modified: revision,
            version: before.map_or(1, |before| before.version + 1),
            value: Bytes::copy_from_slice(value),
        });
        records.push((slot, record));
        Ok(())
    }
}
