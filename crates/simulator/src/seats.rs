//! Which disk counts for which acceptor at which ballot, as whoever sees everything knows it (S12).
//!
//! A disk counts from the ballot at which a Phase-2 quorum has recorded it; before, the one that was replaced does.

use std::collections::{BTreeMap, BTreeSet};

use synod_protocol::message::Admit;
use synod_protocol::{AcceptorId, Ballot, DiskId, QuorumSystem};

#[derive(Clone, Debug, Default)]
pub(crate) struct Seats {
    /// Who has recorded a disk.
    records: BTreeMap<(AcceptorId, Ballot, DiskId), BTreeSet<AcceptorId>>,
    /// The disks that were recorded by a quorum, and since when they count.
    since: BTreeMap<AcceptorId, BTreeMap<Ballot, DiskId>>,
}

impl Seats {
    /// An acceptor has recorded that another disk counts.
    pub(crate) fn recorded(&mut self, by: AcceptorId, admit: Admit, quorums: &QuorumSystem) {
        let Admit { ballot, acceptor, disk } = admit;
        let by_whom = self.records.entry((acceptor, ballot, disk)).or_default();
        by_whom.insert(by);
        if quorums.is_phase2(by_whom) {
            self.since.entry(acceptor).or_default().insert(ballot, disk);
        }
    }

    /// Whether a vote on `disk` at `ballot` counts for `acceptor`.
    pub(crate) fn counts(&self, acceptor: AcceptorId, disk: Option<DiskId>, ballot: Ballot) -> bool {
        let seats = self.since.get(&acceptor);
        let seat = seats.and_then(|seats| seats.range(..=ballot).next_back());
        seat.is_none_or(|(_, seated)| disk == Some(*seated))
    }
}
