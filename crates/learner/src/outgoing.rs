//! Answers of one batch, grouped: one message for each client and kind, as long as it fits a frame.

use std::collections::BTreeMap;

use synod_protocol::command::{Reply, SessionId};
use synod_protocol::message::{AttachState, ReadOutcome, ReadReply, ToClient};
use synod_protocol::{ClientId, wire};

use crate::Out;

/// Bytes of one frame of answers, at most (one larger value still goes alone).
const FRAME_BYTES: u64 = (wire::CAP_CLIENT / 2) as u64;
/// Bytes of a reply, or of a read reply beside its value, at most.
const REPLY_BYTES: u64 = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct ReadReplies {
    replies: Vec<ReadReply>,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    replies: BTreeMap<ClientId, Vec<Reply>>,
    reads: BTreeMap<ClientId, ReadReplies>,
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
        self.reads.get(&client).is_some_and(|reads| reads.bytes >= self.reads_bytes)
    }

    pub(crate) fn read_reply(&mut self, client: ClientId, reply: ReadReply) {
        let reads = self.reads.entry(client).or_default();
        reads.bytes += bytes(&reply);
        reads.replies.push(reply);
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
            let (mut frame, mut frame_bytes) = (Vec::new(), 0);
            for reply in reads.replies {
                let bytes = bytes(&reply);
                if frame_bytes + bytes > FRAME_BYTES && !frame.is_empty() {
                    effects.send(client, ToClient::ReadReplies(std::mem::take(&mut frame)));
                    frame_bytes = 0;
                }
                frame_bytes += bytes;
                frame.push(reply);
            }
            effects.send(client, ToClient::ReadReplies(frame));
        }
        for (client, session) in self.ended.drain(..) {
            effects.send(client, ToClient::Attached { session: Some(session), state: AttachState::Ended });
        }
    }
}

fn bytes(reply: &ReadReply) -> u64 {
    REPLY_BYTES
        + match &reply.outcome {
            ReadOutcome::Value(Some(record)) => record.value.len() as u64,
            ReadOutcome::Value(None) | ReadOutcome::Busy { .. } => 0,
        }
}
