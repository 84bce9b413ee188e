//! `synod-sim`: runs seeds, replays one, tells its story, makes a failure smaller.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use synod_simulator::batch::{self, Summary};
use synod_simulator::reduce::{self, Reduction};
use synod_simulator::{Outcome, Plan, run};

/// Runs of a batch from which on every rare path must have been taken.
const REPRESENTATIVE: u64 = 500;

#[derive(Debug, Parser)]
#[command(
    name = "synod-sim",
    version,
    about = "Runs whole Synod clusters in virtual time, with faults, every choice drawn from a seed",
    after_help = "Exit status: 0 all promises were kept, 1 one was broken (or a rare path was never taken), 2 wrong arguments."
)]
struct Flags {
    /// Replay this seed.
    #[arg(long, conflicts_with_all = ["seeds", "from", "threads"])]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1 << 62))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=1 << 62))]
    from: u64,
    /// How many at once; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// With --seed: tell what happens, message by message.
    #[arg(long, requires = "seed")]
    story: bool,
    /// With --seed: only these of its faults, by number, or `none`.
    #[arg(long, requires = "seed", value_name = "LIST")]
    faults: Option<String>,
    /// With --seed: only so many of its clients.
    #[arg(long, requires = "seed", value_parser = clap::value_parser!(u64).range(1..))]
    clients: Option<u64>,
    /// With --seed: a network that loses, repeats and delays nothing by itself.
    #[arg(long, requires = "seed")]
    fair: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let kept = match flags.seed {
        Some(seed) => match reduction(&flags) {
            Ok(reduction) => replay(seed, &reduction, flags.story),
            Err(error) => {
                eprintln!("synod-sim: {error}");
                return ExitCode::from(2);
            }
        },
        None => run_batch(&flags),
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn reduction(flags: &Flags) -> Result<Reduction, String> {
    let faults = match flags.faults.as_deref() {
        None => None,
        Some("none") => Some(Vec::new()),
        Some(list) => {
            let numbers: Result<Vec<usize>, _> =
                list.split(',').map(|number| number.trim().parse()).collect();
            let wrong = |_| format!("--faults {list}: give numbers with commas between them, or `none`");
            Some(numbers.map_err(wrong)?)
        }
    };
    Ok(Reduction { faults, clients: flags.clients, fair: flags.fair })
}

/// A line is lost when whoever reads them has gone away; the run goes on for its exit status.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn replay(seed: u64, reduction: &Reduction, story: bool) -> bool {
    let whole = Plan::draw(seed);
    let plan = reduction.of(&whole);
    tell_plan(&plan);
    let mut line = |line: String| print(&line);
    let outcome = run(&plan, story.then_some(&mut line as &mut dyn FnMut(String)));
    let again = run(&plan, None);
    print(&format!(
        "seed {seed}: {} events in {:.1} s of virtual time, trace {:016x}, run again {:016x}",
        outcome.events,
        outcome.virtual_us as f64 / 1e6,
        outcome.trace_hash,
        again.trace_hash
    ));
    match &outcome.violation {
        None => print("every promise was kept"),
        Some(violation) => {
            print(&format!("VIOLATION of {violation}"));
            if *reduction == Reduction::default() {
                tell_reduced(&outcome, &whole);
            }
        }
    }
    outcome.violation.is_none() && outcome.trace_hash == again.trace_hash
}

fn tell_plan(plan: &Plan) {
    let quorums = &plan.cluster.quorums;
    print(&format!(
        "{} acceptors (quorums {}/{}), {} proposers, {} learners, {} clients, faults for {:.1} s; {:?}",
        quorums.count(),
        quorums.phase1(),
        quorums.phase2(),
        plan.cluster.proposers.len(),
        plan.cluster.learners.len(),
        plan.clients,
        plan.faulty_us as f64 / 1e6,
        plan.weather
    ));
    for (number, (at, fault)) in plan.faults.iter().enumerate() {
        print(&format!("{number:>4}  {:>10.3} ms  {fault}", *at as f64 / 1e3));
    }
    print(&format!("ends with {:?} dead, {} directed pairs cut", plan.ending.dead, plan.ending.cut.len()));
}

fn tell_reduced(outcome: &Outcome, plan: &Plan) {
    let Some(violation) = &outcome.violation else { return };
    let (reduction, smaller) = reduce::shrink(plan, violation);
    print(&format!("smaller: {smaller}"));
    print(&format!("replay with: synod-sim --seed {}{reduction} --story", outcome.seed));
}

fn run_batch(flags: &Flags) -> bool {
    let threads =
        flags.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let end = flags.from + flags.seeds;
    let began = Instant::now();
    let told = Mutex::new(began);
    let every =
        if std::io::stderr().is_terminal() { Duration::from_secs(1) } else { Duration::from_secs(30) };
    let summary = batch::run_all(flags.from..end, threads, |outcome, summary| {
        if let Some(violation) = &outcome.violation {
            eprintln!("seed {}: VIOLATION of {violation}", outcome.seed);
        }
        let mut told = told.lock().expect("nobody panics while telling");
        if told.elapsed() >= every {
            *told = Instant::now();
            let rate = summary.events as f64 / began.elapsed().as_secs_f64();
            eprintln!(
                "{} of {} seeds, {} events ({rate:.0}/s), {} failed",
                summary.runs, flags.seeds, summary.events, summary.failed
            );
        }
    });
    tell_summary(&summary, began.elapsed());
    let missing = if summary.runs >= REPRESENTATIVE { summary.coverage.missing() } else { Vec::new() };
    for seen in &missing {
        print(&format!("NEVER SEEN in {} runs: {}", summary.runs, seen.text()));
    }
    for failure in &summary.failures {
        if let Some(violation) = &failure.violation {
            print(&format!("seed {}: VIOLATION of {violation}", failure.seed));
        }
    }
    if let Some(first) = summary.failures.first() {
        tell_reduced(first, &Plan::draw(first.seed));
    }
    let kept = summary.failed == 0 && missing.is_empty() && summary.short == 0;
    print(if kept { "every promise was kept" } else { "NOT every promise was kept" });
    kept
}

fn tell_summary(summary: &Summary, took: Duration) {
    print(&summary.coverage.to_string());
    print(&format!(
        "{} runs, {} events, {:.1} hours of virtual time, {} planned faults, in {:.0} s; {} runs were short, {} failed",
        summary.runs,
        summary.events,
        summary.virtual_us as f64 / 3.6e9,
        summary.faults,
        took.as_secs_f64(),
        summary.short,
        summary.failed
    ));
}
