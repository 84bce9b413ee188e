//! The divergence alarm: what a learner does when its state differs from a peer's (S7).
//!
//! All learners tell each other their hash chains again and again. One that differs from a configured peer asks which slot is the first
//! to differ, and meanwhile answers no client: one of the two is wrong, and it may be this one. Known to be one of a majority of the
//! configured learners that agree, it goes on and names the odd one in its log; known not to be, it ends itself, and names the
//! slot. While that isn't known because a learner can't be reached, it stays silent: clients turn to the others. In a
//! cluster with two learners both stop, since neither is a majority: three can tell who is right. Observers hear and compare, and vouch for nobody.

use synod_planted::Bug;
use synod_protocol::message::{Chains, ToLearner};
use synod_protocol::role::Delay;
use synod_protocol::{LearnerId, Slot};
use synod_store::Storage;
use tracing::{error, info, warn};

use crate::chains::{Compared, Comparison};
use crate::{Learner, Out, Timer};

/// Chains and questions of one message that are looked at.
const MOST: usize = 64;
/// Comparisons during which the first slot that differs is searched before this process ends without having found it.
const SEARCHES: u64 = 10;

/// What is known of this learner's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// It differs from no configured peer, or is one of a majority that agrees.
    Sound,
    /// It differs, and whose state is right isn't known.
    InDoubt,
    /// It isn't one of a majority, and can't be.
    Odd,
}

/// The alarm of one learner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Alarm {
    comparison: Comparison,
    /// Whether it answers no client.
    in_doubt: bool,
    /// Comparisons since it differs.
    searches: u64,
    /// The differences that were logged.
    logged: Vec<(LearnerId, Compared)>,
}

impl Alarm {
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// The state is another one.
    pub(crate) fn reset(&mut self) {
        self.comparison.forget();
    }
}

impl<S: Storage> Learner<S> {
    pub(crate) fn on_compare_timer(&mut self, effects: &mut Out) {
        effects.set_timer(Timer::Compare, Delay::exactly(self.config.tuning.subscribe_ms));
        for peer in self.linked_learners().collect::<Vec<_>>() {
            let mut told = self.history.news();
            // Where a peer differs, it is to see it too.
            let differs = self.alarm.comparison.of(peer).differs;
            told.extend(differs.and_then(|slot| Some((slot, self.history.at(slot)?))));
            let asked = self.alarm.comparison.probes(peer, &self.history);
            if !told.is_empty() {
                effects.send(peer, ToLearner::Chains(Chains { told, asked }));
            }
        }
        self.weigh(true, effects);
    }

    pub(crate) fn on_chains(&mut self, from: LearnerId, chains: Chains, effects: &mut Out) {
        let Chains { mut told, mut asked } = chains;
        told.truncate(MOST);
        asked.truncate(MOST);
        if let Some(applied) = told.iter().map(|(slot, _)| *slot).max() {
            self.giving.following.note_progress(from, applied, self.log.tail_first());
        }
        let moved = !synod_planted::is(Bug::DivergenceIgnored)
            && self.alarm.comparison.take(from, &told, &self.history);
        let told: Vec<_> = asked.iter().filter_map(|slot| Some((*slot, self.history.at(*slot)?))).collect();
        // Asked at once while that brings the search on; whoever has nothing new to tell isn't asked in circles.
        let asked = if moved { self.alarm.comparison.probes(from, &self.history) } else { Vec::new() };
        if !told.is_empty() || !asked.is_empty() {
            effects.send(from, ToLearner::Chains(Chains { told, asked }));
        }
        self.weigh(false, effects);
    }

    /// Draws the consequences of what is known.
    fn weigh(&mut self, is_tick: bool, effects: &mut Out) {
        let verdict = self.verdict();
        let was_in_doubt = self.alarm.in_doubt;
        self.alarm.in_doubt = verdict != Verdict::Sound;
        self.alarm.searches = match verdict {
            Verdict::Sound => 0,
            Verdict::InDoubt | Verdict::Odd => self.alarm.searches + u64::from(is_tick),
        };
        self.log_differences();
        match (verdict, was_in_doubt) {
            (Verdict::InDoubt, false) => {
                warn!("S7: answers no client until it is known whose state is right");
            }
            (Verdict::Sound, true) => {
                info!("S7: its state is that of a majority of the learners; answers clients again");
            }
            (Verdict::Sound, false) | (Verdict::InDoubt, true) | (Verdict::Odd, _) => {}
        }
        if verdict == Verdict::Odd && (self.is_search_over() || self.alarm.searches >= SEARCHES) {
            effects.halt(self.odd());
        }
    }

    fn verdict(&self) -> Verdict {
        let differs = |peer: &LearnerId| self.alarm.comparison.of(*peer).differs;
        let Some(first) = self.config.peers.iter().filter_map(differs).min() else { return Verdict::Sound };
        let vouches = |peer: &&LearnerId| {
            let compared = self.alarm.comparison.of(**peer);
            compared.differs.is_none() && compared.equal >= first
        };
        let differing = self.config.peers.iter().filter(|peer| differs(peer).is_some()).count();
        let mut agreeing =
            self.config.peers.iter().filter(vouches).count() + usize::from(!self.config.is_observer);
        if synod_planted::is(Bug::ObserverVouches) {
            agreeing += self.linked_observers().filter(|observer| vouches(&observer)).count();
        }
        let count = self.config.peers.len() + usize::from(!self.config.is_observer);
        let majority = count / 2 + 1;
        if agreeing >= majority {
            Verdict::Sound
        } else if count - differing < majority {
            Verdict::Odd
        } else {
            Verdict::InDoubt
        }
    }

    /// Whether the first slot that differs is known for every configured peer that differs.
    fn is_search_over(&self) -> bool {
        self.config.peers.iter().all(|peer| {
            let Compared { equal, differs } = self.alarm.comparison.of(*peer);
            differs.is_none_or(|differs| differs == equal.next())
        })
    }

    fn log_differences(&mut self) {
        let all = self.linked_learners().chain(self.config.peers.iter().copied());
        let known: std::collections::BTreeSet<LearnerId> = all.collect();
        let differing = |peer: LearnerId| (peer, self.alarm.comparison.of(peer));
        let differing: Vec<_> =
            known.into_iter().map(differing).filter(|(_, compared)| compared.differs.is_some()).collect();
        for (peer, compared) in &differing {
            if !self.alarm.logged.contains(&(*peer, *compared)) {
                error!(%peer, "S7: its hash chain differs from ours: {}", place(*compared));
            }
        }
        self.alarm.logged = differing;
    }

    /// What the process ends with.
    fn odd(&self) -> String {
        let differing = self.config.peers.iter().map(|peer| (*peer, self.alarm.comparison.of(*peer)));
        let differing: Vec<_> = differing.filter(|(_, compared)| compared.differs.is_some()).collect();
        let first = differing.iter().min_by_key(|(_, compared)| compared.differs);
        let peers: Vec<_> = differing.iter().map(|(peer, _)| peer.to_string()).collect();
        format!(
            "S7: this learner's state differs from that of {}: {}. It isn't one of a majority of the learners that agree, so it \
             stops before it answers anything wrong. What the cluster acknowledged is safe with the others. Its disk or memory may be \
             failing: look after them, move its data directory away (keep it: it shows what happened), and start it again: it fetches \
             the state from a peer",
            peers.join(" and "),
            first.map_or_else(String::new, |(_, compared)| place(*compared)),
        )
    }
}

/// Where the first slot that differs is, as far as it is known.
fn place(Compared { equal, differs }: Compared) -> String {
    match differs {
        Some(differs) if differs == equal.next() => format!("slot {differs} is the first that differs"),
        Some(differs) if equal == Slot::ZERO => format!("slot {differs} differs, perhaps earlier ones too"),
        Some(differs) => format!("slot {differs} differs, slot {equal} doesn't"),
        None => format!("slot {equal} doesn't differ"),
    }
}
