//! Who fetches a snapshot from whom, to count what came in between.

use std::collections::{BTreeMap, BTreeSet};

use synod_protocol::NodeId;

use crate::plan::Us;

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    giver: NodeId,
    giver_crashed: bool,
}

/// The transfers under way, by who fetches.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    under_way: BTreeMap<NodeId, UnderWay>,
    /// Who crashed while it fetched.
    interrupted: BTreeSet<NodeId>,
    /// Crashes to come: whether of the giver, the chunks until then, and for how long.
    to_crash: Vec<(bool, u64, Us)>,
}

/// What happened while a snapshot was fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    pub(crate) giver_crashed: bool,
    pub(crate) receiver_crashed: bool,
}

impl Transfers {
    /// A learner asks for a part; whether it asks another than before, and keeps what it has (`resumes`).
    pub(crate) fn asked(&mut self, receiver: NodeId, giver: NodeId, resumes: bool) -> bool {
        let first = UnderWay { giver, giver_crashed: false };
        let under_way = self.under_way.entry(receiver).or_insert(first);
        let changed = std::mem::replace(&mut under_way.giver, giver) != giver;
        changed && resumes
    }

    /// When so many chunks have been given, the giver or the receiver of the last is to crash.
    pub(crate) fn cut_short(&mut self, is_giver: bool, chunks: u64, down_us: Us) {
        self.to_crash.push((is_giver, chunks, down_us));
    }

    /// A chunk leaves; who is to crash because of that, and for how long.
    pub(crate) fn given(&mut self, giver: NodeId, receiver: NodeId) -> Option<(NodeId, Us)> {
        self.to_crash.iter_mut().for_each(|(_, chunks, _)| *chunks = chunks.saturating_sub(1));
        let at = self.to_crash.iter().position(|(_, chunks, _)| *chunks == 0)?;
        let (is_giver, _, down_us) = self.to_crash.swap_remove(at);
        Some((if is_giver { giver } else { receiver }, down_us))
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, node: NodeId) {
        if self.under_way.remove(&node).is_some() {
            self.interrupted.insert(node);
        }
        for under_way in self.under_way.values_mut() {
            under_way.giver_crashed |= under_way.giver == node;
        }
    }

    /// A learner has installed a state.
    pub(crate) fn installed(&mut self, receiver: NodeId) -> Trouble {
        let giver_crashed = self.under_way.remove(&receiver).is_some_and(|under_way| under_way.giver_crashed);
        Trouble { giver_crashed, receiver_crashed: self.interrupted.remove(&receiver) }
    }
}
