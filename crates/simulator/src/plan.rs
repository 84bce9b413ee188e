//! What a seed means: the cluster, its numbers, the weather and the faults of one run, drawn before the run begins.
//!
//! Swarm testing (Groce et al., 2012): every seed switches each kind of trouble on or off and draws how bad it is, so that some runs see one
//! trouble alone and some see all. A plan is plain data: the shrinker takes faults and clients out of it and runs it again.

mod stores;

use synod_journal::Options;
use synod_protocol::cluster::{Cluster, Limits};
use synod_protocol::tuning::Tuning;
use synod_protocol::{AcceptorId, ClientId, LearnerId, NodeId, ProposerId, QuorumSystem};

use crate::fault::{self, Fault};
use crate::random::Random;
pub use stores::Stores;
pub(crate) use stores::spare_learners;

/// Microseconds of virtual time.
pub type Us = u64;

/// Streams of a seed.
pub(crate) mod stream {
    pub(crate) const PLAN: u64 = 1;
    pub(crate) const FAULTS: u64 = 2;
    pub(crate) const NETWORK: u64 = 3;
    pub(crate) const NODES: u64 = 4;
    pub(crate) const WORKLOAD: u64 = 5;
    pub(crate) const DISKS: u64 = 6;
    pub(crate) const STORES: u64 = 7;
    pub(crate) const STORE_FAULTS: u64 = 8;
    pub(crate) const CHECKPOINTS: u64 = 9;
}

/// A client's id tells its seat: the id modulo this; a client that crashed is followed by another on the same seat.
pub(crate) const SEATS: u64 = 64;

/// How the network treats messages.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Per mille of messages lost.
    pub lost: u64,
    /// Per mille of messages that come twice.
    pub repeated: u64,
    /// Per mille of messages that are late, by up to `late_us`, and so overtaken.
    pub late: u64,
    /// How late a late message may be.
    pub late_us: Us,
    /// Least and most time under way.
    pub latency_us: (Us, Us),
    /// Whether the messages of a connection keep their order, and none outlives it, as with TCP; late ones hold up the rest.
    pub ordered: bool,
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Keys in use at a time.
    pub keys: u64,
    /// Calls that one client has under way at once.
    pub at_once: u64,
    /// Most time between the end of a call and the next one.
    pub think_us: Us,
    /// Least and most time a call may take.
    pub deadline_us: (Us, Us),
    /// Per mille of calls that are puts.
    pub puts: u64,
    /// Per mille of calls that are deletes; the rest are reads.
    pub deletes: u64,
}

/// How fast disks are.
#[derive(Clone, Debug)]
pub struct Disks {
    /// Time of a sync.
    pub sync_us: Us,
    /// One in so many releases is followed by the question: if the power went here, would everything told be there?
    pub audit_every: u64,
}

/// What stays broken when the faults end.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Processes that never come back: a minority of the acceptors, never all of the others.
    pub dead: Vec<NodeId>,
    /// Directed pairs that stay cut; one proposer at least reaches every acceptor.
    pub cut: Vec<(NodeId, NodeId)>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// Who takes part.
    pub cluster: Cluster,
    /// Clients at once.
    pub clients: u64,
    /// The network.
    pub weather: Weather,
    /// What clients do.
    pub workload: Workload,
    /// The disks.
    pub disks: Disks,
    /// The journals' layout.
    pub journal: Options,
    /// What learners keep.
    pub stores: Stores,
    /// When faults come, by time.
    pub faults: Vec<(Us, Fault)>,
    /// When faults end.
    pub faulty_us: Us,
    /// What stays broken afterwards.
    pub ending: Ending,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64) -> Plan {
        let random = &mut Random::new(seed, stream::PLAN);
        let mut cluster = draw_cluster(random);
        let clients = random.magnitude(1, 8);
        if random.happens(200) {
            // Clients that crash leave sessions behind, which must expire before there is room for the next.
            cluster.limits.sessions = clients + random.between(1, 3);
            cluster.tuning.session_ttl_ms = random.between(300, 1_000);
        }
        let mut weather = draw_weather(random);
        let at_once = random.magnitude(1, 4);
        let calls_per_s = random.magnitude(30, 500);
        if random.happens(250) {
            hurry(&mut cluster.tuning, random.between(25, 80));
            weather.latency_us = (20, 20 + random.magnitude(10, 500));
        }
        let workload = Workload {
            keys: random.between(1, 5),
            at_once,
            think_us: 2_000_000 * clients * at_once / calls_per_s,
            deadline_us: (random.magnitude(50_000, 1_000_000), random.magnitude(1_000_000, 5_000_000)),
            puts: random.between(200, 600),
            deletes: random.between(0, 200),
        };
        let disks = Disks { sync_us: random.magnitude(50, 2_000), audit_every: random.between(20, 60) };
        let block_bytes = 64 << random.between(0, 6);
        let segment_bytes = (block_bytes * random.magnitude(16, 1024)).max(8 << 10);
        let prepare_step_bytes = block_bytes * random.magnitude(1, 64);
        let journal = Options { segment_bytes, block_bytes, prepare_step_bytes };
        let faulty_us = random.between(3_000_000, 9_000_000);
        let ending = draw_ending(random, &cluster);
        let mut plan = Plan {
            seed,
            cluster,
            clients,
            weather,
            workload,
            disks,
            journal,
            stores: Stores::none(),
            faults: Vec::new(),
            faulty_us,
            ending,
        };
        stores::draw(&mut Random::new(seed, stream::STORES), &mut plan);
        plan.faults = fault::draw(&mut Random::new(seed, stream::FAULTS), &plan);
        if plan.stores.checkpoints {
            plan.faults.extend(fault::draw_of_stores(&mut Random::new(seed, stream::STORE_FAULTS), &plan));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Acceptors, proposers and configured learners.
    pub fn servers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.cluster.nodes().map(|(node, _)| node)
    }

    /// Everybody, clients by the first id of their seat.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let observers = self.cluster.observers.keys().copied().map(NodeId::from);
        self.servers().chain(observers).chain((1..=self.clients).map(|seat| NodeId::Client(ClientId(seat))))
    }

    /// An observer that knows nothing, and joins when all is over.
    pub fn latecomer(&self) -> LearnerId {
        LearnerId((self.cluster.learners.len() + self.cluster.observers.len()) as u16 + 1)
    }

    /// How many acceptor disks may be lost for good: the cluster goes on, and forgets nothing.
    pub fn spare_disks(&self) -> usize {
        let quorums = &self.cluster.quorums;
        quorums.failures_survived().min(quorums.phase2() - 1)
    }
}

fn draw_cluster(random: &mut Random) -> Cluster {
    let count = *random.pick(&[3, 3, 3, 4, 5, 5]);
    let acceptors: Vec<_> = (1..=count).map(AcceptorId).collect();
    let sizes: Vec<(usize, usize)> = (1..=acceptors.len())
        .flat_map(|phase1| (1..=acceptors.len()).map(move |phase2| (phase1, phase2)))
        .filter(|(phase1, phase2)| phase1 + phase2 == acceptors.len() + 1)
        .collect();
    let quorums = if random.happens(250) {
        let (phase1, phase2) = *random.pick(&sizes);
        QuorumSystem::flexible(acceptors.clone(), phase1, phase2)
    } else {
        QuorumSystem::majority(acceptors.clone())
    };
    let proposers = random.between(1, 3) as u16;
    let learners = random.between(1, 3) as u16;
    let nowhere = || "simulated".to_string();
    Cluster {
        name: "simulated".to_string(),
        acceptors: acceptors.into_iter().map(|id| (id, nowhere())).collect(),
        proposers: (1..=proposers).map(|id| (ProposerId(id), nowhere())).collect(),
        learners: (1..=learners).map(|id| (LearnerId(id), nowhere())).collect(),
        observers: Default::default(),
        quorums: quorums.expect("sizes that add up to one more than there are meet"),
        limits: Limits {
            key_bytes: 64,
            value_bytes: 256,
            session_window: random.magnitude(1, 64),
            sessions: 1_000,
        },
        tuning: draw_tuning(random),
    }
}

/// Small limits, so that each is reached in some runs.
fn draw_tuning(random: &mut Random) -> Tuning {
    let usual = Tuning::default();
    let tight = random.happens(300);
    Tuning {
        chunk_bytes: random.magnitude(100, 100_000),
        heal_bytes: random.magnitude(1_000, 1_000_000),
        window_slots: random.magnitude(1, 32),
        window_bytes: if tight { random.magnitude(200, 20_000) } else { usual.window_bytes },
        batch_commands: random.magnitude(1, 64),
        queue_bytes: if tight { random.magnitude(500, 5_000) } else { usual.queue_bytes },
        retained_bytes: if tight { random.magnitude(20_000, 200_000) } else { usual.retained_bytes },
        learner_buffer_bytes: random.magnitude(500, 1_000_000),
        learner_tail_bytes: random.magnitude(500, 1_000_000),
        waiting_reads: if tight { random.between(1, 4) } else { usual.waiting_reads },
        session_ttl_ms: if random.happens(300) { random.between(300, 2_000) } else { usual.session_ttl_ms },
        election_timeout_ms: random.between(150, 400),
        seal_ms: random.between(20, 200),
        thrifty_ms: if random.happens(200) { 0 } else { random.magnitude(1, 100) },
        // A few values: most are read back from the journal.
        acceptor_cache_bytes: 2_000,
        ..usual
    }
}

/// Timeouts so short that leaders follow one another quickly.
fn hurry(tuning: &mut Tuning, election_timeout_ms: u64) {
    *tuning = Tuning {
        election_timeout_ms,
        election_jitter_ms: election_timeout_ms / 3,
        heartbeat_ms: election_timeout_ms / 6,
        probe_ms: election_timeout_ms / 5,
        resend_ms: election_timeout_ms / 2,
        subscribe_ms: election_timeout_ms / 2,
        ..tuning.clone()
    };
}

fn draw_weather(random: &mut Random) -> Weather {
    let least = random.magnitude(20, 1_000);
    let latency_us = (least, least + random.magnitude(10, 3_000));
    let calm = Weather { lost: 0, repeated: 0, late: 0, late_us: 0, latency_us, ordered: true };
    let storm = |random: &mut Random, most| if random.happens(600) { random.magnitude(1, most) } else { 0 };
    match random.below(4) {
        0 => calm,
        1 => Weather { late: storm(random, 100), late_us: random.magnitude(1_000, 300_000), ..calm },
        _ => Weather {
            lost: storm(random, 300),
            repeated: storm(random, 300),
            late: storm(random, 300),
            late_us: random.magnitude(1_000, 500_000),
            latency_us,
            ordered: false,
        },
    }
}

fn draw_ending(random: &mut Random, cluster: &Cluster) -> Ending {
    let mut ending = Ending { dead: Vec::new(), cut: Vec::new() };
    let spare = cluster.quorums.failures_survived() as u64;
    let mut some = |all: Vec<NodeId>, most: u64| {
        let mut all = all;
        random.shuffle(&mut all);
        let count = if random.happens(400) { random.between(0, most) } else { 0 };
        all.into_iter().take(count as usize).collect::<Vec<_>>()
    };
    let proposers: Vec<NodeId> = cluster.proposers.keys().map(|id| NodeId::Proposer(*id)).collect();
    let learners: Vec<NodeId> = cluster.learners.keys().map(|id| NodeId::Learner(*id)).collect();
    ending.dead.extend(some(cluster.quorums.acceptors().map(NodeId::from).collect(), spare));
    ending.dead.extend(some(proposers.clone(), proposers.len() as u64 - 1));
    ending.dead.extend(some(learners.clone(), learners.len() as u64 - 1));
    let alive: Vec<NodeId> = proposers.into_iter().filter(|id| !ending.dead.contains(id)).collect();
    if random.happens(300) {
        // A partial partition: every other proposer reaches some acceptors, or is reached by them, or both, or neither.
        let cut = *random.pick(&[200, 500, 1000]);
        for proposer in &alive[1..] {
            for acceptor in cluster.quorums.acceptors().map(NodeId::from) {
                for pair in [(*proposer, acceptor), (acceptor, *proposer)] {
                    if random.happens(cut) {
                        ending.cut.push(pair);
                    }
                }
            }
        }
    }
    ending
}
