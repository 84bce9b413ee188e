//! An acceptor's records through the keeper to a disk in memory that loses power, fails or rots at every place: whatever
//! happens, the state that is opened is the one whose last change was persisted, or that with the one in flight.
//!
//! Run by the keeper's own tests, and by those of planted bugs. Absent on purpose: tests.

use std::cell::Cell;

use bytes::Bytes;
use synod_acceptor::durable::{Durable, Record};
use synod_acceptor::keeper::{Keeper, KeeperError};
use synod_journal::memory::{Fault, MemoryDisk};
use synod_journal::{Error, Options};
use synod_protocol::role::Persist;
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, Ballot, Cluster, DiskId, ProposerId, Slot, Value};

pub(crate) const PARAMETERS: u64 = 7;
const ACCEPTOR: AcceptorId = AcceptorId(1);
/// Little enough that most values are left to the disk at recovery.
const CACHE_BYTES: u64 = 300;

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

/// How many journals were opened on this thread since this was last asked.
pub(crate) fn take_runs() -> u64 {
    RUNS.take()
}

/// Both steps of formation.
pub(crate) fn formed() -> Vec<Record> {
    let disks = vec![(AcceptorId(1), DiskId(11)), (AcceptorId(2), DiskId(22))];
    let cluster = Cluster::id_of(PARAMETERS, 5, &disks);
    vec![Record::Prepared { formation: 5, disk: DiskId(11) }, Record::Opened { disks, cluster }]
}

/// A vote in this round.
pub(crate) fn voted(round: u64, slot: u64, held: u64, bytes: usize) -> Record {
    let value = Value::new(Bytes::from(vec![slot as u8; bytes]));
    Record::Voted {
        ballot: ballot(round),
        held: Slot(held),
        entries: vec![Entry { slot: Slot(slot), value }],
    }
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, proposer: ProposerId(1), life: 9 }
}

/// What is persisted, release by release: over several segments, with promises between the votes.
fn releases() -> Vec<Vec<Record>> {
    let mut releases: Vec<Vec<Record>> = formed().into_iter().map(|record| vec![record]).collect();
    for slot in 1..=6 {
        releases.push(vec![voted(1, slot, slot, 150)]);
    }
    releases.push(vec![voted(1, 7, 7, 10), voted(1, 8, 8, 0), voted(1, 9, 9, 600)]);
    releases.push(vec![Record::Promised { ballot: ballot(2) }]);
    releases.push(vec![Record::Promised { ballot: ballot(3) }, Record::Promised { ballot: ballot(4) }]);
    releases
}

fn open(disk: &MemoryDisk) -> Result<(Keeper<MemoryDisk>, Durable), KeeperError> {
    RUNS.set(RUNS.get() + 1);
    let options = Options { segment_bytes: 1024, block_bytes: 64, prepare_step_bytes: 512 };
    Keeper::open(disk.clone(), options, ACCEPTOR, PARAMETERS, CACHE_BYTES)
}

/// The acceptor's state by what is known of it.
#[derive(Clone, Debug)]
struct Known {
    persisted: Durable,
    /// With the release that was on its way.
    in_flight: Durable,
}

impl Known {
    fn nothing() -> Known {
        Known { persisted: Durable::empty(ACCEPTOR), in_flight: Durable::empty(ACCEPTOR) }
    }

    fn persist(&mut self, keeper: &mut Keeper<MemoryDisk>, records: Vec<Record>) -> Result<(), KeeperError> {
        records.iter().for_each(|record| self.in_flight.apply(record));
        keeper.persist(records)?;
        self.persisted = self.in_flight.clone();
        Ok(())
    }

    /// Persists everything; idle in the middle, when the journal is sealed.
    fn run(&mut self, disk: &MemoryDisk) -> Result<Keeper<MemoryDisk>, KeeperError> {
        let (mut keeper, _) = open(disk)?;
        for (place, records) in releases().into_iter().enumerate() {
            self.persist(&mut keeper, records)?;
            keeper.after_batch()?;
            if place == 5 {
                while keeper.idle()? {}
            }
        }
        Ok(keeper)
    }

    fn check(&self, found: &Durable, context: &str) {
        assert!(
            *found == self.persisted || *found == self.in_flight,
            "{context}: opened {found:?}, persisted {:?}",
            self.persisted
        );
    }

    /// Acceptors start one after the other on a disk whose power stays on. What each is told, and what it persists, outlives a
    /// power loss that keeps only what is synced by then.
    fn goes_on(mut self, disk: &MemoryDisk, context: &str) {
        for round in 5..8 {
            let context = format!("{context}; round {round}");
            let (mut keeper, found) = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            self.check(&found, &context);
            self = Known { persisted: found.clone(), in_flight: found };
            let after_power_loss = |known: &Known| {
                let opened = open(&disk.after_power_loss(|| false));
                let (_, left) = opened.unwrap_or_else(|error| panic!("{context}: persisted, then {error}"));
                assert_eq!(left, known.persisted, "{context}: persisted, and lost");
            };
            after_power_loss(&self);
            let held = self.persisted.head().held.0;
            for slot in 20..23 {
                self.persist(&mut keeper, vec![voted(round, slot, held, 200)]).unwrap();
            }
            after_power_loss(&self);
        }
    }
}

/// S2: the power goes at every operation; nothing, everything, or this or that of what was in flight survives.
pub(crate) fn every_power_loss() {
    for after in 0.. {
        let disk = MemoryDisk::new();
        disk.plant(after, Fault::PowerLoss);
        let mut known = Known::nothing();
        if known.run(&disk).is_ok() {
            assert!(after > 50, "{after} operations");
            break;
        }
        // A linear congruential sequence from each place: enough to tear writes anyhow.
        for kept_of_8 in 0..=8 {
            let mut piece = after;
            let left = disk.after_power_loss(|| {
                piece = piece.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (piece >> 33) % 8 < kept_of_8
            });
            known.clone().goes_on(&left, &format!("power lost at operation {after}, kept {kept_of_8}/8"));
        }
    }
}

/// S3: every operation fails once, the process ends, and others start on the running machine.
pub(crate) fn every_failure() {
    for after in 0.. {
        let disk = MemoryDisk::new();
        disk.plant(after, Fault::Fails);
        let mut known = Known::nothing();
        let outcome = known.run(&disk);
        if disk.planted() > 0 {
            assert!(after > 50, "{after} operations");
            break;
        }
        assert!(outcome.is_err(), "failure at operation {after}: nobody was told");
        disk.kill();
        known.goes_on(&disk, &format!("failure at operation {after}"));
    }
}

/// I12: every bit flips, each in turn. What is opened is exact or refused; only the last release may be missing, and only
/// when the journal had no time to be sealed.
pub(crate) fn every_bit_flip(sealed: bool) {
    let disk = MemoryDisk::new();
    let mut known = Known::nothing();
    let mut keeper = known.run(&disk).unwrap();
    let before = known.persisted.clone();
    known.persist(&mut keeper, vec![voted(4, 11, 9, 100)]).unwrap();
    if sealed {
        keeper.seal().unwrap();
    }
    let (mut exact, mut refused, mut shorter) = (0, 0, 0);
    for (name, size) in disk.sizes() {
        for bit in 0..size * 8 {
            let damaged = disk.copy();
            damaged.flip_bit(&name, bit);
            match open(&damaged) {
                Ok((_, found)) if found == known.persisted => exact += 1,
                Ok((_, found)) => {
                    assert!(!sealed && found == before, "bit {bit} of {name}: opened {found:?}");
                    shorter += 1;
                }
                Err(KeeperError::Journal(Error::Damaged { .. } | Error::Format { .. })) => refused += 1,
                Err(error) => panic!("bit {bit} of {name}: {error}"),
            }
        }
    }
    println!("bit flips: {exact} harmless, {refused} refused, {shorter} took the last, unsealed release");
    assert!(exact > 0 && refused > 0 && sealed == (shorter == 0), "{exact} {refused} {shorter}");
}
