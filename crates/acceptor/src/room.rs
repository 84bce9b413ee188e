//! Room on the disk: how many bytes of votes the role may still record, when the disk is running out of space.
//!
//! A vote that doesn't fit is not cast, so that memory never runs ahead of the disk. What is limited is votes alone: promises and
//! floors have a reserve of their own, since they let others go on and let old votes go. Told by [`crate::keeper`] after each batch.

use synod_planted::Bug;
use synod_protocol::Value;

/// Bytes that a vote takes on disk beside its value, at most.
const VOTE_BYTES: u64 = 128;

/// What the disk still takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Room {
    /// Bytes left; no limit while the disk has space.
    bytes: Option<u64>,
    /// Whether a vote was refused since there was no limit.
    full: bool,
}

impl Room {
    pub(crate) fn set(&mut self, bytes: Option<u64>) {
        self.full &= bytes.is_some();
        self.bytes = bytes;
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.bytes.is_none()
    }

    /// Whether leaders should do without this acceptor's votes.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Takes room for a vote, or refuses it and all that come after: a later one that fits would leave a gap.
    pub(crate) fn takes(&mut self, value: &Value) -> bool {
        let Some(bytes) = &mut self.bytes else { return true };
        if self.full {
            return false;
        }
        match bytes.checked_sub(value.len() as u64 + VOTE_BYTES) {
            Some(left) => *bytes = left,
            None if synod_planted::is(Bug::RoomIgnored) => {}
            None => (*bytes, self.full) = (0, true),
        }
        !self.full
    }
}
