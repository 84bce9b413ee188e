//! The segment that takes appends, and the one way a segment comes to be.

use std::io::IoSlice;

use bytes::Bytes;
use synod_planted::Bug;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::format::{Entry, HEADER_BYTES, Head, align, segment_name};
use crate::stock::Stock;
use crate::{Disk, DiskFile, Error, Options};

/// The largest block size.
const BLOCK_MAX: usize = *Options::BLOCKS.end() as usize;
static ZEROS: [u8; BLOCK_MAX] = [0; BLOCK_MAX];

/// The segment that takes appends.
#[derive(Debug)]
pub(crate) struct Active<F> {
    pub(crate) file: F,
    pub(crate) name: String,
    pub(crate) head: Head,
    /// Where the next entry goes.
    pub(crate) offset: u64,
}

impl<F> Active<F> {
    /// Whether an entry of this size fits. One block always stays free, so that a seal fits after any batch.
    pub(crate) fn fits(&self, entry_bytes: u64) -> bool {
        entry_bytes <= self.free_bytes()
    }

    /// The size of the largest entry that fits.
    pub(crate) fn free_bytes(&self) -> u64 {
        let for_a_seal = if synod_planted::is(Bug::SealWithoutRoom) { 0 } else { self.head.block_bytes };
        self.head.prepared_bytes.saturating_sub(self.offset + for_a_seal)
    }
}

impl<F: DiskFile> Active<F> {
    /// Writes and syncs "synced through this batch", padded to a whole block.
    pub(crate) fn write_seal(&mut self, through: u64) -> Result<(), Error> {
        let Active { file, name, head, offset } = self;
        let mut block = [0; BLOCK_MAX];
        let seal = Entry::Seal { through };
        block[..HEADER_BYTES].copy_from_slice(&seal.encode(head.seed(*offset)));
        let block = &block[..head.block_bytes as usize];
        assert!(
            *offset + head.block_bytes <= head.prepared_bytes,
            "a block is free after any batch: offset {offset} of {name}"
        );
        file.write_synced_at(*offset, &mut [IoSlice::new(block)])
            .map_err(|source| Error::io("write and sync a seal in", name, source))?;
        *offset += head.block_bytes;
        Ok(())
    }
}

/// A batch that may not be synced where it was found, to be written again (S3).
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) number: u64,
    pub(crate) records: u64,
    pub(crate) payload: Bytes,
}

/// What a new segment is to hold.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) segment: u64,
    /// The batch that is appended next, unless one is carried.
    pub(crate) next_batch: u64,
    pub(crate) oldest_segment: u64,
    pub(crate) blob: &'a [u8],
    /// Written with the head, under the same sync; the segment then starts with this batch, already sealed.
    pub(crate) carried: Option<&'a Carried>,
    /// The size of the entry that must fit beside those above.
    pub(crate) entry_bytes: u64,
}

/// Makes a segment of the spare, which it prepares as far as it is not; what it takes are segments before `unneeded`, and
/// space. When this returns, the segment is durable; after an error or a crash it is there whole or not at all.
pub(crate) fn create<D: Disk>(
    disk: &mut D,
    stock: &mut Stock<D::File>,
    options: &Options,
    (plan, unneeded): (&Plan<'_>, u64),
) -> Result<Active<D::File>, Error> {
    while stock.recycle_oldest(disk, options, unneeded)? {}
    let block = options.block_bytes;
    let overstated = u64::from(synod_planted::is(Bug::HeadSealsTooMuch));
    let carried_bytes =
        plan.carried.map_or(0, |carried| align((HEADER_BYTES + carried.payload.len()) as u64, block));
    let mut head = Head {
        block_bytes: block,
        segment: plan.segment,
        prepared_bytes: 0,
        first_batch: plan.carried.map_or(plan.next_batch, |carried| carried.number),
        sealed_through: plan.carried.map_or(plan.next_batch - 1 + overstated, |carried| carried.number),
        oldest_segment: plan.oldest_segment,
        recycled: stock.spare.is_recycled(),
        blob_bytes: plan.blob.len() as u64,
        checksum: 0,
    };
    let room_for_carried = if synod_planted::is(Bug::CarriedBatchWithoutRoom) { 0 } else { carried_bytes };
    let needed_bytes = head.end() + room_for_carried + align(plan.entry_bytes, block) + block;
    head.prepared_bytes = needed_bytes.max(options.segment_bytes);
    let prepared = stock.prepare_all(disk, options, unneeded, head.prepared_bytes);
    let Stock { spare, reserve, .. } = stock;
    match prepared {
        // On a full disk a shorter segment will do: its head may be what lets older ones go.
        Err(error)
            if error.is_no_space() && spare.ready_bytes().max(reserve.ready_bytes()) >= needed_bytes =>
        {
            if spare.ready_bytes() < needed_bytes {
                reserve.replace(disk, spare)?;
                head.recycled = spare.is_recycled();
            }
            head.prepared_bytes = spare.ready_bytes() / block * block;
        }
        prepared => prepared?,
    }
    let head_bytes = head.encode(plan.blob);
    let header = plan.carried.map(|carried| {
        let seed = head.seed(head.end());
        let entry = Entry::Batch {
            number: carried.number,
            records: carried.records,
            payload_bytes: carried.payload.len() as u64,
            payload_checksum: xxh3_64_with_seed(&carried.payload, seed),
        };
        (entry.encode(seed), &carried.payload)
    });
    let name = segment_name(plan.segment);
    let parts: [&[u8]; 4] = match &header {
        None => [&head_bytes, &[], &[], &[]],
        Some((header, payload)) => {
            let padding = carried_bytes as usize - HEADER_BYTES - payload.len();
            [&head_bytes, header, payload, &ZEROS[..padding]]
        }
    };
    let file = spare.become_segment(disk, &name, &mut parts.map(IoSlice::new))?;
    Ok(Active { file, name, head, offset: head.end() + carried_bytes })
}
