//! Which disk counts for which acceptor, once one was replaced (S12).
//!
//! As formed, every acceptor's only disk counts and nothing needs to be said: the table is empty. Each readmission adds a row: from
//! its ballot on, another disk counts for that acceptor. Tables travel with promises and answers to quorum reads, and whoever
//! counts a quorum of these takes the newest row that any of them tells: a sender with another disk is older, and isn't counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AcceptorId, Ballot, DiskId};

/// A row: the disk that counts for an acceptor, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The ballot of the readmission.
    pub since: Ballot,
    /// The disk.
    pub disk: DiskId,
}

/// A row for each acceptor that was ever readmitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnations(BTreeMap<AcceptorId, Incarnation>);

impl Incarnations {
    /// Whether nothing was ever readmitted, as far as this table knows.
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
        let newer = self.get(acceptor).is_none_or(|known| known.since < row.since);
        if newer {
            self.0.insert(acceptor, row);
        }
        newer
    }

    /// Takes in every row that is newer; whether any was.
    pub fn merge(&mut self, other: &Incarnations) -> bool {
        other.rows().fold(false, |any, (acceptor, row)| self.note(acceptor, row) || any)
    }

    /// Whether `disk` was replaced as the disk of `acceptor`. A disk that is newer than this table tells so itself: its own table has
    /// its row, and is merged before anyone asks.
    pub fn is_older(&self, acceptor: AcceptorId, disk: DiskId) -> bool {
        self.get(acceptor).is_some_and(|row| row.disk != disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProposerId;

    fn row(round: u64, disk: u64) -> Incarnation {
        Incarnation { since: Ballot { round, proposer: ProposerId(1), life: 1 }, disk: DiskId(disk) }
    }

    #[test]
    fn s12_the_newest_row_decides_whatever_the_order_in_which_rows_come() {
        let (a1, a2) = (AcceptorId(1), AcceptorId(2));
        for order in [[(2, 20), (3, 30)], [(3, 30), (2, 20)]] {
            let mut table = Incarnations::default();
            assert!(!table.is_older(a1, DiskId(10)), "as formed");
            let new = order.map(|(round, disk)| {
                let mut other = Incarnations::default();
                other.note(a1, row(round, disk));
                (table.merge(&other), table.merge(&other))
            });
            assert_eq!(new[0], (true, false), "a row told again is none");
            assert_eq!(table.get(a1), Some(row(3, 30)));
            assert!(table.is_older(a1, DiskId(10)) && table.is_older(a1, DiskId(20)));
            assert!(!table.is_older(a1, DiskId(30)) && !table.is_older(a2, DiskId(10)));
        }
    }
}
