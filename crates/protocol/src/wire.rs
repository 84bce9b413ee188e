//! Bytes: the one module that knows bincode. Frames, heads and tails, commands, hellos.
//!
//! A frame is `[length: u32][head length: u32][head][tail]`, little-endian, where `length` counts what follows it. The head
//! is the message in bincode (fixed-int) with every [`Value`] reduced to its length; the tail is the values' bytes in order, so
//! that a value is shared with the frame it came in and never copied or encoded again. bincode 2.0.1 is unmaintained
//! (RUSTSEC-2025-0141): nothing outside this module names it, what it decodes is limited, trailing bytes are refused,
//! and golden bytes below pin the format, so that it can be replaced without changing a byte.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::Command;
use crate::hello::{Greeting, VERSION};
use crate::message::{Message, ToAcceptor, ToClient, ToLearner, ToProposer};
use crate::value::Value;

/// Cap on a frame before the hello, bytes.
pub const CAP_BEFORE_HELLO: usize = 4 << 10;
/// Cap on a frame to or from a client, bytes.
pub const CAP_CLIENT: usize = 8 << 20;
/// Cap on a frame between roles, bytes.
pub const CAP_PEER: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"SYNOD\r\n\0";

type Config<const LIMIT: usize> = Configuration<LittleEndian, Fixint, Limit<LIMIT>>;
const HEAD: Config<CAP_PEER> = limited();
const HELLO: Config<CAP_BEFORE_HELLO> = limited();

const fn limited<const LIMIT: usize>() -> Config<LIMIT> {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not a message of the expected kind.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
    /// Bytes left over behind a message.
    #[error("{0} bytes too many behind a message")]
    Trailing(usize),
    /// Ends before the message does.
    #[error("the frame ends before its message does")]
    Short,
    /// Not Synod at all.
    #[error("the other side doesn't speak Synod's protocol")]
    NotSynod,
    /// Another version.
    #[error(
        "the other side speaks version {theirs} of the protocol, this process version {VERSION}: run the same release"
    )]
    Version {
        /// The other side's version.
        theirs: u32,
    },
}

/// Something that travels, or is recorded, with values in it.
pub trait Payload: Serialize + DeserializeOwned {
    /// Visits every value, in the order of serialisation.
    fn values<'a>(&'a self, visit: &mut dyn FnMut(&'a Value));
    /// Visits every value, in the order of serialisation.
    fn values_mut(&mut self, visit: &mut dyn FnMut(&mut Value));
    /// Whether the lengths of parts of values that it tells add up to the values.
    fn adds_up(&self) -> bool {
        true
    }
}

/// Decodes a head and fills its values from `tail`, of which nothing may be left.
fn decode_parts<P: Payload>(head: &[u8], mut tail: Bytes) -> Result<P, WireError> {
    let mut payload: P = decode_head(head)?;
    let mut whole = true;
    payload.values_mut(&mut |value| whole &= value.fill(&mut tail));
    match (whole, tail.len()) {
        (false, _) => Err(WireError::Short),
        (true, 0) if payload.adds_up() => Ok(payload),
        (true, 0) => Err(WireError::Malformed("its parts don't add up".into())),
        (true, left) => Err(WireError::Trailing(left)),
    }
}

/// Decodes a body (a frame without its length): `[head length][head][tail]`.
pub fn decode_frame<P: Payload>(mut body: Bytes) -> Result<P, WireError> {
    if body.len() < 4 {
        return Err(WireError::Short);
    }
    let head_length = body.get_u32_le() as usize;
    if body.len() < head_length {
        return Err(WireError::Short);
    }
    let head = body.split_to(head_length);
    decode_parts(&head, body)
}

/// Appends `[length][head length][head]` of a message's frame to `out`; the values it gives to `tail` complete the frame.
pub fn encode_frame<'a>(message: &'a Message, out: &mut Vec<u8>, tail: &mut dyn FnMut(&'a Value)) {
    match message {
        Message::Acceptor(message) => encode_payload_frame(message, out, tail),
        Message::Proposer(message) => encode_payload_frame(message, out, tail),
        Message::Learner(message) => encode_payload_frame(message, out, tail),
        Message::Client(message) => encode_payload_frame(message, out, tail),
    }
}

fn encode_payload_frame<'a, P: Payload>(payload: &'a P, out: &mut Vec<u8>, tail: &mut dyn FnMut(&'a Value)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let length = encode_body(payload, out, tail);
    let length = u32::try_from(length).expect("chunk limits keep frames far under 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends `[head length][head]` to `out`; the values it gives to `tail` complete the body. Returns the body's length.
pub fn encode_body<'a, P: Payload>(
    payload: &'a P,
    out: &mut Vec<u8>,
    tail: &mut dyn FnMut(&'a Value),
) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    encode(payload, out);
    let head_length = out.len() - start - 4;
    out[start..start + 4].copy_from_slice(&(head_length as u32).to_le_bytes());
    let mut tail_length = 0;
    payload.values(&mut |value| {
        tail_length += value.len();
        tail(value);
    });
    4 + head_length + tail_length
}

/// Visits every value of a message, in the order of serialisation.
pub(crate) fn values_mut(message: &mut Message, visit: &mut dyn FnMut(&mut Value)) {
    match message {
        Message::Acceptor(message) => message.values_mut(visit),
        Message::Proposer(message) => message.values_mut(visit),
        Message::Learner(message) => message.values_mut(visit),
        Message::Client(message) => message.values_mut(visit),
    }
}

/// Appends a greeting's frame to `out`: `[length][magic][version][greeting]`.
pub fn encode_greeting(greeting: &Greeting, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    encode(greeting, out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Decodes the body of a greeting's frame.
pub fn decode_greeting(body: &[u8]) -> Result<Greeting, WireError> {
    let rest = body.strip_prefix(&MAGIC).ok_or(WireError::NotSynod)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(WireError::NotSynod)?;
    let theirs = u32::from_le_bytes(*version);
    if theirs != VERSION {
        return Err(WireError::Version { theirs });
    }
    decode(rest, HELLO)
}

/// Appends a command to `out`.
pub fn encode_command(command: &Command<'_>, out: &mut Vec<u8>) {
    encode(command, out);
}

/// Decodes a command that borrows from `bytes`.
pub fn decode_command(bytes: &[u8]) -> Result<Command<'_>, WireError> {
    let (command, read) = bincode::serde::borrow_decode_from_slice(bytes, HEAD).map_err(malformed)?;
    if read == bytes.len() { Ok(command) } else { Err(WireError::Trailing(bytes.len() - read)) }
}

/// A place or a number that travels inside a message as bytes, because its type is no affair of the protocol.
pub fn encode_place<T: Serialize>(place: &T) -> Bytes {
    let mut bytes = Vec::new();
    encode(place, &mut bytes);
    bytes.into()
}

/// Decodes what [`encode_place`] made.
pub fn decode_place<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    decode_head(bytes)
}

/// xxh3-64 of these parts, one after the other, each with its length.
pub fn checksum_of(parts: &[&[u8]]) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.digest()
}

/// Hash of a value's canonical encoding, for fixed parameters and formations.
pub fn hash_of<T: Serialize>(value: &T) -> u128 {
    let mut bytes = Vec::new();
    encode(value, &mut bytes);
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, HEAD)
        .expect("writing to memory can't fail, and our types have known lengths");
}

fn decode<T: DeserializeOwned, const LIMIT: usize>(
    bytes: &[u8],
    config: Config<LIMIT>,
) -> Result<T, WireError> {
    let (value, read) = bincode::serde::decode_from_slice(bytes, config).map_err(malformed)?;
    if read == bytes.len() { Ok(value) } else { Err(WireError::Trailing(bytes.len() - read)) }
}

/// Decodes under a limit that hardly exceeds the bytes at hand (I14): a length of bytes inside them is believed up to the limit,
/// and memory taken for it, before they are looked for. Whatever was encoded takes as much of the limit as it has bytes.
fn decode_head<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    const SMALL: usize = 4 << 10;
    const MIDDLE: usize = 64 << 10;
    const LARGE: usize = 1 << 20;
    if bytes.len() <= SMALL {
        decode(bytes, limited::<SMALL>())
    } else if bytes.len() <= MIDDLE {
        decode(bytes, limited::<MIDDLE>())
    } else if bytes.len() <= LARGE {
        decode(bytes, limited::<LARGE>())
    } else {
        decode(bytes, HEAD)
    }
}

fn malformed(error: bincode::error::DecodeError) -> WireError {
    WireError::Malformed(error.to_string())
}

/// Writes both visitors of a message enum from the variants that carry values, and those that don't.
macro_rules! payload {
    ($message:ident, carries { $($with:ident($bound:ident) => $($field:ident).+ $(, each $each:ident)?;)+ }, $without:pat $(, adds up: $parts:ident)?) => {
        impl Payload for $message {
            fn values<'a>(&'a self, visit: &mut dyn FnMut(&'a Value)) {
                match self {
                    $($message::$with($bound) => payload!(@visit visit, (&$($field).+), $($each)?),)+
                    $without => {}
                }
            }
            fn values_mut(&mut self, visit: &mut dyn FnMut(&mut Value)) {
                match self {
                    $($message::$with($bound) => payload!(@visit visit, (&mut $($field).+), $($each)?),)+
                    $without => {}
                }
            }
            $(fn adds_up(&self) -> bool {
                if let $message::$parts(parts) = self { parts.adds_up() } else { true }
            })?
        }
    };
    (@visit $visit:ident, ($($values:tt)+),) => { $visit($($values)+) };
    (@visit $visit:ident, ($($values:tt)+), value) => { ($($values)+).into_iter().for_each($visit) };
    (@visit $visit:ident, (&$($values:ident).+), item) => { for item in &$($values).+ { $visit(&item.value) } };
    (@visit $visit:ident, (&mut $($values:ident).+), item) => { for item in &mut $($values).+ { $visit(&mut item.value) } };
}

payload!(
    ToAcceptor,
    carries { Accept(accept) => accept.entries, each item; },
    ToAcceptor::Prepare { .. }
        | ToAcceptor::Probe { .. }
        | ToAcceptor::QuorumRead { .. }
        | ToAcceptor::Fetch(_)
        | ToAcceptor::Admit(_)
        | ToAcceptor::Reached { .. }
        | ToAcceptor::Form { .. }
        | ToAcceptor::Status { .. }
);

payload!(
    ToProposer,
    carries {
        Promise(promise) => promise.votes, each item;
        Fetched(fetched) => fetched.values, each value;
        Propose(propose) => propose.commands;
    },
    ToProposer::Nack { .. }
        | ToProposer::Accepted(_)
        | ToProposer::ProbeReply { .. }
        | ToProposer::Subscribe(_)
        | ToProposer::Settle { .. }
        | ToProposer::Admitted(_)
        | ToProposer::Readmit { .. }
        | ToProposer::Status { .. }
);

payload!(
    ToLearner,
    carries {
        Chosen(chosen) => chosen.values, each value;
        Fetched(fetched) => fetched.values, each value;
        Forward(propose) => propose.commands;
        Read(reads) => reads.keys;
    },
    ToLearner::QuorumReadReply { .. }
        | ToLearner::Refused { .. }
        | ToLearner::Fetch(_)
        | ToLearner::SnapshotFetch(_)
        | ToLearner::SnapshotChunk(_)
        | ToLearner::NoSnapshot(_)
        | ToLearner::Chains(_)
        | ToLearner::Attach(_)
        | ToLearner::Status { .. },
    adds up: Read
);

payload!(
    ToClient,
    carries { ReadReplies(replies) => replies.values; },
    ToClient::Opened(_)
        | ToClient::Attached { .. }
        | ToClient::Replies(_)
        | ToClient::Refused { .. }
        | ToClient::SnapshotChunk(_)
        | ToClient::NoSnapshot(_)
        | ToClient::Formed { .. }
        | ToClient::Readmission { .. }
        | ToClient::Status { .. },
    adds up: ReadReplies
);

#[cfg(test)]
mod tests;
