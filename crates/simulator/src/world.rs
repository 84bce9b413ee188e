//! The world of one run: processes, network, disks and time, moved on by one event after the other.
//!
//! Everything that happens is an entry in one queue, ordered by virtual time and then by when it was planned, so that a run is the same
//! whenever it is repeated. After every event the ledger has checked what became durable, what was said and what was applied. Absent on purpose:
//! real time, threads, and any state shared between runs.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use synod_checker::History;
use synod_protocol::message::Message;
use synod_protocol::{AcceptorId, Ballot, ClientId, NodeId};

use crate::coverage::{Coverage, Seen};
use crate::ledger::Ledger;
use crate::network::Network;
use crate::node::{Input, Node, Timer};
use crate::plan::{Plan, SEATS, Us, Weather, stream};
use crate::random::Random;
use crate::seating::Seating;
use crate::story::Teller;
use crate::transfers::Transfers;
use crate::violation::Check;

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A message arrives, if that connection is still up; without one it arrives whatever became of it.
    Arrive { from: NodeId, to: NodeId, message: Message, connection: Option<u64> },
    /// A timer fires, if it wasn't set anew or stopped.
    Timer { place: usize, timer: Timer, number: u64 },
    /// A process looks at its inbox.
    Wake { place: usize },
    /// An attempt to connect arrives.
    Dial { dialer: usize, life: u64, peer: usize },
    /// An end of a connection that is gone is told so, if it wasn't yet.
    Down { place: usize, peer: usize },
    /// A process starts, unless it was started meanwhile.
    Start { place: usize, life: u64 },
    /// A planned fault.
    Fault(usize),
    /// A partition ends.
    Heal(Vec<(usize, usize)>),
    /// A connection that has been silent for too long is given up.
    GiveUp { one: usize, other: usize, connection: u64 },
    /// There is room on a disk again.
    Room { place: usize },
    /// The operator sees to an acceptor whose disk was replaced.
    Operate { place: usize },
    /// An acceptor's old disk is put in instead of its new one, or the new one instead of the old.
    SwapDisk { place: usize, number: u64, old: bool },
    /// A disk that rotted away is replaced.
    Replace { acceptor: AcceptorId },
    /// Whatever makes a learner's checkpoints beside it does a step.
    Checkpoint { place: usize, life: u64 },
    /// A process crashes.
    Crash { node: NodeId, down_us: Us },
    /// A disk is as fast as usual again.
    Speed { place: usize },
    /// Somebody asks a process how it is.
    Ask,
}

struct Planned {
    at: Us,
    number: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The streams that a run draws from.
pub(crate) struct Streams {
    pub(crate) network: Random,
    pub(crate) nodes: Random,
    pub(crate) workload: Random,
    pub(crate) disks: Random,
    pub(crate) stores: Random,
}

/// A run under way.
pub(crate) struct World<T> {
    pub(crate) plan: Plan,
    pub(crate) seating: Seating,
    pub(crate) now: Us,
    queue: BinaryHeap<Reverse<Planned>>,
    numbered: u64,
    ticks: u64,
    pub(crate) events: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) weather: Weather,
    pub(crate) random: Streams,
    pub(crate) ledger: Ledger,
    pub(crate) transfers: Transfers,
    pub(crate) history: History,
    pub(crate) coverage: Coverage,
    /// Ballots at which something was proposed.
    pub(crate) ballots: BTreeSet<Ballot>,
    /// Whether callers go on calling.
    pub(crate) is_calling: bool,
    /// Whether faults have ended.
    pub(crate) is_calm: bool,
    pub(crate) story: T,
}

impl<T: Teller> World<T> {
    /// A world in which everything is about to start.
    pub(crate) fn new(plan: Plan, story: T) -> World<T> {
        let seating = Seating::new(&plan);
        let draw = |stream| Random::new(plan.seed, stream);
        let random = Streams {
            network: draw(stream::NETWORK),
            nodes: draw(stream::NODES),
            workload: draw(stream::WORKLOAD),
            disks: draw(stream::DISKS),
            stores: draw(stream::CHECKPOINTS),
        };
        let mut nodes: Vec<NodeId> = plan.nodes().chain([plan.latecomer().into(), seating.probe()]).collect();
        nodes.sort_by_key(|node| seating.place(*node));
        let mut world = World {
            seating,
            now: 0,
            queue: BinaryHeap::new(),
            numbered: 0,
            ticks: 0,
            events: 0,
            nodes: nodes.iter().copied().map(Node::new).collect(),
            network: Network::new(seating.count()),
            weather: plan.weather.clone(),
            random,
            ledger: Ledger::new(&plan.cluster),
            transfers: Transfers::default(),
            history: History::new(),
            coverage: Coverage::default(),
            ballots: BTreeSet::new(),
            is_calling: true,
            is_calm: false,
            story,
            plan,
        };
        for node in nodes {
            let joins_later = matches!(node, NodeId::Learner(id) if world.plan.cluster.is_observer(id));
            if joins_later || node == seating.probe() {
                continue;
            }
            let us = world.random.nodes.between(0, 20_000);
            world.after(us, Event::Start { place: seating.place(node), life: 0 });
        }
        for fault in 0..world.plan.faults.len() {
            let at = world.plan.faults[fault].0;
            world.after(at, Event::Fault(fault));
        }
        world.after(100_000, Event::Ask);
        let latecomer = world.place(world.plan.latecomer().into());
        world.nodes[latecomer].gone = true;
        world
    }

    /// Plans an event.
    pub(crate) fn after(&mut self, us: Us, event: Event) -> u64 {
        self.numbered += 1;
        self.queue.push(Reverse(Planned { at: self.now + us, number: self.numbered, event }));
        self.numbered
    }

    /// A moment that no other call of the history shares.
    pub(crate) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// Moves on until `done`, or until nothing more happens before `end`; whether it was done.
    pub(crate) fn run(
        &mut self,
        end: Us,
        mut done: impl FnMut(&World<T>) -> bool,
    ) -> Result<bool, crate::violation::Violation> {
        while !done(self) {
            let next = self.queue.peek().map(|Reverse(planned)| planned.at);
            if next.is_none_or(|at| at > end) {
                self.now = end;
                return Ok(false);
            }
            let Some(Reverse(Planned { at, event, .. })) = self.queue.pop() else { return Ok(false) };
            self.now = at;
            self.events += 1;
            self.on_event(event)?;
        }
        Ok(true)
    }

    fn on_event(&mut self, event: Event) -> Check {
        match event {
            Event::Arrive { from, to, message, connection } => self.on_arrive(from, to, message, connection),
            Event::Timer { place, timer, number } => {
                if self.nodes[place].timers.get(&timer) == Some(&number) {
                    self.nodes[place].timers.remove(&timer);
                    self.put_in(place, Input::Timer(timer));
                }
                Ok(())
            }
            Event::Wake { place } => self.on_wake(place),
            Event::Dial { dialer, life, peer } => {
                self.on_dial(dialer, life, peer);
                Ok(())
            }
            Event::Down { place, peer } => {
                if self.network.tell_down(place, peer) {
                    self.tell_link(place, peer, false);
                }
                Ok(())
            }
            Event::Start { place, life } => {
                let node = &self.nodes[place];
                if node.life == life && !node.is_up() && !node.gone { self.start(place) } else { Ok(()) }
            }
            Event::Fault(fault) => {
                let fault = self.plan.faults[fault].1.clone();
                if self.is_calm { Ok(()) } else { self.inject(fault) }
            }
            Event::Heal(pairs) => {
                if !self.is_calm {
                    self.story.note(self.now, || "a partition ends".to_string());
                    self.network.cut(&pairs, false);
                }
                Ok(())
            }
            Event::GiveUp { one, other, connection } => {
                self.give_up(one, other, connection);
                Ok(())
            }
            Event::Room { place } => {
                self.nodes[place].make_room();
                Ok(())
            }
            Event::Speed { place } => {
                self.nodes[place].slowness = 1;
                Ok(())
            }
            Event::Operate { place } => {
                self.operate(place);
                Ok(())
            }
            Event::SwapDisk { place, number, old } => {
                if !self.is_calm && self.nodes[place].replacements == number {
                    self.swap_disk(place, old);
                }
                Ok(())
            }
            Event::Replace { acceptor } => {
                self.replace_disk(acceptor, 1_000, None);
                Ok(())
            }
            Event::Checkpoint { place, life } => self.on_checkpoint_step(place, life),
            Event::Crash { node, down_us } => {
                self.crash(node, false, down_us, None);
                Ok(())
            }
            Event::Ask => self.ask(),
        }
    }

    /// Sets a timer to fire after so much real time; the one of the same name is replaced.
    pub(crate) fn set_timer(&mut self, place: usize, timer: Timer, us: Us) {
        let number = self.numbered + 1;
        self.after(us, Event::Timer { place, timer, number });
        self.nodes[place].timers.insert(timer, number);
    }

    /// Something waits for a process.
    pub(crate) fn put_in(&mut self, place: usize, input: Input) {
        let node = &mut self.nodes[place];
        if !node.is_up() {
            return;
        }
        node.inbox.push_back(input);
        self.wake_when_ready(place);
    }

    /// Sees that a process with something in its inbox looks at it as soon as it can.
    pub(crate) fn wake_when_ready(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let at = self.now.max(node.busy_until).max(node.paused_until);
        if node.wake_at.is_none() {
            node.wake_at = Some(at);
            self.after(at - self.now, Event::Wake { place });
        }
    }

    fn on_wake(&mut self, place: usize) -> Check {
        let node = &mut self.nodes[place];
        if node.wake_at != Some(self.now) || !node.is_up() {
            return Ok(());
        }
        node.wake_at = None;
        if self.now < node.busy_until.max(node.paused_until) {
            self.wake_when_ready(place);
            return Ok(());
        }
        let inputs: Vec<Input> = node.inbox.drain(..).collect();
        let id = node.id;
        for input in &inputs {
            self.story.input(self.now, id, input);
        }
        let messages = inputs.iter().filter(|input| matches!(input, Input::Message { .. })).count();
        self.wake(place, inputs, messages)
    }

    /// The id of the next client on a seat.
    pub(crate) fn next_client(&self, place: usize) -> NodeId {
        match self.nodes[place].id {
            NodeId::Client(ClientId(id)) => NodeId::Client(ClientId(id + SEATS)),
            server => server,
        }
    }

    /// Ten election timeouts, within which commands must be chosen once faults have ended (I15).
    pub(crate) fn patience_us(&self) -> Us {
        // Connections come back at a pace of their own, which shorter timeouts don't change.
        self.plan.cluster.tuning.election_timeout_ms.max(150) * 10 * 1000
    }

    /// Counts.
    pub(crate) fn see(&mut self, seen: Seen) {
        self.coverage.see(seen);
    }
}
