//! Formation, the acceptor's side (S12): prepared first, open only once every acceptor was prepared; neither step can be skipped or
//! changed. An acceptor that lost its disk comes back empty, with no disk that any formation names, so it never opens again.

use std::collections::BTreeSet;

use synod_protocol::cluster::Cluster;
use synod_protocol::message::{FormStep, Formation, ToClient};
use synod_protocol::{AcceptorId, ClientId, DiskId};
use tracing::{info, warn};

use crate::{Acceptor, Out, Record};

impl Acceptor {
    pub(crate) fn on_form(&mut self, from: ClientId, request: u64, step: FormStep, effects: &mut Out) {
        let refused = match step {
            FormStep::Query => None,
            FormStep::Prepare { formation, disk } => self.on_form_prepare(formation, disk, effects),
            FormStep::Open { formation, disks } => self.on_form_open(formation, disks, effects),
            FormStep::Replace { disk } => self.on_form_replace(disk, effects),
            FormStep::Enter(admission) => self.on_form_enter(*admission, effects),
        };
        if let Some(why) = &refused {
            warn!(%why, "refuses a step of formation");
        }
        let formation = self.durable.head().formation.clone();
        effects.send(from, ToClient::Formed { request, formation, refused });
    }

    fn on_form_prepare(&mut self, formation: u128, disk: DiskId, effects: &mut Out) -> Option<String> {
        match &self.durable.head().formation {
            Formation::Empty => {
                info!(%disk, "prepared; votes once every acceptor is prepared and the cluster is opened");
                self.record(Record::Prepared { formation, disk }, effects);
                None
            }
            Formation::Prepared { formation: ours, .. } if *ours == formation => None,
            Formation::Prepared { .. } => Some("it is prepared under another formation".into()),
            Formation::Replaced { .. } => {
                Some("its disk replaces a lost one and waits to be readmitted".into())
            }
            Formation::Open { cluster, .. } => Some(format!("it is open in cluster {cluster}")),
        }
    }

    fn on_form_open(
        &mut self,
        formation: u128,
        disks: Vec<(AcceptorId, DiskId)>,
        effects: &mut Out,
    ) -> Option<String> {
        let named: BTreeSet<_> = disks.iter().map(|(acceptor, _)| *acceptor).collect();
        if named != self.config.acceptors || disks.len() != named.len() {
            return Some("the disks told aren't those of the acceptors in its cluster file".into());
        }
        match &self.durable.head().formation {
            Formation::Empty => {
                Some("its disk is empty: it isn't prepared, or has lost its disk since".into())
            }
            Formation::Prepared { formation: ours, disk } => {
                if *ours != formation || !disks.contains(&(self.config.id, *disk)) {
                    return Some("it is prepared under another formation or with another disk".into());
                }
                let cluster = Cluster::id_of(self.config.parameters, formation, &disks);
                info!(%cluster, "open");
                self.record(Record::Opened { disks, cluster }, effects);
                None
            }
            Formation::Replaced { .. } => Some(
                "its disk replaces a lost one: it waits to be readmitted, in the cluster that is formed"
                    .into(),
            ),
            Formation::Open { formation: ours, disks: known, .. }
                if *ours == formation && *known == disks =>
            {
                None
            }
            Formation::Open { cluster, .. } => {
                Some(format!("it is open in cluster {cluster}, formed otherwise"))
            }
        }
    }
}
