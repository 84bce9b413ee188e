//! Whose directory it is, and a keeper over real files.

use std::path::Path;

use synod_journal::directory::Directory;
use synod_journal::directory::read_only::ReadOnly;
use synod_journal::memory::MemoryDisk;
use synod_learner::keeper::{Keeper, KeeperError, Options, verify};
use synod_protocol::cluster::Limits;
use synod_protocol::{LearnerId, Slot};

use crate::trials::{CLUSTER, LEARNER, LIMITS, Life, OPTIONS, open};

#[test]
fn the_directory_of_another_is_refused_and_not_changed() {
    let disk = MemoryDisk::new();
    Life::new().run(&disk).unwrap();
    let before = disk.sizes();
    let other = Options { learner: LearnerId(9), ..OPTIONS };
    let refused = Keeper::open(disk.clone(), other).unwrap_err();
    assert!(matches!(refused, KeeperError::OtherLearner { found: LEARNER, .. }), "{refused}");
    let limits = Options { limits: Limits { sessions: 5, ..LIMITS }, ..OPTIONS };
    let refused = Keeper::open(disk.clone(), limits).unwrap_err();
    assert!(matches!(refused, KeeperError::OtherLimits), "{refused}");
    assert_eq!(disk.sizes(), before);
    assert_eq!(open(&disk).1.cluster, Some(CLUSTER));
}

#[test]
fn another_release_is_told_and_left_alone() {
    let disk = MemoryDisk::new();
    Life::new().run(&disk).unwrap();
    let name = disk.files().pop().unwrap();
    let mut content = disk.content(&name);
    content[8] = 2;
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&content[..47], 0);
    content[47..55].copy_from_slice(&checksum.to_le_bytes());
    disk.set_content(&name, &content);
    let before = disk.sizes();
    let refused = Keeper::open(disk.clone(), OPTIONS).unwrap_err();
    assert!(matches!(refused, KeeperError::Format { format: 2, .. }), "{refused}");
    assert_eq!(disk.sizes(), before);
}

#[test]
fn real_files_hold_a_state_and_are_looked_at_without_a_change() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("directories-{}", std::process::id()));
    let mut life = Life::new();
    let (mut keeper, recovered) = Keeper::open(Directory::open(&folder).unwrap(), OPTIONS).unwrap();
    assert_eq!((recovered.machine.applied(), recovered.cluster), (Slot::ZERO, None));
    let refused = ReadOnly::open(&folder).unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    life.rounds(&mut keeper).unwrap();
    drop(keeper);
    let (_, recovered) = Keeper::open(Directory::open(&folder).unwrap(), OPTIONS).unwrap();
    assert_eq!(&recovered.machine, life.states.last_key_value().unwrap().1);
    let verified = verify(ReadOnly::open(&folder).unwrap(), LIMITS).unwrap();
    assert_eq!((verified.applied, verified.flaws.len()), (recovered.machine.applied(), 0));
    assert_eq!((verified.chain, verified.owner), (recovered.machine.chain(), Some((LEARNER, CLUSTER))));
    std::fs::remove_dir_all(&folder).unwrap();
}
