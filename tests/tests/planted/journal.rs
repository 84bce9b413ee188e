//! Bugs of the journal, each caught by the trial of the journal's own tests that should catch it, with the untouched journal
//! going through the whole of that trial beside it.

#[path = "../../../crates/journal/tests/journal/trials/mod.rs"]
mod trials;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use synod_journal::Options;
use synod_planted::Bug;

use trials::{damage, failure, lives, oracle, power_loss, reading, take_runs};

/// A trial, and the bugs that it must catch, each with words from what it must say.
struct Duty {
    name: &'static str,
    trial: fn(),
    catches: &'static [(Bug, &'static str)],
}

impl Duty {
    fn check(&self) {
        super::check(self.name, "journals read", self.trial, take_runs, self.catches);
    }
}

fn small() -> Options {
    oracle::options(1024, 64)
}

const POWER_LOSS: Duty = Duty {
    name: "power loss at every operation",
    trial: || power_loss::every_power_loss(&small(), power_loss::SCRIPT),
    catches: &[
        (Bug::SyncSkipped, "recovered [], acknowledged [1"),
        (Bug::DirectoryNotSynced, "recovered [], acknowledged [1"),
        (Bug::HeadNotSynced, "the head is not a segment's head"),
        (Bug::HeadSealsTooMuch, "batch 1 is not sound, but it was synced with the head"),
        (Bug::TornTailNotCut, "power lost at operation 10, kept"),
        (Bug::OlderSegmentsForgotten, "told after a restart, and lost"),
        (Bug::CarriedBatchReplayedTwice, "heads join"),
        (Bug::CarriedBatchWithoutRoom, "not sound, but it was synced with the head"),
    ],
};

const RECYCLING: Duty = Duty {
    name: "power loss while segments are recycled",
    trial: || power_loss::every_power_loss(&small(), power_loss::RECYCLING),
    catches: &[(Bug::SegmentDroppedEarly, "is missing")],
};

const TWICE: Duty = Duty {
    name: "power loss at every operation of two lives",
    trial: || power_loss::every_power_loss_twice(&small(), power_loss::BULK),
    catches: &[(Bug::SpareNameNotSynced, "the file holds segment")],
};

const KILLS: Duty = Duty {
    name: "kills at every operation",
    trial: || power_loss::every_kill(&small(), power_loss::SCRIPT),
    catches: &[
        (Bug::TailNotRewritten, "life 2: told, then damaged journal"),
        (Bug::NamesNotSyncedAtStart, "life 2: recovered [], acknowledged [1"),
    ],
};

const FAILURES: Duty = Duty {
    name: "failures of every operation",
    trial: || failure::every_failure(&small(), failure::SCRIPT),
    catches: &[
        (Bug::FailedSyncRetried, "acknowledged, then damaged journal"),
        (Bug::FailureForgotten, "it went on after"),
        (Bug::SealNotRewritten, "life 2: acknowledged, then damaged journal"),
    ],
};

const FAILURES_AT_A_RESTART: Duty = Duty {
    name: "failures of every operation of a restart",
    trial: || failure::every_failure_at_a_restart(&small(), failure::SCRIPT),
    catches: &[(Bug::UnreadableTakenForEmpty, "Fails on Read 0 of a restart")],
};

const FULL_DISKS: Duty = Duty {
    name: "disks full at every size",
    trial: || failure::every_capacity(&small(), failure::SCRIPT),
    catches: &[(Bug::SealWithoutRoom, "a block is free after any batch")],
};

const BIT_FLIPS: Duty = Duty {
    name: "bit flips of a sealed journal",
    trial: || damage::journaled(damage::SEALED).every_bit_flip(),
    catches: &[
        (Bug::DamageTakenForEnd, "recovered 7 records"),
        (Bug::JointNotChecked, "heads join"),
        (Bug::HeadBlobUnchecked, "head of 1"),
        (Bug::SealSkipped, "sealed or not"),
    ],
};

const BIT_FLIPS_AFTER_RECOVERY: Duty = Duty {
    name: "bit flips after a recovery",
    trial: || damage::recovered(damage::UNSEALED).every_bit_flip(),
    catches: &[(Bug::HeadSealIgnored, "recovered 5 records")],
};

const MISSING: Duty = Duty {
    name: "missing segments",
    trial: || damage::journaled(damage::SEALED).every_missing_segment(),
    catches: &[(Bug::MissingSegmentSkipped, "segment-0000000000000001: recovered 7 records")],
};

const TRUNCATION: Duty = Duty {
    name: "segments cut short",
    trial: || damage::journaled(damage::SEALED).every_truncation(),
    catches: &[(Bug::ShortSegmentAccepted, "recovered 7 records")],
};

const STALE: Duty = Duty {
    name: "stale blocks",
    trial: || damage::journaled(damage::UNSEALED).every_stale_block(),
    catches: &[(Bug::DamageTakenForEnd, "as in zeros: recovered 4 records")],
};

const MISDIRECTED: Duty = Duty {
    name: "misdirected blocks",
    trial: || damage::journaled(damage::UNSEALED).every_misdirected_block(),
    catches: &[(Bug::ChecksumIgnoresOffset, "block")],
};

const LIVES: Duty = Duty {
    name: "random lives",
    trial: || (0..300).for_each(lives::live),
    catches: &[
        (Bug::ChecksumIgnoresSegment, "it was synced: a later entry"),
        (Bug::ReleasedOneTooMany, "is the first, earlier ones are needed"),
        (Bug::ShortSegmentRecycled, "the file ends here, but it was prepared with"),
    ],
};

const READ_BACK: Duty = Duty {
    name: "bit flips of batches that are read back",
    trial: reading::every_bit_read_back,
    catches: &[(Bug::ReadBackUnchecked, "read back as if it were sound")],
};

const DUTIES: &[Duty] = &[
    POWER_LOSS,
    RECYCLING,
    TWICE,
    KILLS,
    FAILURES,
    FAILURES_AT_A_RESTART,
    FULL_DISKS,
    BIT_FLIPS,
    BIT_FLIPS_AFTER_RECOVERY,
    MISSING,
    TRUNCATION,
    STALE,
    MISDIRECTED,
    LIVES,
    READ_BACK,
];

#[test]
fn power_loss_catches_its_bugs() {
    POWER_LOSS.check();
    RECYCLING.check();
    TWICE.check();
}

#[test]
fn kills_and_failing_disks_catch_their_bugs() {
    KILLS.check();
    FAILURES.check();
    FAILURES_AT_A_RESTART.check();
    FULL_DISKS.check();
}

#[test]
fn damage_catches_its_bugs() {
    BIT_FLIPS.check();
    BIT_FLIPS_AFTER_RECOVERY.check();
    MISSING.check();
    TRUNCATION.check();
    STALE.check();
    MISDIRECTED.check();
    READ_BACK.check();
}

#[test]
fn random_lives_catch_their_bugs() {
    LIVES.check();
}

#[test]
fn every_bug_that_the_journal_asks_for_has_a_trial() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/journal/src");
    let mut asked = BTreeSet::new();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(path).unwrap();
            let names = text.split("is(Bug::").skip(1).filter_map(|rest| rest.split(')').next());
            asked.extend(names.map(str::to_owned));
        }
    }
    let caught = DUTIES.iter().flat_map(|duty| duty.catches).map(|(bug, _)| format!("{bug:?}"));
    assert_eq!(asked, caught.collect());
}
