//! Answers of one batch, grouped: one message for each client and kind, as long as it fits a frame.

use std::collections::BTreeMap;

use synod_protocol::command::{Reply, SessionId, Stamp};
use synod_protocol::message::{AttachState, ReadReplies, ReadRepliesBuilder, ToClient};
use synod_protocol::{ClientId, Slot, wire};

use crate::Out;

/// Bytes of one frame of answers, at most (one larger value still goes alone).
const FRAME_BYTES: u64 = (wire::CAP_CLIENT / 2) as u64;
/// Bytes of a reply, at most.
const REPLY_BYTES: u64 = 64;

/// Read replies for one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct ForReads {
    /// Those that fill a frame.
    full: Vec<ReadReplies>,
    /// Their bytes.
    full_bytes: u64,
    open: ReadRepliesBuilder,
}

impl ForReads {
    fn bytes(&self) -> u64 {
        self.full_bytes + self.open.bytes() as u64
    }

    /// Sees that a value of so many bytes fits the open frame.
    fn make_room(&mut self, value_bytes: usize) {
        let bytes = (self.open.bytes() + ReadRepliesBuilder::REPLY_BYTES + value_bytes) as u64;
        if bytes > FRAME_BYTES && !self.open.is_empty() {
            self.full_bytes += self.open.bytes() as u64;
            self.full.push(std::mem::take(&mut self.open).finish());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    replies: BTreeMap<ClientId, Vec<Reply>>,
    reads: BTreeMap<ClientId, ForReads>,
    /// Sessions that ended; told after the replies that came before their end.
    ended: Vec<(ClientId, SessionId)>,
    /// Bytes of read replies for one client in one batch, at most.
    reads_bytes: u64,
}

impl Outgoing {
    pub(crate) fn new(reads_bytes: u64) -> Outgoing {
        Outgoing { replies: BTreeMap::new(), reads: BTreeMap::new(), ended: Vec::new(), reads_bytes }
    }

    pub(crate) fn reply(&mut self, client: ClientId, reply: Reply) {
        self.replies.entry(client).or_default().push(reply);
    }

    /// Whether a client's read replies leave no room for another in this batch.
    pub(crate) fn is_full_for(&self, client: ClientId) -> bool {
        self.reads.get(&client).is_some_and(|reads| reads.bytes() >= self.reads_bytes)
    }

    /// So many more read replies for that client will come.
    pub(crate) fn expect(&mut self, client: ClientId, replies: usize) {
        self.reads.entry(client).or_default().open.expect(replies);
    }

    /// The reply to a read: what the key has, if anything.
    pub(crate) fn read_reply(
        &mut self,
        client: ClientId,
        id: u64,
        slot: Slot,
        record: Option<(Stamp, &[u8])>,
    ) {
        let reads = self.reads.entry(client).or_default();
        reads.make_room(record.map_or(0, |(_, value)| value.len()));
        reads.open.push(id, slot, record);
    }

    /// A read can't be answered for so long.
    pub(crate) fn busy(&mut self, client: ClientId, id: u64, slot: Slot, retry_ms: u64) {
        let reads = self.reads.entry(client).or_default();
        reads.make_room(0);
        reads.open.push_busy(id, slot, retry_ms);
    }

    pub(crate) fn ended(&mut self, client: ClientId, session: SessionId) {
        self.ended.push((client, session));
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self, effects: &mut Out) {
        for (client, mut replies) in std::mem::take(&mut self.replies) {
            let most = (FRAME_BYTES / REPLY_BYTES) as usize;
            while replies.len() > most {
                let rest = replies.split_off(most);
                effects.send(client, ToClient::Replies(std::mem::replace(&mut replies, rest)));
            }
            effects.send(client, ToClient::Replies(replies));
        }
        for (client, reads) in std::mem::take(&mut self.reads) {
            let frames = reads.full.into_iter().chain(Some(reads.open.finish()));
            frames.for_each(|frame| effects.send(client, ToClient::ReadReplies(frame)));
        }
        for (client, session) in self.ended.drain(..) {
            effects.send(client, ToClient::Attached { session: Some(session), state: AttachState::Ended });
        }
    }
}
