//! Exhaustive model (draft).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod acceptor;
mod bugs;
mod configurations;
mod events;
mod explore;
mod history;
mod intern;
mod learnable;
mod learner;
mod model;
mod proposer;
mod settle;
mod start;
mod step;
mod symmetry;
mod tables;
mod world;

#[test]
fn try_it() {
    use configurations as c;
    let only = std::env::var("ONLY").unwrap_or_default();
    for (name, config) in [
        ("agreement", c::agreement()),
        ("flexible 4/3/2", c::flexible_4_3_2()),
        ("flexible 3/3/1", c::flexible_3_3_1()),
        ("restarts", c::restarts()),
        ("disk", c::disk()),
        ("chunks", c::chunks()),
        ("chunks above held", c::chunks_above_held()),
        ("refusals", c::refusals()),
        ("healing", c::healing()),
        ("resending", c::resending()),
        ("holding", c::holding()),
        ("settling", c::settling()),
        ("reading", c::reading()),
        ("catching up", c::catching_up()),
        ("rereading", c::rereading()),
    ] {
        if only.is_empty() || only == name {
            let found = explore::explore(name, config, 2);
            println!("   {:b} {:?}", found.witnesses, found.broken);
        }
    }
}
