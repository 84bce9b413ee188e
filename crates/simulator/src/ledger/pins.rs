//! Pins (S11): whoever gives a snapshot names the slots above it, and no leader that has heard so lets acceptors drop them.

use std::collections::BTreeMap;

use synod_protocol::message::{Accept, ToProposer};
use synod_protocol::{LearnerId, NodeId, ProposerId, Slot};

use super::Ledger;
use crate::coverage::{Coverage, Seen};
use crate::node::Input;
use crate::plan::Us;
use crate::violation::{Check, check};

/// Who gives what, and which leader has heard of it.
pub(super) struct Pins {
    /// Time after a part of a snapshot was given within which it is kept, whatever the learner's clock does.
    keep_us: Us,
    /// Bytes of values above a snapshot beyond which it is dropped.
    budget_bytes: u64,
    /// The slot of the snapshot of which each learner gave a part last, and when.
    given: BTreeMap<LearnerId, (Slot, Us)>,
    /// What proposers were told by learners that are connected.
    heard: BTreeMap<ProposerId, BTreeMap<LearnerId, Pin>>,
}

/// A pin that a proposer has heard of.
#[derive(Clone, Copy)]
struct Pin {
    slot: Slot,
    /// The floor that it stated first since: it may have had it before.
    stated: Option<Slot>,
}

impl Pins {
    pub(super) fn new(keep_us: Us, budget_bytes: u64) -> Pins {
        Pins { keep_us, budget_bytes, given: BTreeMap::new(), heard: BTreeMap::new() }
    }

    /// A learner has given a part of a snapshot.
    pub(super) fn on_given(&mut self, id: LearnerId, slot: Slot, now: Us) {
        self.given.insert(id, (slot, now));
    }

    /// A learner has started, or installed another's state.
    pub(super) fn on_dropped(&mut self, id: LearnerId) {
        self.given.remove(&id);
    }
}

impl Ledger {
    /// A proposer has started.
    pub(crate) fn on_proposer_started(&mut self, id: ProposerId) {
        self.pins.heard.remove(&id);
    }

    /// A proposer takes something in.
    pub(crate) fn on_proposer_hears(&mut self, id: ProposerId, input: &Input) {
        let heard = self.pins.heard.entry(id).or_default();
        match input {
            Input::Link { peer: NodeId::Learner(from), up: false } => drop(heard.remove(from)),
            // Observers pin nothing: whoever fetches from one may have to start over.
            Input::Message { from: NodeId::Learner(from), message } if self.stores.is_configured(*from) => {
                let synod_protocol::message::Message::Proposer(ToProposer::Subscribe(subscribe)) = message
                else {
                    return;
                };
                match (subscribe.pinned, heard.get_mut(from)) {
                    (None, _) => drop(heard.remove(from)),
                    // A higher one follows from the one before.
                    (Some(slot), Some(pin)) if slot >= pin.slot => pin.slot = slot,
                    (Some(slot), _) => drop(heard.insert(*from, Pin { slot, stated: None })),
                }
            }
            Input::Link { .. } | Input::Message { .. } | Input::Timer(_) => {}
        }
    }

    /// A learner tells proposers what it has pinned: what it gives a snapshot of, while that is wanted and within the budget.
    pub(super) fn on_pinned(&mut self, id: LearnerId, next: Slot, pinned: Option<Slot>, now: Us) -> Check {
        let Some((slot, at)) = self.pins.given.get(&id).copied() else { return Ok(()) };
        let since = self.chosen.range(slot.next()..next.max(slot.next()));
        let bytes: u64 = since.map(|(_, (_, value))| value.len() as u64).sum();
        if now - at > self.pins.keep_us || bytes > self.pins.budget_bytes {
            self.pins.given.remove(&id);
            return Ok(());
        }
        check(pinned.is_some_and(|pinned| pinned <= slot), "S11", || {
            format!("{id} gives the state of slot {slot}, and pins {pinned:?}")
        })
    }

    /// A leader states a floor: none that passes a pin it has heard of, unless it had it before or an acceptor has it.
    pub(super) fn is_pinned(&mut self, accept: &Accept, seen: &mut Coverage) -> Check {
        let (leader, floor) = (accept.ballot.proposer, accept.floor);
        let (durable, enough) = (self.stores.floor(), self.stores.enough());
        let heard = self.pins.heard.entry(leader).or_default();
        for (learner, pin) in heard {
            let stated = *pin.stated.get_or_insert(floor);
            let most = stated.max(pin.slot.next()).max(durable);
            check(floor <= most, "S11", || {
                format!(
                    "{leader} drops the slots below {floor}, though {learner} has pinned those above {}",
                    pin.slot
                )
            })?;
            if floor == pin.slot.next() && floor <= enough {
                seen.see(Seen::PinHeldFloor);
            }
        }
        Ok(())
    }
}
