//! Many documents in one collection with two indexes, and what that costs as it grows:
//! `cargo run --release -p store --example many_documents -- [documents] [folder] [stop]`.
//!
//! Documents of about 250 bytes, in random order of `_id`, 100 insert commands per apply batch, the engine
//! synced every 50,000. One line for each twentieth part of them; then point reads, searches and counts by
//! index, opening, and the build of a third index step by step. A folder that is named is kept, and a load
//! that was broken off goes on; `stop` ends it after so many documents of all.

use api::{
    FieldSchema, FieldType, IndexKey, IndexSpec, Reference, Request, Schema, SearchOptions, Value,
};
use bson::doc;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Command, Effect, Entry, FjallEngine, FjallOptions, Outcome, Reader, Store};

const BATCH: u64 = 100;
const DOCUMENTS_PER_SYNC: u64 = 50_000;
const WINDOWS: u64 = 20;
/// Documents of one group.
const GROUP: u64 = 10;
const QUERIES: u64 = 20_000;
const COLLECTION: &str = "people";

type Anything<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Anything<()> {
    let mut arguments = std::env::args().skip(1);
    let documents: u64 = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let Some(folder) = arguments.next() else {
        let folder = std::env::temp_dir().join(format!("mondongo-many-{}", std::process::id()));
        let measured = measure(&folder, documents, documents);
        std::fs::remove_dir_all(&folder)?;
        return measured;
    };
    let stop = arguments.next().map_or(Ok(documents), |text| text.parse())?;
    measure(&PathBuf::from(folder), documents, stop)
}

fn measure(folder: &Path, documents: u64, stop: u64) -> Anything<()> {
    let mut store = Store::open(FjallEngine::open(folder, FjallOptions::default())?)?;
    load(&mut store, documents, stop)?;
    println!("disk: {} MB", store.engine().disk_bytes()? / 1_000_000);
    println!("memory: {}", memory());
    drop(store);

    let begun = Instant::now();
    let mut store = Store::open(FjallEngine::open(folder, FjallOptions::default())?)?;
    println!("open: {:.2} s", begun.elapsed().as_secs_f64());
    let reader = store.reader();
    let loaded = store.applied_slot() - 1;
    println!("{loaded} documents");
    let at = |number| shuffled(scatter(number) % loaded, documents);
    time("one document by _id", |number| search(&reader, doc! { "_id": id(at(number)) }, 1))?;
    time("one document by index", |number| {
        search(&reader, doc! { "email": email(at(number)) }, 1)
    })?;
    time("10 documents of one value by index", |number| {
        let found = doc! { "group": group(at(number)) };
        query(&reader, found, SearchOptions::default()).map(|_| ())
    })?;
    time("100 documents of a range by index, sorted", |number| {
        let options = SearchOptions {
            sort: vec![("group".to_owned(), 1)],
            limit: Some(100),
            ..SearchOptions::default()
        };
        let start = group(at(number) / 2);
        query(&reader, doc! { "group": { "$gte": start } }, options).map(|_| ())
    })?;
    time("count of 1,000 entries by index", |number| {
        let options = SearchOptions { count: true, ..SearchOptions::default() };
        let start = group(at(number) / 2);
        let range = doc! { "group": { "$gte": start, "$lt": start + 100 } };
        query(&reader, range, options).map(|_| ())
    })?;
    println!("memory: {}", memory());
    drop(reader);
    build(&mut store)?;
    println!("disk with a third index: {} MB", store.engine().disk_bytes()? / 1_000_000);
    println!("memory: {}", memory());
    Ok(())
}

/// Different for different numbers, in no order (an odd factor modulo 2^64, folded).
fn scatter(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}

fn id(number: u64) -> String {
    format!("{:016x}-{number:08}", scatter(number))
}

fn email(number: u64) -> String {
    format!("user{number}@example.org")
}

fn group(number: u64) -> i64 {
    (number / GROUP) as i64
}

fn command(slot: u64, request: Request) -> Vec<u8> {
    let reference = Reference::new("7f1e8a52-0c3b-4d5e-9f60-718293a4b5c6", slot);
    Command { reference, acked: slot.saturating_sub(2 * BATCH), time_ms: slot, request }.encode()
}

fn insert(number: u64) -> Request {
    let document = doc! {
        "_id": id(number),
        "email": email(number),
        "group": group(number),
        "name": "Somebody With A Name",
        "active": number.is_multiple_of(2),
        "note": "x".repeat(80),
    };
    let collection = COLLECTION.to_owned();
    Request::Insert { collection, documents: vec![document], list: false }
}

fn apply(store: &mut Store<FjallEngine>, requests: Vec<Request>) -> Anything<Vec<Outcome>> {
    let first = store.applied_slot() + 1;
    let commands: Vec<_> =
        requests.into_iter().zip(first..).map(|(request, slot)| command(slot, request)).collect();
    let entries: Vec<_> = (commands.iter().zip(first..))
        .map(|(command, slot)| Entry { slot, effect: Effect::Command(command) })
        .collect();
    let outcomes = store.apply(&entries)?;
    match outcomes.iter().find(|outcome| !matches!(outcome.answer, Some(Ok(_)))) {
        Some(refused) => Err(format!("refused: {refused:?}").into()),
        None => Ok(outcomes),
    }
}

fn load(store: &mut Store<FjallEngine>, documents: u64, stop: u64) -> Anything<()> {
    let indexed =
        |name: &str| FieldSchema { index: true, ..FieldSchema::new(name, FieldType::Any) };
    let schema = Schema { fields: vec![indexed("email"), indexed("group")] };
    if store.applied_slot() == 0 {
        apply(store, vec![Request::Create { collection: COLLECTION.to_owned(), schema }])?;
    }
    let loaded = store.applied_slot() - 1;
    let window = (documents / WINDOWS).max(BATCH);
    let (mut batches, mut syncs) = (Vec::new(), Vec::new());
    println!("documents | per second | batch p50 | p99 | slowest | slowest sync | disk | memory");
    for first in (loaded..stop).step_by(BATCH as usize) {
        // Neither `_id` nor the values of the indexes come in order.
        let numbers = first..stop.min(first + BATCH);
        let requests = numbers.map(|number| insert(shuffled(number, documents))).collect();
        let begun = Instant::now();
        apply(store, requests)?;
        batches.push(begun.elapsed());
        if (first + BATCH).is_multiple_of(DOCUMENTS_PER_SYNC) {
            let begun = Instant::now();
            store.persist()?;
            syncs.push(begun.elapsed());
        }
        if (first + BATCH).is_multiple_of(window) {
            let total: Duration = batches.iter().chain(&syncs).sum();
            println!(
                "{} | {:.0} | {} | {} | {} | {} | {} MB | {}",
                first + BATCH,
                window as f64 / total.as_secs_f64(),
                milliseconds(share(&mut batches, 0.5)),
                milliseconds(share(&mut batches, 0.99)),
                milliseconds(share(&mut batches, 1.0)),
                milliseconds(share(&mut syncs, 1.0)),
                store.engine().disk_bytes()? / 1_000_000,
                memory(),
            );
            batches.clear();
            syncs.clear();
        }
    }
    Ok(())
}

/// Each number below `count` once, in no order: steps of a length that shares no factor with it.
fn shuffled(number: u64, count: u64) -> u64 {
    let step = (1..).map(|odd| 0x9e37_79b1 + 2 * odd).find(|step| common_factor(*step, count) == 1);
    let step = u128::from(step.unwrap_or(1));
    (u128::from(number) * step % u128::from(count)) as u64
}

fn common_factor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { common_factor(other, one % other) }
}

fn share(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    let index = (times.len() as f64 * share) as usize;
    times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn time(name: &str, mut query: impl FnMut(u64) -> Anything<()>) -> Anything<()> {
    let mut times = Vec::new();
    for number in 0..QUERIES {
        let begun = Instant::now();
        query(number)?;
        times.push(begun.elapsed());
    }
    println!(
        "{name}: p50 {}, p99 {}, slowest {}",
        milliseconds(share(&mut times, 0.5)),
        milliseconds(share(&mut times, 0.99)),
        milliseconds(share(&mut times, 1.0))
    );
    Ok(())
}

fn query(
    reader: &Reader<FjallEngine>,
    filter: bson::Document,
    search: SearchOptions,
) -> Anything<Value> {
    let collection = COLLECTION.to_owned();
    Ok(reader.query(&Request::Search { collection, filter, search })??)
}

fn search(reader: &Reader<FjallEngine>, filter: bson::Document, expected: u64) -> Anything<()> {
    match query(reader, filter, SearchOptions::default())? {
        Value::Array(found) if found.len() as u64 == expected => Ok(()),
        other => Err(format!("{expected} documents expected, found {other}").into()),
    }
}

/// A third index, while nothing else is written.
fn build(store: &mut Store<FjallEngine>) -> Anything<()> {
    let key = |path: &str, descending| IndexKey { path: path.to_owned(), descending };
    let keys = vec![key("active", false), key("group", true)];
    let name = IndexSpec::default_name(&keys);
    let index = IndexSpec { name, keys, unique: false, sparse: false, filter: None };
    let begun = Instant::now();
    let mut steps = Vec::new();
    let mut request = Request::CreateIndex { collection: COLLECTION.to_owned(), index };
    loop {
        let begun = Instant::now();
        let outcomes = apply(store, vec![request])?;
        steps.push(begun.elapsed());
        if outcomes.iter().all(|outcome| !outcome.is_building) {
            break;
        }
        request = Request::BuildIndex { documents: 1000 };
    }
    println!(
        "a third index: {:.1} s in {} steps, p50 {}, p99 {}, slowest {}",
        begun.elapsed().as_secs_f64(),
        steps.len(),
        milliseconds(share(&mut steps, 0.5)),
        milliseconds(share(&mut steps, 0.99)),
        milliseconds(share(&mut steps, 1.0))
    );
    Ok(())
}

/// Where the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.unwrap_or_default() / 1024
    };
    format!("{} MB resident, {} MB at most", line("VmRSS:"), line("VmHWM:"))
}
