//! Whether clients wait for what this learner learns: then it wants chosen values at once, otherwise many in one message and a little late.
//!
//! Each message costs the leader and this process the same, whatever it holds, and takes a core from those for whom somebody waits. Nothing here matters to
//! safety: a value that is streamed late is a message that comes late.

use synod_protocol::message::Wants;
use synod_protocol::tuning::Tuning;

use crate::attach::Attachments;

/// Subscriptions for which a reader counts after its last read: it is likely to come again.
const READER_ROUNDS: u32 = 10;

/// Who waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Audience {
    /// Whether leaders make a difference at all.
    is_thrifty: bool,
    /// What was told of it last.
    is_there: bool,
    /// Subscriptions until the last reader no longer counts.
    reader_rounds: u32,
}

impl Audience {
    pub(crate) fn new(tuning: &Tuning) -> Audience {
        let is_thrifty = tuning.thrifty_ms > 0;
        Audience { is_thrifty, is_there: !is_thrifty, reader_rounds: 0 }
    }

    /// What to ask leaders for.
    pub(crate) fn wants(&self) -> Wants {
        if self.is_there { Wants::AtOnce } else { Wants::Late }
    }

    /// Somebody reads.
    pub(crate) fn reads(&mut self) {
        if self.is_thrifty {
            self.reader_rounds = READER_ROUNDS;
        }
    }

    /// Whether somebody waits now and it isn't told yet; from now on it is.
    pub(crate) fn comes(&mut self, attachments: &Attachments) -> bool {
        let comes = !self.is_there && self.waits(attachments);
        self.is_there |= comes;
        comes
    }

    /// A subscription is due.
    pub(crate) fn next_round(&mut self, attachments: &Attachments) {
        self.is_there = self.waits(attachments);
        self.reader_rounds = self.reader_rounds.saturating_sub(1);
    }

    fn waits(&self, attachments: &Attachments) -> bool {
        !self.is_thrifty || self.reader_rounds > 0 || !attachments.is_empty()
    }
}
