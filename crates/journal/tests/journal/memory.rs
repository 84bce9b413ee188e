//! The disk in memory itself: what it keeps, loses, refuses and tells.

use std::io::{ErrorKind, IoSlice};

use synod_journal::memory::{Cost, Fault, MemoryDisk, MemoryFile, Operation, PowerLoss};
use synod_journal::{Disk, DiskFile};

fn write(file: &mut MemoryFile, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    let (one, other) = bytes.split_at(bytes.len() / 3);
    file.write_at(at, &mut [IoSlice::new(one), IoSlice::new(other)])
}

/// A disk with one synced file of these bytes.
fn disk_with(bytes: &[u8]) -> (MemoryDisk, MemoryFile) {
    let mut disk = MemoryDisk::new();
    let mut file = disk.create("file").unwrap();
    write(&mut file, 0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_directory().unwrap();
    (disk, file)
}

#[test]
fn a_synced_write_makes_nothing_else_durable() {
    let (disk, mut file) = disk_with(&[1; 100]);
    write(&mut file, 0, &[2; 20]).unwrap();
    file.write_synced_at(32, &mut [IoSlice::new(&[3; 10]), IoSlice::new(&[4; 10])]).unwrap();
    let expected = |first: u8| {
        let mut bytes = [1; 100];
        bytes[..20].fill(first);
        bytes[32..42].fill(3);
        bytes[42..52].fill(4);
        bytes
    };
    assert_eq!(disk.content("file"), expected(2), "both are seen");
    assert_eq!(disk.after_power_loss(|| false).content("file"), expected(1));
    assert_eq!(disk.after_power_loss(|| true).content("file"), expected(2));
    // What lies below it in the same place goes with it, or it would come back over it.
    write(&mut file, 40, &[5; 20]).unwrap();
    file.write_synced_at(50, &mut [IoSlice::new(&[6; 4])]).unwrap();
    let left = disk.after_power_loss(|| true);
    assert_eq!(left.content("file"), disk.content("file"));
    assert_eq!(disk.after_power_loss(|| false).content("file")[40..60], disk.content("file")[40..60]);
    // One that fails takes nothing of what is in flight elsewhere.
    disk.plant_on(Operation::Sync, 0, Fault::Fails);
    assert!(file.write_synced_at(64, &mut [IoSlice::new(&[7; 4])]).is_err());
    file.sync().unwrap();
    let left = disk.after_power_loss(|| false).content("file");
    assert_eq!((&left[..20], left[64]), (&[2; 20][..], 1));
}

#[test]
fn a_power_loss_keeps_what_is_synced_and_of_the_rest_what_is_chosen() {
    let (mut disk, mut file) = disk_with(&[1; 100]);
    write(&mut file, 50, &[2; 96]).unwrap();
    disk.create("new").unwrap();
    disk.rename("file", "renamed").unwrap();
    assert_eq!((disk.in_flight(), disk.content("renamed").len()), (5, 146));
    // The names in order, then the sectors in order.
    for (kept, expected) in [
        ([false; 5], PowerLoss { moves_lost: 2, sectors_lost: 3, ..PowerLoss::default() }),
        ([true; 5], PowerLoss { moves_kept: 2, sectors_kept: 3, ..PowerLoss::default() }),
        (
            [true, false, false, true, false],
            PowerLoss { moves_kept: 1, moves_lost: 1, sectors_kept: 1, sectors_lost: 2, torn_writes: 1 },
        ),
    ] {
        let (left, mut kept) = (disk.copy(), kept.into_iter());
        assert_eq!(left.power_loss(|| kept.next().unwrap()), expected);
        assert_eq!(left.in_flight(), 0);
    }
    let mut kept = [true, false, false, true, false].into_iter();
    disk.plant(0, Fault::PowerLoss);
    assert!(disk.sync_directory().is_err() && disk.is_off());
    disk.power_loss(|| kept.next().unwrap());
    assert!(!disk.is_off());
    assert_eq!(disk.sizes(), [("file".to_owned(), 114), ("new".to_owned(), 0)]);
    let torn = [&[1; 82][..], &[2; 32]].concat();
    assert_eq!(disk.content("file"), torn);
    // A file that was open is void; one opened afterwards isn't.
    assert!(write(&mut file, 0, b"late").is_err() && file.sync().is_err() && file.size().is_err());
    assert_eq!(disk.open("file").unwrap().size().unwrap(), 114);
    assert_eq!(disk.content("file"), torn);
}

#[test]
fn a_kill_keeps_everything_in_flight() {
    let (disk, mut file) = disk_with(b"synced");
    disk.plant(0, Fault::PowerLoss);
    assert!(write(&mut file, 0, b"SYNCED").is_err());
    assert!(disk.is_off() && disk.clone().create("other").is_err());
    disk.kill();
    assert!(file.sync().is_err(), "the process is gone");
    assert_eq!((disk.content("file"), disk.in_flight()), (b"SYNCED".to_vec(), 1));
    assert_eq!(disk.after_power_loss(|| false).content("file"), b"synced");
    disk.clone().open("file").unwrap().sync().unwrap();
    assert_eq!(disk.after_power_loss(|| false).content("file"), b"SYNCED");
}

#[test]
fn faults_strike_the_kind_they_are_planted_on_once_or_for_ever() {
    let (disk, mut file) = disk_with(&[0; 64]);
    disk.plant_on(Operation::Sync, 1, Fault::Fails);
    disk.plant_on(Operation::Read, 0, Fault::Fails);
    write(&mut file, 0, &[1; 64]).unwrap();
    assert!(file.size().is_err() && file.size().is_ok());
    file.sync().unwrap();
    write(&mut file, 0, &[2; 64]).unwrap();
    assert_eq!(disk.planted(), 1);
    assert!(file.sync().is_err());
    // The failed sync has dropped the write: it is seen, and a later sync doesn't bring it back.
    assert_eq!((disk.planted(), disk.in_flight()), (0, 0));
    write(&mut file, 0, &[3; 10]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.content("file"), [[3; 10].as_slice(), &[2; 54]].concat());
    assert_eq!(disk.after_power_loss(|| true).content("file"), [[3; 10].as_slice(), &[1; 54]].concat());
    disk.plant_on(Operation::Write, 0, Fault::FailsForEver);
    for _ in 0..3 {
        assert!(write(&mut file, 0, &[4; 64]).is_err());
    }
    assert_eq!(disk.content("file"), [[4; 32].as_slice(), &[2; 32]].concat(), "half of it was taken");
    disk.clear_faults();
    write(&mut file, 0, &[5; 64]).unwrap();
}

#[test]
fn a_lying_disk_reports_success() {
    let (disk, mut file) = disk_with(&[0; 64]);
    disk.plant_on(Operation::Write, 0, Fault::Vanishes);
    write(&mut file, 0, &[1; 32]).unwrap();
    write(&mut file, 32, &[2; 32]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.content("file"), [[1; 32], [2; 32]].concat());
    assert_eq!(disk.after_power_loss(|| true).content("file"), [[0; 32], [2; 32]].concat());
    disk.clone().rename("file", "renamed").unwrap();
    disk.plant_on(Operation::SyncDirectory, 0, Fault::Vanishes);
    disk.clone().sync_directory().unwrap();
    assert_eq!(disk.after_power_loss(|| false).files(), ["file"]);
}

#[test]
fn a_full_disk_takes_what_fits_and_gets_space_back() {
    let (mut disk, mut file) = disk_with(&[1; 100]);
    disk.limit(Some(150));
    assert_eq!(write(&mut file, 90, &[2; 80]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.sizes(), [("file".to_owned(), 150)]);
    write(&mut file, 0, &[3; 150]).unwrap();
    let mut other = disk.create("other").unwrap();
    assert!(write(&mut other, 0, &[1]).is_err());
    disk.remove("file").unwrap();
    write(&mut other, 0, &[1; 150]).unwrap();
    disk.limit(Some(10));
    write(&mut other, 0, &[1; 150]).unwrap();
    assert!(write(&mut other, 0, &[1; 151]).is_err(), "what is there stays, and nothing is added");
}

#[test]
fn costs_are_told_once() {
    let (disk, mut file) = disk_with(&[1; 100]);
    assert_eq!(disk.take_cost(), Cost { writes: 1, bytes: 100, syncs: 2 });
    write(&mut file, 0, &[1; 7]).unwrap();
    assert_eq!(disk.take_cost(), Cost { writes: 1, bytes: 7, syncs: 0 });
    assert_eq!(disk.take_cost(), Cost::default());
}

#[test]
fn rot_is_durable_and_a_copy_is_another_disk() {
    let (disk, mut file) = disk_with(&[0; 9000]);
    let before = disk.copy();
    write(&mut file, 0, &[7; 10]).unwrap();
    disk.flip_bit("file", 8 * 5000 + 3);
    disk.overwrite("file", 8990, &[9; 10]);
    let (seen, left) = (disk.content("file"), disk.after_power_loss(|| false).content("file"));
    assert_eq!((seen[5000], &seen[8990..]), (8, &[9; 10][..]));
    assert_eq!((left[5000], &left[8990..], left[0], seen[0]), (8, &[9; 10][..], 0, 7));
    assert_eq!(before.content("file"), [0; 9000]);
}
