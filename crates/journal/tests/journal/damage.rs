//! Every bit flip, every truncation and every missing file of small journals; and damage of kinds that have bitten
//! others.
//!
//! I12: what was sealed is recovered exactly or refused. Only the last unsealed batch may be cut.

use std::ops::Range;

use synod_journal::{Error, Options};

use crate::oracle::{Oracle, Record, Step, blob, open, options, read};
use synod_journal::memory::MemoryDisk;

use Step::{Commit, KeepLast, Prepare, Seal};

const BLOCK: u64 = 64;

struct Journaled {
    disk: MemoryDisk,
    options: Options,
    records: Vec<Record>,
    /// Where the last batch is, when nothing says that it was synced.
    unsealed: Option<(String, Range<usize>)>,
    recycled: bool,
}

/// Runs a script on an empty disk; its last step must be a commit when the end is unsealed.
fn journaled(script: &[Step]) -> Journaled {
    let disk = MemoryDisk::new();
    let options = options(1024, BLOCK);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    oracle.run(&mut journal, script, 1).unwrap();
    let (found, _) = read(&disk, &options).unwrap();
    let unsealed = found.summary.rewritten.then(|| last_batch(&disk));
    assert_eq!(unsealed.is_some(), matches!(script.last(), Some(Commit(..))));
    Journaled { disk, options, records: found.records, unsealed, recycled: script == RECYCLED }
}

/// The place of the last entry, found by its magic at a block's start; its length stands in its header.
fn last_batch(disk: &MemoryDisk) -> (String, Range<usize>) {
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
            // Old bytes of a recycled segment look like a tail without a header.
            assert!(self.recycled || found.summary.cut.is_some(), "{context}: the cut is told");
            Verdict::Cut
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

    fn segments(&self) -> Vec<String> {
        self.disk.files().into_iter().filter(|name| name.starts_with("segment-")).collect()
    }

    fn every_bit_flip(&self) {
        let mut counts = [0; 3];
        for name in self.disk.files() {
            let sound = self.disk.content(&name);
            for bit in 0..sound.len() * 8 {
                let mut content = sound.clone();
                content[bit / 8] ^= 1 << (bit % 8);
                let damaged = self.disk.copy();
                damaged.set_content(&name, &content);
                let inside = self
                    .unsealed
                    .as_ref()
                    .is_some_and(|(file, range)| *file == name && range.contains(&(bit / 8)));
                counts[self.recover(&damaged, inside, &format!("bit {bit} of {name}")) as usize] += 1;
            }
        }
        let [exact, refused, cut] = counts;
        println!("bit flips: {exact} recovered exactly, {refused} refused, {cut} cut the unsealed batch");
        assert!(exact > 0 && refused > 0, "{counts:?}");
        assert_eq!(cut, self.unsealed.as_ref().map_or(0, |(_, range)| range.len() * 8), "{counts:?}");
    }

    fn every_truncation(&self) {
        for name in self.segments() {
            let sound = self.disk.content(&name);
            for length in 0..sound.len() {
                let damaged = self.disk.copy();
                damaged.set_content(&name, &sound[..length]);
                let verdict = self.recover(&damaged, false, &format!("{name} cut to {length} bytes"));
                assert_eq!(verdict, Verdict::Refused, "{name} cut to {length} bytes");
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Exact,
    Refused,
    Cut,
}

const SEALED: &[Step] = &[
    Commit(2, 40),
    Commit(1, 300),
    Seal,
    Commit(1, 250),
    Commit(3, 70),
    Commit(1, 400),
    Commit(2, 120),
    Seal,
];
const UNSEALED: &[Step] =
    &[Commit(2, 40), Commit(1, 300), Commit(1, 250), Seal, Commit(1, 500), Commit(2, 90)];
const RECYCLED: &[Step] = &[
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

#[test]
fn every_bit_flip_of_a_sealed_journal() {
    journaled(SEALED).every_bit_flip();
}

#[test]
fn every_bit_flip_of_an_unsealed_journal() {
    journaled(UNSEALED).every_bit_flip();
}

#[test]
fn every_bit_flip_of_a_recycled_journal() {
    let journal = journaled(RECYCLED);
    assert!(!journal.segments().contains(&"segment-0000000000000001".to_owned()), "the first one is dropped");
    journal.every_bit_flip();
}

#[test]
fn every_bit_flip_after_a_recovery() {
    // The last batch is written again to a new segment, where the head seals it; the old segment holds it too.
    let mut journal = journaled(UNSEALED);
    let (found, _) = open(&journal.disk, &journal.options).unwrap();
    assert!(found.summary.rewritten);
    journal.unsealed = None;
    journal.every_bit_flip();
    journal.every_truncation();
}

#[test]
fn every_truncation_is_refused() {
    for script in [SEALED, UNSEALED, RECYCLED] {
        journaled(script).every_truncation();
    }
}

#[test]
fn a_missing_segment_is_refused() {
    for script in [SEALED, UNSEALED, RECYCLED] {
        let journal = journaled(script);
        let segments = journal.segments();
        assert!(segments.len() > 2, "{segments:?}");
        for name in &segments[..segments.len() - 1] {
            let mut damaged = journal.disk.copy();
            synod_journal::Disk::remove(&mut damaged, name).unwrap();
            assert_eq!(journal.recover(&damaged, false, name), Verdict::Refused, "{name}");
        }
    }
}

#[test]
fn a_swapped_or_copied_segment_is_refused() {
    let journal = journaled(SEALED);
    let segments = journal.segments();
    for (from, to) in segments.iter().flat_map(|from| segments.iter().map(move |to| (from, to))) {
        if from != to {
            let damaged = journal.disk.copy();
            damaged.set_content(to, &journal.disk.content(from));
            let error = read(&damaged, &journal.options).unwrap_err().to_string();
            let number = from.strip_prefix("segment-").unwrap();
            assert!(error.contains(&format!("{to} at offset 0: the file holds segment {number}")), "{error}");
        }
    }
}

#[test]
fn a_segment_that_goes_on_beyond_its_successor_is_refused() {
    // The first segment holds three batches, and a second one goes on after the first of them: two pasts.
    let disk = MemoryDisk::new();
    let options = options(1024, BLOCK);
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut oracle = Oracle::default();
    oracle.commit(&mut journal, 1, 50, 1).unwrap();
    let other = disk.copy();
    oracle.run(&mut journal, &[Commit(1, 50), Commit(1, 50)], 1).unwrap();
    open(&other, &options).unwrap();
    other.set_content(&journal_name(1), &disk.content(&journal_name(1)));
    let error = read(&other, &options).unwrap_err();
    assert!(
        error.to_string().contains("batch 3 is here, but segment-0000000000000002 goes on after batch 1"),
        "{error}"
    );
}

#[test]
fn a_block_at_a_wrong_place_never_passes() {
    // Every block over every other one: misdirected writes.
    let journal = journaled(UNSEALED);
    let (file, range) = journal.unsealed.clone().unwrap();
    let block = BLOCK as usize;
    for from in journal.segments() {
        let source = journal.disk.content(&from);
        for to in journal.segments() {
            let target = journal.disk.content(&to);
            for (place, at) in
                (0..source.len() / block).flat_map(|a| (0..target.len() / block).map(move |b| (a, b)))
            {
                let mut content = target.clone();
                content[at * block..][..block].copy_from_slice(&source[place * block..][..block]);
                let damaged = journal.disk.copy();
                damaged.set_content(&to, &content);
                let inside = to == file && (range.start / block..range.end.div_ceil(block)).contains(&at);
                let context = format!("block {place} of {from} at {at} of {to}");
                let verdict = journal.recover(&damaged, inside, &context);
                // In the free space behind the last batch it counts for nothing.
                assert!(to != file || at * block < range.end || verdict == Verdict::Exact, "{context}");
            }
        }
    }
}

#[test]
fn damage_before_a_later_batch_is_never_the_end() {
    // The whole second batch is wiped, its header too; then also all but the header of the batch after it.
    let disk = MemoryDisk::new();
    let options = options(4096, BLOCK);
    let (_, mut journal) = open(&disk, &options).unwrap();
    Oracle::default().run(&mut journal, &[Commit(1, 50), Commit(1, 200), Commit(1, 100)], 1).unwrap();
    let name = journal_name(1);
    let (_, third) = last_batch(&disk);
    let sound = disk.content(&name);
    let second = third.start - 5 * BLOCK as usize;
    assert!(sound[second..].starts_with(b"SyJe"));
    for keep_payload in [true, false] {
        let mut content = sound.clone();
        content[second..third.start].fill(0);
        if !keep_payload {
            content[third.start + BLOCK as usize..third.end].fill(0);
        }
        disk.set_content(&name, &content);
        let error = read(&disk, &options).unwrap_err();
        let Error::Damaged { name: found, offset, what } = &error else { panic!("{error}") };
        assert_eq!((found, *offset as usize), (&name, second));
        assert!(what.contains("batch 2") && what.contains(&third.start.to_string()), "{what}");
        let text = error.to_string();
        assert!(text.contains("readmit") && text.contains("never restore"), "{text}");
    }
}

#[test]
fn a_value_that_holds_journal_bytes_is_only_a_value() {
    // A client stores a copy of a segment; the batch with it is torn at its first block. The copy, block for block at
    // places that are searched, must not pass for a later batch.
    let source = journaled(SEALED);
    let disk = MemoryDisk::new();
    let options = options(4096, BLOCK);
    let (_, mut journal) = open(&disk, &options).unwrap();
    journal.append(b"first", []);
    journal.commit(|| blob(0)).unwrap();
    let copy = source.disk.content(&journal_name(1));
    // The payload starts a block after the header, with a length of four bytes.
    let value = [&[0; BLOCK as usize - 4][..], &copy].concat();
    journal.append(&value, []);
    journal.commit(|| blob(1)).unwrap();
    let (name, range) = last_batch_with_payload(&disk, value.len() + 4);
    let mut content = disk.content(&name);
    assert_eq!(content[range.start + 2 * BLOCK as usize..][..copy.len()], copy);
    content[range.start] ^= 1;
    disk.set_content(&name, &content);
    let (found, _) = read(&disk, &options).unwrap();
    assert_eq!(found.records, [(1, b"first".to_vec())]);
    assert_eq!(found.summary.cut.unwrap().offset as usize, range.start);
}

#[test]
fn another_format_is_told_apart() {
    let journal = journaled(SEALED);
    let name = journal_name(1);
    let mut content = journal.disk.content(&name);
    content[8..12].copy_from_slice(&2u32.to_le_bytes());
    journal.disk.set_content(&name, &content);
    let error = read(&journal.disk, &journal.options).unwrap_err();
    assert!(matches!(error, Error::Format { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn the_caller_can_refuse() {
    let journal = journaled(SEALED);
    let refuse = |_| Err("the cluster is another one".into());
    let error = synod_journal::Recovery::read(journal.disk, journal.options, refuse).unwrap_err();
    assert_eq!(
        error.to_string(),
        "refused at segment-0000000000000001, offset 0: the cluster is another one"
    );
}

fn journal_name(segment: u64) -> String {
    format!("segment-{segment:016x}")
}

/// Finds the batch by the payload length in its header, since its payload may hold the magic too.
fn last_batch_with_payload(disk: &MemoryDisk, payload: usize) -> (String, Range<usize>) {
    let name = journal_name(1);
    let content = disk.content(&name);
    let is_it = |at: &usize| content[at + 32..at + 40] == (payload as u64).to_le_bytes();
    let at = (0..content.len()).step_by(BLOCK as usize).find(is_it).unwrap();
    (name, at..at + BLOCK as usize + payload)
}
