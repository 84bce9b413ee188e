//! Which cluster a proposer or learner belongs to, and which acceptor disks it may trust (S12). Pure.
//!
//! Proposers and learners keep nothing on disk, so they *adopt* a cluster once a Phase-1 quorum of distinct acceptors has
//! told the same id; until then they take part in nothing. A Phase-1 quorum, because it is what they need to do anything at
//! all, and because two formations of the same acceptors can't both have one per majority. The highest journal position told by
//! each incarnation of an acceptor, by itself or by others, is remembered: a lower one in a later hello is a disk that was rolled back.

use std::collections::{BTreeMap, BTreeSet};

use synod_protocol::hello::Standing;
use synod_protocol::{AcceptorId, ClusterId, DiskAt, DiskId, Incarnation, Incarnations, QuorumSystem};

/// What follows from an acceptor's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It belongs to the cluster adopted: use the link.
    Member,
    /// As `Member`, and its hello completed the quorum.
    Adopted(ClusterId),
    /// It told an id; not yet a quorum tells the same. Keep the link ready.
    Waiting,
    /// It isn't open: it votes on nothing.
    NotFormed,
    /// It belongs to another cluster than the one adopted.
    Foreign(ClusterId),
    /// Its disk went back.
    RolledBack { from: u64, to: u64 },
    /// Its disk was replaced: another one counts.
    Replaced(Incarnation),
}

/// What a process that dials acceptors knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    quorums: QuorumSystem,
    adopted: Option<ClusterId>,
    /// The id each acceptor told last.
    told: BTreeMap<AcceptorId, ClusterId>,
    /// What was seen of each incarnation's journal.
    seen: BTreeMap<(AcceptorId, u64), Seen>,
    /// Which disks count, and how far they have come, as the role knows.
    incarnations: Incarnations,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The highest position told.
    highest: u64,
    /// The position it went back to. It stays refused: what it forgot doesn't come back with new records.
    back_to: Option<u64>,
}

impl Identity {
    pub(crate) fn new(quorums: QuorumSystem) -> Self {
        Identity {
            quorums,
            adopted: None,
            told: BTreeMap::new(),
            seen: BTreeMap::new(),
            incarnations: Incarnations::default(),
        }
    }

    pub(crate) fn adopted(&self) -> Option<ClusterId> {
        self.adopted
    }

    /// Notes which disks count, and how far they have come; whether that is news.
    pub(crate) fn note(&mut self, incarnations: &Incarnations) -> bool {
        let is_news = self.incarnations != *incarnations;
        if is_news {
            self.incarnations = incarnations.clone();
        }
        is_news
    }

    /// To be called before `acceptor` is dialed: what is known by then of its disk's position holds for the hello that comes of it. What
    /// becomes known between may be true only after that hello was sent.
    pub(crate) fn dials(&mut self, acceptor: AcceptorId) {
        if let Some(row) = self.incarnations.get(acceptor) {
            let seen = self.seen.entry((acceptor, row.disk.0)).or_default();
            let at = DiskAt { id: row.disk, position: seen.highest };
            seen.highest = self.incarnations.went_back(acceptor, at).unwrap_or(seen.highest);
        }
    }

    /// Weighs the hello of `acceptor`, which belongs to the cluster file.
    pub(crate) fn heard(&mut self, acceptor: AcceptorId, standing: Standing) -> Heard {
        let Standing { cluster, incarnation, since, position } = standing;
        let seen = self.seen.entry((acceptor, incarnation)).or_default();
        if position < seen.highest {
            seen.back_to.get_or_insert(position);
        }
        if let Some(to) = seen.back_to {
            return Heard::RolledBack { from: seen.highest, to };
        }
        seen.highest = position;
        if let Some(row) = self.incarnations.replaces(acceptor, DiskId(incarnation), since)
            && cluster.is_some()
        {
            self.told.remove(&acceptor);
            return Heard::Replaced(row);
        }
        let Some(cluster) = cluster else {
            self.told.remove(&acceptor);
            return Heard::NotFormed;
        };
        match self.adopted {
            Some(ours) if ours == cluster => Heard::Member,
            Some(_) => Heard::Foreign(cluster),
            None => self.count(acceptor, cluster),
        }
    }

    fn count(&mut self, acceptor: AcceptorId, cluster: ClusterId) -> Heard {
        self.told.insert(acceptor, cluster);
        let same: BTreeSet<_> =
            self.told.iter().filter(|(_, told)| **told == cluster).map(|(acceptor, _)| *acceptor).collect();
        if !self.quorums.is_phase1(&same) {
            return Heard::Waiting;
        }
        self.adopted = Some(cluster);
        Heard::Adopted(cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(count: u16) -> Identity {
        Identity::new(QuorumSystem::majority((1..=count).map(AcceptorId)).unwrap())
    }

    fn told(cluster: Option<u128>, incarnation: u64, position: u64) -> Standing {
        Standing { cluster: cluster.map(ClusterId), incarnation, position, ..Standing::default() }
    }

    #[test]
    fn s12_a_cluster_is_adopted_only_by_a_quorum_of_equal_ids() {
        let mut identity = identity(5);
        let mut hear = |acceptor, id| identity.heard(AcceptorId(acceptor), told(id, acceptor.into(), 1));
        assert_eq!(hear(1, Some(7)), Heard::Waiting);
        assert_eq!(hear(1, Some(7)), Heard::Waiting, "told again counts once");
        assert_eq!(hear(1, Some(7)), Heard::Waiting);
        assert_eq!(hear(2, Some(8)), Heard::Waiting);
        assert_eq!(hear(3, None), Heard::NotFormed);
        assert_eq!(hear(4, Some(7)), Heard::Waiting);
        assert_eq!(hear(5, Some(7)), Heard::Adopted(ClusterId(7)));
        assert_eq!(hear(1, Some(7)), Heard::Member);
        assert_eq!(hear(2, Some(8)), Heard::Foreign(ClusterId(8)));
        assert_eq!(hear(3, None), Heard::NotFormed);
        assert_eq!(identity.adopted(), Some(ClusterId(7)));
    }

    #[test]
    fn s12_what_an_acceptor_takes_back_no_longer_counts() {
        let mut identity = identity(3);
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 1, 1)), Heard::Waiting);
        assert_eq!(identity.heard(AcceptorId(1), told(Some(8), 2, 1)), Heard::Waiting);
        assert_eq!(identity.heard(AcceptorId(2), told(Some(7), 1, 1)), Heard::Waiting);
        assert_eq!(identity.heard(AcceptorId(3), told(Some(7), 1, 1)), Heard::Adopted(ClusterId(7)));
    }

    #[test]
    fn s12_a_disk_that_was_replaced_is_refused_and_counts_for_no_cluster() {
        use synod_protocol::{Ballot, ProposerId};
        let mut identity = identity(3);
        let since = Ballot { round: 4, proposer: ProposerId(1), life: 1 };
        let row = Incarnation::new(since, DiskId(6));
        let mut table = Incarnations::default();
        table.note(AcceptorId(1), row);
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 1)), Heard::Waiting, "not known yet");
        identity.note(&table);
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 1)), Heard::Replaced(row));
        assert_eq!(identity.heard(AcceptorId(2), told(Some(7), 5, 1)), Heard::Waiting, "a1 counts no more");
        assert_eq!(identity.heard(AcceptorId(1), told(None, 0, 0)), Heard::NotFormed, "an empty one waits");
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 6, 1)), Heard::Adopted(ClusterId(7)));
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 9)), Heard::Replaced(row), "for good");
    }

    /// Found while positions were built: a process that knew of one readmission and not of the next told the newest disk to stop.
    #[test]
    fn s12_a_disk_that_was_readmitted_later_than_is_known_here_is_a_member() {
        use synod_protocol::{Ballot, ProposerId};
        let since = |round| Ballot { round, proposer: ProposerId(1), life: 1 };
        let mut identity = identity(1);
        let mut table = Incarnations::default();
        table.note(AcceptorId(1), Incarnation::new(since(4), DiskId(6)));
        identity.note(&table);
        let newer = Standing { since: since(5), ..told(Some(7), 8, 1) };
        assert_eq!(identity.heard(AcceptorId(1), newer), Heard::Adopted(ClusterId(7)));
        let older = Standing { since: since(3), ..told(Some(7), 5, 1) };
        assert!(matches!(identity.heard(AcceptorId(1), older), Heard::Replaced(_)));
    }

    #[test]
    fn s12_a_position_that_others_remember_holds_for_hellos_dialed_for_since() {
        let mut identity = identity(1);
        let mut table = Incarnations::default();
        table.reached(AcceptorId(1), DiskAt { id: DiskId(5), position: 300 });
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 210)), Heard::Adopted(ClusterId(7)));
        identity.dials(AcceptorId(1));
        identity.note(&table);
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 290)), Heard::Member, "sent before");
        for _ in 0..2 {
            identity.dials(AcceptorId(1));
            assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 340)), Heard::Member);
        }
        assert_eq!(
            identity.heard(AcceptorId(1), told(Some(7), 6, 1)),
            Heard::Replaced(table.get(AcceptorId(1)).unwrap())
        );
        let mut other = Identity::new(identity.quorums.clone());
        other.note(&table);
        other.dials(AcceptorId(1));
        let back = Heard::RolledBack { from: 300, to: 299 };
        assert_eq!(other.heard(AcceptorId(1), told(Some(7), 5, 299)), back);
    }

    #[test]
    fn s12_a_disk_that_went_back_is_refused_for_good() {
        let mut identity = identity(1);
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 10)), Heard::Adopted(ClusterId(7)));
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 10)), Heard::Member);
        let back = Heard::RolledBack { from: 10, to: 9 };
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 9)), back);
        assert_eq!(identity.heard(AcceptorId(1), told(Some(7), 5, 12)), back, "new records don't mend it");
        assert_eq!(
            identity.heard(AcceptorId(1), told(Some(7), 6, 1)),
            Heard::Member,
            "another disk counts anew"
        );
    }
}
