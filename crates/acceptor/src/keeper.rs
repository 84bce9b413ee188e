//! The acceptor's journal: records in, records back. What makes persist-before-send true on a real disk.
//!
//! All records of one release become one batch of the journal: one write, one sync (S2). A journal error is handed up and
//! ends the process (S3). At recovery the records are applied by the very code that applies them live, and a directory of
//! another acceptor, or formed with other fixed parameters, is refused (S12). Values that the role has left to the disk are read back for
//! the messages that tell them, and batches without a vote above the floor are released (S11). A full disk is no failure: the
//! role is told what room is left, and a journal error alone ends the process. Generic over the disk; files are the daemon's.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_journal::{Disk, Journal, Options, Place, Preparation, Recovery};
use synod_planted::Bug;
use synod_protocol::role::Persist;
use synod_protocol::wire;
use synod_protocol::{AcceptorId, Slot, Value};
use tracing::{error, info};

use crate::durable::{Durable, Head, Record};
use crate::index::Index;
use crate::replay::{Replay, blob, check_parameters};
use crate::{Acceptor, Space};

pub use crate::replay::ForeignJournal;

/// Why a data directory can't be used by this acceptor.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The journal's own reason.
    #[error("{0}")]
    Journal(#[from] synod_journal::Error),
    /// The journal is sound, but not this acceptor's.
    #[error("{0}")]
    Foreign(#[from] ForeignJournal),
    /// The index and the journal disagree.
    #[error(
        "the journal doesn't hold the vote for slot {slot} where it was put (I12); wipe this directory and readmit this acceptor"
    )]
    NotThere {
        /// The slot.
        slot: Slot,
    },
}

/// Segments that nobody needs and an idle acceptor keeps all the same: letting them go costs a new segment.
const UNNEEDED_SEGMENTS: u64 = 2;
/// While the disk is full, it is asked for space once in so many turns.
const FULL_TURNS: u32 = 16;
/// Once it has space again, so many turns prepare the next segment, however small a step is: nothing is voted on until then.
const TURNS_BACK: u64 = 16;

/// The journal of one acceptor, as what its effects are released through.
pub struct Keeper<D: Disk> {
    journal: Journal<D>,
    /// The durable state but for the votes, as of the last synced batch.
    head: Head,
    /// Where the votes are.
    index: Index,
    /// The values of the batch that was read back last, with its place.
    read: Option<(Place, BTreeMap<Slot, Value>)>,
    /// Reused for every record's head.
    scratch: Vec<u8>,
    options: Options,
    /// Bytes written since the last step.
    since_step_bytes: u64,
    /// The disk had no space for the next segment, and hasn't had enough since.
    full: bool,
    /// Turns since the disk was last asked for space.
    full_turns: u32,
}

impl<D: Disk> Keeper<D> {
    /// Reads the journal on `disk` and gives back the durable state it holds, ready for more, with at most `cache_bytes` of
    /// values in memory.
    ///
    /// # Errors
    /// When the journal is damaged, foreign, or can't be read or written; nothing that was there is lost.
    pub fn open(
        disk: D,
        options: Options,
        acceptor: AcceptorId,
        parameters: u64,
        cache_bytes: u64,
    ) -> Result<(Keeper<D>, Durable), KeeperError> {
        let mut replay = Replay::new(acceptor, cache_bytes);
        let recovery = Recovery::read(disk, options.clone(), |replayed| replay.take(replayed))?;
        let Replay { durable, mut index, .. } = replay;
        check_parameters(&durable, parameters)?;
        let head = durable.head().clone();
        let through = recovery.summary().batches;
        let mut journal = recovery.start(&blob(through, &head))?;
        journal.last_place().into_iter().for_each(|place| index.moved(place));
        journal.keep_reserve((options.segment_bytes / 16).max(16 * options.block_bytes));
        let mut keeper = Keeper {
            journal,
            head,
            index,
            read: None,
            scratch: Vec::new(),
            options,
            since_step_bytes: 0,
            full: false,
            full_turns: 0,
        };
        keeper.release();
        Ok((keeper, durable))
    }

    /// Under load: prepares a step of the next segment for each half step that was written, so that it is ready in time, however much is written at
    /// once. On a full disk: makes what room it can, and asks for more now and then.
    ///
    /// # Errors
    /// The journal's; the process must end.
    pub fn after_batch(&mut self) -> Result<(), KeeperError> {
        if self.full {
            self.full_turns += 1;
            if self.full_turns >= FULL_TURNS {
                // Once there is some space, each turn asks for more.
                self.full_turns = if self.make_room()? { FULL_TURNS } else { 0 };
            }
        }
        let Options { segment_bytes, prepare_step_bytes, .. } = self.options;
        let half_step_bytes = prepare_step_bytes.min(segment_bytes / 2).div_ceil(2);
        while !self.full && self.since_step_bytes >= half_step_bytes {
            let more = self.step()?;
            self.since_step_bytes = if more { self.since_step_bytes - half_step_bytes } else { 0 };
        }
        Ok(())
    }

    /// Seals the journal if it isn't sealed, then prepares a bounded part of the next segment, or lets go of segments that nobody needs;
    /// whether there is more to do.
    ///
    /// # Errors
    /// The journal's; the process must end.
    pub fn idle(&mut self) -> Result<bool, KeeperError> {
        self.journal.seal()?;
        if self.full {
            return self.make_room();
        }
        let more = self.step()?;
        if more || self.full || self.journal.droppable() < UNNEEDED_SEGMENTS {
            return Ok(more && !self.full);
        }
        self.move_on()
    }

    /// Tells the role what came of its records: they are persisted, and so much more may come. Room for what didn't fit is made
    /// before, if the disk has it.
    ///
    /// # Errors
    /// The journal's; the process must end.
    pub fn tell(&mut self, acceptor: &mut Acceptor) -> Result<(), KeeperError> {
        acceptor.persisted();
        let wanted_bytes = acceptor.take_wanted_bytes();
        if wanted_bytes > 0 && !self.full {
            let prepared = self.journal.prepare_for(wanted_bytes + self.reserve_bytes());
            self.note_space(prepared)?;
        }
        acceptor.set_room(self.space());
        Ok(())
    }

    /// Seals the journal.
    ///
    /// # Errors
    /// The journal's; the process must end.
    pub fn seal(&mut self) -> Result<(), KeeperError> {
        Ok(self.journal.seal()?)
    }

    /// What votes may take: the segment in use, or the next one as far as it is there. While the disk is full that one is for moving on when the
    /// floor has risen.
    fn space(&self) -> Space {
        let bytes = if self.full { self.journal.free_bytes() } else { self.journal.room_bytes() };
        let bytes = bytes.saturating_sub(self.reserve_bytes());
        match self.full {
            true => Space::Last(bytes),
            false if synod_planted::is(Bug::RoomUnprepared) => Space::Unlimited,
            false => Space::Sure(bytes),
        }
    }

    /// What is left to promises and floors.
    fn reserve_bytes(&self) -> u64 {
        self.options.segment_bytes / 8 + 2 * self.options.block_bytes
    }

    /// One step of preparing or dropping segments; whether there is more to do.
    fn step(&mut self) -> Result<bool, KeeperError> {
        let step = self.journal.prepare_step();
        self.note_space(step)
    }

    /// Takes in what came of preparing the next segment; whether there is more to do.
    fn note_space(&mut self, step: Result<Preparation, synod_journal::Error>) -> Result<bool, KeeperError> {
        match step {
            Ok(Preparation::Ready) => {
                if self.full {
                    info!("the disk has space again");
                }
                (self.full, self.full_turns) = (false, 0);
                Ok(false)
            }
            Ok(Preparation::Unfinished) => Ok(true),
            Err(error) if error.is_no_space() => {
                if !self.full {
                    error!(%error, "the disk is full: votes on nothing new until there is space for another segment");
                }
                self.full = true;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// On a full disk: lets go of segments that nobody needs, and takes a part of what space there is; whether there was any.
    fn make_room(&mut self) -> Result<bool, KeeperError> {
        if self.journal.droppable() > 0 && self.move_on()? {
            return Ok(true);
        }
        let enough = self.journal.prepared_bytes() + self.options.segment_bytes / TURNS_BACK;
        loop {
            let more = self.step()?;
            if !more || self.journal.prepared_bytes() >= enough {
                return Ok(more);
            }
        }
    }

    /// A new segment, whose head calls unneeded what was released; false if there is no space for it.
    fn move_on(&mut self) -> Result<bool, KeeperError> {
        match self.journal.move_on(&blob(self.journal.position(), &self.head)) {
            Ok(()) => Ok(true),
            Err(error) if error.is_no_space() => {
                self.full = true;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the journal drop, with its next segment, what holds no vote above the floor (S11).
    fn release(&mut self) {
        let next = self.journal.position() + 1;
        let needed = self.index.lowest_batch().unwrap_or(next);
        self.journal.release(if synod_planted::is(Bug::ReleasedTooMuch) { next } else { needed });
    }

    fn read_back(&mut self, slot: Slot) -> Result<Value, KeeperError> {
        let place = self.index.place(slot).ok_or(KeeperError::NotThere { slot })?;
        if self.read.as_ref().is_none_or(|(read, _)| *read != place) {
            let mut values = BTreeMap::new();
            for record in self.journal.read(place)? {
                let record = wire::decode_frame(record).map_err(ForeignJournal::Record)?;
                if let Record::Voted { entries, .. } = record {
                    values.extend(entries.into_iter().map(|entry| (entry.slot, entry.value)));
                }
            }
            self.read = Some((place, values));
        }
        let values = self.read.iter().flat_map(|(_, values)| values);
        let wanted = |found: Slot| found == slot || synod_planted::is(Bug::WrongSlotServed);
        let value = values.into_iter().find(|(found, _)| wanted(**found)).map(|(_, value)| value.clone());
        value.ok_or(KeeperError::NotThere { slot })
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
        let through = self.journal.position();
        self.journal.commit(|| blob(through, &self.head))?;
        let place = self.journal.last_place();
        for record in &records {
            let left_out =
                matches!(record, Record::Reached { .. }) && synod_planted::is(Bug::PositionsNotInHeads);
            if !left_out && !synod_planted::is(Bug::HeadNotAdvanced) {
                self.head.apply(record);
            }
            place.into_iter().for_each(|place| self.index.take(record, place));
        }
        self.release();
        Ok(())
    }

    fn load(&mut self, slot: Slot) -> Result<Value, KeeperError> {
        self.read_back(slot)
    }
}
