//! Makes checkpoints durable: one atomic batch each, synced.

use bytes::Bytes;
use fjall::{Database, Keyspace, OwnedWriteBatch as WriteBatch, PersistMode};
use synod_planted::Bug;
use synod_store::{Cursor, Image};

use crate::error::EngineError;
use crate::layer::Layer;
use crate::record::{self, About};
use crate::storage::DiskSnapshot;

/// Bytes of a piece of the rest, about.
const PIECE_BYTES: u64 = 1 << 20;

/// Where the checkpoints of one storage are made durable.
#[derive(Clone)]
pub struct Vault {
    database: Database,
    keys: Keyspace,
}

impl Vault {
    pub(crate) fn new(database: Database, keys: Keyspace) -> Vault {
        Vault { database, keys }
    }

    /// Makes an image of [`StateMachine::checkpoint`](synod_store::StateMachine::checkpoint) durable. Blocks while it writes and syncs. After a
    /// failure fjall takes no more writes: end the process (S3).
    pub fn keep(&self, image: &Image<DiskSnapshot>) -> Result<(), EngineError> {
        let snapshot = image.keys();
        assert!(snapshot.live.is_empty(), "an image to be kept is that of a checkpoint");
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        if let Some(layer) = &snapshot.frozen {
            self.write(&mut batch, layer);
        }
        if synod_planted::is(Bug::CheckpointNotWhole) {
            return Ok(batch.commit()?);
        }
        let pieces = pieces(image);
        let about = About { keys: image.key_count(), rest: pieces.len() as u32 };
        for (number, piece) in (0..).zip(&pieces) {
            batch.insert(&self.keys, record::rest_key(number), &piece[..]);
        }
        // What an earlier checkpoint had more of stays behind unread: the next open counts from `about`.
        batch.insert(&self.keys, record::ABOUT, about.bytes());
        batch.commit()?;
        Ok(())
    }

    /// Writes a layer that belongs to no checkpoint yet.
    pub(crate) fn spill(&self, layer: &Layer) -> Result<(), EngineError> {
        let mut batch = self.database.batch();
        self.write(&mut batch, layer);
        Ok(batch.commit()?)
    }

    fn write(&self, batch: &mut WriteBatch, layer: &Layer) {
        for (key, record) in layer.entries() {
            let stored = record::record_key(key);
            match record {
                Some(record) => batch.insert(&self.keys, stored, record::encode(key, record::borrow(record))),
                None => batch.remove(&self.keys, stored),
            }
        }
    }
}

fn pieces(image: &Image<DiskSnapshot>) -> Vec<Bytes> {
    let rest = image.without_keys();
    let (mut pieces, mut at) = (Vec::new(), Some(Cursor::start()));
    while let Some(cursor) = at {
        let chunk = rest.chunk(&cursor, PIECE_BYTES);
        pieces.push(chunk.bytes);
        at = chunk.next;
    }
    pieces
}
