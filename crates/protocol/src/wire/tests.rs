//! Golden bytes pin the wire format; round trips and damage show that nothing else is taken for a message.

mod golden;

use super::*;
use crate::command::{Call, Operation, SessionId, Stamp};
use crate::hello::{Hello, Standing};
use crate::ids::{AcceptorId, Ballot, ClusterId, DiskId, ProposerId, Revision, Slot};
use crate::incarnations::Incarnations;
use crate::message::{Accept, Consistency, Read, ReadRepliesBuilder, SnapshotFetch};
use crate::value::Entry;

fn frame(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let mut values = Vec::new();
    encode_frame(message, &mut out, &mut |value| values.push(value.bytes().clone()));
    values.iter().for_each(|value| out.extend_from_slice(value));
    out
}

fn body(message: &Message) -> Bytes {
    Bytes::from(frame(message)).slice(4..)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ballot() -> Ballot {
    Ballot { round: 5, proposer: ProposerId(2), life: 0x0102_0304_0506_0708 }
}

fn value(text: &'static str) -> Value {
    Value::new(Bytes::from_static(text.as_bytes()))
}

fn accept() -> ToAcceptor {
    let entries =
        vec![Entry { slot: Slot(8), value: value("abc") }, Entry { slot: Slot(9), value: Value::NOOP }];
    ToAcceptor::Accept(Accept { ballot: ballot(), chosen: Slot(7), floor: Slot(3), entries })
}

#[test]
fn golden_bytes_of_an_accept() {
    let expected = concat!(
        "4d000000",                 // length of what follows
        "46000000",                 // length of the head
        "01000000",                 // ToAcceptor::Accept
        "05000000000000000200",     // ballot: round, proposer,
        "0807060504030201",         // and life
        "0700000000000000",         // chosen prefix
        "0300000000000000",         // floor
        "0200000000000000",         // two entries
        "080000000000000003000000", // slot 8, three bytes
        "090000000000000000000000", // slot 9, noop
        "616263",                   // tail: the value of slot 8
    );
    assert_eq!(hex(&frame(&Message::Acceptor(accept()))), expected);
}

fn reads() -> ToLearner {
    let read = |id, key, consistency| Read { id, key, consistency };
    let all = [read(9, b"ab".as_slice(), Consistency::Linearizable), read(8, b"c", Consistency::Stale)];
    ToLearner::Read(all.into_iter().collect())
}

fn read_replies() -> ToClient {
    let mut replies = ReadRepliesBuilder::default();
    let stamp = Stamp { created: Revision(1), modified: Revision(2), version: 3 };
    replies.push(9, Slot(7), Some((stamp, b"xyz")));
    replies.push(8, Slot(7), None);
    replies.push_busy(6, Slot(7), 20);
    ToClient::ReadReplies(replies.finish())
}

#[test]
fn golden_bytes_of_reads() {
    let expected = concat!(
        "37000000",                         // length of what follows
        "30000000",                         // length of the head
        "0a000000",                         // ToLearner::Read
        "0200000000000000",                 // two of them
        "09000000000000000200000000000000", // id 9, two bytes of key, linearizable
        "08000000000000000100000001000000", // id 8, one byte of key, stale
        "03000000",                         // three bytes of keys
        "616263",                           // tail: the keys
    );
    assert_eq!(hex(&frame(&Message::Learner(reads()))), expected);
}

#[test]
fn golden_bytes_of_read_replies() {
    let expected = concat!(
        "77000000",                                         // length of what follows
        "70000000",                                         // length of the head
        "03000000",                                         // ToClient::ReadReplies
        "0300000000000000",                                 // three of them
        "09000000000000000700000000000000",                 // id 9, answered at slot 7:
        "01000000",                                         // a value
        "010000000000000002000000000000000300000000000000", // created, modified, version
        "03000000",                                         // of three bytes
        "08000000000000000700000000000000",                 // id 8
        "00000000",                                         // nothing there
        "06000000000000000700000000000000",                 // id 6
        "020000001400000000000000",                         // busy, for 20 ms
        "03000000",                                         // three bytes of values
        "78797a",                                           // tail: the values
    );
    assert_eq!(hex(&frame(&Message::Client(read_replies()))), expected);
}

#[test]
fn reads_and_replies_whose_lengths_do_not_add_up_are_refused() {
    // The place of a length in the body, and what it is.
    let key_at = 4 + 4 + 8 + 8;
    let value_at = 4 + 4 + 8 + 16 + 4 + 24;
    let reads = |body: &[u8]| decode_frame::<ToLearner>(Bytes::copy_from_slice(body)).map(drop);
    let replies = |body: &[u8]| decode_frame::<ToClient>(Bytes::copy_from_slice(body)).map(drop);
    type Decode<'a> = &'a dyn Fn(&[u8]) -> Result<(), WireError>;
    let cases: [(Message, Decode<'_>, usize, u32); 2] = [
        (Message::Learner(self::reads()), &reads, key_at, 2),
        (Message::Client(read_replies()), &replies, value_at, 3),
    ];
    for (message, decode, at, length) in cases {
        let mut body = body(&message).to_vec();
        assert!(decode(&body).is_ok());
        assert_eq!(body[at..at + 4], length.to_le_bytes());
        for other in [length - 1, length + 1, u32::MAX] {
            body[at..at + 4].copy_from_slice(&other.to_le_bytes());
            let refused = decode(&body);
            assert!(matches!(refused, Err(WireError::Malformed(_))), "{other}: {refused:?}");
        }
    }
}

#[test]
fn golden_bytes_of_a_greeting() {
    let hello = Hello {
        from: ProposerId(2).into(),
        to: AcceptorId(1).into(),
        parameters: 0x11,
        standing: Standing {
            cluster: Some(ClusterId(0x22)),
            incarnation: 0x33,
            since: ballot(),
            position: 0x44,
        },
    };
    let mut out = Vec::new();
    encode_greeting(&Greeting::Hello(hello.clone()), &mut out);
    let expected = concat!(
        "57000000",
        "53594e4f440d0a00",                   // magic
        "04000000",                           // version
        "00000000",                           // Greeting::Hello
        "010000000200",                       // from p2
        "000000000100",                       // to a1
        "1100000000000000",                   // parameters
        "0122000000000000000000000000000000", // cluster
        "3300000000000000",                   // incarnation
        "05000000000000000200",               // readmitted at: round, proposer,
        "0807060504030201",                   // and life
        "4400000000000000",                   // position
    );
    let got = hex(&out);
    assert_eq!(got, expected);
    assert_eq!(decode_greeting(&out[4..]).unwrap(), Greeting::Hello(hello));
}

#[test]
fn golden_bytes_of_a_command() {
    let call = Call {
        session: SessionId { slot: Slot(3), position: 4 },
        sequence: 5,
        lowest: 2,
        operation: Operation::Put { key: b"k", value: b"vw" },
    };
    let mut out = Vec::new();
    encode_command(&Command::Call(call), &mut out);
    let expected = concat!(
        "01000000",
        "030000000000000004000000",
        "0500000000000000",
        "0200000000000000",
        "00000000",
        "01000000000000006b",
        "02000000000000007677",
    );
    assert_eq!(hex(&out), expected);
    assert_eq!(decode_command(&out).unwrap(), Command::Call(call));
}

#[test]
fn values_share_their_frame() {
    let body = body(&Message::Acceptor(accept()));
    let range = body.as_ptr_range();
    let ToAcceptor::Accept(decoded) = decode_frame(body.clone()).unwrap() else { panic!("not an Accept") };
    assert!(range.contains(&decoded.entries[0].value.bytes().as_ptr()));
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    let whole = body(&Message::Acceptor(accept()));
    for cut in 0..whole.len() {
        assert!(decode_frame::<ToAcceptor>(whole.slice(..cut)).is_err(), "cut at {cut}");
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert!(matches!(decode_frame::<ToAcceptor>(longer.into()), Err(WireError::Trailing(1))));
}

#[test]
fn a_length_is_not_trusted_before_allocation() {
    let mut head = Vec::new();
    encode(
        &ToAcceptor::Accept(Accept {
            ballot: ballot(),
            chosen: Slot(1),
            floor: Slot(1),
            entries: Vec::new(),
        }),
        &mut head,
    );
    let count_at = head.len() - 8;
    head[count_at..].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(decode_parts::<ToAcceptor>(&head, Bytes::new()), Err(WireError::Malformed(_))));
}

/// Found by fuzzing: memory was taken for whatever a length of bytes said, up to the largest frame.
#[test]
fn i14_bytes_and_texts_are_limited_by_the_frame_that_holds_them() {
    let fetch = |bytes: usize| {
        let cursor = Bytes::from(vec![7; bytes]);
        let fetch = SnapshotFetch { slot: None, least: Slot(1), cursor };
        body(&Message::Learner(ToLearner::SnapshotFetch(fetch))).to_vec()
    };
    for bytes in [0, 4_000, 60_000, 1_000_000] {
        let mut body = fetch(bytes);
        assert!(decode_frame::<ToLearner>(body.clone().into()).is_ok());
        // Behind the head's length, the variant, no slot and the least one.
        body[4 + 4 + 1 + 8..][..8].copy_from_slice(&(CAP_PEER as u64 - 1000).to_le_bytes());
        let refused = decode_frame::<ToLearner>(body.into()).unwrap_err().to_string();
        assert!(refused.contains("LimitExceeded"), "{bytes} bytes: {refused}");
    }
}

#[test]
fn other_protocols_and_versions_are_told_apart() {
    assert!(matches!(decode_greeting(b"GET / HTTP/1.1\r\n\r\n"), Err(WireError::NotSynod)));
    let mut newer = MAGIC.to_vec();
    newer.extend_from_slice(&9u32.to_le_bytes());
    assert!(matches!(decode_greeting(&newer), Err(WireError::Version { theirs: 9 })));
}
