//! What clients asked, when, and what they were answered.

use std::fmt;

use bytes::Bytes;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Sets the key to a value.
    Put(Bytes),
    /// Removes the key.
    Delete,
    /// Reads the key.
    Get,
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a put.
    Put,
    /// To a delete.
    Deleted {
        /// Whether the key was there.
        existed: bool,
    },
    /// To a get: the value, if the key has one.
    Found(Option<Bytes>),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Ok {
        /// The reply.
        reply: Reply,
        /// The slot at which a write took effect, or the applied slot at which a get was answered: it saw every write of that slot.
        slot: Option<u64>,
    },
    /// It had no effect, and never will.
    Failed,
    /// It may have taken effect, may do so yet, or never.
    Unknown,
}

/// One call, from beginning to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who called; a client may have several calls under way.
    pub client: u64,
    /// The key.
    pub key: Bytes,
    /// What was asked.
    pub call: Call,
    /// When it was asked.
    pub called_at: u64,
    /// When the client was answered, or gave up; absent while it waits.
    pub returned_at: Option<u64>,
    /// How it ended; unknown while it hasn't.
    pub outcome: Outcome,
}

/// Names a call of one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(usize);

/// The calls of a run. A call that is never ended counts as unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// Without calls.
    pub fn new() -> History {
        History::default()
    }

    /// A call begins.
    pub fn call(&mut self, client: u64, key: impl Into<Bytes>, call: Call, at: u64) -> CallId {
        let key = key.into();
        let (returned_at, outcome) = (None, Outcome::Unknown);
        self.operations.push(Operation { client, key, call, called_at: at, returned_at, outcome });
        CallId(self.operations.len() - 1)
    }

    /// A call was answered; `slot` as in [`Outcome::Ok`].
    ///
    /// # Panics
    /// As [`History::failed`], and when the reply is to another kind of call.
    pub fn ok(&mut self, id: CallId, reply: Reply, slot: Option<u64>, at: u64) {
        let fits = match (&self.operations[id.0].call, &reply) {
            (Call::Put(_), Reply::Put) | (Call::Delete, Reply::Deleted { .. }) => true,
            (Call::Get, Reply::Found(_)) => true,
            (Call::Put(_) | Call::Delete | Call::Get, _) => false,
        };
        assert!(fits, "{reply:?} is no reply to {:?}", self.operations[id.0]);
        self.end(id, Outcome::Ok { reply, slot }, at);
    }

    /// A call failed for certain.
    ///
    /// # Panics
    /// When the call has ended before, or ends before it began.
    pub fn failed(&mut self, id: CallId, at: u64) {
        self.end(id, Outcome::Failed, at);
    }

    /// The client gave up: the call may have taken effect or not, or may do so yet.
    ///
    /// # Panics
    /// As [`History::failed`].
    pub fn unknown(&mut self, id: CallId, at: u64) {
        self.end(id, Outcome::Unknown, at);
    }

    fn end(&mut self, id: CallId, outcome: Outcome, at: u64) {
        let operation = &mut self.operations[id.0];
        assert!(operation.returned_at.is_none(), "it ended before: {operation:?}");
        assert!(operation.called_at <= at, "it ends at {at}, before it began: {operation:?}");
        operation.returned_at = Some(at);
        operation.outcome = outcome;
    }

    /// Every call, in the order in which they were told.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

impl Operation {
    /// Whether it was answered.
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok { .. })
    }

    /// The slot that its reply carries.
    pub fn slot(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok { slot, .. } => slot,
            Outcome::Failed | Outcome::Unknown => None,
        }
    }

    /// When it was under way.
    pub(crate) fn interval(&self) -> String {
        match self.returned_at {
            Some(returned_at) => format!("[{}..{returned_at}]", self.called_at),
            None => format!("[{}..]", self.called_at),
        }
    }

    /// What was asked: `put "X" by c3 [120..180]`.
    pub(crate) fn asked(&self) -> String {
        let call = match &self.call {
            Call::Put(value) => format!("put {value:?}"),
            Call::Delete => "delete".to_string(),
            Call::Get => "get".to_string(),
        };
        format!("{call} by c{} {}", self.client, self.interval())
    }

    /// What came of it: `found "X"`.
    pub(crate) fn came_to(&self) -> String {
        match &self.outcome {
            Outcome::Ok { reply: Reply::Put, .. } => "ok".to_string(),
            Outcome::Ok { reply: Reply::Deleted { existed: true }, .. } => "found it there".to_string(),
            Outcome::Ok { reply: Reply::Deleted { existed: false }, .. } => "found nothing there".to_string(),
            Outcome::Ok { reply: Reply::Found(Some(value)), .. } => format!("found {value:?}"),
            Outcome::Ok { reply: Reply::Found(None), .. } => "found nothing".to_string(),
            Outcome::Failed => "failed for certain".to_string(),
            Outcome::Unknown => "outcome unknown".to_string(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.asked(), self.came_to())?;
        match self.slot() {
            Some(slot) => write!(f, " (slot {slot})"),
            None => Ok(()),
        }
    }
}
