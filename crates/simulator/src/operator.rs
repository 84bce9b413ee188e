//! The operator: replaces disks, and has acceptors readmitted with the new ones, step by step as the admin command does it (S12).
//!
//! What it asks and is told may be lost or late like anybody's words, so it asks until the acceptor takes part. Now and then somebody starts the
//! acceptor with its old disk again. As many disks are lost at a time as the cluster can bear, and no more.

use synod_journal::memory::MemoryDisk;
use synod_protocol::message::{
    Admission, FormStep, Formation, Message, Readmission, ToAcceptor, ToClient, ToProposer,
};
use synod_protocol::{AcceptorId, DiskId, NodeId};

use crate::coverage::Seen;
use crate::node::{Input, Node, Process};
use crate::plan::Us;
use crate::seating::OPERATOR;
use crate::story::Teller;
use crate::world::{Event, World};

/// Time between two questions of the operator.
const ASKS_US: Us = 100_000;
/// Per mille of the operator's questions, and of the answers, that are lost.
const LOST: u64 = 100;

impl<T: Teller> World<T> {
    /// Acceptors whose disk is lost: gone for good, rotten, or replaced and not readmitted yet.
    pub(crate) fn lost_disks(&self) -> usize {
        let is_lost = |node: &&Node| node.gone || node.is_rotten || node.is_replaced;
        self.nodes.iter().filter(|node| is_acceptor(node.id)).filter(is_lost).count()
    }

    /// An acceptor's disk is replaced by an empty one; `back_us` later the old one is put in for a while.
    pub(crate) fn replace_disk(&mut self, acceptor: AcceptorId, down_us: Us, back_us: Option<Us>) {
        let place = self.place(acceptor.into());
        let node = &self.nodes[place];
        let left = self.plan.cluster.quorums.count() - 1;
        let quorums = &self.plan.cluster.quorums;
        let bearable = self.lost_disks() < self.plan.spare_disks() || node.gone || node.is_rotten;
        let can_be_readmitted = left >= quorums.phase1().max(quorums.phase2());
        let is_whole = node.disk.is_some() && !node.is_replaced && !node.has_old_disk;
        if self.is_calm || !is_whole || !bearable || !can_be_readmitted {
            return;
        }
        self.end(place, false);
        let node = &mut self.nodes[place];
        let old = node.disk.replace(MemoryDisk::default());
        // A rotten disk would be refused again, whenever it came back.
        node.old_disk = old.filter(|_| !node.gone && back_us.is_some());
        (node.is_replaced, node.gone, node.is_rotten) = (true, false, false);
        (node.is_full, node.is_failing) = (false, false);
        node.replacements += 1;
        let number = node.replacements;
        self.ledger.on_disk_replaced(acceptor);
        self.see(Seen::DiskReplaced);
        self.start_later(place, down_us, down_us);
        self.after(down_us + ASKS_US, Event::Operate { place });
        if let Some(us) = back_us {
            self.after(us, Event::SwapDisk { place, number, old: true });
            self.after(us + down_us.max(500_000), Event::SwapDisk { place, number, old: false });
        }
    }

    /// The disk that was replaced is put in again (`old`), or taken out again.
    pub(crate) fn swap_disk(&mut self, place: usize, old: bool) {
        let node = &mut self.nodes[place];
        let NodeId::Acceptor(id) = node.id else { return };
        if node.gone || node.old_disk.is_none() || node.has_old_disk == old {
            return;
        }
        std::mem::swap(&mut node.disk, &mut node.old_disk);
        node.has_old_disk = old;
        for disk in node.disk.iter().chain(&node.old_disk) {
            disk.clear_faults();
            disk.limit(None);
        }
        (node.is_full, node.is_failing) = (false, false);
        self.story.note(self.now, || format!("{id} gets its {} disk", if old { "old" } else { "new" }));
        self.end(place, false);
        self.ledger.on_disk_swapped(id);
        self.coverage.add(Seen::OldDiskBack, u64::from(old));
        self.start_later(place, 1_000, 100_000);
    }

    /// Sees to an acceptor whose disk was replaced, until it takes part again.
    pub(crate) fn operate(&mut self, place: usize) {
        let NodeId::Acceptor(acceptor) = self.nodes[place].id else { return };
        if !self.nodes[place].is_replaced || self.nodes[place].gone {
            return;
        }
        self.after(ASKS_US, Event::Operate { place });
        let node = &self.nodes[place];
        if node.has_old_disk {
            return;
        }
        let Some(Process::Acceptor(voter)) = &node.process else { return };
        match voter.role.durable().head().formation.clone() {
            Formation::Empty => {
                let disk = DiskId(self.random.disks.bits());
                self.tell_acceptor(acceptor, FormStep::Replace { disk });
            }
            Formation::Replaced { disk } => {
                for proposer in self.plan.cluster.proposers.keys().copied().collect::<Vec<_>>() {
                    let ask = ToProposer::Readmit { request: u64::from(acceptor.0), acceptor, disk };
                    self.say(proposer.into(), Message::Proposer(ask));
                }
            }
            Formation::Prepared { .. } => {}
            Formation::Open { .. } => {
                self.nodes[place].is_replaced = false;
                self.see(Seen::Readmitted);
            }
        }
    }

    fn tell_acceptor(&mut self, acceptor: AcceptorId, step: FormStep) {
        self.say(acceptor.into(), Message::Acceptor(ToAcceptor::Form { request: 0, step }));
    }

    fn say(&mut self, to: NodeId, message: Message) {
        if !self.is_calm && self.random.network.happens(LOST) {
            return;
        }
        self.put_in(self.place(to), Input::Message { from: NodeId::Client(OPERATOR), message });
    }

    /// A proposer has answered the operator.
    pub(crate) fn operator_is_told(&mut self, message: &Message) {
        let Message::Client(ToClient::Readmission { readmission, .. }) = message else { return };
        match readmission {
            Readmission::Granted(admission) => {
                let Admission { admit, .. } = &**admission;
                let place = self.place(admit.acceptor.into());
                if !self.nodes[place].has_old_disk {
                    self.tell_acceptor(admit.acceptor, FormStep::Enter(admission.clone()));
                }
            }
            Readmission::UnderWay { .. } => self.see(Seen::ReadmissionUnderWay),
            Readmission::NotLeading { .. } | Readmission::Refused { .. } => {}
        }
    }
}

fn is_acceptor(node: NodeId) -> bool {
    matches!(node, NodeId::Acceptor(_))
}
