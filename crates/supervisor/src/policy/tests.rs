//! The policy under many seeds: limits hold, the same seed repeats, backoff grows and is forgotten.

use super::*;
use synod_protocol::{AcceptorId, ProposerId};

fn cluster(acceptors: u16, proposers: u16, learners: u16) -> Cluster {
    let mut text = String::from("name = \"test\"\n");
    for (table, count, base) in
        [("acceptors", acceptors, 100), ("proposers", proposers, 200), ("learners", learners, 300)]
    {
        for id in 1..=count {
            text += &format!("[[{table}]]\nid = {id}\naddress = \"127.0.0.1:{}\"\n", base + id);
        }
    }
    Cluster::parse(&text, &[]).unwrap()
}

fn wishes(kinds: &[Kind]) -> Wishes {
    Wishes {
        interval_ms: 2_000,
        downtime_ms: (100, 900),
        kinds: kinds.iter().copied().collect(),
        at_once: None,
        beyond_quorum: false,
    }
}

#[test]
fn restarts_come_slower_with_each_death_and_a_healthy_life_is_forgiven() {
    let mut backoff = Backoff::default();
    let waits: Vec<_> = (0..9).map(|_| backoff.on_death(50)).collect();
    let in_ms: Vec<_> = waits.iter().map(|restart| restart.in_ms).collect();
    assert_eq!(in_ms, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
    let named = waits.iter().filter(|restart| restart.crash_loop).map(|restart| restart.deaths);
    assert_eq!(named.collect::<Vec<_>>(), [3, 6]);
    assert_eq!(backoff.on_death(HEALTHY_MS), Restart { in_ms: 100, deaths: 1, crash_loop: false });
    for _ in 0..100 {
        assert!(backoff.on_death(HEALTHY_MS - 1).in_ms <= BACKOFF_MAX_MS);
    }
}

#[test]
fn the_same_seed_and_observations_give_the_same_kills() {
    let run = |seed| {
        let mut chaos = Chaos::new(seed, wishes(&[Kind::Acceptor]), &cluster(5, 3, 3)).unwrap();
        (0..20).map(|_| (chaos.next_ms(), chaos.pick(&BTreeSet::new()))).collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn chaos_never_takes_more_than_the_quorums_survive() {
    let cluster = cluster(5, 3, 3);
    for seed in 0..200 {
        let mut chaos =
            Chaos::new(seed, wishes(&[Kind::Acceptor, Kind::Proposer, Kind::Learner]), &cluster).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut down = BTreeSet::new();
        let mut kills = 0;
        for _ in 0..100 {
            let next_ms = chaos.next_ms();
            assert!((1_000..=3_000).contains(&next_ms), "seed {seed}: {next_ms}");
            match chaos.pick(&down) {
                Some(kill) => {
                    assert!((100..=900).contains(&kill.downtime_ms), "seed {seed}: {kill:?}");
                    assert!(down.insert(kill.node), "seed {seed}: {kill:?} was down already");
                    kills += 1;
                }
                None => assert_eq!(down.len(), chaos.at_once(), "seed {seed}: {down:?}"),
            }
            for kind in [Kind::Acceptor, Kind::Proposer, Kind::Learner] {
                let of_kind = down.iter().filter(|node| Kind::of(**node) == Some(kind)).count();
                assert!(of_kind <= kind.survivable(&cluster), "seed {seed}: {down:?}");
            }
            if random.random_bool(0.5) {
                down.pop_first();
            }
        }
        assert!(kills > 20, "seed {seed}: only {kills} kills");
    }
}

#[test]
fn processes_that_are_down_by_themselves_count_too() {
    let mut chaos = Chaos::new(1, wishes(&[Kind::Acceptor]), &cluster(5, 3, 3)).unwrap();
    let down: BTreeSet<NodeId> = [AcceptorId(1).into(), AcceptorId(2).into()].into();
    assert_eq!(chaos.pick(&down), None);
    let other: BTreeSet<NodeId> = [AcceptorId(1).into(), ProposerId(1).into(), ProposerId(2).into()].into();
    assert!(
        chaos.pick(&other).is_some_and(|kill| !other.contains(&kill.node)),
        "proposers are none of its kinds"
    );
}

#[test]
fn going_beyond_the_quorums_must_be_said() {
    let cluster = cluster(5, 1, 1);
    let three = Wishes { at_once: Some(3), ..wishes(&[Kind::Acceptor]) };
    let refused = Chaos::new(1, three.clone(), &cluster).unwrap_err();
    assert_eq!(refused, ChaosError::TooMany { at_once: 3, most: 2 });
    let mut chaos = Chaos::new(1, Wishes { beyond_quorum: true, ..three }, &cluster).unwrap();
    let mut down = BTreeSet::new();
    while let Some(kill) = chaos.pick(&down) {
        down.insert(kill.node);
    }
    assert_eq!(down.len(), 3);
    let alone = Chaos::new(1, wishes(&[Kind::Learner, Kind::Proposer]), &cluster).unwrap_err();
    assert!(matches!(alone, ChaosError::Nothing { .. }), "{alone}");
    let never = Wishes { at_once: Some(0), ..wishes(&[Kind::Acceptor]) };
    assert!(matches!(Chaos::new(1, never, &cluster), Err(ChaosError::Nothing { .. })));
}

#[test]
fn asymmetric_quorums_are_heeded() {
    let mut flexible = cluster(5, 1, 1);
    flexible.quorums = synod_protocol::QuorumSystem::flexible((1..=5).map(AcceptorId), 4, 2).unwrap();
    let chaos = Chaos::new(1, wishes(&[Kind::Acceptor]), &flexible).unwrap();
    assert_eq!(chaos.at_once(), 1);
}
