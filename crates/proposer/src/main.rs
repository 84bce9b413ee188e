//! `synod-proposer`: the proposer's role in a daemon. Nothing but wiring.

use std::process::ExitCode;

use synod_daemon::{Arguments, Failure, Kind, Setup};
use synod_proposer::{Config, Proposer};
use synod_protocol::ProposerId;
use synod_protocol::role::NothingToPersist;

#[derive(Debug, clap::Parser)]
#[command(name = "synod-proposer", version, about = "Synod's proposer: the order; keeps nothing on disk")]
struct Flags {
    #[command(flatten)]
    daemon: Arguments,
}

fn main() -> ExitCode {
    synod_daemon::main(Kind::Proposer, |flags: &Flags| flags.daemon.clone(), run)
}

fn run(_flags: &Flags, setup: Setup) -> Result<(), Failure> {
    // S5: a life of its own for each start, so that a ballot is never taken up again.
    let config = Config::new(ProposerId(setup.id), synod_daemon::random_u64(), &setup.cluster);
    setup.run(Proposer::new(config), NothingToPersist)
}
