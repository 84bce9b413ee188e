//! What learners have on disk, and what acceptors may drop because of it: I10, I11, S11.
//!
//! A slot may be dropped once f_l + 1 configured learners have synced it. Plans lose no more than f_l learners, so of those one holds it at least, whatever
//! happens. A state is compared whole with the one that the ledger had at that slot, sessions and kept replies included.

use std::collections::BTreeMap;
use std::fmt;

use synod_protocol::cluster::Cluster;
use synod_protocol::{AcceptorId, LearnerId, Slot};
use synod_store::{MemoryStorage, StateMachine};

use super::Ledger;
use crate::coverage::{Coverage, Seen};
use crate::plan::spare_learners;
use crate::violation::{Check, check};

/// What learners have synced.
pub(super) struct Stores {
    /// How many learners must have synced a slot before it is dropped.
    needed: usize,
    configured: Vec<LearnerId>,
    /// What is durable at each.
    synced: BTreeMap<LearnerId, Slot>,
    /// The highest slot that ever was.
    highest: BTreeMap<LearnerId, Slot>,
    /// The highest floor on an acceptor's disk.
    floor: Slot,
    /// The state after each slot, from slot 0.
    states: Vec<StateMachine<MemoryStorage>>,
}

impl Stores {
    pub(super) fn new(cluster: &Cluster, first: StateMachine<MemoryStorage>) -> Stores {
        Stores {
            needed: spare_learners(cluster) + 1,
            configured: cluster.learners.keys().copied().collect(),
            synced: BTreeMap::new(),
            highest: BTreeMap::new(),
            floor: Slot::FIRST,
            states: vec![first],
        }
    }

    pub(super) fn note_state(&mut self, state: StateMachine<MemoryStorage>) {
        self.states.push(state);
    }

    pub(super) fn is_configured(&self, id: LearnerId) -> bool {
        self.configured.contains(&id)
    }

    /// The highest floor on an acceptor's disk.
    pub(super) fn floor(&self) -> Slot {
        self.floor
    }

    /// The highest slot that enough learners have synced.
    pub(super) fn enough(&self) -> Slot {
        let highest = |id: &LearnerId| self.highest.get(id).copied().unwrap_or(Slot::ZERO);
        let mut synced: Vec<Slot> = self.configured.iter().map(highest).collect();
        synced.sort_unstable_by(|a, b| b.cmp(a));
        synced[self.needed - 1]
    }
}

impl Ledger {
    /// The highest floor on an acceptor's disk.
    pub(crate) fn floor(&self) -> Slot {
        self.stores.floor()
    }

    /// What so many of these learners have synced that it may be dropped, whatever the others do.
    pub(crate) fn droppable(&self, alive: &[LearnerId]) -> Slot {
        let synced = |id: &LearnerId| self.stores.synced.get(id).copied();
        let configured = self.stores.configured.iter().filter(|id| alive.contains(id));
        let mut synced: Vec<Slot> = configured.filter_map(synced).collect();
        synced.sort_unstable_by(|a, b| b.cmp(a));
        synced.get(self.stores.needed - 1).copied().unwrap_or(Slot::ZERO)
    }

    /// I10: a state must be the one that the chosen values give.
    pub(crate) fn is_state(&self, id: impl fmt::Display, machine: &StateMachine<MemoryStorage>) -> Check {
        let slot = machine.applied();
        self.on_applied(&id, slot, machine.chain())?;
        check(self.stores.states[slot.0 as usize] == *machine, "I10", || {
            format!("the state of {id} isn't that of slot {slot}, though the hash chain is")
        })
    }

    /// A learner has made a peer's state its own.
    pub(crate) fn on_installed(&mut self, id: LearnerId, machine: &StateMachine<MemoryStorage>) -> Check {
        self.pins.on_dropped(id);
        self.is_state(id, machine)
    }

    /// A learner has made its state durable.
    pub(crate) fn on_synced(&mut self, id: LearnerId, slot: Slot) {
        self.stores.synced.insert(id, slot);
        let highest = self.stores.highest.entry(id).or_default();
        *highest = slot.max(*highest);
    }

    /// A learner has read its checkpoints; those that rotted may be missing.
    pub(crate) fn on_store_recovered(
        &mut self,
        id: LearnerId,
        found: &StateMachine<MemoryStorage>,
        is_rotten: bool,
    ) -> Check {
        if !is_rotten {
            self.holds_synced(id, found)?;
        }
        self.is_state(id, found)?;
        self.pins.on_dropped(id);
        self.on_synced(id, found.applied());
        Ok(())
    }

    /// If the power went here, this is what a learner would recover.
    pub(crate) fn on_store_audited(&self, id: LearnerId, found: &StateMachine<MemoryStorage>) -> Check {
        self.holds_synced(id, found)?;
        self.is_state(id, found)
    }

    fn holds_synced(&self, id: LearnerId, found: &StateMachine<MemoryStorage>) -> Check {
        let synced = self.stores.synced.get(&id).copied().unwrap_or(Slot::ZERO);
        check(found.applied() >= synced, "S8", || {
            format!("{id} had synced slot {synced}, and its disk has slot {}", found.applied())
        })
    }

    /// A learner's disk is lost.
    pub(crate) fn on_store_lost(&mut self, id: LearnerId) {
        self.stores.synced.remove(&id);
    }

    /// S11: a learner tells what it has synced.
    pub(super) fn on_subscribe(&self, id: LearnerId, told: Slot) -> Check {
        let synced = self.stores.synced.get(&id).copied().unwrap_or(Slot::ZERO);
        check(told <= synced, "S11", || format!("{id} calls slot {told} synced, but slot {synced} is"))
    }

    /// I11: a floor is told, or is durable: enough learners have synced what is below.
    pub(super) fn on_floor(&self, who: impl fmt::Display, floor: Slot) -> Check {
        let enough = self.stores.enough();
        check(floor <= enough.next(), "I11", || {
            format!(
                "{who} drops the slots below {floor}, but enough learners have synced those up to {enough} only"
            )
        })
    }

    /// An acceptor's floor is durable.
    pub(super) fn on_floor_durable(&mut self, id: AcceptorId, floor: Slot, seen: &mut Coverage) -> Check {
        self.on_floor(id, floor)?;
        seen.see(Seen::FloorRaised);
        self.stores.floor = self.stores.floor.max(floor);
        Ok(())
    }
}
