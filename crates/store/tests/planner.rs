//! Whatever index a query uses, it answers what a scan of the same documents without indexes does.

mod common;

use api::{Document, Request, SearchOptions, Value};
use bson::doc;
use common::{Dice, random_document, random_filter, run, schema};
use proptest::prelude::*;
use store::{MemoryDisk, MemoryEngine, Reader, Store};

const INDEXED: &str = "indexed";
const PLAIN: &str = "plain";

/// The same documents in a collection with indexes and one without.
fn twin_collections(seed: u64, lists: bool) -> Store<MemoryEngine> {
    let mut dice = Dice(seed);
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    let indexes = schema(&[
        ("age", true, false),
        ("tags", true, false),
        ("email", true, true),
        ("code", true, false),
    ]);
    for (name, schema) in [(INDEXED, indexes), (PLAIN, schema(&[]))] {
        run(&mut store, Request::Create { collection: name.to_owned(), schema }).expect("created");
    }
    for _ in 0..60 {
        let mut document = random_document(&mut dice);
        if !lists {
            for field in ["age", "tags"] {
                if matches!(document.get(field), Some(Value::Array(_))) {
                    document.remove(field);
                }
            }
        }
        if run(&mut store, common::insert(INDEXED, document.clone())).is_ok() {
            run(&mut store, common::insert(PLAIN, document)).expect("inserted");
        }
    }
    store
}

fn search(
    reader: &Reader<MemoryEngine>,
    collection: &str,
    filter: &Document,
    search: &SearchOptions,
) -> Value {
    let (collection, filter, search) = (collection.to_owned(), filter.clone(), search.clone());
    let request = Request::Search { collection, filter, search };
    reader.query(&request).expect("no trouble").expect("a valid query")
}

fn random_options(dice: &mut Dice) -> SearchOptions {
    let mut options = SearchOptions::default();
    for _ in 0..dice.below(3) {
        let field = ["age", "tags", "_id", "email", "name.first"][dice.below(5) as usize];
        options.sort.push((field.to_owned(), if dice.one_in(2) { 1 } else { -1 }));
    }
    if dice.one_in(2) {
        options.limit = Some(dice.below(8));
    }
    options.skip = dice.below(4).saturating_sub(1);
    options
}

/// BSON bytes, because NaN is not equal to itself.
fn bytes(value: Value) -> Vec<u8> {
    doc! { "v": value }.to_vec().expect("BSON")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..Default::default() })]

    #[test]
    fn every_plan_answers_what_a_scan_does(seed in any::<u64>(), lists in any::<bool>()) {
        let store = twin_collections(seed, lists);
        let reader = store.reader();
        let mut dice = Dice(seed ^ 1);
        for _ in 0..40 {
            let filter = random_filter(&mut dice);
            let mut options = random_options(&mut dice);
            for count in [false, true] {
                options.count = count;
                let indexed = search(&reader, INDEXED, &filter, &options);
                let plain = search(&reader, PLAIN, &filter, &options);
                let explain = SearchOptions { explain: true, ..options.clone() };
                let plan = search(&reader, INDEXED, &filter, &explain);
                prop_assert_eq!(
                    bytes(indexed.clone()), bytes(plain.clone()),
                    "filter {} options {:?} plan {}\n{}\n{}", filter, options, plan, indexed, plain
                );
            }
        }
        store.verify().expect("sound");
    }
}

/// The property above is worth something only if the plans differ.
#[test]
fn random_queries_use_every_kind_of_plan() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let store = twin_collections(seed, seed % 2 == 0);
        let mut dice = Dice(seed);
        for _ in 0..60 {
            let filter = random_filter(&mut dice);
            let options = SearchOptions { explain: true, ..random_options(&mut dice) };
            let Value::Document(plan) = search(&store.reader(), INDEXED, &filter, &options) else {
                panic!("explain answers a document");
            };
            kinds.insert(plan.get_str("plan").expect("a plan").to_owned());
        }
    }
    assert_eq!(Vec::from_iter(kinds), ["equality", "range", "scan", "sort", "union", "values"]);
}
