//! Planted bugs: each must break a rule in a world as small as it needs, or make a witness impossible there; the same kinds of worlds
//! without a bug, explored to their ends, are the control ([`crate::worlds`]).

use synod_planted::Bug;

use crate::configurations::{
    catching_up, chunks, chunks_above_held, holding, lost_reads, lost_votes, overruled,
    overruled_and_reported, reading, readmission, readmitted_reads, reduced, rereading, second_readmission,
    truncated,
};
use crate::explore::{explore, lacking};
use crate::step::Witness;
use crate::world::Config;

/// Who catches a bug.
enum Catcher {
    /// The model, in this world.
    Model(Box<Config>),
    /// Another layer, and why not the model.
    Other(&'static str),
}

/// Where a bug shows.
fn catcher(bug: Bug) -> Catcher {
    use Bug as B;
    // What is forgotten in the worlds without bugs rests on rules that these bugs break; and the first and the last acceptor aren't alike to
    // a leader that takes the first or the last value.
    let plain = Config { forget: false, symmetry: false, ..reduced() };
    let unsymmetric = |config: Config| Config { symmetry: false, crashes: Some(0), ..config };
    let unforgetting = |config: Config| Config { forget: false, ..unsymmetric(config) };
    let config = match bug {
        B::PromiseNotPersisted
        | B::VoteNotPersisted
        | B::AcceptOnlyAbovePromise
        | B::AcceptBelowPromise
        | B::EqualBallotPromisedTwice
        | B::AcceptRaisesNoPromise
        | B::OwnValueDespiteVote
        | B::PromisesOfTooFew
        | B::DuplicateAcksCounted
        | B::VotesOfTooFew => plain,
        B::ReplyBeforeSync => Config { crashes: Some(1), ..plain },
        B::BallotReusedAfterRestart => Config { restarts: 1, ballots: &[2, 1], ..plain },
        B::BallotReusedAfterStepDown | B::AcksOfTwoBallotsMixed => Config { ballots: &[2, 1], ..plain },
        B::FirstReportedValue | B::LastReportedValue => Config { ballots: &[2, 1], ..unsymmetric(reduced()) },
        B::IncompletePromiseCounts | B::CappedPromise => Config { ballots: &[1, 1], ..unsymmetric(chunks()) },
        B::HeldOfIncompletePromiseIgnored => unsymmetric(chunks_above_held()),
        B::HeldOverOtherBallots => unsymmetric(holding()),
        B::DroppedSlotsToldAsFree | B::NewSlotsBelowFloor => unforgetting(truncated()),
        B::ChosenPrefixFromHearsay => unforgetting(overruled_and_reported()),
        B::FetchServesUnchosen => overruled(),
        B::AppliedOverGap => catching_up(),
        B::ReadWithoutRound | B::ReadBeforeApplied | B::ReadRoundOfTooFew | B::ReadJoinsRunningRound => {
            unforgetting(reading())
        }
        B::ReadRoundReusedAfterRestart => unforgetting(rereading()),
        B::ReplacedDiskAnswers
        | B::ReadmissionNotRecorded
        | B::ReadmissionUnseated
        | B::ReadmittedDespitePromise
        | B::OlderPromiseCounts
        | B::OlderVoteCounts => readmission(),
        B::ReadmissionSlotsNotHeld | B::ReadmissionAtOnce => lost_votes(),
        B::EntersWithoutTable => second_readmission(),
        B::EntersWithoutHighest => lost_reads(),
        B::OlderReadReplyCounts => readmitted_reads(),
        other => return Catcher::Other(elsewhere(other)),
    };
    Catcher::Model(Box::new(Config { bug: Some(bug), ..config }))
}

/// The layer that catches a bug which the model can't, and why.
fn elsewhere(bug: Bug) -> &'static str {
    use Bug as B;
    match bug {
        learner if (B::CheckpointNotSynced..=B::AnswersInDoubt).contains(&learner) => {
            "tests/planted/checkpoints.rs and learners.rs: the model has no disk of a learner, and no two that differ"
        }
        positions if (B::PositionRoundedUp..=B::PositionsNotInHeads).contains(&positions) => {
            "tests/planted/positions.rs and keeper.rs: the model's disks never come as far as a step of positions"
        }
        B::ResendForgotten | B::HealingForgotten | B::StandsWithoutPhase2Quorum => {
            "simulator: it only stops progress, which the model doesn't ask for"
        }
        B::RepliesNotKept | B::FencedCallApplied | B::ExpiryUnconditional => {
            "simulator: it needs sessions whose calls are repeated; the model's client never repeats one"
        }
        B::ReadmissionCountsReplaced
        | B::ReadmittedRaisesNoPromise
        | B::ReadmissionSurvivesNack
        | B::EntersWithoutPromise => {
            "tests/planted/readmission.rs: left out alone it does no harm in these worlds, explored to their ends"
        }
        B::NewSlotsOverVotes | B::SettleOverVotes => {
            "simulator: it takes more values than the model's clients have"
        }
        B::FloorOfOneReport | B::FloorOfAllReports | B::FloorAbovePin | B::FloorOfObservers => {
            "the proposer's tests: the model has one learner, which pins nothing"
        }
        B::FloorAboveChosen | B::FloorOfRefusedAccept => {
            "the roles' own tests: a floor is true whoever tells it, so taking it too early shows nowhere"
        }
        B::HeldNotRaisedWithFloor => "the acceptor's tests: it only stops the held prefix for ever",
        B::RoomIgnored | B::RoomUnprepared => "the keeper's tests: the model's disk is never full",
        B::RetryWithNewSequence | B::UnknownCalledFailed | B::HintsAlwaysFollowed => {
            "simulator: it is the client's"
        }
        B::CreatedOverwritten
        | B::WritesDuringRestore
        | B::BackupsMixed
        | B::ImageWithoutSessions
        | B::RepliesNotInImage
        | B::ImageWithOlderChain
        | B::ImageWithoutRevision
        | B::ImageDigestIgnored
        | B::ImageEndNotAwaited
        | B::DeletesNotCheckpointed
        | B::OverwriteNotCheckpointed
        | B::DeadRecordMoved
        | B::HashTakenForKey
        | B::FrozenOverlayForgotten
        | B::CheckpointNotWhole
        | B::SpillAfterCheckpoint
        | B::ManifestUnchecked
        | B::SnapshotsNotHeld => "the store's trials: the model's learners take no images, and have one key",
        journal if journal >= B::SyncSkipped => {
            "simulator and the journal's trials: the model's disk is no journal"
        }
        other => panic!("{} is caught by nobody", other.name()),
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let mut missed = Vec::new();
    let mut caught = 0;
    for bug in Bug::ALL.iter().copied() {
        let config = match catcher(bug) {
            Catcher::Model(config) => *config,
            Catcher::Other(why) => {
                println!("{}: left to {why}", bug.name());
                continue;
            }
        };
        // One thread, so that the number of states is the same each time.
        let found = explore(bug.name(), config, 1);
        let vacuous = lacking(&found, &[Witness::Chosen]);
        match &found.broken {
            Some((_, story)) => {
                println!(
                    "  caught after {} states: {}",
                    found.states,
                    story.lines().next().unwrap_or_default()
                );
                caught += 1;
            }
            None if !vacuous.is_empty() => {
                println!("  caught after {} states: nothing can be chosen any more", found.states);
                caught += 1;
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    assert!(caught >= 35, "only {caught} planted bugs are the model's");
}
