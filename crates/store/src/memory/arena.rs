//! Where records lie: one behind the other in blocks, which are emptied again by moving what is still in use (log-structured
//! memory: Rumble, Kejriwal, Ousterhout, FAST 2014).
//!
//! A record is overwritten where it lies if it keeps its length and no snapshot shows its block; otherwise it is written behind
//! the last one, and its former place is in use no more. Where it lies is a number that is copied, not a reference that is counted, so
//! a snapshot costs nothing for each record that it shows, neither when it is taken nor later. Absent on purpose: which records are in
//! use (the cells', which tell the arena what they no longer need and move what a block has left).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::pages::Pages;
use super::record::{self, Packed};
use crate::storage::RecordRef;

/// Bytes of a block: a 256th of what is in use, within these bounds.
const LEAST_BLOCK_BYTES: u64 = 4 << 10;
const MOST_BLOCK_BYTES: u64 = 512 << 10;
/// The upper bound grows from here on, so that there are never many more blocks than this.
const MOST_BLOCKS: u64 = 64 << 10;
/// Bytes of blocks that may be emptied for each byte that is added: enough to keep up, and no more than that at once. For one that is
/// overwritten, which leaves nothing behind, one.
const EMPTIED: u64 = 4;

/// Where a record lies: its block's number, and how many bytes of the block come before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    block: u32,
    offset: u32,
}

impl At {
    /// Of a cell without a record.
    pub(super) const NOWHERE: At = At { block: u32::MAX, offset: u32::MAX };
}

/// How much of a full block is in use; of the open one nothing but that is known.
#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    used: u32,
    length: u32,
}

/// A full block.
type Block = Arc<Vec<u8>>;

/// The blocks, as a storage writes them.
#[derive(Clone, Debug, Default)]
pub(super) struct Arena {
    /// Full blocks by their numbers; none under the numbers of the open one and of those that are gone.
    full: Pages<Option<Block>>,
    /// The same numbers' fills.
    fills: Vec<Fill>,
    /// Numbers of blocks that are gone.
    free: Vec<u32>,
    /// Blocks that are gone, to be written again once no snapshot shows them.
    gone: VecDeque<Block>,
    gone_bytes: u64,
    /// The block that takes the next record, if it has any; its number; and bytes at which it is full.
    open: Vec<u8>,
    open_number: u32,
    open_bytes: usize,
    /// Bytes of all records in use.
    used_bytes: u64,
    /// Bytes of all blocks.
    held_bytes: u64,
    /// Bytes that may be emptied by now.
    credit_bytes: u64,
}

impl Arena {
    /// Adds a record behind the last one.
    pub(super) fn add(&mut self, cell: u32, key: &[u8], record: RecordRef<'_>) -> At {
        let length = record::length(key, record.value);
        self.used_bytes += length as u64;
        self.held_bytes += length as u64;
        self.credit_bytes += EMPTIED * length as u64;
        let block_bytes = self.block_bytes() as usize;
        if length > block_bytes / 2 {
            let mut alone = self.empty(length);
            record::write(&mut alone, cell, key, record);
            let block = self.number();
            self.close(block, alone, length as u32);
            return At { block, offset: 0 };
        }
        if !self.open.is_empty() && self.open.len() + length > self.open_bytes {
            let block = std::mem::take(&mut self.open);
            self.close(self.open_number, block, self.fills[self.open_number as usize].used);
        }
        if self.open.is_empty() {
            self.open_number = self.number();
            self.open_bytes = block_bytes;
            self.open = self.empty(block_bytes);
        }
        let offset = self.open.len() as u32;
        record::write(&mut self.open, cell, key, record);
        self.fills[self.open_number as usize].used += length as u32;
        At { block: self.open_number, offset }
    }

    /// Overwrites the record that lies there, if that can be done; tells whether it was.
    pub(super) fn rewrite(&mut self, at: At, key: &[u8], record: RecordRef<'_>) -> bool {
        let length = record::length(key, record.value);
        if self.packed(at).length() != length {
            return false;
        }
        let block = if self.is_open(at) {
            Some(&mut self.open)
        } else {
            self.full.get_own(at.block as usize).and_then(Option::as_mut).and_then(Arc::get_mut)
        };
        let Some(block) = block else { return false };
        record::rewrite(&mut block[at.offset as usize..], key, record);
        self.credit_bytes += length as u64;
        true
    }

    fn is_open(&self, at: At) -> bool {
        at.block == self.open_number && !self.open.is_empty()
    }

    /// Memory for so many bytes: what was a block's before is at hand, and what comes anew has to be cleared first.
    fn empty(&mut self, bytes: usize) -> Vec<u8> {
        if let Some(block) = self.gone.front_mut().and_then(Arc::get_mut) {
            let mut block = std::mem::take(block);
            self.gone.pop_front();
            self.gone_bytes -= block.len() as u64;
            block.clear();
            if (bytes..=2 * bytes).contains(&block.capacity()) {
                return block;
            }
        }
        Vec::with_capacity(bytes)
    }

    fn block_bytes(&self) -> u64 {
        let most = MOST_BLOCK_BYTES.max(self.used_bytes / MOST_BLOCKS);
        (self.used_bytes / 256).clamp(LEAST_BLOCK_BYTES, most)
    }

    /// A number for a new block.
    fn number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.fills.push(Fill::default());
            u32::try_from(self.full.push()).expect("memory ends before there are 4 billion blocks")
        })
    }

    fn close(&mut self, number: u32, block: Vec<u8>, used: u32) {
        self.fills[number as usize] = Fill { used, length: block.len() as u32 };
        *self.full.get_mut(number as usize) = Some(Arc::new(block));
        if used == 0 {
            self.end(number);
        }
    }

    /// The record that lies there is in use no more.
    pub(super) fn forget(&mut self, at: At) {
        let length = self.packed(at).length();
        self.used_bytes -= length as u64;
        let fill = &mut self.fills[at.block as usize];
        fill.used -= length as u32;
        if fill.used == 0 && fill.length > 0 {
            self.end(at.block);
        }
    }

    /// A full block of which nothing is in use goes.
    fn end(&mut self, number: u32) {
        let Fill { length, .. } = std::mem::take(&mut self.fills[number as usize]);
        self.held_bytes -= u64::from(length);
        self.free.push(number);
        self.gone_bytes += u64::from(length);
        self.gone.extend(self.full.get_mut(number as usize).take());
        while self.gone_bytes > self.used_bytes / 2 {
            self.gone_bytes -= self.gone.pop_front().map_or(0, |block| block.len() as u64);
        }
    }

    /// The full block to be emptied: the one with the least in use, once more than `spare_bytes` and half of what is in use is held for nothing. One that a
    /// snapshot shows is left alone up to twice what is in use: to empty it frees nothing before that snapshot ends.
    pub(super) fn choose(&mut self, spare_bytes: u64) -> Option<(u32, Block)> {
        let idle_bytes = self.held_bytes - self.used_bytes;
        let spare_bytes = spare_bytes + self.open_bytes as u64;
        if idle_bytes <= self.used_bytes / 2 + spare_bytes || self.credit_bytes < self.block_bytes() {
            return None;
        }
        self.credit_bytes = 0;
        let full = (0..).zip(&self.fills).filter(|(_, fill)| fill.length > 0);
        let share = |fill: &Fill| (u64::from(fill.used) << 32) / u64::from(fill.length);
        let (number, _) = full.min_by_key(|(_, fill)| share(fill))?;
        let block = self.full.get(number as usize).clone()?;
        // One reference is the arena's, one is this.
        let is_shown = Arc::strong_count(&block) > 2;
        (!is_shown || idle_bytes > 2 * self.used_bytes + spare_bytes).then_some((number, block))
    }

    /// Whatever was in use of a full block has been moved: it goes.
    pub(super) fn emptied(&mut self, number: u32) {
        let used = std::mem::take(&mut self.fills[number as usize].used);
        self.used_bytes -= u64::from(used);
        self.credit_bytes = 0;
        self.end(number);
    }

    /// The record that lies there.
    pub(super) fn packed(&self, at: At) -> Packed<'_> {
        let block = if self.is_open(at) { &self.open } else { full(&self.full, at.block) };
        Packed::at(&block[at.offset as usize..])
    }

    /// A part of the record there, shared with whoever asks; nothing while its block is open.
    pub(super) fn shared(&self, at: At, part: std::ops::Range<usize>) -> Option<Bytes> {
        let block = self.full.get(at.block as usize).clone()?;
        let from = at.offset as usize;
        Some(Bytes::from_owner(Shown(block)).slice(from + part.start..from + part.end))
    }

    /// Bytes in use, and bytes held for them.
    #[cfg(test)]
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.used_bytes, self.held_bytes)
    }

    /// Panics unless all that is counted is so, with so many bytes in use.
    #[cfg(test)]
    pub(super) fn check(&self, used_bytes: u64) {
        let numbers = 0..self.fills.len();
        let lengths = numbers.map(|number| self.full.get(number).as_ref().map_or(0, |block| block.len()));
        let lengths: Vec<usize> = lengths.collect();
        assert!(self.fills.iter().zip(&lengths).all(|(fill, length)| fill.length as usize == *length));
        let used = self.fills.iter().map(|fill| u64::from(fill.used)).sum();
        assert_eq!((self.used_bytes, used_bytes), (used, used));
        let held = lengths.iter().sum::<usize>() + self.open.len();
        assert_eq!(self.held_bytes, held as u64);
        assert_eq!(self.gone_bytes, self.gone.iter().map(|block| block.len() as u64).sum::<u64>());
        assert!(self.gone_bytes <= self.held_bytes, "memory to be used again isn't more than is in use");
    }

    /// The blocks as they are.
    pub(super) fn shelf(&self) -> Shelf {
        Shelf {
            full: self.full.clone(),
            open: Bytes::copy_from_slice(&self.open),
            open_number: self.open_number,
        }
    }
}

fn full(blocks: &Pages<Option<Block>>, number: u32) -> &Vec<u8> {
    blocks.get(number as usize).as_ref().expect("a cell tells of a block that is there")
}

/// A block in the hands of a reader.
struct Shown(Block);

impl AsRef<[u8]> for Shown {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The records of a full block, each with its place.
pub(super) fn records(number: u32, block: &[u8]) -> impl Iterator<Item = (At, Packed<'_>)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let bytes = block.get(offset..).filter(|bytes| !bytes.is_empty())?;
        let (at, packed) = (At { block: number, offset: offset as u32 }, Packed::at(bytes));
        offset += packed.length();
        Some((at, packed))
    })
}

/// The blocks at one moment.
#[derive(Clone)]
pub(super) struct Shelf {
    full: Pages<Option<Block>>,
    open: Bytes,
    open_number: u32,
}

impl Shelf {
    /// The record that lay there.
    pub(super) fn packed(&self, at: At) -> Packed<'_> {
        let is_open = at.block == self.open_number && !self.open.is_empty();
        let block = if is_open { &self.open[..] } else { full(&self.full, at.block) };
        Packed::at(&block[at.offset as usize..])
    }
}
