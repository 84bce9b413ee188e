//! A learner's state through the keeper to a disk in memory that loses power, fails, fills up or rots at every place: whatever happens,
//! the state that is opened is one whose checkpoint was begun, and no older than the last that was called synced.
//!
//! Run by the keeper's own tests, and by those of planted bugs. Absent on purpose: tests.

use std::cell::Cell;
use std::collections::BTreeMap;

use synod_journal::memory::{Fault, MemoryDisk};
use synod_journal::{Disk, DiskFile};
use synod_learner::keeper::{Keeper, KeeperError, Options, Recovered, verify};
use synod_protocol::cluster::Limits;
use synod_protocol::command::{BatchBuilder, Call, Command, Operation, SessionId};
use synod_protocol::{ClusterId, LearnerId, Slot};
use synod_store::{MemoryStorage, StateMachine};

pub(crate) const LEARNER: LearnerId = LearnerId(2);
pub(crate) const CLUSTER: ClusterId = ClusterId(77);
pub(crate) const LIMITS: Limits = Limits { key_bytes: 9, value_bytes: 99, session_window: 9, sessions: 9 };
/// Several chunks in a checkpoint.
pub(crate) const OPTIONS: Options = Options { learner: LEARNER, limits: LIMITS, chunk_bytes: 150, seed: 7 };

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

/// How many directories were opened on this thread since this was last asked.
#[allow(dead_code, reason = "asked by the tests of planted bugs")]
pub(crate) fn take_runs() -> u64 {
    RUNS.take()
}

pub(crate) fn open(disk: &MemoryDisk) -> (Keeper<MemoryDisk>, Recovered) {
    RUNS.set(RUNS.get() + 1);
    Keeper::open(disk.clone(), OPTIONS).unwrap_or_else(|error| panic!("it isn't opened: {error}"))
}

/// A learner's life: what it applied, and the states of its checkpoints.
pub(crate) struct Life {
    pub(crate) machine: StateMachine<MemoryStorage>,
    /// By their slots; that of slot 0 too.
    pub(crate) states: BTreeMap<Slot, StateMachine<MemoryStorage>>,
    /// The highest slot that was called synced.
    pub(crate) synced: Slot,
}

/// Keys put in each round: a whole checkpoint, some changes, and a whole one again once they are as large.
const ROUNDS: [u64; 6] = [9, 2, 3, 5, 1, 1];

impl Life {
    pub(crate) fn new() -> Life {
        let machine = StateMachine::new(LIMITS, MemoryStorage::default());
        Life { states: BTreeMap::from([(Slot::ZERO, machine.clone())]), machine, synced: Slot::ZERO }
    }

    /// Puts some keys, deletes one, and goes on in its session.
    fn apply(&mut self, keys: u64) {
        let slot = self.machine.applied().next();
        let mut batch = BatchBuilder::default();
        batch.push(&Command::Open { nonce: 5 });
        let session = SessionId { slot: Slot(1), position: 0 };
        for number in 0..keys {
            let (key, value) = ([b'k', number as u8], [slot.0 as u8; 30]);
            let sequence = slot.0 * 10 + number;
            let operation = Operation::Put { key: &key, value: &value };
            batch.push(&Command::Call(Call { session, sequence, lowest: slot.0 * 10, operation }));
        }
        let operation = Operation::Delete { key: b"k\x02" };
        batch.push(&Command::Call(Call {
            session,
            sequence: slot.0 * 10 + 8,
            lowest: slot.0 * 10,
            operation,
        }));
        self.machine.apply(slot, &batch.finish().0);
    }

    /// One checkpoint, step by step.
    pub(crate) fn checkpoint<D: Disk>(&mut self, keeper: &mut Keeper<D>) -> Result<(), KeeperError> {
        let slot = self.machine.applied();
        self.states.insert(slot, self.machine.clone());
        keeper.begin(self.machine.image(), CLUSTER, false)?;
        for _ in 0..100 {
            if let Some(synced) = keeper.step()? {
                assert_eq!(synced, slot, "S11: it is synced up to the slot of its image");
                self.synced = synced;
                return Ok(());
            }
        }
        panic!("a checkpoint without an end");
    }

    pub(crate) fn rounds<D: Disk>(&mut self, keeper: &mut Keeper<D>) -> Result<(), KeeperError> {
        for keys in ROUNDS {
            self.apply(keys);
            self.checkpoint(keeper)?;
        }
        Ok(())
    }

    /// All of it, on an empty disk or one that is written already.
    pub(crate) fn run(&mut self, disk: &MemoryDisk) -> Result<(), KeeperError> {
        let (mut keeper, _) = Keeper::open(disk.clone(), OPTIONS)?;
        self.rounds(&mut keeper)
    }

    /// What is opened must be a state of this life, and no older than what was synced.
    fn check(&self, recovered: &Recovered, when: &str) {
        let slot = recovered.machine.applied();
        assert!(
            slot >= self.synced,
            "S11: slot {} was synced, and lost {when}: slot {slot} is left",
            self.synced
        );
        let state =
            self.states.get(&slot).unwrap_or_else(|| panic!("S7: no checkpoint was of slot {slot} {when}"));
        assert_eq!(&recovered.machine, state, "S7: another state than the checkpoint's {when}");
    }
}

/// What survives of what was in flight: nothing, everything, and some of it.
fn patterns() -> impl Iterator<Item = Box<dyn FnMut() -> bool>> {
    let fixed: [Box<dyn FnMut() -> bool>; 2] = [Box::new(|| false), Box::new(|| true)];
    let mixed = (1..=6_u64).map(|seed| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let keep: Box<dyn FnMut() -> bool> = Box::new(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 1
        });
        keep
    });
    fixed.into_iter().chain(mixed)
}

/// Operations of a whole life on this disk.
fn operations_on(disk: MemoryDisk) -> u64 {
    let before = disk.operations();
    Life::new().run(&disk).unwrap();
    disk.operations() - before
}

fn operations() -> u64 {
    operations_on(MemoryDisk::new())
}

/// A disk on which a checkpoint was left unfinished.
fn with_leftover() -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let mut file = disk.create("checkpoint.new").unwrap();
    file.write_at(0, &mut [std::io::IoSlice::new(&[7; 300])]).unwrap();
    file.sync().unwrap();
    disk.sync_directory().unwrap();
    disk
}

/// The power goes at every operation; then again at every operation of the recovery; then it lives on.
pub(crate) fn every_power_loss() {
    [MemoryDisk::new(), with_leftover()].iter().for_each(every_power_loss_on);
}

fn every_power_loss_on(before: &MemoryDisk) {
    for at in 0..operations_on(before.copy()) {
        let disk = before.copy();
        disk.plant(at, Fault::PowerLoss);
        let mut life = Life::new();
        life.run(&disk).unwrap_err();
        for (pattern, keep) in patterns().enumerate() {
            let when = format!("by a loss of power at operation {at}, pattern {pattern}");
            let disk = disk.after_power_loss(keep);
            interrupted(&life, &disk, &when);
            let (mut keeper, recovered) = open(&disk);
            life.check(&recovered, &when);
            assert_eq!(recovered.set_aside, [], "a loss of power looks like damage {when}");
            // A process that knows of it reports it: from here on it is durable.
            let after = disk.after_power_loss(|| false);
            let mut known = Life { synced: recovered.machine.applied(), ..Life::new() };
            known.states = life.states.clone();
            known.check(&open(&after).1, &format!("{when}, and again after recovery"));
            known.machine = recovered.machine;
            known.apply(4);
            known.checkpoint(&mut keeper).unwrap();
            drop(keeper);
            known.check(&open(&disk.after_power_loss(|| false)).1, &format!("{when}, then lived on"));
        }
    }
}

/// I16: the recovery is interrupted at each of its operations, and comes to the same when it is done again.
fn interrupted(life: &Life, disk: &MemoryDisk, when: &str) {
    for at in 0.. {
        let disk = disk.copy();
        disk.plant(at, Fault::PowerLoss);
        if Keeper::open(disk.clone(), OPTIONS).is_ok() {
            return;
        }
        let disk = disk.after_power_loss(|| at % 2 == 0);
        life.check(&open(&disk).1, &format!("{when}, recovery interrupted at {at}"));
    }
}

/// Every operation fails once, or from then on; the process ends, and its machine may lose power.
pub(crate) fn every_failure() {
    for at in 0..operations() {
        for fault in [Fault::Fails, Fault::FailsForEver] {
            let disk = MemoryDisk::new();
            disk.plant(at, fault);
            let mut life = Life::new();
            let error = life.run(&disk).unwrap_err();
            assert!(!error.is_no_space(), "{error}");
            let when = format!("by {fault:?} at operation {at}");
            disk.kill();
            disk.clear_faults();
            life.check(&open(&disk.copy()).1, &when);
            life.check(&open(&disk.after_power_loss(|| false)).1, &when);
        }
    }
}

/// The files of a whole life: one whole checkpoint and what changed.
fn written() -> (Life, MemoryDisk) {
    let (disk, mut life) = (MemoryDisk::new(), Life::new());
    life.run(&disk).unwrap();
    assert!(disk.files().len() > 1, "there is more than one file: {:?}", disk.files());
    (life, disk)
}

/// Every cut and every changed bit of every file.
pub(crate) fn every_damage() {
    let (life, disk) = written();
    for (name, size) in disk.sizes() {
        let content = disk.content(&name);
        for length in 0..size {
            let cut = disk.copy();
            cut.set_content(&name, &content[..length as usize]);
            damaged(&life, &cut, &name, &format!("cut to {length} bytes"));
        }
        for bit in 0..size * 8 {
            let flipped = disk.copy();
            flipped.flip_bit(&name, bit);
            damaged(&life, &flipped, &name, &format!("bit {bit} changed"));
        }
        let longer = disk.copy();
        longer.set_content(&name, &[&content[..], &[0]].concat());
        damaged(&life, &longer, &name, "a byte longer");
    }
}

/// The damaged file is found, kept under another name, and an older state is opened, whole.
fn damaged(life: &Life, disk: &MemoryDisk, name: &str, what: &str) {
    let content = disk.content(name);
    let verified = verify(disk.clone(), LIMITS).unwrap();
    assert!(verified.flaws.iter().any(|flaw| flaw.name == name), "{name} with {what} passes for sound");
    let (_, recovered) = open(disk);
    let aside = recovered.set_aside.iter().find(|aside| aside.name == name);
    let aside = aside.unwrap_or_else(|| panic!("{name} with {what} is taken for a checkpoint"));
    assert!(disk.files().contains(&aside.renamed), "{name} with {what} was removed");
    assert_eq!(disk.content(&aside.renamed), content, "{name} with {what} was changed");
    let slot = recovered.machine.applied();
    assert_eq!(Some(&recovered.machine), life.states.get(&slot), "S7: another state, {name} with {what}");
    assert_eq!((verified.applied, verified.chain), (slot, recovered.machine.chain()));
    let again = open(disk).1;
    assert_eq!((again.machine, again.set_aside), (recovered.machine, vec![]), "I16: {name} with {what}");
}

/// A body that was written for an older checkpoint stands behind a newer one's head: a write that went missing.
pub(crate) fn a_stale_body() {
    let older = {
        let (disk, mut life) = (MemoryDisk::new(), Life::new());
        life.apply(3);
        life.checkpoint(&mut open(&disk).0).unwrap();
        disk
    };
    let name = older.files().pop().unwrap();
    let (disk, mut life) = (older.copy(), Life::new());
    life.apply(3);
    life.apply(3);
    let (mut keeper, _) = open(&disk);
    keeper.begin(life.machine.image(), CLUSTER, true).unwrap();
    while keeper.step().unwrap().is_none() {}
    let newer = disk.files().pop().unwrap();
    let (old, new) = (older.content(&name), disk.content(&newer));
    assert_eq!((old.len(), name != newer), (new.len(), true));
    disk.set_content(&newer, &[&new[..55], &old[55..]].concat());
    let (_, recovered) = open(&disk);
    assert_eq!(
        recovered.set_aside.len(),
        1,
        "a stale body is taken for slot {}",
        recovered.machine.applied()
    );
}

/// The disk is full after every number of bytes; the checkpoint is given up, and made when there is room.
pub(crate) fn every_full_disk() {
    let (_, disk) = written();
    let most: u64 = disk.sizes().iter().map(|(_, size)| size).sum();
    let mut given_up = 0;
    for capacity in (0..most).step_by(7) {
        let disk = MemoryDisk::new();
        disk.limit(Some(capacity));
        let mut life = Life::new();
        let (mut keeper, _) = open(&disk);
        for keys in ROUNDS {
            life.apply(keys);
            let Err(error) = life.checkpoint(&mut keeper) else { continue };
            assert!(error.is_no_space(), "{error}");
            assert!(
                !keeper.is_writing() && !disk.files().contains(&"checkpoint.new".into()),
                "{:?}",
                disk.files()
            );
            life.check(&open(&disk.copy()).1, &format!("with {capacity} bytes of disk"));
            given_up += 1;
        }
        disk.limit(None);
        life.apply(1);
        life.checkpoint(&mut keeper).unwrap();
        life.check(
            &open(&disk.after_power_loss(|| false)).1,
            &format!("with room again after {capacity} bytes"),
        );
    }
    assert!(given_up > 100, "{given_up}");
}
