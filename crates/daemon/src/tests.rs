//! The shell around toy roles, over real sockets on loopback ports that the kernel picks.
//!
//! Each toy tells the test what it sees, so that tests wait for events and never for time.

mod adoption;
mod batches;
mod configuration;
mod door;
mod replaced;
mod slow;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use synod_protocol::hello::Standing;
use synod_protocol::link::{self, Flushed, Link, LinkError, Own};
use synod_protocol::message::{Message, NotTaken, ToAcceptor, ToClient, ToLearner};
use synod_protocol::role::{Delay, Effects, Misdirected, Persist, Role};
use synod_protocol::wire::{self, Payload};
use synod_protocol::{
    AcceptorId, ClientId, Cluster, ClusterId, DiskId, Incarnations, LearnerId, NodeId, Slot,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::connection::Events;
use crate::door::Door;
use crate::failure::Failure;
use crate::run::Shell;
use crate::storage::Storage;

/// Longer than anything takes: ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a toy role sees.
#[derive(Debug, PartialEq)]
enum Seen<M> {
    Link(NodeId, bool),
    Message(NodeId, M),
    Timer(u8),
}

type Orders = Effects<u64, u8>;
type OnMessage<M> = Box<dyn FnMut(NodeId, &M, &mut Orders) -> Result<(), Misdirected> + Send>;

/// A role that tells the test what it sees, and does what the test says.
struct Toy<M> {
    seen: mpsc::UnboundedSender<Seen<M>>,
    standing: Arc<Mutex<Standing>>,
    start: Vec<(u8, Delay)>,
    on_message: OnMessage<M>,
    end_of_batch: Box<dyn FnMut(&mut Orders) + Send>,
    /// Which disks count, as it learns at the end of a batch.
    told: Arc<Mutex<Incarnations>>,
    incarnations: Incarnations,
    gives_way: bool,
}

impl<M> Role for Toy<M> {
    type Message = M;
    type Record = u64;
    type Timer = u8;

    fn on_start(&mut self, effects: &mut Orders) {
        self.start.iter().for_each(|(timer, delay)| effects.set_timer(*timer, *delay));
    }
    fn on_message(&mut self, from: NodeId, message: M, effects: &mut Orders) -> Result<(), Misdirected> {
        let result = (self.on_message)(from, &message, effects);
        let _test_over = self.seen.send(Seen::Message(from, message));
        result
    }
    fn on_timer(&mut self, timer: u8, _effects: &mut Orders) {
        let _test_over = self.seen.send(Seen::Timer(timer));
    }
    fn on_link(&mut self, peer: NodeId, up: bool, _effects: &mut Orders) {
        let _test_over = self.seen.send(Seen::Link(peer, up));
    }
    fn end_of_batch(&mut self, effects: &mut Orders) {
        (self.end_of_batch)(effects);
        self.incarnations = self.told.lock().unwrap().clone();
    }
    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap()
    }
    fn incarnations(&self) -> Option<&Incarnations> {
        Some(&self.incarnations).filter(|told| !told.is_empty())
    }
    fn gives_way(&self) -> bool {
        self.gives_way
    }
}

/// What a disk was asked to do.
#[derive(Clone, Debug, Default)]
struct Disk {
    log: Arc<Mutex<Vec<String>>>,
    broken: bool,
    /// Steps left to do when idle.
    steps: u32,
    idle: Option<mpsc::UnboundedSender<bool>>,
}

impl Persist<u64> for Disk {
    type Error = String;
    fn persist(&mut self, records: Vec<u64>) -> Result<(), String> {
        if self.broken {
            return Err("no more blocks".into());
        }
        self.log.lock().unwrap().push(format!("{records:?}"));
        Ok(())
    }
}

impl<R: Role<Record = u64>> Storage<R> for Disk {
    fn on_idle(&mut self, _role: &mut R) -> Result<bool, String> {
        self.steps = self.steps.saturating_sub(1);
        if let Some(idle) = &self.idle {
            let _test_over = idle.send(self.steps > 0);
        }
        Ok(self.steps > 0)
    }
    fn on_shutdown(&mut self, _role: &mut R) -> Result<(), String> {
        self.log.lock().unwrap().push("shut down".into());
        Ok(())
    }
}

/// A listener for each node, and the cluster file that names their ports.
struct World {
    cluster: Cluster,
    listeners: Vec<Option<TcpListener>>,
}

impl World {
    /// One or more acceptors, one proposer, two learners, with extra lines for `[tuning]`.
    async fn new(acceptors: usize, tuning: &str) -> World {
        let mut text = String::from("name = \"test\"\n");
        let mut listeners = Vec::new();
        for (table, count) in [("acceptors", acceptors), ("proposers", 1), ("learners", 2)] {
            for id in 1..=count {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                text += &format!("[[{table}]]\nid = {id}\naddress = \"{address}\"\n");
                listeners.push(Some(listener));
            }
        }
        text += &format!("[tuning]\nreconnect_max_ms = 20\n{tuning}\n");
        World { cluster: Cluster::parse(&text, &[]).unwrap(), listeners }
    }

    fn listener(&mut self, node: NodeId) -> TcpListener {
        let place = self.cluster.nodes().position(|(other, _)| other == node).unwrap();
        self.listeners[place].take().unwrap()
    }

    fn address(&self, node: impl Into<NodeId>) -> String {
        self.cluster.address(node.into()).unwrap().to_string()
    }

    /// How `node` presents itself, with the right parameters and `cluster`.
    fn own(&self, node: impl Into<NodeId>, cluster: Option<u128>) -> Own {
        Own {
            node: node.into(),
            parameters: self.cluster.parameters_hash(),
            standing: Standing { cluster: cluster.map(ClusterId), ..Standing::default() },
        }
    }

    async fn call(&self, own: Own, to: impl Into<NodeId>) -> Result<Link, LinkError> {
        let to = to.into();
        link::dial(&self.address(to), own, to, PATIENCE).await
    }

    /// Runs a toy as `node`.
    fn run<M: Payload + Send + 'static>(
        &mut self,
        node: impl Into<NodeId>,
        toy: ToyPlan<M>,
        disk: Disk,
    ) -> Running<M> {
        let node = node.into();
        let (seen, sees) = mpsc::unbounded_channel();
        let standing = Arc::new(Mutex::new(toy.standing));
        let told = Arc::new(Mutex::new(Incarnations::default()));
        let role = Toy {
            seen,
            standing: Arc::clone(&standing),
            start: toy.start,
            on_message: toy.on_message,
            end_of_batch: toy.end_of_batch,
            told: Arc::clone(&told),
            incarnations: Incarnations::default(),
            gives_way: false,
        };
        let (events, inbox) = mpsc::unbounded_channel();
        let mut shell = Shell::new(node, self.cluster.clone(), role, disk, (events.clone(), inbox));
        shell.last_writes = PATIENCE;
        let door = shell.door();
        let task = tokio::spawn(shell.run(self.listener(node)));
        Running { door, events, sees, standing, told, task }
    }

    /// An acceptor of cluster 7 that answers ([`answers`]).
    fn acceptor(&mut self, id: u16, disk: Disk) -> Running<ToAcceptor> {
        let standing = Standing {
            cluster: Some(ClusterId(7)),
            incarnation: id.into(),
            position: 1,
            ..Standing::default()
        };
        self.run(
            AcceptorId(id),
            ToyPlan { standing, on_message: Box::new(answers), ..ToyPlan::default() },
            disk,
        )
    }
}

/// What a toy does.
struct ToyPlan<M> {
    standing: Standing,
    start: Vec<(u8, Delay)>,
    on_message: OnMessage<M>,
    end_of_batch: Box<dyn FnMut(&mut Orders) + Send>,
}

impl<M> Default for ToyPlan<M> {
    fn default() -> Self {
        ToyPlan {
            standing: Standing::default(),
            start: Vec::new(),
            on_message: Box::new(|_, _, _| Ok(())),
            end_of_batch: Box::new(|_| {}),
        }
    }
}

/// Persists each QuorumRead of a learner and answers it; answers Status of clients; takes nothing else.
fn answers(from: NodeId, message: &ToAcceptor, effects: &mut Orders) -> Result<(), Misdirected> {
    match (message, from) {
        (ToAcceptor::QuorumRead { round }, NodeId::Learner(from)) => {
            effects.persist(*round);
            effects.send(from, quorum_read_reply(*round));
            Ok(())
        }
        (ToAcceptor::Status { request }, NodeId::Client(from)) => {
            effects.send(from, ToClient::Refused { tag: *request, reason: NotTaken::Malformed });
            Ok(())
        }
        (_, from) => Err(Misdirected::new(from, "this toy doesn't take that")),
    }
}

/// A toy at work.
struct Running<M> {
    door: Arc<Door>,
    events: Events<M>,
    sees: mpsc::UnboundedReceiver<Seen<M>>,
    standing: Arc<Mutex<Standing>>,
    told: Arc<Mutex<Incarnations>>,
    task: JoinHandle<Result<(), Failure>>,
}

impl<M> Running<M> {
    async fn sees(&mut self) -> Seen<M> {
        patient(self.sees.recv()).await.expect("the role runs")
    }
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing takes this long")
}

/// Sends `messages` in one write.
fn send(link: &mut Link, messages: impl IntoIterator<Item = Message>) {
    messages.into_iter().for_each(|message| link.outbox.push(&message));
    assert_eq!(link.outbox.flush().unwrap(), Flushed::All);
}

async fn receive<M: Payload>(link: &mut Link) -> M {
    let frame = patient(link.reader.next()).await.expect("the connection is up").unwrap();
    wire::decode_frame(frame).unwrap()
}

/// Whether the other side closes the connection without another word.
async fn is_closed(link: &mut Link) -> bool {
    matches!(patient(link.reader.next()).await, None | Some(Err(_)))
}

fn status(request: u64) -> Message {
    Message::Acceptor(ToAcceptor::Status { request })
}

fn quorum_read(round: u64) -> Message {
    Message::Acceptor(ToAcceptor::QuorumRead { round })
}

/// Whether the acceptor behind `link` answers a client's status.
async fn answers_status(link: &mut Link, request: u64) -> bool {
    send(link, [status(request)]);
    receive::<ToClient>(link).await == ToClient::Refused { tag: request, reason: NotTaken::Malformed }
}

const CLIENT: ClientId = ClientId(11);
const A1: AcceptorId = AcceptorId(1);
const L1: LearnerId = LearnerId(1);

fn quorum_read_reply(round: u64) -> ToLearner {
    let (disk, incarnations) = (DiskId(1).into(), Incarnations::default());
    ToLearner::QuorumReadReply { round, highest: Slot(round), disk, incarnations }
}
