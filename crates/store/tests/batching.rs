//! The same entries give the same answers and the same content, however they are batched, on
//! whatever engine, and across crashes that lose the last batches.

mod common;

use common::{Dice, apply_slots, workload};
use proptest::prelude::*;
use store::{
    ContentHash, Engine, FjallEngine, FjallOptions, MemoryDisk, MemoryEngine, Outcome, Store,
};

fn memory() -> Store<MemoryEngine> {
    Store::open(MemoryDisk::new().engine()).expect("opened")
}

/// Applies a whole log in batches drawn from a seed.
fn apply_all<E: Engine>(
    store: &mut Store<E>,
    log: &[Option<Vec<u8>>],
    batch_max: u64,
    seed: u64,
) -> Vec<Outcome> {
    let mut dice = Dice(seed);
    let mut outcomes = Vec::new();
    while (store.applied_slot() as usize) < log.len() {
        outcomes.extend(apply_slots(store, log, 1 + dice.below(batch_max) as usize));
    }
    outcomes
}

/// `Debug`, because NaN in an answer is not equal to itself.
fn shown(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(|outcome| format!("{outcome:?}")).collect()
}

/// The content after every slot of a log.
fn hashes(log: &[Option<Vec<u8>>]) -> Vec<ContentHash> {
    let mut store = memory();
    let mut hashes = vec![store.content_hash().expect("hash").1];
    for _ in log {
        apply_slots(&mut store, log, 1);
        hashes.push(store.content_hash().expect("hash").1);
    }
    hashes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..Default::default() })]

    #[test]
    fn batching_changes_nothing(seed in any::<u64>(), batch_max in 2u64..60) {
        let log = workload(seed, 250);
        let (mut single, mut batched) = (memory(), memory());
        let one_by_one = apply_all(&mut single, &log, 1, seed);
        let in_batches = apply_all(&mut batched, &log, batch_max, seed);
        prop_assert_eq!(shown(&one_by_one), shown(&in_batches));
        prop_assert_eq!(single.content_hash().unwrap(), batched.content_hash().unwrap());
        single.verify().unwrap();
        batched.verify().unwrap();
    }

    /// With a table of references so small that answers and marks are dropped all the time.
    #[test]
    fn batching_changes_nothing_when_references_are_dropped(seed in any::<u64>()) {
        let log = workload(seed, 200);
        let (mut single, mut batched) = (memory(), memory());
        single.set_reference_limits(1, 300);
        batched.set_reference_limits(1, 300);
        let one_by_one = apply_all(&mut single, &log, 1, seed);
        let in_batches = apply_all(&mut batched, &log, 40, seed);
        prop_assert_eq!(shown(&one_by_one), shown(&in_batches));
        prop_assert_eq!(single.content_hash().unwrap(), batched.content_hash().unwrap());
        single.verify().unwrap();
    }

    #[test]
    fn a_crash_leaves_one_applied_slot_and_replay_the_same_content(seed in any::<u64>()) {
        let log = workload(seed, 200);
        let hashes = hashes(&log);
        let mut dice = Dice(seed);
        let disk = MemoryDisk::new();
        let mut store = Store::open(disk.engine()).unwrap();
        let mut crashes = 0;
        while (store.applied_slot() as usize) < log.len() {
            apply_slots(&mut store, &log, 1 + dice.below(12) as usize);
            if dice.one_in(4) {
                store.persist().unwrap();
            }
            if crashes < 20 && dice.one_in(3) {
                crashes += 1;
                drop(store);
                disk.crash(dice.below(5) as usize);
                store = Store::open(disk.engine()).unwrap();
                let (slot, hash) = store.content_hash().unwrap();
                prop_assert_eq!(hash, hashes[slot as usize]);
                store.verify().unwrap();
            }
        }
        prop_assert_eq!(store.content_hash().unwrap().1, hashes[log.len()]);
    }
}

/// Pages of references hold more than the index in memory: a store that reads them again must go on as one that was
/// never away, also while answers and marks are dropped for want of room.
#[test]
fn references_are_the_same_after_every_start() {
    for seed in 0..60 {
        let log = workload(seed, 300);
        let mut dice = Dice(seed);
        let count = [1, 2, 5, 17, 40][dice.below(5) as usize];
        let bytes = [400, 2_000, u64::MAX][dice.below(3) as usize];
        let mut steady = memory();
        steady.set_reference_limits(count, bytes);
        let disk = MemoryDisk::new();
        while (steady.applied_slot() as usize) < log.len() {
            let mut store = Store::open(disk.engine()).unwrap();
            store.set_reference_limits(count, bytes);
            for _ in 0..=dice.below(3) {
                let length = 1 + dice.below(25) as usize;
                let expected = apply_slots(&mut steady, &log, length);
                assert_eq!(shown(&apply_slots(&mut store, &log, length)), shown(&expected));
                assert_eq!(store.content_hash().unwrap(), steady.content_hash().unwrap());
            }
            store.verify().unwrap();
        }
    }
}

/// What was persisted stays, whatever a crash takes.
#[test]
fn persisted_batches_survive_a_crash() {
    let log = workload(5, 30);
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.engine()).unwrap();
    apply_slots(&mut store, &log, 10);
    store.persist().unwrap();
    apply_slots(&mut store, &log, 5);
    apply_slots(&mut store, &log, 5);
    assert_eq!(disk.unpersisted_batches(), 2);
    drop(store);
    disk.crash(100);
    assert_eq!(Store::open(disk.engine()).unwrap().applied_slot(), 10);
}

#[test]
fn both_engines_hold_the_same_content() {
    for seed in 0..6 {
        let log = workload(seed, 400);
        let mut twin = memory();
        let expected = apply_all(&mut twin, &log, 30, seed);
        let folder = tempfile::tempdir().unwrap();
        // Small tables, so that most rows are read from disk.
        let options = FjallOptions { memtable_bytes: 16 << 10, ..FjallOptions::default() };
        let open = || FjallEngine::open(folder.path(), options).unwrap();
        let mut store = Store::open(open()).unwrap();
        let outcomes = apply_all(&mut store, &log, 30, seed);
        assert_eq!(shown(&outcomes), shown(&expected));
        assert_eq!(store.content_hash().unwrap(), twin.content_hash().unwrap());
        store.verify().unwrap();
        drop(store);
        let store = Store::open(open()).unwrap();
        assert_eq!(store.content_hash().unwrap(), twin.content_hash().unwrap());
        store.verify().unwrap();
    }
}

/// A node must not go on with rows that a bad disk changed.
#[test]
fn flipped_bits_are_noticed_or_change_the_hash() {
    // A log that leaves no rows of destroyed collections: nothing looks at those.
    let log = workload(11, 150);
    let mut intact = memory();
    apply_all(&mut intact, &log, 20, 11);
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.engine()).unwrap();
    apply_all(&mut store, &log, 20, 11);
    drop(store);
    let mut dice = Dice(11);
    for _ in 0..300 {
        let copy = disk.fork();
        if !copy.flip_bit(dice.below(1000) as usize, dice.below(4000) as usize) {
            continue;
        }
        let Ok(store) = Store::open(copy.engine()) else { continue };
        let same = store.content_hash().ok() == intact.content_hash().ok();
        assert!(!same || store.verify().is_err() || store.applied_slot() != intact.applied_slot());
    }
}
