//! What an acceptor must find again in its journal: all that it was known to hold.

use synod_acceptor::Durable;
use synod_protocol::AcceptorId;
use synod_protocol::message::Formation;

use crate::violation::{Check, check};

/// Whether `found` holds all that `known` holds.
pub(crate) fn covers(id: AcceptorId, known: &Durable, found: &Durable) -> Check {
    let (before, after) = (known.head(), found.head());
    check(after.promised >= before.promised, "I3", || {
        format!("the promise of {id} fell from {:?} to {:?}", before.promised, after.promised)
    })?;
    check(after.held >= before.held, "I8", || {
        format!("{id} held {} slots, and holds {} after its recovery", before.held, after.held)
    })?;
    let same_disk = before.formation.disk().is_none_or(|disk| after.formation.disk() == Some(disk));
    check(same_disk && step(&after.formation) >= step(&before.formation), "S12", || {
        format!("{id} was {:?}, and is {:?} after its recovery", before.formation, after.formation)
    })?;
    let forgets =
        after.position < before.position || !after.incarnations.raised_by(&before.incarnations).is_empty();
    check(!forgets, "S12", || {
        format!(
            "{id} had {} records and knew {:?}, and has after its recovery {after:?}",
            before.position, before.incarnations
        )
    })?;
    check(after.floor >= before.floor, "S11", || {
        format!("the floor of {id} fell from {} to {}", before.floor, after.floor)
    })?;
    let lost = known.votes_above(after.floor.previous()).find(|(slot, voted)| {
        found.vote(*slot).is_none_or(|vote| {
            vote.ballot < voted.ballot || (vote.ballot == voted.ballot && vote.value != voted.value)
        })
    });
    check(lost.is_none(), "I8", || format!("{id} lost its vote for slot {:?}", lost.map(|(slot, _)| slot)))
}

/// How far a formation is; a step that was written and not synced may have lasted.
fn step(formation: &Formation) -> u8 {
    match formation {
        Formation::Empty => 0,
        Formation::Prepared { .. } | Formation::Replaced { .. } => 1,
        Formation::Open { .. } => 2,
    }
}
