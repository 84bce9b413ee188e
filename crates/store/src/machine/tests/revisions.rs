//! Revisions and versions, and restoring them from a backup.

use super::*;

fn stamps(machine: &Machine, key: &[u8]) -> Option<(u64, u64, u64)> {
    machine.get(key).map(|record| (record.created.0, record.modified.0, record.version))
}

fn restore<'a>(s: SessionId, sequence: u64, key: &'a [u8], stamps: (u64, u64, u64)) -> Command<'a> {
    let (created, modified, version) = stamps;
    let stamp = Stamp { created: Revision(created), modified: Revision(modified), version };
    call(s, sequence, sequence, Operation::Restore { key, value: b"v", stamp, backup: BACKUP })
}

fn restore_end<'a>(s: SessionId, sequence: u64, revision: u64) -> Command<'a> {
    call(s, sequence, sequence, Operation::RestoreEnd { revision: Revision(revision), backup: BACKUP })
}

/// The checksum of the backup that these tests restore.
const BACKUP: u64 = 77;
const RESTORING: Outcome = Outcome::Refused(Refusal::Restoring);
const BAD: Outcome = Outcome::Refused(Refusal::BadRevision);

fn not_empty(revision: u64) -> Outcome {
    Outcome::Refused(Refusal::NotEmpty { revision: Revision(revision) })
}

#[test]
fn every_mutation_takes_the_next_revision_and_nothing_else_does() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    let call = |sequence, operation| call(s, sequence, sequence, operation);
    let (put, delete) = (Operation::Put { key: b"k", value: b"v" }, Operation::Delete { key: b"k" });
    for (sequence, (operation, expected, stamp)) in (1..).zip([
        (delete, NOT_THERE, None),
        (put, put_at(1), Some((1, 1, 1))),
        (put, put_at(2), Some((1, 2, 2))),
        (Operation::KeepAlive, Outcome::Renewed, Some((1, 2, 2))),
        (
            Operation::Put { key: b"other", value: b"v" },
            Outcome::Refused(Refusal::KeyTooLong { limit: 4 }),
            Some((1, 2, 2)),
        ),
        (Operation::Put { key: b"o", value: b"v" }, put_at(3), Some((1, 2, 2))),
        (put, put_at(4), Some((1, 4, 3))),
        (delete, deleted_at(5), None),
        (delete, NOT_THERE, None),
        // Made again, it counts its versions from 1.
        (put, put_at(6), Some((6, 6, 1))),
    ]) {
        assert_eq!(outcome(&mut machine, call(sequence, operation)), expected, "call {sequence}");
        assert_eq!(stamps(&machine, b"k"), stamp, "after call {sequence}");
    }
    // Several in one slot have a revision each; a repeated one has the first one's.
    let puts = [call(11, put), call(12, put), call(11, put)];
    let outcomes: Vec<_> = apply(&mut machine, &puts).replies.iter().map(|reply| reply.outcome).collect();
    assert_eq!(outcomes, [put_at(7), put_at(8), Outcome::Refused(Refusal::OutsideWindow)]);
    assert_eq!(machine.revision(), Revision(8));
}

#[test]
fn a_restore_gives_records_their_revisions_back_and_takes_no_other_write_meanwhile() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        sequence
    };
    assert_eq!(outcome(&mut machine, restore(s, next(), b"a", (3, 7, 2))), Outcome::Restored);
    for _ in 0..2 {
        // The same again, as after a crash of `synod restore`, changes nothing.
        assert_eq!(outcome(&mut machine, restore(s, next(), b"b", (4, 4, 1))), Outcome::Restored);
    }
    // Another backup's records, or its end, are not mixed in.
    let stamp = Stamp { created: Revision(1), modified: Revision(1), version: 1 };
    for operation in [
        Operation::Restore { key: b"a", value: b"other", stamp, backup: BACKUP + 1 },
        Operation::RestoreEnd { revision: Revision(9), backup: BACKUP + 1 },
    ] {
        let sequence = next();
        let refused = outcome(&mut machine, call(s, sequence, sequence, operation));
        assert_eq!(refused, Outcome::Refused(Refusal::OtherBackup { backup: BACKUP }));
    }
    let refused = [
        call(s, next(), 1, Operation::Put { key: b"a", value: b"mine" }),
        call(s, next(), 1, Operation::Delete { key: b"a" }),
        call(s, next(), 1, Operation::Delete { key: b"absent" }),
    ];
    assert_eq!(outcome(&mut machine, refused[0]), RESTORING);
    assert_eq!(outcome(&mut machine, refused[1]), RESTORING);
    assert_eq!(outcome(&mut machine, refused[2]), Outcome::Refused(Refusal::KeyTooLong { limit: 4 }));
    assert_eq!(outcome(&mut machine, restore_end(s, next(), 6)), BAD, "a record has revision 7");
    assert_eq!(outcome(&mut machine, restore_end(s, next(), 9)), Outcome::Restored);
    assert_eq!((stamps(&machine, b"a"), stamps(&machine, b"b")), (Some((3, 7, 2)), Some((4, 4, 1))));
    assert_eq!(machine.revision(), Revision(9));
    let put = call(s, next(), 1, Operation::Put { key: b"a", value: b"new" });
    assert_eq!(outcome(&mut machine, put), put_at(10));
    assert_eq!(stamps(&machine, b"a"), Some((3, 10, 3)));
    assert_eq!(outcome(&mut machine, restore(s, next(), b"a", (3, 7, 2))), not_empty(10));
    assert_eq!(outcome(&mut machine, restore_end(s, next(), 9)), not_empty(10));
}

#[test]
fn nothing_is_restored_into_a_state_with_mutations_or_with_revisions_that_can_not_be() {
    let half = u64::MAX / 2;
    let possible = [(1, 1, 1), (1, 5, 5), (5, 5, 1), (half, half, 1), (1, half, half)];
    let impossible =
        [(0, 1, 1), (2, 1, 1), (1, 1, 0), (1, 1, 2), (3, 5, 4), (1, half + 1, 1), (u64::MAX, u64::MAX, 1)];
    for (stamps, expected) in possible
        .map(|stamps| (stamps, Outcome::Restored))
        .into_iter()
        .chain(impossible.map(|stamps| (stamps, BAD)))
    {
        let mut machine = machine();
        let s = open(&mut machine, 1).unwrap();
        assert_eq!(outcome(&mut machine, restore(s, 1, b"k", stamps)), expected, "{stamps:?}");
    }
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    assert_eq!(outcome(&mut machine, restore_end(s, 1, half + 1)), BAD);
    assert_eq!(outcome(&mut machine, put(s, 2, b"k", b"v")), put_at(1));
    assert_eq!(outcome(&mut machine, call(s, 3, 1, Operation::Delete { key: b"k" })), deleted_at(2));
    assert_eq!(
        outcome(&mut machine, restore(s, 4, b"k", (1, 1, 1))),
        not_empty(2),
        "empty again, but not new"
    );
}

#[test]
fn the_restore_of_nothing_only_sets_the_revision() {
    let mut machine = machine();
    let s = open(&mut machine, 1).unwrap();
    assert_eq!(outcome(&mut machine, restore_end(s, 1, 5)), Outcome::Restored);
    assert_eq!(outcome(&mut machine, put(s, 2, b"k", b"v")), put_at(6));
}
