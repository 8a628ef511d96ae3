//! Worlds without a planted bug: nothing is violated, and one seed is one run.

use sim::cli::Variation;
use sim::{Plan, run};

/// P6, P7, P11, P12, P13, P14, P15.
#[test]
fn a_handful_of_worlds_keeps_every_promise() {
    for seed in 1..=60 {
        if let Err(what) = sim::cli::play(seed, &Variation::default(), false) {
            panic!("{what}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 1..=10 {
        let plan = Plan::draw(seed);
        let first = run(&plan, false).unwrap_or_else(|v| panic!("seed {seed}: {v:?}"));
        let second = run(&plan, false).unwrap_or_else(|v| panic!("seed {seed}: {v:?}"));
        assert_eq!(first, second, "seed {seed}");
        hashes.insert(first.trace_hash);
    }
    assert_eq!(hashes.len(), 10, "different seeds are different worlds");
}
