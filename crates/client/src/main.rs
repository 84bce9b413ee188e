//! The `synod` command: data on stdout, messages on stderr, and an exit code that tells how it ended.

mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    commands::run(commands::Arguments::parse())
}
