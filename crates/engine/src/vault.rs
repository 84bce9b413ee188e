//! Makes checkpoints durable: one atomic set of writes each, synced.

use bytes::Bytes;
use synod_planted::Bug;
use synod_store::{Cursor, Image};

use crate::base::{Base, Write};
use crate::error::EngineError;
use crate::layer::Layer;
use crate::record::{self, About};
use crate::storage::DiskSnapshot;

/// Bytes of a piece of the rest, about.
const PIECE_BYTES: u64 = 1 << 20;

/// Where the checkpoints of one storage are made durable.
#[derive(Clone)]
pub struct Vault {
    base: Base,
}

impl Vault {
    pub(crate) fn new(base: Base) -> Vault {
        Vault { base }
    }

    /// Makes an image of [`StateMachine::checkpoint`](synod_store::StateMachine::checkpoint) durable. Blocks while it writes and syncs. Without room
    /// for it ([`EngineError::is_no_space`]) the store holds the checkpoint before, and the next one is of both; after any other failure the
    /// process must end (S3).
    pub fn keep(&self, image: &Image<DiskSnapshot>) -> Result<(), EngineError> {
        let snapshot = image.keys();
        assert!(snapshot.live.is_empty(), "an image to be kept is that of a checkpoint");
        let pieces = pieces(image);
        let about = About { keys: image.key_count(), rest: pieces.len() as u32 };
        // What an earlier checkpoint had more of stays behind unread: the next open counts from `about`.
        let rest =
            (0..).zip(&pieces).map(|(number, piece)| (record::rest_key(number).into(), Some(piece.to_vec())));
        let head = std::iter::once((record::ABOUT.into(), Some(about.bytes()))).chain(rest);
        let head = head.filter(|_| !synod_planted::is(Bug::CheckpointNotWhole));
        self.told(self.base.write(head.chain(snapshot.frozen.iter().flat_map(writes))))
    }

    /// Merges what checkpoints have written, where that is due; blocks. Without room the store is as it was.
    pub fn compact(&self) -> Result<(), EngineError> {
        self.told(self.base.compact())
    }

    /// Writes a layer that belongs to no checkpoint yet.
    pub(crate) fn spill(&self, layer: &Layer) -> Result<(), EngineError> {
        self.base.write(writes(layer))?;
        match self.base.compact() {
            Err(error) if error.is_no_space() => Ok(()),
            done => done,
        }
    }

    fn told(&self, done: Result<(), EngineError>) -> Result<(), EngineError> {
        done.inspect_err(|error| self.base.tell(error))
    }
}

/// Sorted, as the layer is.
fn writes(layer: &Layer) -> impl Iterator<Item = Write> {
    layer.entries().map(|(key, record)| {
        let value = record.as_ref().map(|record| record::encode(key, record::borrow(record)));
        (record::record_key(key), value)
    })
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
