//! Golden bytes of an image: what old checkpoints and backups hold must be read for ever.

use super::*;
use crate::{MemoryStorage, StateMachine};
use synod_protocol::Value;
use synod_protocol::command::{BatchBuilder, Call, Command, Operation};

fn machine() -> StateMachine<MemoryStorage> {
    let session = SessionId { slot: Slot(1), position: 0 };
    let call = |sequence, operation| Command::Call(Call { session, sequence, lowest: 1, operation });
    let mut builder = BatchBuilder::default();
    builder.push(&Command::Open { nonce: 0xab });
    builder.push(&call(1, Operation::Put { key: b"k", value: b"v1" }));
    builder.push(&call(2, Operation::Put { key: b"k", value: b"v2" }));
    let mut machine = StateMachine::new(Limits::default(), MemoryStorage::default());
    machine.apply(Slot(1), &builder.finish().0);
    machine.apply(Slot(2), &Value::NOOP);
    machine
}

#[test]
fn golden_bytes_of_an_image() {
    let chunk = machine().image().chunk(&Cursor::start(), u64::MAX);
    assert_eq!(chunk.next, None);
    let hex: String = chunk.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "0000000000000000",                 // items before it
        "0000000000000000",                 // their digest
        "01",                               // the head
        "01000000",                         // form
        "97f652993223c7be896e302218c389fe", // hash of the limits
        "0200000000000000",                 // applied slot
        "aa17c0992383b6cd",                 // hash chain
        "0200000000000000",                 // revision
        "00",                               // no restore under way
        "00",                               // of everything
        "0100000000000000",                 // sessions
        "0100000000000000",                 // keys
        "02",                               // a session
        "010000000000000000000000",         // slot and position
        "ab000000000000000000000000000000", // nonce
        "0100000000000000",                 // renewed
        "0100000000000000",                 // lowest unacknowledged
        "0200000000000000",                 // kept replies
        "0100000000000000",                 // sequence
        "0100000000000000",                 // slot
        "010100000000000000",               // put at revision 1
        "0200000000000000",                 // sequence
        "0100000000000000",                 // slot
        "010200000000000000",               // put at revision 2
        "04",                               // a key
        "01000000",                         // length of the key
        "02000000",                         // length of the value
        "0100000000000000",                 // created
        "0200000000000000",                 // modified
        "0200000000000000",                 // version
        "6b",                               // the key
        "7632",                             // the value
        "06",                               // the end
        "0300000000000000",                 // items before it
        "4ad1769d000fef52",                 // their digest
    );
    assert_eq!(hex, expected);
}

#[test]
fn cursors_travel_and_compare_as_their_places_do() {
    let image = machine().image();
    let (mut cursors, mut at) = (Vec::new(), Some(Cursor::start()));
    while let Some(cursor) = at {
        at = image.chunk(&cursor, 0).next;
        cursors.push(cursor);
    }
    assert_eq!(cursors.len(), 4, "head, session, key, end");
    assert!(cursors.is_sorted_by(|one, next| one < next));
    assert!((0..).zip(&cursors).all(|(items, cursor)| cursor.items() == items));
}
