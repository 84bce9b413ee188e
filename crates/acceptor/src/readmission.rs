//! Readmission, the acceptor's side (S12): recording that another acceptor's disk was replaced, and entering with a new disk.
//!
//! The record follows the rule of a vote: refused below the promise, and raises it. So a leader at a higher ballot either finds the
//! record in its Phase 1, or has made it impossible. An acceptor with a new disk waits, and answers nobody but the admin command,
//! until it has what a leader grants once a quorum has recorded the disk and holds every slot without it.

use synod_planted::Bug;
use synod_protocol::cluster::Cluster;
use synod_protocol::message::{Admission, Admit, Admitted, Formation, Founding, ToProposer};
use synod_protocol::role::Misdirected;
use synod_protocol::{ClusterId, DiskId, Incarnation, ProposerId, Slot};
use tracing::{error, info};

use crate::durable::Head;
use crate::{Acceptor, Out, Record};

impl Acceptor {
    pub(crate) fn on_admit(
        &mut self,
        from: ProposerId,
        admit: Admit,
        effects: &mut Out,
    ) -> Result<(), Misdirected> {
        let Admit { ballot, acceptor, disk } = admit;
        if acceptor == self.config.id || !self.config.acceptors.contains(&acceptor) {
            return Err(Misdirected::new(
                from,
                format!("S12: {acceptor} isn't for {} to readmit", self.config.id),
            ));
        }
        let promised = self.durable.head().promised;
        if ballot < promised && !synod_planted::is(Bug::ReadmittedDespitePromise) {
            self.refuse(from, ballot, effects);
            return Ok(());
        }
        match self.durable.head().incarnations.get(acceptor) {
            Some(row) if row.since == ballot && row.disk != disk => {
                error!(%ballot, %acceptor, known = %row.disk, %disk, "S12: refused a second disk at one ballot");
                return Ok(());
            }
            Some(row) if row.since == ballot => {}
            Some(_) | None => {
                info!(%ballot, %acceptor, %disk, "records that this disk replaces the one before");
                self.flush_answer(effects);
                self.record(Record::Readmitted { admit }, effects);
            }
        }
        self.heard_leader(effects);
        let Formation::Open { formation, disks, .. } = self.durable.head().formation.clone() else {
            unreachable!("S12: only an open acceptor records a disk")
        };
        let founding = Founding { formation, disks };
        effects.send(from, ToProposer::Admitted(Admitted { admit, disk: self.disk(), founding }));
        Ok(())
    }

    pub(crate) fn on_form_replace(&mut self, disk: DiskId, effects: &mut Out) -> Option<String> {
        match &self.durable.head().formation {
            Formation::Empty => {
                info!(%disk, "replaces a lost disk; votes once the leader has readmitted it");
                self.record(Record::Replaced { disk }, effects);
                None
            }
            Formation::Replaced { .. } => None,
            Formation::Prepared { .. } => {
                Some("it is prepared under a formation; finish that with `synod admin form`".into())
            }
            Formation::Open { cluster, .. } => {
                Some(format!("it is open in cluster {cluster}: it has its disk, and needs no readmission"))
            }
        }
    }

    pub(crate) fn on_form_enter(&mut self, admission: Admission, effects: &mut Out) -> Option<String> {
        let Admission { admit, founding, .. } = &admission;
        let cluster = Cluster::id_of(self.config.parameters, founding.formation, &founding.disks);
        match &self.durable.head().formation {
            Formation::Replaced { disk } if *disk == admit.disk && self.config.id == admit.acceptor => {
                info!(%cluster, ballot = %admit.ballot, %disk, "readmitted: takes part");
                self.record(Record::Entered { admission, cluster }, effects);
                // Like a vote, it was made at that ballot: its leader was heard.
                self.heard_leader(effects);
                None
            }
            Formation::Open { disk, cluster: ours, .. } if *disk == admit.disk && *ours == cluster => None,
            Formation::Empty
            | Formation::Prepared { .. }
            | Formation::Replaced { .. }
            | Formation::Open { .. } => {
                Some(format!("it doesn't wait to be readmitted with disk {}", admit.disk))
            }
        }
    }
}

impl Head {
    pub(crate) fn readmitted(&mut self, admit: &Admit) {
        let Admit { ballot, acceptor, disk } = *admit;
        let lower = ballot < self.promised && !synod_planted::is(Bug::ReadmittedDespitePromise);
        assert!(!lower, "S12: {acceptor} readmitted at {ballot:?} after promise {:?}", self.promised);
        assert!(acceptor != self.acceptor, "S12: {acceptor} readmits itself");
        if !synod_planted::is(Bug::ReadmittedRaisesNoPromise) {
            self.promised = self.promised.max(ballot);
        }
        self.incarnations.note(acceptor, Incarnation::new(ballot, disk));
    }

    pub(crate) fn enter(&mut self, admission: &Admission, cluster: ClusterId) {
        let Admission { admit, founding, incarnations, floor, highest } = admission;
        let waits =
            self.formation == Formation::Replaced { disk: admit.disk } && self.acceptor == admit.acceptor;
        assert!(waits, "S12: {} enters with {admit:?}, was {:?}", self.acceptor, self.formation);
        let Founding { formation, disks } = founding.clone();
        self.formation = Formation::Open { formation, disk: admit.disk, disks, cluster };
        if !synod_planted::is(Bug::EntersWithoutPromise) {
            self.promised = admit.ballot;
        }
        if !synod_planted::is(Bug::EntersWithoutTable) {
            self.incarnations.merge(incarnations);
        }
        self.floor = *floor;
        self.held = floor.previous();
        // A read's round may have begun while the lost disk was in, and count another acceptor's answer from then beside one from
        // here: what was chosen with the lost disk's vote must not be missing in both.
        let known = if synod_planted::is(Bug::EntersWithoutHighest) { Slot::ZERO } else { *highest };
        self.highest = floor.previous().max(known);
    }
}
