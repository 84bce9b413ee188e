//! The contract between a role and the shell around it: events in, effects out, and persist-before-send as a type.
//!
//! A role is a plain state machine: no socket, file, clock, thread or random number. The shell (daemon, simulator or model)
//! feeds it events; the role writes what should happen into [`Effects`]. Records and messages are private there, and the
//! only way to get the messages out is [`Effects::release`], which first hands the records to something that makes them
//! durable (S2). Many events may be absorbed before one release: many messages, one write, one sync, then all replies.

use std::fmt::Debug;

use synod_planted::Bug;

use crate::hello::Standing;
use crate::ids::{ClusterId, NodeId, Slot};
use crate::incarnations::Incarnations;
use crate::message::{Address, Message};
use crate::value::Value;
use crate::wire;

/// A role's state machine.
///
/// The shell calls [`Role::on_start`] once; then, for each batch of events, the handlers, [`Role::end_of_batch`], and
/// [`Effects::release`].
pub trait Role {
    /// What this role receives.
    type Message;
    /// What this role makes durable; [`Never`] for a role that keeps nothing.
    type Record;
    /// Its timers.
    type Timer: Copy + Ord + Debug;

    /// The process has started (after recovery).
    fn on_start(&mut self, effects: &mut Effects<Self::Record, Self::Timer>);

    /// A message has come. An error closes the connection it came by.
    fn on_message(
        &mut self,
        from: NodeId,
        message: Self::Message,
        effects: &mut Effects<Self::Record, Self::Timer>,
    ) -> Result<(), Misdirected>;

    /// A quorum of acceptors has told which cluster this process is in; told once, before any link is.
    fn on_cluster(&mut self, _cluster: ClusterId, _effects: &mut Effects<Self::Record, Self::Timer>) {}

    /// A timer set earlier has fired.
    fn on_timer(&mut self, timer: Self::Timer, effects: &mut Effects<Self::Record, Self::Timer>);

    /// A connection to or from `peer` has come up, or gone.
    fn on_link(&mut self, peer: NodeId, up: bool, effects: &mut Effects<Self::Record, Self::Timer>);

    /// Everything that had arrived has been handled: what was held back to be grouped goes out here.
    fn end_of_batch(&mut self, effects: &mut Effects<Self::Record, Self::Timer>);

    /// What this role says of itself in a hello; only asked when nothing is unreleased.
    fn standing(&self) -> Standing;

    /// Which acceptors' disks count, and how far they have come (S12), as far as it knows; nothing for a role that counts no quorums. The
    /// shell uses no connection to an acceptor with a disk that was replaced, or went back.
    fn incarnations(&self) -> Option<&Incarnations> {
        None
    }

    /// Whether nobody waits for what it does now, so that another process may have the core first.
    fn gives_way(&self) -> bool {
        false
    }
}

/// A message that its sender had no business sending here; the connection is closed, nothing else changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} may not send this: {why}")]
pub struct Misdirected {
    /// Who sent it.
    pub from: NodeId,
    /// What is wrong with it.
    pub why: String,
}

impl Misdirected {
    /// An error about a message of `from`.
    pub fn new(from: impl Into<NodeId>, why: impl Into<String>) -> Self {
        Misdirected { from: from.into(), why: why.into() }
    }
}

/// The record of a role that keeps nothing durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Never {}

/// Makes records durable: returns only once they are synced, or with the error that ends the process (S3).
pub trait Persist<R> {
    /// Why it failed.
    type Error;
    /// Makes all `records` durable, in order. Not called for none.
    fn persist(&mut self, records: Vec<R>) -> Result<(), Self::Error>;

    /// The value of the latest vote for `slot` that was persisted: for roles that keep some values on disk only and send them by
    /// [`Effects::send_filled`]. An error ends the process.
    fn load(&mut self, slot: Slot) -> Result<Value, Self::Error> {
        unreachable!("slot {slot}: a role whose values are on disk only persists through what can load them")
    }
}

/// For roles without records.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingToPersist;

impl Persist<Never> for NothingToPersist {
    type Error = std::convert::Infallible;
    fn persist(&mut self, _records: Vec<Never>) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// How long a timer runs: the shell draws a time between `least_ms` and `most_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Delay {
    /// Milliseconds at least.
    pub least_ms: u64,
    /// Milliseconds at most.
    pub most_ms: u64,
}

impl Delay {
    /// Exactly `ms` milliseconds.
    pub fn exactly(ms: u64) -> Delay {
        Delay { least_ms: ms, most_ms: ms }
    }

    /// Anything between `least_ms` and `most_ms` milliseconds.
    pub fn between(least_ms: u64, most_ms: u64) -> Delay {
        Delay { least_ms, most_ms: most_ms.max(least_ms) }
    }
}

/// Starts, restarts or stops one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerOrder<T> {
    /// Fires once after the delay; replaces what was set for the same tag.
    Set(T, Delay),
    /// Doesn't fire.
    Cancel(T),
}

/// What a role wants to happen. Records and messages can be put in by anyone and taken out by [`Effects::release`] alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Effects<R, T> {
    records: Vec<R>,
    messages: Vec<(NodeId, Message)>,
    fills: Vec<Fill>,
    timers: Vec<TimerOrder<T>>,
    halt: Option<String>,
}

/// A hole in a message, and the slot whose value fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fill {
    message: usize,
    value: usize,
    slot: Slot,
}

impl<R, T> Default for Effects<R, T> {
    fn default() -> Self {
        Effects {
            records: Vec::new(),
            messages: Vec::new(),
            fills: Vec::new(),
            timers: Vec::new(),
            halt: None,
        }
    }
}

/// What may leave: the records that came before it are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// Messages, in the order in which they were sent.
    pub messages: Vec<(NodeId, Message)>,
    /// Timer orders, in order.
    pub timers: Vec<TimerOrder<T>>,
    /// Why the process must end, once the messages are out.
    pub halt: Option<String>,
}

impl<R, T> Effects<R, T> {
    /// Asks for `record` to be durable before any message of this batch leaves.
    pub fn persist(&mut self, record: R) {
        self.records.push(record);
    }

    /// Sends `message` to `to`; the id's type decides what it can be sent.
    pub fn send<A: Address>(&mut self, to: A, message: A::Message) {
        self.messages.push((to.into(), A::wrap(message)));
    }

    /// Sends `message` with holes in it ([`Value::hole`]): each place in `fills` (counted over all values in the message, in the order
    /// of serialisation) takes the value that was persisted for that slot before this batch.
    pub fn send_filled<A: Address>(&mut self, to: A, message: A::Message, fills: Vec<(usize, Slot)>) {
        let at = self.messages.len();
        self.fills.extend(fills.into_iter().map(|(value, slot)| Fill { message: at, value, slot }));
        self.send(to, message);
    }

    /// Starts or restarts a timer.
    pub fn set_timer(&mut self, timer: T, delay: Delay) {
        self.timers.push(TimerOrder::Set(timer, delay));
    }

    /// Stops a timer.
    pub fn cancel_timer(&mut self, timer: T) {
        self.timers.push(TimerOrder::Cancel(timer));
    }

    /// Ends the process, with a reason that tells people what to do; the first one counts.
    pub fn halt(&mut self, why: impl Into<String>) {
        self.halt.get_or_insert_with(|| why.into());
    }

    /// Whether there is nothing to release.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.messages.is_empty() && self.timers.is_empty() && self.halt.is_none()
    }

    /// Makes the records durable, and only then gives out the messages and timer orders. On an error nothing gets out.
    ///
    /// Holes are filled first: what a message tells of a slot is the vote from before this batch's records.
    pub fn release<P: Persist<R>>(mut self, persist: &mut P) -> Result<Released<T>, P::Error> {
        for fill in std::mem::take(&mut self.fills) {
            let value = persist.load(fill.slot)?;
            fill_hole(&mut self.messages[fill.message].1, fill, value);
        }
        if !self.records.is_empty() {
            let persisted = persist.persist(self.records);
            if !synod_planted::is(Bug::ReplyBeforeSync) {
                persisted?;
            }
        }
        Ok(Released { messages: self.messages, timers: self.timers, halt: self.halt })
    }
}

/// # Panics
/// If there is no such hole in the message, or the value has another length: the role and its storage disagree on what was voted.
fn fill_hole(message: &mut Message, fill: Fill, value: Value) {
    let (mut at, mut found) = (0, Some(value));
    wire::values_mut(message, &mut |hole| {
        if at == fill.value {
            let value = found.take().expect("each place is visited once");
            assert!(
                hole.is_hole() && hole.len() == value.len(),
                "I12: slot {}: {} bytes were voted for, {} were loaded",
                fill.slot,
                hole.len(),
                value.len()
            );
            *hole = value;
        }
        at += 1;
    });
    assert!(found.is_none(), "slot {}: the message has no value number {}", fill.slot, fill.value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProposerId;
    use crate::message::ToProposer;

    struct Disk {
        synced: Vec<u32>,
        broken: bool,
    }

    impl Persist<u32> for Disk {
        type Error = &'static str;
        fn persist(&mut self, records: Vec<u32>) -> Result<(), Self::Error> {
            if self.broken {
                return Err("sync failed");
            }
            self.synced.extend(records);
            Ok(())
        }
        fn load(&mut self, slot: Slot) -> Result<Value, Self::Error> {
            if self.broken {
                return Err("damaged");
            }
            // What it has persisted so far shows in the value.
            Ok(Value::new(vec![slot.0 as u8, self.synced.len() as u8].into()))
        }
    }

    fn fetched(values: Vec<Value>) -> ToProposer {
        ToProposer::Fetched(crate::message::Fetched {
            first: Slot(1),
            values,
            held: Slot(9),
            floor: Slot::FIRST,
        })
    }

    fn effects() -> Effects<u32, u8> {
        let mut effects = Effects::default();
        effects.send(ProposerId(1), ToProposer::Status { request: 1 });
        effects.persist(7);
        effects.set_timer(1, Delay::exactly(5));
        effects
    }

    #[test]
    fn s2_messages_leave_only_after_the_records_are_durable() {
        let mut disk = Disk { synced: Vec::new(), broken: false };
        let released = effects().release(&mut disk).unwrap();
        assert_eq!(
            (disk.synced.as_slice(), released.messages.len(), released.timers.len()),
            ([7].as_slice(), 1, 1)
        );
    }

    #[test]
    fn s3_nothing_leaves_when_the_disk_fails() {
        let mut disk = Disk { synced: Vec::new(), broken: true };
        assert_eq!(effects().release(&mut disk), Err("sync failed"));
    }

    #[test]
    fn s2_holes_are_filled_with_what_was_there_before_the_records_of_the_batch() {
        let mut disk = Disk { synced: Vec::new(), broken: false };
        let mut effects = effects();
        let values = vec![Value::hole(2), Value::NOOP, Value::hole(2)];
        effects.send_filled(ProposerId(1), fetched(values), vec![(0, Slot(5)), (2, Slot(7))]);
        let released = effects.release(&mut disk).unwrap();
        let filled = |slot: u8| Value::new(vec![slot, 0].into());
        let expected = fetched(vec![filled(5), Value::NOOP, filled(7)]);
        assert_eq!(released.messages[1].1, Message::Proposer(expected));
        assert_eq!(disk.synced, [7]);
    }

    #[test]
    fn i12_nothing_leaves_when_a_value_cannot_be_loaded() {
        let mut disk = Disk { synced: Vec::new(), broken: true };
        let mut effects = Effects::<u32, u8>::default();
        effects.send_filled(ProposerId(1), fetched(vec![Value::hole(2)]), vec![(0, Slot(5))]);
        assert_eq!(effects.release(&mut disk), Err("damaged"));
    }

    #[test]
    #[should_panic(expected = "I12")]
    fn i12_a_value_of_another_length_is_none_that_was_voted_for() {
        let mut disk = Disk { synced: Vec::new(), broken: false };
        let mut effects = Effects::<u32, u8>::default();
        effects.send_filled(ProposerId(1), fetched(vec![Value::hole(3)]), vec![(0, Slot(5))]);
        drop(effects.release(&mut disk));
    }
}
