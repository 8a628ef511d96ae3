//! The simulator notices planted bugs. Each is played from a seed near one that is known to show it; when
//! the code changes, another seed will, so the search goes on for a while.

use sim::Planted;
use sim::cli::{Variation, play};

/// Seeds played before a bug counts as unnoticed.
const SEEDS_MAX: u64 = 4_000;

fn is_noticed(bug: Planted, from: u64) {
    // Broken assertions are violations too; their traces would only be noise here.
    std::panic::set_hook(Box::new(|_| {}));
    let variation = Variation { planted: Some(bug), ..Variation::default() };
    for seed in from..from + SEEDS_MAX {
        if let Err(what) = play(seed, &variation, false) {
            let first = what.lines().next().unwrap_or_default();
            println!("{bug:?}: {}", first.chars().take(120).collect::<String>());
            return;
        }
    }
    // The hook above keeps panics silent.
    println!("{bug:?} was not noticed in {SEEDS_MAX} worlds from seed {from}");
    panic!("a planted bug was not noticed");
}

macro_rules! noticed {
    ($($name:ident: $bug:expr, from $from:expr;)*) => {
        $(#[test] fn $name() { is_noticed($bug, $from); })*
    };
}

noticed! {
    outdated_ballots: Planted::Paxos(paxos::PlantedBug::AcceptOutdatedBallot), from 27;
    decided_beyond_accepted: Planted::Paxos(paxos::PlantedBug::DecidedBeyondAccepted), from 7;
    deliveries_before_the_disk: Planted::Paxos(paxos::PlantedBug::DeliverBeforePersisted), from 49;
    duplicate_votes: Planted::Paxos(paxos::PlantedBug::DuplicateVotesCount), from 7;
    evictions_by_opinion: Planted::Paxos(paxos::PlantedBug::EvictByOpinion), from 242;
    forgotten_suffixes: Planted::Paxos(paxos::PlantedBug::ForgetAcceptedSuffix), from 10;
    late_promises_that_decide: Planted::Paxos(paxos::PlantedBug::LatePromiseDecides), from 666;
    any_ballots_value: Planted::Paxos(paxos::PlantedBug::AdoptAnyBallot), from 727;
    stale_memberships: Planted::Paxos(paxos::PlantedBug::StaleMembershipStays), from 1206;
    entries_beyond_a_membership: Planted::Paxos(paxos::PlantedBug::NoMembershipBarrier), from 347;
    outdated_values_kept: Planted::Paxos(paxos::PlantedBug::CatchUpKeepsAccepted), from 6302;
    reads_before_the_own_entry: Planted::Paxos(paxos::PlantedBug::ReadBeforeOwnEntry), from 342;
    answers_to_earlier_probes: Planted::Paxos(paxos::PlantedBug::StaleProbeCounts), from 3307;
    reports_before_the_disk: Planted::Paxos(paxos::PlantedBug::AcceptedBeforePersisted), from 1871;
    questions_of_earlier_lives: Planted::Paxos(paxos::PlantedBug::TokensStartAgain), from 1534;
    promises_before_the_disk: Planted::Paxos(paxos::PlantedBug::PromiseBeforePersisted), from 27;
    learners_votes: Planted::Paxos(paxos::PlantedBug::LearnersVote), from 77;
    own_votes_before_the_disk: Planted::Paxos(paxos::PlantedBug::OwnVoteBeforePersisted), from 484;
    reads_without_a_probe: Planted::Paxos(paxos::PlantedBug::ReadWithoutProbe), from 100;
    snapshots_that_forget: Planted::Paxos(paxos::PlantedBug::InstallForgetsAccepted), from 4317;
    any_votes_in_reserve: Planted::Paxos(paxos::PlantedBug::AnyVoteInReserve), from 60;
    alone_of_many: Planted::Paxos(paxos::PlantedBug::AloneOfMany), from 20936;
    new_quorums_unasked: Planted::Paxos(paxos::PlantedBug::NewQuorumUnasked), from 347;
    bases_without_the_promise: Planted::Replica(replica::PlantedBug::BaseWithoutPromise), from 667;
    cuts_before_the_store: Planted::Replica(replica::PlantedBug::CutBeforeStored), from 99;
    stores_before_the_log: Planted::Replica(replica::PlantedBug::StoreBeforeLog), from 17;
}
