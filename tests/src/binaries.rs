//! The programs under test: built by the same cargo, in the same profile, into the same folder as the test itself.
//!
//! `cargo test` builds a package's programs only for that package's own tests, so they are brought up to date here, once
//! for each test process: an outdated program would be tested unnoticed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const PACKAGES: [&str; 5] =
    ["synod-acceptor", "synod-proposer", "synod-learner", "synod-client", "synod-supervisor"];

/// Where the programs are.
pub fn bin_dir() -> &'static Path {
    static BIN_DIR: OnceLock<PathBuf> = OnceLock::new();
    BIN_DIR.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let folder = own.ancestors().nth(2).expect("tests lie in <target>/<profile>/deps").to_path_buf();
        build(&folder);
        folder
    })
}

fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    command.args(["build", "--quiet", "--offline", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(folder.parent().expect("profiles lie in the target folder"));
    let profile = folder.file_name().and_then(|name| name.to_str()).expect("profiles have plain names");
    // The folder of the profile called dev is debug.
    command.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs under test could not be built:\n{errors}");
}

/// The path of a program.
pub fn binary(name: &str) -> PathBuf {
    let path = bin_dir().join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} isn't there, though its package was built", path.display());
    path
}

/// A program to be run, without the variables that steer these tests.
pub fn command(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("SYNOD_") {
            command.env_remove(variable);
        }
    }
    command
}
