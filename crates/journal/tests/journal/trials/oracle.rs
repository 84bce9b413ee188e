//! A journal driven by a script, beside a plain list of what it must remember.
//!
//! The oracle knows which batches were acknowledged (`commit` returned) and which one was in flight. After any crash,
//! recovery must give the acknowledged ones exactly, with or without the whole batch in flight. Nothing else is
//! allowed.

use bytes::Bytes;
use synod_journal::memory::MemoryDisk;
use synod_journal::{Error, Journal, Options, Recovery, Replayed, Summary};

use super::count_run;

/// A record with the number of its batch.
pub(crate) type Record = (u64, Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commit one batch of so many records of so many bytes each.
    Commit(usize, usize),
    Seal,
    Prepare,
    /// Release all but this many of the last batches.
    KeepLast(u64),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Oracle {
    pub(crate) acknowledged: Vec<Record>,
    pub(crate) in_flight: Vec<Record>,
    pub(crate) released_below: u64,
}

pub(crate) fn options(segment_bytes: u64, block_bytes: u64) -> Options {
    Options { segment_bytes, block_bytes, prepare_step_bytes: segment_bytes / 2 }
}

/// Content that tells batch and place, and differs from life to life.
pub(crate) fn record(batch: u64, index: usize, bytes: usize, life: u64) -> Vec<u8> {
    let text = format!("batch {batch} record {index} life {life} ");
    text.bytes().cycle().take(bytes).collect()
}

/// The blob of a head: the last batch whose effect the caller's state includes.
pub(crate) fn blob(position: u64) -> Vec<u8> {
    format!("state after batch {position}").into_bytes()
}

impl Oracle {
    /// Runs a script until it ends or the journal fails.
    pub(crate) fn run(
        &mut self,
        journal: &mut Journal<MemoryDisk>,
        script: &[Step],
        life: u64,
    ) -> Result<(), Error> {
        for step in script {
            match *step {
                Step::Commit(records, bytes) => self.commit(journal, records, bytes, life)?,
                Step::Seal => journal.seal()?,
                Step::Prepare => {
                    journal.prepare_step()?;
                }
                Step::KeepLast(batches) => {
                    self.released_below =
                        self.released_below.max((journal.position() + 1).saturating_sub(batches));
                    journal.release(self.released_below);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn commit(
        &mut self,
        journal: &mut Journal<MemoryDisk>,
        records: usize,
        bytes: usize,
        life: u64,
    ) -> Result<(), Error> {
        let (before, batch) = (journal.position(), journal.position() + 1);
        self.in_flight = (0..records).map(|index| (batch, record(batch, index, bytes, life))).collect();
        for (_, content) in &self.in_flight {
            // Cut into a head and up to two bodies, at places that differ from record to record.
            let bodies = Bytes::from(content.clone());
            let (head, body) = content.split_at(content.len() / 3);
            let middle = head.len() + body.len() / 2;
            journal.append(head, [bodies.slice(head.len()..middle), bodies.slice(middle..)]);
        }
        let position = journal.commit(|| blob(before))?;
        assert_eq!(position, batch);
        self.acknowledged.append(&mut self.in_flight);
        Ok(())
    }

    /// Checks what a recovery gave against what it may give.
    pub(crate) fn check(&self, found: &Recovered, context: &str) {
        let with_flight: Vec<Record> = self.acknowledged.iter().chain(&self.in_flight).cloned().collect();
        let expected = [&self.acknowledged, &with_flight];
        assert!(
            expected.iter().any(|expected| expected.ends_with(&found.records)
                && expected.last().map(|last| last.0) == found.records.last().map(|last| last.0)),
            "{context}: recovered {:?}, acknowledged {:?}, in flight {:?}",
            batches(&found.records),
            batches(&self.acknowledged),
            batches(&self.in_flight),
        );
        let first = found.records.first().map_or(0, |first| first.0);
        assert!(
            first <= self.released_below.max(1),
            "{context}: batch {first} is the first, earlier ones are needed"
        );
        let last = with_flight.last().map_or(0, |last| last.0);
        assert!(found.summary.batches <= last, "{context}: position {} of {last}", found.summary.batches);
        let synced = self.acknowledged.last().map_or(0, |last| last.0);
        assert!(found.summary.batches >= synced, "{context}: position {} fell", found.summary.batches);
    }

    /// What was recovered, and made durable again, is what counts from here on.
    pub(crate) fn adopt(&mut self, found: &Recovered) {
        let with_flight = self.acknowledged.iter().chain(&self.in_flight).cloned();
        self.acknowledged = with_flight.filter(|(batch, _)| *batch <= found.summary.batches).collect();
        self.in_flight.clear();
    }
}

pub(crate) fn batches(records: &[Record]) -> Vec<u64> {
    let mut numbers: Vec<u64> = records.iter().map(|(batch, _)| *batch).collect();
    numbers.dedup();
    numbers
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) records: Vec<Record>,
    pub(crate) summary: Summary,
}

pub(crate) fn read(disk: &MemoryDisk, options: &Options) -> Result<(Recovered, Recovery<MemoryDisk>), Error> {
    count_run();
    let mut records: Vec<Record> = Vec::new();
    let mut next = None;
    let recovery = Recovery::read(disk.clone(), options.clone(), |item| {
        match item {
            Replayed::Head { first_batch, blob: found, .. } => {
                // After a crash the head may already include the batch that follows it.
                assert!(
                    found == blob(first_batch - 1) || found == blob(first_batch),
                    "head of {first_batch}"
                );
                assert!(next.is_none_or(|next| next == first_batch), "heads join");
                next = Some(first_batch);
            }
            Replayed::Record { place, record } => {
                let batch = place.batch();
                assert!(next == Some(batch) || next == Some(batch + 1), "records come in order");
                next = Some(batch + 1);
                records.push((batch, record.to_vec()));
            }
        }
        Ok(())
    })?;
    assert_eq!(recovery.summary().records, records.len() as u64);
    let summary = recovery.summary().clone();
    Ok((Recovered { records, summary }, recovery))
}

pub(crate) fn open(disk: &MemoryDisk, options: &Options) -> Result<(Recovered, Journal<MemoryDisk>), Error> {
    let (found, recovery) = read(disk, options)?;
    let journal = recovery.start(&blob(found.summary.batches))?;
    assert_eq!(journal.position(), found.summary.batches);
    Ok((found, journal))
}

/// A small generator with a seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
