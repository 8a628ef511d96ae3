//! The simulator notices planted bugs. Each is played from a seed near one that is known to show it; when
//! the code changes, another seed will, so the search goes on for a while.

use paxos::PlantedBug;
use sim::Planted;

/// Seeds played before a bug counts as unnoticed.
const SEEDS_MAX: u64 = 4_000;

fn is_noticed(bug: PlantedBug, from: u64) {
    // Broken assertions are violations too; their traces would only be noise here.
    std::panic::set_hook(Box::new(|_| {}));
    for seed in from..from + SEEDS_MAX {
        if let Err(what) = sim::cli::play(seed, Some(Planted::Paxos(bug)), false) {
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
    ($($name:ident: $bug:ident from $from:expr;)*) => {
        $(#[test] fn $name() { is_noticed(PlantedBug::$bug, $from); })*
    };
}

noticed! {
    promises_before_the_disk: PromiseBeforePersisted from 1440;
    reports_before_the_disk: AcceptedBeforePersisted from 922;
    own_votes_before_the_disk: OwnVoteBeforePersisted from 1985;
    any_ballots_value: AdoptAnyBallot from 630;
    forgotten_suffixes: ForgetAcceptedSuffix from 8;
    outdated_ballots: AcceptOutdatedBallot from 8;
    reads_before_the_own_entry: ReadBeforeOwnEntry from 455;
    reads_without_a_probe: ReadWithoutProbe from 8;
    answers_to_earlier_probes: StaleProbeCounts from 2269;
    duplicate_votes: DuplicateVotesCount from 59;
    entries_beyond_a_membership: NoMembershipBarrier from 191;
    deliveries_before_the_disk: DeliverBeforePersisted from 99;
    decided_beyond_accepted: DecidedBeyondAccepted from 6;
    late_promises_that_decide: LatePromiseDecides from 8;
    outdated_values_kept: CatchUpKeepsAccepted from 3028;
    questions_of_earlier_lives: TokensStartAgain from 1212;
    stale_memberships: StaleMembershipStays from 102;
}
