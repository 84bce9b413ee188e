//! How a call ends: ok, failed for certain, or unknown. Three ways, never a fourth.

use synod_protocol::command::{Record, Refusal};
use synod_protocol::{Revision, Slot};

/// What a call came to, and where in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// The slot at which a write took effect, or the applied slot at which a read was answered.
    pub slot: Slot,
}

/// Why a call did certainly not happen, and will not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Until the deadline nobody took the call.
    #[error(
        "nobody took the call before its deadline{}: nothing was done; see with `synod status` whether a quorum of \
         acceptors, a proposer and a learner are up, then try again", because(.trouble.as_deref())
    )]
    NoQuorum {
        /// The last trouble with a connection, if any.
        trouble: Option<String>,
    },
    /// The cluster had too much to do until the deadline, or as many calls as may were waiting in this client already.
    #[error(
        "the cluster was over its limits until the deadline, or too many calls waited for it in this client already: nothing was done; try again \
         later, or with less at once"
    )]
    Busy,
    /// The cluster holds as many sessions as it allows.
    #[error(
        "the cluster holds as many sessions as it allows ([limits] sessions): nothing was done; close other clients, or wait \
         until their sessions expire"
    )]
    TooManySessions,
    /// The state machine refused it.
    #[error("refused: {0}; nothing was done")]
    Refused(#[from] Refusal),
    /// The client was closed.
    #[error("this client is closed: nothing was done")]
    Closed,
}

fn because(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(" (last trouble: {trouble})"))
}

/// Why a call wasn't answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It did not happen and never will.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It may have happened, or not; it can't happen any more once a later command of the same session was answered and
    /// all calls that began before this one have ended. Reads never end so.
    #[error(
        "no answer before the deadline: it may or may not have happened, or may happen yet; nothing else is affected; read the \
         key to see"
    )]
    Unknown,
}

/// What came of a call, without its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The key is set.
    Put {
        /// The revision that set it.
        revision: Revision,
    },
    /// The key is gone.
    Deleted {
        /// The revision that removed it, if it was there.
        revision: Option<Revision>,
    },
    /// The key's value and revisions, if it has one.
    Value(Option<Record>),
    /// The key is as the backup has it, or the restore has ended.
    Restored,
    /// The session lives on.
    Renewed,
    /// The session is closed.
    Closed,
}

/// How a call ended.
pub type Ended = Result<Answer<What>, CallError>;
