//! Is a history of calls to a map of keys linearizable (Herlihy and Wing 1990)? Two answers that don't trust each other.
//!
//! ```
//! use synod_checker::{Call, History, Reply, certificate, search};
//!
//! let mut history = History::new();
//! let put = history.call(1, "key", Call::Put("X".into()), 10);
//! history.ok(put, Reply::Put, Some(1), 20);
//! let get = history.call(2, "key", Call::Get, 30);
//! history.ok(get, Reply::Found(None), Some(1), 40);
//! println!("{}", search(&history).unwrap_err());
//! println!("{}", certificate(&history).unwrap_err());
//! ```
//!
//! [`certificate`] believes the slots that replies carry: in that order it replays every reply, and checks that the order keeps to
//! real time. Cheap, and strict: an order that is wrong is a violation even where another would explain the replies. [`search`]
//! looks at calls, replies and times alone, key by key (linearizability is local), for any order that explains them: Wing and
//! Gong's search (1993) with Lowe's memory of what was tried (2017).
//!
//! Time is whatever counts up; a call that returned at the moment at which another was called is taken to overlap it. A call that ended
//! as unknown takes effect at any time after it was called, or never; one that failed for certain has no effect. Values
//! need not be unique. Absent on purpose: clocks, threads, and anything of Synod's own: it is used to judge that.

mod certificate;
mod explain;
mod flaw;
mod history;
mod keys;
mod order;
mod search;
mod shrink;
#[cfg(test)]
mod tests;
mod verdict;

pub use certificate::certificate;
pub use history::{Call, CallId, History, Operation, Outcome, Reply};
pub use search::{DEFAULT_BOUND, search, search_within};
pub use verdict::{Check, Exhausted, Rejected, Stats, Violation};
