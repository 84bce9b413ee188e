//! Damage of every kind that a disk can do, and of kinds that have bitten others.

use std::ops::Range;

use synod_journal::Error;
use synod_journal::memory::MemoryDisk;

use crate::trials::damage::{BLOCK, RECYCLED, SEALED, UNSEALED, journaled, last_batch, recovered};
use crate::trials::oracle::{Oracle, Step, blob, open, options, read};

use Step::Commit;

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
    let journal = recovered(UNSEALED);
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
        journaled(script).every_missing_segment();
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
    for script in [SEALED, UNSEALED] {
        journaled(script).every_misdirected_block();
    }
}

#[test]
fn a_stale_block_never_passes() {
    for script in [SEALED, UNSEALED, RECYCLED] {
        journaled(script).every_stale_block();
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
