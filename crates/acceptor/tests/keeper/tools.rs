//! `synod-acceptor journal inspect|verify` over real files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use synod_protocol::Slot;
use synod_protocol::role::Persist;

use crate::files::Place;
use crate::trials::{PARAMETERS, formed, truncated, voted};

fn run(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod-acceptor"));
    command.arg("journal").arg(arguments[0]).arg(&place.0).args(&arguments[1..]);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn content(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn i12_a_journal_is_shown_and_verified_and_never_changed() {
    let place = Place::new("tools");
    let (mut keeper, _) = place.open(1, PARAMETERS).unwrap();
    keeper.persist(formed()).unwrap();
    for slot in 1..=30 {
        keeper.persist(vec![voted(1, slot, slot, 4_000)]).unwrap();
        keeper.after_batch().unwrap();
    }
    keeper.persist(vec![truncated(25)]).unwrap();
    keeper.seal().unwrap();

    let used = run(&place, &["verify"]);
    assert_eq!(used.status.code(), Some(2), "{used:?}");
    assert!(text(&used).contains(&format!("in use by process {}", std::process::id())), "{used:?}");
    drop(keeper);

    let before = content(&place.0);
    let sound = run(&place, &["verify"]);
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    assert!(
        text(&sound).contains("sound: a1") && text(&sound).contains("6 votes from floor 25 to 30"),
        "{sound:?}"
    );
    let shown = text(&run(&place, &["inspect", "--records"]));
    for part in ["prepared under formation 5", "voted at 1.p1 for slots [7] (4000 bytes), held 7", "floor 25"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = text(&run(&place, &["inspect", "--records", "--json"]));
    let last: serde_json::Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!((&last["sound"], &last["state"]["floor"]), (&true.into(), &25.into()));
    assert_eq!(shown.lines().filter(|line| line.contains("\"kind\":\"voted\"")).count(), 30);
    assert_eq!(content(&place.0), before, "nothing was changed");

    // One byte in the middle of a batch that is followed by others.
    let name = before.keys().find(|name| name.starts_with("segment-")).unwrap();
    let mut damaged = before[name].clone();
    damaged[20_000] ^= 1;
    std::fs::write(place.0.join(name), &damaged).unwrap();
    for command in ["verify", "inspect"] {
        let refused = run(&place, &[command]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(text(&refused).contains(&format!("{name} at offset")), "{refused:?}");
    }
    let error = place.open(1, PARAMETERS).err().unwrap().to_string();
    assert!(error.contains(&format!("{name} at offset")), "the acceptor refuses as well: {error}");
}

#[test]
fn a_directory_without_a_journal_is_told_and_not_made_one() {
    let place = Place::new("no-tools");
    assert_eq!(run(&place, &["verify"]).status.code(), Some(2), "there is no directory");
    assert!(!place.0.exists());
    std::fs::create_dir(&place.0).unwrap();
    let empty = run(&place, &["verify"]);
    assert_eq!((empty.status.code(), content(&place.0).len()), (Some(2), 0), "{empty:?}");
    assert!(text(&empty).contains("no journal here"));
}

/// A daemon's whole life: votes that are on disk only after a restart are read from real files.
#[test]
fn i12_damage_that_is_found_when_a_value_is_read_back_is_an_error() {
    let place = Place::new("read-back");
    let (mut keeper, _) = place.open(1, PARAMETERS).unwrap();
    keeper.persist(formed()).unwrap();
    for slot in 1..=20 {
        keeper.persist(vec![voted(1, slot, slot, 4_000)]).unwrap();
    }
    assert_eq!(keeper.load(Slot(7)).unwrap().bytes()[..], [7; 4_000][..]);
    // The byte rots under the running process.
    let find = |bytes: &[u8]| bytes.windows(100).position(|window| window == [9; 100]);
    let files = content(&place.0);
    let (name, bytes, at) = files.iter().find_map(|(name, bytes)| Some((name, bytes, find(bytes)?))).unwrap();
    let mut bytes = bytes.clone();
    bytes[at] ^= 1;
    std::fs::write(place.0.join(name), &bytes).unwrap();
    let error = keeper.load(Slot(9)).err().unwrap().to_string();
    assert!(error.contains(&format!("{name} at offset")), "{error}");
    assert!(keeper.persist(vec![voted(1, 21, 21, 10)]).is_err(), "the process has to end");
}
