//! `synod-learner`: the learner's role, its store and checkpoints in a daemon, and `synod-learner store` to look at a store offline.
//! Nothing but wiring.

mod commands {
    pub(crate) mod background;
    pub(crate) mod disk;
    pub(crate) mod memory;
    pub(crate) mod store;
    pub(crate) mod throttle;
}

use std::path::PathBuf;
use std::process::ExitCode;

use synod_daemon::{Arguments, Failure, Kind, Setup, Storage};
use synod_journal::directory::Directory;
use synod_learner::keeper::{Keeper, Options};
use synod_learner::{Config, Learner};
use synod_protocol::LearnerId;
use synod_protocol::role::{Never, Persist};

use commands::background::{Background, Empty, Keep};
use commands::memory::{Files, Memory};
use commands::{disk, memory, store};

#[derive(Debug, clap::Parser)]
#[command(
    name = "synod-learner",
    version,
    about = "Synod's learner: the state; applies what is chosen, answers clients, serves reads (`synod-learner store --help`: look at a store)"
)]
struct Flags {
    #[command(flatten)]
    daemon: Arguments,
    /// Run as this observer instead of a learner of the cluster file: a learner for reads that counts for nothing. Any number above the
    /// ids of all configured learners, used by no other observer; needs --listen unless the cluster file has it under [[observers]]
    #[arg(long, env = "SYNOD_OBSERVER", value_name = "N", conflicts_with = "id")]
    observer: Option<u16>,
    /// Directory of this learner's checkpoints; created if missing. One learner, one directory
    #[arg(long, env = "SYNOD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// What holds the keys: memory, with checkpoints on disk; or disk, for data larger than memory. Learners of a cluster may differ
    #[arg(long, env = "SYNOD_ENGINE", value_enum, default_value_t = Engine::Memory)]
    engine: Engine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    Memory,
    Disk,
}

/// The checkpoints of an engine, told by the daemon when there is time.
struct Store<K: Keep, E>(Background<K, E>);

impl<K: Keep, E> Persist<Never> for Store<K, E> {
    type Error = String;
    fn persist(&mut self, _records: Vec<Never>) -> Result<(), String> {
        Ok(())
    }
}

impl<S, K, E> Storage<Learner<S>> for Store<K, E>
where
    S: synod_store::Storage<Snapshot = K::Snapshot>,
    K: Keep,
    E: Empty<S, K::Place>,
{
    fn after_batch(&mut self, learner: &mut Learner<S>) -> Result<(), String> {
        self.0.after_batch(learner)
    }
    fn on_shutdown(&mut self, learner: &mut Learner<S>) -> Result<(), String> {
        self.0.shut_down(learner)
    }
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == store::WORD) {
        return store::main(std::env::args_os());
    }
    synod_daemon::main(Kind::Learner, Flags::arguments, run)
}

impl Flags {
    fn arguments(&self) -> Arguments {
        Arguments { observer: self.observer, ..self.daemon.clone() }
    }
}

fn run(flags: &Flags, setup: Setup) -> Result<(), Failure> {
    // S10: a life of its own for each start, so that an answer to an earlier one's read is never taken for an answer to this one's.
    let id = LearnerId(setup.id);
    let mut config = Config::new(id, synod_daemon::random_u64(), &setup.cluster);
    let directory = Directory::open(&flags.data_dir).map_err(Failure::fatal)?;
    let fatal =
        |error: &dyn std::fmt::Display| Failure::fatal(format!("{}: {error}", flags.data_dir.display()));
    match flags.engine {
        Engine::Memory => {
            memory::check_engine(&directory).map_err(Failure::fatal)?;
            let seed = synod_daemon::random_u64();
            let opened = Keeper::open(directory, Options::new(id, config.limits, seed));
            let (keeper, recovered) = opened.map_err(|error| fatal(&error))?;
            for aside in &recovered.set_aside {
                tracing::warn!(
                    file = aside.name,
                    renamed = aside.renamed,
                    why = aside.why,
                    "set an unusable checkpoint aside; what is missing is learned again"
                );
            }
            let learner = Learner::recovered(config, recovered.machine, recovered.cluster, true);
            let background =
                Background::start(Files(keeper), Memory { seed }).map_err(|error| fatal(&error))?;
            setup.run(learner, Store(background))
        }
        Engine::Disk => {
            config.engine = "disk";
            let cache_bytes = config.tuning.engine_cache_bytes;
            let options = synod_engine::Options { cache_bytes, ..synod_engine::Options::default() };
            let opened = disk::open_stores(directory, id, config.limits, options);
            let opened = opened.map_err(|error| fatal(&error))?;
            if let Some((renamed, why)) = &opened.set_aside {
                tracing::warn!(
                    renamed = %renamed.display(),
                    why,
                    "set an unusable store aside; the state is fetched from a peer"
                );
            }
            let learner = Learner::recovered(config, opened.machine, opened.cluster, true);
            let background =
                Background::start(opened.stores, opened.folders).map_err(|error| fatal(&error))?;
            setup.run(learner, Store(background))
        }
    }
}
