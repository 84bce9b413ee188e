//! A simulated learner with its disk: what it recovers, and the checkpoints that are made beside it as the daemon's thread makes them.
//!
//! The role and the keeper are those that ship. What the thread does is cut into the keeper's steps, with virtual time in between; the role is told
//! after a batch, as the daemon tells it. A crash ends both at any moment. Checks with the ledger's help that a state is the one of its slot whenever it was
//! recovered or installed (I10), and that what is called synced would be there if the power went (S11).

use synod_journal::memory::MemoryDisk;
use synod_learner::Learner;
use synod_learner::keeper::{Keeper, Options, Recovered};
use synod_protocol::role::NothingToPersist;
use synod_protocol::{ClusterId, LearnerId, NodeId, Slot};
use synod_store::{Image, MemorySnapshot, MemoryStorage};

use crate::coverage::Seen;
use crate::node::{Input, Process, absorb};
use crate::story::Teller;
use crate::violation::{Check, Violation, check};
use crate::world::{Event, World};

/// One of so many steps of a checkpoint is followed by the question what would be there if the power went.
const AUDIT_EVERY: u64 = 4;

/// A learner with its checkpoints.
pub(crate) struct Scribe {
    pub(crate) role: Learner,
    keeper: Keeper<MemoryDisk>,
    thread: Thread,
    /// Installed states whose checkpoint has been begun.
    checkpointed_installs: u64,
    /// Installed states that were compared.
    compared_installs: u64,
}

/// What the thread that makes checkpoints is about.
enum Thread {
    Idle,
    /// It was given an image, and hasn't begun.
    Given {
        image: Box<Image<MemorySnapshot>>,
        cluster: ClusterId,
        is_other: bool,
    },
    Writing,
    /// The role isn't told yet: the slot, unless there was no room.
    Done(Option<Slot>),
}

impl Scribe {
    /// Tells the role what came of a checkpoint and begins another if one is due, as the daemon does after each batch. Whether one was begun.
    fn after_batch(&mut self, makes_checkpoints: bool) -> bool {
        if let Thread::Done(done) = self.thread {
            self.thread = Thread::Idle;
            match done {
                Some(slot) => self.role.on_checkpointed(slot),
                None => self.role.on_no_room(),
            }
        }
        if self.role.needs_storage() {
            self.role.on_storage(MemoryStorage::default());
        }
        let Some(cluster) = self.role.cluster() else { return false };
        if !makes_checkpoints || !matches!(self.thread, Thread::Idle) || !self.role.is_checkpoint_due() {
            return false;
        }
        let is_other = self.checkpointed_installs < self.role.installed();
        self.checkpointed_installs = self.role.installed();
        self.thread = Thread::Given { image: Box::new(self.role.checkpoint()), cluster, is_other };
        true
    }

    /// How many files make up the latest checkpoint.
    fn files(&self) -> usize {
        self.keeper.disk().files().iter().filter(|name| name.starts_with("checkpoint-")).count()
    }
}

impl<T: Teller> World<T> {
    fn open_store(&self, disk: MemoryDisk, id: LearnerId) -> Result<(Keeper<MemoryDisk>, Recovered), String> {
        let mut options = Options::new(id, self.plan.cluster.limits, 0);
        options.chunk_bytes = self.plan.stores.chunk_bytes;
        Keeper::open(disk, options).map_err(|error| error.to_string())
    }

    /// Reads a learner's checkpoints; nothing, if they can't be read and that is as it should be.
    pub(crate) fn recover_scribe(
        &mut self,
        place: usize,
        id: LearnerId,
        life: u64,
    ) -> Result<Option<Scribe>, Violation> {
        let disk = self.nodes[place].disk.get_or_insert_default().clone();
        let opened = self.open_store(disk, id);
        let us = self.disk_time(place);
        self.nodes[place].busy_until = self.now + us;
        let (keeper, recovered) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.not_recovered(place, &error).map(|()| None),
        };
        let is_rotten = std::mem::take(&mut self.nodes[place].is_rotten);
        let Recovered { machine, cluster, set_aside } = recovered;
        check(set_aside.is_empty() || is_rotten, "I12", || {
            format!("{id} can't use what it has written: {set_aside:?}")
        })?;
        let files = keeper.disk().files();
        let removed = set_aside.iter().find(|aside| !files.contains(&aside.renamed));
        check(removed.is_none(), "I12", || {
            format!("{id} has removed what it can't use, and says that it set it aside: {removed:?}")
        })?;
        if is_rotten {
            self.see(if set_aside.is_empty() { Seen::RotHarmless } else { Seen::StoreRotFound });
        }
        self.coverage.add(Seen::StoreRecovered, u64::from(cluster.is_some()));
        self.coverage.add(Seen::OlderCheckpoint, u64::from(cluster.is_some() && !set_aside.is_empty()));
        self.story.note(self.now, || format!("{id} recovers slot {}", machine.applied()));
        self.ledger.on_store_recovered(id, &machine, is_rotten)?;
        let config = synod_learner::Config::new(id, life, &self.plan.cluster);
        self.coverage.add(Seen::ObserverJoined, u64::from(config.is_observer && !self.is_calm));
        Ok(Some(Scribe {
            role: Learner::recovered(config, machine, cluster, true),
            keeper,
            thread: Thread::Idle,
            checkpointed_installs: 0,
            compared_installs: 0,
        }))
    }

    fn on_installed(&mut self, place: usize) {
        let trouble = self.transfers.installed(self.nodes[place].id);
        if self.is_calm {
            return;
        }
        self.see(Seen::SnapshotInstalled);
        self.coverage.add(Seen::GiverCrashed, u64::from(trouble.giver_crashed));
        self.coverage.add(Seen::ReceiverCrashed, u64::from(trouble.receiver_crashed));
    }

    /// A learner looks at what has arrived.
    pub(crate) fn wake_scribe(&mut self, place: usize, scribe: &mut Scribe, inputs: Vec<Input>) -> Check {
        let before = scribe.role.machine().applied();
        let Ok(released) = absorb(&mut scribe.role, inputs.into_iter())?.release(&mut NothingToPersist);
        let NodeId::Learner(id) = self.nodes[place].id else { return Ok(()) };
        let machine = scribe.role.machine();
        check(machine.applied() >= before, "S7", || {
            format!("{id} had applied slot {before}, and goes back to {}", machine.applied())
        })?;
        self.ledger.on_applied(id, machine.applied(), machine.chain())?;
        if scribe.compared_installs < scribe.role.installed() {
            scribe.compared_installs = scribe.role.installed();
            self.ledger.on_installed(id, machine)?;
            self.on_installed(place);
        }
        self.let_out::<Learner>(place, released, self.now)?;
        // Elsewhere not even of a peer's state that was installed: plans without checkpoints lose learners that floors would rest on.
        if scribe.after_batch(self.plan.stores.checkpoints) {
            self.step_later(place, 0);
        }
        Ok(())
    }

    /// The thread does its next step, after what the disk took for the last one and a time of its own.
    fn step_later(&mut self, place: usize, disk_us: u64) {
        let (least, most) = self.plan.stores.step_us;
        let us = disk_us + self.random.stores.between(least, most);
        let life = self.nodes[place].life;
        self.after(us, Event::Checkpoint { place, life });
    }

    /// Whatever makes a learner's checkpoints does a step.
    pub(crate) fn on_checkpoint_step(&mut self, place: usize, life: u64) -> Check {
        let node = &mut self.nodes[place];
        if node.life != life {
            return Ok(());
        }
        if self.now < node.paused_until {
            let us = node.paused_until - self.now;
            self.after(us, Event::Checkpoint { place, life });
            return Ok(());
        }
        let NodeId::Learner(id) = node.id else { return Ok(()) };
        let Some(Process::Learner(mut scribe)) = node.process.take() else { return Ok(()) };
        let stepped = match std::mem::replace(&mut scribe.thread, Thread::Writing) {
            Thread::Given { image, cluster, is_other } => {
                scribe.keeper.begin(*image, cluster, is_other).map(|()| None)
            }
            Thread::Writing => scribe.keeper.step(),
            Thread::Idle | Thread::Done(_) => Ok(None),
        };
        let us = self.disk_time(place);
        match stepped {
            Ok(None) => self.step_later(place, us),
            Ok(Some(slot)) => {
                self.story.note(self.now, || format!("{id} has synced a checkpoint of slot {slot}"));
                self.see(Seen::Checkpoint);
                self.coverage.add(Seen::CheckpointOfChanges, u64::from(scribe.files() > 1));
                self.ledger.on_synced(id, slot);
                scribe.thread = Thread::Done(Some(slot));
            }
            Err(error) if error.is_no_space() => {
                self.story.note(self.now, || format!("{id} has no room for a checkpoint"));
                self.see(Seen::StoreFull);
                scribe.thread = Thread::Done(None);
            }
            Err(error) => return self.end_by_disk(place, &error.to_string()),
        }
        self.nodes[place].process = Some(Process::Learner(scribe));
        self.audit_store(place, id)
    }

    /// Now and then: if the power went here, would a state be there that is as new as what is called synced, and right? And does reading it twice
    /// find the same twice (I16)?
    fn audit_store(&mut self, place: usize, id: LearnerId) -> Check {
        if self.random.stores.between(1, AUDIT_EVERY) != 1 {
            return Ok(());
        }
        let random = &mut self.random.stores;
        let kept = *random.pick(&[0, 0, 500, 1_000]);
        let Some(disk) = &self.nodes[place].disk else { return Ok(()) };
        let copy = disk.after_power_loss(|| random.happens(kept));
        self.see(Seen::StoreAudit);
        for _ in 0..2 {
            let (_, recovered) = self.open_store(copy.clone(), id).map_err(|error| Violation {
                rule: "I16",
                what: format!("if the power went here, {id} couldn't read its checkpoints: {error}"),
            })?;
            check(recovered.set_aside.is_empty(), "I12", || {
                format!("if the power went here, {id} couldn't use: {:?}", recovered.set_aside)
            })?;
            self.ledger.on_store_audited(id, &recovered.machine)?;
        }
        Ok(())
    }

    /// A learner's disk is lost, and replaced by an empty one.
    pub(crate) fn wipe_disk(&mut self, learner: LearnerId, down_us: u64) {
        let place = self.place(learner.into());
        if self.nodes[place].gone {
            return;
        }
        self.end(place, false);
        let node = &mut self.nodes[place];
        node.disk = None;
        (node.is_full, node.is_failing, node.is_rotten) = (false, false, false);
        self.ledger.on_store_lost(learner);
        self.start_later(place, down_us, down_us);
    }
}
