//! What may still fail, in tables, and against every way in which it can.

use super::*;

fn quorums(count: u16, phase1: usize, phase2: usize) -> QuorumSystem {
    QuorumSystem::flexible((1..=count).map(AcceptorId), phase1, phase2).unwrap()
}

/// Acceptors in order: `.` whole, `f` full, `b` behind, `B` behind and full, `-` down, `w` not open, `p` prepared.
fn assessed(quorums: &QuorumSystem, acceptors: &str, led: bool) -> Acceptors {
    let (mut voters, mut unopened) = (Vec::new(), Vec::new());
    for (id, state) in (1..).map(AcceptorId).zip(acceptors.chars()) {
        let (lacks, full) = (if "bB".contains(state) { 12_031 } else { 1_024 }, "fB".contains(state));
        match state {
            '-' => {}
            'w' | 'p' => unopened.push(Unopened { id, prepared: state == 'p' }),
            _ => voters.push(Voter { id, lacks, full }),
        }
    }
    super::acceptors(quorums, &voters, &unopened, led)
}

#[test]
fn how_many_more_acceptors_may_fail() {
    // Acceptors, quorum sizes, who is how; whether commands are chosen and a leader elected, and how many more may fail.
    for (sizes, acceptors, expected) in [
        ((5, 3, 3), ".....", (true, true, 2)),
        ((5, 3, 3), "....-", (true, true, 1)),
        ((5, 3, 3), "...--", (true, true, 0)),
        ((5, 3, 3), "..---", (false, false, 0)),
        ((5, 3, 3), "...b.", (true, true, 1)),
        ((5, 3, 3), "...bb", (true, true, 0)),
        ((5, 3, 3), "..bbb", (true, true, 0)),
        ((5, 3, 3), "....f", (true, true, 1)),
        ((5, 3, 3), "...ff", (true, true, 0)),
        ((5, 3, 3), "..fff", (false, true, 0)),
        ((5, 3, 3), "....B", (true, true, 1)),
        ((5, 3, 3), "...bf", (true, true, 0)),
        ((5, 3, 3), "....w", (true, true, 1)),
        ((3, 2, 2), "...", (true, true, 1)),
        ((1, 1, 1), ".", (true, true, 0)),
        ((4, 3, 3), "....", (true, true, 1)),
        // A new leader needs more than the present one.
        ((5, 4, 2), ".....", (true, true, 1)),
        ((5, 4, 2), "....-", (true, true, 0)),
        ((5, 4, 2), "...--", (true, false, 0)),
        ((5, 4, 2), ".----", (false, false, 0)),
        // Commands need more than a new leader: full disks count against them alone.
        ((5, 2, 4), ".....", (true, true, 1)),
        ((5, 2, 4), "...--", (false, true, 0)),
        ((5, 2, 4), "....f", (true, true, 0)),
        ((6, 4, 3), "....ff", (true, true, 1)),
        ((6, 4, 3), "...fff", (true, true, 0)),
    ] {
        let (count, phase1, phase2) = sizes;
        let found = assessed(&quorums(count, phase1, phase2), acceptors, true);
        let found = (found.quorum, found.electable, found.more_failures);
        assert_eq!(found, expected, "{sizes:?} {acceptors}");
    }
}

#[test]
fn no_leader_and_no_quorum_to_elect_one_choose_nothing() {
    let flexible = quorums(5, 4, 2);
    assert!(assessed(&flexible, "...--", true).quorum);
    assert!(!assessed(&flexible, "...--", false).quorum);
}

/// By hand: whatever fails next, as many as it says may fail.
#[test]
fn what_may_fail_may_be_any_of_those_that_are_up() {
    for (count, phase1, phase2) in [(3, 2, 2), (4, 3, 2), (5, 3, 3), (5, 4, 2), (5, 2, 4)] {
        let quorums = quorums(count, phase1, phase2);
        for code in 0..4_u32.pow(count.into()) {
            let state = |at: u16| [".", "f", "b", "-"][(code >> (2 * at) & 3) as usize];
            let states: String = (0..count).map(state).collect();
            let verdict = assessed(&quorums, &states, false);
            if !verdict.quorum {
                continue;
            }
            for failing in 0..1_u32 << count {
                let gone = |at: usize| failing >> at & 1 == 1;
                if failing.count_ones() as usize > verdict.more_failures {
                    continue;
                }
                let left: String =
                    states.char_indices().map(|(at, state)| if gone(at) { '-' } else { state }).collect();
                assert!(assessed(&quorums, &left, false).quorum, "{states}, then {left}");
                let whole = left.chars().filter(|state| ".f".contains(*state)).count();
                let nothing_failed = failing == 0;
                assert!(nothing_failed || whole >= phase1, "{states}, then {left}: too few hold everything");
            }
        }
    }
}

#[test]
fn the_words_say_why() {
    let five = quorums(5, 3, 3);
    for (acceptors, expected) in [
        (".....", "2 more acceptors may fail (3 of 5 needed, 5 up)"),
        (
            "...b.",
            "1 more acceptor may fail: a4 is still catching up, 12,031 slots to go (3 of 5 needed, 5 up)",
        ),
        ("....f", "1 more acceptor may fail: a5 has a full disk (3 of 5 needed, 5 up)"),
        (
            "-w...",
            "no more acceptor may fail: a2 isn't open, see `synod admin readmit-acceptor a2`; 3 of 5 acceptors needed, 3 up",
        ),
        (
            "..fff",
            "nothing new can be chosen: a3 has a full disk; a4 has a full disk; a5 has a full disk (3 of 5 with room needed, 5 up)",
        ),
        ("..---", "no quorum: 3 of 5 acceptors needed, 2 up"),
        (
            "..w--",
            "no quorum: 3 of 5 acceptors needed, 2 up; a3 isn't open, see `synod admin readmit-acceptor a3`",
        ),
        ("..p--", "no quorum: 3 of 5 acceptors needed, 2 up; a3 isn't open, see `synod admin form`"),
        ("wwwww", "not formed: 5 of 5 acceptors wait for `synod admin form`"),
    ] {
        assert_eq!(assessed(&five, acceptors, false).verdict(), expected);
    }
    let text = assessed(&quorums(5, 4, 2), "...--", true).verdict();
    assert_eq!(text, "no leader could be elected after this one: 4 of 5 acceptors needed, 3 up");
}

#[test]
fn s8_learners_count_if_they_hold_what_acceptors_dropped() {
    // Configured, synced slots of those that answer, the acceptors' floor; how many more may fail, and the words.
    for (count, synced, floor, more, words) in [
        (3, &[99, 99, 120][..], 100, 2, "2 more learners may fail (1 of 3 needed, 3 up)"),
        (3, &[98, 99, 120], 100, 1, "1 more learner may fail (1 of 3 needed, 3 up)"),
        (
            3,
            &[0, 99, 98],
            100,
            0,
            "l2 may not fail: no other has synced what acceptors dropped below slot 100 (1 of 3 needed, 3 up)",
        ),
        // Nothing was dropped: acceptors have everything.
        (3, &[0, 0, 0], 1, 2, "2 more learners may fail (1 of 3 needed, 3 up)"),
        (
            3,
            &[50],
            10,
            0,
            "no more learner may fail (1 of 3 needed, 1 up); acceptors keep everything until 2 are up",
        ),
        (
            3,
            &[5, 6],
            10,
            0,
            "none that answers has synced what acceptors dropped below slot 10; start the others with their data directories (1 of 3 \
             needed, 2 up)",
        ),
        (3, &[], 10, 0, "none serves: 1 of 3 needed"),
        (1, &[9], 10, 0, "no more learner may fail (1 of 1 needed, 1 up)"),
    ] {
        let answering = (1..).map(LearnerId).zip(synced);
        let answering: Vec<_> =
            answering.map(|(id, synced)| Holder { id, synced: Slot(*synced), in_doubt: false }).collect();
        let found = learners(count, &answering, Slot(floor));
        assert_eq!((found.more_failures, found.verdict().as_str()), (more, words));
    }
    let doubtful = Holder { id: LearnerId(1), synced: Slot(99), in_doubt: true };
    assert_eq!(learners(1, &[doubtful], Slot(1)).up, 0, "whoever is in doubt serves nobody");
}
