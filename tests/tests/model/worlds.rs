//! The worlds as they should be: explored to their ends, nothing broken, everything seen that makes the pass worth something.

use crate::configurations as worlds;
use crate::explore::{Found, explore, lacking};
use crate::step::Witness::{self, *};
use crate::world::Config;

/// Explores a world, and compares how many states it has with what it had: another number means that the roles or the bounds do
/// something else, which should be meant.
fn check(name: &str, config: Config, states: usize, needed: &[Witness]) -> Found {
    let found = explore(name, config, 2);
    if let Some((_, story)) = &found.broken {
        panic!("{name}: {story}");
    }
    assert_eq!(lacking(&found, needed), [], "{name}: never seen, so its pass says little");
    assert_eq!(found.states, states, "{name} has another number of states than it had");
    found
}

#[test]
fn s1_to_s6_agreement_of_two_proposers_and_three_acceptors_in_three_ballots_and_two_slots_with_one_crash() {
    let needed = [
        Chosen,
        NoopChosen,
        ChosenAfterLeaderChange,
        MinorityVoteOverwritten,
        VoteKeptButNeverTold,
        HeldPrefixAdvanced,
    ];
    check("agreement", worlds::agreement(), 2_934_371, &needed);
}

#[test]
fn s4_s6_flexible_quorums_of_four() {
    check("flexible 4/3/2", worlds::flexible_4_3_2(), 173_025, &[Chosen, ChosenAfterLeaderChange]);
}

#[test]
fn s4_s6_flexible_quorums_of_three_where_one_vote_chooses() {
    let needed = [Chosen, NoopChosen, ChosenAfterLeaderChange, HeldPrefixAdvanced];
    check("flexible 3/3/1", worlds::flexible_3_3_1(), 208_887, &needed);
}

#[test]
fn s5_restarted_proposers() {
    check(
        "restarts",
        worlds::restarts(),
        348_755,
        &[Chosen, ChosenAfterLeaderChange, RestartedProposerLeads, MinorityVoteOverwritten],
    );
}

#[test]
fn s2_several_messages_in_one_sync_and_any_prefix_of_them_kept() {
    let needed = [Chosen, PendingRecordLost, VoteKeptButNeverTold, TwoMessagesInOneSync];
    check("disk", worlds::disk(), 59_282, &needed);
}

#[test]
fn s4_promises_in_chunks() {
    let needed = [Chosen, NoopChosen, ChosenAfterLeaderChange, PromiseInSeveralChunks];
    check("chunks", worlds::chunks(), 438_963, &needed);
}

#[test]
fn s4_promises_in_chunks_above_a_held_prefix() {
    let needed = [Chosen, ChosenAfterLeaderChange, PromiseInSeveralChunks, SentAgain];
    check("chunks above held", worlds::chunks_above_held(), 206_045, &needed);
}

#[test]
fn s6_s8_held_prefixes_healing_and_fetch() {
    let needed = [Chosen, ChosenAfterLeaderChange, HeldPrefixAdvanced, SlotHealed, ValueFetched];
    check("healing", worlds::healing(), 1_095_301, &needed);
}

#[test]
fn s6_slots_sent_again() {
    check("resending", worlds::resending(), 29_305, &[Chosen, ChosenAfterLeaderChange, SentAgain]);
}

#[test]
fn s6_spares_asked_later() {
    check(
        "thrifty",
        worlds::thrifty(),
        4_096_460,
        &[Chosen, ChosenAfterLeaderChange, SparesAsked, SpareAskedAtOnce],
    );
}

#[test]
fn s6_held_prefixes_stated_by_heartbeats() {
    let needed = [Chosen, NoopChosen, ChosenAfterLeaderChange, HeldPrefixAdvanced];
    check("holding", worlds::holding(), 267_597, &needed);
}

#[test]
fn s4_s11_floors_rise_while_leaders_change_and_acceptors_crash() {
    let needed = [Chosen, ChosenAfterLeaderChange, FloorRaised, FloorPassedHeldPrefix, FloorPromised];
    check("truncating", worlds::truncating(), 932_821, &needed);
}

#[test]
fn s10_reads_of_what_a_dead_leader_left_settle_it() {
    let needed = [Chosen, NoopChosen, ReadAnswered, ReadAfterSettle, ReadOfNewValue];
    check("settling", worlds::settling(), 12_360, &needed);
}

#[test]
fn s10_reads_at_one_learner_see_what_another_has_told() {
    check("reading", worlds::reading(), 15_659, &[Chosen, ReadAnswered, ReadOfNewValue]);
}

#[test]
fn s10_reads_of_a_restarted_learner() {
    check("rereading", worlds::rereading(), 123_666, &[Chosen, ReadAnswered, ReadOfNewValue]);
}

#[test]
fn s6_s7_no_fetched_value_is_one_that_was_overruled() {
    check("overruled", worlds::overruled(), 6_705, &[Chosen, HeldPrefixAdvanced, LearnerCaughtUp]);
}

/// What is put off, forgotten or lost in the other worlds leaves no disk and no chosen value out: a world that is small enough is explored
/// both ways.
#[test]
fn reductions_lose_nothing_that_shows() {
    let whole = Config { collect: true, ..worlds::unreduced() };
    let reduced = Config { lazy: true, forget: true, ..whole.clone() };
    let whole = check("unreduced", whole, 154_155, &[Chosen, NackedLeaderStepsDown, ChosenAfterLeaderChange]);
    let reduced = check("reduced", reduced, 104, &[Chosen, ChosenAfterLeaderChange]);
    assert!(
        whole.collected == reduced.collected,
        "{} and {}",
        whole.collected.len(),
        reduced.collected.len()
    );
}

#[test]
fn s12_a_replaced_disk_is_readmitted_while_the_old_one_goes_on() {
    let needed = [Chosen, Readmitted, NewDiskCounts, OldDiskVotesOn];
    check("readmission", worlds::readmission(), 1_132_965, &needed);
}

#[test]
fn s12_what_the_lost_disk_had_voted_for_outlives_it() {
    let needed = [Chosen, Readmitted, OldDiskVotesOn, OldValueSurvives];
    check("lost votes", worlds::lost_votes(), 704_066, &needed);
}

#[test]
fn s10_s12_reads_see_what_the_lost_disk_had_voted_for() {
    check("lost reads", worlds::lost_reads(), 524_644, &[Chosen, Readmitted, ReadAnswered, ReadOfNewValue]);
}

#[test]
fn s10_s12_reads_do_not_count_a_replaced_disk() {
    let needed = [Chosen, NewDiskCounts, OldDiskVotesOn, ReadAnswered, ReadOfNewValue];
    check("readmitted reads", worlds::readmitted_reads(), 12_499, &needed);
}

#[test]
fn s12_a_second_disk_is_readmitted_while_both_old_ones_go_on() {
    let needed = [Chosen, Readmitted, NewDiskCounts, OldDiskVotesOn];
    check("second readmission", worlds::second_readmission(), 26_553, &needed);
}
