//! The bounded worlds, each about one danger.

use synod_learner::Timer::{CatchUp, Round, Settle, Subscribe};
use synod_planted::Bug;
use synod_proposer::Timer::{Heal, Heartbeat, Resend};
use synod_protocol::tuning::Tuning;

use crate::world::{ANY, Config, Start};

/// Everything that makes states fewer, for worlds in which it is right.
fn reduced() -> Config {
    Config { lazy: true, forget: true, symmetry: true, crashes: Some(0), ..Config::small() }
}

/// Two proposers, three acceptors, three ballots, two slots, one crash.
pub(crate) fn agreement() -> Config {
    Config { ballots: &[2, 1], slots: 2, offers: 2, crashes: Some(1), ..reduced() }
}

pub(crate) fn flexible_4_3_2() -> Config {
    Config { acceptors: 4, phase1: 3, phase2: 2, ballots: &[2, 1], crashes: Some(1), ..reduced() }
}

pub(crate) fn flexible_3_3_1() -> Config {
    Config { phase1: 3, phase2: 1, ballots: &[2, 1], slots: 2, offers: 2, crashes: Some(1), ..reduced() }
}

pub(crate) fn restarts() -> Config {
    Config { ballots: &[2, 1], restarts: 1, crashes: Some(1), ..reduced() }
}

/// Acceptors that absorb two messages before a sync, and keep any prefix of their records.
pub(crate) fn disk() -> Config {
    Config { batch: 2, crashes: Some(1), ..reduced() }
}

/// Promises in chunks of one vote, after p1 has led.
pub(crate) fn chunks() -> Config {
    let tuning = Tuning { chunk_bytes: 1, ..Tuning::default() };
    Config { start: Start::Led, ballots: &[2, 1], slots: 2, offers: 2, tuning, ..reduced() }
}

/// The same where a2 holds slot 1 and tells of two more in two chunks, so that others may be asked for less.
pub(crate) fn chunks_above_held() -> Config {
    Config {
        start: Start::Filled,
        ballots: &[1, 1],
        timers: &[(2, Resend, 1)],
        slots: 3,
        offers: 3,
        ..chunks()
    }
}

/// Refusals are heard, nothing is forgotten.
pub(crate) fn refusals() -> Config {
    Config { forget: false, ..reduced() }
}

/// p2 heals after p1 has led.
pub(crate) fn healing() -> Config {
    let tuning = Tuning {
        chunk_bytes: 1,
        heal_bytes: 1,
        heal_ms: 20,
        resend_ms: 20,
        election_timeout_ms: 20,
        ..Tuning::default()
    };
    let timers = &[(1, Heartbeat, ANY), (2, Heartbeat, ANY), (2, Heal, 4)];
    Config { start: Start::Led, ballots: &[1, 1], timers, symmetry: false, tuning, ..reduced() }
}

pub(crate) fn resending() -> Config {
    Config { timers: &[(1, Resend, 2), (2, Resend, 2)], ..reduced() }
}

/// Heartbeats state chosen prefixes, and acceptors hold them.
pub(crate) fn holding() -> Config {
    let timers = &[(1, Heartbeat, ANY), (2, Heartbeat, ANY)];
    Config { timers, slots: 2, offers: 2, ..reduced() }
}

/// One learner reads what a dead leader may have left behind.
pub(crate) fn settling() -> Config {
    let learner_timers = &[Settle];
    Config { start: Start::Led, learners: 1, reads: 1, learner_timers, ..reduced() }
}

/// Two learners: what one of them has told, the other's reads see.
pub(crate) fn reading() -> Config {
    Config { learners: 2, reads: 2, proposers: 1, ballots: &[1], ..settling() }
}

/// Learners that miss slots, and fetch them.
pub(crate) fn catching_up() -> Config {
    let learner_timers = &[Settle, CatchUp, Round, Subscribe];
    Config {
        slots: 2,
        offers: 2,
        reads: 0,
        learner_timers,
        timers: &[(1, Heartbeat, ANY)],
        symmetry: false,
        ..reading()
    }
}

/// A learner's life ends while its reads wait.
pub(crate) fn rereading() -> Config {
    Config { learner_restarts: 1, learner_timers: &[], ..reading() }
}

/// The world in which a planted bug shows; nothing for a bug outside the model.
pub(crate) fn catching(bug: Bug) -> Option<Config> {
    let plain = Config { forget: false, symmetry: false, ..reduced() };
    let unsymmetric = |config: Config| Config { symmetry: false, crashes: Some(0), ..config };
    let unforgetting = |config: Config| Config { symmetry: false, forget: false, ..config };
    let config = match bug {
        Bug::PromiseNotPersisted
        | Bug::VoteNotPersisted
        | Bug::AcceptOnlyAbovePromise
        | Bug::AcceptBelowPromise
        | Bug::EqualBallotPromisedTwice
        | Bug::AcceptRaisesNoPromise
        | Bug::OwnValueDespiteVote
        | Bug::PromisesOfTooFew
        | Bug::DuplicateAcksCounted
        | Bug::VotesOfTooFew => plain,
        Bug::ReplyBeforeSync => Config { crashes: Some(1), ..plain },
        Bug::BallotReusedAfterRestart => Config { restarts: 1, ballots: &[2, 1], ..plain },
        Bug::BallotReusedAfterStepDown | Bug::AcksOfTwoBallotsMixed => Config { ballots: &[2, 1], ..plain },
        Bug::FirstReportedValue | Bug::LastReportedValue => {
            Config { ballots: &[2, 1], ..unsymmetric(reduced()) }
        }
        Bug::IncompletePromiseCounts | Bug::CappedPromise => {
            Config { ballots: &[1, 1], ..unsymmetric(chunks()) }
        }
        Bug::HeldOfIncompletePromiseIgnored => unsymmetric(chunks_above_held()),
        Bug::HeldOverOtherBallots => unsymmetric(holding()),
        Bug::FetchServesUnchosen => healing(),
        Bug::ChosenPrefixFromHearsay => Config { slots: 2, offers: 2, ..unsymmetric(holding()) },
        Bug::AppliedOverGap => catching_up(),
        Bug::ReadWithoutRound
        | Bug::ReadBeforeApplied
        | Bug::ReadRoundOfTooFew
        | Bug::ReadJoinsRunningRound => unforgetting(reading()),
        Bug::ReadRoundReusedAfterRestart => Config { forget: false, ..rereading() },
        _ => return None,
    };
    Some(Config { bug: Some(bug), ..config })
}
