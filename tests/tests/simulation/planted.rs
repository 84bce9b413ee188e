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
        B::CheckpointEndNotAwaited | B::CheckpointPlaceIgnored | B::ChunkOfAnotherSlot => Some(
            "the learner's trials, `tests/tests/planted/{checkpoints,learners}.rs`: it takes a file or a chunk that fits by chance",
        ),
        B::HistoryOfOlderState => Some(
            "the learner's trials, `tests/tests/planted/learners.rs`: a peer must ask for just the slots before a snapshot's; a seed in a thousand",
        ),
        B::FollowerUnpinned => Some(
            "the learner's trials, `tests/tests/planted/learners.rs`: the log must pass by whoever has just been given a state",
        ),
        B::SnapshotOverNewer => Some(
            "the learner's trials, `tests/tests/planted/learners.rs`: the log must overtake a transfer that began because the log was gone",
        ),
        B::DivergenceIgnored | B::ObserverVouches | B::AnswersInDoubt => {
            Some("the learner's trials, `tests/tests/planted/learners.rs`: no states differ here")
        }
        B::FarForEver => {
            Some("the learner's trials, `tests/tests/planted/learners.rs`: what isn't streamed is fetched")
        }
        B::ObserverHeard => Some("the roles' own tests: no leader here hears observers alone"),
        B::ImageDigestIgnored | B::ImageEndNotAwaited => Some(
            "the store's trials, `tests/tests/planted/store.rs`: chunks have checksums, and files an end mark",
        ),
        B::FrozenOverlayForgotten
        | B::CheckpointNotWhole
        | B::SpillAfterCheckpoint
        | B::ManifestUnchecked
        | B::SnapshotsNotHeld
        | B::BackupsMixed
        | B::WritesDuringRestore
        | B::DeadRecordMoved
        | B::HashTakenForKey => Some(
            "the store's and the engine's trials, `tests/tests/planted/store.rs`: nobody here restores a backup, has the disk engine, keys of one hash, or so much that memory is tidied",
        ),
        B::FloorOfRefusedAccept | B::RoomIgnored | B::RoomUnprepared => {
            Some("the roles' own tests: `tests/tests/planted/{roles,keeper}.rs` run those")
        }
        B::ChosenPrefixFromHearsay => {
            Some("model: a slot below what was heard must be lost at the same time")
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
        | B::SealSkipped
        | B::ShortSegmentAccepted
        | B::ShortSegmentRecycled
        | B::SpareNameNotSynced
        | B::UnreadableTakenForEmpty => {
            Some("the journal's trials: it takes one damage among many thousands")
        }
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
