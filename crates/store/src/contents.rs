//! What an image holds, read from its chunks one after the other without making a state of them: for backups.
//!
//! The records of one chunk are in memory at a time, and all open sessions. The same checks are made as where a state is built ([`Builder`]),
//! but for the limits, which the image's reader may not know.

use bytes::Bytes;
use synod_protocol::command::{Record, Stamp};
use synod_protocol::{Revision, Slot};

use crate::builder::{Builder, ImageError};
use crate::storage::{Elsewhere, RecordRef, Storage};

/// Reads the chunks of an image, from the first one on.
#[derive(Debug)]
pub struct Contents(Builder<Passing>);

/// What an image holds, once it was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The slot whose state it is.
    pub applied: Slot,
    /// Hash chain there.
    pub chain: u64,
    /// The revision of the last mutation.
    pub revision: Revision,
    /// How many keys there are.
    pub keys: u64,
    /// Whether a backup was being restored: then it is no whole state.
    pub restoring: bool,
}

impl Contents {
    /// Nothing read so far.
    pub fn new() -> Contents {
        Contents(Builder::reading(Passing::default()))
    }

    /// Takes the next chunk: its keys, in order.
    pub fn take(&mut self, chunk: &[u8]) -> Result<Vec<(Bytes, Record)>, ImageError> {
        self.0.take(chunk)?;
        Ok(std::mem::take(&mut self.0.storage_mut().passing))
    }

    /// The slot whose state it is, once the first chunk was taken.
    pub fn applied(&self) -> Option<Slot> {
        self.0.applied()
    }

    /// What the image held; an error if its last chunk hasn't come.
    pub fn finish(self) -> Result<Summary, ImageError> {
        let machine = self.0.finish()?;
        Ok(Summary {
            applied: machine.applied(),
            chain: machine.chain(),
            revision: machine.revision(),
            keys: machine.storage().len(),
            restoring: machine.is_restoring(),
        })
    }
}

impl Default for Contents {
    fn default() -> Self {
        Contents::new()
    }
}

/// Counts keys and passes their records on. They come in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Passing {
    count: u64,
    passing: Vec<(Bytes, Record)>,
}

impl Storage for Passing {
    type Snapshot = Elsewhere;

    fn get(&self, _key: &[u8]) -> Option<Record> {
        None
    }

    fn put(&mut self, key: &[u8], value: &[u8], stamp: impl FnOnce(Option<Stamp>) -> Stamp) -> Stamp {
        let stamp = stamp(None);
        self.count += 1;
        self.passing.push((Bytes::copy_from_slice(key), RecordRef { stamp, value }.to_record()));
        stamp
    }

    fn delete(&mut self, _key: &[u8]) -> bool {
        false
    }

    fn len(&self) -> u64 {
        self.count
    }

    fn snapshot(&self) -> Elsewhere {
        Elsewhere(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, MemoryStorage, StateMachine};
    use synod_protocol::cluster::Limits;
    use synod_protocol::command::{BatchBuilder, Call, Command, Operation, SessionId};

    fn chunks() -> (StateMachine<MemoryStorage>, Vec<Bytes>) {
        let limits = Limits { key_bytes: 9, ..Limits::default() };
        let mut machine = StateMachine::new(limits, MemoryStorage::default());
        let session = SessionId { slot: Slot(1), position: 0 };
        let mut batch = BatchBuilder::default();
        batch.push(&Command::Open { nonce: 1 });
        let put = |key| Operation::Put { key, value: b"some value" };
        let operations = [put(b"b"), put(b"a"), put(b"b"), put(b"c"), Operation::Delete { key: b"c" }];
        for (sequence, operation) in (1..).zip(operations) {
            batch.push(&Command::Call(Call { session, sequence, lowest: 1, operation }));
        }
        machine.apply(Slot(1), &batch.finish().0);
        let (image, mut at, mut chunks) = (machine.image(), Some(Cursor::start()), Vec::new());
        while let Some(place) = at {
            let chunk = image.chunk(&place, 60);
            chunks.push(chunk.bytes);
            at = chunk.next;
        }
        (machine, chunks)
    }

    #[test]
    fn i10_an_image_is_read_in_order_whatever_its_limits_were() {
        let (machine, chunks) = chunks();
        assert!(chunks.len() > 2, "it takes several chunks");
        let mut contents = Contents::new();
        let mut records = Vec::new();
        for chunk in &chunks {
            records.extend(contents.take(chunk).unwrap());
            assert_eq!(contents.applied(), Some(Slot(1)));
        }
        let expected = [&b"a"[..], b"b"].map(|key| (Bytes::from_static(key), machine.get(key).unwrap()));
        assert_eq!(records, expected);
        let (applied, chain, revision) = (Slot(1), machine.chain(), Revision(5));
        let summary = Summary { applied, chain, revision, keys: 2, restoring: false };
        assert_eq!(contents.finish(), Ok(summary));
    }

    #[test]
    fn i12_an_image_without_its_end_or_with_a_chunk_missing_is_refused() {
        let (_, chunks) = chunks();
        let mut cut = Contents::new();
        chunks[..chunks.len() - 1].iter().for_each(|chunk| drop(cut.take(chunk).unwrap()));
        assert!(matches!(cut.finish(), Err(ImageError::Incomplete { .. })));
        let mut missing = Contents::new();
        missing.take(&chunks[0]).unwrap();
        assert!(matches!(missing.take(&chunks[2]), Err(ImageError::OutOfOrder { .. })));
    }
}
