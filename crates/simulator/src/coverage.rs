//! What the runs have seen: counters of faults and of rare paths. A batch in which one of the rare paths was never taken proves less
//! than it seems, so it says so and fails.

use std::fmt;

macro_rules! counters {
    ($($name:ident: $text:literal;)+) => {
        /// Something worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Seen {
            $(#[doc = $text] $name,)+
        }

        impl Seen {
            /// Every counter.
            pub const ALL: &'static [Seen] = &[$(Seen::$name,)+];

            /// For people to read.
            pub fn text(self) -> &'static str {
                match self { $(Seen::$name => $text,)+ }
            }
        }
    };
}

counters! {
    AcceptorCrash: "acceptors crashed";
    ProposerCrash: "proposers crashed";
    LearnerCrash: "learners crashed";
    ClientCrash: "clients crashed";
    AllCrash: "all servers crashed at once";
    PowerLoss: "losses of power";
    PowerLossInWrite: "losses of power in the midst of a disk operation";
    PieceLost: "unsynced pieces lost";
    PieceKept: "unsynced pieces kept";
    TornWrite: "torn writes";
    InterruptedRecovery: "recoveries cut short by a loss of power";
    DiskError: "failed writes and syncs";
    FullDisk: "votes that acceptors had no room for, and ends for want of it";
    FullDiskRecovery: "restarts refused for a full disk";
    SlowDisk: "slow disks";
    RotRefused: "rotten journals refused";
    RotHarmless: "bit flips without harm";
    DiskReplaced: "disks replaced";
    ReadmissionUnderWay: "answers that a readmission is under way";
    Readmitted: "acceptors readmitted";
    OldDiskBack: "old disks put in again";
    OldVoteIgnored: "votes of disks that were replaced";
    PositionKept: "records of how far other disks have come";
    Checkpoint: "checkpoints made";
    CheckpointOfChanges: "checkpoints of what had changed";
    StoreRecovered: "learners that continued from a checkpoint";
    OlderCheckpoint: "learners that continued from an older checkpoint, the newer one damaged";
    StoreRotFound: "rotten checkpoints set aside";
    StoreFull: "checkpoints for which there was no room";
    StoreLost: "learners' disks lost";
    StoreAudit: "audits of what a loss of power would leave of a learner's store";
    ObserverJoined: "observers started";
    SnapshotInstalled: "states of peers installed";
    GiverCrashed: "states installed though whoever gave them had crashed";
    ReceiverCrashed: "states installed though the learner had crashed while it fetched one";
    GiverChanged: "snapshots asked for from another learner in the midst";
    SubscribedFar: "subscriptions that asked for no values";
    SubscribedLate: "subscriptions that asked for many values at a time";
    FetchBelowFloor: "fetches refused below the floor";
    FloorRaised: "floors raised";
    FloorsDiffer: "promises with floors that differ";
    RestartAboveFloor: "acceptors started with a floor";
    SegmentDropped: "journals that dropped segments";
    PinHeldFloor: "floors held by a pin";
    Pause: "pauses";
    Drift: "clocks that drift";
    PartitionFull: "partitions: full";
    PartitionMinority: "partitions: minority";
    PartitionOneWay: "partitions: one way";
    PartitionBridge: "partitions: bridge";
    PartitionRing: "partitions: ring";
    PartitionChained: "partitions: chained";
    Deposed: "leaders hit";
    Reset: "connections reset";
    MessageLost: "messages lost";
    MessageCut: "messages lost in a partition";
    MessageRepeated: "messages repeated";
    MessageLate: "messages late";
    PermanentDead: "runs that end with a dead minority";
    PermanentCut: "runs that end in a partial partition";
    Election: "ballots that passed Phase 1";
    Preempted: "nacks";
    ChunkedPromise: "promises in several chunks";
    HeldIncomplete: "incomplete promises with a held prefix";
    VoteOverwritten: "votes overwritten by another value at a higher ballot";
    NoopChosen: "noops chosen";
    ValueChosen: "slots chosen";
    ChosenAgain: "chosen values voted for again at a higher ballot";
    HealedSlot: "slots healed";
    FetchedByLeader: "values fetched by leaders";
    FetchedByLearner: "values fetched by learners from acceptors";
    FetchedFromPeer: "values fetched by learners from peers";
    Settled: "slots that a reader asked to settle";
    GroupSync: "syncs for several messages at once";
    SegmentMoved: "journal segments begun";
    TailRewritten: "recoveries that rewrote an unsealed tail";
    Audit: "audits of what a loss of power would leave";
    SessionOpened: "sessions opened";
    SessionExpired: "sessions expired";
    SessionsRefused: "sessions refused, too many";
    RetryDeduplicated: "retries answered from the reply table";
    CallFenced: "calls refused outside the window";
    Forwarded: "commands forwarded by learners";
    Busy: "answers that said Busy";
    CallOk: "calls that ended ok";
    CallUnknown: "calls that ended as unknown";
    CallFailed: "calls that failed for certain";
    ReadOk: "linearizable reads";
    ReadStale: "stale reads";
    Healthy: "status answers within their limits";
}

/// The counters of one run or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage { counts: vec![0; Seen::ALL.len()] }
    }
}

impl Coverage {
    /// Counts one.
    pub fn see(&mut self, seen: Seen) {
        self.add(seen, 1);
    }

    /// Counts some.
    pub fn add(&mut self, seen: Seen, count: u64) {
        self.counts[seen as usize] += count;
    }

    /// How often it was seen.
    pub fn count(&self, seen: Seen) -> u64 {
        self.counts[seen as usize]
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Coverage) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// What was never seen.
    pub fn missing(&self) -> Vec<Seen> {
        Seen::ALL.iter().copied().filter(|seen| self.count(*seen) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for seen in Seen::ALL {
            writeln!(f, "{:>14}  {}", self.count(*seen), seen.text())?;
        }
        Ok(())
    }
}
