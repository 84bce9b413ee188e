//! Making a failure smaller: the same plan with fewer faults, fewer clients, a fair network, as long as it still breaks the same promise.

use std::fmt;

use synod_protocol::{ClientId, NodeId};

use crate::fault::Fault;
use crate::plan::{Plan, Weather};
use crate::trial;
use crate::violation::Violation;

/// Runs that one reduction may take.
const MOST_RUNS: usize = 400;

/// What is taken out of a plan. Prints as the flags that ask `synod-sim` for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduction {
    /// The faults that stay, by their number in the plan; all when absent.
    pub faults: Option<Vec<usize>>,
    /// How many clients stay; all when absent.
    pub clients: Option<u64>,
    /// Whether the network loses, repeats and delays nothing by itself.
    pub fair: bool,
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(faults) = &self.faults {
            let numbers: Vec<String> = faults.iter().map(ToString::to_string).collect();
            // An empty list would be no argument at all.
            write!(
                f,
                " --faults {}",
                if numbers.is_empty() { "none".to_string() } else { numbers.join(",") }
            )?;
        }
        if let Some(clients) = self.clients {
            write!(f, " --clients {clients}")?;
        }
        if self.fair { write!(f, " --fair") } else { Ok(()) }
    }
}

impl Reduction {
    /// The plan without what is taken out.
    pub fn of(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        if let Some(stay) = &self.faults {
            let mut number = 0;
            plan.faults.retain(|_| {
                number += 1;
                stay.contains(&(number - 1))
            });
        }
        if let Some(clients) = self.clients {
            plan.clients = clients.clamp(1, plan.clients);
            drop_clients(&mut plan);
        }
        if self.fair {
            let latency_us = plan.weather.latency_us;
            plan.weather = Weather { lost: 0, repeated: 0, late: 0, late_us: 0, latency_us, ordered: true };
        }
        plan
    }
}

/// Faults of clients that aren't there don't happen.
fn drop_clients(plan: &mut Plan) {
    let clients = plan.clients;
    let there = |node: &NodeId| !matches!(node, NodeId::Client(ClientId(id)) if *id > clients);
    plan.faults.retain_mut(|(_, fault)| match fault {
        Fault::Crash { nodes, .. } => {
            nodes.retain(there);
            !nodes.is_empty()
        }
        Fault::Cut { pairs, .. } => {
            pairs.retain(|(from, to)| there(from) && there(to));
            !pairs.is_empty()
        }
        Fault::Reset { one, other } => there(one) && there(other),
        Fault::Pause { node, .. } | Fault::Drift { node, .. } => there(node),
        Fault::PowerLoss { .. }
        | Fault::DiskError { .. }
        | Fault::FullDisk { .. }
        | Fault::SlowDisk { .. }
        | Fault::Depose { .. }
        | Fault::Rot { .. }
        | Fault::WipeDisk { .. }
        | Fault::CutShort { .. }
        | Fault::Join { .. }
        | Fault::ReplaceDisk { .. } => true,
    });
}

/// The smallest reduction found under which `plan` still breaks the rule that it broke in `found`, and how it breaks it.
pub fn shrink(plan: &Plan, found: &Violation) -> (Reduction, Violation) {
    let mut runs = 0;
    let mut fails = |reduction: &Reduction| -> Option<Violation> {
        runs += 1;
        if runs > MOST_RUNS {
            return None;
        }
        trial::run(&reduction.of(plan), None).violation.filter(|violation| violation.rule == found.rule)
    };
    let (mut best, mut how) = (Reduction::default(), found.clone());
    let mut adopt = |candidate: Reduction, best: &mut Reduction| -> bool {
        let Some(violation) = fails(&candidate) else { return false };
        (*best, how) = (candidate, violation);
        true
    };
    adopt(Reduction { faults: Some(Vec::new()), clients: Some(1), fair: true }, &mut best);
    adopt(Reduction { fair: true, ..best.clone() }, &mut best);
    if best.faults.is_none() {
        drop_faults(plan.faults.len(), &mut best, &mut adopt);
    }
    let clients = best.clients.unwrap_or(plan.clients);
    for fewer in 1..clients {
        if adopt(Reduction { clients: Some(fewer), ..best.clone() }, &mut best) {
            break;
        }
    }
    (best, how)
}

/// Leaves out ever smaller parts of the faults (Zeller's ddmin, 2002).
fn drop_faults(
    count: usize,
    best: &mut Reduction,
    adopt: &mut impl FnMut(Reduction, &mut Reduction) -> bool,
) {
    let mut stay: Vec<usize> = (0..count).collect();
    let mut part = count.div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < stay.len() {
            let mut fewer = stay.clone();
            fewer.drain(at..(at + part).min(stay.len()));
            if adopt(Reduction { faults: Some(fewer.clone()), ..best.clone() }, best) {
                stay = fewer;
            } else {
                at += part;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
}
