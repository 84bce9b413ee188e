//! Which connections are up, and when one that is down may be dialed again: backoff with jitter, doubling.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_protocol::NodeId;
use synod_protocol::tuning::Tuning;

use super::random::Random;

/// A dial that takes longer than this no longer keeps the next candidate waiting.
const DIAL_PATIENCE: Duration = Duration::from_millis(150);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down { not_before: Duration },
    Dialing { since: Duration },
    Up,
}

/// What can be done with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usable {
    /// Send.
    Up,
    /// Wait: it is being dialed.
    Soon,
    /// Dial it.
    Dial,
    /// Try another.
    No,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    links: BTreeMap<NodeId, Link>,
    /// Failures in a row.
    fails: BTreeMap<NodeId, u32>,
    min: Duration,
    max: Duration,
    /// What went wrong last.
    pub(crate) trouble: Option<String>,
}

impl Links {
    pub(crate) fn new(tuning: &Tuning) -> Links {
        Links {
            links: BTreeMap::new(),
            fails: BTreeMap::new(),
            min: Duration::from_millis(tuning.reconnect_min_ms),
            max: Duration::from_millis(tuning.reconnect_max_ms),
            trouble: None,
        }
    }

    pub(crate) fn usable(&self, node: impl Into<NodeId>, now: Duration) -> Usable {
        match self.links.get(&node.into()) {
            Some(Link::Up) => Usable::Up,
            Some(Link::Dialing { since }) if now < *since + DIAL_PATIENCE => Usable::Soon,
            Some(Link::Dialing { .. }) => Usable::No,
            Some(Link::Down { not_before }) if now < *not_before => Usable::No,
            Some(Link::Down { .. }) | None => Usable::Dial,
        }
    }

    pub(crate) fn is_up(&self, node: impl Into<NodeId>) -> bool {
        self.links.get(&node.into()) == Some(&Link::Up)
    }

    pub(crate) fn dialing(&mut self, node: NodeId, now: Duration) {
        self.links.insert(node, Link::Dialing { since: now });
    }

    pub(crate) fn up(&mut self, node: NodeId) {
        self.links.insert(node, Link::Up);
    }

    /// The first failure in a row may be mended at once (the process was restarted); then it backs off.
    pub(crate) fn down(&mut self, node: NodeId, why: String, now: Duration, random: &mut Random) {
        self.trouble = Some(format!("{node}: {why}"));
        let fails = self.fails.entry(node).or_default();
        let delay = self.min.saturating_mul(1 << (*fails).min(16)).min(self.max);
        *fails += 1;
        self.links.insert(node, Link::Down { not_before: now + random.around(delay) });
    }

    /// Hung up on purpose.
    pub(crate) fn hung_up(&mut self, node: NodeId) {
        self.links.remove(&node);
    }

    /// A peer has proved useful: its next failure is the first in a row again.
    pub(crate) fn praise(&mut self, node: NodeId) {
        self.fails.remove(&node);
    }

    /// When something changes by time alone.
    pub(crate) fn next_change(&self, now: Duration) -> Option<Duration> {
        let times = self.links.values().map(|link| match link {
            Link::Down { not_before } => *not_before,
            Link::Dialing { since } => *since + DIAL_PATIENCE,
            Link::Up => Duration::ZERO,
        });
        times.filter(|time| *time > now).min()
    }
}
