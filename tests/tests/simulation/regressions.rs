//! Runs that found bugs of ours, each with the bug planted again: the run must still show it, and keep every promise without it.
//!
//! Both came out of partial partitions that outlast the faults; the plans here are drawn as ever, but for such an ending.

use synod_planted::{Bug, plant};
use synod_protocol::{NodeId, QuorumSystem};
use synod_simulator::{Plan, run};

/// The plan of a seed, but after the faults everybody is alive, and only p1 reaches more than the first `reached` acceptors.
fn partial_partition(seed: u64, reached: u16) -> Plan {
    let mut plan = Plan::draw(seed);
    assert_eq!(
        plan.cluster.proposers.len(),
        3,
        "seed {seed} is drawn otherwise: find another that shows the bug"
    );
    plan.ending.dead.clear();
    plan.ending.cut.clear();
    for proposer in plan.cluster.proposers.keys().skip(1).copied().map(NodeId::from) {
        for acceptor in plan.cluster.quorums.acceptors().filter(|acceptor| acceptor.0 > reached) {
            plan.ending.cut.extend([(proposer, acceptor.into()), (acceptor.into(), proposer)]);
        }
    }
    plan
}

#[track_caller]
fn shows(bug: Bug, plan: &Plan) {
    plant(Some(bug));
    let planted = run(plan, None).violation;
    plant(None);
    let (seed, name) = (plan.seed, bug.name());
    match planted {
        Some(violation) => println!("{name}, seed {seed}: {violation}"),
        None => panic!("{name} isn't seen in seed {seed} any more: find another seed that shows it"),
    }
    assert_eq!(run(plan, None).violation, None, "seed {seed} without a bug");
}

/// Two proposers that were cut off named an old leader and each other, and the client never asked the one that led.
#[test]
fn hints_in_a_circle_do_not_hide_the_leader() {
    for seed in [20, 132, 135] {
        shows(Bug::HintsAlwaysFollowed, &partial_partition(seed, 0));
    }
}

/// Proposers that reached a Phase-1 quorum and no Phase-2 quorum won one election after the other, and chose nothing.
#[test]
fn whoever_reaches_no_phase2_quorum_deposes_nobody() {
    let mut plan = partial_partition(81, 3);
    let acceptors: Vec<_> = plan.cluster.quorums.acceptors().collect();
    plan.cluster.quorums = QuorumSystem::flexible(acceptors, 2, 4).unwrap();
    shows(Bug::StandsWithoutPhase2Quorum, &plan);
}
