//! Takes callers in: a handshake within `hello_timeout_ms`, the checks at the door, then reading until the end.
//!
//! Handshakes under way are bounded; when too many callers say nothing, the one that has been silent longest is closed, so
//! that a crowd of slow callers can't keep a quick one out. A caller that is refused is told why. Callers that come and go are
//! logged at debug level only: the side that dials logs what changes, and some dial again and again for good reasons.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use synod_protocol::link::{self, LinkError};
use synod_protocol::wire::Payload;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Duration, sleep};
use tracing::{debug, warn};

use crate::connection::{self, Event, Events};
use crate::door::Door;

/// Handshakes under way, at most.
const HANDSHAKES: usize = 1_024;
/// How long to leave the kernel alone when it has no connection to give (out of files or memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The handshakes under way, oldest first.
type Handshakes = Arc<Mutex<BTreeMap<u64, AbortHandle>>>;

/// Takes callers in, for ever.
pub(crate) async fn listen<M: Payload + Send + 'static>(
    door: Arc<Door>,
    listener: TcpListener,
    events: Events<M>,
) {
    listen_with(door, listener, events, HANDSHAKES).await;
}

pub(crate) async fn listen_with<M: Payload + Send + 'static>(
    door: Arc<Door>,
    listener: TcpListener,
    events: Events<M>,
    most: usize,
) {
    let handshakes = Handshakes::default();
    let mut number = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(total) = door.counts.accept.note() {
                    warn!(%error, total, "cannot take a connection; is the limit of open files (ulimit -n) too low?");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        number += 1;
        let mut open = handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= most
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.abort();
            note_refused(&door, "too many callers that say no hello: closed the oldest");
        }
        let task = take_in(Arc::clone(&door), stream, events.clone(), Arc::clone(&handshakes), number);
        // Inserted under the lock, so before the task, which removes it, gets to run.
        open.insert(number, tokio::spawn(task).abort_handle());
    }
}

async fn take_in<M: Payload>(
    door: Arc<Door>,
    stream: TcpStream,
    events: Events<M>,
    handshakes: Handshakes,
    number: u64,
) {
    let mut place = None;
    let answer = link::answer(stream, door.hello_timeout(), |hello| {
        let (own, served) = door.answer(hello);
        if served.is_ok() {
            // Counted at once: another caller may be asked about before this answer is written.
            place = Some(door.count_in(hello.from));
        }
        (own, served)
    });
    let link = answer.await;
    handshakes.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    match link {
        Ok(link) => {
            let peer = link.hello.from;
            debug!(%peer, "caller connected");
            let why = connection::serve(&door, link, &events).await;
            debug!(%peer, %why, "caller gone");
        }
        Err(LinkError::Refused(refused)) if door.is_stopped_by(&refused) => {
            // The run loop has gone only when the process is about to end anyway.
            let _ending = events.send(Event::Refused(refused));
        }
        // Someone who only looks whether the port is open, such as a health check.
        Err(LinkError::ClosedEarly) => debug!("a caller left before its hello"),
        Err(
            error @ (LinkError::Io(_) | LinkError::Wire(_) | LinkError::Refused(_) | LinkError::NoHello(_)),
        ) => {
            note_refused(&door, &error.to_string());
        }
    }
}

fn note_refused(door: &Door, why: &str) {
    if let Some(total) = door.counts.refused.note() {
        warn!(%why, total, "refused a caller");
    }
}
