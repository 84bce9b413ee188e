//! Every bit flip, every truncation, every missing file, every misdirected and every stale block of small journals.
//!
//! I12: what was sealed, or is followed by a later batch, is recovered exactly or refused, never cut and never changed. Damage where
//! nothing was written, or in a block's padding, is harmless. Only the last batch, while nothing says that it was synced, may be cut:
//! damage in it can't be told from a torn write.

use std::ops::Range;

use synod_journal::memory::MemoryDisk;
use synod_journal::{Disk, Error, Options};

use super::oracle::{Oracle, Record, Step, blob, open, options, read};

use Step::{Commit, KeepLast, Prepare, Seal};

pub(crate) const BLOCK: u64 = 64;

pub(crate) struct Journaled {
    pub(crate) disk: MemoryDisk,
    pub(crate) options: Options,
    records: Vec<Record>,
    /// Where the last batch is, when nothing says that it was synced.
    unsealed: Option<(String, Range<usize>)>,
    recycled: bool,
    /// The disk after every step of the script.
    past: Vec<MemoryDisk>,
}

/// Runs a script on an empty disk; its last step must be a commit when the end is unsealed.
pub(crate) fn journaled(script: &[Step]) -> Journaled {
    let disk = MemoryDisk::new();
    let options = options(1024, BLOCK);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    let mut past = Vec::new();
    for step in script {
        oracle.run(&mut journal, &[*step], 1).unwrap();
        past.push(disk.copy());
    }
    let (found, _) = read(&disk, &options).unwrap();
    let unsealed = found.summary.rewritten.then(|| last_batch(&disk));
    assert_eq!(unsealed.is_some(), matches!(script.last(), Some(Commit(..))), "sealed or not");
    Journaled { disk, options, records: found.records, unsealed, recycled: script == RECYCLED, past }
}

/// The same after a restart, which writes the last batch again to a new segment.
pub(crate) fn recovered(script: &[Step]) -> Journaled {
    let mut journal = journaled(script);
    let (found, _) = open(&journal.disk, &journal.options).unwrap();
    assert!(found.summary.rewritten);
    journal.unsealed = None;
    journal
}

/// The place of the last entry, found by its magic at a block's start; its length stands in its header.
pub(crate) fn last_batch(disk: &MemoryDisk) -> (String, Range<usize>) {
    let name = disk.files().into_iter().rfind(|name| name.starts_with("segment-")).unwrap();
    let content = disk.content(&name);
    let starts = |at: &usize| content[*at..].starts_with(b"SyJe");
    let at = (0..content.len()).step_by(BLOCK as usize).rfind(starts).unwrap();
    let payload = u64::from_le_bytes(content[at + 32..at + 40].try_into().unwrap()) as usize;
    (name, at..at + BLOCK as usize + payload)
}

impl Journaled {
    /// Recovers a damaged copy: exact, refused, or without the last unsealed batch when the damage lies in it.
    fn recover(&self, damaged: &MemoryDisk, inside_unsealed: bool, context: &str) -> Verdict {
        let (found, _) = match read(damaged, &self.options) {
            Ok(found) => found,
            Err(error) => {
                let text = error.to_string();
                let known =
                    matches!(error, Error::Damaged { .. } | Error::Missing { .. } | Error::Format { .. });
                assert!(known && text.contains("segment-"), "{context}: {text}");
                return Verdict::Refused;
            }
        };
        let verdict = if found.records == self.records {
            Verdict::Exact
        } else {
            let last = self.records.last().unwrap().0;
            let shorter = self.records.iter().filter(|(batch, _)| *batch < last).cloned().collect::<Vec<_>>();
            assert!(inside_unsealed, "{context}: recovered {} records", found.records.len());
            assert_eq!(found.records, shorter, "{context}");
            if found.summary.cut.is_some() { Verdict::Cut } else { Verdict::Shorter }
        };
        // The verdict stands when the journal goes on: the same records, then the new ones.
        let disk = damaged.copy();
        let (again, mut journal) = open(&disk, &self.options).unwrap();
        assert_eq!(again, found, "{context}");
        journal.append(b"later", []);
        journal.commit(|| blob(found.summary.batches)).unwrap();
        let (later, _) = read(&disk, &self.options).unwrap();
        let expected = found.records.into_iter().chain([(found.summary.batches + 1, b"later".to_vec())]);
        assert_eq!(later.records, expected.collect::<Vec<_>>(), "{context}");
        verdict
    }

    pub(crate) fn segments(&self) -> Vec<String> {
        self.disk.files().into_iter().filter(|name| name.starts_with("segment-")).collect()
    }

    /// I12: a bit flips, each in turn.
    pub(crate) fn every_bit_flip(&self) {
        let mut counts = [0; 4];
        for (name, size) in self.disk.sizes() {
            for bit in 0..size as usize * 8 {
                let damaged = self.disk.copy();
                damaged.flip_bit(&name, bit as u64);
                let inside = self
                    .unsealed
                    .as_ref()
                    .is_some_and(|(file, range)| *file == name && range.contains(&(bit / 8)));
                counts[self.recover(&damaged, inside, &format!("bit {bit} of {name}")) as usize] += 1;
            }
        }
        let [exact, refused, cut, shorter] = counts;
        println!(
            "bit flips: {exact} recovered exactly, {refused} refused, {cut} and {shorter} cut the unsealed batch"
        );
        assert!(exact > 0 && refused > 0, "{counts:?}");
        assert_eq!(
            cut + shorter,
            self.unsealed.as_ref().map_or(0, |(_, range)| range.len() * 8),
            "{counts:?}"
        );
        // Among the old bytes of a recycled segment, those of a torn batch without a sound header can't be told.
        assert!(self.recycled || shorter == 0, "{counts:?}");
    }

    /// A segment is shorter, by every length in turn.
    pub(crate) fn every_truncation(&self) {
        for name in self.segments().into_iter().rev() {
            let sound = self.disk.content(&name);
            for length in 0..sound.len() {
                let damaged = self.disk.copy();
                damaged.set_content(&name, &sound[..length]);
                let verdict = self.recover(&damaged, false, &format!("{name} cut to {length} bytes"));
                assert_eq!(verdict, Verdict::Refused, "{name} cut to {length} bytes");
            }
        }
    }

    /// A segment is missing, each but the last in turn: losing the last one is losing the newest batches, which only
    /// others can know of (S12).
    pub(crate) fn every_missing_segment(&self) {
        let segments = self.segments();
        assert!(segments.len() > 2, "{segments:?}");
        for name in &segments[..segments.len() - 1] {
            let mut damaged = self.disk.copy();
            damaged.remove(name).unwrap();
            assert_eq!(self.recover(&damaged, false, name), Verdict::Refused, "{name}");
        }
    }

    /// Every block over every other one: misdirected writes.
    pub(crate) fn every_misdirected_block(&self) {
        let block = BLOCK as usize;
        for from in self.segments() {
            let source = self.disk.content(&from);
            for to in self.segments() {
                let places = self.disk.content(&to).len() / block;
                for (place, at) in (0..source.len() / block).flat_map(|a| (0..places).map(move |b| (a, b))) {
                    let context = format!("block {place} of {from} at {at} of {to}");
                    let verdict =
                        self.replace_block(&to, at * block, &source[place * block..][..block], &context);
                    // In the free space behind the last batch it counts for nothing.
                    let free = self
                        .unsealed
                        .as_ref()
                        .is_some_and(|(file, range)| *file == to && at * block >= range.end);
                    assert!(!free || verdict == Verdict::Exact, "{context}");
                }
            }
        }
    }

    /// Every block as it was after an earlier step, in any file, and as zeros: writes that went missing.
    pub(crate) fn every_stale_block(&self) {
        let block = BLOCK as usize;
        let mut counts = [0; 4];
        for to in self.segments() {
            let sound = self.disk.content(&to);
            let mut stale = vec![("zeros".to_owned(), vec![0; sound.len()])];
            for (step, disk) in self.past.iter().enumerate() {
                stale.extend(
                    disk.files().iter().map(|file| (format!("{file} of step {step}"), disk.content(file))),
                );
            }
            for (from, content) in &stale {
                for at in (0..sound.len().min(content.len())).step_by(block) {
                    if content[at..at + block] != sound[at..at + block] {
                        let context = format!("{to} at {at} as in {from}");
                        counts[self.replace_block(&to, at, &content[at..at + block], &context) as usize] += 1;
                    }
                }
            }
        }
        println!("stale blocks: {counts:?} (exact, refused, cut, shorter)");
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
        assert_eq!(counts[2] + counts[3] > 0, self.unsealed.is_some(), "{counts:?}");
    }

    fn replace_block(&self, name: &str, at: usize, bytes: &[u8], context: &str) -> Verdict {
        let damaged = self.disk.copy();
        damaged.overwrite(name, at as u64, bytes);
        let block = BLOCK as usize;
        let inside = self.unsealed.as_ref().is_some_and(|(file, range)| {
            file == name && (range.start / block..range.end.div_ceil(block)).contains(&(at / block))
        });
        self.recover(&damaged, inside, context)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Exact,
    Refused,
    /// Without the last batch, and its torn remains told.
    Cut,
    /// Without the last batch, as if it had never been written.
    Shorter,
}

pub(crate) const SEALED: &[Step] = &[
    Commit(2, 40),
    Commit(1, 300),
    Seal,
    Commit(1, 250),
    Commit(3, 70),
    Commit(1, 400),
    Commit(2, 120),
    Seal,
];
pub(crate) const UNSEALED: &[Step] =
    &[Commit(2, 40), Commit(1, 300), Commit(1, 250), Seal, Commit(1, 500), Commit(2, 90)];
pub(crate) const RECYCLED: &[Step] = &[
    Commit(1, 400),
    Commit(1, 400),
    Commit(1, 400),
    KeepLast(1),
    Commit(1, 400),
    Commit(1, 400),
    Prepare,
    Prepare,
    Commit(1, 250),
    Commit(2, 90),
];
