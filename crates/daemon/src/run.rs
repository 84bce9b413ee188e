//! The run loop: one wake-up takes in everything that has arrived, runs the role, syncs once, and writes once to each peer.
//!
//! The order in which a current-thread runtime polls makes that so, without any delay to wait for more: one turn of epoll
//! wakes a reader task for each socket with bytes, all before any of them runs; the first of them to send an event wakes this
//! loop, which is a task like them and so is queued *behind* them. When the loop runs, every reader of that turn has read its socket
//! dry, and `try_recv` finds all of it. While records are synced, inline, the next batch gathers in the kernel.
//!
//! A turn has two parts when timers are due: first what has arrived, with its timer orders carried out, then the timers that
//! are still due. A process that was paused or waited long for its disk so hears what came meanwhile before it concludes that
//! nothing came. A role for which nobody waits gives way before a batch: a scheduler may leave a core to whoever has it for milliseconds, and somebody for
//! whom a client waits may be next in line. Not before each event: a scheduler may charge dearly for it, and leave the core to others for as long.
//! Upholds S2 (messages come only out of [`Effects::release`]) and S3 (an error of the storage ends the
//! process with nothing sent). Absent on purpose: any knowledge of what messages mean.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;

use synod_protocol::role::{Effects, Persist, Role};
use synod_protocol::wire::Payload;
use synod_protocol::{Cluster, NodeId, Slot, Value};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, Sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::connection::{Connection, Event, Events};
use crate::door::Door;
use crate::failure::Failure;
use crate::peers::Peers;
use crate::storage::Storage;
use crate::timers::Timers;
use crate::{dialer, listener};

/// Events in one batch, at most: timers and writes wait no longer than that.
const BATCH_EVENTS: usize = 4_096;
/// See [`Shell::last_writes`].
const LAST_WRITES: Duration = Duration::from_millis(200);

type Out<R> = Effects<<R as Role>::Record, <R as Role>::Timer>;

/// A role with everything around it.
pub(crate) struct Shell<R: Role, S> {
    role: R,
    storage: S,
    door: Arc<Door>,
    peers: Peers<R::Message>,
    timers: Timers<R::Timer>,
    events: Events<R::Message>,
    inbox: UnboundedReceiver<Event<R::Message>>,
    /// When the storage is told that nothing was persisted for a while.
    idle_at: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    /// Whether the role was told its cluster.
    knows_cluster: bool,
    /// Lets another process have the core.
    pub(crate) give_way: fn(),
    /// Why the process should end.
    stop: Option<&'static str>,
    /// How long what was answered may take to reach the kernel when the process ends.
    pub(crate) last_writes: Duration,
}

impl<R, S> Shell<R, S>
where
    R: Role<Message: Payload + Send, Record: Send, Timer: Send> + Send + 'static,
    S: Storage<R> + Send + 'static,
{
    pub(crate) fn new(
        node: NodeId,
        cluster: Cluster,
        role: R,
        storage: S,
        (events, inbox): (Events<R::Message>, UnboundedReceiver<Event<R::Message>>),
    ) -> Self {
        let door = Arc::new(Door::new(node, cluster, role.standing()));
        let peers = Peers::new(events.clone());
        let now = Instant::now();
        let sleep = Box::pin(sleep_until(now));
        Shell {
            role,
            storage,
            door,
            peers,
            timers: Timers::new(),
            events,
            inbox,
            idle_at: Some(now),
            sleep,
            knows_cluster: false,
            give_way: std::thread::yield_now,
            stop: None,
            last_writes: LAST_WRITES,
        }
    }

    #[cfg(test)]
    pub(crate) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// Sets a timer that is due at once.
    #[cfg(test)]
    pub(crate) fn set_timer_for_test(&mut self, timer: R::Timer) {
        use synod_protocol::role::{Delay, TimerOrder};
        self.timers.apply(TimerOrder::Set(timer, Delay::exactly(0)), Instant::now());
    }

    /// Runs until the process is asked to stop, or can't go on.
    pub(crate) async fn run(mut self, listener: TcpListener) -> Result<(), Failure> {
        let mut effects = Effects::default();
        self.role.on_start(&mut effects);
        self.finish(effects)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(listener::listen(Arc::clone(&self.door), listener, self.events.clone()));
        for (peer, address) in dialer::below(self.door.node, &self.door.cluster) {
            tasks.spawn(dialer::keep_connected(Arc::clone(&self.door), peer, address, self.events.clone()));
        }
        while self.stop.is_none() {
            let first = self.next().await;
            self.turn(first)?;
        }
        tasks.abort_all();
        self.shut_down().await
    }

    /// Waits for an event, or for the next deadline.
    async fn next(&mut self) -> Option<Event<R::Message>> {
        let wake_at = self.timers.wake_at().into_iter().chain(self.idle_at).min();
        let Some(wake_at) = wake_at else { return self.inbox.recv().await };
        // Left alone while it rings early enough: deadlines that move further out all the time cost nothing here.
        if wake_at < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(wake_at);
        }
        tokio::select! {
            biased;
            event = self.inbox.recv() => event,
            () = self.sleep.as_mut() => None,
        }
    }

    /// Takes in `first` and all that is there, then what is due; then writes.
    pub(crate) fn turn(&mut self, first: Option<Event<R::Message>>) -> Result<(), Failure> {
        if first.is_some() {
            let mut effects = Effects::default();
            let mut next = first;
            if self.role.gives_way() {
                (self.give_way)();
            }
            for _ in 1..BATCH_EVENTS {
                let Some(event) = next else { break };
                self.take_in(event, &mut effects);
                next = if self.stop.is_none() { self.inbox.try_recv().ok() } else { None };
            }
            if let Some(last) = next {
                self.take_in(last, &mut effects);
            }
            self.finish(effects)?;
        }
        let due = self.timers.due(Instant::now());
        if !due.is_empty() {
            let mut effects = Effects::default();
            for timer in due {
                self.role.on_timer(timer, &mut effects);
            }
            self.finish(effects)?;
        }
        self.peers.flush();
        self.housekeep()
    }

    fn take_in(&mut self, event: Event<R::Message>, effects: &mut Out<R>) {
        match event {
            Event::Message { from, connection, message, budget } => {
                self.on_message(from, connection, message, effects);
                drop(budget);
            }
            Event::Up(connection) => self.on_up(connection, effects),
            Event::Down { node, connection } => self.on_down(node, connection, effects),
            Event::Writable { node, connection } => self.peers.on_writable(node, connection),
            Event::Stop(why) => self.stop = Some(why),
            Event::Refused(refused) => effects.halt(refused.to_string()),
        }
    }

    fn on_message(&mut self, from: NodeId, connection: u64, message: R::Message, effects: &mut Out<R>) {
        if !self.peers.is_current(from, connection) {
            return debug!(peer = %from, "dropped a message of a connection that was closed");
        }
        if let Err(misdirected) = self.role.on_message(from, message, effects) {
            if let Some(total) = self.door.counts.garbage.note() {
                warn!(peer = %from, error = %misdirected, total, "closed a connection that sent what it may not send");
            }
            self.on_down(from, connection, effects);
        }
    }

    fn on_up(&mut self, connection: Connection, effects: &mut Out<R>) {
        let node = connection.node;
        let cluster = self.door.own().standing.cluster.filter(|_| !self.knows_cluster);
        if let Some(cluster) = cluster {
            self.knows_cluster = true;
            self.role.on_cluster(cluster, effects);
        }
        if self.peers.insert(connection) {
            debug!(peer = %node, "connected again: its older connection is closed");
            self.role.on_link(node, false, effects);
        }
        self.role.on_link(node, true, effects);
    }

    fn on_down(&mut self, node: NodeId, connection: u64, effects: &mut Out<R>) {
        if self.peers.remove(node, connection) {
            self.role.on_link(node, false, effects);
        }
    }

    /// Makes a batch durable, and then lets its messages and timer orders out.
    fn finish(&mut self, mut effects: Out<R>) -> Result<(), Failure> {
        self.role.end_of_batch(&mut effects);
        let mut noted = Noted { storage: &mut self.storage, persisted: false };
        let released = effects.release(&mut noted);
        let persisted = noted.persisted;
        let released = released.map_err(|error| self.broken("make its records durable", &error))?;
        self.door.set_standing(self.role.standing());
        if let Some(incarnations) = self.role.incarnations()
            && self.door.note_incarnations(incarnations)
        {
            self.peers.hang_up_replaced(incarnations);
        }
        let now = Instant::now();
        for order in released.timers {
            self.timers.apply(order, now);
        }
        for (to, message) in &released.messages {
            self.peers.send(*to, message, &self.door);
        }
        if let Some(why) = released.halt {
            return Err(Failure::fatal(why));
        }
        if persisted {
            self.idle_at = Some(now + Duration::from_millis(self.door.cluster.tuning.seal_ms));
        }
        Ok(())
    }

    /// Gives the storage its time, when what this turn answered is on its way.
    fn housekeep(&mut self) -> Result<(), Failure> {
        self.storage
            .after_batch(&mut self.role)
            .map_err(|error| self.broken("keep its storage in order", &error))?;
        let now = Instant::now();
        if self.idle_at.is_some_and(|idle_at| idle_at <= now) {
            let more = self
                .storage
                .on_idle(&mut self.role)
                .map_err(|error| self.broken("keep its storage in order", &error))?;
            self.idle_at = more.then_some(now);
        }
        Ok(())
    }

    async fn shut_down(mut self) -> Result<(), Failure> {
        info!(why = self.stop, "stops");
        self.peers.drain(Instant::now() + self.last_writes).await;
        self.storage.on_shutdown(&mut self.role).map_err(|error| self.broken("close its storage", &error))?;
        info!("stopped");
        Ok(())
    }

    fn broken(&self, what: &str, error: &dyn Display) -> Failure {
        Failure::fatal(format!(
            "S3: {} could not {what}: {error}; nothing that depends on it was sent, and it isn't tried again; look after the \
             disk, then start this process again",
            self.door.node
        ))
    }
}

/// Notes whether anything was persisted.
struct Noted<'a, S> {
    storage: &'a mut S,
    persisted: bool,
}

impl<R, S: Persist<R>> Persist<R> for Noted<'_, S> {
    type Error = S::Error;

    fn persist(&mut self, records: Vec<R>) -> Result<(), Self::Error> {
        self.persisted = true;
        self.storage.persist(records)
    }

    fn load(&mut self, slot: Slot) -> Result<Value, Self::Error> {
        self.storage.load(slot)
    }
}
