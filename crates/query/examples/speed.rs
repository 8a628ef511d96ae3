//! How long a prepared filter takes for one document, beside the size of the document: nothing of it
//! is copied.
//!
//! `cargo run --release -p query --example speed`

use api::{Document, Value};
use bson::doc;
use query::Filter;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 200_000;

fn main() {
    let small =
        doc! { "_id": 1, "name": "Ada", "age": 36, "tags": ["x", "y"], "at": { "city": "Paris" } };
    let mut large = small.clone();
    large.insert("text", "x".repeat(1 << 20));
    large.insert("list", Value::Array(vec![Value::from(doc! { "k": "y".repeat(100) }); 1000]));
    let filters = [
        ("equality", doc! { "age": 36 }),
        ("range on a path", doc! { "at.city": { "$gte": "P", "$lt": "Q" } }),
        ("three tests", doc! { "name": "Ada", "age": { "$gt": 30 }, "tags": "y" }),
        ("$in of 1000", doc! { "age": { "$in": (0..1000).collect::<Vec<i32>>() } }),
        ("$regex", doc! { "name": { "$regex": "^A.*a$" } }),
        ("$elemMatch", doc! { "tags": { "$elemMatch": { "$gt": "w", "$lt": "z" } } }),
        ("$expr", doc! { "$expr": { "$gt": ["$age", 30] } }),
    ];
    for (name, filter) in filters {
        let parsed = Filter::parse(&filter).expect("a filter");
        let (small, large) = (nanoseconds(&parsed, &small), nanoseconds(&parsed, &large));
        println!("{name:16} {small:6.0} ns, in a document of 1.1 MiB {large:6.0} ns");
    }
}

fn nanoseconds(filter: &Filter, document: &Document) -> f64 {
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        assert!(black_box(filter).matches(black_box(document)));
    }
    begun.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
}
