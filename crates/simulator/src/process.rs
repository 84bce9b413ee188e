//! Processes start, take in what has arrived, and end: the shell that a daemon is in the real world.

use synod_acceptor::keeper::Keeper;
use synod_acceptor::{Acceptor, Durable, Record};
use synod_proposer::Proposer;
use synod_protocol::role::{Effects, Misdirected, NothingToPersist, Persist, Released, Role, TimerOrder};
use synod_protocol::{AcceptorId, Cluster, ClusterId, DiskId, NodeId};

use crate::coverage::Seen;
use crate::node::{Driven, Input, Process, Recorder, Timer, Voter, absorb};
use crate::plan::Us;
use crate::story::Teller;
use crate::violation::{Check, Violation, check};
use crate::world::{Event, World};

/// The longest that one batch keeps a disk busy, however slow it is.
const MOST_DISK_US: Us = 100_000;

impl From<Misdirected> for Violation {
    /// All processes are ours and honest: a refusal means that one of them is wrong.
    fn from(error: Misdirected) -> Violation {
        Violation { rule: "S7", what: error.to_string() }
    }
}

impl<T: Teller> World<T> {
    /// A process starts.
    pub(crate) fn start(&mut self, place: usize) -> Check {
        self.nodes[place].life += 1;
        if self.nodes[place].life > 1 {
            self.nodes[place].id = self.next_client(place);
        }
        let id = self.nodes[place].id;
        let life = self.random.nodes.bits();
        let cluster = &self.plan.cluster;
        let process = match id {
            NodeId::Acceptor(id) => {
                let Some(voter) = self.recover(place, id)? else { return Ok(()) };
                Process::Acceptor(Box::new(voter))
            }
            NodeId::Proposer(id) => {
                self.ledger.on_proposer_started(id);
                Process::Proposer(Box::new(Proposer::new(synod_proposer::Config::new(id, life, cluster))))
            }
            NodeId::Learner(id) => {
                let Some(scribe) = self.recover_scribe(place, id, life)? else { return Ok(()) };
                Process::Learner(Box::new(scribe))
            }
            NodeId::Client(_) => {
                let probe = place == self.place(self.seating.probe());
                Process::Client(Box::new(self.new_client(probe)))
            }
        };
        self.story.note(self.now, || format!("{id} starts"));
        self.nodes[place].process = Some(process);
        self.begin(place)?;
        for peer in 0..self.seating.count() {
            if id.dials(self.nodes[peer].id) {
                let us = self.random.nodes.between(0, 20_000);
                self.dial_after(place, peer, us);
            }
        }
        Ok(())
    }

    /// The first thing a process does.
    fn begin(&mut self, place: usize) -> Check {
        let Some(mut process) = self.nodes[place].process.take() else { return Ok(()) };
        let done = match &mut process {
            Process::Acceptor(voter) => {
                let mut effects = Effects::default();
                voter.role.on_start(&mut effects);
                self.release_votes(place, voter, effects, 0).map(|_| ())
            }
            Process::Proposer(role) => self.begin_role(place, &mut **role),
            Process::Learner(scribe) => self.begin_role(place, &mut scribe.role),
            Process::Client(_) => {
                for caller in 0..self.plan.workload.at_once {
                    let think = self.random.workload.between(0, self.plan.workload.think_us);
                    self.set_timer(place, Timer::Think(caller), think);
                }
                Ok(())
            }
        };
        self.nodes[place].process = Some(process);
        done
    }

    fn begin_role<R: Driven<Record = synod_protocol::role::Never>>(
        &mut self,
        place: usize,
        role: &mut R,
    ) -> Check {
        let mut effects = Effects::default();
        role.on_start(&mut effects);
        // A quorum of acceptors tells it as soon as there are connections.
        role.on_cluster(name_of(&self.plan.cluster), &mut effects);
        let Ok(released) = effects.release(&mut NothingToPersist);
        self.let_out::<R>(place, released, self.now)
    }

    /// A process looks at what has arrived.
    pub(crate) fn wake(&mut self, place: usize, inputs: Vec<Input>, messages: usize) -> Check {
        if matches!(self.nodes[place].process, Some(Process::Client(_))) {
            return self.wake_client(place, inputs);
        }
        let Some(mut process) = self.nodes[place].process.take() else { return Ok(()) };
        let now = self.now;
        let mut goes_on = true;
        let done = match &mut process {
            Process::Acceptor(voter) => {
                self.wake_acceptor(place, voter, inputs, messages).map(|on| goes_on = on)
            }
            Process::Proposer(role) => {
                if let NodeId::Proposer(id) = self.nodes[place].id {
                    inputs.iter().for_each(|input| self.ledger.on_proposer_hears(id, input));
                }
                absorb(&mut **role, inputs.into_iter())
                    .map_err(Violation::from)
                    .map(|effects| effects.release(&mut NothingToPersist))
                    .and_then(|Ok(released)| self.let_out::<Proposer>(place, released, now))
            }
            Process::Learner(scribe) => self.wake_scribe(place, scribe, inputs),
            Process::Client(_) => Ok(()),
        };
        if goes_on {
            self.nodes[place].process = Some(process);
        }
        done
    }

    /// Whether the acceptor goes on.
    fn wake_acceptor(
        &mut self,
        place: usize,
        voter: &mut Voter,
        inputs: Vec<Input>,
        messages: usize,
    ) -> Result<bool, Violation> {
        let quiet = inputs.iter().any(|input| matches!(input, Input::Timer(Timer::Seal)));
        let effects = absorb(&mut voter.role, inputs.into_iter())?;
        if !self.release_votes(place, voter, effects, messages)? {
            return Ok(false);
        }
        if quiet {
            return match voter.keeper.idle() {
                Ok(more) => {
                    if let Err(error) = voter.keeper.tell(&mut voter.role) {
                        return self.end_by_disk(place, &error.to_string()).map(|()| false);
                    }
                    if more {
                        self.set_timer(place, Timer::Seal, 1_000);
                    }
                    Ok(true)
                }
                Err(error) => self.end_by_disk(place, &error.to_string()).map(|()| false),
            };
        }
        Ok(true)
    }

    /// Persists, then lets the messages out; whether the acceptor goes on.
    fn release_votes(
        &mut self,
        place: usize,
        voter: &mut Voter,
        effects: Effects<Record, synod_acceptor::Timer>,
        messages: usize,
    ) -> Result<bool, Violation> {
        let mut recorder = Recorder { keeper: &mut voter.keeper, records: Vec::new(), error: None };
        let released = effects.release(&mut recorder);
        let Recorder { records, error, .. } = recorder;
        let NodeId::Acceptor(id) = self.nodes[place].id else { return Ok(true) };
        if error.is_none() && !records.is_empty() {
            self.ledger.on_persisted(id, &records, &mut self.coverage)?;
            self.coverage.add(Seen::GroupSync, u64::from(messages > 1));
            self.set_timer(place, Timer::Seal, self.plan.cluster.tuning.seal_ms * 1000);
        }
        let us = self.disk_time(place);
        self.nodes[place].busy_until = self.now + us;
        if let Ok(released) = released {
            self.let_out::<Acceptor>(place, released, self.now + us)?;
        }
        if let Some(error) = error {
            return self.end_by_disk(place, &error).map(|()| false);
        }
        let Voter { role, keeper } = voter;
        if let Err(error) = keeper.after_batch().and_then(|()| keeper.tell(role)) {
            return self.end_by_disk(place, &error.to_string()).map(|()| false);
        }
        if !records.is_empty() {
            self.audit(place, id)?;
        }
        Ok(true)
    }

    /// What a role wants to happen, happens.
    pub(crate) fn let_out<R: Driven>(&mut self, place: usize, released: Released<R::Timer>, at: Us) -> Check {
        if let Some(why) = released.halt {
            return Err(Violation {
                rule: if why.starts_with("S12") { "S12" } else { "S7" },
                what: format!("{} ends itself: {why}", self.nodes[place].id),
            });
        }
        for order in released.timers {
            match order {
                TimerOrder::Set(timer, delay) => {
                    let local_us = self.random.nodes.between(delay.least_ms * 1000, delay.most_ms * 1000);
                    let us = self.nodes[place].clock.really(local_us);
                    self.set_timer(place, R::tag(timer), us);
                }
                TimerOrder::Cancel(timer) => drop(self.nodes[place].timers.remove(&R::tag(timer))),
            }
        }
        let id = self.nodes[place].id;
        released.messages.into_iter().try_for_each(|(to, message)| self.send(id, to, message, at))
    }

    /// How long the disk was busy with what it was asked since the last time.
    pub(crate) fn disk_time(&mut self, place: usize) -> Us {
        let node = &self.nodes[place];
        let cost = node.disk.as_ref().map(|disk| disk.take_cost()).unwrap_or_default();
        // Some 200 MB/s, beside the syncs.
        let us = (cost.syncs * self.plan.disks.sync_us + cost.bytes / 200) * node.slowness;
        us.min(MOST_DISK_US)
    }

    /// Reads an acceptor's journal, or tells why it can't be read: nothing then, if that is as it should be.
    fn recover(&mut self, place: usize, id: AcceptorId) -> Result<Option<Voter>, Violation> {
        let fresh = self.nodes[place].disk.is_none();
        let disk = self.nodes[place].disk.get_or_insert_default().clone();
        let config = synod_acceptor::Config::new(id, &self.plan.cluster);
        let files = disk.files().len();
        let opened = Keeper::open(disk.clone(), self.plan.journal.clone(), id, config.parameters, u64::MAX);
        let us = self.disk_time(place);
        self.nodes[place].busy_until = self.now + us;
        self.coverage.add(Seen::TailRewritten, u64::from(!fresh && disk.files().len() > files));
        let (mut keeper, mut durable) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.not_recovered(place, &error.to_string()).map(|()| None),
        };
        if fresh {
            let records = formed(&self.plan.cluster, id);
            records.iter().for_each(|record| durable.apply(record));
            let persisted = keeper.persist(records);
            persisted.map_err(|error| Violation { rule: "disk", what: error.to_string() })?;
        }
        self.ledger.on_recovered(id, &durable, &mut self.coverage)?;
        if std::mem::take(&mut self.nodes[place].is_rotten) {
            self.see(Seen::RotHarmless);
        }
        let mut role = Acceptor::new(config, durable);
        keeper.tell(&mut role).map_err(|error| Violation { rule: "disk", what: error.to_string() })?;
        Ok(Some(Voter { role, keeper }))
    }

    pub(crate) fn not_recovered(&mut self, place: usize, error: &str) -> Check {
        let id = self.nodes[place].id;
        let node = &mut self.nodes[place];
        let Some(disk) = node.disk.clone() else { return Ok(()) };
        if node.is_rotten && matches!(id, NodeId::Acceptor(_)) {
            self.story.note(self.now, || format!("{id} refuses its rotten journal: {error}"));
            self.nodes[place].gone = true;
            self.see(Seen::RotRefused);
            if let NodeId::Acceptor(acceptor) = id
                && self.random.disks.happens(500)
            {
                let us = self.random.disks.magnitude(1_000, 1_000_000);
                self.after(us, Event::Replace { acceptor });
            }
            return Ok(());
        }
        if disk.is_off() {
            self.story.note(self.now, || format!("{id} loses power while it recovers"));
            self.see(Seen::InterruptedRecovery);
            self.lose_power(place);
        } else {
            let explained = node.is_full || node.is_failing;
            check(explained, "I16", || format!("{id} can't read its journal: {error}"))?;
            self.story.note(self.now, || format!("{id} doesn't start: {error}"));
            let full = self.nodes[place].is_full;
            self.see(if full { Seen::FullDiskRecovery } else { Seen::DiskError });
            disk.clear_faults();
            self.nodes[place].is_failing = false;
        }
        self.start_later(place, 1_000, 300_000);
        Ok(())
    }

    /// A process has ended by its own decision: its disk can't be written (S3).
    pub(crate) fn end_by_disk(&mut self, place: usize, error: &str) -> Check {
        let id = self.nodes[place].id;
        self.story.note(self.now, || format!("{id} ends: {error}"));
        let Some(disk) = self.nodes[place].disk.clone() else { return Ok(()) };
        let power = disk.is_off();
        self.end(place, power);
        if power {
            self.see(Seen::PowerLossInWrite);
            self.lose_power(place);
        } else if self.nodes[place].is_full {
            self.see(Seen::FullDisk);
        } else {
            self.see(Seen::DiskError);
            disk.clear_faults();
            self.nodes[place].is_failing = false;
        }
        self.start_later(place, 1_000, 1_000_000);
        Ok(())
    }

    pub(crate) fn start_later(&mut self, place: usize, least_us: Us, most_us: Us) {
        let us = self.random.nodes.between(least_us, most_us);
        let life = self.nodes[place].life;
        self.after(us, Event::Start { place, life });
    }

    /// A process ends, and its connections with it.
    pub(crate) fn end(&mut self, place: usize, power: bool) {
        self.transfers.ended(self.nodes[place].id);
        self.nodes[place].end();
        self.disconnect_all(place, power);
    }

    /// What was written and not synced is kept or lost, piece by piece.
    pub(crate) fn lose_power(&mut self, place: usize) {
        let random = &mut self.random.disks;
        let Some(disk) = &self.nodes[place].disk else { return };
        // Sometimes all goes, or nothing; else each piece for itself.
        let kept = *random.pick(&[0, 1000, 500, 900, 100]);
        let loss = disk.power_loss(|| random.happens(kept));
        self.coverage.add(Seen::PieceKept, loss.sectors_kept + loss.moves_kept);
        self.coverage.add(Seen::PieceLost, loss.sectors_lost + loss.moves_lost);
        self.coverage.add(Seen::TornWrite, loss.torn_writes);
        self.see(Seen::PowerLoss);
    }

    /// Now and then: if the power went here, would all be there that was told (I4, without a crash)? And does reading the
    /// journal twice find the same twice (I16)?
    fn audit(&mut self, place: usize, id: AcceptorId) -> Check {
        let every = self.plan.disks.audit_every;
        let Some(disk) = self.nodes[place].disk.as_ref().filter(|_| self.random.disks.between(1, every) == 1)
        else {
            return Ok(());
        };
        let random = &mut self.random.disks;
        let kept = *random.pick(&[0, 0, 500]);
        let copy = disk.after_power_loss(|| random.happens(kept));
        self.see(Seen::Audit);
        let parameters = self.plan.cluster.parameters_hash();
        let read = || -> Result<Durable, Violation> {
            let opened = Keeper::open(copy.clone(), self.plan.journal.clone(), id, parameters, u64::MAX);
            let (_, durable) = opened.map_err(|error| Violation {
                rule: "I16",
                what: format!("if the power went here, {id} couldn't read its journal: {error}"),
            })?;
            Ok(durable)
        };
        let (first, second) = (read()?, read()?);
        check(first == second, "I16", || {
            format!("{id} recovers once to {first:?}, and again to {second:?}")
        })?;
        self.ledger.on_audited(id, &first)
    }
}

/// The disks that the cluster was formed with.
fn first_disks(cluster: &Cluster) -> Vec<(AcceptorId, DiskId)> {
    cluster.quorums.acceptors().map(|id| (id, DiskId(u64::from(id.0)))).collect()
}

/// What the cluster was named at its formation.
fn name_of(cluster: &Cluster) -> ClusterId {
    Cluster::id_of(cluster.parameters_hash(), 1, &first_disks(cluster))
}

/// What formation has written to an acceptor's journal.
fn formed(cluster: &Cluster, id: AcceptorId) -> Vec<Record> {
    let prepared = Record::Prepared { formation: 1, disk: DiskId(u64::from(id.0)) };
    vec![prepared, Record::Opened { disks: first_disks(cluster), cluster: name_of(cluster) }]
}
