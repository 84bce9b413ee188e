//! A simulated process: a role as it ships, what waits for it, its timers and its clock.

use std::collections::{BTreeMap, VecDeque};

use synod_acceptor::keeper::Keeper;
use synod_acceptor::{Acceptor, Record};
use synod_journal::memory::MemoryDisk;
use synod_learner::Learner;
use synod_proposer::Proposer;
use synod_protocol::message::{Message, ToAcceptor, ToLearner, ToProposer};
use synod_protocol::role::{Effects, Misdirected, Persist, Role};
use synod_protocol::{NodeId, Slot, Value};

use crate::client::ClientProcess;
use crate::plan::Us;
use crate::scribe::Scribe;

/// Every timer of every role, and the shell's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    Acceptor(synod_acceptor::Timer),
    Proposer(synod_proposer::Timer),
    Learner(synod_learner::Timer),
    /// An acceptor's journal was quiet for a while.
    Seal,
    /// A client's session has something due.
    Session,
    /// A client's caller has thought long enough.
    Think(u64),
}

/// What waits for a process.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Message { from: NodeId, message: Message },
    Timer(Timer),
    Link { peer: NodeId, up: bool },
}

/// A process that runs.
pub(crate) enum Process {
    Acceptor(Box<Voter>),
    Proposer(Box<Proposer>),
    Learner(Box<Scribe>),
    Client(Box<ClientProcess>),
}

/// An acceptor with its journal.
pub(crate) struct Voter {
    pub(crate) role: Acceptor,
    pub(crate) keeper: Keeper<MemoryDisk>,
}

/// A process, running or not, and the machine it runs on.
pub(crate) struct Node {
    /// Who it is; a client that follows another on its seat has an id of its own.
    pub(crate) id: NodeId,
    /// Absent while it is down.
    pub(crate) process: Option<Process>,
    /// An acceptor's or a learner's disk.
    pub(crate) disk: Option<MemoryDisk>,
    /// How many times slower than usual the disk is.
    pub(crate) slowness: u64,
    /// There is a limit to what its disk takes.
    pub(crate) is_full: bool,
    /// A fault was planted in its disk, and may show.
    pub(crate) is_failing: bool,
    /// A bit of its disk was flipped, and it has not been read since.
    pub(crate) is_rotten: bool,
    /// An acceptor's disk was replaced, and the new one isn't readmitted yet.
    pub(crate) is_replaced: bool,
    /// The other one of the disks of which one replaced the other, while both are there.
    pub(crate) old_disk: Option<MemoryDisk>,
    /// How often it was.
    pub(crate) replacements: u64,
    /// The disk that was replaced is in.
    pub(crate) has_old_disk: bool,
    /// The process never starts again.
    pub(crate) gone: bool,
    /// How often it was started.
    pub(crate) life: u64,
    pub(crate) inbox: VecDeque<Input>,
    /// When it is to look at its inbox.
    pub(crate) wake_at: Option<Us>,
    /// Until when it waits for its disk.
    pub(crate) busy_until: Us,
    pub(crate) paused_until: Us,
    /// Timers that run, each with the number of its event.
    pub(crate) timers: BTreeMap<Timer, u64>,
    pub(crate) clock: Clock,
}

impl Node {
    pub(crate) fn new(id: NodeId) -> Node {
        Node {
            id,
            process: None,
            disk: None,
            slowness: 1,
            is_full: false,
            is_failing: false,
            is_rotten: false,
            is_replaced: false,
            old_disk: None,
            replacements: 0,
            has_old_disk: false,
            gone: false,
            life: 0,
            inbox: VecDeque::new(),
            wake_at: None,
            busy_until: 0,
            paused_until: 0,
            timers: BTreeMap::new(),
            clock: Clock { since_us: 0, local_us: 0, per_mille: 1000 },
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// There is no limit to what its disk takes any more.
    pub(crate) fn make_room(&mut self) {
        self.disk.iter().for_each(|disk| disk.limit(None));
        self.is_full = false;
    }

    /// The process ends; its disk stays.
    pub(crate) fn end(&mut self) {
        self.process = None;
        self.inbox.clear();
        self.timers.clear();
        (self.wake_at, self.busy_until, self.paused_until) = (None, 0, 0);
    }
}

/// A clock that may run too fast or too slow, never backwards.
pub(crate) struct Clock {
    since_us: Us,
    local_us: Us,
    per_mille: u64,
}

impl Clock {
    /// What it shows.
    pub(crate) fn local(&self, now: Us) -> Us {
        self.local_us + (now - self.since_us) * self.per_mille / 1000
    }

    /// How long it really takes until it has moved on by so much.
    pub(crate) fn really(&self, local_us: Us) -> Us {
        (local_us * 1000).div_ceil(self.per_mille)
    }

    /// It runs at another rate from here on.
    pub(crate) fn set_rate(&mut self, now: Us, per_mille: u64) {
        *self = Clock { since_us: now, local_us: self.local(now), per_mille };
    }
}

/// A role as the world drives it.
pub(crate) trait Driven: Role {
    fn unwrap(message: Message) -> Option<Self::Message>;
    fn timer(timer: Timer) -> Option<Self::Timer>;
    fn tag(timer: Self::Timer) -> Timer;
}

macro_rules! driven {
    ($role:ident, $message:ident) => {
        impl Driven for $role {
            fn unwrap(message: Message) -> Option<$message> {
                if let Message::$role(message) = message { Some(message) } else { None }
            }
            fn timer(timer: Timer) -> Option<Self::Timer> {
                if let Timer::$role(timer) = timer { Some(timer) } else { None }
            }
            fn tag(timer: Self::Timer) -> Timer {
                Timer::$role(timer)
            }
        }
    };
}

driven!(Acceptor, ToAcceptor);
driven!(Proposer, ToProposer);
driven!(Learner, ToLearner);

/// One batch of events: all that had arrived, as a daemon's wake-up takes it in.
pub(crate) fn absorb<R: Driven>(
    role: &mut R,
    inputs: impl Iterator<Item = Input>,
) -> Result<Effects<R::Record, R::Timer>, Misdirected> {
    let mut effects = Effects::default();
    for input in inputs {
        match input {
            Input::Message { from, message } => {
                let message = R::unwrap(message).expect("typed addresses lead to the role that handles them");
                role.on_message(from, message, &mut effects)?;
            }
            Input::Timer(timer) => {
                if let Some(timer) = R::timer(timer) {
                    role.on_timer(timer, &mut effects);
                }
            }
            Input::Link { peer, up } => role.on_link(peer, up, &mut effects),
        }
    }
    role.end_of_batch(&mut effects);
    Ok(effects)
}

/// Persists through a keeper, and remembers what and whether.
pub(crate) struct Recorder<'a> {
    pub(crate) keeper: &'a mut Keeper<MemoryDisk>,
    pub(crate) records: Vec<Record>,
    pub(crate) error: Option<String>,
}

impl Persist<Record> for Recorder<'_> {
    type Error = ();

    fn persist(&mut self, records: Vec<Record>) -> Result<(), ()> {
        self.records = records.clone();
        self.keeper.persist(records).map_err(|error| self.error = Some(error.to_string()))
    }

    fn load(&mut self, slot: Slot) -> Result<Value, ()> {
        self.keeper.load(slot).map_err(|error| self.error = Some(error.to_string()))
    }
}
