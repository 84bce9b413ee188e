//! Runs an exploration to its end and says what it found.

use std::collections::HashSet;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::{Action, State};
use crate::step::{Event, Rule, Witness};
use crate::tables::Synod;
use crate::world::{Config, Envelope, Shown};

/// What an exploration found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Distinct states.
    pub(crate) states: usize,
    /// The rule that was broken, with the story; nothing if none was.
    pub(crate) broken: Option<(Rule, String)>,
    /// What was seen, as bits of [`Witness`].
    pub(crate) witnesses: u32,
    /// Disks and chosen values of every state, where they are collected.
    pub(crate) collected: HashSet<Shown>,
}

/// Explores every state that `config` allows, on so many threads; stops early only at a broken rule. No count, depth or time is a
/// bound: if nothing is broken, everything was seen.
pub(crate) fn explore(name: &str, config: Config, threads: usize) -> Found {
    silence_expected_panics();
    let began = Instant::now();
    let breadth_first = config.bug.is_some();
    let checker = Synod::new(config).checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    if breadth_first {
        report(name, &checker.spawn_bfs().join(), began)
    } else {
        report(name, &checker.spawn_dfs().join(), began)
    }
}

fn report(name: &str, checker: &impl Checker<Synod>, began: Instant) -> Found {
    let model = checker.model();
    println!(
        "{name}: {} states in {} steps, at most {} deep, {:.1} s; {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
        model.sizes()
    );
    let path = checker.discoveries().into_values().min_by_key(|path| path.clone().into_actions().len());
    let broken = path.map(|path| {
        let failure = model.failure(path.last_state()).expect("a discovery is a failure");
        (failure.rule, format!("{:?}: {}\n{}", failure.rule, failure.text, tell(model, path.into_vec())))
    });
    assert!(broken.is_some() || checker.is_done(), "{name} stopped before its end");
    let collected = std::mem::take(&mut *model.collected.lock().unwrap());
    Found { states: checker.unique_state_count(), broken, witnesses: model.witnesses(), collected }
}

/// The steps that led to a state, one a line.
fn tell(model: &Synod, path: Vec<(State, Option<Action>)>) -> String {
    let actions = path.into_iter().filter_map(|(_, action)| action);
    actions.map(|action| tell_event(model, action.place, action.event)).collect()
}

fn tell_event(model: &Synod, place: u8, event: Event) -> String {
    let node = model.config.node(usize::from(place));
    match event {
        Event::Run(number) => {
            model.runs.get(number).iter().map(|event| tell_event(model, place, *event)).collect()
        }
        Event::Deliver(number) => {
            let Envelope { from, message, .. } = &*model.envelopes.get(number);
            format!("  {node} gets of {from}: {message:?}\n")
        }
        Event::DeliverThenCrash(number, kept) => {
            let Envelope { from, message, .. } = &*model.envelopes.get(number);
            format!("  {node} gets of {from}, and crashes with {kept} records kept: {message:?}\n")
        }
        Event::Sync
        | Event::Crash(_)
        | Event::Stand
        | Event::StepDown
        | Event::Offer
        | Event::Readmit
        | Event::Fire(_)
        | Event::FireLearner(_)
        | Event::Read
        | Event::Restart => format!("  {node}: {event:?}\n"),
    }
}

/// The names of witnesses that are lacking.
pub(crate) fn lacking(found: &Found, needed: &[Witness]) -> Vec<Witness> {
    needed.iter().copied().filter(|witness| found.witnesses & witness.bit() == 0).collect()
}

/// An assertion of a role that fails in the model is a finding, told with its text; it need not be printed beside it.
fn silence_expected_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let checker = std::thread::current().name().is_some_and(|name| name.starts_with("checker-"));
            if !checker || !crate::events::is_expected() {
                usual(panic);
            }
        }));
    });
}
