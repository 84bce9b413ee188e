//! Planted bugs: each that a whole cluster can show must break a promise within a bounded number of seeds, of which the same runs without
//! it break none (that is the test beside this).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use synod_planted::{Bug, plant};
use synod_simulator::{Plan, run};

/// Seeds within which a planted bug must show.
const MOST_SEEDS: u64 = 600;

/// The layer that catches a bug which no seed here shows, and why.
fn elsewhere(bug: Bug) -> Option<&'static str> {
    use Bug as B;
    match bug {
        B::AcceptRaisesNoPromise
        | B::AcksOfTwoBallotsMixed
        | B::BallotReusedAfterRestart
        | B::BallotReusedAfterStepDown => {
            Some("model: it takes two leaders whose messages cross in one way out of very many")
        }
        B::ReadRoundReusedAfterRestart => {
            Some("model: an answer to the same round of an earlier life must come within one round trip")
        }
        B::HintsAlwaysFollowed | B::StandsWithoutPhase2Quorum => {
            Some("the regressions beside this: it takes a partial partition that lasts")
        }
        readmission if (B::ReplacedDiskAnswers..=B::OlderVoteCounts).contains(&readmission) => {
            Some("model: what the disks told must meet at the right moment")
        }
        positions if (B::PositionRoundedUp..=B::PositionsNotInHeads).contains(&positions) => {
            Some("the roles' own trials: `tests/tests/planted/positions.rs` and `keeper.rs` run those")
        }
        learner if (B::CheckpointNotSynced..=B::AnswersInDoubt).contains(&learner) => Some(
            "the learner's trials: `tests/tests/planted/{checkpoints,learners}.rs` run those; no learner here makes a checkpoint",
        ),
        image if (B::DeletesNotCheckpointed..=B::SnapshotsNotHeld).contains(&image) => {
            Some("the store's and the engine's trials: `tests/tests/planted/store.rs` runs those")
        }
        B::FloorOfOneReport
        | B::FloorOfAllReports
        | B::FloorAbovePin
        | B::FloorOfObservers
        | B::FloorAboveChosen
        | B::FloorOfRefusedAccept
        | B::HeldNotRaisedWithFloor
        | B::RoomIgnored => Some("the roles' own tests: `tests/tests/planted/roles.rs` runs those"),
        B::DroppedSlotsToldAsFree | B::NewSlotsBelowFloor | B::ChosenPrefixFromHearsay => {
            Some("model: no floor rises here")
        }
        B::LastReportedValue => Some("model: it takes votes for one slot at three ballots"),
        B::ReadBackUnchecked
        | B::CarriedBatchWithoutRoom
        | B::ChecksumIgnoresOffset
        | B::ChecksumIgnoresSegment
        | B::FailureForgotten
        | B::HeadBlobUnchecked
        | B::HeadSealIgnored
        | B::MissingSegmentSkipped
        | B::NamesNotSyncedAtStart
        | B::ReleasedOneTooMany
        | B::SealSkipped
        | B::SegmentDroppedEarly
        | B::ShortSegmentAccepted
        | B::UnreadableTakenForEmpty => {
            Some("the journal's trials: it takes one damage among many thousands")
        }
        B::WritesDuringRestore
        | B::BackupsMixed
        | B::ImageWithoutSessions
        | B::RepliesNotInImage
        | B::ImageWithOlderChain
        | B::ImageWithoutRevision
        | B::ImageDigestIgnored
        | B::ImageEndNotAwaited
        | B::DeletesNotCheckpointed
        | B::FrozenOverlayForgotten
        | B::CheckpointNotWhole
        | B::SpillAfterCheckpoint
        | B::ManifestUnchecked
        | B::SnapshotsNotHeld => Some(
            "the store's trials: no learner here takes an image, restores a backup or has the disk engine",
        ),
        _ => None,
    }
}

/// How many seeds it took, and what broke.
fn caught(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (1..=MOST_SEEDS).find_map(|seed| {
        run(&Plan::draw(seed), None).violation.map(|violation| (seed, violation.to_string()))
    });
    plant(None);
    found
}

#[test]
fn every_planted_bug_breaks_a_promise() {
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    if let Some(why) = elsewhere(bug) {
                        println!("{}: left to {why}", bug.name());
                        continue;
                    }
                    match caught(bug) {
                        Some((seeds, what)) => {
                            let what: String = what.lines().next().unwrap().chars().take(100).collect();
                            println!("{}: caught by seed {seeds}: {what}", bug.name());
                        }
                        None => missed.lock().unwrap().push(bug.name()),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not caught in {MOST_SEEDS} seeds: {missed:?}");
}
