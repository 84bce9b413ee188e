//! I8: what is chosen can be learned of any Phase-1 quorum, whatever became of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use synod_acceptor::Durable;
use synod_proposer::safe_value::{Report, inherit};
use synod_protocol::message::Formation;
use synod_protocol::{Incarnations, Slot, Value};

use crate::acceptor::in_memory;
use crate::model::State;
use crate::step::{Cell, Failure, Rule};
use crate::tables::Synod;
use crate::world::{NODES, tell_value};

/// Slots with their values, and the first slot that they are asked for.
pub(crate) type Learnable = (BTreeMap<Slot, Value>, Slot);

impl Synod {
    /// What the members of each Phase-1 quorum would let a new leader learn, by the very code that the leader runs; tells what is lost.
    pub(crate) fn unlearnable(&self, state: &State) -> Option<Failure> {
        let history = self.histories.get(state.history);
        for quorum in &self.quorums {
            let mut disks = [u32::MAX; NODES];
            for place in quorum {
                let cell = state.nodes[usize::from(*place)].cell;
                disks[usize::from(*place)] = self.disk_of.of(cell, |cell| {
                    let Cell::Acceptor(acceptor) = &*self.cells.get(*cell) else {
                        unreachable!("an acceptor")
                    };
                    self.disks.number(acceptor.durable.clone())
                });
            }
            let learnable = self.learnable.of(disks, |disks| {
                // The judge makes no mistakes: planted ones are to show by what they bring about.
                synod_planted::plant(None);
                let disks = disks.iter().filter(|disk| **disk != u32::MAX);
                let disks: Vec<_> = disks.map(|disk| self.disks.get(*disk)).collect();
                let learnable = is_counted(&disks).then(|| Arc::new(learnable(disks)));
                synod_planted::plant(self.config.bug);
                learnable
            });
            let Some(learnable) = learnable else { continue };
            let (learnable, floor) = &*learnable;
            let lost =
                history.chosen().find(|(slot, value)| slot >= floor && learnable.get(slot) != Some(*value));
            if let Some((slot, value)) = lost {
                let (value, found) = (tell_value(value), learnable.get(&slot));
                let text =
                    format!("places {quorum:?} make {found:?} of slot {slot}, for which {value} is chosen");
                return Some(Failure { rule: Rule::I8, text });
            }
        }
        None
    }
}

/// Whether a new leader counts all of these (S12): none waits to be readmitted, and none is told by another to be replaced.
fn is_counted(disks: &[Arc<Durable>]) -> bool {
    let mut incarnations = Incarnations::default();
    for disk in disks {
        incarnations.merge(&disk.head().incarnations);
    }
    disks.iter().all(|disk| match &disk.head().formation {
        Formation::Open { disk: own, .. } => !incarnations.is_replaced(disk.head().acceptor, *own),
        Formation::Empty | Formation::Prepared { .. } | Formation::Replaced { .. } => false,
    })
}

/// What a new leader learns of these acceptors: what it fetches of the held prefixes, and what it must propose; and the floor below which
/// learners have it all.
fn learnable(disks: Vec<Arc<Durable>>) -> Learnable {
    let reports: Vec<_> = disks
        .iter()
        .map(|disk| Report {
            floor: disk.head().floor,
            held: disk.head().held,
            votes: disk
                .votes_above(Slot::ZERO)
                .map(|(slot, vote)| (slot, (vote.ballot, in_memory(&vote.value).clone())))
                .collect(),
        })
        .collect();
    let inheritance = inherit(Slot::ZERO, reports.iter());
    let floor = inheritance.floor;
    let mut learnable: BTreeMap<Slot, Value> =
        inheritance.entries.into_iter().map(|entry| (entry.slot, entry.value)).collect();
    for disk in disks {
        let held = disk.held_values(disk.head().floor, inheritance.chosen);
        learnable.extend(held.map(|(slot, value)| (slot, in_memory(value).clone())));
    }
    (learnable, floor)
}
