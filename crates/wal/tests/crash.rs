//! Crashes at every operation of random lives of a log.

mod support;

use support::{Seen, run};

/// Every operation at which the first life of a seed can end, then three more lives of random length.
fn crash_everywhere(seeds: std::ops::Range<u64>) -> Seen {
    let mut total = Seen::default();
    for seed in seeds {
        let operations = run(seed, None, None).expect("no halt").operations;
        for operation in 0..=operations {
            let seen = run(seed, None, Some(operation))
                .unwrap_or_else(|reason| panic!("halted at operation {operation}: {reason}"));
            total.crashes += seen.crashes;
            total.torn += seen.torn;
            total.recycled += seen.recycled;
        }
    }
    total
}

#[test]
fn acknowledged_records_survive_a_crash_at_every_operation() {
    let seen = crash_everywhere(0..60);
    // The test is only worth something if it gets to the hard places.
    assert!(seen.crashes > 5_000, "{seen:?}");
    assert!(seen.torn > 500, "{seen:?}");
    assert!(seen.recycled > 500, "{seen:?}");
}

/// The long version: `cargo test -p wal --test crash -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn acknowledged_records_survive_a_crash_at_every_operation_of_many_seeds() {
    let seen = crash_everywhere(1_000..4_000);
    eprintln!("{seen:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let once = run(seed, None, Some(40)).expect("the log is right");
        let again = run(seed, None, Some(40)).expect("the log is right");
        assert_eq!(format!("{once:?}"), format!("{again:?}"));
    }
}
