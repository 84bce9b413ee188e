//! Proposals under way: which calls each message carried, so that one refusal or one timer serves them all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use synod_protocol::NodeId;

use super::calls::CallId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) to: NodeId,
    pub(crate) sent: Duration,
    /// How long it waits for an answer before its calls are sent again.
    pub(crate) delay: Duration,
    pub(crate) due: Duration,
    /// The calls it carries; those that ended since may be missing.
    pub(crate) calls: Vec<CallId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flights {
    flights: BTreeMap<u64, Flight>,
    dues: BTreeSet<(Duration, u64)>,
}

impl Flights {
    pub(crate) fn insert(&mut self, tag: u64, flight: Flight) {
        self.dues.insert((flight.due, tag));
        self.flights.insert(tag, flight);
    }

    pub(crate) fn remove(&mut self, tag: u64) -> Option<Flight> {
        let flight = self.flights.remove(&tag)?;
        self.dues.remove(&(flight.due, tag));
        Some(flight)
    }

    /// Takes out a flight whose time has come.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<(u64, Flight)> {
        let (_, tag) = *self.dues.first().filter(|(due, _)| *due <= now)?;
        Some((tag, self.remove(tag)?))
    }

    /// The flights to `node`.
    pub(crate) fn to(&self, node: NodeId) -> impl Iterator<Item = (u64, &Flight)> {
        self.flights.iter().filter(move |(_, flight)| flight.to == node).map(|(tag, flight)| (*tag, flight))
    }

    pub(crate) fn clear(&mut self) {
        self.flights.clear();
        self.dues.clear();
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.dues.first().map(|(due, _)| *due)
    }
}
