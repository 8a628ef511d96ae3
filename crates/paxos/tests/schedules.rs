//! Random schedules: crashes with loss of what was not durable, lost, repeated and overtaken messages, partitions,
//! slow disks, cut logs and snapshots, members that come and go. Agreement after every step, progress once it is over.
//!
//! `PAXOS_SEED=n cargo test -p paxos --test schedules` plays the worlds of one seed alone, `PAXOS_TIMES=n` n times as many.

mod group;

use group::world::{Plan, World};
use paxos::Policy;

/// Some seeds to begin with, and those `found` to show something once.
fn seeds(count: u64, found: &[u64]) -> Vec<u64> {
    match option_env!("PAXOS_SEED").map(str::parse) {
        Some(Ok(seed)) => vec![seed],
        _ => {
            let times = option_env!("PAXOS_TIMES").and_then(|n| n.parse().ok()).unwrap_or(1);
            found.iter().copied().chain(0..count * times).collect()
        }
    }
}

/// Plays the world of each seed and says which one failed.
fn play(seeds: &[u64], rounds: usize, plan: fn(u64) -> Plan, end: fn(&mut World)) {
    for seed in seeds {
        let run = || {
            let mut world = World::new(*seed, plan(*seed));
            for _ in 0..rounds {
                world.round();
                let split = world.group.is_split;
                assert!(!split || !must_agree(&plan(*seed)), "{}", world.describe());
            }
            end(&mut world);
        };
        if let Err(cause) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause);
        }
    }
}

fn must_agree(plan: &Plan) -> bool {
    plan.policy == Policy::Paxos || !plan.partitions
}

fn heal(world: &mut World) {
    world.heal();
    assert!(!world.group.is_split, "{}", world.describe());
}

#[test]
fn under_paxos_random_schedules_keep_agreement_and_end_in_progress() {
    let plan = |seed: u64| Plan {
        policy: Policy::Paxos,
        partitions: !seed.is_multiple_of(3),
        membership_churn: !seed.is_multiple_of(4),
        planted: None,
    };
    play(&seeds(2_000, &[3_633]), 400, plan, heal);
}

/// Whoever stops stops, nobody is cut off: then the passive policy keeps what it acknowledged.
#[test]
fn passive_without_partitions_loses_nothing_that_was_acknowledged() {
    let plan = |seed: u64| Plan {
        policy: Policy::Passive,
        partitions: false,
        membership_churn: seed.is_multiple_of(2),
        planted: None,
    };
    play(&seeds(1_000, &[]), 500, plan, |world| {
        heal(world);
        assert!(world.group.nodes.values().all(|node| node.diverged.is_none()));
        let leader = world.leader().expect("there is progress");
        let last = world.group.values.keys().next_back().copied();
        assert!(last <= Some(world.group.node(leader).applied), "{}", world.describe());
    });
}

/// With cut cables two sides may go on; when they meet one of them says from where on it differs.
#[test]
fn passive_with_partitions_drops_nothing_in_silence() {
    let plan = |_| Plan {
        policy: Policy::Passive,
        partitions: true,
        membership_churn: false,
        planted: None,
    };
    play(&seeds(1_000, &[788, 1_943]), 500, plan, |world| {
        world.calm();
        world.run_calmly(400);
        let Some(leader) = world.leader() else { return };
        for n in world.group.nodes.keys().map(|id| id.0) {
            let Some(slot) = world.first_difference(n, leader) else { continue };
            let told = world.group.node(n).diverged;
            assert!(
                told.is_some_and(|from| from <= slot),
                "node {n} at {slot}: {}",
                world.describe()
            );
        }
    });
}
