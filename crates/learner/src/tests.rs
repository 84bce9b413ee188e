//! A driver that hands batches of messages to a learner and collects what it releases; the tests by subject.

mod audience;
mod checkpoints;
mod clients;
mod divergence;
mod joining;
mod learning;
mod misdirected;
mod reads;
mod room;
mod snapshots;
mod tight;

use std::collections::BTreeMap;

use synod_protocol::command::{BatchBuilder, Call, Command, Operation, SessionId};
use synod_protocol::message::{
    Chosen, Consistency, Fetched, Message, Read, ReadOutcome, ReadReply, Subscribe, ToAcceptor, ToClient,
    ToProposer, Wants,
};
use synod_protocol::role::{NothingToPersist, TimerOrder};
use synod_protocol::{AcceptorId, ClientId, Slot, Value};

use super::*;

const LIFE: u64 = 1_000;
const C7: ClientId = ClientId(7);
const C8: ClientId = ClientId(8);

type Sent = Vec<(NodeId, Message)>;

struct Driver {
    learner: Learner,
    timers: BTreeMap<Timer, Delay>,
}

fn cluster() -> Cluster {
    let node = |table, id| format!("[[{table}]]\nid = {id}\naddress = \"{table}:{id}\"\n");
    let nodes: String = (1..=5)
        .map(|id| node("acceptors", id))
        .chain((1..=3).flat_map(|id| [node("proposers", id), node("learners", id)]))
        .collect();
    Cluster::parse(&format!("name = \"test\"\n{nodes}"), &[]).unwrap()
}

impl Driver {
    /// Learner l1, linked to everybody in the cluster file.
    fn new() -> Driver {
        Driver::tuned(|_| {})
    }

    fn tuned(tune: impl FnOnce(&mut Tuning)) -> Driver {
        Driver::of(1, tune)
    }

    /// As [`Driver::new`], of another learner, perhaps an observer.
    fn of(id: u16, tune: impl FnOnce(&mut Tuning)) -> Driver {
        let mut config = Config::new(LearnerId(id), LIFE, &cluster());
        tune(&mut config.tuning);
        Driver::start(Learner::new(config, MemoryStorage::default()))
    }

    fn start(learner: Learner) -> Driver {
        let own = NodeId::from(learner.config.id);
        let mut driver = Driver { learner, timers: BTreeMap::new() };
        driver.run(|learner, effects| {
            learner.on_start(effects);
            for (node, _) in cluster().nodes().filter(|(node, _)| *node != own) {
                learner.on_link(node, true, effects);
            }
        });
        driver
    }

    /// One batch.
    fn run(&mut self, batch: impl FnOnce(&mut Learner, &mut Out)) -> Sent {
        let mut effects = Effects::default();
        batch(&mut self.learner, &mut effects);
        self.learner.end_of_batch(&mut effects);
        let released = effects.release(&mut NothingToPersist).unwrap();
        for order in released.timers {
            match order {
                TimerOrder::Set(timer, delay) => self.timers.insert(timer, delay),
                TimerOrder::Cancel(timer) => self.timers.remove(&timer),
            };
        }
        released.messages
    }

    /// One batch of one message.
    fn hear(&mut self, from: impl Into<NodeId>, message: ToLearner) -> Sent {
        self.run(|learner, effects| learner.on_message(from.into(), message, effects).unwrap())
    }

    fn link(&mut self, peer: impl Into<NodeId>, up: bool) -> Sent {
        self.run(|learner, effects| learner.on_link(peer.into(), up, effects))
    }

    /// Fires a timer that is set.
    fn fire(&mut self, timer: Timer) -> Sent {
        self.timers.remove(&timer).unwrap_or_else(|| panic!("{timer:?} isn't set"));
        self.run(|learner, effects| learner.on_timer(timer, effects))
    }

    /// A run of chosen values from the leader p2 of round 5, up to its prefix.
    fn choose(&mut self, first: u64, values: &[Value]) -> Sent {
        self.hear(ProposerId(2), chosen(5, 2, first + values.len() as u64 - 1, first, values))
    }

    /// Opens a session at the next slot.
    fn open(&mut self, nonce: u128) -> SessionId {
        let slot = self.learner.machine.applied().next();
        self.choose(slot.0, &[batch(&[Command::Open { nonce }])]);
        SessionId { slot, position: 0 }
    }

    fn applied(&self) -> u64 {
        self.learner.machine.applied().0
    }
}

fn ballot(round: u64, proposer: u16) -> Ballot {
    Ballot { round, proposer: ProposerId(proposer), life: 9 }
}

fn chosen(round: u64, proposer: u16, prefix: u64, first: u64, values: &[Value]) -> ToLearner {
    let (ballot, prefix) = (ballot(round, proposer), Slot(prefix));
    ToLearner::Chosen(Chosen {
        ballot,
        prefix,
        first: Slot(first),
        values: values.to_vec(),
        withheld_bytes: 0,
    })
}

fn fetched(first: u64, values: &[Value], held: u64) -> ToLearner {
    ToLearner::Fetched(Fetched {
        first: Slot(first),
        values: values.to_vec(),
        held: Slot(held),
        floor: Slot(1),
    })
}

fn batch(commands: &[Command<'_>]) -> Value {
    let mut builder = BatchBuilder::default();
    commands.iter().for_each(|command| builder.push(command));
    builder.finish().0
}

fn put<'a>(session: SessionId, sequence: u64, key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    Command::Call(Call { session, sequence, lowest: 1, operation: Operation::Put { key, value } })
}

/// A value that can be told from another slot's.
fn filler(slot: u64) -> Value {
    batch(&[Command::Expire { session: SessionId { slot: Slot(slot), position: 9 }, renewed: Slot(slot) }])
}

fn fillers(slots: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    slots.map(filler).collect()
}

fn read(id: u64, consistency: Consistency) -> Read<'static> {
    Read { id, key: b"k", consistency }
}

/// What was sent to `to`.
fn sent_to(sent: &Sent, to: impl Into<NodeId>) -> Vec<Message> {
    let to = to.into();
    sent.iter().filter(|(node, _)| *node == to).map(|(_, message)| message.clone()).collect()
}

fn to_client(sent: &Sent, client: ClientId) -> Vec<ToClient> {
    let messages = sent_to(sent, client).into_iter();
    messages
        .filter_map(|message| if let Message::Client(message) = message { Some(message) } else { None })
        .collect()
}
