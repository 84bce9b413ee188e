//! Every message from every kind of sender: only the right ones are taken, and what is refused changes nothing.

use super::*;
use bytes::Bytes;
use synod_protocol::message::{
    Attach, Chains, Fetch, NoSnapshot, NotTaken, Propose, SnapshotChunk, SnapshotFetch,
};

#[test]
fn messages_of_other_roles_and_of_strangers_are_refused_and_change_nothing() {
    let (a, p, l, c) = (AcceptorId(1).into(), ProposerId(2).into(), LearnerId(2).into(), C7.into());
    let strangers: [NodeId; 4] =
        [AcceptorId(6).into(), ProposerId(4).into(), LearnerId(0).into(), LearnerId(1).into()];
    let chunk =
        SnapshotChunk { slot: Slot(1), cursor: Bytes::new(), bytes: Bytes::new(), next: None, checksum: 1 };
    let messages: [(ToLearner, &[NodeId]); 13] = [
        (chosen(5, 2, 1, 1, &[filler(1)]), &[p]),
        (fetched(1, &[filler(1)], 1), &[a, l]),
        (reads::reply(LIFE + 1, 0), &[a]),
        (ToLearner::Refused { tag: 1, reason: NotTaken::Malformed }, &[p]),
        (ToLearner::Fetch(Fetch { first: Slot(1), last: Slot(1) }), &[l]),
        (
            ToLearner::SnapshotFetch(SnapshotFetch { slot: None, least: Slot(1), cursor: Bytes::new() }),
            &[l, c],
        ),
        (ToLearner::SnapshotChunk(chunk), &[l]),
        (ToLearner::NoSnapshot(NoSnapshot { slot: None, applied: Slot(1) }), &[l]),
        (ToLearner::Chains(Chains { told: vec![(Slot(1), 1)], asked: vec![] }), &[l]),
        (ToLearner::Attach(Attach::Nonce(1)), &[c]),
        (ToLearner::Read([read(1, Consistency::Stale)].into_iter().collect()), &[c]),
        (ToLearner::Forward(Propose { tag: 1, commands: filler(1) }), &[c]),
        (ToLearner::Status { request: 1 }, &[c]),
    ];
    for (message, senders) in messages {
        for from in [a, p, l, c].into_iter().chain(strangers) {
            let mut driver = Driver::new();
            let (before, mut effects) = (driver.learner.clone(), Effects::default());
            let result = driver.learner.on_message(from, message.clone(), &mut effects);
            assert_eq!(result.is_ok(), senders.contains(&from), "{message:?} from {from}");
            if result.is_err() {
                assert!(driver.learner == before && effects.is_empty(), "{message:?} from {from}");
            }
        }
    }
}

#[test]
fn s5_a_proposer_streams_in_its_own_ballot_only_and_slots_count_from_1() {
    let mut driver = Driver::new();
    let before = driver.learner.clone();
    let none = ToLearner::Chosen(Chosen {
        ballot: Ballot::NONE,
        prefix: Slot(1),
        first: Slot(1),
        values: vec![],
        withheld_bytes: 0,
    });
    for (from, message) in [
        (NodeId::from(ProposerId(1)), chosen(5, 2, 1, 1, &[filler(1)])),
        (ProposerId(1).into(), none),
        (AcceptorId(1).into(), fetched(0, &[filler(1)], 0)),
    ] {
        assert!(driver.learner.on_message(from, message, &mut Effects::default()).is_err());
    }
    assert_eq!(driver.learner, before);
}
