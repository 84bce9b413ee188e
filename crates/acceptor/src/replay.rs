//! Recovery: the durable state and the places of its votes, from the heads and records that the journal gives back.
//!
//! It begins with the head of the first segment that is kept; what older ones held is in that head, or below its floor. By the same code that
//! applies records live. Upholds S12 (whose journal it is) and I16 (nothing is changed here). Absent on purpose: reading files.

use serde::{Deserialize, Serialize};
use synod_journal::{Replayed, Verdict};
use synod_planted::Bug;
use synod_protocol::cluster::Cluster;
use synod_protocol::message::Formation;
use synod_protocol::wire::{self, Payload, WireError};
use synod_protocol::{AcceptorId, Value};

use crate::durable::{Durable, Head, Record};
use crate::index::Index;

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

/// What the head of a segment says of the acceptor.
#[derive(Serialize, Deserialize)]
pub(crate) struct SegmentHead {
    /// The last batch that `head` includes: the one before the segment's first, or that first one if recovery wrote it again.
    pub(crate) through: u64,
    /// The durable state but for the votes.
    pub(crate) head: Head,
}

impl Payload for SegmentHead {
    fn values<'a>(&'a self, _visit: &mut dyn FnMut(&'a Value)) {}
    fn values_mut(&mut self, _visit: &mut dyn FnMut(&mut Value)) {}
}

/// The bytes of a segment's head.
pub(crate) fn blob(through: u64, head: &Head) -> Vec<u8> {
    let mut blob = Vec::new();
    let head = SegmentHead { through, head: head.clone() };
    wire::encode_body(&head, &mut blob, &mut |_| {});
    blob
}

/// What a journal gave back so far.
pub(crate) struct Replay {
    /// Whose journal it must be.
    wanted: Option<AcceptorId>,
    pub(crate) durable: Durable,
    pub(crate) index: Index,
    /// The last batch that the first head includes; nothing before that head.
    through: Option<u64>,
    cache_bytes: u64,
}

impl Replay {
    /// Nothing yet, of the journal of `acceptor`.
    pub(crate) fn new(acceptor: AcceptorId, cache_bytes: u64) -> Replay {
        let durable = Durable::empty(acceptor);
        Replay { wanted: Some(acceptor), durable, cache_bytes, ..Replay::of_anyone() }
    }

    /// Nothing yet, of whosever journal it is; no value stays in memory.
    pub(crate) fn of_anyone() -> Replay {
        Replay {
            wanted: None,
            durable: Durable::empty(AcceptorId(0)),
            index: Index::default(),
            through: None,
            cache_bytes: 0,
        }
    }

    /// Takes in what the journal gives back next.
    pub(crate) fn take(&mut self, replayed: Replayed) -> Verdict {
        match replayed {
            Replayed::Head { blob, .. } => Ok(self.take_head(wire::decode_frame(blob)?)?),
            Replayed::Record { place, record } => {
                let record: Record = wire::decode_frame(record)?;
                let repeated = self.through.is_some_and(|through| place.batch() <= through);
                if repeated && !synod_planted::is(Bug::HeadRepeatedBatch) {
                    self.durable.restore(&record);
                } else {
                    self.durable.replay(&record);
                }
                self.index.take(&record, place);
                self.durable.evict(self.cache_bytes);
                Ok(())
            }
        }
    }

    fn take_head(&mut self, found: SegmentHead) -> Result<(), ForeignJournal> {
        let SegmentHead { through, head } = found;
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted != head.acceptor) {
            return Err(ForeignJournal::OtherAcceptor { found: head.acceptor, wanted });
        }
        if self.through.is_none() {
            self.through = Some(through);
            if !synod_planted::is(Bug::FirstHeadForgotten) {
                self.index = Index::at(head.floor);
                self.durable = Durable::at(head);
            }
            return Ok(());
        }
        check_head(&self.durable, &head)
    }
}

/// A later head may be ahead of the records before it (its first batch is replayed after it), never behind them.
fn check_head(durable: &Durable, head: &Head) -> Result<(), ForeignJournal> {
    let replayed = durable.head();
    let fell = head.position < replayed.position
        || head.promised < replayed.promised
        || head.held < replayed.held
        || head.floor < replayed.floor
        || !head.incarnations.raised_by(&replayed.incarnations).is_empty()
        || head.acceptor != replayed.acceptor;
    if fell {
        return Err(ForeignJournal::HeadBehind(head.acceptor));
    }
    Ok(())
}

pub(crate) fn check_parameters(durable: &Durable, parameters: u64) -> Result<(), ForeignJournal> {
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
