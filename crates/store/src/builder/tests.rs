//! Items that no state has, though their digests are right; and any bytes.

use super::*;
use crate::item::Writer;
use crate::session::Replies;
use crate::{Cursor, MemoryStorage};
use synod_protocol::Revision;
use synod_protocol::command::Stamp;

const LIMITS: Limits = Limits { key_bytes: 2, value_bytes: 4, session_window: 3, sessions: 2 };

fn opening() -> Opening {
    let head = Head { applied: Slot(9), chain: 5, revision: Revision(20), restoring: None };
    Opening { limits: wire::hash_of(&LIMITS), head, base: None, sessions: 1, keys: 1 }
}

fn id(slot: u64) -> SessionId {
    SessionId { slot: Slot(slot), position: 0 }
}

fn session(nonce: u128) -> Session {
    Session { nonce, renewed: Slot(9), lowest: 1, replies: Replies::default() }
}

fn record(modified: u64, value: &[u8]) -> RecordRef<'_> {
    let stamp = Stamp { created: Revision(1), modified: Revision(modified), version: 1 };
    RecordRef { stamp, value }
}

/// What comes of a chunk with these items, and the end.
fn built(items: impl FnOnce(&mut Writer) -> bool) -> Result<(), ImageError> {
    let mut writer = Writer::new(0, 0, u64::MAX);
    items(&mut writer);
    writer.end();
    let mut builder = Builder::new(LIMITS, MemoryStorage::default());
    builder.take(&writer.finish().0)?;
    builder.finish().map(|_| ())
}

#[track_caller]
fn refused(what: &str, items: impl FnOnce(&mut Writer) -> bool) {
    let error = built(items).expect_err(what);
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn what_a_state_has_is_taken() {
    built(|writer| {
        writer.opening(&opening());
        writer.session(id(1), &session(1));
        writer.key(b"k", record(20, b"v"))
    })
    .unwrap();
}

#[test]
fn items_that_no_state_has_are_refused_though_their_digest_is_right() {
    let items = |items: fn(&mut Writer) -> bool| {
        move |writer: &mut Writer| {
            writer.opening(&opening());
            items(writer)
        }
    };
    refused("an end in the wrong place", |_| true);
    refused("a key in the wrong place", |writer| writer.key(b"k", record(2, b"")));
    refused("it begins twice", items(|writer| writer.opening(&opening())));
    refused("another number of sessions", items(|writer| writer.key(b"k", record(2, b"v"))));
    refused("another number of keys", items(|writer| writer.session(id(1), &session(1))));
    refused("more sessions", |writer| writer.opening(&Opening { sessions: 3, ..opening() }));
    let restoring = Some(crate::image::Restoring { backup: 1, highest: Revision(1) });
    let restored = Head { restoring, ..opening().head };
    refused("a restore is under way", |writer| writer.opening(&Opening { head: restored, ..opening() }));
    refused(
        "sessions out of order",
        items(|writer| {
            writer.session(id(2), &session(1));
            writer.session(id(2), &session(1))
        }),
    );
    refused(
        "two sessions of one nonce",
        items(|writer| {
            writer.session(id(1), &session(1));
            writer.session(id(2), &session(1))
        }),
    );
    refused("hasn't applied", items(|writer| writer.session(id(10), &session(1))));
    refused(
        "keys out of order",
        items(|writer| {
            writer.key(b"k", record(2, b""));
            writer.key(b"k", record(2, b""))
        }),
    );
    refused(
        "a session in the wrong place",
        items(|writer| {
            writer.key(b"k", record(2, b""));
            writer.session(id(1), &session(1))
        }),
    );
    refused("longer than the limit", items(|writer| writer.key(b"key", record(2, b""))));
    refused("longer than the limit", items(|writer| writer.key(b"k", record(2, b"value"))));
    refused("revisions that can't be", items(|writer| writer.key(b"k", record(21, b""))));
    refused("revisions that can't be", items(|writer| writer.key(b"k", record(0, b""))));
    refused("a key is gone that never was", items(|writer| writer.key_gone(b"k")));
}

/// I14: whatever the bytes are, they are refused without a panic and without taking memory for what they claim.
#[test]
fn i14_any_bytes_are_refused() {
    let image = Builder::new(LIMITS, MemoryStorage::default()).finish();
    assert_eq!(image.unwrap_err(), ImageError::Incomplete { items: 0 });
    let machine = StateMachine::new(LIMITS, MemoryStorage::default());
    let whole = machine.image().chunk(&Cursor::start(), u64::MAX).bytes;
    for kind in 0..=u8::MAX {
        for filler in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole[..16].to_vec();
            bytes.push(kind);
            bytes.extend_from_slice(&[filler; 200]);
            let mut builder = Builder::new(LIMITS, MemoryStorage::default());
            assert!(builder.take(&bytes).is_err(), "kind {kind}, {filler}");
        }
    }
}
