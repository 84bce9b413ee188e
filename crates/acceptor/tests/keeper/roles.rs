//! The role and its keeper together: values that are on disk only are served, and a full disk refuses votes and nothing else.

use bytes::Bytes;
use synod_acceptor::keeper::Keeper;
use synod_acceptor::{Acceptor, Config};
use synod_journal::Options;
use synod_journal::memory::MemoryDisk;
use synod_protocol::message::{
    Accept, Accepted, Fetch, FormStep, Message, Promise, Status, ToAcceptor, ToClient, ToProposer,
};
use synod_protocol::role::{Effects, Role};
use synod_protocol::value::Entry;
use synod_protocol::{
    AcceptorId, Ballot, ClientId, DiskAt, DiskId, Incarnations, NodeId, ProposerId, Slot, Value,
};

use crate::trials::PARAMETERS;

const P1: NodeId = NodeId::Proposer(ProposerId(1));
const ADMIN: NodeId = NodeId::Client(ClientId(9));
const CHUNK_BYTES: u64 = 1_000;
const SEGMENT_BYTES: u64 = 16 << 10;

/// An acceptor on a disk in memory.
struct World {
    disk: MemoryDisk,
    role: Acceptor,
    keeper: Keeper<MemoryDisk>,
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, proposer: ProposerId(1), life: 1 }
}

fn value(slot: u64, bytes: usize) -> Value {
    Value::new(Bytes::from(vec![slot as u8; bytes]))
}

fn accept(
    round: u64,
    chosen: u64,
    floor: u64,
    slots: impl IntoIterator<Item = u64>,
    bytes: usize,
) -> ToAcceptor {
    let entries =
        slots.into_iter().map(|slot| Entry { slot: Slot(slot), value: value(slot, bytes) }).collect();
    ToAcceptor::Accept(Accept { ballot: ballot(round), chosen: Slot(chosen), floor: Slot(floor), entries })
}

impl World {
    fn open(disk: &MemoryDisk, cache_bytes: u64) -> World {
        World::with_steps(disk, cache_bytes, 2 << 10)
    }

    /// Prepares so many bytes of a segment at once.
    fn with_steps(disk: &MemoryDisk, cache_bytes: u64, prepare_step_bytes: u64) -> World {
        let options = Options { segment_bytes: SEGMENT_BYTES, block_bytes: 64, prepare_step_bytes };
        let config = Config {
            id: AcceptorId(1),
            acceptors: [AcceptorId(1)].into(),
            parameters: PARAMETERS,
            election_timeout_ms: 100,
            chunk_bytes: CHUNK_BYTES,
            cache_bytes,
        };
        let opened = Keeper::open(disk.clone(), options, config.id, PARAMETERS, cache_bytes);
        let (mut keeper, durable) = opened.unwrap();
        while keeper.idle().unwrap() {}
        World { disk: disk.clone(), role: Acceptor::new(config, durable), keeper }
    }

    fn formed(cache_bytes: u64) -> World {
        let mut world = World::open(&MemoryDisk::new(), cache_bytes);
        let disk = DiskId(11);
        for step in [
            FormStep::Prepare { formation: 5, disk },
            FormStep::Open { formation: 5, disks: vec![(AcceptorId(1), disk)] },
        ] {
            world.turn(ADMIN, ToAcceptor::Form { request: 1, step });
        }
        world
    }

    /// One turn of a daemon: a message, its release, and what is done after it.
    fn turn(&mut self, from: NodeId, message: ToAcceptor) -> Message {
        let answer = self.answer(from, message);
        answer.expect("one answer")
    }

    fn answer(&mut self, from: NodeId, message: ToAcceptor) -> Option<Message> {
        let mut effects = Effects::default();
        self.role.on_message(from, message, &mut effects).unwrap();
        self.role.end_of_batch(&mut effects);
        let released = effects.release(&mut self.keeper).unwrap();
        self.keeper.after_batch().unwrap();
        self.keeper.tell(&mut self.role).unwrap();
        assert!(released.messages.len() <= 1 && released.halt.is_none(), "{released:?}");
        released.messages.into_iter().next().map(|(_, answer)| answer)
    }

    fn accepted(&mut self, message: ToAcceptor) -> Accepted {
        match self.turn(P1, message) {
            Message::Proposer(ToProposer::Accepted(accepted)) => accepted,
            other => panic!("not an accepted: {other:?}"),
        }
    }

    fn is_full(&mut self) -> bool {
        match self.turn(ADMIN, ToAcceptor::Status { request: 1 }) {
            Message::Client(ToClient::Status { status: Status::Acceptor(status), .. }) => status.full,
            other => panic!("not a status: {other:?}"),
        }
    }

    /// Votes for one slot after the other until one is refused; the last slot that was voted on.
    fn fill(&mut self, first: u64, floor: u64) -> u64 {
        for slot in first.. {
            assert!(slot < first + 1_000, "the disk is never full");
            if self.accepted(accept(1, slot - 1, floor, slot..=slot, 500)).slots.is_empty() {
                return slot - 1;
            }
        }
        unreachable!("a disk is full at some time")
    }
}

#[test]
fn s4_s6_values_that_are_on_disk_only_are_promised_and_fetched() {
    for cache_bytes in [u64::MAX, 0, 700, 10_000] {
        let mut world = World::formed(cache_bytes);
        for slot in 1..=40 {
            world.accepted(accept(1, slot - 1, 1, slot..=slot, 300));
            assert!(world.role.durable().memory_bytes() <= cache_bytes, "slot {slot}");
        }
        // Three more that nobody calls chosen, one of them twice and one of them noop, in one batch.
        world.accepted(accept(1, 39, 1, 41..=43, 310));
        world.accepted(accept(2, 39, 1, 42..=42, 310));
        world.accepted(accept(2, 39, 1, 44..=44, 0));
        for restarted in [false, true] {
            if restarted {
                world = World::open(&world.disk.copy(), cache_bytes);
            }
            let mut next = Slot(1);
            while next <= Slot(39) {
                let fetch = ToAcceptor::Fetch(Fetch { first: next, last: Slot(60) });
                let Message::Proposer(ToProposer::Fetched(fetched)) = world.turn(P1, fetch) else { panic!() };
                assert!(!fetched.values.is_empty() && fetched.values.len() <= 4, "chunks are bounded");
                for found in fetched.values {
                    assert_eq!(found, value(next.0, 300), "slot {next}, cache {cache_bytes}");
                    next = next.next();
                }
            }
            let (mut told, mut after) = (Vec::new(), Slot::ZERO);
            loop {
                let prepare = ToAcceptor::Prepare { ballot: ballot(7), after };
                let Message::Proposer(ToProposer::Promise(promise)) = world.turn(P1, prepare) else {
                    panic!()
                };
                let Promise { upto, complete, votes, .. } = promise;
                told.extend(votes);
                after = upto;
                if complete {
                    break;
                }
            }
            let found: Vec<_> = told.iter().map(|vote| (vote.slot.0, vote.ballot.round)).collect();
            assert_eq!(found, [(40, 1), (41, 1), (42, 2), (43, 1), (44, 2)]);
            for vote in told {
                let bytes = [300, 310, 310, 310, 0][vote.slot.0 as usize - 40];
                assert_eq!(vote.value, value(vote.slot.0, bytes), "slot {}", vote.slot);
            }
        }
    }
}

#[test]
fn s1_a_second_value_is_refused_though_the_first_is_on_disk_only() {
    let mut world = World::formed(0);
    world.accepted(accept(1, 0, 1, 5..=5, 300));
    assert_eq!(world.role.durable().memory_bytes(), 0);
    let mut effects = Effects::default();
    world.role.on_message(P1, accept(1, 0, 1, 5..=5, 301), &mut effects).unwrap();
    world.role.end_of_batch(&mut effects);
    assert!(effects.is_empty(), "refused without a word");
    assert_eq!(world.accepted(accept(1, 0, 1, 5..=5, 300)).slots.len(), 1, "the same again is told again");
}

#[test]
fn s2_a_full_disk_refuses_votes_cleanly_and_takes_them_again_when_there_is_space() {
    let mut world = World::formed(0);
    world.disk.limit(Some(3 * SEGMENT_BYTES + 5_000));
    let last = world.fill(1, 1);
    assert!(last > 50, "two segments and more were filled: {last}");
    assert!(world.is_full());
    // It still promises, and says again what it has voted; all of it is there after a restart.
    let answer = world.turn(P1, ToAcceptor::Prepare { ballot: ballot(2), after: Slot::ZERO });
    assert!(matches!(answer, Message::Proposer(ToProposer::Promise(_))), "{answer:?}");
    let again = world.accepted(accept(2, last - 1, 1, last + 1..=last + 1, 500));
    assert!(again.slots.is_empty() && again.full);
    let left = World::open(&world.disk.after_power_loss(|| false), 0);
    assert_eq!(left.role.durable(), world.role.durable(), "memory isn't ahead of the disk");
    // Somebody frees space.
    world.disk.limit(None);
    let heartbeats = (0..200).take_while(|_| world.accepted(accept(2, last - 1, 1, [], 0)).full).count();
    assert!(heartbeats < 200 && !world.is_full(), "it asks for space now and then");
    let voted = world.accepted(accept(2, last - 1, 1, last + 1..=last + 1, 500));
    assert!(!voted.slots.is_empty() && !voted.full);
}

/// A vote that doesn't fit yet is asked for again after a whole resend round, in which nothing is chosen.
#[test]
fn the_next_segment_is_ready_in_time_however_much_is_written_at_once() {
    for prepare_step_bytes in [64, 2 << 10, SEGMENT_BYTES, 16 * SEGMENT_BYTES] {
        for bytes in [500, 2_000, 4_000] {
            let formed = World::formed(0);
            let mut world = World::with_steps(&formed.disk.copy(), 0, prepare_step_bytes);
            for slot in 1..=100 {
                let voted = world.accepted(accept(1, slot - 1, 1, slot..=slot, bytes));
                assert_eq!(
                    voted.slots.len(),
                    1,
                    "slot {slot} of {bytes} bytes, steps of {prepare_step_bytes}"
                );
            }
        }
    }
}

/// How much a step prepares decides how long clients wait for one, not for how long an acceptor votes on nothing.
#[test]
fn a_disk_that_has_space_again_is_voted_on_after_as_many_turns_with_the_smallest_steps() {
    for prepare_step_bytes in [64, 2 << 10, SEGMENT_BYTES] {
        let formed = World::formed(0);
        let mut world = World::with_steps(&formed.disk.copy(), 0, prepare_step_bytes);
        world.disk.limit(Some(3 * SEGMENT_BYTES + 5_000));
        let mut last = world.fill(1, 1);
        while !world.accepted(accept(1, last, 1, last + 1..=last + 1, 500)).full {
            last = world.fill(last + 1, 1);
        }
        world.disk.limit(None);
        let heartbeats = (0..200).take_while(|_| world.accepted(accept(1, last - 1, 1, [], 0)).full).count();
        assert!(heartbeats <= 40, "steps of {prepare_step_bytes} bytes: full for {heartbeats} turns");
    }
}

/// More at once than is left of the segment in use, before the next one was found to have no space: the vote isn't cast, and nothing ends.
#[test]
fn s3_a_batch_larger_than_the_room_there_is_waits_for_space_or_is_refused() {
    for (free, bytes) in
        [(0, 9_000), (0, 15_000), (0, 40_000), (30_000, 15_000), (30_000, 80_000), (90_000, 40_000)]
    {
        let case = format!("{bytes} bytes at once, {free} free");
        let mut world = World::formed(0);
        world.disk.limit(None);
        (1..=2).for_each(|slot| drop(world.accepted(accept(1, slot - 1, 1, slot..=slot, 4_000))));
        let used: u64 = world.disk.sizes().iter().map(|(_, bytes)| bytes).sum();
        world.disk.limit(Some(used + free));
        let mut tries = (0..10).map(|_| world.accepted(accept(1, 2, 1, 3..=3, bytes))).collect::<Vec<_>>();
        let last = tries.pop().unwrap();
        let is_there = bytes < 15_000 || free > bytes as u64;
        assert_eq!((last.full, last.slots.len()), (!is_there, usize::from(is_there)), "{case}");
        if !is_there {
            assert_eq!(world.role.durable().vote(Slot(3)), None, "{case}");
        }
        let left = World::open(&world.disk.after_power_loss(|| false), 0);
        assert_eq!(left.role.durable(), world.role.durable(), "{case}: memory isn't ahead of the disk");
        world.disk.limit(None);
        let tries = (0..40)
            .map(|_| world.accepted(accept(1, 2, 1, 3..=3, bytes)))
            .take_while(|told| told.slots.is_empty());
        assert!(tries.count() < 40, "{case}: there is space again");
    }
}

/// The record of it is long gone, with its segment: the heads of newer ones tell it.
#[test]
fn s12_how_far_other_disks_have_come_outlives_restarts_and_truncation() {
    let mut world = World::formed(0);
    world.accepted(accept(1, 0, 1, 1..=1, 500));
    let mut rows = Incarnations::default();
    rows.reached(AcceptorId(2), DiskAt::new(DiskId(22), 700));
    assert_eq!(world.answer(P1, ToAcceptor::Reached { ballot: ballot(1), rows: rows.clone() }), None);
    let segment =
        |world: &World| world.disk.files().into_iter().filter(|name| name.starts_with("segment-")).min();
    let (first, mut slot) = (segment(&world), 1);
    while segment(&world) == first {
        slot += 1;
        assert!(slot < 1_000, "the first segment stays");
        world.accepted(accept(1, slot - 1, slot, slot..=slot, 500));
    }
    for disk in [world.disk.copy(), world.disk.after_power_loss(|| false)] {
        let again = World::open(&disk, 0);
        assert_eq!(again.role.durable().head().incarnations, rows);
        assert!(
            again.role.standing().position >= world.role.standing().position,
            "S2: what was told was synced"
        );
    }
}

#[test]
fn s11_a_floor_makes_room_on_a_full_disk() {
    let mut world = World::formed(0);
    world.disk.limit(Some(3 * SEGMENT_BYTES + 5_000));
    let mut last = world.fill(1, 1);
    for round in 0..5 {
        let heartbeats =
            (0..200).take_while(|_| world.accepted(accept(1, last - 1, last, [], 0)).full).count();
        assert!(heartbeats < 200, "round {round}: nothing was let go");
        let filled = world.fill(last + 1, last);
        assert!(filled > last + 20, "round {round}: {last} to {filled}");
        last = filled;
    }
    let left = World::open(&world.disk.after_power_loss(|| false), 0);
    assert_eq!(left.role.durable(), world.role.durable());
}
