//! The journal over a real directory on a real disk, under the build directory; removed when the test passes.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use synod_journal::directory::Directory;
use synod_journal::{Error, Journal, Options, Preparation, Recovery, Replayed, Summary};

struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn small() -> Options {
    Options { segment_bytes: 1 << 20, ..Options::default() }
}

fn open(path: &Path) -> (Vec<Bytes>, Summary, Journal<Directory>) {
    let mut records = Vec::new();
    let recovery = Recovery::read(Directory::open(path).unwrap(), small(), |item| {
        if let Replayed::Record { record, .. } = item {
            records.push(record);
        }
        Ok(())
    });
    let recovery = recovery.unwrap();
    let summary = recovery.summary().clone();
    (records, summary, recovery.start(b"head").unwrap())
}

#[test]
fn a_second_process_is_refused_by_the_lock() {
    let place = Place::new("lock");
    let path = place.0.join("a/b");
    let first = Directory::open(&path).unwrap();
    let error = Directory::open(&path).unwrap_err();
    let Error::Locked { directory, pid } = &error else { panic!("{error}") };
    assert_eq!((directory, pid), (&path, &std::process::id().to_string()));
    assert!(error.to_string().contains(&format!("{} is in use by process {pid}", path.display())), "{error}");
    drop(first);
    Directory::open(&path).unwrap();
}

#[test]
fn batches_survive_restarts_sealed_or_not() {
    let place = Place::new("restart");
    let mut expected: Vec<Bytes> = Vec::new();
    for life in 0..4u8 {
        let (records, summary, mut journal) = open(&place.0);
        assert_eq!(records, expected);
        assert_eq!(summary.rewritten, life % 2 == 0 && life > 0, "life {life}");
        for batch in 0..100u32 {
            for index in 0..batch % 5 + 1 {
                let body = Bytes::from(vec![life ^ index as u8; (batch * 97 % 5000) as usize]);
                journal.append(&batch.to_le_bytes(), [body.clone(), body.slice(body.len() / 2..)]);
                expected.push([&batch.to_le_bytes(), &body[..], &body[body.len() / 2..]].concat().into());
            }
            journal.commit(|| b"head").unwrap();
            if batch % 10 == 0 {
                journal.prepare_step().unwrap();
            }
        }
        if life % 2 == 0 {
            journal.seal().unwrap();
        }
        // Lives 1 and 3 end unsealed, as after a kill.
    }
    let (records, ..) = open(&place.0);
    assert_eq!(records, expected);
}

#[test]
fn segments_are_prepared_dropped_and_recycled() {
    let place = Place::new("recycle");
    let (_, _, mut journal) = open(&place.0);
    let value = Bytes::from(vec![5; 200 << 10]);
    for batch in 1..=60u64 {
        journal.append(b"value", [value.clone()]);
        assert_eq!(journal.commit(|| b"head").unwrap(), batch);
        journal.release(batch.saturating_sub(3));
        while journal.prepare_step().unwrap() == Preparation::Unfinished {}
    }
    assert!(journal.segment() >= 12);
    let files = fs::read_dir(&place.0).unwrap().count();
    assert!(files <= 6, "{files} files");
    drop(journal);
    let (records, summary, _) = open(&place.0);
    assert_eq!(summary.batches, 60);
    assert!((4..30).contains(&records.len()), "{} records", records.len());
}

#[test]
fn damage_in_a_real_file_stops_with_a_remedy() {
    let place = Place::new("damage");
    let (_, _, mut journal) = open(&place.0);
    for _ in 0..3 {
        journal.append(b"record", []);
        journal.commit(|| b"head").unwrap();
    }
    drop(journal);
    let path = place.0.join("segment-0000000000000001");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 2 * 4096 + 70).unwrap();
    let error = Recovery::read(Directory::open(&place.0).unwrap(), small(), |_| Ok(())).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("segment-0000000000000001 at offset 8192") && text.contains("readmit"), "{text}");
}
