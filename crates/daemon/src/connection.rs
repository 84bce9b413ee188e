//! One established connection, read until it ends: frames in, events for the run loop out.
//!
//! What is read and not yet handled is bounded by a budget of bytes for each connection; beyond it the connection isn't read,
//! and the kernel's flow control does the rest. Something that isn't a message ends this connection and no other.

use std::sync::Arc;

use synod_protocol::NodeId;
use synod_protocol::hello::{Refused, Standing};
use synod_protocol::link::{FrameReader, Link, Outbox};
use synod_protocol::wire::{self, Payload};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tracing::warn;

use crate::door::Door;

/// What the run loop takes in, in the order in which it came; of one connection: Up, then its messages, then Down.
#[derive(Debug)]
pub(crate) enum Event<M> {
    /// A connection is established.
    Up(Connection),
    /// A message has come.
    Message {
        from: NodeId,
        connection: u64,
        message: M,
        /// Its bytes in the connection's budget, given back when it has been handled.
        budget: OwnedSemaphorePermit,
    },
    /// A connection has ended, or must be.
    Down { node: NodeId, connection: u64 },
    /// A connection whose socket was full takes bytes again.
    Writable { node: NodeId, connection: u64 },
    /// The process should end.
    Stop(&'static str),
    /// Whoever dials us says that we must take part no more (S12).
    Refused(Refused),
}

pub(crate) type Events<M> = UnboundedSender<Event<M>>;

/// The run loop's side of a connection; dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) node: NodeId,
    pub(crate) number: u64,
    /// What the other side told of itself.
    pub(crate) standing: Standing,
    pub(crate) outbox: Outbox,
    /// The reader ends when this is dropped.
    pub(crate) _closer: oneshot::Sender<std::convert::Infallible>,
}

/// Reads an established link to its end; tells why it ended.
pub(crate) async fn serve<M: Payload>(door: &Door, link: Link, events: &Events<M>) -> String {
    let Link { hello, reader, outbox } = link;
    let (node, number) = (hello.from, door.number_connection());
    let (closer, closed) = oneshot::channel();
    // The run loop has gone only when the process is about to end; then nobody misses what isn't told.
    let _ending = events.send(Event::Up(Connection {
        node,
        number,
        standing: hello.standing,
        outbox,
        _closer: closer,
    }));
    let ended = read(door, node, number, reader, closed, events).await;
    let _ending = events.send(Event::Down { node, connection: number });
    ended
}

async fn read<M: Payload>(
    door: &Door,
    node: NodeId,
    number: u64,
    mut reader: FrameReader,
    mut closed: oneshot::Receiver<std::convert::Infallible>,
    events: &Events<M>,
) -> String {
    let budget_bytes =
        door.cluster.tuning.inbound_bytes.min(u64::from(u32::MAX)).min(Semaphore::MAX_PERMITS as u64);
    let budget = Arc::new(Semaphore::new(budget_bytes as usize));
    loop {
        let frame = tokio::select! {
            biased;
            _ = &mut closed => return "closed here".into(),
            frame = reader.next() => frame,
        };
        let frame = match frame {
            None => return "closed by the other side".into(),
            Some(Err(error)) => return refuse(door, node, &error),
            Some(Ok(frame)) => frame,
        };
        // A frame larger than the whole budget takes all of it, and so waits until it is alone.
        let bytes = (frame.len() as u64).min(budget_bytes) as u32;
        let message = match wire::decode_frame(frame) {
            Ok(message) => message,
            Err(error) => return refuse(door, node, &error),
        };
        let permit = match Arc::clone(&budget).try_acquire_many_owned(bytes) {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => tokio::select! {
                biased;
                _ = &mut closed => return "closed here".into(),
                permit = Arc::clone(&budget).acquire_many_owned(bytes) => {
                    permit.expect("nobody closes this semaphore")
                }
            },
        };
        let _ending = events.send(Event::Message { from: node, connection: number, message, budget: permit });
    }
}

/// Counts an error on an established connection, and logs it if it isn't the usual end of one.
fn refuse(door: &Door, node: NodeId, error: &(impl std::error::Error + 'static)) -> String {
    let error: &(dyn std::error::Error + 'static) = error;
    let gone = error.downcast_ref::<std::io::Error>().is_some_and(|error| error.raw_os_error().is_some());
    if !gone && let Some(total) = door.counts.garbage.note() {
        warn!(peer = %node, %error, total, "closed a connection that sent something else than messages");
    }
    error.to_string()
}
