//! Exhaustive model (draft).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod acceptor;
mod history;
mod intern;
mod learner;
mod model;
mod proposer;
mod settle;
mod step;
mod symmetry;
mod world;

use stateright::{Checker, HasDiscoveries, Model};
use world::Config;

fn explore(name: &str, config: Config) -> usize {
    let began = std::time::Instant::now();
    let checker = model::Synod::new(config)
        .checker()
        .threads(std::env::var("T").map_or(2, |t| t.parse().unwrap()))
        .finish_when(HasDiscoveries::AnyFailures)
        .timeout(std::time::Duration::from_secs(std::env::var("S").map_or(30, |t| t.parse().unwrap())))
        .spawn_dfs()
        .join();
    println!(
        "{name}: {} states, {} steps, depth {}, {:?}; {}; witnesses {:b}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed(),
        checker.model().sizes(),
        checker.model().witnesses()
    );
    for (property, path) in checker.discoveries() {
        println!("{property}: {:?}", checker.model().failure(path.last_state()));
    }
    checker.unique_state_count()
}

#[test]
fn try_it() {
    use synod_proposer::Timer::{Heal, Heartbeat, Resend};
    use synod_protocol::tuning::Tuning;
    let small = || Config { forget: true, lazy: true, symmetry: true, ..Config::small() };
    let only = std::env::var("ONLY").unwrap_or_default();
    let run = |name: &str, config| if (only.is_empty() || name == only) { explore(name, config); };
    let chunks = Tuning { chunk_bytes: 1, ..Tuning::default() };
    run("a", Config { slots: 2, offers: 2, ballots: &[2, 1], crashes: Some(1), ..small() });
    run("flexible 4/3/2", Config { acceptors: 4, phase1: 3, phase2: 2, slots: 1, crashes: Some(1), ..small() });
    run("flexible 4/3/2 3 ballots", Config { acceptors: 4, phase1: 3, phase2: 2, slots: 1, ballots: &[2, 1], crashes: Some(0), ..small() });
    run("flexible 3/3/1", Config { phase1: 3, phase2: 1, slots: 2, offers: 2, ballots: &[2, 1], crashes: Some(1), ..small() });
    run("restarts", Config { slots: 1, ballots: &[2, 1], restarts: 1, crashes: Some(1), ..small() });
    run("restarts 2", Config { slots: 1, ballots: &[2, 2], restarts: 1, crashes: Some(0), ..small() });
    run("disk", Config { batch: 2, crashes: Some(1), ..small() });
    run("disk 2", Config { batch: 2, slots: 2, offers: 2, crashes: Some(1), ..small() });
    run("refusals", Config { forget: false, ballots: &[2, 1], crashes: Some(0), ..small() });
    run("refusals not lazy", Config { forget: false, lazy: false, crashes: Some(0), ..small() });
    run("chunks", Config { slots: 2, offers: 2, tuning: chunks.clone(), crashes: Some(0), ..small() });
    run("chunks led", Config { slots: 2, offers: 2, start: world::Start::Led, ballots: &[2, 1], tuning: chunks, crashes: Some(0), ..small() });
    run("heal led", Config { slots: 1, offers: 1, start: world::Start::Led, ballots: &[1, 1], timers: &[Heal, Heartbeat, Resend], fires: 4, crashes: Some(0), forget: false, symmetry: false, ..small() });
}
