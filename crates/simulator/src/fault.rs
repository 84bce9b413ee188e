//! What goes wrong: one enum, drawn from the seed before a run begins, with everything it needs to be told and repeated.

use std::collections::BTreeSet;
use std::fmt;

use synod_protocol::{AcceptorId, NodeId};

use crate::plan::{Plan, Us};
use crate::random::Random;

/// The shapes of partitions: full ones, and the partial ones that NIFTY (OSDI 2020) and OmniPaxos (EuroSys 2023) describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Two groups that don't hear each other.
    Full,
    /// A minority of the acceptors, cut off from all.
    Minority,
    /// Some are heard by nobody, or hear nobody.
    OneWay,
    /// Two groups, and one process that reaches both.
    Bridge,
    /// Everybody reaches its neighbours in a ring.
    Ring,
    /// Everybody reaches its neighbours in a row.
    Chained,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 6] =
        [Shape::Full, Shape::Minority, Shape::OneWay, Shape::Bridge, Shape::Ring, Shape::Chained];
}

/// What happens to whoever leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Its process ends.
    Crash,
    /// Its process is stopped.
    Pause,
    /// Only so many acceptors still hear it: a minority may vote for what nobody else learns of.
    Unheard(usize),
    /// Only so many acceptors are still heard by it: it doesn't learn what it has got chosen.
    Deaf(usize),
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Processes end at once and start again later.
    Crash {
        /// Who.
        nodes: Vec<NodeId>,
        /// Whether their machines lose power, and with it what was written and not synced.
        power: bool,
        /// Until they start again.
        down_us: Us,
        /// The restart is itself cut short by a loss of power after so many disk operations.
        interrupted: Option<u64>,
    },
    /// An acceptor's machine loses power at its disk's n-th operation from here, in the midst of it.
    PowerLoss {
        /// Who.
        acceptor: AcceptorId,
        /// Operations from here.
        operations: u64,
        /// Until it starts again.
        down_us: Us,
    },
    /// The n-th disk operation from here fails; what a failed sync was to make durable never will be.
    DiskError {
        /// Whose disk.
        acceptor: AcceptorId,
        /// Operations from here.
        operations: u64,
        /// Until the process, which ends, is started again.
        down_us: Us,
    },
    /// No room on a disk.
    FullDisk {
        /// Whose disk.
        acceptor: AcceptorId,
        /// Until there is room again.
        us: Us,
    },
    /// A disk that is so many times slower.
    SlowDisk {
        /// Whose disk.
        acceptor: AcceptorId,
        /// How many times.
        factor: u64,
        /// For how long.
        us: Us,
    },
    /// A bit flips in the journal of an acceptor that was shut down, and is started again.
    Rot {
        /// Whose disk.
        acceptor: AcceptorId,
        /// Which bit: this, modulo the bits that there are.
        place: u64,
    },
    /// An acceptor's disk is lost, and replaced by an empty one.
    ReplaceDisk {
        /// Whose disk.
        acceptor: AcceptorId,
        /// Until the acceptor is started with the new disk.
        down_us: Us,
        /// Until it is started with the old one for a while, if ever.
        back_us: Option<Us>,
    },
    /// Messages between these don't arrive.
    Cut {
        /// The shape.
        shape: Shape,
        /// From whom to whom.
        pairs: Vec<(NodeId, NodeId)>,
        /// For how long.
        us: Us,
    },
    /// Whoever proposes at the highest ballot is hit.
    Depose {
        /// How.
        blow: Blow,
        /// For how long.
        us: Us,
    },
    /// A connection is reset.
    Reset {
        /// One end.
        one: NodeId,
        /// The other.
        other: NodeId,
    },
    /// A process is stopped (SIGSTOP) and goes on later.
    Pause {
        /// Who.
        node: NodeId,
        /// For how long.
        us: Us,
    },
    /// A process's clock runs at another rate from here on.
    Drift {
        /// Whose clock.
        node: NodeId,
        /// 1000 is right.
        per_mille: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: &Us| *us as f64 / 1000.0;
        let list = |nodes: &[NodeId]| {
            let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
            names.join(" ")
        };
        match self {
            Fault::Crash { nodes, power, down_us, interrupted } => {
                write!(f, "{} crash", list(nodes))?;
                if *power {
                    write!(f, " and lose power")?;
                }
                write!(f, ", down for {:.1} ms", ms(down_us))?;
                match interrupted {
                    Some(operations) => write!(f, ", power lost again after {operations} operations"),
                    None => Ok(()),
                }
            }
            Fault::PowerLoss { acceptor, operations, down_us } => {
                let down = ms(down_us);
                write!(
                    f,
                    "{acceptor} loses power {operations} disk operations from here, down for {down:.1} ms"
                )
            }
            Fault::DiskError { acceptor, operations, .. } => {
                write!(f, "disk of {acceptor} fails {operations} operations from here")
            }
            Fault::FullDisk { acceptor, us } => write!(f, "disk of {acceptor} is full for {:.1} ms", ms(us)),
            Fault::SlowDisk { acceptor, factor, us } => {
                write!(f, "disk of {acceptor} is {factor} times slower for {:.1} ms", ms(us))
            }
            Fault::Rot { acceptor, .. } => {
                write!(f, "{acceptor} is shut down, and a bit of its journal flips")
            }
            Fault::ReplaceDisk { acceptor, .. } => write!(f, "the disk of {acceptor} is lost, and replaced"),
            Fault::Cut { shape, pairs, us } => {
                write!(f, "partition ({shape:?}) of {} directed pairs for {:.1} ms", pairs.len(), ms(us))
            }
            Fault::Depose { blow, us } => write!(f, "the leader is hit ({blow:?}) for {:.1} ms", ms(us)),
            Fault::Reset { one, other } => write!(f, "connection between {one} and {other} is reset"),
            Fault::Pause { node, us } => write!(f, "{node} is paused for {:.1} ms", ms(us)),
            Fault::Drift { node, per_mille } => write!(f, "clock of {node} runs at {per_mille} per mille"),
        }
    }
}

/// Draws the faults of a run, in order of time.
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
            if let Fault::Rot { acceptor, .. } = &fault {
                // More lost disks than the cluster can bear prove nothing.
                rotten.insert(*acceptor);
                if rotten.len() > plan.spare_disks() {
                    rotten.remove(acceptor);
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
    faults.sort_by_key(|(at, _)| *at);
    faults
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
    let acceptor = some_acceptor(random, plan);
    Fault::PowerLoss {
        acceptor,
        operations: random.magnitude(1, 40),
        down_us: random.magnitude(1_000, 1_000_000),
    }
}

fn disk_error(random: &mut Random, plan: &Plan) -> Fault {
    let acceptor = some_acceptor(random, plan);
    Fault::DiskError {
        acceptor,
        operations: random.magnitude(1, 40),
        down_us: random.magnitude(1_000, 1_000_000),
    }
}

fn full_disk(random: &mut Random, plan: &Plan) -> Fault {
    Fault::FullDisk { acceptor: some_acceptor(random, plan), us: random.magnitude(10_000, 2_000_000) }
}

fn slow_disk(random: &mut Random, plan: &Plan) -> Fault {
    let acceptor = some_acceptor(random, plan);
    Fault::SlowDisk { acceptor, factor: random.magnitude(2, 100), us: random.magnitude(10_000, 3_000_000) }
}

fn rot(random: &mut Random, plan: &Plan) -> Fault {
    Fault::Rot { acceptor: some_acceptor(random, plan), place: random.bits() }
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
