//! Unions: what one costs at most, and long documents in them (X2, D10).

mod common;

use api::{Document, Request, SearchOptions, Value};
use bson::doc;
use common::{insert, run, schema};
use store::{Found, MemoryDisk, MemoryEngine, PageLimits, PageStart, Store};

fn store(documents: impl Iterator<Item = Document>) -> Store<MemoryEngine> {
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    let schema = schema(&[("a", true, false), ("b", true, false)]);
    run(&mut store, Request::Create { collection: "c".into(), schema }).expect("created");
    for document in documents {
        run(&mut store, insert("c", document)).expect("inserted");
    }
    store
}

fn search(filter: Document, search: SearchOptions) -> Request {
    Request::Search { collection: "c".into(), filter, search }
}

fn explain(store: &Store<MemoryEngine>, filter: &Document) -> Document {
    let options = SearchOptions { explain: true, ..SearchOptions::default() };
    let answer = store.reader().query(&search(filter.clone(), options)).expect("no trouble");
    answer.expect("explained").as_document().expect("a document").clone()
}

/// Branches that all documents pass cost what their number says, and longer lists one scan.
#[test]
fn a_union_reads_each_index_once_and_has_a_bound() {
    let store = store((0..20).map(|id| doc! { "_id": id, "a": id, "b": id }));
    let branches = |count: i32| {
        let branch = |number: i32| doc! { ["a", "b"][number as usize % 2]: { "$gte": -number } };
        doc! { "$or": (0..count).map(branch).collect::<Vec<_>>() }
    };
    let explained = explain(&store, &branches(64));
    assert_eq!(explained.get_str("plan").expect("a plan"), "union");
    assert_eq!(explained.get_i64("keys_examined").expect("a number"), 64 * 20);
    assert_eq!(explained.get_i64("returned").expect("a number"), 20);
    let explained = explain(&store, &branches(65));
    assert_eq!(explained.get_str("plan").expect("a plan"), "scan");
    assert_eq!(explained.get_i64("keys_examined").expect("a number"), 20);
}

/// Which documents an expression is asked of must not depend on indexes: it can refuse the request.
#[test]
fn a_filter_with_an_expression_has_no_union() {
    let store = store((0..3).map(|id| doc! { "_id": id, "a": id, "b": id }));
    let filter = doc! { "$or": [{ "a": 1 }, { "b": 2, "$expr": { "$divide": ["$a", "$b"] } }] };
    assert_eq!(explain(&store, &filter).get_str("plan").expect("a plan"), "scan");
}

/// Long documents do not wait in memory, and come whole all the same, in parts as well.
#[test]
fn long_documents_are_merged() {
    let text = "x".repeat(600 << 10);
    let document = |id| doc! { "_id": id, "a": id % 3, "b": id % 2, "text": &text };
    let store = store((0..12).map(document));
    let filter = doc! { "$or": [{ "a": 1 }, { "b": 1 }] };
    let expected: Vec<Value> =
        (0..12).filter(|id| id % 3 == 1 || id % 2 == 1).map(|id| document(id).into()).collect();
    let whole = search(filter.clone(), SearchOptions::default());
    let whole = store.reader().query(&whole).expect("no trouble").expect("found");
    assert!(whole == Value::Array(expected.clone()));
    let batch = SearchOptions { batch: Some(1), ..SearchOptions::default() };
    let found = store.reader().query_within(&search(filter, batch), 16 << 20).expect("no trouble");
    let Ok(Found::Pages(pages)) = found else { panic!("pages were asked for") };
    assert!(pages.held_bytes() < 100_000);
    let (mut items, mut start) = (Vec::new(), Some(PageStart::default()));
    while let Some(here) = start {
        let limits = PageLimits { items: 2, bytes: 16 << 20 };
        let page = pages.page(&here, limits).expect("no trouble").expect("it fits");
        items.extend(page.items);
        start = page.next;
    }
    assert!(items == expected);
}
