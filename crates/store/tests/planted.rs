//! Each safety line, switched off, is missed by a test that passes with it.

mod common;

use api::{ErrorCode, Reference, Request, SearchOptions, Value};
use bson::doc;
use common::snapshot::{import_all, pull};
use common::{apply_slots, insert, run, schema, update, write};
use store::{
    Command, Effect, Entry, Import, ImportError, MemoryDisk, MemoryEngine, PlantedBug, Store,
};

fn store(bug: Option<PlantedBug>) -> Store<MemoryEngine> {
    open(&MemoryDisk::new(), bug)
}

fn open(disk: &MemoryDisk, bug: Option<PlantedBug>) -> Store<MemoryEngine> {
    let mut store = Store::open(disk.engine()).expect("opened");
    if let Some(bug) = bug {
        store.plant(bug);
    }
    store
}

/// Reopened after a crash, is the content that of the applied slot? (A replay alone would not tell:
/// the references hide that an entry is applied twice.)
fn content_is_that_of_the_slot(bug: Option<PlantedBug>) -> bool {
    let command = |sequence, request| {
        let reference = Reference::new("c", sequence);
        Some(Command { reference, acked: sequence, time_ms: 0, request }.encode())
    };
    let create = Request::Create { collection: "c".into(), schema: schema(&[]) };
    let count = update("c", doc! {}, doc! { "$inc": { "n": 1 } });
    let log = [
        command(1, create),
        command(2, insert("c", doc! { "_id": 1, "n": 0 })),
        command(3, count.clone()),
        command(4, count),
    ];
    let mut twin = store(None);
    let mut hashes = vec![twin.content_hash().expect("hash")];
    for _ in &log {
        apply_slots(&mut twin, &log, 1);
        hashes.push(twin.content_hash().expect("hash"));
    }
    (0..8).all(|lost_batches| {
        let disk = MemoryDisk::new();
        let mut store = open(&disk, bug);
        for _ in &log {
            apply_slots(&mut store, &log, 1);
        }
        drop(store);
        disk.crash(lost_batches);
        let store = open(&disk, bug);
        store.content_hash().expect("hash") == hashes[store.applied_slot() as usize]
    })
}

#[test]
fn applied_slot_and_effects_are_one_batch() {
    assert!(content_is_that_of_the_slot(None));
    assert!(!content_is_that_of_the_slot(Some(PlantedBug::SlotInAnotherBatch)));
}

/// Is a swap retried after a restart answered as the first time, without a second effect?
fn retry_is_harmless(bug: Option<PlantedBug>) -> bool {
    let disk = MemoryDisk::new();
    let mut store = open(&disk, bug);
    run(&mut store, write("k", "old")).expect("written");
    let request = Request::Swap { key: "k".into(), value: "new".into() };
    let reference = Reference::new("client", 1);
    let swap = Command { reference, acked: 0, time_ms: 0, request };
    let first = common::apply(&mut store, &swap);
    drop(store);
    let mut store = open(&disk, bug);
    run(&mut store, write("k", "other")).expect("written");
    let second = common::apply(&mut store, &swap);
    let read = Request::Read { key: "k".into(), empty_if_absent: false };
    let value = store.reader().query(&read).expect("no trouble").expect("read");
    second.repeated && second.answer == first.answer && value == Value::from("other")
}

/// P9.
#[test]
fn a_retry_has_no_second_effect() {
    assert!(retry_is_harmless(None));
    assert!(!retry_is_harmless(Some(PlantedBug::ReferencesNotWritten)));
}

/// Are two documents with one unique value refused within one apply batch?
fn unique_within_a_batch(bug: Option<PlantedBug>) -> bool {
    let mut store = store(bug);
    let fields = schema(&[("email", true, true)]);
    run(&mut store, Request::Create { collection: "c".into(), schema: fields }).expect("created");
    let start = store.applied_slot();
    let command = |offset: u64| {
        let reference = Reference::new("c", offset);
        let request = insert("c", doc! { "_id": offset as i64, "email": "same" });
        Command { reference, acked: 0, time_ms: 0, request }.encode()
    };
    let commands = [command(1), command(2)];
    let entries: Vec<Entry<'_>> = commands
        .iter()
        .zip(start + 1..)
        .map(|(command, slot)| Entry { slot, effect: Effect::Command(command) })
        .collect();
    let outcomes = store.apply(&entries).expect("applied");
    matches!(&outcomes[1].answer, Some(Err(error)) if error.code == ErrorCode::Duplicate)
}

#[test]
fn unique_holds_within_an_apply_batch() {
    assert!(unique_within_a_batch(None));
    assert!(!unique_within_a_batch(Some(PlantedBug::UniqueIgnoresOverlay)));
}

/// Is a swap retried at a store made of a snapshot answered as the first time?
fn retry_after_a_snapshot_is_harmless(bug: Option<PlantedBug>) -> bool {
    let mut store = store(None);
    let request = Request::Swap { key: "k".into(), value: "new".into() };
    let reference = Reference::new("client", 1);
    let swap = Command { reference, acked: 0, time_ms: 0, request };
    let first = common::apply(&mut store, &swap);
    let mut snapshot = store.reader().snapshot().expect("snapshot");
    if let Some(bug) = bug {
        snapshot.plant(bug);
    }
    let mut copy = import_all(&snapshot, MemoryDisk::new().engine(), 1000);
    let second = common::apply(&mut copy, &swap);
    second.repeated && second.answer == first.answer
}

/// P9.
#[test]
fn a_retry_after_a_snapshot_has_no_second_effect() {
    assert!(retry_after_a_snapshot_is_harmless(None));
    assert!(!retry_after_a_snapshot_is_harmless(Some(PlantedBug::SnapshotWithoutReferences)));
}

/// Is a chunk refused that leaves rows out, being of an export in longer chunks?
fn rows_left_out_are_noticed(bug: Option<PlantedBug>) -> bool {
    let mut store = store(None);
    for number in 0..100 {
        run(&mut store, write(&format!("k{number:02}"), number)).expect("written");
    }
    let snapshot = store.reader().snapshot().expect("snapshot");
    let (short, long) = (pull(&snapshot, 200), pull(&snapshot, 400));
    let mut import = Import::begin(MemoryDisk::new().engine()).expect("begun");
    if let Some(bug) = bug {
        import.plant(bug);
    }
    import.add(&short[0]).expect("taken");
    import.add(&long[1]) == Err(ImportError::BrokenChain { number: 1 })
}

#[test]
fn a_chunk_follows_the_chunks_that_came() {
    assert!(rows_left_out_are_noticed(None));
    assert!(!rows_left_out_are_noticed(Some(PlantedBug::ChunkChainIgnored)));
}

/// After an update, does a search by the old value find nothing, and is the collection sound?
fn old_values_leave_the_index(bug: Option<PlantedBug>) -> bool {
    let mut store = store(bug);
    let fields = schema(&[("age", true, false)]);
    run(&mut store, Request::Create { collection: "c".into(), schema: fields }).expect("created");
    run(&mut store, insert("c", doc! { "_id": 1, "age": 1 })).expect("inserted");
    run(&mut store, update("c", doc! {}, doc! { "age": 2 })).expect("updated");
    run(&mut store, Request::Delete { collection: "c".into(), filter: doc! {}, multi: true })
        .expect("deleted");
    let (filter, search) = (doc! { "age": 1 }, SearchOptions::default());
    let search = Request::Search { collection: "c".into(), filter, search };
    let empty = Value::Array(Vec::new());
    store.verify().is_ok() && store.reader().query(&search) == Ok(Ok(empty))
}

#[test]
fn an_update_removes_old_index_entries() {
    assert!(old_values_leave_the_index(None));
    assert!(!old_values_leave_the_index(Some(PlantedBug::OldIndexEntriesStay)));
}
