//! What may still fail: the arithmetic from what processes hold to how many more of them the cluster can lose. Pure.
//!
//! Failures are counted at their worst: those that fail next are the ones that hold the most. An acceptor counts if it is up, open in this cluster and
//! holds everything chosen up to about now; one whose disk is full can still elect, but takes no new votes. With flexible quorums a new
//! leader needs a Phase-1 quorum, which may be larger than the Phase-2 quorum that the present one goes on with. What acceptors no longer keep
//! only learners have, so a learner counts if what it has synced reaches their floors (S8, S11).

use serde::Serialize;
use synod_protocol::{AcceptorId, LearnerId, QuorumSystem, Slot};

/// An acceptor that lacks no more slots than this holds everything up to about now: answers are of different moments.
const ABOUT_NOW: u64 = 1_024;

/// An acceptor that is up and open in this cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voter {
    pub(super) id: AcceptorId,
    /// Chosen slots that it lacks.
    pub(super) lacks: u64,
    /// Whether its disk is full.
    pub(super) full: bool,
}

/// An acceptor that is up and not open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unopened {
    pub(super) id: AcceptorId,
    /// Whether its formation only has to be finished; a disk that is empty or replaced is to be readmitted.
    pub(super) prepared: bool,
}

/// What the acceptors allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Acceptors {
    /// How many there are.
    pub count: usize,
    /// How many must be up to elect a leader and to choose commands.
    pub needed: usize,
    /// How many must be up, and have room, to choose commands.
    pub needed_to_choose: usize,
    /// How many are up and open in the same cluster.
    pub open: usize,
    /// How many are up but not open (see `synod admin form` and `readmit-acceptor`).
    pub unformed: usize,
    /// Whether commands can be chosen.
    pub quorum: bool,
    /// Whether a new leader could be elected.
    pub electable: bool,
    /// How many more may fail before they can't, counting only those that hold everything chosen up to about now.
    pub more_failures: usize,
    /// Those that are up and still catch up.
    pub behind: Vec<Behind>,
    /// Those whose disks are full.
    pub full: Vec<String>,
    /// Those that are up and not open, while others are, each with the command that opens it.
    pub waiting: Vec<String>,
}

/// An acceptor that lacks slots which were chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Which.
    pub id: String,
    /// How many slots it has to go.
    pub slots: u64,
}

/// What follows from the acceptors that answer: `voters`, and those that aren't open. `led`: whether somebody leads.
pub(super) fn acceptors(
    quorums: &QuorumSystem,
    voters: &[Voter],
    unopened: &[Unopened],
    led: bool,
) -> Acceptors {
    let (phase1, phase2) = (quorums.phase1(), quorums.phase2());
    let is_whole = |voter: &&Voter| voter.lacks <= ABOUT_NOW;
    let has_room = |voter: &&Voter| !voter.full;
    let whole = voters.iter().filter(is_whole).count();
    let useful = voters.iter().filter(is_whole).filter(has_room).count();
    let roomy = voters.iter().filter(has_room).count();
    let electable = voters.len() >= phase1;
    Acceptors {
        count: quorums.count(),
        needed: phase1.max(phase2),
        needed_to_choose: phase2,
        open: voters.len(),
        unformed: unopened.len(),
        quorum: roomy >= phase2 && (electable || led),
        electable,
        more_failures: whole.saturating_sub(phase1).min(useful.saturating_sub(phase2)),
        behind: voters
            .iter()
            .filter(|voter| !is_whole(voter))
            .map(|voter| Behind { id: voter.id.to_string(), slots: voter.lacks })
            .collect(),
        full: voters.iter().filter(|voter| voter.full).map(|voter| voter.id.to_string()).collect(),
        waiting: unopened
            .iter()
            .filter(|_| !voters.is_empty())
            .map(|Unopened { id, prepared }| match prepared {
                true => format!("{id} isn't open, see `synod admin form`"),
                false => format!("{id} isn't open, see `synod admin readmit-acceptor {id}`"),
            })
            .collect(),
    }
}

impl Acceptors {
    /// In plain words.
    pub fn verdict(&self) -> String {
        let Acceptors { count, needed, needed_to_choose, open, unformed, more_failures, .. } = self;
        let but = self.troubles();
        if !self.quorum {
            return if *open == 0 && *unformed > 0 {
                format!("not formed: {unformed} of {count} acceptors wait for `synod admin form`")
            } else if open >= needed && !self.full.is_empty() {
                format!(
                    "nothing new can be chosen: {} ({needed_to_choose} of {count} with room needed, {open} up)",
                    but.join("; ")
                )
            } else {
                let but: String = but.iter().map(|trouble| format!("; {trouble}")).collect();
                format!("no quorum: {needed} of {count} acceptors needed, {open} up{but}")
            };
        }
        if !self.electable {
            return format!(
                "no leader could be elected after this one: {needed} of {count} acceptors needed, {open} up"
            );
        }
        match more_failures {
            0 => {
                let but: String = but.iter().map(|trouble| format!("{trouble}; ")).collect();
                format!("no more acceptor may fail: {but}{needed} of {count} acceptors needed, {open} up")
            }
            more => {
                let may = if *more == 1 {
                    "1 more acceptor may fail".into()
                } else {
                    format!("{more} more acceptors may fail")
                };
                let but = if but.is_empty() { String::new() } else { format!(": {}", but.join("; ")) };
                format!("{may}{but} ({needed} of {count} needed, {open} up)")
            }
        }
    }

    /// Why those that are up don't all count.
    fn troubles(&self) -> Vec<String> {
        let behind = self.behind.iter();
        let behind = behind.map(|Behind { id, slots }| {
            format!("{id} is still catching up, {} slots to go", grouped(*slots))
        });
        let full = self.full.iter().map(|id| format!("{id} has a full disk"));
        behind.chain(full).chain(self.waiting.iter().cloned()).collect()
    }
}

/// A configured learner that answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) id: LearnerId,
    pub(super) synced: Slot,
    /// Whether it may be wrong, and so serves nobody.
    pub(super) in_doubt: bool,
}

/// What the configured learners allow; observers never count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Learners {
    /// How many there are.
    pub count: usize,
    /// How many are up and serve.
    pub up: usize,
    /// How many must have synced a slot before acceptors drop it.
    pub needed_to_drop: usize,
    /// Below this slot some acceptor has dropped what was chosen.
    pub floor: u64,
    /// Those that are up and have synced all that acceptors have dropped.
    pub holders: Vec<String>,
    /// How many more may be lost, disks and all, before service ends or something is lost.
    pub more_failures: usize,
}

/// What follows from the configured learners that answer; `floor` is the highest of the acceptors that answer.
pub(super) fn learners(count: usize, answering: &[Holder], floor: Slot) -> Learners {
    let serving = answering.iter().filter(|learner| !learner.in_doubt);
    let up = serving.clone().count();
    let holders: Vec<_> = serving
        .filter(|learner| learner.synced.next() >= floor)
        .map(|learner| learner.id.to_string())
        .collect();
    Learners {
        count,
        up,
        // One more than may be lost of `count`: f_l + 1.
        needed_to_drop: count.saturating_sub(1) / 2 + 1,
        floor: floor.0,
        more_failures: holders.len().min(up).saturating_sub(1),
        holders,
    }
}

impl Learners {
    /// In plain words.
    pub fn verdict(&self) -> String {
        let Learners { count, up, needed_to_drop, floor, holders, more_failures } = self;
        let mut text = match (up, holders.as_slice(), more_failures) {
            (0, _, _) => format!("none serves: 1 of {count} needed"),
            (_, [], _) => format!(
                "none that answers has synced what acceptors dropped below slot {floor}; start the others with their data directories"
            ),
            (_, [only], _) if *up > 1 => {
                format!("{only} may not fail: no other has synced what acceptors dropped below slot {floor}")
            }
            (_, _, 0) => "no more learner may fail".into(),
            (_, _, 1) => "1 more learner may fail".into(),
            (_, _, more) => format!("{more} more learners may fail"),
        };
        if *up > 0 {
            text += &format!(" (1 of {count} needed, {up} up)");
        }
        if up < needed_to_drop && *up > 0 {
            text += &format!("; acceptors keep everything until {needed_to_drop} are up");
        }
        text
    }
}

/// A number with a comma after each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
