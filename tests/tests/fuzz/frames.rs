//! Frames and greetings from anybody who can reach a port.

use std::fmt::Debug;

use bolero::check;
use bytes::Bytes;
use synod_protocol::message::{
    Consistency, Fetched, Message, Read, SnapshotFetch, ToAcceptor, ToClient, ToLearner, ToProposer,
};
use synod_protocol::{Slot, Value, wire};

use crate::{RANDOM_INPUTS, alone, within};

/// Memory that decoding may take for each byte of a frame: the smallest thing on the wire, the length of an empty value in a list, takes
/// four bytes there and 32 in memory, and a list that grows is held twice for a moment, with room for as much again.
const MEMORY_PER_BYTE: usize = 24;
/// And for any frame: what a list may reserve before its elements have come, and a length that is believed too soon.
const MEMORY_PER_FRAME: usize = (1 << 20) + (64 << 10);

/// A body decodes, is encoded again to the same bytes, and only it: with a byte more or less it is refused.
fn check<P: wire::Payload + PartialEq + Debug>(body: &[u8], wrap: fn(P) -> Message) {
    let decode = |body: &[u8]| {
        let body = Bytes::copy_from_slice(body);
        within(body.len() * MEMORY_PER_BYTE + MEMORY_PER_FRAME, || wire::decode_frame::<P>(body))
    };
    let Ok(message) = decode(body) else { return };
    assert!(decode(&[body, &[0]].concat()).is_err(), "a byte behind {} is passed over", brief(&message));
    let shorter = decode(&body[..body.len() - 1]);
    assert!(shorter.is_err(), "the last byte of {} isn't needed", brief(&message));
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let message = wrap(message);
    wire::encode_frame(&message, &mut head, &mut |value: &Value| tail.extend_from_slice(value.bytes()));
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let same = [&head[..], &tail].concat() == [&length, body].concat();
    assert!(same, "{} is encoded otherwise", brief(&message));
}

/// The beginning of a message, for people.
fn brief(message: &impl Debug) -> String {
    format!("{message:?}").chars().take(200).collect()
}

#[test]
fn to_an_acceptor() {
    let _alone = alone();
    check!()
        .with_iterations(RANDOM_INPUTS)
        .for_each(|body: &[u8]| check::<ToAcceptor>(body, Message::Acceptor));
}

#[test]
fn to_a_proposer() {
    let _alone = alone();
    check!()
        .with_iterations(RANDOM_INPUTS)
        .for_each(|body: &[u8]| check::<ToProposer>(body, Message::Proposer));
}

#[test]
fn to_a_learner() {
    let _alone = alone();
    check!()
        .with_iterations(RANDOM_INPUTS)
        .for_each(|body: &[u8]| check::<ToLearner>(body, Message::Learner));
}

#[test]
fn to_a_client() {
    let _alone = alone();
    check!().with_iterations(RANDOM_INPUTS).for_each(|body: &[u8]| check::<ToClient>(body, Message::Client));
}

#[test]
fn greetings() {
    let _alone = alone();
    check!().with_iterations(RANDOM_INPUTS).for_each(|body: &[u8]| {
        let decode = |body: &[u8]| within(2 * wire::CAP_BEFORE_HELLO, || wire::decode_greeting(body));
        let Ok(greeting) = decode(body) else { return };
        assert!(decode(&[body, &[0]].concat()).is_err(), "a byte behind {greeting:?} is passed over");
        let mut frame = Vec::new();
        wire::encode_greeting(&greeting, &mut frame);
        assert_eq!(&frame[4..], body, "{greeting:?} is encoded otherwise");
    });
}

fn frame(message: &Message) -> Vec<u8> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    wire::encode_frame(message, &mut head, &mut |value| tail.extend_from_slice(value.bytes()));
    [&head[4..], &tail].concat()
}

/// Forty bytes that tell of a cursor of sixty million more must not take sixty million bytes of memory.
#[test]
fn i14_a_length_is_not_believed_before_its_bytes_are_there() {
    let _alone = alone();
    let fetch = SnapshotFetch { slot: None, least: Slot(1), cursor: Bytes::from_static(b"key") };
    let mut body = frame(&Message::Learner(ToLearner::SnapshotFetch(fetch)));
    check::<ToLearner>(&body, Message::Learner);
    let length = body.len() - 3 - 8;
    assert_eq!(body[length..length + 8], 3_u64.to_le_bytes());
    body[length..length + 8].copy_from_slice(&60_000_000_u64.to_le_bytes());
    let decoded = within(64 << 10, || wire::decode_frame::<ToLearner>(body.into()));
    assert!(decoded.is_err());
}

/// The largest frames that a client may send, full of what takes the most memory for its bytes.
#[test]
fn i14_the_worst_frames_take_no_more_memory_than_is_said() {
    let _alone = alone();
    let nothing = Read { id: 1, key: &[], consistency: Consistency::Linearizable };
    let reads = ToLearner::Read(std::iter::repeat_n(nothing, wire::CAP_CLIENT / 16 - 2).collect());
    let values = vec![Value::NOOP; wire::CAP_CLIENT / 4 - 16];
    let fetched = Fetched { first: Slot(1), values, held: Slot(1), floor: Slot(1) };
    for message in [reads, ToLearner::Fetched(fetched)] {
        let body = frame(&Message::Learner(message));
        assert!(body.len() <= wire::CAP_CLIENT && body.len() > wire::CAP_CLIENT * 9 / 10);
        check::<ToLearner>(&body, Message::Learner);
    }
}
