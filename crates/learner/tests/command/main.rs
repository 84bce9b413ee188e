//! `synod-learner store verify` as a process: what it says of each kind of directory, how it ends, and that it changes nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../keeper/trials.rs"]
#[allow(dead_code, reason = "a learner's life alone is needed here")]
mod trials;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use synod_journal::directory::Directory;
use synod_learner::keeper::Keeper;

use trials::{LIMITS, Life, OPTIONS};

/// One test at a time: a process that is just being started holds for a moment all locks on directories that this one has.
static ALONE: Mutex<()> = Mutex::new(());

/// A directory of its own, removed in the end, and the cluster file that has its limits.
struct Site(PathBuf, #[allow(dead_code, reason = "held until the site goes")] MutexGuard<'static, ()>);

impl Site {
    fn new(name: &str) -> Site {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let site = Site(path, ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        std::fs::create_dir_all(site.data()).unwrap();
        let mut text = String::from("name = \"test\"\n");
        for (table, port) in [("acceptors", 1), ("proposers", 2), ("learners", 3)] {
            text += &format!("[[{table}]]\nid = 1\naddress = \"127.0.0.1:{port}\"\n");
        }
        let (key, value) = (LIMITS.key_bytes, LIMITS.value_bytes);
        let (window, sessions) = (LIMITS.session_window, LIMITS.sessions);
        text += &format!(
            "[limits]\nkey_bytes = {key}\nvalue_bytes = {value}\nsession_window = {window}\nsessions = {sessions}\n"
        );
        std::fs::write(site.cluster(), text).unwrap();
        site
    }

    /// With a learner's life in it: a whole checkpoint and what changed.
    fn used(name: &str) -> Site {
        let site = Site::new(name);
        let mut keeper = Keeper::open(Directory::open(site.data()).unwrap(), OPTIONS).unwrap().0;
        Life::new().rounds(&mut keeper).unwrap();
        site
    }

    fn data(&self) -> PathBuf {
        self.0.join("l2")
    }

    fn cluster(&self) -> PathBuf {
        self.0.join("cluster.toml")
    }

    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    fn checkpoints(&self) -> Vec<PathBuf> {
        let names = self.content().into_keys();
        names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("checkpoint-")).collect()
    }

    /// The exit code and what was said; nothing may have been changed.
    #[track_caller]
    fn verify(&self) -> (i32, String) {
        let before = self.content();
        let ended = verify(&self.data(), Some(&self.cluster()));
        assert_eq!(self.content(), before, "it only looks");
        ended
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn verify(directory: &Path, cluster: Option<&Path>) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod-learner"));
    command.args(["store", "verify"]).arg(directory).env_remove("SYNOD_CLUSTER");
    if let Some(cluster) = cluster {
        command.arg("--cluster").arg(cluster);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn a_sound_directory_is_told_and_one_in_use_or_of_other_limits_is_not_read() {
    let site = Site::used("verify-sound");
    let (code, text) = site.verify();
    assert!(code == 0 && text.contains("sound") && text.contains("l2 of cluster"), "{text}");
    assert_eq!(text.lines().count(), site.checkpoints().len() + 1, "{text}");
    let (code, text) = verify(&site.data(), None);
    assert!(code == 2 && text.contains("name the cluster file with --cluster"), "{text}");
    let running = Directory::open(site.data()).unwrap();
    let (code, text) = site.verify();
    assert!(code == 2 && text.contains("in use"), "{text}");
    drop(running);
    assert_eq!(site.verify().0, 0);
}

#[test]
fn an_empty_directory_is_sound_and_a_strangers_or_none_is_not_read() {
    let site = Site::new("verify-empty");
    let (code, text) = site.verify();
    assert!(code == 0 && text.contains("no checkpoint"), "{text}");
    std::fs::write(site.data().join("segment-0000000000000001"), "an acceptor's").unwrap();
    let (code, text) = site.verify();
    assert!(code == 2 && text.contains("segment-0000000000000001"), "{text}");
    let (code, text) = verify(&site.data().join("nowhere"), None);
    assert!(code == 2 && text.contains("no such directory"), "{text}");
}

#[test]
fn i12_every_kind_of_damage_is_told_with_its_file_and_offset() {
    type Damage = fn(&Path);
    let kinds: [(&str, Damage, &str); 6] = [
        ("a changed bit", |file| change(file, |bytes| bytes[70] ^= 4), "is damaged at offset"),
        ("a changed head", |file| change(file, |bytes| bytes[20] ^= 1), "is damaged at offset"),
        ("a cut", |file| change(file, |bytes| bytes.truncate(bytes.len() - 9)), "offset"),
        ("bytes behind its end", |file| change(file, |bytes| bytes.push(0)), "offset"),
        ("zeros", |file| change(file, |bytes| bytes.fill(0)), "offset"),
        ("nothing in it", |file| change(file, Vec::clear), "offset"),
    ];
    for (number, (kind, damage, expected)) in kinds.into_iter().enumerate() {
        let site = Site::used(&format!("verify-damage-{number}"));
        for file in site.checkpoints() {
            let whole = std::fs::read(&file).unwrap();
            damage(&file);
            let (code, text) = site.verify();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let line = text.lines().find(|line| line.starts_with(&name) && line.contains(expected));
            assert!(code == 1 && line.is_some(), "{kind} of {name} ended with {code}:\n{text}");
            std::fs::write(&file, whole).unwrap();
        }
        assert_eq!(site.verify().0, 0, "{kind} was undone");
    }
}

fn change(file: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(file).unwrap();
    damage(&mut content);
    std::fs::write(file, content).unwrap();
}

#[test]
fn i12_a_file_that_is_missing_or_has_anothers_name_is_told() {
    let site = Site::used("verify-missing");
    let files = site.checkpoints();
    assert!(files.len() > 1, "a whole checkpoint and changes: {files:?}");
    let whole = std::fs::read(&files[0]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    let (code, text) = site.verify();
    assert!(code == 1 && text.contains("what it is to be put on is missing"), "{text}");
    std::fs::copy(&files[1], &files[0]).unwrap();
    let (code, text) = site.verify();
    assert!(code == 1 && text.contains("it has another's name"), "{text}");
    std::fs::write(&files[0], whole).unwrap();
    assert_eq!(site.verify().0, 0);
}
