//! One run of one plan: a safety phase with faults, a liveness phase without, and the verdict on everything that clients saw.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use synod_checker::{Rejected, certificate, search};
use synod_protocol::{LearnerId, NodeId, Slot};

use crate::client::PROBES;
use crate::coverage::{Coverage, Seen};
use crate::node::Process;
use crate::plan::{Plan, Us, Weather};
use crate::story::{Story, Teller};
use crate::violation::{Check, Violation, check};
use crate::world::{Event, World};

/// Events that a run has at least.
pub const LEAST_EVENTS: u64 = 10_000;
/// What is left to be done after the faults (restarts, catching up, healing) must be done within so many times ten election timeouts.
const SLACK: u64 = 40;
/// Rounds of healing that one slot may take.
const ROUNDS_OF_A_SLOT: u64 = 4;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed of its plan.
    pub seed: u64,
    /// Events that happened.
    pub events: u64,
    /// Virtual time that passed.
    pub virtual_us: Us,
    /// What was seen.
    pub coverage: Coverage,
    /// A hash of all that happened: equal in every run of the same plan.
    pub trace_hash: u64,
    /// What was wrong, if anything.
    pub violation: Option<Violation>,
}

/// Runs a plan; every line of its story goes to `tell`, if somebody listens.
pub fn run(plan: &Plan, tell: Option<&mut dyn FnMut(String)>) -> Outcome {
    silence_panics();
    let mut world = World::new(plan.clone(), Story::new(tell));
    RUNS.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| phases(&mut world)));
    RUNS.set(false);
    let violation = match result {
        Ok(result) => result.err(),
        Err(_) => {
            let what = PANIC.with_borrow_mut(std::mem::take);
            Some(Violation { rule: "panic", what })
        }
    };
    if let Some(violation) = &violation {
        let now = world.now;
        world.story.note(now, || format!("VIOLATION of {violation}"));
    }
    Outcome {
        seed: plan.seed,
        events: world.events,
        virtual_us: world.now,
        trace_hash: world.story.trace_hash(),
        coverage: world.coverage,
        violation,
    }
}

thread_local! {
    /// The last panic of a run on this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static RUNS: RefCell<bool> = const { RefCell::new(false) };
}

/// An assertion that fails in a run is a finding to be reported, not noise on the terminal; panics elsewhere are told as ever.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if RUNS.with_borrow(|runs| *runs) {
                PANIC.with_borrow_mut(|panic| *panic = info.to_string());
            } else {
                usual(info);
            }
        }));
    });
}

fn phases<T: Teller>(world: &mut World<T>) -> Check {
    let faulty_us = world.plan.faulty_us;
    world.run(faulty_us, |_| false)?;
    // A quiet plan goes on until enough has happened.
    world.run(20 * faulty_us, |world| world.events >= LEAST_EVENTS)?;
    calm(world)?;
    let target = world.ledger.prefix();
    resume(world)?;
    catch_up(world, target)?;
    relearn(world, target)?;
    judge(world)
}

/// The faults end, or become permanent on a minority.
fn calm<T: Teller>(world: &mut World<T>) -> Check {
    world.story.note(world.now, || "the faults end".to_string());
    world.is_calm = true;
    world.is_calling = false;
    world.network.heal();
    let Weather { latency_us, ordered, .. } = world.weather;
    world.weather = Weather { lost: 0, repeated: 0, late: 0, late_us: 0, latency_us, ordered };
    for place in 0..world.nodes.len() {
        if world.nodes[place].has_old_disk {
            world.swap_disk(place, false);
        }
    }
    let dead = mourn(world);
    let cut: Vec<(usize, usize)> =
        world.plan.ending.cut.iter().map(|(from, to)| (world.place(*from), world.place(*to))).collect();
    world.network.cut(&cut, true);
    world.coverage.add(Seen::PermanentDead, u64::from(!dead.is_empty()));
    world.coverage.add(Seen::PermanentCut, u64::from(!cut.is_empty()));
    for place in 0..world.nodes.len() {
        let now = world.now;
        let node = &mut world.nodes[place];
        node.clock.set_rate(now, 1000);
        node.paused_until = 0;
        node.slowness = 1;
        (node.is_full, node.is_failing) = (false, false);
        if let Some(disk) = &node.disk {
            disk.limit(None);
            disk.clear_faults();
        }
        if dead.contains(&place) {
            node.gone = true;
            world.end(place, false);
        } else if node.is_up() {
            world.wake_anew(place);
        } else if !node.gone && !matches!(node.id, NodeId::Client(_)) {
            world.start_later(place, 0, 1_000);
        }
    }
    world.ledger.watch();
    let probe = world.place(world.seating.probe());
    let life = world.nodes[probe].life;
    world.after(1_000, Event::Start { place: probe, life });
    Ok(())
}

/// Who never comes back: as planned, but acceptors whose disk is lost count among those that may.
fn mourn<T: Teller>(world: &World<T>) -> Vec<usize> {
    let is_acceptor = |place: &usize| matches!(world.nodes[*place].id, NodeId::Acceptor(_));
    let gone: Vec<usize> = (0..world.nodes.len())
        .filter(is_acceptor)
        .filter(|place| world.nodes[*place].gone || world.nodes[*place].is_replaced)
        .collect();
    let mut spare = world.plan.spare_disks().saturating_sub(gone.len());
    let mut dead = Vec::new();
    for place in world.plan.ending.dead.iter().map(|node| world.place(*node)) {
        if !is_acceptor(&place) {
            dead.push(place);
        } else if spare > 0 && !gone.contains(&place) {
            spare -= 1;
            dead.push(place);
        }
    }
    dead
}

/// I15: a command proposed after the faults is chosen within ten election timeouts, and calls end well.
fn resume<T: Teller>(world: &mut World<T>) -> Check {
    let end = world.now + world.patience_us();
    let resumed = world.run(end, |world| world.ledger.resumed)?;
    check(resumed, "I15", || "nothing was chosen within ten election timeouts after the faults".to_string())?;
    let end = world.now + SLACK * world.patience_us();
    let answered = world.run(end, |world| {
        let probe = world.place(world.seating.probe());
        let done = |process: &Process| matches!(process, Process::Client(probe) if probe.answered >= PROBES);
        let idle = |process: &Process| match process {
            Process::Client(client) => client.is_probe || client.is_idle(),
            Process::Acceptor(_) | Process::Proposer(_) | Process::Learner(_) => true,
        };
        world.nodes[probe].process.as_ref().is_some_and(done)
            && world.nodes.iter().filter_map(|node| node.process.as_ref()).all(idle)
    })?;
    check(answered, "I15", || "calls don't end long after the faults".to_string())
}

/// Learners and acceptors make up for what they missed.
fn catch_up<T: Teller>(world: &mut World<T>, target: Slot) -> Check {
    // Healing keeps to a rate: with the smallest chunks a slot takes some rounds of it.
    let healing_us = target.0 * ROUNDS_OF_A_SLOT * world.plan.cluster.tuning.heal_ms * 1_000;
    let end = world.now + SLACK * world.patience_us() + healing_us;
    let lacking = |world: &World<T>| -> Option<(NodeId, Slot)> {
        let cut: Vec<NodeId> = world.plan.ending.cut.iter().flat_map(|(from, to)| [*from, *to]).collect();
        world.nodes.iter().filter(|node| !cut.contains(&node.id)).find_map(|node| match &node.process {
            Some(Process::Acceptor(voter)) => {
                let held = voter.role.durable().head().held;
                (held < target).then_some((node.id, held))
            }
            Some(Process::Learner(scribe)) => {
                let applied = scribe.role.machine().applied();
                (applied < target).then_some((node.id, applied))
            }
            Some(Process::Proposer(_) | Process::Client(_)) | None => None,
        })
    };
    let done = world.run(end, |world| lacking(world).is_none())?;
    check(done, "I15", || {
        format!("long after the faults one is still behind slot {target}: {:?}", lacking(world))
    })?;
    truncate(world)
}

/// The floor follows what enough learners have synced, though others are dead.
fn truncate<T: Teller>(world: &mut World<T>) -> Check {
    let alive: Vec<LearnerId> = world
        .nodes
        .iter()
        .filter(|node| node.is_up())
        .filter_map(|node| match node.id {
            NodeId::Learner(id) => Some(id),
            NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Client(_) => None,
        })
        .collect();
    let droppable = world.ledger.droppable(&alive);
    let end = world.now + SLACK * world.patience_us();
    let done = world.run(end, |world| world.ledger.floor() > droppable)?;
    check(done, "I14", || {
        format!(
            "enough learners have synced slot {droppable}, but no acceptor's floor is above {}",
            world.ledger.floor()
        )
    })
}

/// I8: whatever was chosen can be learned again. While no acceptor has dropped a slot, by learners that all know nothing; otherwise by learners that
/// go on from their checkpoints, an observer that joins and, then, one that has lost its disk (I10).
fn relearn<T: Teller>(world: &mut World<T>, target: Slot) -> Check {
    let is_kept = world.ledger.floor() == Slot::FIRST;
    let latecomer = world.place(world.plan.latecomer().into());
    let mut learners: Vec<usize> = (0..world.nodes.len()).filter(|place| world.is_learning(*place)).collect();
    for place in learners.clone() {
        world.restart_learner(place, is_kept);
    }
    world.nodes[latecomer].gone = false;
    world.start_later(latecomer, 0, 1_000);
    learners.push(latecomer);
    learn(world, &learners, target)?;
    if !is_kept && learners.len() > 2 {
        world.restart_learner(learners[0], true);
        learn(world, &learners, target)?;
    }
    for place in learners {
        let Some(Process::Learner(scribe)) = &world.nodes[place].process else { continue };
        world.ledger.is_state(world.nodes[place].id, scribe.role.machine())?;
    }
    Ok(())
}

fn learn<T: Teller>(world: &mut World<T>, learners: &[usize], target: Slot) -> Check {
    let end = world.now + SLACK * world.patience_us();
    let lacks = |world: &World<T>, place: &usize| !matches!(&world.nodes[*place].process, Some(Process::Learner(scribe)) if scribe.role.machine().applied() >= target);
    let done = world.run(end, |world| !learners.iter().any(|place| lacks(world, place)))?;
    check(done, "I8", || {
        let lacking: Vec<_> =
            learners.iter().filter(|place| lacks(world, place)).map(|place| world.nodes[*place].id).collect();
        format!("{lacking:?} can't learn again the {target} slots that were chosen")
    })
}

/// I9: what clients saw is linearizable, by two checkers that don't trust each other.
fn judge<T: Teller>(world: &mut World<T>) -> Check {
    let files = world
        .nodes
        .iter()
        .filter(|node| matches!(node.id, NodeId::Acceptor(_)))
        .filter_map(|node| node.disk.as_ref())
        .map(|disk| disk.files().len() as u64);
    world.coverage.add(Seen::SegmentMoved, files.map(|files| files.saturating_sub(2)).sum());
    world.count_dropped_segments();
    let reject = |rejected: Rejected| Violation { rule: "I9", what: rejected.to_string() };
    certificate(&world.history).map_err(reject)?;
    search(&world.history).map_err(reject)?;
    Ok(())
}

impl<T: Teller> World<T> {
    fn is_learning(&self, place: usize) -> bool {
        matches!(self.nodes[place].process, Some(Process::Learner(_)))
    }

    fn restart_learner(&mut self, place: usize, without_disk: bool) {
        match self.nodes[place].id {
            NodeId::Learner(id) if without_disk => self.wipe_disk(id, 1_000),
            NodeId::Acceptor(_) | NodeId::Proposer(_) | NodeId::Learner(_) | NodeId::Client(_) => {
                self.end(place, false);
                self.start_later(place, 0, 1_000);
            }
        }
    }

    /// The first segment of a journal is number 1, as long as it is there.
    fn count_dropped_segments(&mut self) {
        let acceptors = self.nodes.iter().filter(|node| matches!(node.id, NodeId::Acceptor(_)));
        let first_of = |files: Vec<String>| files.into_iter().find(|name| name.starts_with("segment-"));
        let firsts = acceptors.filter_map(|node| first_of(node.disk.as_ref()?.files()));
        let dropped = firsts.filter(|name| !name.ends_with("0000000000000001")).count();
        self.coverage.add(Seen::SegmentDropped, dropped as u64);
    }

    /// A process that was paused goes on.
    fn wake_anew(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.wake_at = None;
        if !node.inbox.is_empty() {
            self.wake_when_ready(place);
        }
    }
}
