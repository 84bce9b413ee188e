//! `synod-learner`: the learner's role over a store in memory, in a daemon. Nothing but wiring.

use std::process::ExitCode;

use synod_daemon::{Arguments, Failure, Kind, Setup};
use synod_learner::{Config, Learner};
use synod_protocol::LearnerId;
use synod_protocol::role::NothingToPersist;
use synod_store::MemoryStorage;

#[derive(Debug, clap::Parser)]
#[command(
    name = "synod-learner",
    version,
    about = "Synod's learner: the state; applies what is chosen, answers clients, serves reads"
)]
struct Flags {
    #[command(flatten)]
    daemon: Arguments,
}

fn main() -> ExitCode {
    synod_daemon::main(Kind::Learner, |flags: &Flags| &flags.daemon, run)
}

fn run(flags: &Flags, setup: Setup) -> Result<(), Failure> {
    // S10: a life of its own for each start, so that an answer to an earlier one's read is never taken for an answer to this one's.
    let config = Config::new(LearnerId(flags.daemon.id), synod_daemon::random_u64(), &setup.cluster);
    setup.run(Learner::new(config, MemoryStorage::default()), NothingToPersist)
}
