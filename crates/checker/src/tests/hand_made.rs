//! Histories made by hand, each with its verdict: whether it is linearizable, and whether its slots tell an order that shows it.

use crate::{Check, History, Rejected, certificate, search};

use super::{agree, text};

struct Case {
    name: &'static str,
    linearizable: bool,
    certified: bool,
    text: &'static str,
}

const fn good(name: &'static str, text: &'static str) -> Case {
    Case { name, linearizable: true, certified: true, text }
}

/// Right, though its slots tell a wrong order.
const fn good_but_for_its_slots(name: &'static str, text: &'static str) -> Case {
    Case { name, linearizable: true, certified: false, text }
}

const fn bad(name: &'static str, text: &'static str) -> Case {
    Case { name, linearizable: false, certified: false, text }
}

const CASES: &[Case] = &[
    good("nothing happened", ""),
    good(
        "one after another",
        "c1 put k X [10..20] ok @1
        c2 get k [30..40] X @1
        c1 del k [50..60] there @2
        c2 del k [70..80] gone @3
        c2 get k [90..95] - @3",
    ),
    good(
        "a get that overlaps a put may find the value before it",
        "c1 put k X [10..20] ok @1
        c1 put k Y [30..60] ok @2
        c2 get k [40..50] X @1
        c3 get k [40..50] Y @2",
    ),
    good(
        "calls that only touch overlap",
        "c1 put k X [10..20] ok @2
        c2 get k [20..30] - @1",
    ),
    good(
        "everything at once",
        "c1 put k X [10..99] ok @3
        c2 put k Y [10..99] ok @3
        c3 del k [10..99] there @3
        c4 del k [10..99] gone @3
        c5 get k [10..99] - @3
        c6 get k [10..99] X @2
        c7 put k X [10..99] ok @2",
    ),
    good(
        "a call that is never answered took effect late",
        "c1 put k X [10..20] unknown
        c2 get k [30..40] - @1
        c2 put k Y [50..60] ok @2
        c2 get k [70..80] X @4",
    ),
    good(
        "a call that is never answered took effect never",
        "c1 put k X [10..20] unknown
        c1 del k [10..] unknown
        c2 put k Y [30..40] ok @2
        c2 get k [50..60] Y @9",
    ),
    good(
        "a delete of unknown outcome explains what is gone",
        "c1 put k X [10..20] ok @1
        c1 del k [30..40] unknown
        c2 get k [50..60] X @1
        c2 get k [70..80] - @3",
    ),
    good(
        "a put of unknown outcome explains what a delete found",
        "c1 put k X [10..20] unknown
        c2 del k [30..40] gone @1
        c2 del k [50..60] there @2",
    ),
    good(
        "a failed put is not there",
        "c1 put k X [10..20] failed
        c2 get k [30..40] - @1",
    ),
    good(
        "reordered across keys",
        "c1 put a X [10..90] ok @1
        c2 put b Y [20..80] ok @2
        c3 get b [30..40] - @0
        c3 get a [50..60] X @1
        c4 get b [70..75] Y @2",
    ),
    good(
        "the same value twice",
        "c1 put k X [10..20] ok @1
        c1 put k Y [30..40] ok @2
        c1 put k X [50..60] ok @3
        c2 get k [70..80] X @3
        c3 get k [35..80] Y @2",
    ),
    good(
        "writes of one slot in the other order",
        "c1 put k X [10..50] ok @1
        c2 put k Y [20..50] ok @1
        c3 get k [60..70] X @1",
    ),
    good(
        "another key has that value",
        "c1 put a X [10..20] ok @1
        c2 get b [30..40] - @1
        c2 get a [30..40] X @1",
    ),
    good(
        "a wait of unknown outcome across two gets",
        "c1 put k X [10..] unknown
        c2 get k [20..30] - @1
        c2 get k [40..50] X @2
        c2 get k [60..70] X @2",
    ),
    good(
        "either of two puts of unknown outcome explains a delete, but one is needed later",
        "c1 put k X [10..20] unknown
        c2 put k Z [10..20] unknown
        c3 del k [30..40] there @1
        c3 get k [50..60] X @2
        c3 put k Z [70..80] ok @3
        c3 get k [90..95] Z @3
        c4 get k [90..95] Z @3",
    ),
    good_but_for_its_slots(
        "a slot that falls in real time",
        "c1 put k X [10..20] ok @2
        c2 get k [30..40] X @1",
    ),
    good_but_for_its_slots(
        "a slot that falls in real time, across keys",
        "c1 put a X [10..20] ok @2
        c2 put b Y [30..40] ok @1",
    ),
    good_but_for_its_slots(
        "a write at the slot of a get that was answered before",
        "c1 get k [10..20] - @3
        c2 put k Y [30..40] ok @3",
    ),
    good_but_for_its_slots(
        "a get that missed a write of its slot",
        "c1 put k X [10..50] ok @3
        c2 get k [20..40] - @3",
    ),
    good_but_for_its_slots(
        "gets at one slot that differ",
        "c1 put k X [10..20] ok @3
        c2 put k Y [10..70] unknown
        c3 get k [30..40] X @4
        c3 get k [50..60] Y @4",
    ),
    bad(
        "stale read",
        "c1 put k X [10..20] ok @1
        c2 put k Y [30..40] ok @2
        c3 get k [50..60] X @1",
    ),
    bad(
        "lost write",
        "c1 put k X [10..20] ok @1
        c2 get k [30..40] - @1",
    ),
    bad(
        "read of a value that nobody wrote",
        "c1 put k X [10..20] ok @1
        c2 get k [30..40] Y @1",
    ),
    bad(
        "read of a failed write",
        "c1 put k X [10..20] failed
        c2 get k [30..40] X @1",
    ),
    bad(
        "read from the future",
        "c2 get k [10..20] X @1
        c1 put k X [30..40] ok @1",
    ),
    bad(
        "read of another key's value",
        "c1 put a X [10..20] ok @1
        c2 get b [30..40] X @1",
    ),
    bad(
        "a delete found what was not there",
        "c1 put k X [10..20] ok @1
        c1 del k [30..40] there @2
        c2 del k [50..60] there @3",
    ),
    bad(
        "a delete found nothing though it was there",
        "c1 put k X [10..20] ok @1
        c2 del k [30..40] gone @2",
    ),
    bad(
        "two deletes found one put",
        "c1 put k X [10..20] ok @1
        c1 del k [30..60] there @2
        c2 del k [30..60] there @2",
    ),
    bad(
        "unknown was seen, then unseen",
        "c1 put k X [10..20] ok @1
        c2 put k Y [30..40] unknown
        c3 get k [50..60] Y @2
        c3 get k [70..80] X @2",
    ),
    bad(
        "unknown happened twice",
        "c1 put k X [10..20] unknown
        c2 del k [30..40] there @3
        c2 del k [50..60] there @5",
    ),
    bad(
        "unknown happened twice, seen by gets",
        "c1 put k X [10..20] unknown
        c2 get k [30..40] X @2
        c2 del k [50..60] there @3
        c2 get k [70..80] X @4",
    ),
    bad(
        "two clients see two writes in two orders",
        "c1 put k X [10..90] ok @1
        c2 put k Y [10..90] ok @1
        c3 get k [20..30] X @1
        c3 get k [40..50] Y @1
        c4 get k [60..70] X @1",
    ),
    bad(
        "a client's own write is gone",
        "c1 put k X [10..20] ok @1
        c1 get k [30..40] X @1
        c1 put k Y [50..60] ok @2
        c1 get k [70..80] X @2",
    ),
    bad(
        "a delete came undone",
        "c1 put k X [10..20] ok @1
        c2 del k [30..40] there @2
        c3 get k [50..60] X @3",
    ),
    bad(
        "a delete's put came back once it was seen gone",
        "c1 put k X [10..30] ok @1
        c2 del k [15..90] there @2
        c3 get k [40..50] - @2
        c3 get k [60..70] X @2",
    ),
];

/// Every case is judged as it must be.
pub(super) fn all_agree() -> Result<(), String> {
    for case in CASES {
        let history = text::parse(case.text);
        agree(&history, case.linearizable, case.certified).map_err(|why| format!("{}: {why}", case.name))?;
    }
    Ok(())
}

/// Many puts at once of which two are the last; no order is right, and many must be tried to know it.
pub(super) fn tangle(puts: u64) -> History {
    let lines = (0..puts).map(|put| format!("c{put} put k v{put} [10..20] ok @1\n"));
    text::parse(&(lines.collect::<String>() + "c1 get k [30..40] v1 @1\nc2 get k [50..60] v2 @1"))
}

/// Of some cases, what both checks say is impossible, and how many calls they show.
const SENTENCES: &[(&str, Check, usize, &str)] = &[
    (
        "stale read",
        Check::Search,
        3,
        r#"get by c3 [50..60] found b"X", but put b"Y" by c2 [30..40] ended before it began, put b"X" by c1 [10..20] before that, and nothing put it again"#,
    ),
    (
        "stale read",
        Check::Certificate,
        2,
        r#"get by c3 [50..60] found b"X", but it comes before a call that was answered before it began"#,
    ),
    (
        "lost write",
        Check::Search,
        2,
        r#"get by c2 [30..40] found nothing, but put b"X" by c1 [10..20] ended before it began, and nothing undid it"#,
    ),
    (
        "read of a failed write",
        Check::Search,
        2,
        r#"get by c2 [30..40] found b"X", but put b"X" by c1 [10..20] failed for certain"#,
    ),
    (
        "read from the future",
        Check::Search,
        2,
        r#"get by c2 [10..20] found b"X", but put b"X" by c1 [30..40] came only later"#,
    ),
    (
        "unknown was seen, then unseen",
        Check::Search,
        4,
        r#"get by c3 [70..80] found b"X", but get by c3 [50..60] ended before it began, put b"X" by c1 [10..20] before that, and nothing put it again"#,
    ),
    (
        "a delete came undone",
        Check::Certificate,
        3,
        r#"get by c3 [50..60] found b"X", but delete by c2 [30..40] comes before it, and nothing put that after it"#,
    ),
];

pub(super) fn sentences_are_as_expected() {
    for (name, check, shown, sentence) in SENTENCES {
        let case = CASES.iter().find(|case| case.name == *name).unwrap();
        // Calls of the same key that have nothing to do with it.
        let noise = (0..40)
            .map(|at| format!("c9 get k [{at}..200] never-mind\nc9 put k never-mind [{at}..200] unknown\n"));
        let history = text::parse(&format!("{}\n{}", case.text, noise.collect::<String>()));
        let judged = match check {
            Check::Search => search(&history),
            Check::Certificate => certificate(&text::parse(case.text)),
        };
        let Err(Rejected::Violation(violation)) = judged else { panic!("{name}: {judged:?}") };
        assert_eq!((violation.check, violation.impossible.as_str()), (*check, *sentence), "{name}");
        assert_eq!(violation.window.len(), *shown, "{violation}");
    }
}
