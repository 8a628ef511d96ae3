//! Queries through the store: what an index finds is what the whole collection has, for the language
//! as a whole; and what writes leave to chance.

mod common;

use api::{Document, Request, UpdateOptions, Upsert, Value};
use bson::doc;
use common::{insert, run, schema};
use query::{Filter, Pipeline};
use store::{MemoryDisk, MemoryEngine, Store};

const WORDS: [&str; 4] = ["x", "y", "z", "yy"];

fn open() -> Store<MemoryEngine> {
    Store::open(MemoryDisk::new().engine()).expect("opened")
}

fn filters() -> Vec<Document> {
    vec![
        doc! { "a": { "$gt": 3 } },
        doc! { "a": { "$type": "number", "$mod": [2, 1] } },
        doc! { "a": { "$all": [1, 7] } },
        doc! { "a": { "$elemMatch": { "$gte": 5, "$lt": 9 } } },
        doc! { "a": { "$size": 2 } },
        doc! { "b": { "$in": ["x", "z"] }, "a": { "$not": { "$lt": 5 } } },
        doc! { "b": "y", "$expr": { "$gt": ["$n", 10] } },
        doc! { "$or": [{ "a": 1 }, { "b": { "$regex": "^y" } }] },
        doc! { "a": Value::Null },
        doc! { "n": { "$gte": 20 }, "b": { "$ne": "x" } },
    ]
}

fn documents() -> Vec<Document> {
    let document = |n: i32| {
        let mut one = doc! { "_id": n, "n": n, "b": WORDS[(n % 4) as usize] };
        match n % 5 {
            0 => one.insert("a", n % 10),
            1 => one.insert("a", vec![n % 10, 7]),
            2 => one.insert("a", "text"),
            3 => one.insert("a", Value::Null),
            _ => None,
        };
        one
    };
    (0..60).map(document).collect()
}

#[test]
fn aggregation_through_the_store_is_that_of_the_whole_pipeline() {
    let mut store = open();
    let schema = schema(&[("a", true, false), ("b", true, false)]);
    run(&mut store, Request::Create { collection: "c".to_owned(), schema }).expect("created");
    for document in documents() {
        run(&mut store, insert("c", document)).expect("inserted");
    }
    let rest = [
        vec![],
        vec![doc! { "$sort": { "b": -1, "_id": 1 } }, doc! { "$skip": 2 }, doc! { "$limit": 7 }],
        vec![doc! { "$sort": { "n": -1 } }, doc! { "$limit": 5 }, doc! { "$unwind": "$a" }],
        vec![doc! { "$group": { "_id": "$b", "n": { "$sum": "$n" } } }],
    ];
    for filter in filters() {
        for rest in &rest {
            let mut pipeline = vec![doc! { "$match": filter.clone() }];
            pipeline.extend(rest.iter().cloned());
            let parsed = Pipeline::parse(&pipeline).expect("a pipeline");
            let mut whole = parsed.run();
            for document in documents() {
                if !whole.push(document).expect("pushed") {
                    break;
                }
            }
            let expected = whole.finish().expect("finished");
            let request = Request::Aggregate { collection: "c".to_owned(), pipeline, batch: None };
            let answer = store.reader().query(&request).expect("no trouble").expect("an answer");
            let mut got: Vec<Document> = match answer {
                Value::Array(list) => {
                    list.into_iter().map(|one| one.as_document().expect("one").clone()).collect()
                }
                other => panic!("{other}"),
            };
            if rest.is_empty() {
                // Without an order they come as they are read.
                got.sort_by_key(|one| one.get_i32("_id").expect("an _id"));
            }
            assert_eq!(got, expected, "{filter} then {rest:?}");
        }
        let expected = documents();
        let parsed = Filter::parse(&filter).expect("a filter");
        let count = expected.iter().filter(|one| parsed.matches(one)).count();
        let request = Request::Count { collection: "c".to_owned(), filter: filter.clone() };
        let answer = store.reader().query(&request).expect("no trouble");
        assert_eq!(answer, Ok(Value::Int64(count as i64)), "{filter}");
    }
}

#[test]
fn an_upsert_without_a_drawn_id_is_refused_and_inserts_nothing() {
    let mut store = open();
    let schema = schema(&[]);
    run(&mut store, Request::Create { collection: "c".to_owned(), schema }).expect("created");
    let upsert = |new_id| Request::Update {
        collection: "c".to_owned(),
        filter: doc! { "a": 1 },
        changes: doc! { "b": 1 },
        options: UpdateOptions { upsert: Upsert::Insert { new_id }, ..UpdateOptions::default() },
    };
    let refusal = run(&mut store, upsert(None)).expect_err("no _id");
    assert!(refusal.message.contains("no _id was drawn"), "{refusal}");
    assert!(store::validate(&upsert(None)).is_err(), "before it costs a log entry");
    run(&mut store, upsert(Some("id".into()))).expect("inserted");
    let count = Request::Count { collection: "c".to_owned(), filter: doc! {} };
    assert_eq!(store.reader().query(&count).expect("no trouble"), Ok(Value::Int64(1)));
}
