//! What ends a daemon that is well: SIGTERM, SIGINT, or the lifeline's end.

use std::io::Read;

use tokio::signal::unix::{SignalKind, signal};

use crate::connection::{Event, Events};
use crate::failure::Failure;

/// Turns signals, and with `lifeline` the end of standard input, into [`Event::Stop`]. To be called inside the runtime.
pub(crate) fn watch<M: Send + 'static>(lifeline: bool, events: &Events<M>) -> Result<(), Failure> {
    let cannot = |error| {
        Failure::fatal(format!("cannot watch for signals: {error}; nothing was started; start it again"))
    };
    for (kind, name) in [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")] {
        let mut signals = signal(kind).map_err(cannot)?;
        let events = events.clone();
        tokio::spawn(async move {
            signals.recv().await;
            // The run loop has gone only when the process is ending anyway.
            let _ending = events.send(Event::Stop(name));
        });
    }
    if lifeline {
        let events = events.clone();
        // A thread of its own: reading standard input can't be interrupted, and must not hold up the end of the process.
        std::thread::spawn(move || {
            wait_for_end(std::io::stdin().lock());
            let _ending = events.send(Event::Stop("lifeline closed"));
        });
    }
    Ok(())
}

/// Reads until there is nothing more to come; what is read doesn't matter.
fn wait_for_end(mut input: impl Read) {
    let mut buffer = [0; 256];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A lifeline that can't be read can't hold anything.
            Err(_) => return,
        }
    }
}
