//! S10: quorum rounds, unsettled slots, limits.

use synod_protocol::{DiskAt, DiskId, Incarnation, Incarnations};

use super::*;

fn rounds(sent: &Sent) -> Vec<(NodeId, u64)> {
    let round = |message: &Message| match message {
        Message::Acceptor(ToAcceptor::QuorumRead { round }) => Some(*round),
        Message::Acceptor(_) | Message::Learner(_) | Message::Proposer(_) | Message::Client(_) => None,
    };
    sent.iter().filter_map(|(to, message)| Some((*to, round(message)?))).collect()
}

fn to_acceptors(acceptors: &[u16], round: u64) -> Vec<(NodeId, u64)> {
    acceptors.iter().map(|acceptor| (AcceptorId(*acceptor).into(), round)).collect()
}

fn reads(ids: &[u64]) -> ToLearner {
    ToLearner::Read(ids.iter().map(|id| read(*id, Consistency::Linearizable)).collect())
}

fn answer(driver: &mut Driver, acceptor: u16, round: u64, highest: u64) -> Sent {
    driver.hear(AcceptorId(acceptor), reply(round, highest))
}

pub(super) fn reply(round: u64, highest: u64) -> ToLearner {
    let (disk, incarnations) = (DiskId(1).into(), Incarnations::default());
    ToLearner::QuorumReadReply { round, highest: Slot(highest), disk, incarnations }
}

/// Answers to `client`, as (id, slot, value or none when busy).
fn answers(sent: &Sent, client: ClientId) -> Vec<(u64, u64, Option<String>)> {
    let replies = to_client(sent, client).into_iter().flat_map(|message| match message {
        ToClient::ReadReplies(replies) => replies.iter().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    });
    replies
        .map(|ReadReply { id, slot, outcome }| match outcome {
            ReadOutcome::Value(record) => {
                let value = record.map(|record| record.value).unwrap_or_default();
                (id, slot.0, Some(String::from_utf8(value.to_vec()).unwrap()))
            }
            ReadOutcome::Busy { retry_ms } => {
                assert_eq!(retry_ms, 20);
                (id, slot.0, None)
            }
        })
        .collect()
}

fn some(value: &str) -> Option<String> {
    Some(value.into())
}

/// A driver whose key `k` is "old" at slot 2.
fn with_old() -> (Driver, SessionId) {
    let mut driver = Driver::new();
    let session = driver.open(1);
    driver.choose(2, &[batch(&[put(session, 1, b"k", b"old")])]);
    (driver, session)
}

#[test]
fn s10_a_read_waits_for_the_highest_slot_that_a_phase1_quorum_voted_on() {
    let (mut driver, session) = with_old();
    let sent = driver.hear(C7, reads(&[1]));
    // The others tell the proposers that somebody reads.
    assert_eq!((rounds(&sent), sent.len()), (to_acceptors(&[1, 2, 3, 4, 5], LIFE + 1), 8));
    assert_eq!(answer(&mut driver, 4, LIFE + 1, 3), []);
    assert_eq!(answer(&mut driver, 4, LIFE + 1, 3), []);
    assert_eq!(answer(&mut driver, 4, LIFE + 1, 3), []);
    assert_eq!(answer(&mut driver, 1, LIFE + 1, 2), []);
    assert_eq!(answer(&mut driver, 2, LIFE + 1, 1), []);
    assert_eq!(driver.learner.status().waiting_reads, 1);
    let sent = driver.choose(3, &[batch(&[put(session, 2, b"k", b"new")])]);
    assert_eq!(answers(&sent, C7), [(1, 3, some("new"))]);
    assert_eq!((answer(&mut driver, 5, LIFE + 1, 9), driver.learner.status().waiting_reads), (vec![], 0));
}

#[test]
fn s10_the_answer_that_completes_the_quorum_counts_too() {
    let (mut driver, _) = with_old();
    driver.hear(C7, reads(&[1]));
    for (acceptor, highest) in [(1, 0), (2, 2), (3, 7)] {
        assert_eq!(answers(&answer(&mut driver, acceptor, LIFE + 1, highest), C7), []);
    }
    let sent = driver.choose(3, &fillers(3..=6));
    assert_eq!(answers(&sent, C7), []);
    assert_eq!(answers(&driver.choose(7, &[filler(7)]), C7), [(1, 7, some("old"))]);
}

#[test]
fn s10_the_quorum_of_a_read_is_a_phase1_quorum() {
    let (mut driver, _) = with_old();
    driver.learner.config.quorums = QuorumSystem::flexible((1..=5).map(AcceptorId), 4, 2).unwrap();
    driver.hear(C7, reads(&[1]));
    for acceptor in 1..=3 {
        assert_eq!(answer(&mut driver, acceptor, LIFE + 1, 2), [], "two of them could have missed a vote");
    }
    assert_eq!(answers(&answer(&mut driver, 5, LIFE + 1, 2), C7), [(1, 2, some("old"))]);
}

#[test]
fn s10_a_read_never_joins_a_round_that_began_before_it_arrived() {
    let (mut driver, session) = with_old();
    driver.hear(C7, reads(&[1]));
    answer(&mut driver, 1, LIFE + 1, 2);
    answer(&mut driver, 2, LIFE + 1, 2);
    // A write at slot 3 is acknowledged elsewhere; then a read arrives. The round in flight may not have seen that write.
    assert_eq!(driver.hear(C8, reads(&[5])), []);
    let sent = answer(&mut driver, 3, LIFE + 1, 2);
    assert_eq!((answers(&sent, C7), answers(&sent, C8)), (vec![(1, 2, some("old"))], vec![]));
    assert_eq!(rounds(&sent), to_acceptors(&[1, 2, 3, 4, 5], LIFE + 2));
    // What still comes to the old round is no answer to the new one.
    for acceptor in [4, 5, 1] {
        assert_eq!(answer(&mut driver, acceptor, LIFE + 1, 2), []);
    }
    for acceptor in [3, 4, 5] {
        assert_eq!(answer(&mut driver, acceptor, LIFE + 2, 3), []);
    }
    let sent = driver.choose(3, &[batch(&[put(session, 2, b"k", b"new")])]);
    assert_eq!(answers(&sent, C8), [(5, 3, some("new"))]);
}

#[test]
fn s10_an_answer_to_an_earlier_life_is_none_to_this_one() {
    let (mut driver, _) = with_old();
    driver.hear(C7, reads(&[1]));
    for acceptor in 1..=5 {
        assert_eq!(answer(&mut driver, acceptor, 1, 0), []);
        assert_eq!(answer(&mut driver, acceptor, LIFE, 0), []);
        assert_eq!(answer(&mut driver, acceptor, LIFE + 2, 0), []);
    }
    assert_eq!(driver.learner.status().waiting_reads, 1);
}

#[test]
fn one_round_serves_all_reads_of_a_batch_and_the_next_begins_while_they_wait_for_their_slot() {
    let (mut driver, _) = with_old();
    let sent = driver.run(|learner, effects| {
        learner.on_message(C7.into(), reads(&[1, 2]), effects).unwrap();
        learner.on_message(C8.into(), reads(&[3]), effects).unwrap();
    });
    assert_eq!(rounds(&sent).len(), 5);
    (1..=3).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 1, 4)));
    assert_eq!(rounds(&driver.hear(C7, reads(&[4]))), to_acceptors(&[1, 2, 3, 4, 5], LIFE + 2));
    (1..=3).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 2, 3)));
    assert_eq!(answers(&driver.choose(3, &[filler(3)]), C7), [(4, 3, some("old"))]);
    let sent = driver.choose(4, &[filler(4)]);
    assert_eq!(answers(&sent, C7), [(1, 4, some("old")), (2, 4, some("old"))]);
    assert_eq!(answers(&sent, C8), [(3, 4, some("old"))]);
    assert_eq!(to_client(&sent, C7).len(), 1, "grouped");
}

#[test]
fn a_round_is_asked_again_where_no_answer_came() {
    let (mut driver, _) = with_old();
    driver.hear(C7, reads(&[1]));
    answer(&mut driver, 2, LIFE + 1, 2);
    assert_eq!(rounds(&driver.fire(Timer::Round)), to_acceptors(&[1, 3, 4, 5], LIFE + 1));
    assert_eq!(rounds(&driver.link(AcceptorId(3), true)), to_acceptors(&[3], LIFE + 1));
    assert_eq!(rounds(&driver.link(AcceptorId(2), true)), []);
    answer(&mut driver, 1, LIFE + 1, 2);
    answer(&mut driver, 3, LIFE + 1, 2);
    driver.hear(C7, reads(&[2]));
    // Set for the first round, it leaves the second its time, and is set for it.
    assert_eq!(driver.fire(Timer::Round), []);
    assert_eq!(rounds(&driver.fire(Timer::Round)).len(), 5);
    (1..=3).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 2, 2)));
    assert_eq!((driver.fire(Timer::Round), driver.timers.contains_key(&Timer::Round)), (vec![], false));
}

#[test]
fn s10_an_unsettled_slot_is_sent_to_be_settled_again_and_again() {
    let (mut driver, _) = with_old();
    driver.link(ProposerId(1), false);
    driver.hear(C7, reads(&[1]));
    (1..=3).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 1, 4)));
    driver.hear(C7, reads(&[2]));
    (1..=3).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 2, 9)));
    assert_eq!(driver.learner.status().known, Slot(2), "a vote isn't a choice");
    let settle = |slot| {
        let message = Message::Proposer(ToProposer::Settle { slot: Slot(slot) });
        vec![(ProposerId(2).into(), message.clone()), (ProposerId(3).into(), message)]
    };
    // Slot 9 is waited for only since the timer was set.
    assert_eq!(driver.fire(Timer::Settle), settle(4));
    assert_eq!(driver.fire(Timer::Settle), settle(9));
    assert_eq!(driver.fire(Timer::Settle), settle(9));
    assert_eq!(answers(&driver.choose(3, &fillers(3..=8)), C7), [(1, 8, some("old"))]);
    // What is known to be chosen is settled: catching up is all that is needed.
    driver.hear(ProposerId(2), chosen(5, 2, 9, 10, &[]));
    assert_eq!(driver.fire(Timer::Settle), []);
    assert_eq!(answers(&driver.choose(9, &[filler(9)]), C7), [(2, 9, some("old"))]);
    assert_eq!((driver.fire(Timer::Settle), driver.timers.contains_key(&Timer::Settle)), (vec![], false));
}

#[test]
fn stale_reads_are_answered_at_once_with_the_applied_slot() {
    let (mut driver, _) = with_old();
    let absent = Read { id: 2, key: &[0; 5000], consistency: Consistency::Stale };
    let sent = driver.hear(C7, ToLearner::Read([read(1, Consistency::Stale), absent].into_iter().collect()));
    assert_eq!((answers(&sent, C7), sent.len()), (vec![(1, 2, some("old")), (2, 2, some(""))], 1));
}

#[test]
fn i14_a_message_without_reads_leaves_nothing_behind() {
    let (mut driver, _) = with_old();
    let before = driver.learner.clone();
    assert_eq!(driver.hear(C7, reads(&[])), []);
    assert!(driver.learner == before, "it began a round, or waits");
}

/// Only the beginning of such a key is kept while its read waits (I14).
#[test]
fn s10_a_read_of_a_key_that_cannot_be_waits_like_others_and_finds_nothing() {
    let (mut driver, _) = with_old();
    let linearizable = |id, key| Read { id, key, consistency: Consistency::Linearizable };
    let long = [b'k'; 5000];
    let all = [linearizable(1, b"k"), linearizable(2, &long), read(3, Consistency::Stale)];
    let sent = driver.hear(C7, ToLearner::Read(all.into_iter().collect()));
    assert_eq!(answers(&sent, C7), [(3, 2, some("old"))]);
    let round = rounds(&sent)[0].1;
    (1..=2).for_each(|acceptor| assert_eq!(answer(&mut driver, acceptor, round, 2), []));
    let sent = answer(&mut driver, 3, round, 2);
    assert_eq!(answers(&sent, C7), [(1, 2, some("old")), (2, 2, some(""))]);
}

#[test]
fn over_the_limit_reads_are_busy_and_gone_clients_make_room() {
    let mut driver = Driver::tuned(|tuning| tuning.waiting_reads = 3);
    assert_eq!(answers(&driver.hear(C7, reads(&[1, 2])), C7), []);
    assert_eq!(answers(&driver.hear(C8, reads(&[3, 4])), C8), [(4, 0, None)]);
    driver.link(C7, false);
    assert_eq!(driver.learner.status().waiting_reads, 1);
    assert_eq!(driver.hear(C8, reads(&[5, 6])), []);
    assert_eq!(driver.learner.status().waiting_reads, 3);
    (1..=2).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 1, 0)));
    // The first round was C7's alone.
    let sent = answer(&mut driver, 3, LIFE + 1, 0);
    assert_eq!((to_client(&sent, C7), to_client(&sent, C8)), (vec![], vec![]));
    (1..=2).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 2, 0)));
    let ids: Vec<_> = answers(&answer(&mut driver, 3, LIFE + 2, 0), C8).iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids, [3, 5, 6]);
    assert_eq!(driver.learner.status().waiting_reads, 0);
}

#[test]
fn a_gone_client_s_reads_are_dropped_wherever_they_wait() {
    let (mut driver, _) = with_old();
    driver.hear(C7, reads(&[1]));
    (1..=3).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 1, 5)));
    driver.hear(C7, reads(&[2]));
    driver.hear(C7, reads(&[3]));
    assert_eq!(driver.learner.status().waiting_reads, 3);
    driver.link(C7, false);
    assert_eq!(driver.learner.status().waiting_reads, 0);
    assert_eq!(answers(&driver.choose(3, &fillers(3..=6)), C7), []);
    // The round it left goes on, empty, and hinders nobody.
    driver.hear(C8, reads(&[9]));
    (1..=3).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 2, 5)));
    (1..=2).for_each(|acceptor| drop(answer(&mut driver, acceptor, LIFE + 3, 5)));
    assert_eq!(answers(&answer(&mut driver, 3, LIFE + 3, 5), C8), [(9, 6, some("old"))]);
}

#[test]
fn read_replies_are_split_to_fit_frames_and_bounded_for_each_client() {
    let mut driver = Driver::tuned(|tuning| tuning.peer_queue_bytes = 12 << 20);
    let session = driver.open(1);
    driver.choose(2, &[batch(&[put(session, 1, b"k", &vec![7; 1 << 20])])]);
    let stale = (1..=8).map(|id| read(id, Consistency::Stale)).collect();
    let sent = driver.hear(C7, ToLearner::Read(stale));
    let sizes: Vec<_> = to_client(&sent, C7)
        .into_iter()
        .map(|message| match message {
            ToClient::ReadReplies(replies) => replies.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [3, 5], "a MiB each; after six of them the client is told Busy");
}

#[test]
fn s12_an_answer_of_a_disk_that_went_back_is_not_counted_whenever_that_is_known() {
    let at = |records| DiskAt::new(DiskId(1), records);
    let told = |round, records, known| {
        let mut incarnations = Incarnations::default();
        incarnations.reached(AcceptorId(1), at(known));
        ToLearner::QuorumReadReply { round, highest: Slot(0), disk: at(records), incarnations }
    };
    let mut driver = Driver::new();
    let round = rounds(&driver.hear(C7, reads(&[1])))[0].1;
    driver.hear(AcceptorId(1), told(round, 450, 0));
    driver.hear(AcceptorId(2), told(round, 0, 500));
    for (from, records) in [(3, 0), (1, 499)] {
        let counted = driver.hear(AcceptorId(from), told(round, records, 0));
        assert!(answers(&counted, C7).is_empty(), "three of five, but one of them went back");
    }
    let again = rounds(&driver.fire(Timer::Round));
    assert!(again.contains(&(AcceptorId(1).into(), round)), "it may only have been late: {again:?}");
    let read = driver.hear(AcceptorId(1), told(round, 501, 0));
    assert_eq!(answers(&read, C7).len(), 1);
    assert!(driver.learner.incarnations().is_some_and(|known| known.get(AcceptorId(1)).is_some()));
}

#[test]
fn s12_an_answer_of_a_replaced_disk_is_not_counted_whenever_that_is_known() {
    let row = |disk| {
        let mut table = Incarnations::default();
        let since = Ballot { round: 3, proposer: ProposerId(1), life: 1 };
        table.note(AcceptorId(1), Incarnation::new(since, DiskId(disk)));
        table
    };
    let told = |round, highest, disk, incarnations| {
        let disk = DiskId(disk).into();
        ToLearner::QuorumReadReply { round, highest: Slot(highest), disk, incarnations }
    };
    let mut driver = Driver::new();
    let round = rounds(&driver.hear(C7, reads(&[1])))[0].1;
    // The old disk is counted until another acceptor tells that it was replaced.
    driver.hear(AcceptorId(1), told(round, 0, 1, Incarnations::default()));
    driver.hear(AcceptorId(2), told(round, 0, 1, row(2)));
    for (from, table) in [(3, row(2)), (1, Incarnations::default())] {
        let counted = driver.hear(AcceptorId(from), told(round, 0, 1, table));
        assert!(answers(&counted, C7).is_empty(), "three of five, but one of them is older");
    }
    let read = driver.hear(AcceptorId(1), told(round, 0, 2, row(2)));
    assert_eq!(answers(&read, C7).len(), 1, "the new disk counts");
}
