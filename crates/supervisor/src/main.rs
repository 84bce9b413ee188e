//! `synod-supervisor`: `up`, `chaos` and `demo`. Flags in, sessions run, exit code out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use synod_supervisor::demo::{self, Demo};
use synod_supervisor::layout::{self, Layout};
use synod_supervisor::meter::{Bounds, Size};
use synod_supervisor::policy::{Chaos, Kind, Wishes};
use synod_supervisor::session::{Ended, Session};
use synod_supervisor::soak::{self, Soak};

/// Starts a cluster's daemons on this host, watches them and restarts those that die
#[derive(Debug, Parser)]
#[command(name = "synod-supervisor", version, after_help = AFTER)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Every process's output is in DIR/logs/, an acceptor's votes are in DIR/a1 ..., and what happened, as JSON lines, in \
                     DIR/timeline.jsonl, where DIR is --data-dir.\nVariables such as SYNOD_HEARTBEAT_MS or SYNOD_LOG are passed on to the \
                     daemons.\nExit codes: 0 stopped as asked (demo: verdict PASS), 1 failed (demo: verdict FAIL), 2 usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the cluster; restart what dies; stop everything on Ctrl-C. The first start forms the cluster
    Up(Place),
    /// Like up, and kill (SIGKILL) and restart processes at random
    Chaos {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        kills: Kills,
        /// Stop after so many seconds instead of on Ctrl-C
        #[arg(long = "for", value_name = "SECONDS")]
        seconds: Option<u64>,
    },
    /// Start a new cluster, kill acceptors under a workload, check every answer, and give a verdict
    Demo {
        /// The cluster file; other free ports are taken if its own are in use
        #[arg(long, env = "SYNOD_CLUSTER", value_name = "FILE", default_value = "deploy/local.toml")]
        cluster: PathBuf,
        /// A new directory for this demo [default: target/synod/demo-<time>]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Where the daemons' executables are [default: beside this one]
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
        /// How long the workload runs
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
        /// How many clients work at once
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
        clients: u64,
        /// Milliseconds between two kills, on average
        #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
        interval_ms: u64,
        /// Seed of kills and workload; drawn and printed if not given
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Put for long into a new cluster while every role is killed, bound what processes take, and give a verdict
    Soak(SoakFlags),
}

#[derive(Debug, Args)]
struct SoakFlags {
    /// The cluster file; other free ports are taken if its own are in use
    #[arg(long, env = "SYNOD_CLUSTER", value_name = "FILE", default_value = "deploy/local.toml")]
    cluster: PathBuf,
    /// A new directory for this soak [default: target/synod/soak-<time>]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the daemons' executables are [default: beside this one]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Puts that must be acknowledged
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    puts: u64,
    /// Keys they are spread over
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Bytes of a value
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..))]
    value_bytes: u32,
    /// How many clients work at once
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Milliseconds between two kills, on average
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    interval_ms: u64,
    /// MiB on disk that no acceptor may exceed
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    acceptor_disk_mib: u64,
    /// MiB of memory that no acceptor may exceed
    #[arg(long, value_name = "MIB", default_value_t = 384)]
    acceptor_memory_mib: u64,
    /// MiB on disk that no learner may exceed
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    learner_disk_mib: u64,
    /// MiB of memory that no learner may exceed
    #[arg(long, value_name = "MIB", default_value_t = 2_048)]
    learner_memory_mib: u64,
    /// Seed of kills and workload; drawn and printed if not given
    #[arg(long)]
    seed: Option<u64>,
}

impl SoakFlags {
    fn soak(self) -> Result<Soak> {
        let size = |memory_mib: u64, disk_mib: u64| Size {
            memory_bytes: memory_mib << 20,
            disk_bytes: disk_mib << 20,
        };
        Ok(Soak {
            cluster: self.cluster,
            data_dir: self.data_dir.map_or_else(|| new_folder("soak"), Ok)?,
            bin_dir: self.bin_dir.map_or_else(own_folder, Ok)?,
            puts: self.puts,
            keys: self.keys as usize,
            value_bytes: self.value_bytes as usize,
            clients: self.clients as usize,
            interval_ms: self.interval_ms,
            bounds: Bounds {
                acceptor: size(self.acceptor_memory_mib, self.acceptor_disk_mib),
                learner: size(self.learner_memory_mib, self.learner_disk_mib),
            },
            seed: self.seed.unwrap_or_else(rand::random),
        })
    }
}

#[derive(Debug, Args)]
struct Place {
    /// The cluster file
    #[arg(long, env = "SYNOD_CLUSTER", value_name = "FILE", default_value = "deploy/local.toml")]
    cluster: PathBuf,
    /// Where data, logs and the timeline go [default: target/synod/<name of the cluster>]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the daemons' executables are [default: beside this one]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Kills {
    /// Seed of the kills; drawn and printed if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Milliseconds between two kills, on average
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    interval_ms: u64,
    /// Milliseconds that a killed process stays down: one number, or LEAST-MOST
    #[arg(long, value_name = "RANGE", default_value = "200-1500", value_parser = parse_range)]
    downtime_ms: (u64, u64),
    /// Which processes are killed
    #[arg(long, value_enum, value_delimiter = ',', default_value = "acceptor")]
    roles: Vec<Kind>,
    /// How many may be down at once [default: as many acceptors as the quorums survive]
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
    /// Kill even more than service survives: calls then end as no-quorum or unknown, never wrongly
    #[arg(long)]
    beyond_quorum: bool,
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let number = |part: &str| part.trim().parse::<u64>().map_err(|error| format!("{part:?}: {error}"));
    let (least, most) = match text.split_once('-') {
        Some((least, most)) => (number(least)?, number(most)?),
        None => (number(text)?, number(text)?),
    };
    if least <= most { Ok((least, most)) } else { Err(format!("{least} is more than {most}")) }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("cannot start the tokio runtime").and_then(|runtime| {
        let ended = runtime.block_on(run(flags.command));
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("synod-supervisor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(place) => up(&place, None, None).await,
        Command::Chaos { place, kills, seconds } => up(&place, Some(kills), seconds).await,
        Command::Demo { cluster, data_dir, bin_dir, seconds, clients, interval_ms, seed } => {
            let data_dir = data_dir.map_or_else(|| new_folder("demo"), Ok)?;
            let seed = seed.unwrap_or_else(rand::random);
            let bin_dir = bin_dir.map_or_else(own_folder, Ok)?;
            demo::run(Demo { cluster, data_dir, bin_dir, seconds, clients, interval_ms, seed }).await
        }
        Command::Soak(flags) => soak::run(flags.soak()?).await,
    }
}

async fn up(place: &Place, kills: Option<Kills>, seconds: Option<u64>) -> Result<ExitCode> {
    let (cluster, _) = layout::read_cluster(&place.cluster)?;
    let data_dir = match &place.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => data_root()?.join(&cluster.name),
    };
    let bin_dir = place.bin_dir.clone().map_or_else(own_folder, Ok)?;
    let chaos = kills.map(|kills| chaos(kills, &cluster)).transpose()?;
    let layout = Layout::check(&place.cluster, bin_dir, &data_dir)?;
    let forming = layout.needs_formation().context("cannot note that the cluster is new")?;
    println!("cluster \"{}\" of {}", cluster.name, place.cluster.display());
    let mut session = Session::start(&layout).context("nothing was started")?;
    let ended = supervise(&mut session, &layout, forming, chaos, seconds).await;
    let counts = session.counts();
    let killed = session.stop().await;
    ended?;
    println!(
        "stopped; chaos killed {} and restarted {}, {} died otherwise; data and logs are in {}",
        counts.kills,
        counts.restarts,
        counts.deaths,
        layout.data_dir.display()
    );
    Ok(if killed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn supervise(
    session: &mut Session,
    layout: &Layout,
    forming: bool,
    chaos: Option<(u64, Chaos)>,
    seconds: Option<u64>,
) -> Result<()> {
    if forming && demo::form(session, layout).await? == Ended::Asked {
        return Ok(());
    }
    if let Some((seed, chaos)) = chaos {
        println!("chaos: at most {} down at once; --seed {seed}", chaos.at_once());
        session.start_chaos(chaos);
    }
    match seconds {
        Some(seconds) => {
            // Done, or asked to: either way it ends here.
            let _ended = session.until(tokio::time::sleep(Duration::from_secs(seconds))).await;
            session.end_chaos();
        }
        None => {
            let _asked = session.until(std::future::pending::<()>()).await;
        }
    }
    Ok(())
}

fn chaos(kills: Kills, cluster: &synod_protocol::Cluster) -> Result<(u64, Chaos)> {
    let seed = kills.seed.unwrap_or_else(rand::random);
    let wishes = Wishes {
        interval_ms: kills.interval_ms,
        downtime_ms: kills.downtime_ms,
        kinds: kills.roles.into_iter().collect(),
        at_once: kills.at_once,
        beyond_quorum: kills.beyond_quorum,
    };
    Ok((seed, Chaos::new(seed, wishes, cluster)?))
}

/// A folder that doesn't exist yet, for a demo or soak.
fn new_folder(what: &str) -> Result<PathBuf> {
    Ok(data_root()?.join(demo::folder_name(what)))
}

/// The folder of this executable.
fn own_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()
        .context("cannot find this executable; name the daemons' folder with --bin-dir")?;
    match own.parent() {
        Some(folder) => Ok(folder.to_path_buf()),
        None => bail!("{} lies in no folder; name the daemons' folder with --bin-dir", own.display()),
    }
}

/// Where data goes by default: `synod` in cargo's target folder when this was built there, else in the current one.
fn data_root() -> Result<PathBuf> {
    let folder = own_folder()?;
    let target = folder.parent().filter(|target| target.join("CACHEDIR.TAG").is_file());
    Ok(target.map_or_else(|| Path::new("synod-data").to_path_buf(), |target| target.join("synod")))
}
