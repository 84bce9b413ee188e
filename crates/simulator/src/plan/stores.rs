//! What a seed means for the learners' stores: whether they make checkpoints, so that floors rise, and what may be lost.
//!
//! In plans without checkpoints every slot stays where it was voted on, and any learner may be lost at the end. With them, acceptors drop what
//! f_l + 1 learners have synced; so no more than f_l learners are dead in the end or ever lose a disk (S8).

use synod_protocol::LearnerId;
use synod_protocol::NodeId;
use synod_protocol::cluster::Cluster;

use super::{Plan, Us};
use crate::random::Random;

/// What a slot counts, at least, of `checkpoint_bytes`.
const SLOT_BYTES: u64 = 4 << 10;

/// How learners keep what they have applied.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Whether they make checkpoints.
    pub checkpoints: bool,
    /// Bytes of a chunk of a checkpoint file.
    pub chunk_bytes: u64,
    /// Least and most time between two steps of a checkpoint, beside the disk's.
    pub step_us: (Us, Us),
    /// Learners whose disks may be lost: with those that are dead in the end no more than f_l.
    pub lossy: Vec<LearnerId>,
}

impl Stores {
    pub(super) fn none() -> Stores {
        Stores { checkpoints: false, chunk_bytes: 4 << 10, step_us: (0, 0), lossy: Vec::new() }
    }
}

/// How many learner disks may be lost, together with acceptor disks (S8).
pub(crate) fn spare_learners(cluster: &Cluster) -> usize {
    (cluster.learners.len() - 1) / 2
}

pub(super) fn draw(random: &mut Random, plan: &mut Plan) {
    if !random.happens(600) {
        return;
    }
    plan.stores = Stores {
        checkpoints: true,
        chunk_bytes: random.magnitude(100, 20_000),
        step_us: (0, random.magnitude(100, 300_000)),
        lossy: Vec::new(),
    };
    let learners = match random.below(10) {
        0..4 => plan.cluster.learners.len() as u16,
        4..9 => 3,
        _ => 5,
    };
    let nowhere = || "simulated".to_string();
    plan.cluster.learners = (1..=learners).map(|id| (LearnerId(id), nowhere())).collect();
    if random.happens(400) {
        plan.cluster.observers = [(LearnerId(learners + 1), nowhere())].into();
    }
    let tuning = &mut plan.cluster.tuning;
    tuning.checkpoint_bytes = SLOT_BYTES * random.magnitude(4, 200);
    tuning.learner_tail_bytes = random.magnitude(500, 20_000);
    tuning.snapshot_keep_ms = random.between(200, 3_000);
    // So that chunks come with pauses, and everything has come long before a run ends.
    tuning.join_bytes_per_s = tuning.snapshot_keep_ms * 200;
    if random.happens(400) {
        tuning.chunk_bytes = random.between(64, 300);
    }
    if random.happens(300) {
        tuning.pin_bytes = random.magnitude(2_000, 1_000_000);
    }
    if random.happens(500) {
        plan.journal.segment_bytes = (plan.journal.block_bytes * 16).max(8 << 10);
    }
    draw_lossy(random, plan);
}

/// Spares what S8 doesn't cover.
fn draw_lossy(random: &mut Random, plan: &mut Plan) {
    let spare = spare_learners(&plan.cluster);
    let mut dead = Vec::new();
    plan.ending.dead.retain(|node| {
        let NodeId::Learner(id) = node else { return true };
        if dead.len() < spare {
            dead.push(*id);
        }
        dead.contains(id)
    });
    let mut others: Vec<LearnerId> =
        plan.cluster.learners.keys().copied().filter(|id| !dead.contains(id)).collect();
    random.shuffle(&mut others);
    others.truncate(spare - dead.len());
    plan.stores.lossy = dead.into_iter().chain(others).collect();
}
