//! How long searches take that read entries alone, documents, several indexes, or everything:
//! `cargo run --release -p store --example plans -- [documents]`.

use api::{Document, IndexKey, IndexSpec, Reference, Request, Schema, SearchOptions, Value};
use bson::doc;
use std::time::{Duration, Instant};
use store::{Command, Effect, Entry, FjallEngine, FjallOptions, Reader, Store};

/// Documents of one insert.
const LIST: i64 = 1000;
/// How often each search is made; the quickest counts.
const TIMES: usize = 7;

type Anything<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Anything<()> {
    let documents = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("mondongo-plans-{}", std::process::id()));
    let mut store = Store::open(FjallEngine::open(&folder, FjallOptions::default())?)?;
    apply(&mut store, Request::Create { collection: "c".into(), schema: Schema::default() })?;
    apply(&mut store, index(&["a", "b"]))?;
    apply(&mut store, index(&["k"]))?;
    let begun = Instant::now();
    for first in (0..documents).step_by(LIST as usize) {
        let document =
            |n: i64| doc! { "_id": n, "a": n % 1000, "b": n, "k": n / 10, "text": "x".repeat(500) };
        let documents = (first..first + LIST).map(document).collect();
        apply(&mut store, Request::Insert { collection: "c".into(), documents, list: true })?;
    }
    store.persist()?;
    println!("{documents} documents inserted: {:?}", begun.elapsed());

    let reader = store.reader();
    let fields = |fields| SearchOptions { fields: Some(fields), ..SearchOptions::default() };
    let range = doc! { "a": { "$gte": 100, "$lt": 150 } };
    time(&reader, "a range from entries alone", &range, fields(doc! { "a": 1, "b": 1 }))?;
    let more = fields(doc! { "a": 1, "b": 1, "none": 1 });
    time(&reader, "the same with a look at each document", &range, more)?;
    let either = doc! { "$or": [{ "a": 7 }, { "k": 555 }] };
    time(&reader, "$or by two indexes", &either, SearchOptions::default())?;
    let first = SearchOptions { limit: Some(10), ..SearchOptions::default() };
    time(&reader, "the first 10 of them", &either, first)?;
    let scan = SearchOptions { hint: Some("_id_".into()), ..SearchOptions::default() };
    time(&reader, "$or by reading everything", &either, scan)?;

    let begun = Instant::now();
    store.verify()?;
    println!("everything verified: {:?}", begun.elapsed());
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn index(paths: &[&str]) -> Request {
    let key = |path: &&str| IndexKey { path: (*path).to_owned(), descending: false };
    let keys: Vec<IndexKey> = paths.iter().map(key).collect();
    let name = IndexSpec::default_name(&keys);
    let index = IndexSpec { name, keys, unique: false, sparse: false, filter: None };
    Request::CreateIndex { collection: "c".into(), index }
}

fn apply(store: &mut Store<FjallEngine>, request: Request) -> Anything<()> {
    let slot = store.applied_slot() + 1;
    let reference = Reference::new(format!("slot{slot}"), 0);
    let command = Command { reference, acked: 0, time_ms: 0, request }.encode();
    for outcome in store.apply(&[Entry { slot, effect: Effect::Command(&command) }])? {
        outcome.answer.transpose()?;
    }
    Ok(())
}

fn time(
    reader: &Reader<FjallEngine>,
    what: &str,
    filter: &Document,
    search: SearchOptions,
) -> Anything<()> {
    let request = Request::Search { collection: "c".into(), filter: filter.clone(), search };
    let (mut best, mut found) = (Duration::MAX, 0);
    for _ in 0..TIMES {
        let begun = Instant::now();
        if let Value::Array(documents) = reader.query(&request)?? {
            found = documents.len();
        }
        best = best.min(begun.elapsed());
    }
    println!("{what}: {found} documents, {:.2} ms", best.as_secs_f64() * 1e3);
    Ok(())
}
