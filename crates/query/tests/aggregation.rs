//! Pipelines: groups against a naive count, and bounds of stages.

mod common;

use api::{Document, Value};
use bson::doc;
use common::{draw, model};
use fastrand::Rng;
use query::{Filter, Pipeline};

fn run(pipeline: &Pipeline, documents: &[Document]) -> Vec<Document> {
    let mut run = pipeline.run();
    for document in documents {
        if !run.push(document.clone()).expect("pushed") {
            break;
        }
    }
    run.finish().expect("finished")
}

fn parse(stages: &[Document]) -> Pipeline {
    Pipeline::parse(stages).unwrap_or_else(|error| panic!("{stages:?}: {error}"))
}

/// The value of a plain field, null where there is none.
fn field(document: &Document, name: &str) -> Value {
    document.get(name).cloned().unwrap_or(Value::Null)
}

#[test]
fn groups_are_those_of_the_model() {
    for seed in 0..3_000 {
        let mut rng = Rng::with_seed(seed);
        let documents: Vec<Document> =
            (0..rng.usize(0..8)).map(|_| draw::stored(&mut rng)).collect();
        let pipeline = parse(&[doc! { "$group": {
            "_id": "$a", "n": { "$sum": 1 }, "min": { "$min": "$b" }, "all": { "$push": "$_id" },
        } }]);
        let mut expected: Vec<Document> = Vec::new();
        for one in &documents {
            let (key, b) = (field(one, "a"), field(one, "b"));
            let found = expected.iter_mut().find(|group| {
                model::compare(&field(group, "_id"), &key) == std::cmp::Ordering::Equal
            });
            let id = one.get_i32("_id").expect("an _id");
            match found {
                None => expected.push(doc! { "_id": key, "n": 1, "min": b, "all": [id] }),
                Some(group) => {
                    let n = group.get_i32("n").expect("a number") + 1;
                    group.insert("n", n);
                    group.get_array_mut("all").expect("a list").push(id.into());
                    let least = field(group, "min");
                    let less = least == Value::Null
                        || model::compare(&b, &least) == std::cmp::Ordering::Less;
                    if b != Value::Null && less {
                        group.insert("min", b);
                    }
                }
            }
        }
        expected.sort_by(|l, r| model::compare(&field(l, "_id"), &field(r, "_id")));
        let got = run(&pipeline, &documents);
        assert_eq!(format!("{got:?}"), format!("{expected:?}"), "seed {seed}: {documents:?}");
    }
}

#[test]
fn matched_sorted_and_cut_documents_are_those_of_the_model() {
    for seed in 0..3_000 {
        let mut rng = Rng::with_seed(seed);
        let documents: Vec<Document> =
            (0..rng.usize(0..8)).map(|_| draw::stored(&mut rng)).collect();
        let (filter, path, up) = (draw::filter(&mut rng, 1), draw::path(&mut rng), rng.bool());
        let (skip, limit) = (rng.usize(0..3), rng.usize(1..4));
        let sort = Document::from_iter([(path.clone(), Value::Int32(if up { 1 } else { -1 }))]);
        let pipeline = parse(&[
            doc! { "$match": filter.clone() },
            doc! { "$sort": sort },
            doc! { "$skip": skip as i32 },
            doc! { "$limit": limit as i32 },
        ]);
        let mut expected: Vec<Document> = documents
            .iter()
            .filter(|one| model::matches(&filter, &Value::Document((*one).clone())))
            .cloned()
            .collect();
        expected.sort_by(|l, r| {
            let key = |d: &Document| model::sort_value(&Value::Document(d.clone()), &path, up);
            let order = model::compare(&key(l), &key(r));
            if up { order } else { order.reverse() }
        });
        let expected: Vec<_> = expected.into_iter().skip(skip).take(limit).collect();
        let got = run(&pipeline, &documents);
        assert_eq!(format!("{got:?}"), format!("{expected:?}"), "seed {seed}: {filter} by {path}");
        // All of it is a search: nothing is left for the stages.
        let prefix = pipeline.prefix();
        assert_eq!((prefix.skip, prefix.limit), (skip as u64, Some(limit as u64)));
        Filter::parse(&prefix.filter).expect("the filter of a search");
        assert_eq!(prefix.sort, [(path, if up { 1 } else { -1 })]);
    }
}

#[test]
fn a_limit_behind_an_unwind_ends_early() {
    let pipeline = parse(&[doc! { "$unwind": "$a" }, doc! { "$limit": 2 }]);
    let mut run = pipeline.run();
    assert!(!run.push(doc! { "a": [1, 2, 3] }).expect("pushed"), "more would not matter");
    assert_eq!(run.finish().expect("finished"), [doc! { "a": 1 }, doc! { "a": 2 }]);
}
