//! What goes wrong: one enum, drawn from the seed before a run begins, with everything it needs to be told and repeated.

mod draw;

use std::fmt;

use synod_protocol::{AcceptorId, LearnerId, NodeId};

use crate::plan::Us;
pub(crate) use draw::{draw, draw_of_stores};

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
    /// An acceptor's or a learner's machine loses power at its disk's n-th operation from here, in the midst of it.
    PowerLoss {
        /// Who.
        node: NodeId,
        /// Operations from here.
        operations: u64,
        /// Until it starts again.
        down_us: Us,
    },
    /// The n-th disk operation from here fails; what a failed sync was to make durable never will be.
    DiskError {
        /// Whose disk.
        node: NodeId,
        /// Operations from here.
        operations: u64,
        /// Until the process, which ends, is started again.
        down_us: Us,
    },
    /// No room on a disk.
    FullDisk {
        /// Whose disk.
        node: NodeId,
        /// Until there is room again.
        us: Us,
    },
    /// A disk that is so many times slower.
    SlowDisk {
        /// Whose disk.
        node: NodeId,
        /// How many times.
        factor: u64,
        /// For how long.
        us: Us,
    },
    /// A bit flips in the journal of an acceptor, or in a learner's checkpoints, while nobody uses them.
    Rot {
        /// Whose disk.
        node: NodeId,
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
    /// A learner's disk is lost, and replaced by an empty one.
    WipeDisk {
        /// Whose disk.
        learner: LearnerId,
        /// Until the learner is started with the new disk.
        down_us: Us,
    },
    /// When so many chunks of snapshots have been given from here on, whoever gives or whoever takes the last of them crashes.
    CutShort {
        /// Whether it is the giver.
        is_giver: bool,
        /// Chunks from here.
        chunks: u64,
        /// Until it starts again.
        down_us: Us,
    },
    /// An observer joins.
    Join {
        /// Who.
        observer: LearnerId,
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
            Fault::PowerLoss { node, operations, down_us } => {
                let down = ms(down_us);
                write!(f, "{node} loses power {operations} disk operations from here, down for {down:.1} ms")
            }
            Fault::DiskError { node, operations, .. } => {
                write!(f, "disk of {node} fails {operations} operations from here")
            }
            Fault::FullDisk { node, us } => write!(f, "disk of {node} is full for {:.1} ms", ms(us)),
            Fault::SlowDisk { node, factor, us } => {
                write!(f, "disk of {node} is {factor} times slower for {:.1} ms", ms(us))
            }
            Fault::Rot { node, .. } => write!(f, "{node} is shut down, and a bit on its disk flips"),
            Fault::ReplaceDisk { acceptor, .. } => write!(f, "the disk of {acceptor} is lost, and replaced"),
            Fault::WipeDisk { learner, .. } => write!(f, "the disk of {learner} is lost"),
            Fault::CutShort { is_giver, chunks, .. } => {
                let who = if *is_giver { "giver" } else { "receiver" };
                write!(f, "the {who} of a snapshot crashes {chunks} chunks from here")
            }
            Fault::Join { observer } => write!(f, "{observer} joins as an observer"),
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
