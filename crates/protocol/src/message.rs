//! The messages: one enum for each receiving role, so that a message can't be sent to a role that has no handler for it.
//!
//! | to | messages |
//! |---|---|
//! | acceptor | Prepare, Accept, Probe, QuorumRead, Fetch, Admit, Reached, Form, Status |
//! | proposer | Promise, Nack, Accepted, ProbeReply, Fetched, Propose, Subscribe, Settle, Admitted, Readmit, Status |
//! | learner | Chosen, Fetched, QuorumReadReply, Refused, Fetch, SnapshotFetch, SnapshotChunk, NoSnapshot, Chains, Attach, Read, Forward, Status |
//! | client | Opened, Attached, Replies, ReadReplies, Refused, SnapshotChunk, NoSnapshot, Formed, Readmission, Status |
//!
//! Every message may be lost, repeated or reordered; each handler says what it does then.

mod address;
mod formation;
mod readmission;
mod reads;
mod snapshot;
mod status;
mod votes;

use serde::{Deserialize, Serialize};

use crate::command::{Opened, Reply, SessionId};
use crate::ids::{AcceptorId, Ballot, DiskId, ProposerId, Slot};
use crate::incarnations::{DiskAt, Incarnations};
use crate::value::{Entry, Value};

pub use address::{Address, Message};
pub use formation::{FormStep, Formation};
pub use readmission::{Admission, Admit, Admitted, Founding, Readmission};
pub use reads::{
    Consistency, Read, ReadOutcome, ReadReplies, ReadRepliesBuilder, ReadReply, Reads, ReadsBuilder,
};
pub use snapshot::{Chains, NoSnapshot, SnapshotChunk, SnapshotFetch};
pub use status::{AcceptorStatus, LearnerStatus, PhaseName, ProposerStatus, Status, Transfer};
pub use votes::{Accepted, Promise, Vote};

/// What an acceptor receives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToAcceptor {
    /// Phase 1: promise `ballot` and tell the votes above `after` (and above your held prefix), a chunk at a time.
    Prepare {
        /// The ballot to promise.
        ballot: Ballot,
        /// Votes up to here need not be told.
        after: Slot,
    },
    /// Phase 2: vote for these; without entries, a heartbeat.
    Accept(Accept),
    /// Whom have you promised, and is that leader silent?
    Probe {
        /// Comes back in the answer.
        probe: u64,
    },
    /// What is the highest slot you voted on?
    QuorumRead {
        /// Comes back in the answer.
        round: u64,
    },
    /// Chosen values from `first` on, please.
    Fetch(Fetch),
    /// Another acceptor's disk was replaced: record it (S12).
    Admit(Admit),
    /// How far disks have come, says the proposer of this ballot: record what is said of others, and see whether your own went back (S12).
    Reached {
        /// Its ballot.
        ballot: Ballot,
        /// The rows with a position.
        rows: Incarnations,
    },
    /// A step of formation (S12).
    Form {
        /// Comes back in the answer.
        request: u64,
        /// The step.
        step: FormStep,
    },
    /// How are you?
    Status {
        /// Comes back in the answer.
        request: u64,
    },
}

/// Phase 2 for a set of slots, and the leader's chosen prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accept {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// Every slot up to here is chosen, says the leader of this ballot (S6).
    pub chosen: Slot,
    /// Slots below this one may be dropped (S11): enough learners have synced them.
    pub floor: Slot,
    /// The slots and values to vote for.
    pub entries: Vec<Entry>,
}

/// A request for chosen values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fetch {
    /// First slot wanted.
    pub first: Slot,
    /// Last slot wanted.
    pub last: Slot,
}

/// Chosen values from `first` on without a gap; empty when the sender has no chosen value for `first`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fetched {
    /// The slot of the first value; the `first` of the request.
    pub first: Slot,
    /// Values of `first`, `first + 1`, ...
    pub values: Vec<Value>,
    /// The sender's held prefix (an acceptor) or applied slot (a learner).
    pub held: Slot,
    /// First slot that the sender keeps.
    pub floor: Slot,
}

/// What a proposer receives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToProposer {
    /// An acceptor's answer to Prepare, or a chunk of it.
    Promise(Promise),
    /// An acceptor's refusal: it has promised a higher ballot.
    Nack {
        /// The ballot that was refused.
        ballot: Ballot,
        /// The ballot it has promised.
        promised: Ballot,
    },
    /// An acceptor's votes.
    Accepted(Accepted),
    /// An acceptor's answer to Probe.
    ProbeReply {
        /// The probe answered.
        probe: u64,
        /// The ballot promised, or `Ballot::NONE`.
        promised: Ballot,
        /// Whether nothing came at that ballot for the election timeout, on the acceptor's own clock.
        silent: bool,
    },
    /// Chosen values from an acceptor's held prefix.
    Fetched(Fetched),
    /// Commands of clients, straight or through a learner.
    Propose(Propose),
    /// A learner wants the chosen slots from `next` on, and tells which of the older ones it may need again (S11).
    Subscribe(Subscribe),
    /// A learner waits to read at `slot`: see that it is settled.
    Settle {
        /// The slot.
        slot: Slot,
    },
    /// An acceptor's answer to Admit.
    Admitted(Admitted),
    /// An acceptor's disk was replaced by this one: readmit it, or tell how far that is (S12).
    Readmit {
        /// Comes back in the answer.
        request: u64,
        /// Whose disk.
        acceptor: AcceptorId,
        /// The new disk, which the acceptor has synced.
        disk: DiskId,
    },
    /// How are you?
    Status {
        /// Comes back in the answer.
        request: u64,
    },
}

/// A learner's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subscribe {
    /// First slot it lacks.
    pub next: Slot,
    /// Every slot up to here is applied and synced.
    pub synced: Slot,
    /// Slots above this one are needed by a transfer of a snapshot that is under way.
    pub pinned: Option<Slot>,
    /// Which values it wants to be streamed.
    pub wants: Wants,
}

/// Which chosen values a learner wants to be streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wants {
    /// Each at once: clients wait for what it learns.
    AtOnce,
    /// Many in one message, some milliseconds late: no client waits.
    Late,
    /// None: it lacks so much that it could keep no values. It is only told how far everything is chosen.
    Nothing,
}

/// Commands to be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Propose {
    /// Comes back if they are refused.
    pub tag: u64,
    /// The commands: a batch as in [`crate::command`].
    pub commands: Value,
}

/// Why commands were not taken. None of them will be chosen because of this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NotTaken {
    /// Over a limit; try again after so many milliseconds.
    Busy {
        /// Milliseconds to wait.
        retry_ms: u64,
    },
    /// Somebody else leads, or nobody.
    NotLeader {
        /// Who leads, if known.
        leader: Option<ProposerId>,
    },
    /// The lengths inside the batch don't add up.
    Malformed,
}

/// What a learner receives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToLearner {
    /// Chosen slots from the leader's stream.
    Chosen(Chosen),
    /// Chosen values from an acceptor's held prefix, or from a peer.
    Fetched(Fetched),
    /// An acceptor's answer to QuorumRead.
    QuorumReadReply {
        /// The round answered.
        round: u64,
        /// The highest slot it voted on.
        highest: Slot,
        /// The disk that says so.
        disk: DiskAt,
        /// Which disks count, and how far they have come, as far as the acceptor knows (S12); empty as formed.
        incarnations: Incarnations,
    },
    /// A proposer didn't take forwarded commands.
    Refused {
        /// The tag of the Propose.
        tag: u64,
        /// Why.
        reason: NotTaken,
    },
    /// A peer wants applied values.
    Fetch(Fetch),
    /// A peer, or a client that makes a backup, wants a part of a snapshot.
    SnapshotFetch(SnapshotFetch),
    /// A part of a peer's snapshot.
    SnapshotChunk(SnapshotChunk),
    /// A peer has no such snapshot.
    NoSnapshot(NoSnapshot),
    /// A peer's hash chains.
    Chains(Chains),
    /// A client wants its replies here.
    Attach(Attach),
    /// Reads of a client.
    Read(Reads),
    /// Commands of a client that can't reach the leader.
    Forward(Propose),
    /// How are you?
    Status {
        /// Comes back in the answer.
        request: u64,
    },
}

/// A run of chosen slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chosen {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// The leader's chosen prefix; may lie above the values carried here.
    pub prefix: Slot,
    /// The slot of the first value.
    pub first: Slot,
    /// Values of `first`, `first + 1`, ...; empty in a heartbeat.
    pub values: Vec<Value>,
    /// Bytes of values that this learner wasn't streamed since it asked for none; 0 if it is streamed all.
    pub withheld_bytes: u64,
}

/// What a client attaches for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Attach {
    /// The session that a [`crate::command::Command::Open`] with this nonce opens.
    Nonce(u128),
    /// A session, with the sequences whose replies it waits for.
    Session {
        /// The session.
        session: SessionId,
        /// Sequences waited for; those with a kept reply are answered at once.
        pending: Vec<u64>,
    },
}

/// What a client receives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToClient {
    /// A session was opened.
    Opened(Opened),
    /// The learner's answer to Attach.
    Attached {
        /// The session attached, absent for an attachment by nonce.
        session: Option<SessionId>,
        /// What the learner knows of it.
        state: AttachState,
    },
    /// Replies to calls.
    Replies(Vec<Reply>),
    /// Replies to reads.
    ReadReplies(ReadReplies),
    /// Commands were not taken.
    Refused {
        /// The tag of the Propose or Forward.
        tag: u64,
        /// Why.
        reason: NotTaken,
    },
    /// A part of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// The learner has no such snapshot.
    NoSnapshot(NoSnapshot),
    /// An acceptor's answer to a step of formation.
    Formed {
        /// The request answered.
        request: u64,
        /// Its state after the step.
        formation: Formation,
        /// Why the step was refused, for a person to read.
        refused: Option<String>,
    },
    /// A proposer's answer to Readmit.
    Readmission {
        /// The request answered.
        request: u64,
        /// How far it is.
        readmission: Readmission,
    },
    /// The answer to Status.
    Status {
        /// The request answered.
        request: u64,
        /// How it is.
        status: Status,
    },
}

/// What a learner knows of a session that attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AttachState {
    /// It is open; replies come here.
    Open,
    /// This learner hasn't applied the slot that opened it; replies come here once it has.
    Behind,
    /// It has expired or was closed.
    Ended,
}
