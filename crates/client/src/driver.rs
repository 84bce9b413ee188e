//! The task behind a client: sockets, clock and randomness around the session's state machine.
//!
//! One wake-up takes in everything that has arrived, lets the session look at it once, and writes once to each peer. One timer
//! serves all calls. A connection is one more task that dials, then reads; what it has read and the driver hasn't taken is
//! bounded, and the kernel's flow control does the rest. Decides nothing about calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_protocol::hello::Standing;
use synod_protocol::link::{self, Flushed, FrameReader, Outbox, Own};
use synod_protocol::message::{Consistency, Message, ToClient};
use synod_protocol::{ClientId, Cluster, NodeId, wire};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::debug;

use crate::admission::Admission;
use crate::outcome::Ended;
use crate::session::{Effect, Randomness, Session, Write};

/// A connection must be up, hello included, within this time.
const DIAL: Duration = Duration::from_secs(1);
/// Messages read and not yet taken, at most.
const EVENTS: usize = 1_024;
/// How long a client that was dropped tries to end its session in the cluster.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) type Ticket = oneshot::Sender<Ended>;

/// What a handle asks of the driver. Deadlines count from when the driver hears of it.
#[derive(Debug)]
pub(crate) enum Request {
    Write(Ticket, Write, Duration),
    Read(Ticket, Bytes, Consistency, Duration),
    Close(Ticket, Duration),
}

#[derive(Debug)]
enum Event {
    Up(Outbox),
    Message(ToClient),
    Writable,
    Down(String),
}

/// What ends a wait.
enum First {
    Event((NodeId, u64, Event)),
    /// Absent when all handles are gone.
    Request(Option<Request>),
    Timer,
}

/// A connection, or the attempt at one.
#[derive(Debug)]
struct Connection {
    /// Tells its events from those of an earlier one to the same node.
    number: u64,
    task: AbortHandle,
    /// Absent until it is up.
    outbox: Option<Outbox>,
    /// Whether a task waits for the socket to take bytes again.
    blocked: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Events = mpsc::Sender<(NodeId, u64, Event)>;

#[derive(Debug)]
pub(crate) struct Driver {
    cluster: Cluster,
    own: Own,
    session: Session<Ticket>,
    start: Instant,
    connections: BTreeMap<NodeId, Connection>,
    /// Connections made so far.
    count: u64,
    events: Events,
    arriving: mpsc::Receiver<(NodeId, u64, Event)>,
    admission: Arc<Admission>,
    /// Writes taken in so far.
    writes: u64,
}

impl Driver {
    /// The driver of a client that has done nothing; `deadline` is the usual one of its calls. What its handles ask.
    pub(crate) fn new(cluster: Cluster, deadline: Duration) -> (Driver, Arc<Admission>) {
        let drawn = Randomness { seed: rand::random(), nonce: rand::random() };
        let own = Own {
            node: ClientId(rand::random()).into(),
            parameters: cluster.parameters_hash(),
            standing: Standing::default(),
        };
        let (events, arriving) = mpsc::channel(EVENTS);
        let session = Session::new(&cluster, deadline, drawn);
        let admission = Arc::new(Admission::new(session.room()));
        let driver = Driver {
            session,
            cluster,
            own,
            start: Instant::now(),
            connections: BTreeMap::new(),
            count: 0,
            events,
            arriving,
            admission: Arc::clone(&admission),
            writes: 0,
        };
        (driver, admission)
    }

    /// Runs a client until all its handles are gone.
    pub(crate) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut farewell: Option<oneshot::Receiver<Ended>> = None;
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            self.work();
            if farewell
                .as_mut()
                .is_some_and(|said| said.try_recv() != Err(oneshot::error::TryRecvError::Empty))
            {
                return;
            }
            let wake = self.session.next_wake(self.now());
            if let Some(wake) = wake {
                sleep.as_mut().reset(self.start + wake);
            }
            let first = tokio::select! {
                biased;
                event = self.arriving.recv() => First::Event(event.expect("the driver holds a sender itself")),
                request = requests.recv(), if farewell.is_none() => First::Request(request),
                () = &mut sleep, if wake.is_some() => First::Timer,
            };
            let now = self.now();
            match first {
                First::Event(event) => self.on_event(event, now),
                First::Request(Some(request)) => self.on_request(request, now),
                First::Request(None) => {
                    let (ticket, said) = oneshot::channel();
                    self.on_request(Request::Close(ticket, FAREWELL), now);
                    farewell = Some(said);
                }
                First::Timer => {}
            }
            while let Ok(event) = self.arriving.try_recv() {
                self.on_event(event, now);
            }
            while let Ok(request) = requests.try_recv() {
                self.on_request(request, now);
            }
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn on_request(&mut self, request: Request, now: Duration) {
        match request {
            Request::Write(ticket, write, deadline) => {
                self.writes += 1;
                self.session.write(ticket, write, now + deadline);
            }
            Request::Read(ticket, key, consistency, deadline) => {
                self.session.read(ticket, key, consistency, now + deadline);
            }
            Request::Close(ticket, deadline) => self.session.close(ticket, now + deadline),
        }
    }

    fn on_event(&mut self, (node, number, event): (NodeId, u64, Event), now: Duration) {
        let Some(connection) = self.connections.get_mut(&node).filter(|known| known.number == number) else {
            return ignore_closed_connection(node);
        };
        match event {
            Event::Up(outbox) => {
                connection.outbox = Some(outbox);
                self.session.on_link_up(node);
            }
            Event::Message(message) => self.session.on_message(node, message, now),
            Event::Writable => connection.blocked = false,
            Event::Down(why) => self.lose(node, why),
        }
    }

    fn lose(&mut self, node: NodeId, why: String) {
        debug!(peer = %node, %why, "connection is down");
        self.connections.remove(&node);
        self.session.on_link_down(node, why, self.now());
    }

    /// Lets the session do what is due, and does what it asks for, until nothing is left to do.
    fn work(&mut self) {
        loop {
            self.session.step(self.now());
            for effect in self.session.take_effects() {
                match effect {
                    Effect::Dial(node) => self.dial(node),
                    Effect::HangUp(node) => drop(self.connections.remove(&node)),
                    Effect::Send(node, message) => self.send(node, &message),
                    // Whoever waited may have stopped waiting.
                    Effect::Ended(ticket, ended) => drop(ticket.send(ended)),
                }
            }
            let broken = self.flush();
            if broken.is_empty() {
                return self.admission.allow(self.writes, self.session.room());
            }
            broken.into_iter().for_each(|(node, why)| self.lose(node, why));
        }
    }

    fn dial(&mut self, node: NodeId) {
        self.count += 1;
        let address = self.cluster.address(node).unwrap_or_default().to_string();
        let task = tokio::spawn(connect(address, self.own, node, self.count, self.events.clone()));
        let connection =
            Connection { number: self.count, task: task.abort_handle(), outbox: None, blocked: false };
        self.connections.insert(node, connection);
    }

    fn send(&mut self, node: NodeId, message: &Message) {
        if let Some(outbox) = self.connections.get_mut(&node).and_then(|known| known.outbox.as_mut()) {
            outbox.push(message);
        }
    }

    /// Writes once to each peer; tells which connections broke.
    fn flush(&mut self) -> Vec<(NodeId, String)> {
        let mut broken = Vec::new();
        for (node, connection) in &mut self.connections {
            let Some(outbox) = connection.outbox.as_mut().filter(|outbox| outbox.queued_bytes() > 0) else {
                continue;
            };
            if outbox.queued_bytes() as u64 > self.cluster.tuning.peer_queue_bytes {
                broken.push((*node, "it takes in less than is sent to it".into()));
                continue;
            }
            if connection.blocked {
                continue;
            }
            match outbox.flush() {
                Ok(Flushed::All) => {}
                Ok(Flushed::Blocked) => {
                    connection.blocked = true;
                    let (writable, events) = (outbox.writable(), self.events.clone());
                    let (node, number) = (*node, connection.number);
                    tokio::spawn(async move {
                        // A socket that broke says so to its reader, and here at the next write.
                        let _broken = writable.await;
                        let _gone = events.send((node, number, Event::Writable)).await;
                    });
                }
                Err(error) => broken.push((*node, error.to_string())),
            }
        }
        broken
    }
}

/// Dials, then reads to the end; says Up at most once, and Down once.
async fn connect(address: String, own: Own, node: NodeId, number: u64, events: Events) {
    let why = match link::dial(&address, own, node, DIAL).await {
        Ok(link) => match events.send((node, number, Event::Up(link.outbox))).await {
            Ok(()) => read(link.reader, node, number, &events).await,
            Err(_) => return,
        },
        Err(error) => format!("{address}: {error}"),
    };
    // When the driver is gone, nobody needs to know.
    let _gone = events.send((node, number, Event::Down(why))).await;
}

async fn read(mut reader: FrameReader, node: NodeId, number: u64, events: &Events) -> String {
    loop {
        let message = match reader.next().await {
            None => return "closed by the other side".into(),
            Some(Err(error)) => return error.to_string(),
            Some(Ok(frame)) => match wire::decode_frame(frame) {
                Ok(message) => message,
                Err(error) => return error.to_string(),
            },
        };
        if events.send((node, number, Event::Message(message))).await.is_err() {
            return "the client is gone".into();
        }
    }
}

/// It was hung up or replaced; its last events may still have been under way.
fn ignore_closed_connection(node: NodeId) {
    debug!(peer = %node, "ignores what comes from a connection that was closed");
}
