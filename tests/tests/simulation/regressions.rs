//! Runs that found bugs of ours, each with the bug planted again: the run must still show it, and keep every promise without it.

use synod_planted::{Bug, plant};
use synod_protocol::{NodeId, QuorumSystem};
use synod_simulator::{Plan, run};

/// After the faults only p1 reaches every acceptor; the other two proposers reach those of the first `reached` only.
fn partial_partition(seed: u64, reached: u16) -> Plan {
    let mut plan = Plan::draw(seed);
    plan.ending.dead.clear();
    plan.ending.cut = plan
        .cluster
        .proposers
        .keys()
        .skip(1)
        .flat_map(|proposer| {
            plan.cluster.quorums.acceptors().filter(|acceptor| acceptor.0 > reached).map(|acceptor| {
                [
                    (NodeId::from(*proposer), NodeId::from(acceptor)),
                    (NodeId::from(acceptor), NodeId::from(*proposer)),
                ]
            })
        })
        .flatten()
        .collect();
    plan
}

#[test]
fn explore_regressions() {
    for (bug, reached) in [(Bug::HintsAlwaysFollowed, 0), (Bug::StandsWithoutPhase2Quorum, 99)] {
        for seed in 1..400 {
            let mut plan = Plan::draw(seed);
            if plan.cluster.proposers.len() < 3 {
                continue;
            }
            if reached == 0 {
                plan = partial_partition(seed, 0);
            } else {
                if plan.cluster.quorums.count() < 5 {
                    continue;
                }
                plan = partial_partition(seed, 3);
                plan.cluster.quorums =
                    QuorumSystem::flexible(plan.cluster.quorums.acceptors().collect::<Vec<_>>(), 2, 4)
                        .unwrap();
            }
            plant(Some(bug));
            let with = run(&plan, None).violation;
            plant(None);
            let without = run(&plan, None).violation;
            if with.is_some() || without.is_some() {
                println!("{} {seed} with {with:?} without {without:?}", bug.name());
            }
        }
    }
}
