//! Backups: one consistent state of a running cluster in one checksummed file.
//!
//! A learner keeps an image of its state while it is fetched, so that writes go on. The image is read as it comes: a backup is whole only if digest
//! and totals of its content are right. It is written beside its name, synced, and given its name at the very end, which takes no other
//! file's place; whatever goes wrong, there is a whole backup or none. It holds keys with their revisions, and the sessions with their kept
//! replies, which nobody restores: a session belongs to the log that it was opened in.

mod fetching;
mod file;
mod reading;

use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_protocol::message::{Message, NoSnapshot, SnapshotChunk, ToClient, ToLearner};
use synod_protocol::{Cluster, LearnerId, Slot};
use synod_store::{Contents, ImageError, Summary};
use tokio::time::{Instant, sleep};

use crate::ask::{self, AskError, Conversation};
use fetching::{Fetching, Next, Took};
use file::Unfinished;
pub use reading::{ReadError, Reading, Verified, verify};

/// How long a learner may take for one chunk. Below the time for which it keeps an image that nobody asks for.
const ANSWER: Duration = Duration::from_secs(2);
/// Before all learners are asked once more.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two lines that tell how far it is.
const TELL: Duration = Duration::from_secs(1);

/// A backup that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// What it holds.
    pub summary: Summary,
    /// Bytes of the file.
    pub bytes: u64,
    /// The checksum at its end, by which it is known.
    pub checksum: u64,
}

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum BackUpError {
    /// There is such a file.
    #[error("{0} exists: nothing was done; name another file, or replace it with --force")]
    Exists(PathBuf),
    /// The file can't be written.
    #[error("{path} can't be written: {error}; no file was made")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No learner gives a snapshot.
    #[error(
        "no learner gives a whole snapshot ({0}); no file was made, and the cluster is as it was; see with `synod status` which learners are \
         up, then run this again"
    )]
    NoLearner(String),
    /// The cluster holds half a backup.
    #[error(
        "a backup is being restored into this cluster, so that it holds no whole state yet; no file was made; end the restore first"
    )]
    Restoring,
}

/// Why the learner whose turn it was didn't bring the backup further.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("has no such snapshot, it has applied slot {0}")]
    NoSnapshot(Slot),
    #[error("sent a damaged chunk")]
    Damaged,
}

/// Writes the state of `cluster` at slot `least` or later into the file `target`; `report` gets a line now and then.
pub async fn back_up(
    cluster: &Cluster,
    target: &Path,
    replace: bool,
    least: Slot,
    mut report: impl FnMut(&str),
) -> Result<Made, BackUpError> {
    let failed = |error| file_error(target, error);
    let mut file = Unfinished::create(target, replace).map_err(failed)?;
    let learners: Vec<LearnerId> = cluster.learners.keys().chain(cluster.observers.keys()).copied().collect();
    let mut fetching = Fetching::new(learners, usize::from(rand::random::<u16>()), least);
    let (mut contents, mut keys, mut bytes) = (Contents::new(), 0_u64, 0_u64);
    let (mut conversation, mut told) = (None, Instant::now());
    loop {
        let whom = fetching.whom();
        let next = match chunk(cluster, &mut fetching, &mut conversation).await {
            Ok((chunk, took)) => match contents.take(&chunk.bytes) {
                Ok(records) => {
                    file.chunk(&chunk.bytes).map_err(failed)?;
                    keys += records.len() as u64;
                    bytes += chunk.bytes.len() as u64;
                    if told.elapsed() >= TELL {
                        told = Instant::now();
                        let slot = chunk.slot;
                        report(&format!("slot {slot} from {whom}: {keys} keys, {bytes} bytes so far"));
                    }
                    if took != Took::Last {
                        continue;
                    }
                    match std::mem::take(&mut contents).finish() {
                        Ok(summary) if summary.restoring => return Err(BackUpError::Restoring),
                        Ok(summary) => {
                            let (bytes, checksum) = file.finish().map_err(failed)?;
                            return Ok(Made { summary, bytes, checksum });
                        }
                        Err(error) => unusable(&mut fetching, whom, &error, &mut report),
                    }
                }
                Err(error) => unusable(&mut fetching, whom, &error, &mut report),
            },
            Err(trouble) => {
                conversation = None;
                let next = fetching.on_trouble();
                report(&format!("{whom}: {trouble}"));
                if next == Next::GiveUp {
                    return Err(BackUpError::NoLearner(format!("{whom}: {trouble}")));
                }
                next
            }
        };
        match next {
            Next::Ask => {}
            Next::AskLater => sleep(PAUSE).await,
            Next::StartOver => {
                report("starts over with a new snapshot");
                file.start_over().map_err(failed)?;
                (contents, keys, bytes) = (Contents::new(), 0, 0);
            }
            Next::GiveUp => {
                return Err(BackUpError::NoLearner("what they gave could not be used".into()));
            }
        }
    }
}

/// What came isn't what a state can be: nothing of it is kept.
fn unusable(
    fetching: &mut Fetching,
    whom: LearnerId,
    error: &ImageError,
    report: &mut impl FnMut(&str),
) -> Next {
    report(&format!("the snapshot of {whom} can't be used: {error}"));
    fetching.start_over()
}

/// The next chunk, of whoever's turn it is.
async fn chunk(
    cluster: &Cluster,
    fetching: &mut Fetching,
    conversation: &mut Option<Conversation>,
) -> Result<(SnapshotChunk, Took), Trouble> {
    let whom = fetching.whom();
    let conversation = match conversation {
        Some(conversation) => conversation,
        None => conversation.insert(ask::begin(cluster, whom.into(), ANSWER).await?),
    };
    let request = fetching.request();
    let slot = request.slot;
    let message = Message::Learner(ToLearner::SnapshotFetch(request));
    let taken = conversation.ask(&message, |answer| match answer {
        ToClient::SnapshotChunk(chunk) => match fetching.on_chunk(&chunk) {
            Took::Stale => None,
            Took::Damaged => Some(Err(Trouble::Damaged)),
            took @ (Took::Part | Took::Last) => Some(Ok((chunk, took))),
        },
        ToClient::NoSnapshot(NoSnapshot { slot: asked, applied }) if asked == slot => {
            Some(Err(Trouble::NoSnapshot(applied)))
        }
        other => ask::ignore_unasked(&other),
    });
    taken.await?
}

fn file_error(target: &Path, error: std::io::Error) -> BackUpError {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        BackUpError::Exists(target.to_path_buf())
    } else {
        BackUpError::File { path: target.to_path_buf(), error }
    }
}
