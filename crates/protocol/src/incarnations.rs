//! Which disk counts for which acceptor, and how far it has come (S12).
//!
//! As formed, every acceptor's only disk counts and nothing needs to be said: the table is empty. Each readmission adds a row: from
//! its ballot on, another disk counts for that acceptor. A row also tells a position that its disk has reached for certain, rounded down
//! to [`POSITION_STEP`]; so a disk as formed has a row too once it has come so far. Tables travel with promises and answers to quorum
//! reads, and whoever counts a quorum of these takes the newest row that any of them tells: a sender with another disk, or one whose
//! disk has come less far than the row tells, is older, and isn't counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use synod_planted::Bug;

use crate::ids::{AcceptorId, Ballot, DiskId};

/// Positions of disks are told in steps of so many records. A disk that went back by less may go unnoticed; the smaller the step, the
/// more often acceptors record each other's positions.
pub const POSITION_STEP: u64 = 100;

/// A disk, and a position that it has reached for certain: synced records, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskAt {
    /// The disk.
    pub id: DiskId,
    /// A multiple of [`POSITION_STEP`].
    pub position: u64,
}

impl DiskAt {
    /// What a disk with so many records tells of itself.
    pub fn new(id: DiskId, records: u64) -> DiskAt {
        let rounded = match synod_planted::is(Bug::PositionRoundedUp) {
            true => records.next_multiple_of(POSITION_STEP),
            false => records - records % POSITION_STEP,
        };
        DiskAt { id, position: rounded }
    }
}

impl From<DiskId> for DiskAt {
    /// A disk of which nothing more is known.
    fn from(id: DiskId) -> DiskAt {
        DiskAt { id, position: 0 }
    }
}

/// A row: the disk that counts for an acceptor, since when, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The ballot of the readmission; none for a disk as formed.
    pub since: Ballot,
    /// The disk.
    pub disk: DiskId,
    /// A position that it has reached, rounded down; never falls for one disk.
    pub position: u64,
}

impl Incarnation {
    /// A disk that counts from a readmission on.
    pub fn new(since: Ballot, disk: DiskId) -> Incarnation {
        Incarnation { since, disk, position: 0 }
    }

    /// Whether it is the disk of `other`, further on.
    fn is_further(&self, other: &Incarnation) -> bool {
        (self.since, self.disk) == (other.since, other.disk) && self.position > other.position
    }
}

/// A row for each acceptor that was ever readmitted, or whose disk is known to have reached some position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnations(BTreeMap<AcceptorId, Incarnation>);

impl Incarnations {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The row of `acceptor`.
    pub fn get(&self, acceptor: AcceptorId) -> Option<Incarnation> {
        self.0.get(&acceptor).copied()
    }

    /// The rows, by acceptor.
    pub fn rows(&self) -> impl Iterator<Item = (AcceptorId, Incarnation)> {
        self.0.iter().map(|(acceptor, row)| (*acceptor, *row))
    }

    /// Takes in a row, unless a newer one is known; whether it is new.
    pub fn note(&mut self, acceptor: AcceptorId, row: Incarnation) -> bool {
        let known = self.get(acceptor);
        let newer = known.is_none_or(|known| known.since < row.since || row.is_further(&known));
        if newer {
            let kept = known.filter(|_| synod_planted::is(Bug::PositionOfReplacedDisk));
            let position = kept.map_or(row.position, |known| known.position.max(row.position));
            self.0.insert(acceptor, Incarnation { position, ..row });
        }
        newer
    }

    /// Takes in every row that is newer; whether any was.
    pub fn merge(&mut self, other: &Incarnations) -> bool {
        other.rows().fold(false, |any, (acceptor, row)| self.note(acceptor, row) || any)
    }

    /// The row that came in the place of this disk of `acceptor`, itself let in at `since`, if one did. A disk that was let in later is
    /// only one that this table hasn't heard of.
    pub fn replaces(&self, acceptor: AcceptorId, disk: DiskId, since: Ballot) -> Option<Incarnation> {
        self.get(acceptor).filter(|row| row.disk != disk && row.since >= since)
    }

    /// Takes in how far the disk of `acceptor` has come, if it is the one that counts; whether that is news.
    pub fn reached(&mut self, acceptor: AcceptorId, disk: DiskAt) -> bool {
        let since = self.get(acceptor).map_or(Ballot::NONE, |known| known.since);
        let known = self.get(acceptor).is_none_or(|known| known.disk == disk.id);
        known
            && disk.position > 0
            && self.note(acceptor, Incarnation { since, disk: disk.id, position: disk.position })
    }

    /// The rows of all others.
    pub fn without(&self, acceptor: AcceptorId) -> Incarnations {
        Incarnations(self.rows().filter(|(other, _)| *other != acceptor).collect())
    }

    /// The rows that tell a position.
    pub fn with_positions(&self) -> Incarnations {
        Incarnations(self.rows().filter(|(_, row)| row.position > 0).collect())
    }

    /// The rows of `told` that take disks which count here further: no row of a readmission that isn't known here.
    pub fn raised_by(&self, told: &Incarnations) -> Incarnations {
        let raises = |acceptor, row: &Incarnation| match self.get(acceptor) {
            Some(known) => row.is_further(&known),
            None => row.since.is_none() && row.position > 0,
        };
        Incarnations(told.rows().filter(|(acceptor, row)| raises(*acceptor, row)).collect())
    }

    /// Whether `disk` was replaced as the disk of `acceptor`, or went back. A disk that is newer than this table tells so itself: its own
    /// table has its row, and is merged before anyone asks.
    pub fn is_older(&self, acceptor: AcceptorId, disk: DiskAt) -> bool {
        self.is_replaced(acceptor, disk.id) || self.went_back(acceptor, disk).is_some()
    }

    /// Whether another disk counts for `acceptor`.
    pub fn is_replaced(&self, acceptor: AcceptorId, disk: DiskId) -> bool {
        self.get(acceptor).is_some_and(|row| row.disk != disk)
    }

    /// The position that `disk` had reached, if it has gone back to before that. Whoever asks must know that `disk` was told *after* this
    /// table: an answer from before is merely late.
    pub fn went_back(&self, acceptor: AcceptorId, disk: DiskAt) -> Option<u64> {
        let row = self.get(acceptor).filter(|row| row.disk == disk.id && disk.position < row.position);
        row.filter(|_| !synod_planted::is(Bug::PositionIgnored)).map(|row| row.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProposerId;

    fn row(round: u64, disk: u64) -> Incarnation {
        Incarnation::new(Ballot { round, proposer: ProposerId(1), life: 1 }, DiskId(disk))
    }

    #[test]
    fn s12_the_newest_row_decides_whatever_the_order_in_which_rows_come() {
        let (a1, a2) = (AcceptorId(1), AcceptorId(2));
        for order in [[(2, 20), (3, 30)], [(3, 30), (2, 20)]] {
            let mut table = Incarnations::default();
            assert!(!table.is_older(a1, DiskId(10).into()), "as formed");
            let new = order.map(|(round, disk)| {
                let mut other = Incarnations::default();
                other.note(a1, row(round, disk));
                (table.merge(&other), table.merge(&other))
            });
            assert_eq!(new[0], (true, false), "a row told again is none");
            assert_eq!(table.get(a1), Some(row(3, 30)));
            assert!(table.is_older(a1, DiskId(10).into()) && table.is_older(a1, DiskId(20).into()));
            assert!(!table.is_older(a1, DiskId(30).into()) && !table.is_older(a2, DiskId(10).into()));
        }
    }

    fn at(disk: u64, records: u64) -> DiskAt {
        DiskAt::new(DiskId(disk), records)
    }

    #[test]
    fn s12_positions_are_rounded_down_and_a_disk_that_went_back_is_older() {
        let a1 = AcceptorId(1);
        let mut table = Incarnations::default();
        assert!(!table.reached(a1, at(10, POSITION_STEP - 1)), "nothing to tell yet");
        assert!(table.is_empty());
        assert!(table.reached(a1, at(10, 2 * POSITION_STEP + 7)));
        assert!(!table.reached(a1, at(10, 2 * POSITION_STEP + 8)), "no news");
        assert!(!table.reached(a1, at(10, POSITION_STEP)), "an answer that was late");
        assert!(!table.reached(a1, at(11, 9 * POSITION_STEP)), "not the disk that counts");
        assert!(!table.is_older(a1, at(10, 2 * POSITION_STEP)));
        assert!(table.is_older(a1, at(10, 2 * POSITION_STEP - 1)));
        assert_eq!(table.went_back(a1, at(10, 3)), Some(2 * POSITION_STEP));
    }

    #[test]
    fn s12_positions_merge_by_the_highest_and_a_new_disk_starts_anew() {
        let (a1, a2) = (AcceptorId(1), AcceptorId(2));
        let told = |disk, step| {
            let mut told = Incarnations::default();
            told.reached(a1, at(disk, step * POSITION_STEP));
            told
        };
        let mut table = told(10, 3);
        assert!(!table.merge(&told(10, 2)));
        assert!(table.merge(&told(10, 4)));
        assert_eq!(table.get(a1).map(|row| row.position), Some(4 * POSITION_STEP));
        assert!(table.note(a1, row(3, 30)), "readmitted");
        assert!(!table.is_older(a1, at(30, 1)), "positions of the lost disk aren't the new one's");
        assert!(!table.merge(&told(10, 9)), "of a disk that was replaced");
        assert!(table.is_older(a1, at(10, 9 * POSITION_STEP)));
        // Whoever wasn't told of the readmission takes in nothing of the new disk, and nothing that is known already.
        let mut other = told(10, 2);
        table.reached(a1, at(30, POSITION_STEP));
        table.reached(a2, at(20, POSITION_STEP));
        let raised = other.raised_by(&table);
        assert_eq!(raised.rows().map(|(acceptor, _)| acceptor).collect::<Vec<_>>(), [a2]);
        assert!(other.merge(&raised) && other.raised_by(&table).is_empty());
    }
}
