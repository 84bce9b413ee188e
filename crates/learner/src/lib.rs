//! Synod's learner: the state.
//!
//! It subscribes to the leader's stream of chosen slots, fetches what it missed from acceptors and peers, applies every slot in
//! order (S7), and answers the clients attached to it: replies to their calls (S9), and reads. A linearizable read asks a
//! Phase-1 quorum of acceptors for the highest slot voted on, waits until that is applied, and is answered from this
//! learner's own state (S10; Charapko et al., "Linearizable Quorum Reads in Paxos", 2019). Commands of clients that can't reach the
//! leader are forwarded; sessions that were idle for their whole time are proposed to expire. Its state is written down in checkpoints by
//! the [`keeper`], beside the run of things; what came after the last one is learned again. Below what the logs keep it fetches a peer's state, and learners compare
//! their states by hash chains. Absent on purpose: clocks, threads, sockets, and files but for what the keeper does on a `Disk`.

mod alarm;
mod attach;
mod audience;
mod catch_up;
mod chains;
mod checkpoint;
mod checkpoints;
mod expiry;
mod following;
mod forward;
mod giving;
mod installing;
pub mod keeper;
mod learning;
mod log;
mod outgoing;
mod pace;
mod reads;
mod receiving;
mod room;
mod serving;
mod status;

use std::collections::BTreeSet;

use synod_protocol::cluster::{Cluster, Limits};
use synod_protocol::hello::Standing;
use synod_protocol::message::{ToLearner, Wants};
use synod_protocol::role::{Delay, Effects, Misdirected, Never, Role};
use synod_protocol::tuning::Tuning;
use synod_protocol::{Ballot, ClusterId, Incarnations, LearnerId, NodeId, ProposerId, QuorumSystem};
use synod_store::{MemoryStorage, StateMachine, Storage};
use tracing::info;

use alarm::Alarm;
use attach::Attachments;
use audience::Audience;
use catch_up::CatchUp;
use chains::History;
use checkpoints::Checkpoints;
use expiry::Idle;
use forward::Forwarded;
use giving::Giving;
use log::Log;
use outgoing::Outgoing;
use reads::{Answer, Reads};
use receiving::Receiving;

/// What a learner is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Who it is.
    pub id: LearnerId,
    /// 64 random bits drawn for this life of the process: its read rounds and tags count from there, so that an answer to
    /// an earlier life is never taken for one to this life (S10).
    pub life: u64,
    /// The acceptors and their quorums.
    pub quorums: QuorumSystem,
    /// The proposers of the cluster file.
    pub proposers: BTreeSet<ProposerId>,
    /// The other configured learners of the cluster file.
    pub peers: BTreeSet<LearnerId>,
    /// Whether it is an observer: a learner for reads that isn't configured and counts for nothing.
    pub is_observer: bool,
    /// What its keys lie in, for people: `memory` or `disk`.
    pub engine: &'static str,
    /// What decides how a command applies.
    pub limits: Limits,
    /// Timeouts and limits of this process.
    pub tuning: Tuning,
}

impl Config {
    /// The part of a cluster file that learner `id` needs; `life` must be drawn at random for each start.
    pub fn new(id: LearnerId, life: u64, cluster: &Cluster) -> Config {
        Config {
            id,
            life,
            quorums: cluster.quorums.clone(),
            proposers: cluster.proposers.keys().copied().collect(),
            peers: cluster.learners.keys().copied().filter(|peer| *peer != id).collect(),
            is_observer: cluster.is_observer(id),
            engine: "memory",
            limits: cluster.limits,
            tuning: cluster.tuning.clone(),
        }
    }
}

/// A learner's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Subscribe again.
    Subscribe,
    /// A slot known to be chosen is still missing, or a Fetch was not answered.
    CatchUp,
    /// A read's round may lack answers.
    Round,
    /// A read may wait for a slot that nobody settles.
    Settle,
    /// Look for sessions that were idle for their whole time.
    Sweep,
    /// Tell the peers our hash chains.
    Compare,
    /// A part of a snapshot may have got lost.
    Transfer,
    /// A pause before the next part of a state, or of the log after it, is over.
    Pace,
    /// Nobody may be fetching our snapshot any more.
    Give,
    /// A checkpoint that found no room may be tried again.
    Room,
}

pub(crate) type Out = Effects<Never, Timer>;

/// A learner over a storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learner<S: Storage = MemoryStorage> {
    config: Config,
    machine: StateMachine<S>,
    log: Log,
    catch_up: CatchUp,
    /// Hash chains of what is applied.
    history: History,
    alarm: Alarm,
    checkpoints: Checkpoints,
    giving: Giving<S>,
    receiving: Receiving<S>,
    reads: Reads,
    attachments: Attachments,
    audience: Audience,
    forwarded: Forwarded,
    idle: Idle,
    /// Answers of this batch, grouped by client; empty between batches.
    outgoing: Outgoing,
    /// The cluster whose log it has applied, or is going to.
    cluster: Option<ClusterId>,
    /// The highest ballot that streamed to it.
    leader: Ballot,
    /// Acceptors, proposers and peers with a connection.
    linked: BTreeSet<NodeId>,
}

impl<S: Storage> Learner<S> {
    /// A learner that has applied nothing, over an empty storage.
    pub fn new(config: Config, storage: S) -> Learner<S> {
        let machine = StateMachine::new(config.limits, storage);
        Learner::recovered(config, machine, None, true)
    }

    /// A learner that goes on from the state of a checkpoint, made in that cluster. `is_synced`: that checkpoint is known to be durable;
    /// otherwise one is due at once.
    pub fn recovered(
        config: Config,
        machine: StateMachine<S>,
        cluster: Option<ClusterId>,
        is_synced: bool,
    ) -> Learner<S> {
        let tuning = &config.tuning;
        let applied = machine.applied();
        Learner {
            log: Log::new(applied.next(), tuning.learner_buffer_bytes, tuning.learner_tail_bytes),
            history: History::of(applied, machine.chain()),
            alarm: Alarm::default(),
            checkpoints: Checkpoints::new(applied, is_synced),
            giving: Giving::default(),
            receiving: Receiving::new(None),
            machine,
            catch_up: CatchUp::new(config.id, &config.quorums, &config.peers),
            reads: Reads::new(config.life, tuning.waiting_reads),
            attachments: Attachments::new(config.limits.sessions.saturating_mul(2)),
            audience: Audience::new(tuning),
            forwarded: Forwarded::new(config.life),
            idle: Idle::default(),
            outgoing: Outgoing::new(tuning.peer_queue_bytes / 2),
            cluster,
            leader: Ballot::NONE,
            linked: BTreeSet::new(),
            config,
        }
    }

    /// The replicated state at the applied slot.
    pub fn machine(&self) -> &StateMachine<S> {
        &self.machine
    }

    /// The cluster that its state belongs to, once known.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// Whoever streamed at the highest ballot, while there is a connection to it.
    fn leader(&self) -> Option<ProposerId> {
        let leader = self.leader.proposer;
        self.is_linked(leader).then_some(leader)
    }

    fn is_linked(&self, node: impl Into<NodeId>) -> bool {
        self.linked.contains(&node.into())
    }

    fn linked_proposers(&self) -> impl Iterator<Item = ProposerId> {
        self.config.proposers.iter().copied().filter(|proposer| self.is_linked(*proposer))
    }

    /// Learners with a connection: the configured ones, then observers.
    fn linked_learners(&self) -> impl Iterator<Item = LearnerId> {
        let configured = self.config.peers.iter().copied().filter(|peer| self.is_linked(*peer));
        configured.chain(self.linked_observers())
    }

    fn linked_observers(&self) -> impl Iterator<Item = LearnerId> {
        self.linked.iter().filter_map(|node| match node {
            NodeId::Learner(peer) => Some(*peer).filter(|peer| !self.config.peers.contains(peer)),
            NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Client(_) => None,
        })
    }

    /// Whether `peer` may be an observer: its id is higher than those of all configured learners.
    fn is_observer(&self, peer: LearnerId) -> bool {
        let own = Some(self.config.id).filter(|_| !self.config.is_observer);
        let highest = self.config.peers.iter().copied().chain(own).max();
        peer != self.config.id && highest.is_some_and(|highest| peer > highest)
    }

    /// Refuses what comes from outside the cluster file; observers need not be in it.
    fn check_sender(&self, from: NodeId) -> Result<(), Misdirected> {
        let known = match from {
            NodeId::Acceptor(from) => self.config.quorums.contains(from),
            NodeId::Proposer(from) => self.config.proposers.contains(&from),
            NodeId::Learner(from) => self.config.peers.contains(&from) || self.is_observer(from),
            NodeId::Client(_) => true,
        };
        if known { Ok(()) } else { Err(Misdirected::new(from, "it isn't in this process's cluster file")) }
    }
}

impl<S: Storage> Role for Learner<S> {
    type Message = ToLearner;
    type Record = Never;
    type Timer = Timer;

    fn on_start(&mut self, effects: &mut Out) {
        let (id, next) = (self.config.id, self.log.next());
        info!(%id, %next, engine = self.config.engine, observer = self.config.is_observer, "learns from this slot on");
        effects.set_timer(Timer::Subscribe, Delay::exactly(self.config.tuning.subscribe_ms));
        effects.set_timer(Timer::Sweep, self.sweep_delay());
        effects.set_timer(Timer::Compare, Delay::exactly(self.config.tuning.subscribe_ms));
    }

    /// S12: a state is continued in the cluster it comes from alone.
    fn on_cluster(&mut self, cluster: ClusterId, effects: &mut Out) {
        match self.cluster {
            Some(ours) if ours != cluster => effects.halt(format!(
                "S12: this learner's data directory is of cluster {ours}, and a quorum of acceptors belongs to {cluster}: nothing was changed; \
                 start it with the cluster file of {ours}, or give it another --data-dir"
            )),
            Some(_) | None => self.cluster = Some(cluster),
        }
    }

    fn on_message(&mut self, from: NodeId, message: ToLearner, effects: &mut Out) -> Result<(), Misdirected> {
        self.check_sender(from)?;
        match (message, from) {
            (ToLearner::Chosen(chosen), NodeId::Proposer(from)) => self.on_chosen(from, chosen, effects)?,
            (ToLearner::Fetched(fetched), NodeId::Acceptor(_) | NodeId::Learner(_)) => {
                self.on_fetched(from, fetched, effects)?;
            }
            (ToLearner::QuorumReadReply { round, highest, disk, incarnations }, NodeId::Acceptor(from)) => {
                self.on_quorum_read_reply(Answer { from, round, highest, disk, incarnations })
            }
            (ToLearner::Refused { tag, reason }, NodeId::Proposer(from)) => {
                self.on_refused(from, tag, reason, effects);
            }
            (ToLearner::Fetch(fetch), NodeId::Learner(from)) => self.on_fetch(from, fetch, effects),
            (ToLearner::SnapshotFetch(fetch), NodeId::Learner(_) | NodeId::Client(_)) => {
                self.on_snapshot_fetch(from, fetch, effects)?;
            }
            (ToLearner::SnapshotChunk(chunk), NodeId::Learner(from)) => {
                self.on_snapshot_chunk(from, chunk, effects);
            }
            (ToLearner::NoSnapshot(none), NodeId::Learner(from)) => self.on_no_snapshot(from, none, effects),
            (ToLearner::Chains(chains), NodeId::Learner(from)) => self.on_chains(from, chains, effects),
            (ToLearner::Attach(attach), NodeId::Client(from)) => self.on_attach(from, attach, effects),
            (ToLearner::Read(reads), NodeId::Client(from)) => self.on_read(from, reads),
            (ToLearner::Forward(propose), NodeId::Client(from)) => self.on_forward(from, propose, effects),
            (ToLearner::Status { request }, NodeId::Client(from)) => {
                self.on_status(from, request, effects);
            }
            (
                ToLearner::Chosen(_)
                | ToLearner::Fetched(_)
                | ToLearner::QuorumReadReply { .. }
                | ToLearner::Refused { .. }
                | ToLearner::Fetch(_)
                | ToLearner::SnapshotFetch(_)
                | ToLearner::SnapshotChunk(_)
                | ToLearner::NoSnapshot(_)
                | ToLearner::Chains(_)
                | ToLearner::Attach(_)
                | ToLearner::Read(_)
                | ToLearner::Forward(_)
                | ToLearner::Status { .. },
                from,
            ) => return Err(Misdirected::new(from, "another role sends this message")),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, effects: &mut Out) {
        match timer {
            Timer::Subscribe => self.on_subscribe_timer(effects),
            Timer::CatchUp => self.on_catch_up_timer(effects),
            Timer::Round => self.on_round_timer(effects),
            Timer::Settle => self.on_settle_timer(effects),
            Timer::Sweep => self.on_sweep_timer(effects),
            Timer::Compare => self.on_compare_timer(effects),
            Timer::Transfer => self.on_transfer_timer(effects),
            Timer::Pace => self.on_pace_timer(effects),
            Timer::Give => self.on_give_timer(effects),
            Timer::Room => self.on_room_timer(),
        }
    }

    fn on_link(&mut self, peer: NodeId, up: bool, effects: &mut Out) {
        match (peer, up) {
            (NodeId::Client(_), true) => {}
            (NodeId::Client(client), false) => self.on_client_gone(client),
            (NodeId::Learner(learner), false) => {
                self.linked.remove(&peer);
                self.giving.following.forget(learner);
            }
            (NodeId::Acceptor(_) | NodeId::Proposer(_), false) => {
                self.linked.remove(&peer);
            }
            (NodeId::Acceptor(acceptor), true) => {
                self.linked.insert(peer);
                self.ask_for_round(acceptor, effects);
            }
            (NodeId::Proposer(proposer), true) => {
                self.linked.insert(peer);
                self.subscribe(proposer, effects);
            }
            (NodeId::Learner(_), true) => {
                self.linked.insert(peer);
            }
        }
    }

    fn end_of_batch(&mut self, effects: &mut Out) {
        self.watch_gap(effects);
        self.watch_room(effects);
        self.answer_ready_reads();
        self.begin_round(effects);
        self.watch_unsettled(effects);
        self.watch_audience(effects);
        self.outgoing.flush(effects);
    }

    fn standing(&self) -> Standing {
        Standing::default()
    }

    fn incarnations(&self) -> Option<&Incarnations> {
        Some(self.reads.incarnations())
    }

    fn gives_way(&self) -> bool {
        self.audience.wants() == Wants::Late
    }
}

#[cfg(test)]
mod tests;
