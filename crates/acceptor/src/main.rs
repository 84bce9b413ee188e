//! `synod-acceptor`: the acceptor's role and its journal in a daemon, and `synod-acceptor journal` to look at a journal offline. Nothing but
//! wiring.

mod commands {
    pub(crate) mod journal;
}

use std::path::PathBuf;
use std::process::ExitCode;

use synod_acceptor::keeper::{Keeper, KeeperError};
use synod_acceptor::{Acceptor, Config, Record};
use synod_daemon::{Arguments, Failure, Kind, Setup, Storage};
use synod_journal::Options;
use synod_journal::directory::Directory;
use synod_protocol::role::Persist;

use commands::journal;
use synod_protocol::{AcceptorId, Slot, Value};

/// Bytes of the next segment that are prepared at once: a short pause between two batches.
const PREPARE_STEP_BYTES: u64 = 256 << 10;

#[derive(Debug, clap::Parser)]
#[command(
    name = "synod-acceptor",
    version,
    about = "Synod's acceptor: the votes, on disk before anyone hears of them (`synod-acceptor journal --help`: tools to look at them)"
)]
struct Flags {
    #[command(flatten)]
    daemon: Arguments,
    /// Directory of this acceptor's journal; created if missing. One acceptor, one directory, never a copy of another.
    #[arg(long, env = "SYNOD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
}

/// The keeper, told by the daemon when there is time.
struct Disk(Keeper<Directory>);

impl Persist<Record> for Disk {
    type Error = KeeperError;
    fn persist(&mut self, records: Vec<Record>) -> Result<(), KeeperError> {
        self.0.persist(records)
    }
    fn load(&mut self, slot: Slot) -> Result<Value, KeeperError> {
        self.0.load(slot)
    }
}

impl Storage<Acceptor> for Disk {
    fn after_batch(&mut self, acceptor: &mut Acceptor) -> Result<(), KeeperError> {
        self.0.after_batch()?;
        self.0.tell(acceptor)
    }
    fn on_idle(&mut self, acceptor: &mut Acceptor) -> Result<bool, KeeperError> {
        let more = self.0.idle()?;
        self.0.tell(acceptor)?;
        Ok(more)
    }
    fn on_shutdown(&mut self, _acceptor: &mut Acceptor) -> Result<(), KeeperError> {
        self.0.seal()
    }
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == journal::WORD) {
        return journal::main(std::env::args_os());
    }
    synod_daemon::main(Kind::Acceptor, |flags: &Flags| flags.daemon.clone(), run)
}

fn run(flags: &Flags, setup: Setup) -> Result<(), Failure> {
    let config = Config::new(AcceptorId(setup.id), &setup.cluster);
    let segment_bytes = setup.cluster.tuning.segment_bytes.next_multiple_of(4096);
    let options = Options { segment_bytes, prepare_step_bytes: PREPARE_STEP_BYTES, ..Options::default() };
    let disk = Directory::open(&flags.data_dir).map_err(Failure::fatal)?;
    let opened = Keeper::open(disk, options, config.id, config.parameters, config.cache_bytes);
    let (mut keeper, durable) =
        opened.map_err(|error| Failure::fatal(format!("{}: {error}", flags.data_dir.display())))?;
    tracing::info!(promised = %durable.head().promised, held = %durable.head().held, highest = %durable.head().highest, "recovered");
    let mut acceptor = Acceptor::new(config, durable);
    keeper.tell(&mut acceptor).map_err(Failure::fatal)?;
    setup.run(acceptor, Disk(keeper))
}
