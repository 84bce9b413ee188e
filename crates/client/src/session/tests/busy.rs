//! What a cluster that has too much to do is offered.

use super::*;

#[test]
fn what_cannot_wait_for_a_busy_cluster_is_refused_at_once() {
    let mut bench = Bench::open();
    let value = "x".repeat(1_000);
    bench.put(0, &value);
    bench.step();
    let (to, tag, _) = bench.proposals().remove(0);
    bench.refuse(to, tag, NotTaken::Busy { retry_ms: 600 });
    let most = super::super::UNSENT_LEAST as u32;
    (1..most).for_each(|ticket| bench.put(ticket, &value));
    bench.step();
    assert_eq!(bench.ended(), Vec::new());
    bench.put(most, &value);
    bench.step();
    let busy = |ticket| (ticket, Err(Failure::Busy.into()));
    assert_eq!(bench.ended(), vec![busy(most)]);
    // Those that were never sent end as those that were refused.
    bench.pass(ms(599));
    assert_eq!(bench.proposals(), Vec::new());
    bench.pass(ms(601));
    let proposals = bench.proposals();
    assert!(!proposals.is_empty());
    for (to, tag, _) in proposals {
        bench.refuse(to, tag, NotTaken::Busy { retry_ms: 100_000 });
    }
    bench.pass(ms(5_000));
    let mut ended = bench.ended();
    ended.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(ended, (0..most).map(busy).collect::<Vec<_>>());
}

/// `calls` of 1,000 bytes are under way in one proposal and `more` in a second one; to whom that went, with which tag.
fn under_way(calls: u32, more: u32) -> (Bench, NodeId, u64) {
    let mut bench = Bench::open_with(Limits { session_window: 5_000, ..cluster().limits });
    for (first, count) in [(1, calls), (1 + calls, more)] {
        (first..first + count).for_each(|ticket| bench.put(ticket, &"x".repeat(1_000)));
        bench.step();
    }
    let sent = bench.proposals();
    assert_eq!(sent.iter().map(|(.., told)| told.len() as u32).collect::<Vec<_>>(), [calls, more]);
    (bench, sent[1].0, sent[1].1)
}

fn sent(bench: &mut Bench) -> usize {
    bench.proposals().iter().map(|(.., told)| told.len()).sum()
}

#[test]
fn a_busy_cluster_has_half_as_much_under_way_and_more_with_each_reply() {
    let (mut bench, to, tag) = under_way(400, 300);
    bench.refuse(to, tag, NotTaken::Busy { retry_ms: 20 });
    bench.pass(ms(41));
    assert_eq!(sent(&mut bench), 0, "400 are under way, and half of that are allowed");
    (2..=201).for_each(|sequence| bench.reply(sequence, PUT));
    let grown = sent(&mut bench);
    assert!(
        (1..100).contains(&grown),
        "half of them were answered: a little more than half is allowed, {grown} more"
    );
    (202..=251).for_each(|sequence| bench.reply(sequence, PUT));
    let next = sent(&mut bench);
    assert!((50..80).contains(&next), "one for each that is answered, and a little more: {next}");
}

#[test]
fn all_that_was_refused_of_what_was_sent_before_halves_it_once() {
    let (mut bench, to, tag) = under_way(400, 300);
    bench.put(1_000, "last");
    bench.step();
    let (_, last, _) = bench.proposals().remove(0);
    bench.refuse(to, tag, NotTaken::Busy { retry_ms: 20 });
    (2..=251).for_each(|sequence| bench.reply(sequence, PUT));
    bench.refuse(to, last, NotTaken::Busy { retry_ms: 20 });
    bench.pass(ms(41));
    assert!(sent(&mut bench) > 50, "150 are under way, and 200 allowed");
}

#[test]
fn what_was_refused_and_halved_again_never_ends_below_the_least() {
    let (mut bench, mut to, mut tag) = under_way(1, 300);
    for _ in 0..10 {
        bench.refuse(to, tag, NotTaken::Busy { retry_ms: 20 });
        bench.pass(ms(41));
        let proposals = bench.proposals();
        let [(again, next, told)] = &proposals[..] else { panic!("{} proposals", proposals.len()) };
        assert!((50..70).contains(&told.len()), "64 KiB: {}", told.len());
        (to, tag) = (*again, *next);
    }
}

#[test]
fn a_cluster_that_is_busy_no_longer_is_offered_everything() {
    let (mut bench, to, tag) = under_way(400, 300);
    bench.refuse(to, tag, NotTaken::Busy { retry_ms: 20 });
    (2..=401).for_each(|sequence| bench.reply(sequence, PUT));
    bench.pass(ms(41));
    let some = sent(&mut bench);
    assert!((1..300).contains(&some), "{some}");
    // Nothing is answered meanwhile.
    let (_, all): (Vec<_>, Vec<_>) = (0..12).map(|_| (bench.pass(ms(100)), bench.proposals())).unzip();
    let told: BTreeSet<_> =
        all.iter().flatten().flat_map(|(.., told)| told).map(|(sequence, ..)| *sequence).collect();
    assert_eq!(told.len(), 300);
}
