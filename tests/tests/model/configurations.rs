//! The bounded worlds, each about one danger.

use synod_learner::Timer::{CatchUp, Settle};
use synod_proposer::Timer::{Heal, Heartbeat, Resend, Thrifty};
use synod_protocol::tuning::Tuning;

use crate::world::{ANY, Config, Replaced, Start, usual};

/// Everything that makes states fewer, for worlds in which it is right.
pub(crate) fn reduced() -> Config {
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
    let tuning = Tuning { chunk_bytes: 1, ..usual() };
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

/// Two acceptors, so that everything can be explored as it is: nothing is put off, forgotten or renamed, and refusals are heard.
pub(crate) fn unreduced() -> Config {
    Config { acceptors: 2, crashes: Some(0), ..Config::small() }
}

/// p2 heals after p1 has led.
pub(crate) fn healing() -> Config {
    let tuning = Tuning {
        chunk_bytes: 1,
        heal_bytes: 1,
        heal_ms: 20,
        resend_ms: 20,
        election_timeout_ms: 20,
        ..usual()
    };
    let timers = &[(1, Heartbeat, ANY), (2, Heartbeat, ANY), (2, Heal, 4)];
    Config { start: Start::Led, ballots: &[1, 1], timers, symmetry: false, tuning, ..reduced() }
}

pub(crate) fn resending() -> Config {
    Config { timers: &[(1, Resend, 2), (2, Resend, 2)], ..reduced() }
}

/// A leader asks two of the three acceptors at once, the spare later, and puts it into the place of one that doesn't keep up; then another leads.
pub(crate) fn thrifty() -> Config {
    let tuning = Tuning { thrifty_ms: 10, ..Config::small().tuning };
    let timers = &[(1, Thrifty, ANY)];
    Config { slots: 3, offers: 3, ballots: &[1, 1], timers, symmetry: false, tuning, ..reduced() }
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

/// A learner that misses slots, and fetches them from acceptors.
pub(crate) fn catching_up() -> Config {
    let timers = &[(1, Heartbeat, ANY)];
    let learner_timers = &[CatchUp];
    Config {
        learners: 1,
        reads: 0,
        slots: 2,
        offers: 2,
        timers,
        learner_timers,
        symmetry: false,
        ..reading()
    }
}

/// The same where a3 voted for a value of p1's that p2 has overruled since.
pub(crate) fn overruled() -> Config {
    let timers = &[(2, Heartbeat, ANY)];
    Config { start: Start::Overruled, proposers: 2, ballots: &[1, 1], slots: 1, timers, ..catching_up() }
}

/// A learner's life ends while its reads wait.
pub(crate) fn rereading() -> Config {
    Config { learner_restarts: 1, learner_timers: &[], ..reading() }
}

/// a3's new disk is readmitted by p1 while its old disk goes on, and p2 may lead with either.
pub(crate) fn readmission() -> Config {
    Config { start: Start::Heard, ballots: &[2, 1], replaced: Replaced::Last, symmetry: false, ..reduced() }
}

/// The same where a1 and a3's old disk have chosen a value.
pub(crate) fn lost_votes() -> Config {
    Config { start: Start::ChosenWithLast, ..readmission() }
}

/// The same for readers, who may have begun while the lost disk was in.
pub(crate) fn lost_reads() -> Config {
    Config { proposers: 1, learners: 2, reads: 1, ballots: &[2], ..lost_votes() }
}

/// What is chosen with the new disk, readers see though the old one answers.
pub(crate) fn readmitted_reads() -> Config {
    Config { start: Start::Readmitted, ..lost_reads() }
}

/// a2 was readmitted before a3, and its old disk goes on too.
pub(crate) fn second_readmission() -> Config {
    Config { replaced: Replaced::LastAfterSecond, proposers: 1, ballots: &[2], ..readmission() }
}

/// A learner syncs what is chosen and says so; p1 states the floor that follows, and what lies below is dropped before p2 leads.
pub(crate) fn truncating() -> Config {
    let timers = &[(1, Heartbeat, ANY), (2, Heartbeat, 1)];
    Config { start: Start::Led, timers, reports: true, slots: 2, offers: 1, crashes: Some(1), ..reduced() }
}

/// The same with one slot, and without crashes.
pub(crate) fn truncated() -> Config {
    Config { timers: &[(1, Heartbeat, ANY)], slots: 1, crashes: Some(0), ..truncating() }
}

/// p2 has overruled a value that a3 voted for at p1's ballot; one learner of three has synced p2's, and says so to p1.
pub(crate) fn overruled_and_reported() -> Config {
    Config { start: Start::Overruled, configured: 3, symmetry: false, ..truncated() }
}
