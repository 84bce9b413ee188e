//! Reads overlay, frozen overlay and tree as one ordered map: where several know a key, the upper one is right.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use synod_planted::Bug;
use synod_store::Record;

use crate::record;
use crate::storage::DiskSnapshot;

type Entries<'a> = Peekable<Box<dyn Iterator<Item = (Bytes, Option<Record>)> + 'a>>;

/// Keys with their records, in order.
pub(crate) struct Merged<'a> {
    /// The upper ones first.
    layers: [Entries<'a>; 3],
}

impl<'a> Merged<'a> {
    /// From the key behind `after` on, or from the first.
    pub(crate) fn new(snapshot: &'a DiskSnapshot, after: Option<&'a [u8]>) -> Merged<'a> {
        let owned = |(key, record): (&Bytes, &Option<Record>)| (key.clone(), record.clone());
        let live: Box<dyn Iterator<Item = _>> = Box::new(snapshot.live.behind(after).map(owned));
        let frozen = snapshot.frozen.iter().filter(|_| !synod_planted::is(Bug::FrozenOverlayForgotten));
        let frozen: Box<dyn Iterator<Item = _>> =
            Box::new(frozen.flat_map(move |layer| layer.behind(after)).map(owned));
        let base: Box<dyn Iterator<Item = _>> = Box::new(base(snapshot, after));
        Merged { layers: [live.peekable(), frozen.peekable(), base.peekable()] }
    }
}

fn base(snapshot: &DiskSnapshot, after: Option<&[u8]>) -> impl Iterator<Item = (Bytes, Option<Record>)> {
    let first = match after {
        Some(after) => Bound::Excluded(record::record_key(after)),
        None => Bound::Included(vec![record::RECORDS]),
    };
    let end = Bound::Excluded(vec![record::RECORDS + 1]);
    snapshot.base.range((first, end)).map(|found| {
        let decoded = found.and_then(|(key, value)| {
            let key = Bytes::copy_from_slice(&key[1..]);
            let record = record::decode(&key, &value)?;
            Ok((key, Some(record)))
        });
        decoded.unwrap_or_else(|error| snapshot.base.base().stop(error))
    })
}

impl Iterator for Merged<'_> {
    type Item = (Bytes, Record);

    fn next(&mut self) -> Option<(Bytes, Record)> {
        loop {
            let mut least: Option<Bytes> = None;
            for layer in &mut self.layers {
                if let Some((key, _)) = layer.peek()
                    && least.as_ref().is_none_or(|least| key < least)
                {
                    least = Some(key.clone());
                }
            }
            let least = least?;
            let mut upper = None;
            for layer in &mut self.layers {
                if let Some((_, record)) = layer.next_if(|(key, _)| *key == least) {
                    upper = upper.or(Some(record));
                }
            }
            if let Some(Some(record)) = upper {
                return Some((least, record));
            }
        }
    }
}
