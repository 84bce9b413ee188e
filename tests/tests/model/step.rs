//! What one role does with one event: its next state, what it sends, what that says about the world.

use synod_protocol::message::Message;
use synod_protocol::{AcceptorId, Ballot, Incarnation, NodeId, Slot, Value};

use crate::acceptor::AcceptorCell;
use crate::learner::LearnerCell;
use crate::proposer::ProposerCell;

/// One node with everything that belongs to it but the messages on their way to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cell {
    Acceptor(Box<AcceptorCell>),
    Proposer(Box<ProposerCell>),
    Learner(Box<LearnerCell>),
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A message that was sent at some time comes.
    Deliver(u32),
    /// A message comes, and the acceptor crashes with so many of its records kept.
    DeliverThenCrash(u32, u8),
    /// The sync of everything absorbed completes.
    Sync,
    /// The acceptor crashes with so many of the pending records kept, and starts again.
    Crash(u8),
    /// The proposer's timers lead it to Phase 1, whatever it does.
    Stand,
    /// The proposer's timers end its Phase 1 or its lead.
    StepDown,
    /// A client offers the leader a fresh value.
    Offer,
    /// The admin command asks the leader to readmit the disk that waits.
    Readmit,
    /// A proposer's timer fires.
    Fire(synod_proposer::Timer),
    /// A learner's timer fires.
    FireLearner(synod_learner::Timer),
    /// The client asks a learner to read.
    Read,
    /// A proposer or learner crashes and starts again.
    Restart,
    /// Several of these, one after the other.
    Run(u32),
}

/// An invariant of verification.md, or what else must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// At most one value is chosen for a slot, and higher ballots keep to it.
    I1,
    /// One value for a slot and ballot.
    I2,
    /// Promises never fall, nor do votes or held prefixes.
    I3,
    /// What was told is durable.
    I4,
    /// Only offered values or noops.
    I5,
    /// Learners apply chosen slots without a gap; whatever is called chosen is chosen.
    I6,
    /// What is chosen can be learned from any Phase-1 quorum, or was synced by learners.
    I8,
    /// Nothing is dropped that learners haven't synced.
    I11,
    /// Reads are neither unchosen nor stale.
    I13,
    /// An assertion of the role itself.
    Panic,
}

impl Rule {
    pub(crate) const ALL: [Rule; 10] = [
        Rule::I1,
        Rule::I2,
        Rule::I3,
        Rule::I4,
        Rule::I5,
        Rule::I6,
        Rule::I8,
        Rule::I11,
        Rule::I13,
        Rule::Panic,
    ];
}

/// A rule broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Failure {
    pub(crate) rule: Rule,
    pub(crate) text: String,
}

/// What a step says about the world, for the ghost history to judge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fact {
    /// A vote is durable.
    Voted { acceptor: u8, slot: Slot, ballot: Ballot, value: Value },
    /// A leader asks to record a disk.
    Admits { acceptor: AcceptorId, row: Incarnation },
    /// A record of a disk is durable.
    Recorded { place: u8, acceptor: AcceptorId, row: Incarnation },
    /// A readmitted disk takes part.
    Entered { acceptor: AcceptorId },
    /// A leader asks for votes.
    Asked { slot: Slot, ballot: Ballot, value: Value },
    /// Somebody says that this value is chosen.
    CalledChosen { who: NodeId, slot: Slot, value: Value },
    /// Somebody says that all slots up to this one are chosen.
    CalledPrefix { who: NodeId, slot: Slot },
    /// Enough learners have synced up to this slot.
    Synced { slot: Slot },
    /// An acceptor has dropped what lies below this slot.
    Dropped { who: NodeId, floor: Slot },
    /// A learner stands at a slot with this hash chain.
    Applied { who: NodeId, slot: Slot, chain: u64 },
    /// A client got a reply that a call took effect at this slot.
    Replied { slot: Slot },
    /// A read began.
    ReadBegan { id: u64 },
    /// A read was answered.
    ReadAnswered { id: u64, slot: Slot, value: Option<bytes::Bytes> },
}

/// What must have been seen in a configuration, so that its pass isn't empty; bits of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Witness {
    Chosen,
    NoopChosen,
    ChosenAfterLeaderChange,
    MinorityVoteOverwritten,
    PendingRecordLost,
    VoteKeptButNeverTold,
    PromiseInSeveralChunks,
    TwoMessagesInOneSync,
    NackedLeaderStepsDown,
    RestartedProposerLeads,
    HeldPrefixAdvanced,
    SlotHealed,
    ValueFetched,
    SentAgain,
    SparesAsked,
    SpareAskedAtOnce,
    PreparedAgain,
    LearnerCaughtUp,
    ReadAnswered,
    ReadAfterSettle,
    ReadOfNewValue,
    Readmitted,
    NewDiskCounts,
    OldDiskVotesOn,
    OldValueSurvives,
    FloorRaised,
    FloorPassedHeldPrefix,
    FloorPromised,
}

impl Witness {
    pub(crate) fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What came of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) cell: Cell,
    pub(crate) sends: Vec<(NodeId, Message)>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) witnesses: u32,
    pub(crate) failure: Option<Failure>,
}

impl Outcome {
    pub(crate) fn new(cell: Cell) -> Outcome {
        Outcome { cell, sends: Vec::new(), facts: Vec::new(), witnesses: 0, failure: None }
    }

    pub(crate) fn witness(&mut self, witness: Witness) {
        self.witnesses |= witness.bit();
    }

    /// Notes a failure, unless one was noted before.
    pub(crate) fn fail(&mut self, rule: Rule, text: impl FnOnce() -> String) {
        self.failure.get_or_insert_with(|| Failure { rule, text: text() });
    }
}
