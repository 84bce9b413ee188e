//! Log lines on standard error, text or JSON: each tells who speaks, by a span around everything the process does.
//!
//! A panic is a broken rule or a bug: it is logged with its place and ends the process at once, before anything half done
//! can be sent.

use std::io::IsTerminal;

use synod_protocol::NodeId;
use tracing::span::EnteredSpan;
use tracing::{error, error_span};
use tracing_subscriber::EnvFilter;

use crate::arguments::ConfigError;

/// The message of the line that says a daemon listens and runs; a supervisor may wait for it.
pub const READY: &str = "listening";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A filter, or what is wrong with it.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, ConfigError> {
    EnvFilter::try_new(text)
        .map_err(|error| ConfigError::Filter { filter: text.to_string(), error: error.to_string() })
}

/// Starts logging and names this process in every line, for as long as what it returns lives.
pub(crate) fn start(node: NodeId, format: LogFormat, filter: EnvFilter) -> EnteredSpan {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only if this process has a subscriber already, and then that one does the work.
    let _already_there = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    };
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
        error!(%node, %place, message = panic_text(panic), "stopped by a broken assertion; nothing more is sent");
        std::process::abort();
    }));
    // At error level, so that no filter but "off" hides who speaks.
    error_span!("node", id = %node).entered()
}

fn panic_text<'a>(panic: &'a std::panic::PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
