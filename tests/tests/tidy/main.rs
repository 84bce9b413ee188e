//! The house rules that a machine can hold: who may stand on whom, where bytes and clocks may be named, what a file looks like.
//!
//! Each rule is a function from the project's files to complaints; each test shows first that its rule bites on a bad sample, then
//! that the project has nothing to complain about. Style that rustfmt and clippy hold is not repeated here.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod files;

use std::collections::{BTreeMap, BTreeSet};

use files::{Files, code_of, identifiers, project};

const ROLES: [&str; 3] = ["acceptor", "proposer", "learner"];
const MOST_LINES: usize = 400;

/// Whom each crate of ours may stand on, its daemon (`main.rs`) included.
const ARROWS: &[(&str, &[&str])] = &[
    ("planted", &[]),
    ("checker", &[]),
    ("protocol", &["planted"]),
    ("journal", &["planted"]),
    ("store", &["protocol", "planted"]),
    ("engine", &["protocol", "store", "planted"]),
    ("daemon", &["protocol", "journal"]),
    ("acceptor", &["protocol", "journal", "daemon", "planted"]),
    ("proposer", &["protocol", "daemon", "planted"]),
    ("engine", &["protocol", "store", "planted"]),
    ("learner", &["protocol", "journal", "store", "engine", "daemon", "planted"]),
    // The form of a backup is the store's: `synod backup` and `synod restore` read and write it.
    ("client", &["protocol", "store", "planted"]),
    ("supervisor", &["protocol", "client"]),
    ("bench", &["protocol", "client", "journal", "store", "acceptor"]),
    (
        "simulator",
        &["protocol", "journal", "store", "acceptor", "proposer", "learner", "client", "checker", "planted"],
    ),
];

/// What may lie at the top, besides dot-files and build output.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "rust-toolchain.toml",
    "deny.toml",
    "clippy.toml",
    "rustfmt.toml",
    "crates",
    "tests",
    "deploy",
    "scripts",
];

/// Shows that `rule` complains about `bad` as often as expected, and then that it has nothing to say of the project.
#[track_caller]
fn hold(rule: impl Fn(&Files) -> Vec<String>, bad: &[(&str, &str)], complaints: usize) {
    let sample = bad.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    let found = rule(&sample);
    assert_eq!(found.len(), complaints, "on the bad sample: {found:#?}");
    let found = rule(project());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn rust_files(files: &Files) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| path.ends_with(".rs"))
}

/// The crate a path belongs to: `crates/<name>/...`.
fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split_once('/').map(|(name, _)| name)
}

/// The deterministic part of roles and store: everything in `src` but the daemon's `main.rs`.
fn is_role_library(path: &str) -> bool {
    let inside = crate_of(path).is_some_and(|name| ROLES.contains(&name) || name == "store");
    // What only the program has: its wiring, and offline tools beside the daemon.
    let program = path.ends_with("/src/main.rs") || path.contains("/src/commands/");
    inside && path.ends_with(".rs") && path.contains("/src/") && !program
}

fn manifests_follow_the_arrows(files: &Files) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let Some(name) = crate_of(path) else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            complaints
                .push(format!("{path}: a crate that the arrows don't know; add it to tidy with its reason"));
            continue;
        };
        let manifest: toml::Table = text.parse().unwrap();
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let named = manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten();
            for ours in named.filter_map(|(dependency, _)| dependency.strip_prefix("synod-")) {
                if !allowed.contains(&ours) && ours != name {
                    complaints.push(format!("{path}: {name} may not stand on {ours} ([{table}])"));
                }
            }
        }
    }
    complaints
}

#[test]
fn crates_stand_only_on_what_the_arrows_allow() {
    let bad = [
        ("crates/acceptor/Cargo.toml", "[dependencies]\nsynod-proposer.workspace = true"),
        ("crates/journal/Cargo.toml", "[dev-dependencies]\nsynod-protocol.workspace = true"),
        ("crates/stranger/Cargo.toml", "[dependencies]"),
        ("crates/learner/Cargo.toml", "[dependencies]\nsynod-store.workspace = true"),
    ];
    hold(manifests_follow_the_arrows, &bad, 3);
}

/// A role's library names what its rank allows; the daemon is glue for `main.rs` alone.
fn role_libraries_know_no_daemon(files: &Files) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in rust_files(files) {
        let Some(name) = crate_of(path).filter(|name| ROLES.contains(name)) else { continue };
        let named = identifiers(&code_of(text));
        if !path.ends_with("/src/main.rs") && named.contains("synod_daemon") {
            complaints.push(format!("{path}: only main.rs may name synod_daemon"));
        }
        for other in ROLES.iter().filter(|other| **other != name) {
            if named.contains(&format!("synod_{other}")) {
                complaints.push(format!("{path}: roles never name each other, and this names {other}"));
            }
        }
    }
    complaints
}

#[test]
fn roles_never_name_each_other_and_only_main_names_the_daemon() {
    let bad = [
        ("crates/acceptor/src/lib.rs", "use synod_daemon::Storage;"),
        ("crates/acceptor/src/main.rs", "use synod_daemon::Storage; // not synod_learner"),
        ("crates/proposer/tests/x.rs", "use synod_acceptor::Acceptor;"),
    ];
    hold(role_libraries_know_no_daemon, &bad, 2);
}

fn role_libraries_are_deterministic(files: &Files) -> Vec<String> {
    const FORBIDDEN: [&str; 12] = [
        "HashMap",
        "HashSet",
        "RandomState",
        "Instant",
        "SystemTime",
        "rand",
        "tokio",
        "thread",
        "fs",
        "net",
        "env",
        "process",
    ];
    let mut complaints = Vec::new();
    for (path, text) in rust_files(files).filter(|(path, _)| is_role_library(path)) {
        let named = identifiers(&code_of(text));
        for word in FORBIDDEN.into_iter().filter(|word| named.contains(*word)) {
            complaints.push(format!("{path}: names {word}; role libraries are deterministic and do no I/O"));
        }
    }
    complaints
}

#[test]
fn role_libraries_have_no_clock_no_chance_and_no_io() {
    let bad = [
        ("crates/acceptor/src/lib.rs", "use std::collections::HashMap; // Instant is only spoken of"),
        ("crates/store/src/machine.rs", "let file = std::fs::read(\"tokio\");"),
        ("crates/learner/src/reads.rs", "use std::{net::TcpStream, time::Instant};"),
        ("crates/learner/src/main.rs", "use std::time::Instant;"),
    ];
    hold(role_libraries_are_deterministic, &bad, 4);
}

fn bincode_is_confined(files: &Files) -> Vec<String> {
    let may = |path: &str| {
        path == "crates/protocol/src/wire.rs"
            || path.starts_with("crates/protocol/src/wire/")
            || path == "crates/protocol/Cargo.toml"
            || path == "Cargo.toml"
    };
    let named = |path: &str, text: &str| match path.rsplit_once('.') {
        Some((_, "rs")) => identifiers(&code_of(text)).contains("bincode"),
        _ => path.ends_with("Cargo.toml") && text.contains("bincode"),
    };
    let found = files.iter().filter(|(path, text)| !may(path) && named(path, text));
    found.map(|(path, _)| format!("{path}: names bincode, which only wire.rs may")).collect()
}

#[test]
fn bincode_is_named_in_wire_alone() {
    let bad = [
        ("crates/journal/src/format.rs", "bincode::encode()"),
        ("crates/journal/Cargo.toml", "[dependencies]\nbincode.workspace = true"),
        ("crates/protocol/src/wire/tests.rs", "bincode::encode()"),
        ("crates/protocol/src/ids.rs", "// not bincode"),
    ];
    hold(bincode_is_confined, &bad, 2);
}

fn files_look_like_files(files: &Files) -> Vec<String> {
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut complaints = Vec::new();
    for (path, text) in files {
        if path.ends_with(".rs") && !text.starts_with("//! ") {
            complaints.push(format!(
                "{path}: must open with `//!`: what it is, what it holds, which rules it upholds"
            ));
        }
        let lines = text.lines().count();
        if path.ends_with(".rs") && lines > MOST_LINES {
            complaints
                .push(format!("{path}: {lines} lines, more than {MOST_LINES}: split it by what it does"));
        }
        for word in unfinished {
            let words = text.split(|letter: char| !letter.is_alphanumeric());
            if words.filter(|found| *found == word).count() > 0 {
                complaints.push(format!("{path}: {word} belongs into the tracker"));
            }
        }
    }
    complaints
}

#[test]
fn every_file_says_what_it_is_and_ends_in_time() {
    let long = format!("//! Long.\n{}", "\n".repeat(MOST_LINES));
    let unfinished = concat!("# TO", "DO: write");
    let bad = [
        ("crates/client/src/lib.rs", "use std::fmt;"),
        ("crates/client/src/long.rs", long.as_str()),
        ("scripts/check.sh", unfinished),
    ];
    hold(files_look_like_files, &bad, 3);
}

/// The words of a name: `commit_index`, `CommitIndex` are both `commit` and `index`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().expect("it starts with one").extend(letter.to_lowercase());
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

fn names_keep_to_the_glossary(files: &Files) -> Vec<String> {
    const STRANGE: [&str; 6] = ["term", "epoch", "decide", "decided", "decision", "raft"];
    let mut complaints = Vec::new();
    for (path, text) in rust_files(files) {
        if !is_role_library(path) && crate_of(path) != Some("protocol") {
            continue;
        }
        for name in identifiers(&code_of(text)) {
            let words = words(&name);
            // Group commit is the journal's affair, and a good name there; an index of commits is another algorithm's.
            let commit_index = words.windows(2).any(|two| two == ["commit", "index"]);
            if commit_index || words.iter().any(|word| STRANGE.contains(&word.as_str())) {
                complaints.push(format!(
                    "{path}: `{name}` isn't a word of the glossary (ballot, slot, chosen, ...)"
                ));
            }
        }
    }
    complaints
}

#[test]
fn roles_speak_the_glossary() {
    let bad = [
        ("crates/proposer/src/lib.rs", "let commit_index = term; // the epoch of Raft"),
        ("crates/learner/src/log.rs", "struct DecidedSlot; let determined = 1;"),
        ("crates/client/src/lib.rs", "let term = 1;"),
    ];
    hold(names_keep_to_the_glossary, &bad, 3);
}

fn the_top_holds_what_the_plan_says(files: &Files) -> Vec<String> {
    let top: BTreeSet<&str> = files.keys().map(|path| path.split('/').next().unwrap_or(path)).collect();
    let strange = top.into_iter().filter(|name| !name.starts_with('.') && !TOP.contains(name));
    strange.map(|name| format!("{name}: doesn't belong at the top")).collect()
}

#[test]
fn nothing_strange_lies_at_the_top() {
    let bad = [("notes.md", ""), ("docs/plan.md", ""), (".ci/run", ""), ("crates/README.md", "")];
    hold(the_top_holds_what_the_plan_says, &bad, 2);
}

/// Each safety rule has a line of its own in the map, `| S4 | ...`, and a test `s4_...`, unless that line says `out of scope`.
fn safety_rules_are_tested(files: &Files) -> Vec<String> {
    let map = files.get("crates/README.md").map(String::as_str).unwrap_or_default();
    let mut tests: BTreeMap<String, usize> = BTreeMap::new();
    for (_, text) in rust_files(files) {
        let code = code_of(text);
        // What stands before a test function: `#[test]`, or tokio's own with its settings.
        let attributes = code.match_indices("#[test]").chain(code.match_indices("#[tokio::test"));
        for after in attributes.map(|(at, _)| &code[at..]) {
            let name = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap_or_default();
            if let Some((rule, _)) = name.split_once('_') {
                *tests.entry(rule.to_string()).or_default() += 1;
            }
        }
    }
    let mut complaints = Vec::new();
    for rule in 1..=12 {
        let head = format!("S{rule}");
        let line = map.lines().find(|line| {
            line.split(|letter: char| !letter.is_alphanumeric()).find(|word| !word.is_empty())
                == Some(head.as_str())
        });
        match line {
            None => complaints
                .push(format!("crates/README.md: no line for {head}: where is it asserted and tested?")),
            Some(line) if !line.contains("out of scope") && !tests.contains_key(&format!("s{rule}")) => {
                complaints.push(format!(
                    "{head}: no test named s{rule}_..., and crates/README.md doesn't call it out of scope"
                ));
            }
            Some(_) => {}
        }
    }
    complaints
}

#[test]
fn every_safety_rule_has_a_line_and_a_test() {
    let map: String =
        (1..=12).filter(|rule| *rule != 7).map(|rule| format!("| S{rule} | rule |\n")).collect();
    let map = map.replace("| S11 | rule |", "| S11 | out of scope yet |");
    let tests: String = (2..=9).map(|rule| format!("#[test]\nfn s{rule}_holds() {{}}\n")).collect();
    let tests = format!(
        "//! Tests.\n{tests}#[tokio::test(flavor = \"x\")]\nasync fn s10_holds() {{}}\n// fn s1_is_only_spoken_of()\nfn s12_is_no_test() {{}}"
    );
    let bad = [("crates/README.md", map.as_str()), ("crates/acceptor/src/tests.rs", tests.as_str())];
    hold(safety_rules_are_tested, &bad, 3);
}
