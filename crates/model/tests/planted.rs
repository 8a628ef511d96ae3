//! Each line of the model that can be left out is missed: the check finds a way to break an invariant.

use model::{Configuration, PlantedBug, check_until};

/// Fails unless leaving the line out breaks the invariant of this number.
fn must_break(name: &str, bug: PlantedBug, number: &str) {
    let configuration = Configuration::named(name).expect("a configuration has this name");
    let report = check_until(&configuration.planted(bug), number, 2);
    let wanted = format!("{number}:");
    let is_broken = |(name, holds): &(&str, bool)| !holds && name.starts_with(&wanted);
    let properties = &report.properties;
    assert!(properties.iter().any(is_broken), "{bug:?} in {name}: {properties:?}");
    assert!(report.trace.is_some(), "what breaks is shown");
}

#[test]
fn a_promise_before_the_disk_breaks_the_model() {
    must_break("crash", PlantedBug::PromiseBeforePersisted, "I6");
}

#[test]
fn asking_before_the_own_promise_is_durable_breaks_the_model() {
    must_break("crash", PlantedBug::OwnPromiseBeforePersisted, "I3");
}

#[test]
fn reporting_before_the_disk_breaks_the_model() {
    must_break("crash", PlantedBug::AcceptedBeforePersisted, "I5");
}

#[test]
fn an_own_vote_before_the_disk_breaks_the_model() {
    must_break("crash", PlantedBug::OwnVoteBeforePersisted, "I5");
}

#[test]
fn adopting_any_ballot_breaks_the_model() {
    must_break("three-ballots", PlantedBug::AdoptAnyBallot, "I5");
}

#[test]
fn forgetting_what_was_told_breaks_the_model() {
    must_break("steady", PlantedBug::ForgetAcceptedSuffix, "I5");
}

#[test]
fn leading_without_reaching_breaks_the_model() {
    must_break("steady", PlantedBug::LeadWithoutReaching, "I6");
}

#[test]
fn ignoring_what_a_late_promise_has_decided_breaks_the_model() {
    must_break("two-changes", PlantedBug::LateReachIgnored, "I6");
}

#[test]
fn accepting_an_outdated_ballot_breaks_the_model() {
    must_break("steady", PlantedBug::AcceptOutdatedBallot, "I6");
}

#[test]
fn proposing_behind_an_undecided_membership_breaks_the_model() {
    must_break("two-changes", PlantedBug::NoMembershipBarrier, "I16");
}

#[test]
fn proposing_an_outdated_membership_again_breaks_the_model() {
    must_break("two-changes", PlantedBug::StaleMembershipStays, "I16");
}

#[test]
fn counting_who_is_no_voter_breaks_the_model() {
    must_break("change", PlantedBug::LearnersVote, "I5");
}

#[test]
fn taking_for_decided_what_was_not_accepted_breaks_the_model() {
    must_break("steady", PlantedBug::DecidedBeyondAccepted, "I6");
}

#[test]
fn deciding_by_a_late_promise_breaks_the_model() {
    must_break("two-changes", PlantedBug::LatePromiseDecides, "I6");
}

#[test]
fn keeping_an_accepted_value_when_catching_up_breaks_the_model() {
    must_break("steady", PlantedBug::CatchUpKeepsAccepted, "I6");
}

#[test]
fn a_quorum_of_one_too_few_breaks_the_model() {
    must_break("steady", PlantedBug::QuorumOfOneTooFew, "I6");
}
