//! What the answers of processes mean, and how it reads.

use super::*;
use synod_protocol::message::{AcceptorStatus, ProposerStatus};
use synod_protocol::{AcceptorId, Ballot, DiskId, LearnerId, ProposerId, Slot};

fn cluster() -> Cluster {
    let mut text = String::from("name = \"test\"\n");
    for (table, count, port) in [("acceptors", 5, 7100), ("proposers", 2, 7200), ("learners", 1, 7300)] {
        for id in 1..=count {
            text += &format!("[[{table}]]\nid = {id}\naddress = \"127.0.0.1:{}\"\n", port + id);
        }
    }
    Cluster::parse(&text, &[]).unwrap()
}

fn ballot(round: u64, proposer: u16) -> Ballot {
    Ballot { round, proposer: ProposerId(proposer), life: 3 }
}

fn acceptor(formation: Formation) -> Status {
    Status::Acceptor(AcceptorStatus {
        formation,
        promised: ballot(5, 2),
        silent: false,
        floor: Slot(1),
        held: Slot(10),
        highest: Slot(12),
        full: false,
    })
}

fn open(cluster: u128) -> Formation {
    Formation::Open { formation: 1, disk: DiskId(2), disks: Vec::new(), cluster: ClusterId(cluster) }
}

fn leading(round: u64, proposer: u16) -> Status {
    Status::Proposer(ProposerStatus {
        phase: PhaseName::Leading,
        ballot: ballot(round, proposer),
        chosen: Slot(12),
        floor: Slot(1),
        in_flight: 1,
        queued_bytes: 0,
        retained_bytes: 0,
        learners: Vec::new(),
        held: Vec::new(),
        full: Vec::new(),
    })
}

/// All acceptors are up, and some of them lack so many slots.
fn lacking(slots: &[u64]) -> ClusterStatus {
    let cluster = cluster();
    let chosen = 1_000_000;
    let mut answers: BTreeMap<NodeId, Status> = BTreeMap::new();
    for (id, slots) in (1..).zip(slots) {
        let Status::Acceptor(mut status) = acceptor(open(7)) else { unreachable!() };
        status.held = Slot(chosen - slots);
        answers.insert(AcceptorId(id).into(), Status::Acceptor(status));
    }
    let Status::Proposer(mut leader) = leading(5, 2) else { unreachable!() };
    leader.chosen = Slot(chosen);
    answers.insert(ProposerId(2).into(), Status::Proposer(leader));
    let all = cluster.nodes().map(|(node, address)| {
        let answer = answers.get(&node).cloned().ok_or_else(|| "connection refused".to_string());
        (node, address.to_string(), answer)
    });
    assess(&cluster, all.collect())
}

#[test]
fn only_acceptors_that_hold_everything_count_for_what_may_fail() {
    for (slots, expected) in [
        (&[0, 0, 5, 1_024, 0][..], "2 more acceptors may fail (3 of 5 needed, 5 up)"),
        (
            &[0, 0, 0, 12_031, 0],
            "1 more acceptor may fail: a4 is still catching up, 12,031 slots to go (3 of 5 needed, 5 up)",
        ),
        (
            &[0, 0, 0, 1_025, 999_999],
            "no more acceptor may fail: a4 is still catching up, 1,025 slots to go; a5 is still catching up, 999,999 slots to go; 3 of 5 \
             acceptors needed, 5 up",
        ),
        (
            &[0, 0, 1_000_000, 0],
            "no more acceptor may fail: a3 is still catching up, 1,000,000 slots to go; 3 of 5 acceptors needed, 4 up",
        ),
        (&[0, 0], "no quorum: 3 of 5 acceptors needed, 2 up"),
    ] {
        assert_eq!(lacking(slots).acceptors.verdict(), expected);
    }
}

/// The first acceptors answer with these formations; the rest doesn't answer.
fn assessed(formations: Vec<Formation>) -> ClusterStatus {
    let cluster = cluster();
    let learner = LearnerStatus {
        applied: Slot(12),
        known: Slot(13),
        chain: 255,
        keys: 4,
        sessions: 1,
        waiting_reads: 0,
        leader: ballot(5, 2),
        synced: Slot(9),
        engine: "memory".into(),
        full: false,
        in_doubt: false,
        transfer: None,
        serving: None,
    };
    let mut answers: BTreeMap<NodeId, Status> =
        (1..).zip(formations).map(|(id, formation)| (AcceptorId(id).into(), acceptor(formation))).collect();
    answers.insert(ProposerId(1).into(), leading(3, 1));
    answers.insert(ProposerId(2).into(), leading(5, 2));
    answers.insert(LearnerId(1).into(), Status::Learner(learner));
    let all = cluster.nodes().map(|(node, address)| {
        let answer = answers.get(&node).cloned().ok_or_else(|| "connection refused".to_string());
        (node, address.to_string(), answer)
    });
    assess(&cluster, all.collect())
}

#[test]
fn it_tells_how_many_more_acceptors_may_fail() {
    for (up, expected, quorum) in [
        (5, "2 more acceptors may fail (3 of 5 needed, 5 up)", true),
        (4, "1 more acceptor may fail (3 of 5 needed, 4 up)", true),
        (3, "no more acceptor may fail: 3 of 5 acceptors needed, 3 up", true),
        (2, "no quorum: 3 of 5 acceptors needed, 2 up", false),
    ] {
        let status = assessed(vec![open(7); up]);
        assert_eq!((status.acceptors.verdict().as_str(), status.acceptors.quorum), (expected, quorum));
    }
    let unformed = assessed(vec![Formation::Empty; 5]);
    assert_eq!(unformed.acceptors.verdict(), "not formed: 5 of 5 acceptors wait for `synod admin form`");
    let strangers = assessed(vec![open(7), open(7), open(8), Formation::Empty]);
    assert_eq!(
        strangers.acceptors.verdict(),
        "no quorum: 3 of 5 acceptors needed, 2 up; a4 isn't open, see `synod admin readmit-acceptor a4`"
    );
}

#[test]
fn the_leader_is_the_one_with_the_highest_ballot() {
    let leader = assessed(vec![open(7); 5]).leader.unwrap();
    assert_eq!((leader.proposer.as_str(), leader.ballot.as_str(), leader.chosen), ("p2", "5.p2", 12));
}

#[test]
fn the_table_is_narrow_and_tells_why_a_process_is_not_up() {
    let text = assessed(vec![open(7); 3]).to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let row = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap().to_string();
    assert!(row("a4").contains("no") && row("a4").ends_with("connection refused"));
    assert!(row("a1").contains("open") && row("a1").contains("5.p2") && row("a1").ends_with("floor 1"));
    assert!(row("a1").contains("held 10") && row("a1").contains("lacks 2 "));
    assert!(row("p2").contains("leading") && row("l1").contains("applied 12"));
    assert!(row("l1").contains("synced 9") && row("l1").contains("memory"));
    let columns: std::collections::BTreeSet<_> =
        text.lines().skip(5).map(|line| line.find("127.").or(line.find("ADDRESS")).unwrap()).collect();
    assert_eq!(columns.len(), 1, "{text}");
}

#[test]
fn json_tells_the_same() {
    let json = serde_json::to_value(assessed(vec![open(7); 3])).unwrap();
    assert_eq!(json["leader"]["ballot"], "5.p2");
    assert_eq!(json["acceptors"]["more_failures"], 0);
    assert_eq!(json["processes"][0]["state"]["formation"], "open");
    assert_eq!(json["processes"][3]["trouble"], "connection refused");
    assert_eq!(json["processes"][7]["state"]["keys"], 4);
}
