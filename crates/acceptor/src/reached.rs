//! How far other acceptors' disks have come, kept here for them; and whether this one's went back (S12).
//!
//! A disk restored from a copy has forgotten votes. So each acceptor's answers tell a position of its disk, rounded down; the leader
//! passes the highest on, and the others keep them: in the journal, in the heads of its segments, and in what they tell candidates and
//! readers. Why a sound disk is never called older, though messages are late: what is told at a ballot is recorded only by those that have
//! promised just that ballot, and was told to its leader by an acceptor that hadn't promised a higher one either. So whoever finds a position
//! in its Phase 1 finds one that was reached before its ballot was promised there. Absent on purpose: judging others, which those do
//! who count them.

use synod_planted::Bug;
use synod_protocol::message::Formation;
use synod_protocol::{Ballot, DiskAt, Incarnations, ProposerId};
use tracing::{debug, error};

use crate::durable::Head;
use crate::{Acceptor, Out, Record};

impl Acceptor {
    pub(crate) fn on_reached(
        &mut self,
        from: ProposerId,
        ballot: Ballot,
        rows: &Incarnations,
        effects: &mut Out,
    ) {
        let Head { promised, position, incarnations, .. } = self.durable.head();
        let own = DiskAt { id: self.disk().id, position: *position };
        if let Some(known) = rows.went_back(self.config.id, own) {
            let why = format!(
                "S12: {from} knows that this acceptor's disk {} has had {known} records, and it has {position}: it was restored from a copy, or \
                 has lost what it had synced, so it has forgotten votes and takes part no more; empty its data directory, start the \
                 acceptor and run `synod admin readmit-acceptor`",
                own.id
            );
            error!(%from, %known, %position, "S12: this disk went back; stops");
            return effects.halt(why);
        }
        if ballot != *promised && !synod_planted::is(Bug::PositionsOfAnyBallot) {
            return debug!(%ballot, %promised, %from, "ignored positions of another ballot");
        }
        let rows = incarnations.raised_by(&rows.without(self.config.id));
        // What is left of a full disk is for promises and floors.
        if !rows.is_empty() && !self.room.is_last() {
            self.record(Record::Reached { rows }, effects);
        }
    }
}

impl Head {
    pub(crate) fn reached(&mut self, rows: &Incarnations) {
        self.incarnations.merge(rows);
    }

    /// The ballot that readmitted this disk; none for a disk as formed.
    pub(crate) fn since(&self) -> Ballot {
        let own = self.incarnations.get(self.acceptor);
        match &self.formation {
            Formation::Open { disk, .. } => {
                own.filter(|row| row.disk == *disk).map_or(Ballot::NONE, |row| row.since)
            }
            Formation::Empty | Formation::Prepared { .. } | Formation::Replaced { .. } => Ballot::NONE,
        }
    }
}
