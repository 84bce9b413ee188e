//! Runs that found bugs of ours, each with the bug planted again: the run must still show it, and keep every promise without it.
//!
//! Both came out of partial partitions that outlast the faults; the plans here are drawn as ever, but for such an ending.

use std::ops::Range;

use synod_planted::{Bug, plant};
use synod_protocol::{NodeId, QuorumSystem};
use synod_simulator::{Plan, run};

/// The plans of those of the `seeds` that have three proposers, but after the faults everybody is alive, and only p1 reaches more than the first `reached`
/// acceptors.
fn partial_partitions(seeds: Range<u64>, reached: u16) -> impl Iterator<Item = Plan> {
    let drawn = seeds.map(Plan::draw).filter(|plan| plan.cluster.proposers.len() == 3);
    drawn.map(move |mut plan| {
        plan.ending.dead.clear();
        plan.ending.cut.clear();
        for proposer in plan.cluster.proposers.keys().skip(1).copied().map(NodeId::from) {
            for acceptor in plan.cluster.quorums.acceptors().filter(|acceptor| acceptor.0 > reached) {
                plan.ending.cut.extend([(proposer, acceptor.into()), (acceptor.into(), proposer)]);
            }
        }
        plan
    })
}

/// Finds plans that show the bug when it is planted, and sees that they show nothing without it. Which seeds these are changes whenever
/// anything is drawn or done otherwise: then another range of seeds is to be found.
#[track_caller]
fn shows(bug: Bug, plans: impl Iterator<Item = Plan>, times: usize) {
    let mut shown = 0;
    for plan in plans {
        plant(Some(bug));
        let planted = run(&plan, None).violation;
        plant(None);
        assert_eq!(run(&plan, None).violation, None, "seed {} without a bug", plan.seed);
        if let Some(violation) = planted {
            println!("{}, seed {}: {violation}", bug.name(), plan.seed);
            shown += 1;
            if shown == times {
                return;
            }
        }
    }
    panic!("{} shows in {shown} of these seeds, fewer than {times}: find others", bug.name());
}

/// Two proposers that were cut off named an old leader and each other, and the client never asked the one that led.
#[test]
fn hints_in_a_circle_do_not_hide_the_leader() {
    shows(Bug::HintsAlwaysFollowed, partial_partitions(1..400, 0), 2);
}

/// Proposers that reached a Phase-1 quorum and no Phase-2 quorum won one election after the other, and chose nothing.
#[test]
fn whoever_reaches_no_phase2_quorum_deposes_nobody() {
    // It shows in one of some hundreds.
    let flexible =
        partial_partitions(400..1200, 3).filter(|plan| plan.cluster.quorums.count() == 5).map(|mut plan| {
            let acceptors: Vec<_> = plan.cluster.quorums.acceptors().collect();
            plan.cluster.quorums = QuorumSystem::flexible(acceptors, 2, 4).unwrap();
            plan
        });
    shows(Bug::StandsWithoutPhase2Quorum, flexible, 1);
}
