//! What is lost with the power, and what isn't.

use synod_journal::memory::MemoryDisk;

use crate::trials::oracle::{Oracle, open, options};
use crate::trials::power_loss::{
    BULK, RECYCLING, SCRIPT, every_kill, every_power_loss, every_power_loss_twice,
};

#[test]
fn power_loss_at_every_operation() {
    every_power_loss(&options(1024, 64), SCRIPT);
}

#[test]
fn power_loss_at_every_operation_with_large_blocks() {
    every_power_loss(&options(2048, 256), SCRIPT);
}

#[test]
fn power_loss_at_every_operation_while_segments_are_recycled() {
    every_power_loss(&options(1024, 64), RECYCLING);
}

#[test]
fn power_loss_at_every_operation_of_two_lives() {
    every_power_loss_twice(&options(1024, 64), BULK);
    every_power_loss_twice(&options(1024, 64), SCRIPT);
}

#[test]
fn a_killed_process_loses_nothing_it_wrote() {
    every_kill(&options(1024, 64), SCRIPT);
    every_kill(&options(1024, 64), RECYCLING);
}

#[test]
fn recovery_twice_is_the_same() {
    let disk = MemoryDisk::new();
    let options = options(1024, 64);
    let (_, mut journal) = open(&disk, &options).unwrap();
    Oracle::default().run(&mut journal, SCRIPT, 1).unwrap();
    let (first, _) = open(&disk, &options).unwrap();
    assert!(first.summary.rewritten);
    let (second, _) = open(&disk, &options).unwrap();
    assert_eq!(first.records, second.records);
    assert!(!second.summary.rewritten, "the rewritten batch is sealed by the head before it");
    let operations = disk.operations();
    let (third, _) = open(&disk, &options).unwrap();
    assert_eq!(
        (third, disk.operations()),
        (second, operations + 1),
        "a sealed, clean end only syncs the directory"
    );
}
