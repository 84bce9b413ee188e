//! The acceptor's journal: records in, records back. What makes persist-before-send true on a real disk.
//!
//! All records of one release become one batch of the journal: one write, one sync (S2). A journal error is handed up and
//! ends the process (S3). At recovery the records are applied by the very code that applies them live, and a directory of
//! another acceptor, or formed with other fixed parameters, is refused (S12). Generic over the disk; files are the daemon's.

use bytes::Bytes;
use synod_journal::{Disk, Journal, Options, Preparation, Recovery, Replayed};
use synod_planted::Bug;
use synod_protocol::cluster::Cluster;
use synod_protocol::message::Formation;
use synod_protocol::role::Persist;
use synod_protocol::wire::{self, WireError};
use synod_protocol::{AcceptorId, Value};

use crate::durable::{Durable, Head, Record};

/// Why a data directory can't be used by this acceptor.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The journal's own reason.
    #[error("{0}")]
    Journal(#[from] synod_journal::Error),
    /// The journal is sound, but not this acceptor's.
    #[error("{0}")]
    Foreign(#[from] ForeignJournal),
}

/// Why recovery refuses what the journal holds, though the journal itself is sound.
#[derive(Debug, thiserror::Error)]
pub enum ForeignJournal {
    /// Another acceptor's directory.
    #[error(
        "this is the journal of {found}, not of {wanted}: nothing was changed; start {found} with it, or give {wanted} its own --data-dir"
    )]
    OtherAcceptor {
        /// Whose it is.
        found: AcceptorId,
        /// Who was started.
        wanted: AcceptorId,
    },
    /// The fixed parameters have changed since formation.
    #[error(
        "this journal was formed with other fixed parameters (acceptor ids, quorum sizes, learner ids or [limits]) than the \
         cluster file has: nothing was changed; start it with the cluster file it was formed with"
    )]
    OtherParameters,
    /// A record of another release.
    #[error("a record can't be read: {0}; nothing was changed; was it written by another release?")]
    Record(#[from] WireError),
    /// A segment's head doesn't follow from the records before it.
    #[error(
        "a segment's head is behind the records before it; nothing was changed; wipe this directory and readmit {0}"
    )]
    HeadBehind(AcceptorId),
}

/// The journal of one acceptor, as what its effects are released through.
pub struct Keeper<D: Disk> {
    journal: Journal<D>,
    /// The durable state but for the votes, as of the last synced batch.
    head: Head,
    /// Reused for every record's head.
    scratch: Vec<u8>,
    /// How much of the next segment one step prepares.
    step_bytes: u64,
    /// Bytes written since the last step.
    since_step_bytes: u64,
}

impl<D: Disk> Keeper<D> {
    /// Reads the journal on `disk` and gives back the durable state it holds, ready for more.
    ///
    /// # Errors
    /// When the journal is damaged, foreign, or can't be read or written; nothing that was there is lost.
    pub fn open(
        disk: D,
        options: Options,
        acceptor: AcceptorId,
        parameters: u64,
    ) -> Result<(Keeper<D>, Durable), KeeperError> {
        let mut durable = Durable::empty(acceptor);
        let step_bytes = options.prepare_step_bytes;
        let recovery = Recovery::read(disk, options, |replayed| match replayed {
            Replayed::Head { blob, .. } => Ok(check_head(&durable, &wire::decode_frame(blob)?)?),
            Replayed::Record { record, .. } => {
                durable.apply(&wire::decode_frame(record)?);
                Ok(())
            }
        })?;
        check_parameters(&durable, parameters)?;
        let head = durable.head().clone();
        let journal = recovery.start(&blob(&head))?;
        Ok((Keeper { journal, head, scratch: Vec::new(), step_bytes, since_step_bytes: 0 }, durable))
    }

    /// Under load: prepares a step of the next segment for each half step that was written, so that it is ready in time.
    ///
    /// # Errors
    /// The journal's; the process must end.
    pub fn after_batch(&mut self) -> Result<(), KeeperError> {
        if self.since_step_bytes * 2 >= self.step_bytes {
            self.since_step_bytes = 0;
            self.journal.prepare_step()?;
        }
        Ok(())
    }

    /// Seals the journal if it isn't sealed, then prepares a bounded part of the next segment; whether there is more to do.
    ///
    /// # Errors
    /// The journal's; the process must end.
    pub fn idle(&mut self) -> Result<bool, KeeperError> {
        self.journal.seal()?;
        Ok(self.journal.prepare_step()? != Preparation::Ready)
    }

    /// Seals the journal.
    ///
    /// # Errors
    /// The journal's; the process must end.
    pub fn seal(&mut self) -> Result<(), KeeperError> {
        Ok(self.journal.seal()?)
    }
}

impl<D: Disk> Persist<Record> for Keeper<D> {
    type Error = KeeperError;

    fn persist(&mut self, records: Vec<Record>) -> Result<(), KeeperError> {
        for record in &records {
            let mut values: Vec<Bytes> = Vec::new();
            self.scratch.clear();
            wire::encode_body(record, &mut self.scratch, &mut |value: &Value| {
                values.push(value.bytes().clone())
            });
            self.journal.append(&self.scratch, values);
        }
        self.since_step_bytes += self.journal.staged_bytes();
        self.journal.commit(|| blob(&self.head))?;
        if !synod_planted::is(Bug::HeadNotAdvanced) {
            records.iter().for_each(|record| self.head.apply(record));
        }
        Ok(())
    }
}

fn blob(head: &Head) -> Vec<u8> {
    let mut blob = Vec::new();
    wire::encode_body(head, &mut blob, &mut |_| {});
    blob
}

/// A later head may be ahead of the records before it (its first batch is replayed after it), never behind them.
fn check_head(durable: &Durable, head: &Head) -> Result<(), ForeignJournal> {
    let replayed = durable.head();
    if head.acceptor != replayed.acceptor {
        return Err(ForeignJournal::OtherAcceptor { found: head.acceptor, wanted: replayed.acceptor });
    }
    if head.position < replayed.position || head.promised < replayed.promised || head.held < replayed.held {
        return Err(ForeignJournal::HeadBehind(head.acceptor));
    }
    Ok(())
}

fn check_parameters(durable: &Durable, parameters: u64) -> Result<(), ForeignJournal> {
    match &durable.head().formation {
        Formation::Open { formation, disks, cluster, .. }
            if Cluster::id_of(parameters, *formation, disks) != *cluster =>
        {
            Err(ForeignJournal::OtherParameters)
        }
        Formation::Empty
        | Formation::Prepared { .. }
        | Formation::Replaced { .. }
        | Formation::Open { .. } => Ok(()),
    }
}
