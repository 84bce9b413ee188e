//! What happened, as a hash that two runs of a seed must share, and as lines for people.

use std::hash::Hash;

use bytes::Bytes;
use synod_client::Ended;
use synod_protocol::message::{
    Accept, Attach, AttachState, Message, NotTaken, ReadOutcome, SnapshotChunk, Subscribe, ToAcceptor,
    ToClient, ToLearner, ToProposer,
};
use synod_protocol::value::Entry;
use synod_protocol::{Incarnations, NodeId, Slot, Value, command};
use xxhash_rust::xxh3::Xxh3;

use crate::node::Input;
use crate::plan::Us;

/// Hears everything that happens.
pub(crate) trait Teller {
    /// A process takes something from its inbox.
    fn input(&mut self, now: Us, to: NodeId, input: &Input);
    /// Something else happened.
    fn note(&mut self, now: Us, what: impl FnOnce() -> String);
    /// A call ended.
    fn ended(&mut self, now: Us, client: NodeId, key: &Bytes, ended: &Ended);
}

/// Hashes whatever happens, and hands lines to whoever wants them.
pub(crate) struct Story<F> {
    hash: Xxh3,
    tell: Option<F>,
}

impl<F: FnMut(String)> Story<F> {
    /// A story told line by line, or only hashed.
    pub(crate) fn new(tell: Option<F>) -> Story<F> {
        Story { hash: Xxh3::new(), tell }
    }

    /// The hash of all so far.
    pub(crate) fn trace_hash(&self) -> u64 {
        self.hash.digest()
    }

    fn line(&mut self, now: Us, text: impl FnOnce() -> String) {
        if let Some(tell) = &mut self.tell {
            tell(format!("{:>10}.{:03} ms  {}", now / 1000, now % 1000, text()));
        }
    }
}

impl<F: FnMut(String)> Teller for Story<F> {
    fn input(&mut self, now: Us, to: NodeId, input: &Input) {
        now.hash(&mut self.hash);
        to.hash(&mut self.hash);
        match input {
            Input::Message { from, message } => {
                (0u8, from).hash(&mut self.hash);
                message.hash(&mut self.hash);
            }
            Input::Timer(timer) => (1u8, timer).hash(&mut self.hash),
            Input::Link { peer, up } => (2u8, peer, up).hash(&mut self.hash),
        }
        self.line(now, || match input {
            Input::Message { from, message } => format!("{from:>4} -> {to:<4} {}", describe(message)),
            Input::Timer(timer) => format!("        {to:<4} timer {timer:?}"),
            Input::Link { peer, up } => {
                format!("        {to:<4} connection with {peer} is {}", if *up { "up" } else { "gone" })
            }
        });
    }

    fn note(&mut self, now: Us, what: impl FnOnce() -> String) {
        self.line(now, || format!("     *  {}", what()));
    }

    fn ended(&mut self, now: Us, client: NodeId, key: &Bytes, ended: &Ended) {
        self.line(now, || {
            let outcome = match ended {
                Ok(answer) => format!("ok at slot {}: {:?}", answer.slot, answer.value),
                Err(error) => error.to_string(),
            };
            format!("        {client:<4} call on {key:?} ended: {outcome}")
        });
    }
}

fn values(first: Slot, values: &[Value]) -> String {
    match values {
        [] => "no values".to_string(),
        [value] => format!("slot {first} ({})", batch(value)),
        _ => format!("slots {first}-{}", first.0 + values.len() as u64 - 1),
    }
}

fn batch(value: &Value) -> String {
    match command::count(value) {
        Some(0) => "noop".to_string(),
        Some(1) => "1 command".to_string(),
        Some(count) => format!("{count} commands"),
        None => "garbage".to_string(),
    }
}

fn entries(entries: &[Entry]) -> String {
    match entries {
        [] => "heartbeat".to_string(),
        [entry] => format!("slot {} ({})", entry.slot, batch(&entry.value)),
        [first, .., last] => format!("slots {}-{}", first.slot, last.slot),
    }
}

fn refusal(reason: &NotTaken) -> String {
    match reason {
        NotTaken::Busy { retry_ms } => format!("busy, again in {retry_ms} ms"),
        NotTaken::NotLeader { leader: Some(leader) } => format!("not leader, {leader} is"),
        NotTaken::NotLeader { leader: None } => "not leader, nobody known".to_string(),
        NotTaken::Malformed => "malformed".to_string(),
    }
}

/// A message in a line.
fn describe(message: &Message) -> String {
    match message {
        Message::Acceptor(message) => to_acceptor(message),
        Message::Proposer(message) => to_proposer(message),
        Message::Learner(message) => to_learner(message),
        Message::Client(message) => to_client(message),
    }
}

fn to_acceptor(message: &ToAcceptor) -> String {
    match message {
        ToAcceptor::Prepare { ballot, after } => format!("Prepare {ballot}, votes above {after}?"),
        ToAcceptor::Accept(accept) => {
            let Accept { ballot, chosen, floor, .. } = accept;
            format!("Accept {ballot}: {}, chosen {chosen}, floor {floor}", entries(&accept.entries))
        }
        ToAcceptor::Probe { probe } => format!("Probe {probe}: is your leader silent?"),
        ToAcceptor::QuorumRead { round } => format!("QuorumRead {round:x}: highest slot voted on?"),
        ToAcceptor::Fetch(fetch) => format!("Fetch {}-{}", fetch.first, fetch.last),
        ToAcceptor::Admit(admit) => {
            format!("Admit {}: {} has disk {}", admit.ballot, admit.acceptor, admit.disk)
        }
        ToAcceptor::Reached { ballot, rows } => format!("Reached {ballot}: {}", positions(rows)),
        ToAcceptor::Form { step, .. } => format!("Form {step:?}"),
        ToAcceptor::Status { .. } => "Status?".to_string(),
    }
}

fn positions(rows: &Incarnations) -> String {
    let rows =
        rows.rows().map(|(acceptor, row)| format!("{acceptor}'s disk has had {} records", row.position));
    rows.collect::<Vec<_>>().join(", ")
}

fn to_proposer(message: &ToProposer) -> String {
    match message {
        ToProposer::Promise(promise) => format!(
            "Promise {}: held {}, {} votes above {}{}",
            promise.ballot,
            promise.held,
            promise.votes.len(),
            promise.after,
            if promise.complete { "" } else { ", more to come" }
        ),
        ToProposer::Nack { ballot, promised } => format!("Nack {ballot}: {promised} is promised"),
        ToProposer::Accepted(accepted) => {
            let slots: Vec<String> = accepted.slots.iter().map(ToString::to_string).collect();
            format!("Accepted {}: slots [{}], held {}", accepted.ballot, slots.join(" "), accepted.held)
        }
        ToProposer::ProbeReply { probe, promised, silent } => {
            format!("ProbeReply {probe}: {promised} is {}", if *silent { "silent" } else { "alive" })
        }
        ToProposer::Fetched(fetched) => {
            format!("Fetched {}, held {}", values(fetched.first, &fetched.values), fetched.held)
        }
        ToProposer::Propose(propose) => format!("Propose {} ({})", propose.tag, batch(&propose.commands)),
        ToProposer::Subscribe(Subscribe { next, synced, pinned, wants }) => {
            format!("Subscribe from {next}, synced to {synced}, pins {pinned:?}, wants {wants:?}")
        }
        ToProposer::Settle { slot } => format!("Settle {slot}"),
        ToProposer::Admitted(admitted) => {
            format!("Admitted {}: {} has another disk", admitted.admit.ballot, admitted.admit.acceptor)
        }
        ToProposer::Readmit { acceptor, disk, .. } => format!("Readmit {acceptor} with disk {disk}"),
        ToProposer::Status { .. } => "Status?".to_string(),
    }
}

fn to_learner(message: &ToLearner) -> String {
    match message {
        ToLearner::Chosen(chosen) => {
            format!(
                "Chosen {}: {}, chosen {}",
                chosen.ballot,
                values(chosen.first, &chosen.values),
                chosen.prefix
            )
        }
        ToLearner::Fetched(fetched) => {
            format!("Fetched {}, held {}", values(fetched.first, &fetched.values), fetched.held)
        }
        ToLearner::QuorumReadReply { round, highest, .. } => {
            format!("QuorumReadReply {round:x}: highest {highest}")
        }
        ToLearner::Refused { tag, reason } => format!("Refused {tag}: {}", refusal(reason)),
        ToLearner::Fetch(fetch) => format!("Fetch {}-{}", fetch.first, fetch.last),
        ToLearner::SnapshotFetch(fetch) => {
            format!("SnapshotFetch {:?}, {} or later", fetch.slot, fetch.least)
        }
        ToLearner::SnapshotChunk(chunk) => snapshot_chunk(chunk),
        ToLearner::NoSnapshot(none) => format!("NoSnapshot {:?}, applied {}", none.slot, none.applied),
        ToLearner::Chains(chains) => format!("Chains {:?}, asks for {:?}", chains.told, chains.asked),
        ToLearner::Attach(Attach::Nonce(_)) => "Attach to the session about to open".to_string(),
        ToLearner::Attach(Attach::Session { session, pending }) => {
            format!("Attach to {session}, {} replies wanted", pending.len())
        }
        ToLearner::Read(reads) => format!("Read of {} keys", reads.len()),
        ToLearner::Forward(propose) => format!("Forward {} ({})", propose.tag, batch(&propose.commands)),
        ToLearner::Status { .. } => "Status?".to_string(),
    }
}

fn snapshot_chunk(chunk: &SnapshotChunk) -> String {
    let more = if chunk.next.is_some() { "" } else { ", the last" };
    format!("SnapshotChunk of slot {}: {} bytes{more}", chunk.slot, chunk.bytes.len())
}

fn to_client(message: &ToClient) -> String {
    match message {
        ToClient::Opened(opened) => match opened.session {
            Some(session) => format!("Opened {session}"),
            None => "Opened nothing: too many sessions".to_string(),
        },
        ToClient::Attached { session, state } => {
            let state = match state {
                AttachState::Open => "open",
                AttachState::Behind => "behind",
                AttachState::Ended => "ended",
            };
            session.map_or(format!("Attached: {state}"), |session| format!("Attached to {session}: {state}"))
        }
        ToClient::Replies(replies) => {
            let one = |reply: &command::Reply| {
                format!("{}#{} {:?} at {}", reply.session, reply.sequence, reply.outcome, reply.slot)
            };
            format!("Replies: {}", replies.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        ToClient::ReadReplies(replies) => {
            let one = |reply: synod_protocol::message::ReadReply| match &reply.outcome {
                ReadOutcome::Value(value) => format!("{value:?} at {}", reply.slot),
                ReadOutcome::Busy { retry_ms } => format!("busy, again in {retry_ms} ms"),
            };
            format!("ReadReplies: {}", replies.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        ToClient::Refused { tag, reason } => format!("Refused {tag}: {}", refusal(reason)),
        ToClient::SnapshotChunk(chunk) => snapshot_chunk(chunk),
        ToClient::NoSnapshot(none) => format!("NoSnapshot {:?}, applied {}", none.slot, none.applied),
        ToClient::Formed { .. } => "Formed".to_string(),
        ToClient::Readmission { readmission, .. } => format!("Readmission: {readmission:?}"),
        ToClient::Status { .. } => "Status".to_string(),
    }
}
