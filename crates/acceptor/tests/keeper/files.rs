//! The keeper over real files: what one release made durable is there again, and foreign directories are refused.

use std::path::PathBuf;

use synod_acceptor::durable::Durable;
use synod_acceptor::keeper::{ForeignJournal, Keeper, KeeperError};
use synod_journal::Options;
use synod_journal::directory::Directory;
use synod_protocol::role::Persist;
use synod_protocol::{AcceptorId, Slot};

use crate::trials::{PARAMETERS, formed, voted};

/// A directory of its own on a real disk; removed when the test has passed.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Place {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("keeper-{name}-{}", std::process::id()));
        Place(path)
    }

    pub(crate) fn open(&self, id: u16, parameters: u64) -> Result<(Keeper<Directory>, Durable), KeeperError> {
        let options = Options { segment_bytes: 64 << 10, prepare_step_bytes: 16 << 10, ..Options::default() };
        Keeper::open(Directory::open(&self.0)?, options, AcceptorId(id), parameters, u64::MAX)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[test]
fn s2_all_that_was_persisted_is_there_again_across_segments() {
    let place = Place::new("again");
    let mut expected = Durable::empty(AcceptorId(1));
    for life in 0..4u64 {
        let (mut keeper, durable) = place.open(1, PARAMETERS).unwrap();
        assert_eq!(durable, expected, "life {life}");
        let votes = (life * 40).saturating_sub(39)..=life * 40;
        let records =
            if life == 0 { formed() } else { votes.map(|slot| voted(1, slot, slot, 3_000)).collect() };
        for record in records {
            expected.apply(&record);
            keeper.persist(vec![record]).unwrap();
            keeper.after_batch().unwrap();
        }
        if life % 2 == 0 {
            while keeper.idle().unwrap() {}
        }
    }
    let (_keeper, durable) = place.open(1, PARAMETERS).unwrap();
    assert_eq!(durable, expected);
    assert_eq!(durable.head().highest, Slot(120));
    let segments = std::fs::read_dir(&place.0)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("segment-"));
    assert!(segments.count() > 3, "the votes span several segments");
}

#[test]
fn s12_a_directory_of_another_acceptor_or_formation_is_refused() {
    let place = Place::new("foreign");
    let (mut keeper, _) = place.open(1, PARAMETERS).unwrap();
    keeper.persist(formed()).unwrap();
    drop(keeper);
    let Err(KeeperError::Journal(other)) = place.open(2, PARAMETERS) else {
        panic!("another acceptor's directory")
    };
    assert!(other.to_string().contains("a1") && other.to_string().contains("a2"), "{other}");
    let changed = place.open(1, PARAMETERS + 1);
    assert!(matches!(changed, Err(KeeperError::Foreign(ForeignJournal::OtherParameters))));
    assert!(place.open(1, PARAMETERS).is_ok(), "refusing changed nothing");
}

#[test]
fn a_directory_in_use_is_refused() {
    let place = Place::new("in-use");
    let _keeper = place.open(1, PARAMETERS).unwrap();
    let Err(error) = place.open(1, PARAMETERS) else { panic!("a second process got the directory") };
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}
