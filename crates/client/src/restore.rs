//! Restoring a backup into a new cluster, through its log.
//!
//! The whole file is read before anything is sent. Then each record is a call of an ordinary session, many at a time. A call without an answer is made again:
//! it sets what is set already, and a copy that comes late, behind the end of the restore, is refused by the state machine. So a
//! restore that was broken off is simply run again with the same file; until one has ended, the cluster takes no other write, and no other
//! backup. What the cluster refuses ends it at once.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use synod_protocol::cluster::Limits;
use synod_protocol::command::{Record, Refusal};
use tokio::time::{Instant, sleep};

use crate::backup::{ReadError, Reading, Verified};
use crate::client::Client;
use crate::outcome::{CallError, Failure};

/// Calls under way at once.
const MOST_CALLS: usize = 512;
/// Bytes of keys and values under way at once, unless one alone has more.
const MOST_BYTES: u64 = 4 << 20;
/// How long no call may be answered before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a call without an answer is made again.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two lines that tell how far it is.
const TELL: Duration = Duration::from_secs(1);

/// Why a backup wasn't restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file can't be used.
    #[error("{error}; nothing was sent to the cluster")]
    Unusable {
        /// Why.
        error: ReadError,
    },
    /// The file was sound when it was verified.
    #[error(
        "the file changed while it was being restored ({0}); the cluster takes no writes: form a new cluster and restore a sound copy into that"
    )]
    Changed(String),
    /// Something in it is too long for this cluster.
    #[error(
        "the backup has a {what} of {found} bytes, and this cluster's limit is {limit}; nothing was sent to it; form a cluster with higher \
         [limits] and restore it into that"
    )]
    TooLong {
        /// `key` or `value`.
        what: &'static str,
        /// Bytes of the longest.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The cluster doesn't take it.
    #[error("the cluster refuses it: {0}")]
    Refused(Refusal),
    /// No answers.
    #[error(
        "no call was answered for {PATIENCE:?}; until a restore has ended, the cluster takes no writes; see with `synod status` what is missing, \
         then run this again with the same file: it goes on"
    )]
    NoAnswer(#[source] CallError),
}

/// How far it is.
struct Progress {
    answered: Instant,
    told: Instant,
    keys: u64,
    bytes: u64,
}

/// Restores the backup at `path` through `client`; `limits` are its cluster's. `report` gets a line now and then.
pub async fn restore(
    client: &Client,
    limits: &Limits,
    path: &Path,
    mut report: impl FnMut(&str),
) -> Result<Verified, RestoreError> {
    let unusable = |error| RestoreError::Unusable { error };
    let file = File::open(path).map_err(|error| unusable(ReadError::Open(error)))?;
    let copy = || file.try_clone().map_err(|error| unusable(ReadError::Open(error)));
    let verified = read_all(copy()?).map_err(unusable)?;
    for (what, found, limit) in [
        ("key", verified.longest_key, limits.key_bytes),
        ("value", verified.longest_value, limits.value_bytes),
    ] {
        if found > limit {
            return Err(RestoreError::TooLong { what, found, limit });
        }
    }
    let Verified { summary, checksum, .. } = verified;
    report(&format!("the file is sound: {} keys, revision {}", summary.keys, summary.revision));
    let changed = |error: ReadError| RestoreError::Changed(error.to_string());
    let mut reading = Reading::from_start(copy()?).map_err(changed)?;
    let now = Instant::now();
    let mut progress = Progress { answered: now, told: now, keys: 0, bytes: 0 };
    while let Some(records) = reading.records().map_err(changed)? {
        // What was verified is another file's if it was exchanged: then the end below is never sent.
        send(client, checksum, records, &mut progress, &mut report).await?;
    }
    if reading.finish().map_err(changed)? != verified {
        return Err(RestoreError::Changed("it isn't what was verified".into()));
    }
    end(client, &verified, &mut progress).await?;
    Ok(verified)
}

fn read_all(file: File) -> Result<Verified, ReadError> {
    let mut reading = Reading::from_start(file)?;
    while reading.records()?.is_some() {}
    reading.finish()
}

/// Restores the records of one chunk.
async fn send(
    client: &Client,
    backup: u64,
    records: Vec<(Bytes, Record)>,
    progress: &mut Progress,
    report: &mut impl FnMut(&str),
) -> Result<(), RestoreError> {
    let mut waiting = records.into_iter().peekable();
    let (mut calls, mut under_way) = (FuturesUnordered::new(), 0);
    loop {
        while let Some((key, record)) = waiting.next_if(|(key, record)| {
            calls.is_empty() || calls.len() < MOST_CALLS && under_way + size(key, record) <= MOST_BYTES
        }) {
            under_way += size(&key, &record);
            calls.push(call(client, backup, key, record));
        }
        let Some((key, record, ended)) = calls.next().await else { return Ok(()) };
        under_way -= size(&key, &record);
        match ended {
            Ok(()) => {
                progress.answered = Instant::now();
                progress.keys += 1;
                progress.bytes += size(&key, &record);
            }
            Err(error) => {
                progress.may_try_again(error).await?;
                under_way += size(&key, &record);
                calls.push(call(client, backup, key, record));
            }
        }
        if progress.told.elapsed() >= TELL {
            progress.told = Instant::now();
            report(&format!("{} keys, {} bytes so far", progress.keys, progress.bytes));
        }
    }
}

fn size(key: &Bytes, record: &Record) -> u64 {
    (key.len() + record.value.len()) as u64
}

async fn call(
    client: &Client,
    backup: u64,
    key: Bytes,
    record: Record,
) -> (Bytes, Record, Result<(), CallError>) {
    let ended = client.restore(key.clone(), record.clone(), backup).await;
    (key, record, ended.map(|_| ()))
}

/// Ends the restore. If an end without an answer took effect, the next one is told so.
async fn end(client: &Client, verified: &Verified, progress: &mut Progress) -> Result<(), RestoreError> {
    let revision = verified.summary.revision;
    let mut perhaps_ended = false;
    loop {
        match client.restore_end(revision, verified.checksum).await {
            Ok(_) => return Ok(()),
            // Only the end of a restore gives a revision to a cluster that a moment ago was taking this one.
            Err(CallError::Failed(Failure::Refused(Refusal::NotEmpty { revision: found })))
                if perhaps_ended && found >= revision =>
            {
                return Ok(());
            }
            Err(error) => {
                perhaps_ended |= error == CallError::Unknown;
                progress.may_try_again(error).await?;
            }
        }
    }
}

impl Progress {
    /// Waits a little before a call is made again, unless that is of no use.
    async fn may_try_again(&self, error: CallError) -> Result<(), RestoreError> {
        match error {
            // Of one copy, or of a session that expired meanwhile: a later call is as good.
            CallError::Failed(Failure::Refused(Refusal::NoSession | Refusal::OutsideWindow)) => {}
            CallError::Failed(Failure::Refused(refusal)) => return Err(RestoreError::Refused(refusal)),
            CallError::Failed(
                Failure::NoQuorum { .. } | Failure::Busy | Failure::TooManySessions | Failure::Closed,
            )
            | CallError::Unknown => {}
        }
        if self.answered.elapsed() > PATIENCE {
            return Err(RestoreError::NoAnswer(error));
        }
        sleep(PAUSE).await;
        Ok(())
    }
}
