//! Room on the disk: how many bytes of votes the role may record before the keeper has looked for more.
//!
//! A vote that doesn't fit is not cast, so that memory never runs ahead of the disk: what the journal has for sure takes all that is cast (S3). While the disk
//! has space, the keeper makes room for what didn't fit, and the leader's next try finds it; on a full disk acceptors say so. What is limited is
//! votes alone: promises and floors have a reserve of their own, since they let others go on and let old votes go. Told by [`crate::keeper`] after each batch.

use synod_planted::Bug;
use synod_protocol::Value;

/// Bytes that a vote takes on disk beside its value, at most.
const VOTE_BYTES: u64 = 128;

/// What a disk takes of votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Space {
    /// Any number.
    #[default]
    Unlimited,
    /// So many bytes for sure; more when the keeper was told that they are wanted.
    Sure(u64),
    /// So many bytes, and no more: it is full.
    Last(u64),
}

/// What the disk still takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Room {
    left: Space,
    /// Whether a vote was refused since the disk is full.
    full: bool,
    /// Bytes of a vote that didn't fit, though there may be space for it.
    wanted_bytes: u64,
}

impl Room {
    pub(crate) fn set(&mut self, space: Space) {
        self.full &= matches!(space, Space::Last(_));
        self.left = space;
    }

    /// Whether the disk is full for all that the keeper knows.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self.left, Space::Last(_))
    }

    /// Whether leaders should do without this acceptor's votes.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// The largest vote that didn't fit since this was asked last, if one did.
    pub(crate) fn take_wanted_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.wanted_bytes)
    }

    /// Takes room for a vote, or refuses it and all that come after: a later one that fits would leave a gap.
    pub(crate) fn takes(&mut self, value: &Value) -> bool {
        let needed_bytes = value.len() as u64 + VOTE_BYTES;
        let (Space::Sure(left) | Space::Last(left)) = &mut self.left else { return true };
        match left.checked_sub(needed_bytes) {
            Some(less) => *left = less,
            None if synod_planted::is(Bug::RoomIgnored) => {}
            None => {
                *left = 0;
                self.full = self.is_last();
                self.wanted_bytes = self.wanted_bytes.max(needed_bytes);
                return false;
            }
        }
        !self.full
    }
}
