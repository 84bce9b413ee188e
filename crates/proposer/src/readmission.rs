//! Readmission of an acceptor whose disk was replaced, the leader's side (S12). Needs no change of the configuration.
//!
//! 1. A fresh ballot B, whose Phase 1 counts the new disk for that acceptor from the start. The new disk answers nothing yet and the old one
//!    doesn't count, so this is Phase 1 through a quorum without that acceptor: it tells whatever was chosen below B, and
//!    nothing more can be chosen there.
//! 2. A Phase-2 quorum without that acceptor holds every slot that Phase 1 found, or has voted for it at B; and another, or the same, has
//!    recorded the new disk under the rule of a vote. So a leader above B finds in its Phase 1 every slot without that acceptor's help,
//!    and the record too; then it counts neither promise nor vote of the old disk. One that had its Phase 1 before the
//!    record was made has made the record impossible, and this ballot ends with a Nack.
//! 3. Only then is the new disk let in, with B as its promise, every row that the leader knows, the floor, and the highest slot that Phase 1
//!    found.
//!
//! What is over with the ballot is begun anew in another. The admin command asks again until the disk is in, so nothing of this needs
//! to be remembered. Clients are served meanwhile. Pure state but for the handlers at the end.

use std::collections::BTreeSet;

use synod_planted::Bug;
use synod_protocol::message::{Admission, Admit, Admitted, Founding, Readmission, ToAcceptor, ToClient};
use synod_protocol::{AcceptorId, Ballot, ClientId, DiskId, Incarnation, Incarnations, QuorumSystem, Slot};
use tracing::{info, warn};

use crate::healing::Healing;
use crate::leading::Leading;
use crate::phase::Found;
use crate::{Out, Phase, Proposer, ignore_stale};

/// Checks without anybody asking after which a readmission isn't waited for.
pub(crate) const UNASKED_CHECKS: u64 = 5;

/// A disk to be readmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replacement {
    /// Whose disk was replaced.
    pub acceptor: AcceptorId,
    /// The new disk.
    pub disk: DiskId,
}

impl Replacement {
    /// What is known in a ballot that readmits it, from the start.
    pub fn seat(self, ballot: Ballot, mut known: Incarnations) -> Incarnations {
        known.note(self.acceptor, Incarnation::new(ballot, self.disk));
        known
    }
}

/// A readmission in the ballot begun for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Readmitting {
    admit: Admit,
    /// What Phase 1 called chosen already: to be in held prefixes.
    held: Slot,
    /// The last slot that Phase 1 found: to be chosen in this ballot.
    last: Slot,
    floor: Slot,
    /// Acceptors that have recorded the new disk in this ballot.
    recorded: BTreeSet<AcceptorId>,
    /// What the cluster is, as they tell.
    founding: Option<Founding>,
    /// Whoever asked for it was told that it is granted.
    told: bool,
    /// Checks in a row without anybody asking for it.
    unasked: u64,
}

impl Readmitting {
    /// The readmission that `ballot` was begun for, with what its Phase 1 found.
    pub fn new(ballot: Ballot, replacement: Replacement, found: &Found) -> Readmitting {
        let Replacement { acceptor, disk } = replacement;
        Readmitting {
            admit: Admit { ballot, acceptor, disk },
            held: found.inheritance.chosen,
            last: found.inheritance.next.previous(),
            floor: found.floor,
            recorded: BTreeSet::new(),
            founding: None,
            told: false,
            unasked: 0,
        }
    }

    /// The disk it is about.
    pub fn replacement(&self) -> Replacement {
        Replacement { acceptor: self.admit.acceptor, disk: self.admit.disk }
    }

    /// Whether another disk may have its turn: this one's grant was told, or nobody asks for it any more. Two who ask in turn would otherwise
    /// take each other's ballot away for ever.
    fn is_over(&self) -> bool {
        self.told || self.unasked >= UNASKED_CHECKS
    }

    /// Once an election timeout.
    pub fn check(&mut self) {
        self.unasked += 1;
    }

    /// Asks for the record where it hasn't been told of.
    pub fn ask(&self, quorums: &QuorumSystem, effects: &mut Out) {
        for acceptor in quorums.acceptors().filter(|acceptor| *acceptor != self.admit.acceptor) {
            if !self.recorded.contains(&acceptor) {
                effects.send(acceptor, ToAcceptor::Admit(self.admit));
            }
        }
    }

    /// How many acceptors must yet record the disk.
    fn unrecorded(&self, quorums: &QuorumSystem) -> u64 {
        let lacking = quorums.phase2().saturating_sub(self.recorded.len());
        if synod_planted::is(Bug::ReadmissionNotRecorded) { 0 } else { lacking as u64 }
    }

    /// How many slots a Phase-2 quorum without that acceptor doesn't hold yet.
    fn unheld(&self, chosen: Slot, healing: &Healing, quorums: &QuorumSystem) -> u64 {
        // What Phase 1 called chosen needs a quorum that holds it: each of them says so by its held prefix, which is durable.
        let mut held: Vec<Slot> = quorums
            .acceptors()
            .filter(|acceptor| *acceptor != self.admit.acceptor)
            .map(|acceptor| healing.held_of(acceptor))
            .collect();
        held.sort_unstable_by(|one, other| other.cmp(one));
        let least = held.get(quorums.phase2() - 1).copied().unwrap_or_default();
        // The rest was voted on at this ballot by a quorum without that acceptor, once the chosen prefix has passed it.
        let unheld =
            self.held.0.saturating_sub(least.0) + self.last.0.saturating_sub(chosen.max(self.held).0);
        if synod_planted::is(Bug::ReadmissionSlotsNotHeld) { 0 } else { unheld }
    }

    /// How far it is; granted once step 2 is done.
    fn state(&self, leading: &Leading, quorums: &QuorumSystem) -> Readmission {
        let chosen = leading.pipeline.chosen();
        let (slots, acceptors) = match synod_planted::is(Bug::ReadmissionAtOnce) {
            true => (0, 0),
            false => (self.unheld(chosen, &leading.healing, quorums), self.unrecorded(quorums)),
        };
        match &self.founding {
            Some(founding) if slots == 0 && acceptors == 0 => Readmission::Granted(Box::new(Admission {
                admit: self.admit,
                founding: founding.clone(),
                incarnations: leading.incarnations().clone(),
                floor: self.floor.max(leading.floor()),
                highest: self.last,
            })),
            Some(_) | None => {
                Readmission::UnderWay { ballot: self.admit.ballot, slots, acceptors: acceptors.max(1) }
            }
        }
    }
}

impl Proposer {
    pub(crate) fn on_readmit(
        &mut self,
        from: ClientId,
        request: u64,
        replacement: Replacement,
        effects: &mut Out,
    ) {
        let readmission = self.readmit(replacement, effects);
        effects.send(from, ToClient::Readmission { request, readmission });
    }

    fn readmit(&mut self, replacement: Replacement, effects: &mut Out) -> Readmission {
        if let Some(why) = self.cannot_readmit(replacement.acceptor) {
            warn!(acceptor = %replacement.acceptor, %why, "refuses a readmission");
            return Readmission::Refused { why };
        }
        let (quorums, ballot) = (&self.config.quorums, self.highest_ballot);
        let begun = Readmission::UnderWay { ballot, slots: 0, acceptors: quorums.phase2() as u64 };
        match &mut self.phase {
            Phase::Probing(_) => return Readmission::NotLeading { leader: self.leader() },
            Phase::Preparing(_) if self.replacement == Some(replacement) => return begun,
            Phase::Preparing(_) => return Readmission::NotLeading { leader: self.leader() },
            Phase::Leading(leading) => {
                if let Some(readmitting) = &leading.readmitting {
                    let own = readmitting.replacement() == replacement;
                    let (state, is_over) = (readmitting.state(leading, quorums), readmitting.is_over());
                    if own && let Some(readmitting) = &mut leading.readmitting {
                        readmitting.unasked = 0;
                        if let Readmission::Granted(admission) = &state {
                            readmitting.told = true;
                            // A quorum has recorded it. The new disk is about to be dialed, and must not be taken for an older one.
                            self.incarnations.merge(&admission.incarnations);
                        }
                        return state;
                    }
                    if !is_over {
                        // Another disk's grant is none of this one's business.
                        let waits = !matches!(state, Readmission::Granted(_));
                        return if waits { state } else { begun };
                    }
                }
            }
        }
        info!(acceptor = %replacement.acceptor, disk = %replacement.disk, "readmits a replaced disk in a ballot of its own");
        self.step_down(effects);
        self.replacement = Some(replacement);
        self.prepare(effects);
        Readmission::UnderWay {
            ballot: self.highest_ballot,
            slots: 0,
            acceptors: self.config.quorums.phase2() as u64,
        }
    }

    fn cannot_readmit(&self, acceptor: AcceptorId) -> Option<String> {
        let quorums = &self.config.quorums;
        if !quorums.contains(acceptor) {
            return Some(format!("{acceptor} isn't an acceptor of this cluster"));
        }
        let (others, phase1, phase2) = (quorums.count() - 1, quorums.phase1(), quorums.phase2());
        (others < phase1.max(phase2)).then(|| {
            format!(
                "quorums of {phase1} and {phase2} need {acceptor} itself: the {others} other acceptors don't make up both, so \
                 nothing proves what its lost disk had voted for; the cluster can't take in a new disk"
            )
        })
    }

    pub(crate) fn on_admitted(&mut self, from: AcceptorId, admitted: Admitted) {
        let Phase::Leading(leading) = &mut self.phase else {
            return ignore_stale(from, "a record of a disk from before this lead");
        };
        if leading.is_older(from, admitted.disk) {
            return ignore_stale(from, "a record of a disk, on a disk that was replaced itself (S12)");
        }
        match &mut leading.readmitting {
            Some(readmitting)
                if readmitting.admit == admitted.admit && readmitting.admit.acceptor != from =>
            {
                readmitting.recorded.insert(from);
                readmitting.founding.get_or_insert(admitted.founding);
            }
            Some(_) | None => ignore_stale(from, "a record of a disk at another ballot"),
        }
    }
}
