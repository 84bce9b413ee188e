//! Bugs that tests plant in Synod's own code, to see that they are caught.
//!
//! A check that has never failed proves little. So the places where a plausible mistake would break a promise ask
//! [`is`] whether that mistake is planted, and make it if so. In a shipped program the answer is the constant `false` and
//! nothing is left of the question: the mistakes exist only with the feature `planted`, which only dev-dependencies of tests switch on and
//! which a build without debug assertions refuses. Even then a mistake is made only on a thread that has called `plant`, so
//! that tests run side by side. Absent on purpose: any mistake that isn't one line at the place where it would be made.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("planted bugs are for tests: a program that ships is never built with the feature `planted`");

macro_rules! bugs {
    ($($name:ident: $text:literal, $what:literal;)+) => {
        /// A mistake that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Bug {
            $(#[doc = $what] $name,)+
        }

        impl Bug {
            /// Every mistake.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)+];

            /// Its name on a command line.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$name => $text,)+ }
            }

            /// What goes wrong, in a sentence.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$name => $what,)+ }
            }
        }
    };
}

bugs! {
    PromiseNotPersisted: "promise-not-persisted", "An acceptor promises without a record of it.";
    VoteNotPersisted: "vote-not-persisted", "An acceptor votes without a record of it.";
    ReplyBeforeSync: "reply-before-sync", "Messages leave though making the records durable has failed or is not done.";
    AcceptOnlyAbovePromise: "accept-only-above-promise", "An acceptor refuses an Accept at the very ballot it has promised.";
    AcceptBelowPromise: "accept-below-promise", "An acceptor votes at a ballot below its promise.";
    EqualBallotPromisedTwice: "equal-ballot-promised-twice", "An acceptor compares ballots by their rounds alone, so that one round is promised to two proposers.";
    ResendForgotten: "resend-forgotten", "A leader never sends an unanswered slot again.";
    HealingForgotten: "healing-forgotten", "A leader never heals acceptors that missed slots.";
    AcceptRaisesNoPromise: "accept-raises-no-promise", "A vote doesn't raise the promise.";
    BallotReusedAfterRestart: "ballot-reused-after-restart", "A restarted proposer has the life of the one before.";
    BallotReusedAfterStepDown: "ballot-reused-after-step-down", "A proposer that starts Phase 1 over takes the same ballot again.";
    OwnValueDespiteVote: "own-value-despite-vote", "A new leader fills a slot with a noop though a vote was reported.";
    FirstReportedValue: "first-reported-value", "A new leader takes the first reported value, not the highest ballot's.";
    NewSlotsOverVotes: "new-slots-over-votes", "A new leader's own slots start right above its chosen prefix, over votes that were reported.";
    LastReportedValue: "last-reported-value", "A new leader takes the last reported value, not the highest ballot's.";
    PromisesOfTooFew: "promises-of-too-few", "A new leader is content with one promise less than a quorum.";
    IncompletePromiseCounts: "incomplete-promise-counts", "A promise counts before its last chunk has come.";
    CappedPromise: "capped-promise", "A promise tells one chunk of votes and calls itself complete.";
    HeldOfIncompletePromiseIgnored: "held-of-incomplete-promise-ignored", "The held prefix of an incomplete promise shortens what others are asked for, and is then forgotten.";
    DuplicateAcksCounted: "duplicate-acks-counted", "Votes are counted by messages, not by acceptors.";
    AcksOfTwoBallotsMixed: "acks-of-two-ballots-mixed", "Votes at another ballot count.";
    VotesOfTooFew: "votes-of-too-few", "A slot counts as chosen one vote short of a Phase-2 quorum.";
    HeldOverOtherBallots: "held-over-other-ballots", "An acceptor advances its held prefix over slots voted at other ballots.";
    SettleOverVotes: "settle-over-votes", "Settle fills with noops slots that other values were proposed for.";
    FetchServesUnchosen: "fetch-serves-unchosen", "An acceptor serves votes above its held prefix as chosen.";
    AppliedOverGap: "applied-over-gap", "A learner applies over a gap.";
    RepliesNotKept: "replies-not-kept", "The reply table forgets: a repeated call takes effect again.";
    FencedCallApplied: "fenced-call-applied", "A call below its session's lowest unacknowledged sequence is applied.";
    ExpiryUnconditional: "expiry-unconditional", "A session expires whatever renewed it since.";
    ReadWithoutRound: "read-without-round", "A linearizable read is answered from what the learner happens to have applied.";
    ReadBeforeApplied: "read-before-applied", "A read doesn't wait until the slot of its round is applied.";
    ReadRoundOfTooFew: "read-round-of-too-few", "A quorum read is content with one answer less than a quorum.";
    ReadJoinsRunningRound: "read-joins-running-round", "A read is served by a round that had begun before it arrived.";
    ReadRoundReusedAfterRestart: "read-round-reused-after-restart", "A restarted learner counts its rounds as the one before did.";
    RetryWithNewSequence: "retry-with-new-sequence", "A client gives a retried call a new sequence.";
    HintsAlwaysFollowed: "hints-always-followed", "A client follows every hint who leads, also in circles.";
    StandsWithoutPhase2Quorum: "stands-without-phase2-quorum", "A proposer stands though fewer acceptors than a Phase-2 quorum answer it.";
    UnknownCalledFailed: "unknown-called-failed", "A client calls a write failed though it may have happened.";
    HeldNotRaisedWithFloor: "held-not-raised-with-floor", "An acceptor whose floor rises above its held prefix leaves the prefix where it is.";
    DroppedSlotsToldAsFree: "dropped-slots-told-as-free", "A promise tells slots below the floor as slots without a vote.";
    FloorOfRefusedAccept: "floor-of-refused-accept", "An acceptor takes the floor of an Accept that it refuses.";
    RoomUnprepared: "room-unprepared", "An acceptor votes on what its journal has no room for yet, and may find none.";
    RoomIgnored: "room-ignored", "An acceptor votes though its disk has no room for the vote.";
    FloorOfOneReport: "floor-of-one-report", "A leader's floor follows the learner that has synced most.";
    FloorOfAllReports: "floor-of-all-reports", "A leader's floor waits for the learner that has synced least.";
    FloorAbovePin: "floor-above-pin", "A leader's floor passes what a learner has pinned.";
    FloorOfObservers: "floor-of-observers", "A leader counts what learners have synced that aren't configured.";
    FloorAboveChosen: "floor-above-chosen", "A leader's floor follows learners beyond its own chosen prefix.";
    ChosenPrefixFromHearsay: "chosen-prefix-from-hearsay", "A leader raises its chosen prefix to what it hears that others hold or have applied.";
    NewSlotsBelowFloor: "new-slots-below-floor", "A new leader takes no note of floors: its slots may start below one.";
    ReplacedDiskAnswers: "replaced-disk-answers", "An acceptor whose empty disk waits to be readmitted answers as if it were open.";
    ReadmissionCountsReplaced: "readmission-counts-replaced", "Phase 1 of a readmission counts the acceptor whose disk was replaced.";
    ReadmissionSlotsNotHeld: "readmission-slots-not-held", "A replaced disk is let in before a quorum without it holds every slot.";
    ReadmissionNotRecorded: "readmission-not-recorded", "A replaced disk is let in though no quorum has recorded it.";
    ReadmissionAtOnce: "readmission-at-once", "A replaced disk is let in as soon as Phase 1 is over.";
    ReadmissionUnseated: "readmission-unseated", "A leader that readmits counts the votes of the disk it replaces.";
    ReadmittedDespitePromise: "readmitted-despite-promise", "An acceptor records a replaced disk at a ballot below its promise.";
    ReadmittedRaisesNoPromise: "readmitted-raises-no-promise", "Recording a replaced disk doesn't raise the promise.";
    ReadmissionSurvivesNack: "readmission-survives-nack", "A leader that readmits goes on in the same ballot when a higher one is promised.";
    EntersWithoutPromise: "enters-without-promise", "A readmitted disk promises nothing as it enters.";
    EntersWithoutTable: "enters-without-table", "A readmitted disk doesn't take over which disks were replaced.";
    EntersWithoutHighest: "enters-without-highest", "A readmitted disk tells quorum reads of no slot that the lost disk may have voted on.";
    OlderPromiseCounts: "older-promise-counts", "Phase 1 counts promises of disks that were replaced.";
    HashTakenForKey: "hash-taken-for-key", "A read of several keys takes a key with the same hash for the one it looks for.";
    OlderReadReplyCounts: "older-read-reply-counts", "A quorum read counts answers of disks that were replaced.";
    OlderVoteCounts: "older-vote-counts", "A leader counts votes of disks that were replaced.";
    PositionRoundedUp: "position-rounded-up", "An acceptor tells a position that its disk hasn't reached yet.";
    PositionIgnored: "position-ignored", "A disk that went back to before a position it is known to have reached counts.";
    PositionOfReplacedDisk: "position-of-replaced-disk", "A readmitted disk is held to the positions of the one it replaces.";
    PositionsNotTold: "positions-not-told", "A leader keeps to itself how far disks have come.";
    PositionsOfAnyBallot: "positions-of-any-ballot", "An acceptor records positions told at a ballot other than the one it has promised.";
    PositionsNotRecorded: "positions-not-recorded", "An acceptor takes in how far other disks have come without a record of it.";
    PositionsNotInHeads: "positions-not-in-heads", "The heads of new segments leave out how far other disks have come.";
    SyncSkipped: "sync-skipped", "The journal answers before its sync.";
    FailedSyncRetried: "failed-sync-retried", "The journal tries a failed sync again and goes on.";
    DamageTakenForEnd: "damage-taken-for-end", "Recovery takes damage in the middle of the journal for its end.";
    TornTailNotCut: "torn-tail-not-cut", "Recovery keeps valid records of a torn, unsealed batch.";
    TailNotRewritten: "tail-not-rewritten", "Recovery believes what it reads of the unsealed tail without making it durable again.";
    DirectoryNotSynced: "directory-not-synced", "A new segment's name isn't made durable.";
    SpareNameNotSynced: "spare-name-not-synced", "A file takes the spare's name from another and becomes a segment before that name is durable.";
    NamesNotSyncedAtStart: "names-not-synced-at-start", "Recovery appends to a segment whose name its predecessor hadn't made durable.";
    HeadNotSynced: "head-not-synced", "A new segment gets its name before its head is synced.";
    HeadSealsTooMuch: "head-seals-too-much", "A new segment's head calls the batch synced that comes next.";
    HeadSealIgnored: "head-seal-ignored", "Recovery cuts a batch that its segment's head calls synced.";
    HeadBlobUnchecked: "head-blob-unchecked", "The checksum of a segment's head leaves out the acceptor's state in it.";
    SealNotRewritten: "seal-not-rewritten", "Recovery appends behind a seal that may be in memory only.";
    SealWithoutRoom: "seal-without-room", "A batch takes the last block of a segment, which a seal will need.";
    FailureForgotten: "failure-forgotten", "The journal takes batches after a failed write or sync.";
    ChecksumIgnoresSegment: "checksum-ignores-segment", "Checksums of entries cover the offset, but not the segment and the use of the file.";
    ChecksumIgnoresOffset: "checksum-ignores-offset", "Checksums of entries cover the segment, but not the offset.";
    SegmentDroppedEarly: "segment-dropped-early", "A segment is dropped before a synced head calls it unneeded.";
    ReleasedOneTooMany: "released-one-too-many", "A segment is dropped whose last batch is the first that is still needed.";
    ShortSegmentRecycled: "short-segment-recycled", "A segment that was made short on a full disk is used again as if it were whole.";
    MissingSegmentSkipped: "missing-segment-skipped", "Recovery goes on without a segment that is missing.";
    JointNotChecked: "joint-not-checked", "Recovery doesn't ask whether a segment reaches as far as its successor's head says.";
    OlderSegmentsForgotten: "older-segments-forgotten", "The segment that recovery makes calls all older ones unneeded.";
    ShortSegmentAccepted: "short-segment-accepted", "Recovery takes a segment that has lost its end for a smaller one.";
    UnreadableTakenForEmpty: "unreadable-taken-for-empty", "Recovery takes a directory that can't be listed for an empty one.";
    SealSkipped: "seal-skipped", "The journal takes a batch for sealed as soon as it is synced, so an idle one writes no seal.";
    CarriedBatchWithoutRoom: "carried-batch-without-room", "A segment that recovery makes isn't large enough for the batch that is written again.";
    HeadNotAdvanced: "head-not-advanced", "The heads of new segments tell the acceptor's state as it was when its journal was opened.";
    WrongSlotServed: "wrong-slot-served", "A value read back from the journal is another slot's of the same batch.";
    FirstHeadForgotten: "first-head-forgotten", "Recovery starts from an empty disk, not from the head of the first segment kept.";
    HeadRepeatedBatch: "head-repeated-batch", "Recovery applies again the batch that its first head includes.";
    ReleasedTooMuch: "released-too-much", "The keeper lets batches go that hold votes above the floor.";
    ReadBackUnchecked: "read-back-unchecked", "A batch that is read back is believed without its checksum.";
    DeletesNotCheckpointed: "deletes-not-checkpointed", "A checkpoint of what has changed leaves out the keys that were deleted.";
    OverwriteNotCheckpointed: "overwrite-not-checkpointed", "A checkpoint of what has changed leaves out the keys that were overwritten where they lie.";
    DeadRecordMoved: "dead-record-moved", "What is moved out of a block of memory includes records that are in use no more.";
    CreatedOverwritten: "created-overwritten", "A put of a key that is there takes it for made anew.";
    ImageWithoutSessions: "image-without-sessions", "An image of the state leaves out the sessions and their kept replies.";
    ImageWithOlderChain: "image-with-older-chain", "An image names the applied slot with the hash chain that isn't the slot's.";
    ImageWithoutRevision: "image-without-revision", "An image leaves out the revision, so that its mutations are numbered from 1 again.";
    ImageDigestIgnored: "image-digest-ignored", "Whoever builds a state from an image doesn't compare its digest.";
    ImageEndNotAwaited: "image-end-not-awaited", "A state built from an image counts as complete before the image's last chunk.";
    RepliesNotInImage: "replies-not-in-image", "An image has the sessions, but not their kept replies.";
    WritesDuringRestore: "writes-during-restore", "The state takes writes of its own while a backup is being restored.";
    BackupsMixed: "backups-mixed", "A restore that one backup began is gone on with by another.";
    FrozenOverlayForgotten: "frozen-overlay-forgotten", "The disk engine doesn't look for a key in what is being written to disk.";
    CheckpointNotWhole: "checkpoint-not-whole", "The disk engine writes the keys of a checkpoint without its applied slot and sessions.";
    SpillAfterCheckpoint: "spill-after-checkpoint", "The disk engine writes keys between two checkpoints, though what it holds is to be one checkpoint.";
    ManifestUnchecked: "manifest-unchecked", "The disk engine opens its tree without comparing the manifest's checksum.";
    SnapshotsNotHeld: "snapshots-not-held", "The disk engine merges away what a snapshot still shows.";
    CheckpointNotSynced: "checkpoint-not-synced", "A checkpoint file gets its name before its content is synced.";
    CheckpointEndNotAwaited: "checkpoint-end-not-awaited", "Recovery takes a checkpoint file for whole without its end mark.";
    CheckpointPlaceIgnored: "checkpoint-place-ignored", "Checksums in a checkpoint file cover neither its number nor the offset.";
    OldCheckpointRemovedFirst: "old-checkpoint-removed-first", "The older checkpoint is removed before the new one has its name.";
    DamagedCheckpointRemoved: "damaged-checkpoint-removed", "Recovery removes a damaged checkpoint instead of setting it aside.";
    SyncedBeforeSync: "synced-before-sync", "A learner reports a slot as synced when the checkpoint of it begins.";
    PinIgnored: "pin-ignored", "A learner that gives a snapshot pins no slots for it.";
    FollowerUnpinned: "follower-unpinned", "The pin of a snapshot goes with its image, while whoever was given it still lacks the log above it.";
    SnapshotOverNewer: "snapshot-over-newer", "A snapshot is installed over a newer state.";
    ChunkOfAnotherSlot: "chunk-of-another-slot", "Whoever fetches a snapshot takes chunks of another slot's.";
    HistoryOfOlderState: "history-of-older-state", "A learner that has installed a snapshot keeps the hash chains of its former state.";
    DivergenceIgnored: "divergence-ignored", "Learners hear each other's hash chains and don't compare them.";
    ObserverVouches: "observer-vouches", "An observer counts where learners ask whose state is right.";
    ObserverHeard: "observer-heard", "A leader with observers alone goes on leading.";
    FarForEver: "far-for-ever", "A learner that was far behind asks for no values when it has caught up, too.";
    AnswersInDoubt: "answers-in-doubt", "A learner whose state differs from a peer's goes on answering before anybody knows who is right.";
    CarriedBatchReplayedTwice: "carried-batch-replayed-twice", "A batch that recovery wrote again is replayed from both places.";
}

/// Whether `bug` is planted here: always `false` in what ships.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
mod planted {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether `bug` is planted on this thread.
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug on this thread in place of any other; `None` leaves the code as it ships.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}

#[cfg(feature = "planted")]
pub use planted::{is, plant};
