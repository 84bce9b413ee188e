//! `synod-learner store verify DIR`: whether a learner's checkpoints, or its store on disk, are sound, read while the learner is down. Exit code 0: sound; 1: damaged; 2: it
//! couldn't be read, for instance because its learner is running. Changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use synod_journal::Disk;
use synod_journal::directory::read_only::ReadOnly;
use synod_learner::keeper::{KeeperError, Verified, verify};
use synod_protocol::Cluster;
use synod_protocol::cluster::Limits;

use super::disk::Owned;

/// The word that tells this command from a daemon's flags.
pub(crate) const WORD: &str = "store";

#[derive(Debug, Parser)]
#[command(
    name = "synod-learner store",
    version,
    about = "Looks at a learner's store while the learner is down; never changes anything"
)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads everything and says whether it is sound, or where it is damaged.
    Verify {
        /// The learner's --data-dir.
        directory: PathBuf,
        /// The cluster file, if it sets [limits].
        #[arg(long, env = "SYNOD_CLUSTER")]
        cluster: Option<PathBuf>,
    },
}

/// Runs the command; the first argument is the program, the second is [`WORD`].
pub(crate) fn main(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let flags = Flags::parse_from(arguments.enumerate().filter(|(at, _)| *at != 1).map(|(_, text)| text));
    let Command::Verify { directory, cluster } = flags.command;
    match look(&directory, cluster.as_deref()) {
        Ok(Looked::Memory(verified)) => report(&directory, &verified),
        Ok(Looked::Disk(owner, verified)) => report_disk(&directory, owner, &verified),
        Err(why) => {
            eprintln!("{}: {why}", directory.display());
            ExitCode::from(2)
        }
    }
}

/// What was found, by engine.
enum Looked {
    Memory(Verified),
    Disk(Owned, synod_engine::Verified),
}

fn look(directory: &Path, cluster: Option<&Path>) -> Result<Looked, String> {
    let limits = match cluster {
        None => Limits::default(),
        Some(file) => {
            let text =
                std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Cluster::parse(&text, &[]).map_err(|error| format!("{}: {error}", file.display()))?.limits
        }
    };
    if !directory.is_dir() {
        return Err("there is no such directory".into());
    }
    let disk = ReadOnly::open(directory).map_err(|error| error.to_string())?;
    if let Some(owner) = super::disk::find_owner(directory)? {
        let verified = synod_engine::verify(&owner.folder(directory));
        return Ok(Looked::Disk(owner, verified));
    }
    let names = disk.names().map_err(|error| error.to_string())?;
    // What was set aside and what isn't whole yet have these words in their names too.
    let is_ours = |name: &String| name.contains("checkpoint") || name.contains(super::disk::STORE);
    if let (false, Some(other)) = (names.iter().any(is_ours), names.first()) {
        return Err(format!("this is no learner's directory: it holds {other}, and no checkpoint"));
    }
    verify(disk, limits).map(Looked::Memory).map_err(|error| match error {
        KeeperError::OtherLimits if cluster.is_none() => {
            "made under other [limits] than the usual ones: name the cluster file with --cluster".into()
        }
        error @ (KeeperError::OtherLimits
        | KeeperError::Io { .. }
        | KeeperError::OtherLearner { .. }
        | KeeperError::Format { .. }) => error.to_string(),
    })
}

fn report(directory: &Path, verified: &Verified) -> ExitCode {
    let Verified { files, owner, applied, chain, keys, sessions, flaws } = verified;
    for (name, bytes) in files {
        println!("{name}: sound, {bytes} bytes");
    }
    for flaw in flaws {
        println!("{}: {}", flaw.name, flaw.why);
    }
    match owner {
        Some((learner, cluster)) => println!(
            "{}: {learner} of cluster {cluster}: applied slot {applied}, hash chain {chain:016x}, {keys} keys, {sessions} sessions",
            directory.display()
        ),
        None => println!("{}: no checkpoint that can be used", directory.display()),
    }
    ExitCode::from(u8::from(!flaws.is_empty()))
}

fn report_disk(directory: &Path, owner: Owned, verified: &synod_engine::Verified) -> ExitCode {
    let synod_engine::Verified { files, flaws } = verified;
    let name = |name: &str| owner.folder(directory).join(name).display().to_string();
    for (file, bytes) in files {
        println!("{}: sound, {bytes} bytes", name(file));
    }
    for (file, why) in flaws {
        println!("{}: {why}", name(file));
    }
    let (learner, cluster) = (owner.learner, owner.cluster);
    println!("{}: {learner} of cluster {cluster}, kept by the disk engine", directory.display());
    ExitCode::from(u8::from(!flaws.is_empty()))
}
