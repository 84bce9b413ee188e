//! The learner that the session is attached to and reads from; left for another when it is gone or brings nothing.
//!
//! Whether a learner is behind, cut off or paused looks the same from here: something is waited for and nothing comes, or it is always busy. Replies
//! are taken from any learner (they are equal), so leaving one costs an Attach and never an answer.

use std::time::Duration;

use synod_protocol::command::SessionId;
use synod_protocol::{LearnerId, NodeId};

use super::links::{Links, Usable};

/// How long nothing may come while something is waited for; doubles with each learner tried in vain.
const PATIENCE: Duration = Duration::from_millis(300);
/// At most this long.
const PATIENCE_MOST: Duration = Duration::from_millis(2_400);

/// What is attached at the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    Nonce(u128),
    Session(SessionId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    learners: Vec<LearnerId>,
    at: usize,
    pub(crate) attached: Option<Attached>,
    /// Since when something is waited for and nothing has come.
    waiting_since: Option<Duration>,
    /// Learners left in a row because nothing came.
    fruitless: u32,
}

impl Home {
    /// Begins with the learner at `start`, so that clients spread.
    pub(crate) fn new(learners: Vec<LearnerId>, start: usize) -> Home {
        let at = start % learners.len().max(1);
        Home { learners, at, attached: None, waiting_since: None, fruitless: 0 }
    }

    pub(crate) fn learner(&self) -> Option<LearnerId> {
        self.learners.get(self.at).copied()
    }

    pub(crate) fn is(&self, node: NodeId) -> bool {
        self.learner().map(NodeId::from) == Some(node)
    }

    /// The learner to dial, after turning away from those that can't be.
    pub(crate) fn candidate(&mut self, links: &Links, now: Duration) -> Option<LearnerId> {
        for _ in 0..self.learners.len() {
            let learner = self.learner()?;
            match links.usable(learner, now) {
                Usable::Up | Usable::Soon => return None,
                Usable::Dial => return Some(learner),
                Usable::No => self.turn(),
            }
        }
        None
    }

    /// Something came of what was waited for.
    pub(crate) fn praise(&mut self, now: Duration) {
        self.fruitless = 0;
        if self.waiting_since.is_some() {
            self.waiting_since = Some(now);
        }
    }

    /// Notes whether anything is waited for.
    pub(crate) fn wait(&mut self, waiting: bool, now: Duration) {
        match (waiting, self.waiting_since) {
            (false, _) => self.waiting_since = None,
            (true, None) => self.waiting_since = Some(now),
            (true, Some(_)) => {}
        }
    }

    /// When patience ends.
    pub(crate) fn patience_ends(&self) -> Option<Duration> {
        let patience = PATIENCE.saturating_mul(1 << self.fruitless.min(16)).min(PATIENCE_MOST);
        Some(self.waiting_since? + patience)
    }

    /// Leaves a learner that brought nothing; returns it.
    pub(crate) fn leave(&mut self, now: Duration) -> Option<LearnerId> {
        let left = self.learner();
        self.fruitless += 1;
        self.waiting_since = Some(now);
        self.turn();
        left.filter(|left| self.learner() != Some(*left))
    }

    /// The home's connection is gone.
    pub(crate) fn lost(&mut self) {
        self.turn();
    }

    fn turn(&mut self) {
        self.at = (self.at + 1) % self.learners.len().max(1);
        self.attached = None;
    }
}
