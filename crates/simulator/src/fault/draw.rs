//! Draws the faults of a run.
//!
//! Faults of learners' stores have a stream of their own: what else a seed means doesn't depend on whether learners make checkpoints.

use std::collections::BTreeSet;

use synod_protocol::{AcceptorId, LearnerId, NodeId};

use super::{Blow, Fault, Shape};
use crate::plan::{Plan, Us};
use crate::random::Random;

/// Draws the faults of a run, but for those of learners' stores.
pub(crate) fn draw(random: &mut Random, plan: &Plan) -> Vec<(Us, Fault)> {
    let mut faults = Vec::new();
    let mut rotten = BTreeSet::new();
    let kinds: [(u64, Draw); 15] = [
        (600, depose),
        (700, |random, plan| crash_one(random, plan, &acceptors(plan))),
        (500, |random, plan| crash_one(random, plan, &proposers(plan))),
        (400, |random, plan| crash_one(random, plan, &learners(plan))),
        (300, |random, plan| crash_one(random, plan, &clients(plan))),
        (200, crash_all),
        (400, power_loss),
        (300, disk_error),
        (250, full_disk),
        (300, slow_disk),
        (200, rot),
        (250, replace_disk),
        (600, cut),
        (400, reset),
        (500, pause),
    ];
    for (chance, draw) in kinds {
        if !random.happens(chance) {
            continue;
        }
        for _ in 0..random.magnitude(1, 12) {
            let at = random.between(0, plan.faulty_us);
            let fault = draw(random, plan);
            if let Fault::Rot { node, .. } = &fault {
                // More lost disks than the cluster can bear prove nothing.
                rotten.insert(*node);
                if rotten.len() > plan.spare_disks() {
                    rotten.remove(node);
                    continue;
                }
            }
            faults.push((at, fault));
        }
    }
    if random.happens(300) {
        for node in plan.nodes().collect::<Vec<_>>() {
            let at = random.between(0, plan.faulty_us);
            faults.push((at, Fault::Drift { node, per_mille: random.between(700, 1_400) }));
        }
    }
    faults
}

/// Draws what befalls the learners' stores.
pub(crate) fn draw_of_stores(random: &mut Random, plan: &Plan) -> Vec<(Us, Fault)> {
    let mut faults = Vec::new();
    let kinds: [(u64, Draw); 8] = [
        (400, |random, plan| {
            let node = some_learner(random, plan);
            power_loss_of(random, node)
        }),
        (200, |random, plan| {
            let node = some_learner(random, plan);
            disk_error_of(random, node)
        }),
        (250, |random, plan| {
            let node = some_learner(random, plan);
            full_disk_of(random, node)
        }),
        (200, |random, plan| {
            let node = some_learner(random, plan);
            slow_disk_of(random, node)
        }),
        (400, absence),
        (300, cut_short),
        (300, |random, plan| Fault::Rot { node: some_lossy(random, plan).into(), place: random.bits() }),
        (300, |random, plan| Fault::WipeDisk {
            learner: some_lossy(random, plan),
            down_us: random.magnitude(1_000, 3_000_000),
        }),
    ];
    let bearable = if plan.stores.lossy.is_empty() { kinds.len() - 2 } else { kinds.len() };
    for (chance, draw) in &kinds[..bearable] {
        if random.happens(*chance) {
            for _ in 0..random.magnitude(1, 8) {
                faults.push((random.between(0, plan.faulty_us), draw(random, plan)));
            }
        }
    }
    for observer in plan.cluster.observers.keys() {
        faults.push((random.between(0, plan.faulty_us), Fault::Join { observer: *observer }));
    }
    faults
}

/// A learner is away for so long that what it lacks may be dropped.
fn absence(random: &mut Random, plan: &Plan) -> Fault {
    let nodes = vec![some_learner(random, plan)];
    let down_us = random.magnitude(300_000, plan.faulty_us);
    Fault::Crash { nodes, power: random.happens(300), down_us, interrupted: None }
}

fn cut_short(random: &mut Random, _plan: &Plan) -> Fault {
    let (is_giver, chunks) = (random.happens(500), random.magnitude(1, 30));
    Fault::CutShort { is_giver, chunks, down_us: random.magnitude(1_000, 2_000_000) }
}

/// A learner or an observer.
fn some_learner(random: &mut Random, plan: &Plan) -> NodeId {
    let all: Vec<LearnerId> =
        plan.cluster.learners.keys().chain(plan.cluster.observers.keys()).copied().collect();
    (*random.pick(&all)).into()
}

/// A learner whose disk may be lost.
fn some_lossy(random: &mut Random, plan: &Plan) -> LearnerId {
    *random.pick(&plan.stores.lossy)
}

type Draw = fn(&mut Random, &Plan) -> Fault;

fn acceptors(plan: &Plan) -> Vec<NodeId> {
    plan.servers().filter(|node| matches!(node, NodeId::Acceptor(_))).collect()
}

fn proposers(plan: &Plan) -> Vec<NodeId> {
    plan.servers().filter(|node| matches!(node, NodeId::Proposer(_))).collect()
}

fn learners(plan: &Plan) -> Vec<NodeId> {
    plan.servers().filter(|node| matches!(node, NodeId::Learner(_))).collect()
}

fn clients(plan: &Plan) -> Vec<NodeId> {
    plan.nodes().filter(|node| matches!(node, NodeId::Client(_))).collect()
}

fn some_acceptor(random: &mut Random, plan: &Plan) -> AcceptorId {
    let all: Vec<AcceptorId> = plan.cluster.quorums.acceptors().collect();
    *random.pick(&all)
}

fn crash_one(random: &mut Random, _plan: &Plan, among: &[NodeId]) -> Fault {
    let mut nodes = vec![*random.pick(among)];
    if random.happens(150) {
        nodes.push(*random.pick(among));
        nodes.dedup();
    }
    let power = random.happens(400);
    let interrupted = (power && random.happens(300)).then(|| random.between(0, 30));
    Fault::Crash { nodes, power, down_us: random.magnitude(1_000, 2_000_000), interrupted }
}

fn crash_all(random: &mut Random, plan: &Plan) -> Fault {
    let interrupted = random.happens(300).then(|| random.between(0, 30));
    let down_us = random.magnitude(1_000, 500_000);
    Fault::Crash { nodes: plan.servers().collect(), power: random.happens(700), down_us, interrupted }
}

fn power_loss(random: &mut Random, plan: &Plan) -> Fault {
    let node = some_acceptor(random, plan).into();
    power_loss_of(random, node)
}

fn power_loss_of(random: &mut Random, node: NodeId) -> Fault {
    Fault::PowerLoss {
        node,
        operations: random.magnitude(1, 40),
        down_us: random.magnitude(1_000, 1_000_000),
    }
}

fn disk_error(random: &mut Random, plan: &Plan) -> Fault {
    let node = some_acceptor(random, plan).into();
    disk_error_of(random, node)
}

fn disk_error_of(random: &mut Random, node: NodeId) -> Fault {
    Fault::DiskError {
        node,
        operations: random.magnitude(1, 40),
        down_us: random.magnitude(1_000, 1_000_000),
    }
}

fn full_disk(random: &mut Random, plan: &Plan) -> Fault {
    let node = some_acceptor(random, plan).into();
    full_disk_of(random, node)
}

fn full_disk_of(random: &mut Random, node: NodeId) -> Fault {
    Fault::FullDisk { node, us: random.magnitude(10_000, 2_000_000) }
}

fn slow_disk(random: &mut Random, plan: &Plan) -> Fault {
    let node = some_acceptor(random, plan).into();
    slow_disk_of(random, node)
}

fn slow_disk_of(random: &mut Random, node: NodeId) -> Fault {
    Fault::SlowDisk { node, factor: random.magnitude(2, 100), us: random.magnitude(10_000, 3_000_000) }
}

fn rot(random: &mut Random, plan: &Plan) -> Fault {
    Fault::Rot { node: some_acceptor(random, plan).into(), place: random.bits() }
}

fn replace_disk(random: &mut Random, plan: &Plan) -> Fault {
    let back = random.happens(400);
    Fault::ReplaceDisk {
        acceptor: some_acceptor(random, plan),
        down_us: random.magnitude(1_000, 1_000_000),
        back_us: back.then(|| random.magnitude(50_000, 3_000_000)),
    }
}

fn depose(random: &mut Random, plan: &Plan) -> Fault {
    let few = random.below(plan.cluster.quorums.count());
    let blow = match random.below(5) {
        0 => Blow::Crash,
        1 => Blow::Pause,
        2 => Blow::Deaf(few),
        _ => Blow::Unheard(few),
    };
    let timeout_us = plan.cluster.tuning.election_timeout_ms * 1000;
    Fault::Depose { blow, us: random.between(timeout_us / 4, timeout_us * 4) }
}

fn reset(random: &mut Random, plan: &Plan) -> Fault {
    let nodes: Vec<NodeId> = plan.nodes().collect();
    Fault::Reset { one: *random.pick(&nodes), other: *random.pick(&nodes) }
}

fn pause(random: &mut Random, plan: &Plan) -> Fault {
    let nodes: Vec<NodeId> = plan.nodes().collect();
    Fault::Pause { node: *random.pick(&nodes), us: random.magnitude(1_000, 3_000_000) }
}

fn cut(random: &mut Random, plan: &Plan) -> Fault {
    let shape = *random.pick(&Shape::ALL);
    let mut nodes: Vec<NodeId> = plan.nodes().collect();
    random.shuffle(&mut nodes);
    let pairs = cut_pairs(random, plan, shape, &nodes);
    Fault::Cut { shape, pairs, us: random.magnitude(5_000, 3_000_000) }
}

/// Which directed pairs of `nodes`, which stand in a random order, are cut.
fn cut_pairs(random: &mut Random, plan: &Plan, shape: Shape, nodes: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    let count = nodes.len();
    let split = 1 + random.below(count - 1);
    let reach = match shape {
        Shape::Ring => count / 3,
        Shape::Chained => count / 2,
        Shape::Full | Shape::Minority | Shape::OneWay | Shape::Bridge => 0,
    };
    let hears = random.happens(500);
    let minority: Vec<NodeId> = nodes
        .iter()
        .copied()
        .filter(|node| matches!(node, NodeId::Acceptor(_)))
        .take(plan.cluster.quorums.failures_survived().max(1))
        .collect();
    let cut = |from: usize, to: usize| match shape {
        Shape::Full => (from < split) != (to < split),
        Shape::Minority => minority.contains(&nodes[from]) != minority.contains(&nodes[to]),
        Shape::OneWay => (from < split) != (to < split) && (from < split) == hears,
        // The last one is the bridge.
        Shape::Bridge => from.max(to) != count - 1 && (from < split) != (to < split),
        Shape::Ring => from.abs_diff(to).min(count - from.abs_diff(to)) > reach,
        Shape::Chained => from.abs_diff(to) > reach,
    };
    let all = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
    all.filter(|(from, to)| from != to && cut(*from, *to))
        .map(|(from, to)| (nodes[from], nodes[to]))
        .collect()
}
