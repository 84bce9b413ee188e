//! Batches read back one by one, from the segment in use and from older ones, with a bit of them flipped since.

use bytes::Bytes;
use synod_journal::Error;
use synod_journal::memory::MemoryDisk;

use super::count_run;
use super::oracle::{blob, open, options};

/// I12: what is read back is exact or refused, wherever a bit has flipped under the running process.
pub(crate) fn every_bit_read_back() {
    let (disk, options) = (MemoryDisk::new(), options(1024, 64));
    let (_, mut journal) = open(&disk, &options).unwrap();
    let mut written = Vec::new();
    for batch in 1..=8 {
        let records = [vec![batch; 130], vec![], vec![batch; 3]];
        records.iter().for_each(|record| {
            journal.append(&record[..record.len() / 2], [record[record.len() / 2..].to_vec().into()])
        });
        journal.commit(|| blob(u64::from(batch) - 1)).unwrap();
        let place = journal.last_place().unwrap();
        assert_eq!(place.batch(), u64::from(batch));
        written.push((place, records.map(Bytes::from).to_vec()));
    }
    assert!(journal.segment() > 2);
    for (place, records) in written.iter().chain(written.iter().rev()) {
        assert_eq!(journal.read(*place).unwrap(), *records, "in any order");
    }
    journal.seal().unwrap();
    let (mut exact, mut refused) = (0, 0);
    for (place, records) in [written.first(), written.last()].into_iter().flatten() {
        let name = format!("segment-{:016x}", place.segment());
        for bit in place.offset() * 8..(place.offset() + 64 + 192) * 8 {
            count_run();
            let rotten = disk.copy();
            let (_, mut journal) = open(&rotten, &options).unwrap();
            rotten.flip_bit(&name, bit);
            match journal.read(*place) {
                Ok(found) => {
                    assert_eq!(found, *records, "bit {bit} of {name} flipped, read back as if it were sound");
                    exact += 1;
                }
                Err(Error::Damaged { offset, .. }) if offset == place.offset() => {
                    assert!(journal.read(*place).is_err(), "the process has to end");
                    refused += 1;
                }
                Err(error) => panic!("bit {bit} of {name}: {error}"),
            }
        }
    }
    assert!(exact > 0 && refused > exact, "padding is harmless, all else isn't: {exact}, {refused}");
}
