//! An acceptor's records through the keeper to a disk in memory that loses power, fails or rots at every place: whatever
//! happens, the state that is opened is the one whose last change was persisted, or that with the one in flight.
//!
//! Run by the keeper's own tests, and by those of planted bugs. Absent on purpose: tests.

use std::cell::Cell;

use bytes::Bytes;
use synod_acceptor::durable::{Durable, Record};
use synod_acceptor::keeper::{Keeper, KeeperError};
use synod_acceptor::{Acceptor, Config};
use synod_journal::memory::{Fault, MemoryDisk};
use synod_journal::{Error, Options};
use synod_protocol::message::{Accept, ToAcceptor};
use synod_protocol::role::{Effects, Persist, Role};
use synod_protocol::value::Entry;
use synod_protocol::{AcceptorId, Ballot, Cluster, DiskAt, DiskId, Incarnations, ProposerId, Slot, Value};

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

/// What happens to a keeper.
#[derive(Clone)]
pub(crate) enum Step {
    /// One release.
    Persist(Vec<Record>),
    /// Nothing, long enough for everything that is done then.
    Idle,
}

use Step::{Idle, Persist as Release};

/// Over several segments, with promises between the votes.
pub(crate) fn voting() -> Vec<Step> {
    let mut steps: Vec<Step> = formed().into_iter().map(|record| Release(vec![record])).collect();
    steps.extend((1..=6).map(|slot| Release(vec![voted(1, slot, slot, 150)])));
    steps.insert(6, Idle);
    steps.push(Release(vec![voted(1, 7, 7, 10), voted(1, 8, 8, 0), voted(1, 9, 9, 600)]));
    steps.push(Release(vec![Record::Promised { ballot: ballot(2) }]));
    steps.push(Release(vec![Record::Promised { ballot: ballot(3) }, Record::Promised { ballot: ballot(4) }]));
    steps
}

pub(crate) fn truncated(floor: u64) -> Record {
    Record::Truncated { floor: Slot(floor) }
}

/// Another acceptor's disk has had so many records.
pub(crate) fn reached(records: u64) -> Record {
    let mut rows = Incarnations::default();
    rows.reached(AcceptorId(2), DiskAt::new(DiskId(22), records));
    Record::Reached { rows }
}

/// The floor rises again and again, over votes of several segments, beyond the held prefix, and over votes cast anew.
pub(crate) fn truncating() -> Vec<Step> {
    let mut steps = vec![Release(formed())];
    for slot in 1..=7 {
        steps.push(Release(vec![voted(1, slot, slot, 200)]));
    }
    steps.push(Release(vec![reached(300), truncated(4)]));
    steps.push(Idle);
    steps.push(Release(vec![voted(1, 8, 8, 300)]));
    // Cast anew at a higher ballot: what stood in older segments is needed no longer, and is replayed no longer.
    steps.push(Release((5..=8).map(|slot| voted(2, slot, 8, 150)).collect()));
    for slot in 9..=11 {
        steps.push(Release(vec![voted(2, slot, slot, 250)]));
    }
    steps.push(Release(vec![voted(2, 12, 12, 100), truncated(9), voted(2, 13, 13, 100)]));
    steps.push(Idle);
    // Slots that this acceptor missed; the floor has passed them.
    steps.push(Release(vec![voted(3, 16, 13, 400)]));
    steps.push(Release(vec![truncated(16), Record::Promised { ballot: ballot(4) }]));
    steps.push(Idle);
    steps.push(Release(vec![voted(4, 17, 15, 500)]));
    steps.push(Idle);
    steps
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

    fn run(&mut self, disk: &MemoryDisk, steps: Vec<Step>) -> Result<Keeper<MemoryDisk>, KeeperError> {
        let (mut keeper, _) = open(disk)?;
        for step in steps {
            match step {
                Release(records) => {
                    self.persist(&mut keeper, records)?;
                    keeper.after_batch()?;
                }
                Idle => while keeper.idle()? {},
            }
            self.loads(&mut keeper)?;
        }
        Ok(keeper)
    }

    /// Every value is read back as it was persisted.
    fn loads(&self, keeper: &mut Keeper<MemoryDisk>) -> Result<(), KeeperError> {
        for (slot, vote) in self.persisted.votes_above(Slot::ZERO) {
            let value = keeper.load(slot)?;
            assert!(vote.value.is(&value), "slot {slot}: {vote:?} was persisted, {value:?} is loaded");
        }
        Ok(())
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
            self.loads(&mut keeper).unwrap_or_else(|error| panic!("{context}: can't load: {error}"));
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
pub(crate) fn every_power_loss(steps: fn() -> Vec<Step>) {
    for after in 0.. {
        let disk = MemoryDisk::new();
        disk.plant(after, Fault::PowerLoss);
        let mut known = Known::nothing();
        if known.run(&disk, steps()).is_ok() {
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
pub(crate) fn every_failure(steps: fn() -> Vec<Step>) {
    for after in 0.. {
        let disk = MemoryDisk::new();
        disk.plant(after, Fault::Fails);
        let mut known = Known::nothing();
        let outcome = known.run(&disk, steps());
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
    let mut keeper = known.run(&disk, voting()).unwrap();
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

/// S11: what lies below the floor leaves the disk, or waits to be used again; of that there is no more than a round takes.
pub(crate) fn segments_go() {
    let disk = MemoryDisk::new();
    let mut known = Known::nothing();
    let mut keeper = known.run(&disk, truncating()).unwrap();
    for round in 0..20 {
        let first = 18 + round * 5;
        let held = known.persisted.head().held.0;
        let records = (first..first + 5).map(|slot| voted(4, slot, held, 300));
        records.for_each(|record| known.persist(&mut keeper, vec![record]).unwrap());
        known.persist(&mut keeper, vec![truncated(first + 4)]).unwrap();
        while keeper.idle().unwrap() {}
        known.loads(&mut keeper).unwrap();
        let segments = disk.files().iter().filter(|name| name.starts_with("segment-")).count();
        // Waiting in the first rounds: as many as were filled before the floor first rose.
        let most = if round < 5 { 9 } else { 6 };
        assert!(segments <= most, "round {round}: {segments} segments for one vote");
        if round % 5 == 4 {
            drop(keeper);
            let (again, found) = open(&disk).unwrap();
            assert_eq!(found, known.persisted, "round {round}");
            keeper = again;
        }
    }
}

/// S3: two votes at once, of every size, on a disk with every number of bytes left: what there is no room for isn't voted on, and nothing ends.
pub(crate) fn every_batch_on_a_full_disk() {
    let config = Config {
        id: ACCEPTOR,
        acceptors: [ACCEPTOR, AcceptorId(2)].into(),
        parameters: PARAMETERS,
        election_timeout_ms: 100,
        chunk_bytes: 1 << 20,
        cache_bytes: u64::MAX,
    };
    let (mut cast, mut refused) = (0, 0);
    for free in (0..6_000).step_by(250) {
        for bytes in (100..4_000).step_by(300) {
            let context = format!("votes of {bytes} bytes, {free} bytes of disk");
            let disk = MemoryDisk::new();
            let (mut keeper, mut durable) = open(&disk).unwrap();
            formed().iter().for_each(|record| durable.apply(record));
            keeper.persist(formed()).unwrap();
            let mut role = Acceptor::new(config.clone(), durable);
            keeper.tell(&mut role).unwrap();
            let used: u64 = disk.sizes().iter().map(|(_, size)| size).sum();
            disk.limit(Some(used + free));
            let mut next = 1;
            for _ in 0..12 {
                let entry = |slot| Entry { slot: Slot(slot), value: Value::new(vec![7; bytes].into()) };
                let entries = vec![entry(next), entry(next + 1)];
                let (chosen, floor) = (Slot(next - 1), Slot::FIRST);
                let accept = ToAcceptor::Accept(Accept { ballot: ballot(1), chosen, floor, entries });
                let mut effects = Effects::default();
                role.on_message(ProposerId(1).into(), accept, &mut effects).unwrap();
                role.end_of_batch(&mut effects);
                let released = effects.release(&mut keeper);
                let told = released.and_then(|_| keeper.after_batch()).and_then(|()| keeper.tell(&mut role));
                told.unwrap_or_else(|error| panic!("{context}: it ends: {error}"));
                let highest = role.durable().head().highest;
                (cast, refused) = (cast + highest.0 + 1 - next, refused + next + 1 - highest.0);
                next = highest.0 + 1;
            }
            let (_, left) = open(&disk.after_power_loss(|| false)).unwrap();
            assert!(left == *role.durable(), "{context}: memory is ahead of the disk");
        }
    }
    assert!(cast > 100 && refused > 100, "{cast} votes cast, {refused} refused");
}
