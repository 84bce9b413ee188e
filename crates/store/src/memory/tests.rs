//! The engine against a std map, its snapshots against copies.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use synod_protocol::Revision;

use super::*;
use crate::storage::Snapshot;

type Keys = BTreeMap<Vec<u8>, (Stamp, Vec<u8>)>;

fn stamp(revision: u64) -> Stamp {
    Stamp { created: Revision(revision), modified: Revision(revision + 1), version: 2 }
}

fn put(storage: &mut MemoryStorage, key: &[u8], revision: u64, value: &[u8]) {
    storage.put(key, value, |_| stamp(revision));
}

fn scanned(snapshot: &MemorySnapshot, after: Option<&[u8]>, most: usize) -> Vec<(Vec<u8>, Stamp, Vec<u8>)> {
    let mut found = Vec::new();
    snapshot.scan(after, |key, record| {
        found.push((key.to_vec(), record.stamp, record.value.to_vec()));
        if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found
}

#[test]
fn small_and_large_values_come_back() {
    let mut storage = MemoryStorage::default();
    for length in [0, 1, SHARED_BYTES - 1, SHARED_BYTES, 3 * SHARED_BYTES, 64] {
        let value = vec![7; length];
        put(&mut storage, b"k", length as u64, &value);
        let record = storage.get(b"k").unwrap();
        let Stamp { created, modified, version } = stamp(length as u64);
        assert_eq!(record, Record { created, modified, version, value: value.into() });
    }
    assert_eq!((storage.len(), storage.delete(b"k"), storage.delete(b"k")), (1, true, false));
    assert!(storage.is_empty() && storage.get(b"k").is_none());
}

/// Two keys of one hash, with the seed that a storage has by default.
fn keys_of_one_hash() -> [Vec<u8>; 2] {
    let (storage, mut seen) = (MemoryStorage::default(), BTreeMap::new());
    let mut keys = (0..).map(|number: u32| format!("key-{number:012}").into_bytes());
    let pair = keys.find_map(|key| Some([seen.insert(storage.hash_of(&key), key.clone())?, key]));
    pair.expect("there are more keys than hashes")
}

#[test]
fn keys_looked_for_together_are_found_as_if_each_alone_even_with_one_hash() {
    let [first, second] = keys_of_one_hash();
    println!("{} {}", first.escape_ascii(), second.escape_ascii());
    let mut storage = MemoryStorage::default();
    (0..100_u8).step_by(2).for_each(|key| put(&mut storage, &[key], 1, &[key; 9]));
    put(&mut storage, &first, 2, b"first");
    for absent in [true, false] {
        let keys: Vec<Vec<u8>> =
            (0..100).map(|key| vec![key]).chain([first.clone(), second.clone()]).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        for part in 0..keys.len() {
            let mut seen = Vec::new();
            storage.show(&keys[part..], |number, record| {
                assert_eq!(number, seen.len());
                seen.push(record.map(RecordRef::to_record));
            });
            let alone: Vec<Option<Record>> = keys[part..].iter().map(|key| storage.get(key)).collect();
            assert_eq!(seen, alone);
        }
        assert_eq!(storage.get(&second).is_none(), absent);
        put(&mut storage, &second, 3, b"second");
    }
}

#[test]
fn scans_go_in_order_behind_a_key_until_told_to_stop() {
    let mut storage = MemoryStorage::default();
    for key in [b"b".as_slice(), b"", b"ab", b"a", b"\xff"] {
        put(&mut storage, key, 1, b"v");
    }
    let snapshot = storage.snapshot();
    let keys = |after: Option<&[u8]>, most| -> Vec<Vec<u8>> {
        scanned(&snapshot, after, most).into_iter().map(|(key, ..)| key).collect()
    };
    assert_eq!(keys(None, 9), [b"".as_slice(), b"a", b"ab", b"b", b"\xff"]);
    assert_eq!(keys(Some(b"a"), 2), [b"ab".as_slice(), b"b"]);
    assert_eq!(keys(Some(b""), 1), [b"a".as_slice()]);
    assert!(keys(Some(b"\xff"), 1).is_empty());
}

#[test]
fn storages_are_equal_by_all_of_their_records() {
    let with = |revision, value: &[u8]| {
        let mut storage = MemoryStorage::default();
        put(&mut storage, b"k", revision, value);
        storage
    };
    let hash = |storage: &MemoryStorage| {
        let mut hasher = std::hash::DefaultHasher::new();
        storage.hash(&mut hasher);
        hasher.finish()
    };
    assert_eq!(with(1, b"v"), with(1, b"v"));
    assert_eq!(hash(&with(1, b"v")), hash(&with(1, b"v")));
    for other in [with(2, b"v"), with(1, b"w"), MemoryStorage::default()] {
        assert_ne!(with(1, b"v"), other);
        assert_ne!(hash(&with(1, b"v")), hash(&other));
    }
}

/// Steps of a splitmix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[test]
fn i10_a_random_storage_equals_a_map_and_its_snapshots_never_change() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let (mut storage, mut keys) = (MemoryStorage::default(), Keys::new());
        let mut taken: Vec<(MemorySnapshot, Keys)> = Vec::new();
        for step in 0..4_000 {
            let key = random.below(600).to_string().into_bytes();
            if random.below(3) > 0 {
                // A record keeps its length or doesn't, and fits into a block or doesn't.
                let length = [4, 4, 4, 30, 31, 3_000][random.below(6) as usize];
                let value = vec![step as u8; length];
                put(&mut storage, &key, step, &value);
                keys.insert(key, (stamp(step), value));
            } else {
                assert_eq!(storage.delete(&key), keys.remove(&key).is_some());
            }
            assert_eq!(storage.len(), keys.len() as u64);
            if random.below(50) == 0 {
                check(&storage);
            }
            if random.below(500) == 0 {
                taken.push((storage.snapshot(), keys.clone()));
            }
        }
        taken.push((storage.snapshot(), keys));
        for (at, (snapshot, keys)) in taken.iter().enumerate() {
            assert_eq!(as_map(snapshot), *keys);
            for (older, mut patched) in taken[..at].iter().cloned() {
                let seen = patch(&mut patched, snapshot, &older);
                assert_eq!(patched, *keys);
                assert!(seen <= 600 + 400, "every key of either snapshot comes at most once");
            }
        }
    }
}

/// Every cell tells of its own key, and the arena counts what there is.
fn check(storage: &MemoryStorage) {
    let mut used_bytes = 0;
    for place in &storage.order {
        let packed = storage.in_cell(place.cell);
        assert_eq!((packed.key(), packed.cell()), (place.key().as_slice(), place.cell));
        used_bytes += packed.length() as u64;
    }
    storage.arena.check(used_bytes);
}

/// Bytes held, as a multiple of those in use.
fn held(storage: &MemoryStorage) -> f64 {
    let (used, held) = storage.arena.totals();
    held as f64 / used as f64
}

#[test]
fn what_is_held_for_nothing_stays_a_share_of_what_is_in_use() {
    println!("seed 1");
    let (mut storage, mut random) = (MemoryStorage::default(), Random(1));
    let mut puts = |storage: &mut MemoryStorage, count: u64| {
        for revision in 0..count {
            let key = random.below(5_000).to_string().into_bytes();
            put(storage, &key, revision, &vec![revision as u8; random.below(200) as usize]);
            if revision % 5_000 == 0 {
                check(storage);
            }
        }
    };
    puts(&mut storage, 50_000);
    assert!(held(&storage) < 1.6, "{}", held(&storage));
    let (snapshot, before) = (storage.snapshot(), scanned(&storage.snapshot(), None, usize::MAX));
    puts(&mut storage, 50_000);
    assert!(held(&storage) < 3.1, "while a snapshot shows all of it: {}", held(&storage));
    assert!(scanned(&snapshot, None, usize::MAX) == before, "a snapshot changed");
    drop(snapshot);
    puts(&mut storage, 50_000);
    assert!(held(&storage) < 1.6, "{}", held(&storage));
    for key in 0..5_000 {
        storage.delete(key.to_string().as_bytes());
    }
    check(&storage);
    assert_eq!(storage.arena.totals().0, 0);
}

#[test]
fn a_value_that_a_reader_has_never_changes() {
    let mut storage = MemoryStorage::default();
    let values: Vec<Vec<u8>> = (0..9).map(|byte| vec![byte; SHARED_BYTES]).collect();
    let read: Vec<Record> = values
        .iter()
        .map(|value| {
            put(&mut storage, b"k", 1, value);
            storage.get(b"k").unwrap()
        })
        .collect();
    assert!(read.iter().zip(&values).all(|(record, value)| record.value == *value));
}

#[test]
fn keys_that_are_expected_are_found_as_before() {
    let mut storage = MemoryStorage::default();
    let keys: Vec<Vec<u8>> = (0..MANY_KEYS + 40).map(|key| key.to_string().into_bytes()).collect();
    for key in &keys[..MANY_KEYS + 3] {
        put(&mut storage, key, 1, key);
    }
    // Some are there and some aren't; not a whole number of groups.
    let expected = &keys[MANY_KEYS - 30..];
    storage.expect(expected.iter().map(Vec::as_slice));
    storage.expect([].into_iter());
    let found = expected.iter().filter(|key| storage.get(key).is_some_and(|record| record.value == **key));
    assert_eq!(found.count(), 33);
}

fn as_map(snapshot: &MemorySnapshot) -> Keys {
    scanned(snapshot, None, usize::MAX).into_iter().map(|(key, stamp, value)| (key, (stamp, value))).collect()
}

/// Applies the changes, taken up again behind every tenth key.
fn patch(keys: &mut Keys, newer: &MemorySnapshot, older: &MemorySnapshot) -> usize {
    let (mut seen, mut after) = (0, None::<Vec<u8>>);
    let difference = newer.difference(&older.mark());
    loop {
        let (before, mut last) = (seen, None);
        newer.changes(&difference, after.as_deref(), |key, record| {
            seen += 1;
            last = Some(key.to_vec());
            match record {
                Some(record) => keys.insert(key.to_vec(), (record.stamp, record.value.to_vec())),
                None => Some(keys.remove(key).expect("what is gone was there")),
            };
            if seen - before < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match last {
            Some(last) => after = Some(last),
            None => return seen,
        }
    }
}
