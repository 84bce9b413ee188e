//! Who leads, as far as a client can tell: hints followed, refusals rotated, a silent leader suspected.
//!
//! Nothing here matters for safety: whoever is asked takes a command or refuses it. Pauses are short, because a cluster elects
//! in about half a second, and grow while nobody leads, because then every proposal is in vain.

use std::time::Duration;

use synod_planted::Bug;
use synod_protocol::{LearnerId, NodeId, ProposerId};

use super::links::{Links, Usable};
use super::random::Random;

/// Pause after a refusal without a useful hint.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(30));
/// The pause is multiplied by the number of vain rounds through all proposers, up to this.
const PAUSE_GROWTH: u32 = 5;
/// How long hints to a proposer that was silent, or whose connection broke, are not followed.
const SUSPICION: Duration = Duration::from_secs(1);

/// What to do with commands that are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Propose to this proposer, or forward through this learner.
    Send(NodeId),
    /// Dial this proposer and wait.
    Dial(ProposerId),
    /// Wait.
    Wait,
}

/// Whether hints are followed after so many vain rounds through all proposers.
fn follows(rounds: u32) -> bool {
    rounds.is_multiple_of(2) || synod_planted::is(Bug::HintsAlwaysFollowed)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    proposers: Vec<ProposerId>,
    at: usize,
    /// Whether somebody told that `at` leads.
    believed: bool,
    suspect: Option<(ProposerId, Duration)>,
    /// Refusals in a row.
    refusals: u32,
    pub(crate) pause_until: Duration,
}

impl Leader {
    /// Begins with the proposer at `start`, so that clients spread.
    pub(crate) fn new(proposers: Vec<ProposerId>, start: usize) -> Leader {
        let at = start % proposers.len().max(1);
        Leader { proposers, at, believed: false, suspect: None, refusals: 0, pause_until: Duration::ZERO }
    }

    fn target(&self) -> Option<ProposerId> {
        self.proposers.get(self.at).copied()
    }

    /// Whether commands go to `node`, or would.
    pub(crate) fn is_target(&self, node: NodeId) -> bool {
        self.target().map(NodeId::from) == Some(node)
    }

    /// Where commands go. A leader that can't be reached is reached through the learner.
    pub(crate) fn route(&mut self, links: &Links, through: Option<LearnerId>, now: Duration) -> Route {
        if now < self.pause_until {
            return Route::Wait;
        }
        for _ in 0..self.proposers.len() {
            let Some(target) = self.target() else { break };
            match links.usable(target, now) {
                Usable::Up => return Route::Send(target.into()),
                Usable::Soon => return Route::Wait,
                Usable::Dial => return Route::Dial(target),
                Usable::No if self.believed => break,
                Usable::No => self.rotate(),
            }
        }
        through.map_or(Route::Wait, |learner| Route::Send(learner.into()))
    }

    fn rotate(&mut self) {
        self.at = (self.at + 1) % self.proposers.len().max(1);
        self.believed = false;
    }

    /// `from` refused because it doesn't lead. Follows its hint, or pauses and turns to the next.
    pub(crate) fn refused(
        &mut self,
        from: NodeId,
        hint: Option<ProposerId>,
        now: Duration,
        random: &mut Random,
    ) {
        let through = matches!(from, NodeId::Learner(_));
        if !self.is_target(from) && !through {
            return self.ignore_refusal_of_another();
        }
        self.refusals += 1;
        let suspected = |id| self.suspect.is_some_and(|(suspect, until)| suspect == id && now < until);
        let rounds = self.refusals / self.proposers.len().max(1) as u32;
        // Proposers that are cut off name old leaders, and some who was told so may name them back: every other round
        // asks all in turn, whatever they say.
        let useful = hint.filter(|id| NodeId::from(*id) != from && !suspected(*id) && follows(rounds));
        let hinted = useful.and_then(|id| self.proposers.iter().position(|proposer| *proposer == id));
        match hinted {
            Some(at) if rounds == 0 && !through => (self.at, self.believed) = (at, true),
            Some(at) => {
                (self.at, self.believed) = (at, true);
                self.pause(rounds, now, random);
            }
            None => {
                self.rotate();
                self.pause(rounds, now, random);
            }
        }
    }

    fn pause(&mut self, rounds: u32, now: Duration, random: &mut Random) {
        let growth = (rounds + 1).min(PAUSE_GROWTH);
        self.pause_until = now + random.between(PAUSE.0 * growth, PAUSE.1 * growth);
    }

    /// `from` has too much to do.
    pub(crate) fn busy(&mut self, retry: Duration, now: Duration, random: &mut Random) {
        self.pause_until = now + random.between(retry, retry * 2);
    }

    /// The connection to a proposer is gone, or it took commands and was silent: turns to the next at once.
    pub(crate) fn suspect(&mut self, node: NodeId, now: Duration) {
        if let Some(target) = self.target().filter(|target| NodeId::from(*target) == node) {
            self.suspect = Some((target, now + SUSPICION));
            self.rotate();
        }
    }

    /// A command was applied: somebody leads.
    pub(crate) fn praise(&mut self) {
        self.refusals = 0;
    }

    /// It was asked before somebody else was.
    fn ignore_refusal_of_another(&self) {
        tracing::trace!(target = ?self.target(), "a refusal of a proposer that isn't asked any more changes nothing");
    }
}
