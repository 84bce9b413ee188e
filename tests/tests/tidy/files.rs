//! The project's files as text, and just enough of Rust's grammar to tell code from comments and strings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Text by path from the top, with `/` between folders.
pub(crate) type Files = BTreeMap<String, String>;

/// Every file of the project; build output, version control and what isn't text are left out.
pub(crate) fn project() -> &'static Files {
    static PROJECT: OnceLock<Files> = OnceLock::new();
    PROJECT.get_or_init(|| {
        let top =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests package lies one below the top");
        let mut files = Files::new();
        collect(top, "", &mut files);
        assert!(files.len() > 50, "the walk found only {} files under {}", files.len(), top.display());
        files
    })
}

fn collect(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let skipped = prefix.is_empty() && (name.starts_with("target") || name == ".git");
        let path = format!("{prefix}{name}");
        if skipped {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.insert(path, text);
        }
    }
}

/// The code of a Rust file: comments and the insides of strings and character literals are gone.
pub(crate) fn code_of(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let next = letters.get(at + 1);
        at = match (letters[at], next) {
            ('/', Some('/')) => find(&letters, at, &['\n']),
            ('/', Some('*')) => find(&letters, at + 2, &['*', '/']) + 2,
            ('r', Some('"' | '#')) if is_raw(&letters, at) => skip_raw(&letters, at),
            ('"', _) => skip_string(&letters, at + 1),
            ('\'', Some('\\')) => find(&letters, at + 3, &['\'']) + 1,
            ('\'', Some(_)) if letters.get(at + 2) == Some(&'\'') => at + 3,
            (letter, _) => {
                code.push(letter);
                at + 1
            }
        };
    }
    code
}

fn find(letters: &[char], from: usize, wanted: &[char]) -> usize {
    (from..letters.len()).find(|at| letters[*at..].starts_with(wanted)).unwrap_or(letters.len())
}

fn is_raw(letters: &[char], at: usize) -> bool {
    let after_name =
        at > 0 && (letters[at - 1].is_alphanumeric() && letters[at - 1] != 'b' || letters[at - 1] == '_');
    let quote = letters[at + 1..].iter().position(|letter| *letter != '#').map(|skip| letters[at + 1 + skip]);
    !after_name && quote == Some('"')
}

fn skip_raw(letters: &[char], at: usize) -> usize {
    let hashes = letters[at + 1..].iter().take_while(|letter| **letter == '#').count();
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    find(letters, at + 2 + hashes, &end) + end.len()
}

fn skip_string(letters: &[char], mut at: usize) -> usize {
    while at < letters.len() && letters[at] != '"' {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Every identifier (and keyword) of some code.
pub(crate) fn identifiers(code: &str) -> BTreeSet<String> {
    let parts = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    parts.filter(|part| !part.is_empty()).map(str::to_string).collect()
}

#[test]
fn code_is_told_from_comments_and_strings() {
    let text = concat!(
        "let a = \"b \\\" c\"; // d\nlet e = 'f'; let g: &'h str = r#\"i \" j\"#; /* k\n l */ m('\\'', 'n');\n",
        "for_r\"o\" b\"p\" br\"q\" '\\u{41}' s"
    );
    let found: Vec<_> = identifiers(&code_of(text)).into_iter().collect();
    assert_eq!(found, ["a", "b", "e", "for_r", "g", "h", "let", "m", "s", "str"].map(String::from));
}
