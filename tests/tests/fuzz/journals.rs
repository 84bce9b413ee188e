//! Journals on damaged disks.

use std::collections::BTreeMap;

use bolero::check;
use bytes::Bytes;
use synod_journal::memory::MemoryDisk;
use synod_journal::{Disk, Journal, Options, Recovery, Replayed, Summary};

use crate::{RANDOM_INPUTS, alone, within};

const OPTIONS: Options = Options { segment_bytes: 1024, block_bytes: 64, prepare_step_bytes: 512 };
/// Memory for each byte on the disk: a segment as a whole, each batch of it, and what is replayed.
const MEMORY_PER_BYTE: usize = 4;
const MEMORY_PER_JOURNAL: usize = 64 << 10;

/// The records of each batch, by its number.
type Batches = BTreeMap<u64, Vec<Bytes>>;

/// What was committed.
#[derive(Default)]
struct Written {
    batches: Batches,
    /// Every batch up to this one was sealed, or followed by another.
    proved: u64,
}

/// What a journal gives back, batch by batch, if it is sound.
fn recover(disk: &MemoryDisk) -> Option<(Recovery<MemoryDisk>, Batches)> {
    let mut batches = Batches::new();
    let on_disk: u64 = disk.sizes().iter().map(|(_, bytes)| bytes).sum();
    let limit = on_disk as usize * MEMORY_PER_BYTE + MEMORY_PER_JOURNAL;
    let recovery = within(limit, || {
        Recovery::read(disk.clone(), OPTIONS, |replayed| {
            if let Replayed::Record { place, record } = replayed {
                let batch = place.batch();
                assert!(
                    batches.last_key_value().is_none_or(|(last, _)| *last <= batch),
                    "{batch} comes late"
                );
                batches.entry(batch).or_default().push(record);
            }
            Ok(())
        })
    });
    Some((recovery.ok()?, batches))
}

/// Starts what was recovered and recovers it again: nothing may have changed (I16).
fn starts_and_is_the_same(recovery: Recovery<MemoryDisk>, disk: &MemoryDisk, mut batches: Batches) {
    let Summary { batches: last, .. } = *recovery.summary();
    let mut journal = recovery.start(b"blob").expect("the disk has room and works");
    assert_eq!(journal.position(), last);
    journal.append(b"one more", []);
    journal.commit(|| b"blob").expect("the disk has room and works");
    journal.seal().expect("the disk works");
    batches.insert(last + 1, vec![Bytes::from_static(b"one more")]);
    let (_, again) = recover(disk).expect("it was sound, and was sealed");
    assert_eq!(again, batches);
}

/// The bytes are a segment, or two that meet at the middle.
#[test]
fn of_any_bytes() {
    let _alone = alone();
    check!().with_iterations(RANDOM_INPUTS).for_each(|bytes: &[u8]| {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for segments in [vec![bytes], vec![first, second]] {
            let mut disk = MemoryDisk::new();
            for (number, content) in (1..).zip(segments) {
                let name = format!("segment-{number:016x}");
                disk.create(&name).unwrap();
                disk.set_content(&name, content);
            }
            if let Some((recovery, batches)) = recover(&disk) {
                starts_and_is_the_same(recovery, &disk, batches);
            }
        }
    });
}

/// The first half of the bytes writes a journal, the rest damages it.
#[test]
fn damaged() {
    let _alone = alone();
    check!().with_iterations(RANDOM_INPUTS).for_each(|bytes: &[u8]| {
        let (script, damage) = bytes.split_at(bytes.len() / 2);
        let disk = MemoryDisk::new();
        let written = write(&disk, script);
        let (_, sound) = recover(&disk).expect("nothing is damaged yet");
        assert_eq!(sound, written.batches);
        let damaged = damage_it(&disk, damage);
        let Some((recovery, batches)) = recover(&disk) else {
            assert!(damaged > 0, "an undamaged journal is refused");
            return;
        };
        // I12: no wrong byte, whatever was damaged; and what one damage may take away is the last batch, if nothing proves it synced.
        let left = batches.len() as u64;
        assert!(
            batches.iter().eq(written.batches.iter().take(left as usize)),
            "{batches:?} was never written"
        );
        assert!(damaged > 1 || left >= written.proved, "{left} batches are left");
        starts_and_is_the_same(recovery, &disk, batches);
    });
}

fn write(disk: &MemoryDisk, script: &[u8]) -> Written {
    let (recovery, _) = recover(disk).expect("an empty disk is sound");
    let mut journal: Journal<MemoryDisk> = recovery.start(b"blob").expect("the disk has room and works");
    let (mut written, mut staged) = (Written::default(), Vec::new());
    for byte in script {
        match byte % 8 {
            0..=2 => {
                let record = Bytes::from(vec![*byte; usize::from(*byte)]);
                journal.append(&record[..record.len() / 2], [record.slice(record.len() / 2..)]);
                staged.push(record);
            }
            3 | 4 if !staged.is_empty() => {
                journal.commit(|| vec![*byte; usize::from(byte / 2)]).expect("the disk has room and works");
                written.proved = written.batches.len() as u64;
                written.batches.insert(written.proved + 1, std::mem::take(&mut staged));
            }
            3 | 4 => {}
            5 => {
                journal.seal().expect("the disk works");
                written.proved = written.batches.len() as u64;
            }
            6 => {
                journal.prepare_step().expect("the disk has room and works");
            }
            _ => {
                let (recovery, _) = recover(disk).expect("nothing is damaged yet");
                journal = recovery.start(b"blob").expect("the disk has room and works");
                staged.clear();
            }
        }
    }
    written
}

/// Each four bytes change one place; how many places are changed.
fn damage_it(disk: &MemoryDisk, damage: &[u8]) -> usize {
    let mut damaged = 0;
    for word in damage.chunks_exact(4) {
        let files = disk.sizes();
        let (name, size) = &files[usize::from(word[0] & 0xf) % files.len()];
        let at = u64::from(u16::from_le_bytes([word[1], word[2]]));
        if word[0] & 0x80 != 0 {
            let content = disk.content(name);
            disk.set_content(name, &content[..content.len().min(at as usize)]);
            damaged += usize::from(at < *size);
        } else if at < *size && word[3] != 0 {
            let byte = disk.content(name)[at as usize] ^ word[3];
            disk.overwrite(name, at, &[byte]);
            damaged += 1;
        }
    }
    damaged
}
