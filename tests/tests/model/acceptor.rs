//! An acceptor with its disk: what it absorbed and hasn't synced is pending, and a crash keeps any prefix of that.
//!
//! The checks that concern one acceptor alone are made at every step: what it tells is durable when it leaves (I4), and nothing
//! durable ever falls (I3), so that what was told stays so; recovery gives back what the role had.

use synod_acceptor::vote::Kept;
use synod_acceptor::{Acceptor, Durable, Record, Timer};
use synod_protocol::message::{Message, Promise, ToAcceptor, ToLearner, ToProposer};
use synod_protocol::role::{Effects, Persist, Released, Role};
use synod_protocol::{NodeId, Slot, SlotRange, Value};

use crate::step::{Cell, Fact, Outcome, Rule, Witness};
use crate::world::Config;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AcceptorCell {
    /// Its place in the state; several with one id have one each.
    place: u8,
    pub(crate) role: Acceptor,
    /// What the disk is sure to give back.
    pub(crate) durable: Durable,
    /// What was absorbed since the last sync; its records may or may not be given back.
    pub(crate) pending: Effects<Record, Timer>,
    /// Messages absorbed since the last sync.
    pub(crate) absorbed: u8,
}

/// A disk that syncs everything.
struct Syncs<'a>(&'a mut Durable);

impl Persist<Record> for Syncs<'_> {
    type Error = Lost;
    fn persist(&mut self, records: Vec<Record>) -> Result<(), Lost> {
        records.iter().for_each(|record| self.0.apply(record));
        Ok(())
    }
}

/// A disk that loses power: keeps the first so many records, and tells how many there were.
struct Crashes<'a> {
    durable: &'a mut Durable,
    kept: usize,
    records: usize,
}

#[derive(Debug)]
struct Lost;

impl Persist<Record> for Crashes<'_> {
    type Error = Lost;
    fn persist(&mut self, records: Vec<Record>) -> Result<(), Lost> {
        self.records = records.len();
        records.iter().take(self.kept).for_each(|record| self.durable.apply(record));
        Err(Lost)
    }
}

impl AcceptorCell {
    pub(crate) fn new(config: &Config, place: u8) -> AcceptorCell {
        let durable = config.disk_at(place);
        let id = durable.head().acceptor;
        AcceptorCell {
            place,
            role: Acceptor::new(config.acceptor(id), durable.clone()),
            durable,
            pending: Effects::default(),
            absorbed: 0,
        }
    }

    fn id(&self) -> NodeId {
        self.durable.head().acceptor.into()
    }

    /// Takes a message in; nothing leaves before the sync.
    pub(crate) fn absorb(mut self, from: NodeId, message: ToAcceptor) -> Outcome {
        let healing = match &message {
            ToAcceptor::Accept(accept) => accept.entries.iter().any(|entry| entry.slot <= accept.chosen),
            ToAcceptor::Prepare { .. }
            | ToAcceptor::Probe { .. }
            | ToAcceptor::QuorumRead { .. }
            | ToAcceptor::Fetch(_)
            | ToAcceptor::Admit(_)
            | ToAcceptor::Reached { .. }
            | ToAcceptor::Form { .. }
            | ToAcceptor::Status { .. } => false,
        };
        let held = self.role.durable().head().held;
        self.role.on_message(from, message, &mut self.pending).expect("roles send only what is theirs");
        self.absorbed += 1;
        let healed = healing && self.role.durable().head().held > held;
        let mut outcome = Outcome::new(Cell::Acceptor(Box::new(self)));
        if healed {
            outcome.witness(Witness::SlotHealed);
        }
        outcome
    }

    /// The sync completes, and what waited for it leaves.
    pub(crate) fn sync(mut self) -> Outcome {
        let before = self.durable.clone();
        let grouped = self.absorbed > 1;
        self.role.end_of_batch(&mut self.pending);
        let released = std::mem::take(&mut self.pending).release(&mut Syncs(&mut self.durable));
        self.absorbed = 0;
        let (durable, memory, id) = (self.durable.clone(), self.role.durable().clone(), self.id());
        let place = self.place;
        let mut outcome = Outcome::new(Cell::Acceptor(Box::new(self)));
        if grouped {
            outcome.witness(Witness::TwoMessagesInOneSync);
        }
        tell(place, &before, &durable, released.expect("this disk syncs everything"), &mut outcome);
        if durable != memory {
            outcome.fail(Rule::I4, || format!("{id} has {memory:?}, its disk {durable:?} after a sync"));
        }
        outcome
    }

    /// How many records are pending.
    pub(crate) fn records(&self) -> u8 {
        let mut disk = Crashes { durable: &mut self.durable.clone(), kept: 0, records: 0 };
        let mut pending = self.pending.clone();
        self.role.clone().end_of_batch(&mut pending);
        drop(pending.release(&mut disk));
        u8::try_from(disk.records).unwrap()
    }

    /// The process dies before the sync completes, with so many of its records on the disk, and starts again.
    pub(crate) fn crash(mut self, config: &Config, kept: u8) -> Outcome {
        let before = self.durable.clone();
        self.role.end_of_batch(&mut self.pending);
        let mut disk = Crashes { durable: &mut self.durable, kept: usize::from(kept), records: 0 };
        let released = std::mem::take(&mut self.pending).release(&mut disk);
        let (lost, synced) = (disk.records > usize::from(kept), disk.records);
        let id = self.durable.head().acceptor;
        let durable = self.durable.clone();
        let place = self.place;
        let mut restarted = AcceptorCell {
            place,
            role: Acceptor::new(config.acceptor(id), durable.clone()),
            durable: durable.clone(),
            pending: Effects::default(),
            absorbed: 0,
        };
        // The timer that a start sets is no more than the permission to fire, which nobody needs here.
        restarted.role.on_start(&mut Effects::default());
        let mut outcome = Outcome::new(Cell::Acceptor(Box::new(restarted)));
        if lost {
            outcome.witness(Witness::PendingRecordLost);
        }
        if kept > 0 && durable.head().highest > Slot::ZERO {
            outcome.witness(Witness::VoteKeptButNeverTold);
        }
        let released = match released {
            // Without records there is nothing to wait for, and nothing that a crash could spoil.
            Ok(released) if synced == 0 => drop_all(released),
            Ok(released) => released,
            Err(Lost) => Released { messages: Vec::new(), timers: Vec::new(), halt: None },
        };
        tell(place, &before, &durable, released, &mut outcome);
        outcome
    }
}

/// A value as the model's disk keeps it: everything stays in memory.
pub(crate) fn in_memory(kept: &Kept) -> &Value {
    kept.in_memory().expect("the model leaves no value to a disk")
}

/// Messages that might as well never have been sent.
fn drop_all(released: Released<Timer>) -> Released<Timer> {
    Released { messages: Vec::new(), timers: released.timers, halt: None }
}

/// Checks what leaves an acceptor against its disk, and notes what it says of the world.
fn tell(place: u8, before: &Durable, durable: &Durable, released: Released<Timer>, outcome: &mut Outcome) {
    let id = NodeId::from(durable.head().acceptor);
    never_falls(id, before, durable, outcome);
    changed_disks(place, before, durable, outcome);
    for (slot, vote) in durable.votes_above(Slot::ZERO) {
        let known = before.vote(slot).is_some_and(|old| old == vote);
        if before.vote(slot).is_some_and(|old| old.value != vote.value) {
            outcome.witness(Witness::MinorityVoteOverwritten);
        }
        if !known {
            let (ballot, value) = (vote.ballot, in_memory(&vote.value).clone());
            outcome.facts.push(Fact::Voted { acceptor: place, slot, ballot, value });
        }
    }
    if durable.head().floor > before.head().floor {
        let floor = durable.head().floor;
        outcome.witness(Witness::FloorRaised);
        if before.head().held.next() < floor {
            outcome.witness(Witness::FloorPassedHeldPrefix);
        }
        outcome.facts.push(Fact::Dropped { who: id, floor });
        outcome.facts.push(Fact::CalledPrefix { who: id, slot: floor.previous() });
    }
    if durable.head().held > before.head().held {
        outcome.witness(Witness::HeldPrefixAdvanced);
        outcome.facts.push(Fact::CalledPrefix { who: id, slot: durable.head().held });
        for (slot, value) in durable.held_values(durable.head().floor, durable.head().held) {
            outcome.facts.push(Fact::CalledChosen { who: id, slot, value: in_memory(value).clone() });
        }
    }
    for (to, message) in released.messages {
        is_durable(id, durable, &message, outcome);
        outcome.sends.push((to, message));
    }
}

/// Notes what the step says of replaced disks.
fn changed_disks(place: u8, before: &Durable, durable: &Durable, outcome: &mut Outcome) {
    if before.cluster().is_none() && durable.cluster().is_some() {
        outcome.witness(Witness::Readmitted);
        outcome.facts.push(Fact::Entered { acceptor: durable.head().acceptor });
        return;
    }
    for (acceptor, row) in durable.head().incarnations.rows() {
        if before.head().incarnations.get(acceptor) != Some(row) {
            outcome.facts.push(Fact::Recorded { place, acceptor, row });
        }
    }
}

/// I3: whatever was durable is so for ever, or was overwritten at a higher ballot.
fn never_falls(id: NodeId, before: &Durable, durable: &Durable, outcome: &mut Outcome) {
    let (old, new) = (before.head(), durable.head());
    let head_falls = new.promised < old.promised || new.held < old.held || new.highest < old.highest;
    if head_falls || new.floor < old.floor {
        outcome.fail(Rule::I3, || format!("{id} had {old:?}, has {new:?}"));
    }
    for (slot, vote) in before.votes_above(new.floor.previous()) {
        let stays = durable.vote(slot).is_some_and(|new| new == vote || new.ballot > vote.ballot);
        if !stays {
            outcome.fail(Rule::I3, || {
                format!("{id} voted {vote:?} for slot {slot}, then {:?}", durable.vote(slot))
            });
        }
    }
}

/// I4: what the message tells is on the disk.
fn is_durable(id: NodeId, durable: &Durable, message: &Message, outcome: &mut Outcome) {
    let head = durable.head();
    let told = match message {
        Message::Proposer(ToProposer::Promise(promise)) => {
            if !promise.complete {
                outcome.witness(Witness::PromiseInSeveralChunks);
            }
            if promise.floor > Slot::FIRST {
                outcome.witness(Witness::FloorPromised);
            }
            head.promised >= promise.ballot && head.held >= promise.held && promise_is_true(durable, promise)
        }
        Message::Proposer(ToProposer::Accepted(accepted)) => {
            let slots = accepted.slots.iter().copied().flat_map(SlotRange::slots);
            let voted = |slot| {
                slot < head.floor || durable.vote(slot).is_some_and(|vote| vote.ballot >= accepted.ballot)
            };
            head.promised >= accepted.ballot && head.held >= accepted.held && slots.into_iter().all(voted)
        }
        Message::Proposer(ToProposer::Nack { promised, .. }) => head.promised >= *promised,
        Message::Proposer(ToProposer::Admitted(admitted)) => {
            let row = head.incarnations.get(admitted.admit.acceptor);
            row.is_some_and(|row| row.since >= admitted.admit.ballot)
        }
        Message::Proposer(ToProposer::Fetched(fetched)) | Message::Learner(ToLearner::Fetched(fetched)) => {
            outcome.facts.push(Fact::CalledPrefix { who: id, slot: fetched.held });
            for (offset, value) in (0..).zip(&fetched.values) {
                let slot = fetched.first.plus(offset);
                outcome.facts.push(Fact::CalledChosen { who: id, slot, value: value.clone() });
            }
            head.held >= fetched.held
        }
        Message::Learner(ToLearner::QuorumReadReply { highest, .. }) => head.highest >= *highest,
        Message::Proposer(_) | Message::Learner(_) | Message::Acceptor(_) | Message::Client(_) => true,
    };
    if !told {
        outcome.fail(Rule::I4, || format!("{id} told {message:?} with {durable:?} on its disk"));
    }
}

fn promise_is_true(durable: &Durable, promise: &Promise) -> bool {
    promise.votes.iter().all(|vote| {
        let known = durable.vote(vote.slot);
        known.is_some_and(|known| known.ballot > vote.ballot || known.value.is(&vote.value))
    })
}
