//! The handle: what a program calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_protocol::command::Record;
use synod_protocol::message::Consistency;
use synod_protocol::{Cluster, Revision};
use tokio::sync::{mpsc, oneshot};

use crate::admission::Admission;
use crate::driver::{Driver, Request, Ticket};
use crate::outcome::{Answer, CallError, Ended, Failure, What};
use crate::session::Write;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Every call ends within this time, unless [`Client::with_deadline`] says otherwise.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { deadline: Duration::from_secs(5) }
    }
}

/// A client of a cluster: one session, any number of calls at once. Cloning is cheap; all clones share the session.
///
/// A call goes on when its future is dropped; its outcome is then nobody's. When the last clone is dropped the session is
/// ended in the background; [`Client::close`] does so and waits.
#[derive(Clone, Debug)]
pub struct Client {
    requests: mpsc::UnboundedSender<Request>,
    admission: Arc<Admission>,
    deadline: Duration,
}

impl Client {
    /// A client of `cluster`. Connects when it is first used. Must be called within a tokio runtime with time and I/O.
    pub fn connect(cluster: Cluster, options: Options) -> Client {
        let (requests, receiver) = mpsc::unbounded_channel();
        let (driver, admission) = Driver::new(cluster, options.deadline);
        tokio::spawn(driver.run(receiver));
        Client { requests, admission, deadline: options.deadline }
    }

    /// The same client and session with another deadline for calls made through what is returned.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { deadline, ..self.clone() }
    }

    /// Sets `key` to `value`; tells the revision that did.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Answer<Revision>, CallError> {
        let write = Write::Put { key: key.into(), value: value.into() };
        let answer = self.write(write).await?;
        match answer.value {
            What::Put { revision } => Ok(Answer { value: revision, slot: answer.slot }),
            What::Deleted { .. } | What::Value(_) | What::Restored | What::Renewed | What::Closed => {
                Err(CallError::Unknown)
            }
        }
    }

    /// Removes `key`; tells the revision that did, if it was there.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Answer<Option<Revision>>, CallError> {
        let answer = self.write(Write::Delete { key: key.into() }).await?;
        match answer.value {
            What::Deleted { revision } => Ok(Answer { value: revision, slot: answer.slot }),
            What::Put { .. } | What::Value(_) | What::Restored | What::Renewed | What::Closed => {
                Err(CallError::Unknown)
            }
        }
    }

    /// Sets `key` as the backup of that checksum has it, in a cluster that has never taken a write. The cluster takes no other writes, and no
    /// other backup, from the first such call on until [`Client::restore_end`].
    pub async fn restore(
        &self,
        key: impl Into<Bytes>,
        record: Record,
        backup: u64,
    ) -> Result<Answer<()>, CallError> {
        let answer = self.write(Write::Restore { key: key.into(), record, backup }).await?;
        Ok(Answer { value: (), slot: answer.slot })
    }

    /// Ends a restore: the cluster's next write takes the revision after this one.
    pub async fn restore_end(&self, revision: Revision, backup: u64) -> Result<Answer<()>, CallError> {
        let answer = self.write(Write::RestoreEnd { revision, backup }).await?;
        Ok(Answer { value: (), slot: answer.slot })
    }

    /// The value of `key`, linearizable: sees every write acknowledged before this call began.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Answer<Option<Bytes>>, CallError> {
        self.record(key, Consistency::Linearizable).await.map(value_of)
    }

    /// The value of `key` as some learner has it; the answer's slot tells how far that learner is.
    pub async fn get_stale(&self, key: impl Into<Bytes>) -> Result<Answer<Option<Bytes>>, CallError> {
        self.record(key, Consistency::Stale).await.map(value_of)
    }

    /// The value of `key` and its revisions.
    pub async fn record(
        &self,
        key: impl Into<Bytes>,
        consistency: Consistency,
    ) -> Result<Answer<Option<Record>>, CallError> {
        let (key, deadline) = (key.into(), self.deadline);
        let ask = |ticket| Request::Read(ticket, key, consistency, deadline);
        let answer = self.call(ask, Failure::Closed.into()).await?;
        match answer.value {
            What::Value(record) => Ok(Answer { value: record, slot: answer.slot }),
            What::Put { .. } | What::Deleted { .. } | What::Restored | What::Renewed | What::Closed => {
                Err(Failure::Closed.into())
            }
        }
    }

    /// Waits for the calls under way and ends the session in the cluster, so that it need not expire there. Later calls
    /// through any clone fail as closed.
    pub async fn close(&self) -> Result<(), CallError> {
        let deadline = self.deadline;
        self.call(|ticket| Request::Close(ticket, deadline), CallError::Unknown).await.map(|_| ())
    }

    async fn write(&self, write: Write) -> Ended {
        if !self.admission.admit() {
            let is_over = self.requests.is_closed();
            return Err(if is_over { Failure::Closed } else { Failure::Busy }.into());
        }
        let deadline = self.deadline;
        self.call(|ticket| Request::Write(ticket, write, deadline), CallError::Unknown).await
    }

    /// `lost` is what the call comes to when the driver has ended without an answer: its runtime was shut down.
    async fn call(&self, request: impl FnOnce(Ticket) -> Request, lost: CallError) -> Ended {
        let (ticket, ended) = oneshot::channel();
        if self.requests.send(request(ticket)).is_err() {
            return Err(Failure::Closed.into());
        }
        ended.await.unwrap_or(Err(lost))
    }
}

fn value_of(answer: Answer<Option<Record>>) -> Answer<Option<Bytes>> {
    Answer { value: answer.value.map(|record| record.value), slot: answer.slot }
}
