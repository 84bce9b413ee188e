//! When a checkpoint is due, and what has come of it: the role's half of the learner's store on disk.
//!
//! Whoever runs the role asks whether a checkpoint is due, takes the image of one, makes it durable beside the run of things, and tells what came
//! of it. Upholds S8 and S11 from the learner's side: a slot is reported as synced when a checkpoint of it is, not before. Absent on purpose:
//! files and threads (the keeper's and the daemon's).

use synod_planted::Bug;
use synod_protocol::Slot;
use synod_protocol::role::Delay;
use synod_store::{Image, Storage};
use tracing::{info, warn};

use crate::{Learner, Out, Timer};

/// What a slot may cost in an acceptor's journal, at least: a batch takes whole blocks.
const BLOCK_BYTES: u64 = 4 << 10;
/// Milliseconds before a checkpoint that found no room is tried again; doubles.
const RETRY_MS: u64 = 1_000;
/// Milliseconds, at most.
const RETRY_MOST_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Checkpoints {
    /// Every slot up to here is applied and synced.
    pub(crate) synced: Slot,
    /// What the slots since the image of the last checkpoint may cost the acceptors' journals.
    since_bytes: u64,
    /// The slot of the checkpoint that is being made durable.
    writing: Option<Slot>,
    /// One is due whatever was applied: the state on disk is another's.
    is_urgent: bool,
    /// There was no room for the last one.
    pub(crate) is_full: bool,
    /// Until the timer fires, none is tried.
    is_waiting: bool,
    /// Whether the timer has been set.
    is_timer_set: bool,
    retry_ms: u64,
    /// Nothing more is applied before a checkpoint is durable: the storage is full.
    is_stopped: bool,
}

impl Checkpoints {
    /// Of a state that was recovered: synced up to its slot, if whoever recovered it is sure of that.
    pub(crate) fn new(applied: Slot, is_synced: bool) -> Checkpoints {
        Checkpoints {
            synced: if is_synced { applied } else { Slot::ZERO },
            since_bytes: 0,
            writing: None,
            is_urgent: !is_synced && applied > Slot::ZERO,
            is_full: false,
            is_waiting: false,
            is_timer_set: false,
            retry_ms: RETRY_MS,
            is_stopped: false,
        }
    }

    pub(crate) fn note_applied(&mut self, value_bytes: u64) {
        self.since_bytes += value_bytes.max(1).next_multiple_of(BLOCK_BYTES);
    }

    /// The state has been replaced: what is being written is that of the former one.
    pub(crate) fn note_installed(&mut self) {
        (self.writing, self.is_urgent) = (None, true);
    }
}

impl<S: Storage> Learner<S> {
    /// Whether a checkpoint should be made.
    pub fn is_checkpoint_due(&self) -> bool {
        let Checkpoints { since_bytes, is_urgent, .. } = self.checkpoints;
        let is_due = is_urgent
            || since_bytes >= self.config.tuning.checkpoint_bytes
            || self.machine.storage().is_full();
        is_due && self.may_checkpoint()
    }

    /// Whether anything was applied that no checkpoint holds, and a checkpoint can be made of it.
    pub fn may_checkpoint(&self) -> bool {
        let Checkpoints { synced, writing, is_waiting, .. } = self.checkpoints;
        // A state that may be wrong isn't to replace one that was right.
        self.machine.applied() > synced && writing.is_none() && !is_waiting && !self.alarm.is_in_doubt()
    }

    /// Bytes in a second that should be written of a checkpoint that is under way: a quarter more for each quarter of `checkpoint_bytes` that the log is
    /// ahead by, once another one is due. The log that acceptors keep meanwhile so grows with the square root of the state's size. Half of it while
    /// the log of a join is fetched: that is in nobody's way.
    pub fn checkpoint_bytes_per_s(&self) -> u64 {
        let tuning = &self.config.tuning;
        if self.receiving.pace.is_some() {
            return tuning.checkpoint_bytes_per_s.div_ceil(2);
        }
        let ahead = self.checkpoints.since_bytes / (tuning.checkpoint_bytes / 4).max(1);
        tuning.checkpoint_bytes_per_s.saturating_mul(4 + ahead.saturating_sub(4)) / 4
    }

    /// The image of a checkpoint, to be made durable; then tell [`Learner::on_checkpointed`] or [`Learner::on_no_room`].
    pub fn checkpoint(&mut self) -> Image<S::Snapshot> {
        let slot = self.machine.applied();
        if synod_planted::is(Bug::SyncedBeforeSync) {
            self.checkpoints.synced = slot;
        }
        (self.checkpoints.writing, self.checkpoints.since_bytes) = (Some(slot), 0);
        self.checkpoints.is_urgent = false;
        self.machine.checkpoint()
    }

    /// The checkpoint of `slot` is durable.
    pub fn on_checkpointed(&mut self, slot: Slot) {
        assert!(
            slot <= self.machine.applied(),
            "S11: slot {slot} is synced, of {} applied",
            self.machine.applied()
        );
        let checkpoints = &mut self.checkpoints;
        // Of a state that was replaced meanwhile, otherwise; it is durable all the same.
        if checkpoints.writing == Some(slot) {
            checkpoints.writing = None;
            self.machine.checkpointed();
        }
        if checkpoints.is_full {
            info!(%slot, "there is room for checkpoints again");
        }
        checkpoints.synced = checkpoints.synced.max(slot);
        (checkpoints.is_full, checkpoints.retry_ms) = (false, RETRY_MS);
    }

    /// The disk had no room for the checkpoint that was begun: it is tried again later. Nothing else changes; the acceptors keep what is not
    /// synced here.
    pub fn on_no_room(&mut self) {
        let checkpoints = &mut self.checkpoints;
        if !checkpoints.is_full {
            warn!(
                synced = %checkpoints.synced,
                "no room on disk for a checkpoint: goes on without one and tries again. Nothing is lost; acceptors keep what isn't \
                 synced here. Make room in the data directory"
            );
        }
        (checkpoints.is_full, checkpoints.is_waiting) = (true, true);
        (checkpoints.writing, checkpoints.is_urgent) = (None, true);
    }

    /// Whether the next slot may be applied: not while the storage is full (I14). What is chosen meanwhile waits in the log, as behind a gap.
    pub(crate) fn may_apply(&mut self) -> bool {
        let is_full = self.machine.storage().is_full();
        if is_full && !self.checkpoints.is_stopped {
            warn!(
                applied = %self.machine.applied(),
                "as much of the state as may is in no checkpoint: applies nothing more until one is durable, and answers no read that needs more. \
                 Nothing is lost; if the disk is full, make room in the data directory"
            );
        } else if !is_full && self.checkpoints.is_stopped {
            info!(applied = %self.machine.applied(), "goes on applying");
        }
        self.checkpoints.is_stopped = is_full;
        !is_full
    }

    /// Sees that a checkpoint that found no room is tried again.
    pub(crate) fn watch_room(&mut self, effects: &mut Out) {
        let checkpoints = &mut self.checkpoints;
        if checkpoints.is_waiting && !checkpoints.is_timer_set {
            effects.set_timer(Timer::Room, Delay::exactly(checkpoints.retry_ms));
            checkpoints.is_timer_set = true;
            checkpoints.retry_ms = (checkpoints.retry_ms * 2).min(RETRY_MOST_MS);
        }
    }

    pub(crate) fn on_room_timer(&mut self) {
        (self.checkpoints.is_waiting, self.checkpoints.is_timer_set) = (false, false);
    }
}
