//! A fake cluster in this process: proposers and learners on real sockets over one tiny state machine, and faults on demand.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use synod_protocol::command::{Command, SessionId, commands};
use synod_protocol::hello::Standing;
use synod_protocol::link::{self, Flushed, Own};
use synod_protocol::message::{
    AcceptorStatus, Attach, AttachState, FormStep, Formation, Message, NotTaken, Propose, ReadOutcome,
    ReadReply, Status, ToAcceptor, ToClient, ToLearner, ToProposer,
};
use synod_protocol::{
    AcceptorId, Ballot, Cluster, ClusterId, DiskId, LearnerId, NodeId, ProposerId, Slot, wire,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::machine::Machine;

/// A connected client, as a fake learner knows it.
type Peer = mpsc::UnboundedSender<ToClient>;

pub(crate) struct State {
    pub(crate) machine: Machine,
    /// Nobody leads at 0.
    pub(crate) leader: u16,
    /// Nodes that take in everything and say nothing.
    pub(crate) silent: Vec<NodeId>,
    /// Proposals to refuse as busy.
    pub(crate) busy: u32,
    /// Proposals to lose without a word.
    pub(crate) lose: u32,
    /// Calls are lost without a word, openings of sessions are not.
    pub(crate) lose_calls: bool,
    /// Proposals taken.
    pub(crate) taken: u64,
    pub(crate) formations: BTreeMap<AcceptorId, Formation>,
    attached: BTreeMap<(NodeId, SessionId), Peer>,
    nonces: BTreeMap<(NodeId, u128), Peer>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) cluster: Cluster,
    pub(crate) text: String,
    state: Arc<Mutex<State>>,
    /// Closes every connection of a node when its number changes.
    cuts: Arc<BTreeMap<NodeId, watch::Sender<u64>>>,
}

impl Fake {
    /// A cluster of 3 acceptors, 3 proposers and 3 learners, led by p1, at ports of its own.
    pub(crate) async fn start() -> Fake {
        let (mut text, mut listeners) = (String::from("name = \"fake\"\n"), Vec::new());
        for table in ["acceptors", "proposers", "learners"] {
            for id in 1..=3_u16 {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                text += &format!("[[{table}]]\nid = {id}\naddress = \"{address}\"\n");
                let node = match table {
                    "acceptors" => AcceptorId(id).into(),
                    "proposers" => ProposerId(id).into(),
                    _ => LearnerId(id).into(),
                };
                listeners.push((node, listener));
            }
        }
        let state = State {
            machine: Machine::default(),
            leader: 1,
            silent: Vec::new(),
            busy: 0,
            lose: 0,
            lose_calls: false,
            taken: 0,
            formations: (1..=3).map(|id| (AcceptorId(id), Formation::Empty)).collect(),
            attached: BTreeMap::new(),
            nonces: BTreeMap::new(),
        };
        let cuts = listeners.iter().map(|(node, _)| (*node, watch::Sender::new(0))).collect();
        let fake = Fake {
            cluster: Cluster::parse(&text, &[]).unwrap(),
            text,
            state: Arc::new(Mutex::new(state)),
            cuts: Arc::new(cuts),
        };
        for (node, listener) in listeners {
            let fake = fake.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(fake.clone().serve(node, stream));
                }
            });
        }
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes every connection of `node`.
    pub(crate) fn cut(&self, node: impl Into<NodeId>) {
        self.cuts[&node.into()].send_modify(|count| *count += 1);
    }

    async fn serve(self, node: NodeId, stream: TcpStream) {
        let mut cut = self.cuts[&node].subscribe();
        let own = Own { node, parameters: self.cluster.parameters_hash(), standing: Standing::default() };
        let Ok(mut link) = link::answer(stream, Duration::from_secs(5), |_| (own, Ok(()))).await else {
            return;
        };
        assert!(matches!(link.hello.from, NodeId::Client(_)));
        let (sender, mut answers) = mpsc::unbounded_channel();
        loop {
            tokio::select! {
                _ = cut.changed() => return,
                frame = link.reader.next() => match frame {
                    Some(Ok(frame)) => self.on_frame(node, frame, &sender),
                    Some(Err(_)) | None => return,
                },
                answer = answers.recv() => {
                    let mut answer = answer;
                    while let Some(message) = answer {
                        link.outbox.push(&Message::Client(message));
                        answer = answers.try_recv().ok();
                    }
                    while let Ok(Flushed::Blocked) = link.outbox.flush() {
                        let _gone = link.outbox.writable().await;
                    }
                }
            }
        }
    }

    fn on_frame(&self, node: NodeId, frame: Bytes, from: &Peer) {
        let mut state = self.state();
        if state.silent.contains(&node) {
            return;
        }
        let answer = match node {
            NodeId::Acceptor(id) => state.on_acceptor(id, wire::decode_frame(frame).unwrap()),
            NodeId::Proposer(id) => match wire::decode_frame(frame).unwrap() {
                ToProposer::Propose(propose) if id.0 == state.leader => state.take(propose),
                ToProposer::Propose(propose) => Some(state.not_leader(propose.tag)),
                _ => None,
            },
            NodeId::Learner(_) => state.on_learner(node, wire::decode_frame(frame).unwrap(), from),
            NodeId::Client(_) => None,
        };
        // A client that is gone misses nothing.
        answer.into_iter().for_each(|answer| drop(from.send(answer)));
    }
}

impl State {
    fn not_leader(&self, tag: u64) -> ToClient {
        let leader = Some(self.leader).filter(|id| *id != 0).map(ProposerId);
        ToClient::Refused { tag, reason: NotTaken::NotLeader { leader } }
    }

    fn take(&mut self, propose: Propose) -> Option<ToClient> {
        let opens = matches!(commands(propose.commands.bytes()).next(), Some(Some(Command::Open { .. })));
        if self.lose > 0 || (self.lose_calls && !opens) {
            self.lose = self.lose.saturating_sub(1);
            return None;
        }
        if self.busy > 0 {
            self.busy -= 1;
            return Some(ToClient::Refused { tag: propose.tag, reason: NotTaken::Busy { retry_ms: 5 } });
        }
        self.taken += 1;
        let applied = self.machine.apply(propose.commands.bytes());
        for opened in applied.opened {
            let waits = |(_, nonce): &(NodeId, u128)| *nonce == opened.nonce;
            let found: Vec<_> = self.nonces.keys().copied().filter(waits).collect();
            for key in found {
                let Some(peer) = self.nonces.remove(&key) else { continue };
                let _gone = peer.send(ToClient::Opened(opened.clone()));
                self.attached.insert((key.0, opened.session.unwrap()), peer);
            }
        }
        let mut by_session: BTreeMap<SessionId, Vec<_>> = BTreeMap::new();
        applied
            .replies
            .into_iter()
            .for_each(|reply| by_session.entry(reply.session).or_default().push(reply));
        for (session, replies) in by_session {
            for ((learner, _), peer) in self.attached.iter().filter(|((_, id), _)| *id == session) {
                if !self.silent.contains(learner) {
                    let _gone = peer.send(ToClient::Replies(replies.clone()));
                }
            }
        }
        None
    }

    fn on_learner(&mut self, node: NodeId, message: ToLearner, from: &Peer) -> Option<ToClient> {
        match message {
            ToLearner::Attach(Attach::Nonce(nonce)) => match self.machine.session_of(nonce) {
                Some(session) => {
                    self.attached.insert((node, session), from.clone());
                    let opened = synod_protocol::command::Opened { nonce, session: Some(session) };
                    Some(ToClient::Opened(opened))
                }
                None => {
                    self.nonces.insert((node, nonce), from.clone());
                    Some(ToClient::Attached { session: None, state: AttachState::Behind })
                }
            },
            ToLearner::Attach(Attach::Session { session, pending }) => {
                if !self.machine.sessions().contains(&session) {
                    return Some(ToClient::Attached { session: Some(session), state: AttachState::Ended });
                }
                self.attached.insert((node, session), from.clone());
                Some(ToClient::Replies(self.machine.kept(session, &pending)))
            }
            ToLearner::Read(reads) => {
                let slot = Slot(self.machine.slot);
                let answer = |read: synod_protocol::message::Read<'_>| {
                    let record = self.machine.record(read.key);
                    ReadReply { id: read.id, slot, outcome: ReadOutcome::Value(record) }
                };
                Some(ToClient::ReadReplies(reads.iter().map(answer).collect()))
            }
            ToLearner::Forward(propose) if self.leader != 0 => self.take(propose),
            ToLearner::Forward(propose) => Some(self.not_leader(propose.tag)),
            _ => None,
        }
    }

    fn on_acceptor(&mut self, id: AcceptorId, message: ToAcceptor) -> Option<ToClient> {
        match message {
            ToAcceptor::Form { request, step } => {
                let formation = self.formations.get_mut(&id).unwrap();
                let refused = on_step(formation, step);
                Some(ToClient::Formed { request, formation: formation.clone(), refused })
            }
            ToAcceptor::Status { request } => {
                let status = AcceptorStatus {
                    formation: self.formations[&id].clone(),
                    promised: Ballot::NONE,
                    silent: true,
                    floor: Slot(1),
                    held: Slot::ZERO,
                    highest: Slot::ZERO,
                    full: false,
                };
                Some(ToClient::Status { request, status: Status::Acceptor(status) })
            }
            _ => None,
        }
    }
}

fn on_step(formation: &mut Formation, step: FormStep) -> Option<String> {
    match (step, formation.clone()) {
        (FormStep::Query, _) => None,
        (FormStep::Prepare { formation: named, disk }, Formation::Empty) => {
            *formation = Formation::Prepared { formation: named, disk };
            None
        }
        (FormStep::Open { formation: named, disks }, Formation::Prepared { formation: ours, disk })
            if named == ours =>
        {
            *formation = Formation::Open { formation: ours, disk, disks, cluster: ClusterId(ours) };
            None
        }
        _ => Some("not in this state".into()),
    }
}

pub(crate) fn prepared(formation: u128, disk: u64) -> Formation {
    Formation::Prepared { formation, disk: DiskId(disk) }
}
