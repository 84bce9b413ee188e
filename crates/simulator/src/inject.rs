//! Planned faults, as they happen to the world.

use synod_journal::memory::Fault as DiskFault;
use synod_protocol::{AcceptorId, NodeId};

use crate::coverage::Seen;
use crate::fault::{Blow, Fault, Shape};
use crate::node::Process;
use crate::plan::Us;
use crate::story::Teller;
use crate::violation::{Check, Violation};
use crate::world::{Event, World};

impl<T: Teller> World<T> {
    pub(crate) fn inject(&mut self, fault: Fault) -> Check {
        self.story.note(self.now, || fault.to_string());
        match fault {
            Fault::Crash { nodes, power, down_us, interrupted } => {
                if nodes.len() == self.plan.servers().count() {
                    self.see(Seen::AllCrash);
                }
                nodes.into_iter().for_each(|node| self.crash(node, power, down_us, interrupted));
                Ok(())
            }
            Fault::PowerLoss { node, operations, .. } => {
                self.plant(node, operations, DiskFault::PowerLoss);
                Ok(())
            }
            Fault::DiskError { node, operations, .. } => {
                self.plant(node, operations, DiskFault::Fails);
                Ok(())
            }
            Fault::FullDisk { node, us } => {
                self.fill_disk(node, us);
                Ok(())
            }
            Fault::SlowDisk { node, factor, us } => {
                let place = self.place(node);
                self.nodes[place].slowness = factor;
                self.after(us, Event::Speed { place });
                self.see(Seen::SlowDisk);
                Ok(())
            }
            Fault::Rot { node, place } => self.rot(node, place),
            Fault::ReplaceDisk { acceptor, down_us, back_us } => {
                self.replace_disk(acceptor, down_us, back_us);
                Ok(())
            }
            Fault::WipeDisk { learner, down_us } => {
                self.see(Seen::StoreLost);
                self.wipe_disk(learner, down_us);
                Ok(())
            }
            Fault::CutShort { is_giver, chunks, down_us } => {
                self.transfers.cut_short(is_giver, chunks, down_us);
                Ok(())
            }
            Fault::Join { observer } => {
                let place = self.place(observer.into());
                let life = self.nodes[place].life;
                self.after(0, Event::Start { place, life });
                Ok(())
            }
            Fault::Cut { shape, pairs, us } => {
                self.cut(shape, &pairs, us);
                Ok(())
            }
            Fault::Depose { blow, us } => self.depose(blow, us),
            Fault::Reset { one, other } => {
                self.reset(one, other);
                Ok(())
            }
            Fault::Pause { node, us } => {
                self.pause(node, us);
                Ok(())
            }
            Fault::Drift { node, per_mille } => {
                let (place, now) = (self.place(node), self.now);
                self.nodes[place].clock.set_rate(now, per_mille);
                self.see(Seen::Drift);
                Ok(())
            }
        }
    }

    fn pause(&mut self, node: NodeId, us: Us) {
        let place = self.place(node);
        if self.nodes[place].is_up() {
            self.nodes[place].paused_until = self.now + us;
            self.see(Seen::Pause);
        }
    }

    fn depose(&mut self, blow: Blow, us: Us) -> Check {
        let Some(leader) = self.ballots.last().map(|ballot| NodeId::Proposer(ballot.proposer)) else {
            return Ok(());
        };
        self.see(Seen::Deposed);
        let spared = match blow {
            Blow::Crash => {
                self.crash(leader, false, us, None);
                return Ok(());
            }
            Blow::Pause => {
                self.pause(leader, us);
                return Ok(());
            }
            Blow::Unheard(spared) | Blow::Deaf(spared) => spared,
        };
        let mut acceptors: Vec<AcceptorId> = self.plan.cluster.quorums.acceptors().collect();
        self.random.network.shuffle(&mut acceptors);
        let leader = self.place(leader);
        let cut = |acceptor: &AcceptorId| match blow {
            Blow::Deaf(_) => (self.place((*acceptor).into()), leader),
            Blow::Crash | Blow::Pause | Blow::Unheard(_) => (leader, self.place((*acceptor).into())),
        };
        let pairs: Vec<(usize, usize)> = acceptors.iter().skip(spared).map(cut).collect();
        self.network.cut(&pairs, true);
        self.after(us, Event::Heal(pairs));
        Ok(())
    }

    pub(crate) fn crash(&mut self, node: NodeId, power: bool, down_us: Us, interrupted: Option<u64>) {
        let place = self.place(node);
        if self.is_calm || !self.nodes[place].is_up() {
            return;
        }
        self.end(place, power);
        self.see(match node {
            NodeId::Acceptor(_) => Seen::AcceptorCrash,
            NodeId::Proposer(_) => Seen::ProposerCrash,
            NodeId::Learner(_) => Seen::LearnerCrash,
            NodeId::Client(_) => Seen::ClientCrash,
        });
        if power && self.nodes[place].disk.is_some() {
            self.lose_power(place);
            if let Some(operations) = interrupted {
                self.nodes[place].disk.iter().for_each(|disk| disk.plant(operations, DiskFault::PowerLoss));
            }
        }
        self.start_later(place, down_us, down_us);
    }

    fn plant(&mut self, node: NodeId, operations: u64, fault: DiskFault) {
        let place = self.place(node);
        if let Some(disk) = &self.nodes[place].disk {
            disk.plant(operations, fault);
            self.nodes[place].is_failing = true;
        }
    }

    /// Room for a little more than there is, and then none.
    fn fill_disk(&mut self, node: NodeId, us: Us) {
        let place = self.place(node);
        let spare = self.random.disks.magnitude(1, 20_000);
        if let Some(disk) = &self.nodes[place].disk {
            let used: u64 = disk.sizes().iter().map(|(_, bytes)| bytes).sum();
            disk.limit(Some(used + spare));
            self.nodes[place].is_full = true;
        }
        self.after(us, Event::Room { place });
    }

    /// Shuts a process down in good order, so that all an acceptor holds is sealed, and flips a bit of what lies on its disk.
    fn rot(&mut self, node: NodeId, bit: u64) -> Check {
        let place = self.place(node);
        let is_bearable = self.lost_disks() < self.plan.spare_disks();
        match &mut self.nodes[place].process {
            Some(Process::Acceptor(_)) if !is_bearable => return Ok(()),
            Some(Process::Acceptor(voter)) => {
                if voter.keeper.seal().is_err() {
                    // A planted fault came first; its daemon ends, and has nothing sealed that could rot.
                    return self.end_sealing(place);
                }
            }
            Some(Process::Learner(_)) => {}
            Some(Process::Proposer(_) | Process::Client(_)) | None => return Ok(()),
        }
        self.end(place, false);
        let Some(disk) = &self.nodes[place].disk else { return Ok(()) };
        let mut bit = bit % disk.sizes().iter().map(|(_, bytes)| bytes * 8).sum::<u64>().max(1);
        for (name, bytes) in disk.sizes() {
            if bit < bytes * 8 {
                disk.flip_bit(&name, bit);
                break;
            }
            bit -= bytes * 8;
        }
        self.nodes[place].is_rotten = true;
        let node = &self.nodes[place];
        let life = node.life;
        self.after(1_000, Event::Start { place, life });
        Ok(())
    }

    fn end_sealing(&mut self, place: usize) -> Result<(), Violation> {
        let power = self.nodes[place].disk.as_ref().is_some_and(|disk| disk.is_off());
        self.end(place, power);
        if power {
            self.lose_power(place);
        }
        self.start_later(place, 1_000, 100_000);
        Ok(())
    }

    fn cut(&mut self, shape: Shape, pairs: &[(NodeId, NodeId)], us: Us) {
        self.see(match shape {
            Shape::Full => Seen::PartitionFull,
            Shape::Minority => Seen::PartitionMinority,
            Shape::OneWay => Seen::PartitionOneWay,
            Shape::Bridge => Seen::PartitionBridge,
            Shape::Ring => Seen::PartitionRing,
            Shape::Chained => Seen::PartitionChained,
        });
        let pairs: Vec<(usize, usize)> =
            pairs.iter().map(|(from, to)| (self.place(*from), self.place(*to))).collect();
        self.network.cut(&pairs, true);
        for (one, other) in &pairs {
            // Both ends give a silent connection up in the end, unless the partition is over before.
            if self.random.network.happens(300)
                && let Some(connection) = self.network.connection(*one, *other)
            {
                let after = self.random.network.between(100_000, 3_000_000);
                self.after(after, Event::GiveUp { one: *one, other: *other, connection });
            }
        }
        self.after(us, Event::Heal(pairs));
    }

    /// A connection through which nothing has come for too long.
    pub(crate) fn give_up(&mut self, one: usize, other: usize, connection: u64) {
        let cut = self.network.is_cut(one, other) || self.network.is_cut(other, one);
        if cut && self.network.connection(one, other) == Some(connection) {
            self.disconnect(one, other, 500_000);
        }
    }

    fn reset(&mut self, one: NodeId, other: NodeId) {
        let (one, other) = (self.place(one), self.place(other));
        if one != other && self.network.connection(one, other).is_some() {
            self.see(Seen::Reset);
            self.disconnect(one, other, 1_000);
        }
    }
}
