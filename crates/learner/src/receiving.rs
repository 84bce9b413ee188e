//! Fetching a snapshot from a peer: for a learner whose next slot nobody's log has any more (I10).
//!
//! Acceptors drop what enough learners have synced (S11), so a learner that was away for long, or has lost its disk, may find that its
//! next slot lies below every floor. It then asks a peer for the whole state, one chunk after the other; the next is asked for before the
//! last is taken in. What has come is built into a state of its own beside the one that serves; only when the last chunk has come, and digest and totals are
//! right, does it take that one's place, at once and whole, with the reply table and the hash chain (S7, S9). It never takes the place of a
//! newer one. Nothing of this is on disk before the next checkpoint, so a crash changes nothing. A request without an answer is repeated, of the next peer that may have a
//! snapshot of the same slot; if none has, the transfer starts over. Where no learner can help, that is said, once, with what to do.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_planted::Bug;
use synod_protocol::message::{NoSnapshot, SnapshotChunk, SnapshotFetch, ToLearner, Transfer};
use synod_protocol::role::Delay;
use synod_protocol::{LearnerId, NodeId, Slot};
use synod_store::{Builder, Storage};
use tracing::{debug, error, info, warn};

use crate::giving::START;
use crate::pace::{Pace, Withheld};
use crate::room::Wait;
use crate::{Learner, Out, Timer};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Receiving<S> {
    /// Who has nothing of the next slot, with the first slot that it keeps.
    lacking: BTreeMap<NodeId, Slot>,
    /// An empty storage, for the state that is to come.
    storage: Option<S>,
    under_way: Option<UnderWay<S>>,
    /// What a leader didn't stream.
    pub(crate) withheld: Withheld,
    /// How quickly a learner that joins goes on: during the transfer, and after it until it has caught up with the log.
    pub(crate) pace: Option<Pace>,
    /// How many states were installed.
    pub(crate) installed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UnderWay<S> {
    /// An older state would be of no use: the log between it and the floor is gone.
    least: Slot,
    /// Who is asked.
    from: Option<LearnerId>,
    /// Who has said that it can't help.
    refused: BTreeSet<LearnerId>,
    /// The slot of the snapshot, once the first chunk has come, and what has been built.
    building: Option<(Slot, Builder<S>)>,
    /// Where the chunk begins that is asked for.
    cursor: Bytes,
    bytes: u64,
    /// Whether a chunk was asked for.
    was_asked: bool,
    /// Whether anything has come since the timer was set.
    has_moved: bool,
    /// Whether it was said that nobody can help.
    is_told: bool,
    /// For room on disk.
    wait: Wait,
}

impl<S> UnderWay<S> {
    fn new(least: Slot) -> UnderWay<S> {
        let (from, refused, building) = (None, BTreeSet::new(), None);
        UnderWay {
            least,
            from,
            refused,
            building,
            cursor: START,
            bytes: 0,
            was_asked: false,
            has_moved: false,
            is_told: false,
            wait: Wait::default(),
        }
    }

    /// Throws away what has come.
    fn start_over(&mut self) {
        *self = UnderWay { from: self.from, is_told: self.is_told, ..UnderWay::new(self.least) };
    }
}

impl<S: Storage> Receiving<S> {
    pub(crate) fn new(storage: Option<S>) -> Receiving<S> {
        Receiving {
            lacking: BTreeMap::new(),
            storage,
            under_way: None,
            withheld: Withheld::default(),
            pace: None,
            installed: 0,
        }
    }

    /// Whether chunks are on their way: the log need not be asked for what comes with them.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.from.is_some())
    }

    /// Whether it waits before it asks for more.
    pub(crate) fn is_pausing(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.is_pausing)
    }

    /// How a transfer that is under way waits for room.
    pub(crate) fn waiting_mut(&mut self) -> Option<&mut Wait> {
        self.under_way.as_mut().map(|under_way| &mut under_way.wait)
    }

    /// Whether a transfer waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| !under_way.wait.is_over())
    }

    /// Writes down what has come, as far as there is room; whether nothing more may come.
    pub(crate) fn relieve(&mut self) -> bool {
        let building = self.under_way.as_mut().and_then(|under_way| under_way.building.as_mut());
        building.is_some_and(|(_, builder)| {
            builder.relieve();
            builder.is_full()
        })
    }

    pub(crate) fn status(&self) -> Option<Transfer> {
        let UnderWay { from, building, bytes, .. } = self.under_way.as_ref()?;
        let slot = building.as_ref().map(|(slot, _)| *slot);
        Some(Transfer { from: *from, slot, bytes: *bytes })
    }
}

impl<S: Storage> Learner<S> {
    /// Whether an empty storage is needed to build a peer's snapshot in.
    pub fn needs_storage(&self) -> bool {
        self.receiving.under_way.as_ref().is_some_and(|under_way| under_way.building.is_none())
            && self.receiving.storage.is_none()
    }

    /// An empty storage, in which a peer's snapshot may become a state.
    pub fn on_storage(&mut self, storage: S) {
        assert!(storage.is_empty(), "S7: a snapshot is built in an empty store, this one has keys");
        self.receiving.storage = Some(storage);
    }

    /// How many states of peers were installed in this life: the storage of the present one is the one that was given last.
    pub fn installed(&self) -> u64 {
        self.receiving.installed
    }

    /// `source` has nothing of the slots from `first` on, and keeps those from `floor` on.
    pub(crate) fn note_lacking(&mut self, source: NodeId, first: Slot, floor: Slot, effects: &mut Out) {
        let next = self.log.next();
        if first != next {
            return;
        }
        // Until somebody has told of a floor above it, the slot is only late.
        if floor <= next && self.receiving.lacking.is_empty() {
            return;
        }
        self.receiving.lacking.insert(source, floor);
        let lacking = &self.receiving.lacking;
        let all = self.catch_up.sources(&self.linked).all(|source| lacking.contains_key(&source));
        let lowest = lacking.values().copied().filter(|floor| *floor > next).min();
        if let (true, Some(floor), None) = (all, lowest, &self.receiving.under_way) {
            info!(%next, %floor, "nobody's log has its next slot any more: fetches a snapshot of a peer");
            self.receiving.under_way = Some(UnderWay::new(floor.previous()));
            // One that had a state is wanted back; one that joins can wait.
            let joins = self.machine.applied() == Slot::ZERO;
            self.receiving.pace = joins.then(|| Pace::of_state(self.log.known()));
            self.fetch_snapshot(effects);
            self.set_transfer_timer(effects);
        }
    }

    /// A slot was learned: the log goes on, here at least.
    pub(crate) fn note_learned(&mut self) {
        self.receiving.lacking.clear();
        let applied = self.machine.applied();
        let Some(under_way) = &self.receiving.under_way else { return };
        let is_needed = under_way.building.as_ref().is_some_and(|(slot, _)| applied < *slot);
        if !is_needed && !synod_planted::is(Bug::SnapshotOverNewer) {
            info!(%applied, "somebody's log goes on, as far as a snapshot that has begun to come: needs none");
            (self.receiving.under_way, self.receiving.pace) = (None, None);
        }
    }

    fn set_transfer_timer(&self, effects: &mut Out) {
        effects.set_timer(Timer::Transfer, Delay::exactly(self.config.tuning.resend_ms));
    }

    /// Asks for the next chunk, or has somebody else asked.
    pub(crate) fn on_transfer_timer(&mut self, effects: &mut Out) {
        if self.receiving.is_pausing() {
            return self.set_transfer_timer(effects);
        }
        if self.receiving.is_waiting() && !self.finds_room() {
            return self.wait_for_room(effects);
        }
        let Some(under_way) = &mut self.receiving.under_way else { return };
        let was_asked = under_way.was_asked;
        if !std::mem::take(&mut under_way.has_moved) {
            if was_asked {
                self.turn_to_next_peer();
            }
            // Not at once, if everybody has refused.
            if !was_asked || self.receiving.is_under_way() {
                self.fetch_snapshot(effects);
            }
        }
        self.set_transfer_timer(effects);
    }

    /// Leaves the present peer for the next one that hasn't refused.
    fn turn_to_next_peer(&mut self) {
        let peers: Vec<LearnerId> = self.linked_learners().collect();
        let next = self.log.next();
        let Some(under_way) = &mut self.receiving.under_way else { return };
        if peers.iter().all(|peer| under_way.refused.contains(peer)) {
            let Some((slot, _)) = under_way.building else {
                say_stuck(next, under_way);
                under_way.start_over();
                // Until the timer fires the log is asked again: peers that lack the same would wait for each other, though acceptors that were
                // out of reach may have it.
                under_way.from = None;
                return;
            };
            warn!(%slot, "no peer keeps the snapshot any more: starts over with another");
            under_way.start_over();
        }
        let may = |peer: &&LearnerId| !under_way.refused.contains(*peer);
        let later = peers.iter().filter(may).find(|peer| under_way.from.is_none_or(|from| **peer > from));
        under_way.from = later.or_else(|| peers.iter().find(may)).copied();
    }

    fn fetch_snapshot(&mut self, effects: &mut Out) {
        if self.receiving.under_way.as_ref().is_some_and(|under_way| under_way.from.is_none()) {
            self.turn_to_next_peer();
        }
        let Some(under_way) = &mut self.receiving.under_way else { return };
        if !under_way.wait.is_over() {
            return debug!("waits for room on disk");
        }
        if under_way.building.is_none() && self.receiving.storage.is_none() {
            return debug!("waits for an empty storage");
        }
        let Some(from) = under_way.from else { return };
        under_way.was_asked = true;
        let slot = under_way.building.as_ref().map(|(slot, _)| *slot);
        let least = under_way.least.max(self.machine.applied().next());
        let fetch = SnapshotFetch { slot, least, cursor: under_way.cursor.clone() };
        effects.send(from, ToLearner::SnapshotFetch(fetch));
    }

    pub(crate) fn on_no_snapshot(&mut self, from: LearnerId, none: NoSnapshot, effects: &mut Out) {
        let Some(under_way) = &mut self.receiving.under_way else { return ignore_stale(from) };
        if none.slot != under_way.building.as_ref().map(|(slot, _)| *slot) {
            return ignore_stale(from);
        }
        under_way.refused.insert(from);
        // If it was the last one, the timer starts over: not at once, lest two that can't help are asked in a circle.
        let all = self.config.peers.iter().filter(|peer| self.is_linked(**peer)).count();
        let Some(under_way) = &mut self.receiving.under_way else { return };
        if under_way.from == Some(from) && under_way.refused.len() < all {
            self.turn_to_next_peer();
            self.fetch_snapshot(effects);
        }
    }

    pub(crate) fn on_snapshot_chunk(&mut self, from: LearnerId, chunk: SnapshotChunk, effects: &mut Out) {
        let applied = self.machine.applied();
        let Receiving { under_way: Some(under_way), storage, .. } = &mut self.receiving else {
            return ignore_stale(from);
        };
        let is_wanted = match &under_way.building {
            Some((slot, _)) => *slot == chunk.slot || synod_planted::is(Bug::ChunkOfAnotherSlot),
            None => chunk.slot >= under_way.least && chunk.slot > applied,
        };
        if !is_wanted || chunk.cursor != under_way.cursor {
            return ignore_stale(from);
        }
        if !chunk.is_sound() {
            error!(%from, slot = %chunk.slot, "a chunk of its snapshot is damaged: asks another");
            under_way.refused.insert(from);
            return;
        }
        let (slot, mut builder) = match under_way.building.take() {
            Some(building) => building,
            None => match storage.take() {
                Some(storage) => (chunk.slot, Builder::new(self.config.limits, storage)),
                None => return ignore_stale(from),
            },
        };
        if let Err(error) = builder.take(&chunk.bytes) {
            error!(%from, %slot, %error, "can't use its snapshot: starts over");
            return self.refuse_snapshot(from);
        }
        under_way.bytes += chunk.bytes.len() as u64;
        (under_way.has_moved, under_way.from) = (true, Some(from));
        if let Some(next) = chunk.next {
            under_way.cursor = next;
            let is_full = builder.is_full();
            under_way.building = Some((slot, builder));
            if is_full {
                return self.wait_for_room(effects);
            }
            return self.go_on(chunk.bytes.len() as u64, effects);
        }
        let bytes = under_way.bytes;
        match builder.finish() {
            Ok(machine) if machine.applied() == slot => {
                info!(%slot, bytes, %from, "fetched a snapshot");
                self.install(machine, effects);
            }
            Ok(machine) => {
                error!(%from, %slot, found = %machine.applied(), "its snapshot is of another slot: starts over");
                self.refuse_snapshot(from);
            }
            Err(error) => {
                error!(%from, %slot, %error, "can't use its snapshot: starts over");
                self.refuse_snapshot(from);
            }
        }
    }

    /// A part came: asks for the next one, at once or after a pause.
    pub(crate) fn go_on(&mut self, bytes: u64, effects: &mut Out) {
        let pace = self.receiving.pace.as_mut();
        match pace.and_then(|pace| pace.pause_ms(bytes, &self.config.tuning)) {
            Some(pause_ms) => effects.set_timer(Timer::Pace, Delay::exactly(pause_ms)),
            None if self.receiving.under_way.is_some() => self.fetch_snapshot(effects),
            None => self.fetch(effects),
        }
    }

    pub(crate) fn on_pace_timer(&mut self, effects: &mut Out) {
        let pausing = self.receiving.pace.as_mut().map(|pace| std::mem::take(&mut pace.is_pausing));
        match (pausing, &self.receiving.under_way) {
            (Some(true), Some(_)) => self.fetch_snapshot(effects),
            (Some(true), None) => self.fetch(effects),
            (Some(false) | None, _) => {}
        }
    }

    /// What `from` gives can't be used, and neither can what was built of it.
    fn refuse_snapshot(&mut self, from: LearnerId) {
        if let Some(under_way) = &mut self.receiving.under_way {
            under_way.start_over();
            under_way.refused.insert(from);
        }
    }

    /// The transfer is over; the log above the state is fetched at a pace too, if that was.
    pub(crate) fn end_transfer(&mut self) {
        self.receiving.lacking.clear();
        self.receiving.under_way = None;
        let log_pace = Pace::of_log(self.log.known());
        self.receiving.pace = self.receiving.pace.take().map(|_| log_pace);
    }
}

/// Once for each transfer: every connected learner was asked, and none has what is needed.
fn say_stuck<S>(next: Slot, under_way: &mut UnderWay<S>) {
    if !std::mem::replace(&mut under_way.is_told, true) {
        error!(
            %next,
            floor = %under_way.least.next(),
            "no acceptor has the next slot any more, and no learner that is connected has applied it: can't go on, and tries again. Nothing \
             that was acknowledged is lost while one other learner's data directory is there: start that learner. If all of them are \
             gone, restore a backup into a new cluster"
        );
    }
}

/// Of an earlier request, of a transfer that is over, or repeated: whatever it holds is there, or not wanted.
fn ignore_stale(from: LearnerId) {
    debug!(%from, "ignores a part of a snapshot that wasn't asked for, or was asked for before");
}
