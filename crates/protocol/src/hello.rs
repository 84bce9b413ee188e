//! The hello: who calls whom, for which cluster, with which fixed parameters. First frame of every connection, both ways.
//!
//! Upholds S12 at the door: a process with other acceptor ids, quorum sizes, learner ids or limits, or of another cluster, is
//! refused before any message of it is read.

use serde::{Deserialize, Serialize};

use crate::ids::{Ballot, ClusterId, DiskId, NodeId};

/// Version of the protocol: of every message and of this hello.
pub const VERSION: u32 = 4;

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// Who speaks.
    pub from: NodeId,
    /// Whom the dialing side means to reach (in the answer: who dialed).
    pub to: NodeId,
    /// Hash of the fixed parameters ([`crate::Cluster::parameters_hash`]).
    pub parameters: u64,
    /// The rest.
    pub standing: Standing,
}

/// What a role adds to a hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// The cluster it belongs to; an acceptor that isn't open, or a process that hasn't reached a quorum yet, has none.
    pub cluster: Option<ClusterId>,
    /// An acceptor's disk; 0 for others.
    pub incarnation: u64,
    /// The ballot of the readmission that let an acceptor's disk in; none for a disk as formed, and for others.
    pub since: Ballot,
    /// An acceptor's synced journal position, in records; 0 for others.
    pub position: u64,
}

/// The first frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Greeting {
    /// Welcome.
    Hello(Hello),
    /// No, and why.
    Refused(Refused),
}

/// Why a connection was refused at hello.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// The fixed parameters differ.
    #[error(
        "{refused_by} was started with other fixed parameters (acceptor ids, quorum sizes, learner ids or [limits]): \
         its hash is {ours:016x}, the caller's {theirs:016x}; nothing was lost; start every process with the same cluster file"
    )]
    Parameters {
        /// Who refused.
        refused_by: NodeId,
        /// The refusing side's hash.
        ours: u64,
        /// The caller's hash.
        theirs: u64,
    },
    /// Another cluster.
    #[error(
        "{refused_by} belongs to cluster {ours}, the caller to {theirs}; nothing was lost; check addresses and data directories"
    )]
    OtherCluster {
        /// Who refused.
        refused_by: NodeId,
        /// The refusing side's cluster.
        ours: ClusterId,
        /// The caller's cluster.
        theirs: ClusterId,
    },
    /// The address belongs to another process.
    #[error("{found} answers at the address of {expected}; check the addresses in the cluster file")]
    WrongAddress {
        /// Whom the caller wanted.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// This kind of process isn't served here.
    #[error("{refused_by} doesn't serve {from}")]
    NotServed {
        /// Who refused.
        refused_by: NodeId,
        /// Who called.
        from: NodeId,
    },
    /// The process doesn't know its cluster yet.
    #[error(
        "{refused_by} hasn't reached a quorum of open acceptors yet; is the cluster formed? (synod admin form)"
    )]
    NotReady {
        /// Who refused.
        refused_by: NodeId,
    },
    /// Said to an acceptor by whoever dials it: another disk counts in its place. It must stop.
    #[error(
        "S12: {refused_by} knows that this acceptor's disk {disk:016x} was replaced by disk {by} in ballot {since}: this disk has missed \
         votes and takes part no more; nothing was lost; stop this process for good. If the new disk is lost too, empty the data \
         directory, start the acceptor and run `synod admin readmit-acceptor`"
    )]
    Replaced {
        /// Who says so.
        refused_by: NodeId,
        /// The cluster.
        cluster: ClusterId,
        /// The disk that was replaced, as its hello told.
        disk: u64,
        /// The disk that counts.
        by: DiskId,
        /// The ballot of the readmission.
        since: Ballot,
    },
    /// Said to an acceptor by whoever dials it: its disk tells less than it has told before. It must stop.
    #[error(
        "S12: {refused_by} has seen position {known} of this acceptor's disk {disk:016x}, which has gone back to {told}: it was restored \
         from a copy, or has lost what it had synced, so it has forgotten votes and takes part no more; empty its data \
         directory, start the acceptor and run `synod admin readmit-acceptor`"
    )]
    RolledBack {
        /// Who says so.
        refused_by: NodeId,
        /// The cluster.
        cluster: ClusterId,
        /// The disk, as its hello told.
        disk: u64,
        /// The position seen before.
        known: u64,
        /// The position it told.
        told: u64,
    },
    /// The process serves as many connections as it may.
    #[error("{refused_by} serves as many connections as it may; raise `connections`, or use fewer")]
    Full {
        /// Who refused.
        refused_by: NodeId,
    },
}

impl Refused {
    /// Whether this tells a process with such a standing to stop. It names the cluster and the disk, so that one that was meant for another
    /// process, or for the disk that this one had before, stops nobody; nor does one that knows only of an earlier replacement than the one by
    /// which this disk was let in.
    pub fn stops(&self, standing: Standing) -> bool {
        let is_meant =
            |cluster: &_, disk: &_| standing.cluster == Some(*cluster) && standing.incarnation == *disk;
        match self {
            Refused::Replaced { cluster, disk, since, .. } => {
                is_meant(cluster, disk) && *since >= standing.since
            }
            Refused::RolledBack { cluster, disk, .. } => is_meant(cluster, disk),
            Refused::Parameters { .. }
            | Refused::OtherCluster { .. }
            | Refused::WrongAddress { .. }
            | Refused::NotServed { .. }
            | Refused::NotReady { .. }
            | Refused::Full { .. } => false,
        }
    }
}

/// Checks the hello of the other side against our own facts; used by both ends.
pub fn check(
    own: NodeId,
    parameters: u64,
    cluster: Option<ClusterId>,
    theirs: &Hello,
) -> Result<(), Refused> {
    if theirs.to != own {
        return Err(Refused::WrongAddress { expected: theirs.to, found: own });
    }
    if theirs.parameters != parameters {
        return Err(Refused::Parameters { refused_by: own, ours: parameters, theirs: theirs.parameters });
    }
    match (cluster, theirs.standing.cluster) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            Err(Refused::OtherCluster { refused_by: own, ours, theirs })
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AcceptorId, ProposerId};

    fn hello() -> Hello {
        Hello {
            from: ProposerId(1).into(),
            to: AcceptorId(2).into(),
            parameters: 77,
            standing: Standing { cluster: Some(ClusterId(5)), ..Standing::default() },
        }
    }

    #[test]
    fn s12_other_parameters_cluster_or_address_are_refused() {
        let own = AcceptorId(2).into();
        assert_eq!(check(own, 77, Some(ClusterId(5)), &hello()), Ok(()));
        assert_eq!(check(own, 77, None, &hello()), Ok(()));
        assert!(matches!(check(own, 78, None, &hello()), Err(Refused::Parameters { .. })));
        assert!(matches!(check(own, 77, Some(ClusterId(6)), &hello()), Err(Refused::OtherCluster { .. })));
        assert!(matches!(
            check(AcceptorId(3).into(), 77, None, &hello()),
            Err(Refused::WrongAddress { expected, .. }) if expected == AcceptorId(2).into()
        ));
    }
}
