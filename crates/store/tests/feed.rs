//! The changes that entries and change rows tell are those of the content (X1, watch): replayed, they give the
//! content at every slot, at every store, from any place on.

mod common;

use api::{Document, Request, SearchOptions, Value};
use bson::doc;
use common::snapshot::{import_all, pull};
use common::{Dice, apply_slots, run, schema, update, workload, write};
use proptest::prelude::*;
use std::collections::BTreeMap;
use store::{Change, Effect, Engine, MemoryDisk, MemoryEngine, PlantedBug, Store};

type Content = BTreeMap<String, String>;
type Log = [Option<Vec<u8>>];

fn memory() -> Store<MemoryEngine> {
    Store::open(MemoryDisk::new().engine()).expect("opened")
}

/// All content that changes tell of.
fn content(store: &Store<MemoryEngine>) -> Content {
    let reader = store.reader();
    let query = |request: &Request| reader.query(request).expect("no trouble").expect("found");
    let mut content = Content::new();
    let Value::Document(all) = query(&Request::Describe { collection: None }) else {
        unreachable!()
    };
    for name in all.keys() {
        content.insert(format!("c/{name}"), String::new());
        let search = SearchOptions::default();
        let search = Request::Search { collection: name.clone(), filter: doc! {}, search };
        let Value::Array(documents) = query(&search) else { unreachable!() };
        for document in documents {
            let Value::Document(document) = document else { unreachable!() };
            content.insert(document_key(name, document.get("_id")), format!("{document:?}"));
        }
    }
    for number in 0..20 {
        let key = format!("k{number}");
        let value = query(&Request::Read { key: key.clone(), empty_if_absent: false });
        if value != Value::Null {
            content.insert(format!("k/{key}"), format!("{value:?}"));
        }
    }
    content
}

fn document_key(collection: &str, id: Option<&Value>) -> String {
    format!("d/{collection}/{id:?}")
}

/// Carries out a change; false if it does not fit.
fn replay(content: &mut Content, change: Change) -> bool {
    match change {
        Change::Insert { collection, document } => {
            let key = document_key(&collection, document.get("_id"));
            content.contains_key(&format!("c/{collection}"))
                && content.insert(key, format!("{document:?}")).is_none()
        }
        Change::Update { collection, document } => {
            let key = document_key(&collection, document.get("_id"));
            let now = format!("{document:?}");
            content.insert(key, now.clone()).is_some_and(|before| before != now)
        }
        Change::Delete { collection, id } => {
            content.remove(&document_key(&collection, Some(&id))).is_some()
        }
        Change::Write { key, value: Value::Null } => {
            content.remove(&format!("k/{key}"));
            true
        }
        Change::Write { key, value } => {
            content.insert(format!("k/{key}"), format!("{value:?}"));
            true
        }
        Change::Create { collection } => {
            content.insert(format!("c/{collection}"), String::new()).is_none()
        }
        Change::Destroy { collection } => {
            let prefix = format!("d/{collection}/");
            content.retain(|key, _| !key.starts_with(&prefix));
            content.remove(&format!("c/{collection}")).is_some()
        }
    }
}

/// The changes of a slot from a position on.
fn changes(store: &Store<impl Engine>, log: &Log, slot: u64, from: u64) -> Vec<(u64, Change)> {
    let feed = store.reader().feed().expect("no trouble");
    let effect = Effect::from(log[slot as usize - 1].as_deref());
    let mut found = Vec::new();
    let ended = feed.changes(slot, effect, from, &mut |position, change| {
        found.push((position, change));
        true
    });
    assert!(ended.expect("no trouble"));
    found
}

fn shown(changes: &[(u64, Change)]) -> String {
    format!("{changes:?}")
}

/// The content after every slot, from the first.
fn history(log: &Log) -> Vec<Content> {
    let mut store = memory();
    let mut history = vec![Content::new()];
    for _ in log {
        apply_slots(&mut store, log, 1);
        history.push(content(&store));
    }
    history
}

fn batched(log: &Log, seed: u64, bug: Option<PlantedBug>) -> Store<MemoryEngine> {
    let mut dice = Dice(seed);
    let mut store = memory();
    if let Some(bug) = bug {
        store.plant(bug);
    }
    while (store.applied_slot() as usize) < log.len() {
        apply_slots(&mut store, log, 1 + dice.below(30) as usize);
    }
    store
}

fn changes_are_those_of_the_content(seed: u64, bug: Option<PlantedBug>) -> bool {
    let log = workload(seed, 200);
    let history = history(&log);
    let store = batched(&log, seed, bug);
    let mut content = Content::new();
    (1..=log.len() as u64).all(|slot| {
        changes(&store, &log, slot, 0).into_iter().all(|(_, change)| replay(&mut content, change))
            && content == history[slot as usize]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 12, ..Default::default() })]

    #[test]
    fn replayed_changes_give_the_content_of_every_slot(seed in any::<u64>()) {
        prop_assert!(changes_are_those_of_the_content(seed, None));
    }

    /// Whoever goes on at another store, at any place, misses nothing and gets nothing twice: stores that
    /// applied in other batches, crashed and replayed, or began with a snapshot.
    #[test]
    fn every_store_tells_the_same_from_any_place_on(seed in any::<u64>()) {
        let log = workload(seed, 200);
        let mut dice = Dice(seed);
        let one = batched(&log, seed, None);
        let disk = MemoryDisk::new();
        let mut crashing = Store::open(disk.engine()).expect("opened");
        while (crashing.applied_slot() as usize) < log.len() {
            apply_slots(&mut crashing, &log, 1 + dice.below(20) as usize);
            if dice.one_in(5) {
                drop(crashing);
                disk.crash(dice.below(3) as usize);
                crashing = Store::open(disk.engine()).expect("opened");
            }
        }
        crashing.verify().expect("sound");
        let begin = 1 + dice.below(150);
        let mut begun = memory();
        apply_slots(&mut begun, &log, begin as usize);
        let snapshot = begun.reader().snapshot().expect("a snapshot");
        let mut copy = import_all(&snapshot, MemoryDisk::new().engine(), 5000);
        while (copy.applied_slot() as usize) < log.len() {
            apply_slots(&mut copy, &log, 1 + dice.below(20) as usize);
        }
        copy.verify().expect("sound");
        prop_assert_eq!(copy.content_hash().unwrap(), one.content_hash().unwrap());
        for slot in 1..=log.len() as u64 {
            let whole = changes(&one, &log, slot, 0);
            let cut = dice.below(whole.len() as u64 + 1);
            for store in [&one, &crashing, &copy] {
                if std::ptr::eq(store, &raw const copy) && slot <= begin {
                    continue;
                }
                prop_assert_eq!(shown(&changes(store, &log, slot, 0)), shown(&whole));
                prop_assert_eq!(shown(&changes(store, &log, slot, cut)), shown(&whole[cut as usize..]));
            }
        }
    }
}

#[test]
fn a_refused_insert_that_looks_done_is_noticed() {
    let bug = Some(PlantedBug::RefusalsLookDone);
    assert!(!(0..20).all(|seed| changes_are_those_of_the_content(seed, bug)));
}

/// What is kept for those who follow is bounded, and goes oldest first; it is in no snapshot.
#[test]
fn change_rows_are_trimmed_and_stay_here() {
    let log = workload(3, 300);
    let (whole, mut store) = (batched(&log, 3, None), memory());
    store.set_change_rows_bytes_max(4_000);
    while (store.applied_slot() as usize) < log.len() {
        apply_slots(&mut store, &log, 10);
        store.verify().expect("sound");
    }
    let trimmed = store.reader().feed().expect("no trouble").trimmed_slot();
    assert!(trimmed > 10 && trimmed < 300, "{trimmed}");
    for slot in trimmed + 1..=300 {
        assert_eq!(shown(&changes(&store, &log, slot, 0)), shown(&changes(&whole, &log, slot, 0)));
    }
    assert_eq!(store.content_hash().expect("hash"), whole.content_hash().expect("hash"));
    let rows = |store: &Store<MemoryEngine>| {
        let snapshot = store.reader().snapshot().expect("a snapshot");
        pull(&snapshot, 100_000)
    };
    assert_eq!(rows(&store), rows(&whole), "a snapshot is the same everywhere");

    store.log_was_cut(290);
    run(&mut store, write("k", 1)).expect("written");
    run(&mut store, write("k", 2)).expect("written");
    let trimmed = store.reader().feed().expect("no trouble").trimmed_slot();
    assert!((trimmed..=290).contains(&trimmed), "{trimmed}");
    store.verify().expect("sound");
}

/// An entry is told as a whole even if it alone is beyond the bound.
#[test]
fn the_newest_entry_is_kept_whatever_its_size() {
    let mut store = memory();
    store.set_change_rows_bytes_max(100);
    run(&mut store, Request::Create { collection: "c".into(), schema: schema(&[]) }).expect("made");
    let documents: Vec<Document> = (0..50).map(|number| doc! { "_id": number }).collect();
    let insert = Request::Insert { collection: "c".into(), documents, list: true };
    run(&mut store, insert).expect("inserted");
    run(&mut store, update("c", doc! {}, doc! { "$inc": { "n": 1 } })).expect("updated");
    let feed = store.reader().feed().expect("no trouble");
    assert!(feed.trimmed_slot() < 3);
    let mut count = 0;
    let mut each = |_, _| {
        count += 1;
        true
    };
    // Any bytes: the rows tell.
    feed.changes(3, Effect::Command(&[]), 0, &mut each).expect("no trouble");
    assert_eq!(count, 50);
    run(&mut store, write("k", 1)).expect("written");
    assert_eq!(store.reader().feed().expect("no trouble").trimmed_slot(), 3);
}
