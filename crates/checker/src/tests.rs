//! The checks against histories whose verdict is known, and these histories against checkers that are known to be wrong.
//!
//! Calibration is three things: histories made by hand, tiny random ones judged by an oracle that tries every order, and long
//! ones that come from a true execution. `SYNOD_CHECKER_SEED` replays the random ones.

mod hand_made;
mod oracle;
mod random;
mod text;

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::flaw::{Flaw, plant};
use crate::{History, Rejected, certificate, search, search_within};

const FLAWS: [Flaw; 12] = [
    Flaw::IgnoresRealTime,
    Flaw::UnknownNeverHappens,
    Flaw::UnknownIsOk,
    Flaw::UnknownHappensOften,
    Flaw::FailedIsUnknown,
    Flaw::MergesKeys,
    Flaw::IgnoresExisted,
    Flaw::MemoryForgetsValue,
    Flaw::MemoryForgetsUnknown,
    Flaw::ReadsComeFirst,
    Flaw::ReadsMayDiffer,
    Flaw::SlotsIgnoreRealTime,
];

/// Seed of the random histories.
fn seed() -> u64 {
    match std::env::var("SYNOD_CHECKER_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random(),
    }
}

/// What the checks say of a history must be what is known of it.
fn agree(history: &History, linearizable: bool, certified: bool) -> Result<(), String> {
    for (check, found, known) in
        [("search", search(history), linearizable), ("certificate", certificate(history), certified)]
    {
        let right = match &found {
            Ok(_) => known,
            Err(Rejected::Violation(_)) => !known,
            Err(Rejected::Exhausted(_)) => false,
        };
        if !right {
            return Err(format!("{check} says {found:?}, must be {known}:\n{}", text::print(history)));
        }
    }
    Ok(())
}

/// Tiny histories, judged by trying every order.
fn agree_with_oracle(seed: u64, count: usize) -> Result<(usize, usize), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut linearizable, mut certified) = (0, 0);
    for _ in 0..count {
        let history = random::tiny(&mut rng);
        let known = (oracle::is_linearizable(&history), oracle::is_certified(&history));
        agree(&history, known.0, known.1)?;
        linearizable += usize::from(known.0);
        certified += usize::from(known.1);
    }
    Ok((linearizable, certified))
}

/// Long histories of a true execution; and after a change, what is certified must be linearizable.
fn agree_on_long(seed: u64, count: usize) -> Result<usize, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut wrong = 0;
    for _ in 0..count {
        let history = random::of_true_execution(&mut rng, 300, 5);
        agree(&history, true, true)?;
        let history = random::changed(&mut rng, &history);
        match (search(&history), certificate(&history)) {
            (Ok(_), _) => {}
            (Err(Rejected::Violation(_)), Err(_)) => wrong += 1,
            (found, certified) => {
                let print = text::print(&history);
                return Err(format!("search says {found:?}, certificate {certified:?}:\n{print}"));
            }
        }
    }
    Ok(wrong)
}

#[test]
fn histories_made_by_hand_are_judged_right() {
    hand_made::all_agree().unwrap();
}

#[test]
fn what_is_impossible_is_said_in_a_sentence_and_shown_in_few_calls() {
    hand_made::sentences_are_as_expected();
}

#[test]
fn an_oracle_that_tries_every_order_agrees() {
    let seed = seed();
    let count = 30_000;
    let (linearizable, certified) =
        agree_with_oracle(seed, count).unwrap_or_else(|why| panic!("SYNOD_CHECKER_SEED={seed}\n{why}"));
    println!("of {count} tiny histories {linearizable} are linearizable and {certified} certified");
    // Neither verdict is rare, or little would be shown.
    assert!(linearizable > count / 5 && linearizable < count * 9 / 10, "{linearizable} of {count}");
    assert!(certified > count / 10 && certified < linearizable, "{certified} of {count}");
}

#[test]
fn long_histories_of_a_true_execution_are_accepted_and_what_is_certified_is_linearizable() {
    let seed = seed();
    let wrong = agree_on_long(seed, 300).unwrap_or_else(|why| panic!("SYNOD_CHECKER_SEED={seed}\n{why}"));
    println!("{wrong} of 300 changed histories are wrong");
    assert!(wrong > 30, "only {wrong} changes were found");
}

#[test]
fn every_flawed_checker_fails_the_calibration() {
    for flaw in FLAWS {
        plant(Some(flaw));
        let by_hand = hand_made::all_agree();
        let by_oracle = agree_with_oracle(7, 20_000);
        plant(None);
        println!("{flaw:?}: by hand {}, by the oracle {}", by_hand.is_err(), by_oracle.is_err());
        // What the search's memory gets wrong shows in few histories, the rest everywhere.
        let of_memory = matches!(flaw, Flaw::MemoryForgetsValue | Flaw::MemoryForgetsUnknown);
        let (by_hand, by_oracle) = (by_hand.is_err(), by_oracle.is_err());
        assert!(by_hand && by_oracle || of_memory && (by_hand || by_oracle), "{flaw:?} is taken for right");
    }
}

#[test]
fn a_search_that_reaches_its_bound_says_so() {
    let history = hand_made::tangle(9);
    assert!(search(&history).is_err_and(|rejected| rejected.violation().is_some()));
    assert!(matches!(search_within(&history, 100), Err(Rejected::Exhausted(_))));
}

#[test]
fn an_answer_without_a_slot_is_not_certified() {
    let history = text::parse("c1 put k X [10..20] ok");
    assert!(search(&history).is_ok() && certificate(&history).is_err());
}

/// Prints how long it takes, with `--nocapture`.
#[test]
fn a_hundred_thousand_calls_are_judged() {
    for (keys, unknown) in [(1_000, 10), (1_000, 0), (10, 10), (1, 10)] {
        let mut rng = StdRng::seed_from_u64(1);
        let history = random::busy(&mut rng, 100_000, keys, unknown);
        for (name, check) in [("search", search as fn(&_) -> _), ("certificate", certificate)] {
            let began = Instant::now();
            let stats = check(&history).unwrap();
            println!("{keys} keys, {unknown} unknown in 1000: {name} took {:?}, {stats:?}", began.elapsed());
        }
    }
}
