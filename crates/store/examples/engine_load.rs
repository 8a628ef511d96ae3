//! Loads documents into a store on disk and prints what it costs:
//! `cargo run --release -p store --example engine_load -- [documents] [folder]`.
//!
//! Documents of about 250 bytes with two indexes, in random order of `_id`, 100 insert commands per
//! apply batch, the engine synced every 50,000 documents; then point reads, and searches of ten
//! documents through an index.

use api::{FieldSchema, FieldType, Reference, Request, Schema, SearchOptions, Value};
use bson::doc;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use store::{Command, Effect, Entry, FjallEngine, FjallOptions, Reader, Store};

const BATCH: u64 = 100;
const DOCUMENTS_PER_SYNC: u64 = 50_000;
const GROUPS: u64 = 10;
const QUERIES: u64 = 50_000;
const COLLECTION: &str = "people";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let documents = arguments.next().map_or(Ok(500_000), |text| text.parse())?;
    let folder = arguments.next().map_or_else(
        || std::env::temp_dir().join(format!("mondongo-load-{}", std::process::id())),
        PathBuf::from,
    );
    let engine = FjallEngine::open(&folder, FjallOptions::default())?;
    let mut store = Store::open(engine)?;
    load(&mut store, documents)?;
    let reader = store.reader();
    measure("gets", QUERIES, |number| get(&reader, scatter(number) % documents))?;
    measure("searches of 10 documents by index", QUERIES / 10, |number| {
        search(&reader, scatter(number) % (documents / GROUPS).max(1))
    })?;
    let begun = Instant::now();
    store.content_hash()?;
    println!("content hash: {:.2} s", begun.elapsed().as_secs_f64());
    println!("disk: {} MB", store.engine().disk_bytes()? / 1_000_000);
    print_memory();
    drop((reader, store));
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Different for different numbers, in no order (an odd factor modulo 2^64, folded).
fn scatter(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}

fn indexed(name: &str) -> FieldSchema {
    FieldSchema {
        name: name.to_owned(),
        kind: FieldType::Any,
        index: true,
        unique: false,
        required: false,
        default: None,
    }
}

fn command(slot: u64, request: Request) -> Vec<u8> {
    let reference = Reference::new("7f1e8a52-0c3b-4d5e-9f60-718293a4b5c6", slot);
    Command { reference, acked: slot.saturating_sub(2 * BATCH), time_ms: slot, request }.encode()
}

fn insert(number: u64, documents: u64) -> Request {
    let id = scatter(number) % (documents * 16);
    let document = doc! {
        "_id": format!("{id:016x}-{number:08}"),
        "email": format!("user{number}@example.org"),
        "group": (number % (documents / GROUPS).max(1)) as i64,
        "name": "Somebody With A Name",
        "active": number.is_multiple_of(2),
        "note": "x".repeat(80),
    };
    let collection = COLLECTION.to_owned();
    Request::Insert { collection, documents: vec![document], list: false }
}

fn load(store: &mut Store<FjallEngine>, documents: u64) -> Result<(), Box<dyn std::error::Error>> {
    let schema = Schema { fields: vec![indexed("email"), indexed("group")] };
    let create = command(1, Request::Create { collection: COLLECTION.to_owned(), schema });
    store.apply(&[Entry { slot: 1, effect: Effect::Command(&create) }])?;
    let (mut applying, mut syncing) = (Vec::new(), Vec::new());
    for first in (0..documents).step_by(BATCH as usize) {
        let slot = store.applied_slot() + 1;
        let commands: Vec<_> = (0..BATCH.min(documents - first))
            .map(|offset| command(slot + offset, insert(first + offset, documents)))
            .collect();
        let entries: Vec<_> = commands
            .iter()
            .zip(slot..)
            .map(|(command, slot)| Entry { slot, effect: Effect::Command(command) })
            .collect();
        let begun = Instant::now();
        let outcomes = store.apply(&entries)?;
        applying.push(begun.elapsed());
        if let Some(refused) =
            outcomes.iter().find(|outcome| !matches!(outcome.answer, Some(Ok(_))))
        {
            return Err(format!("an insert was refused: {refused:?}").into());
        }
        if (first + BATCH).is_multiple_of(DOCUMENTS_PER_SYNC) {
            let begun = Instant::now();
            store.persist()?;
            syncing.push(begun.elapsed());
        }
    }
    let total: Duration = applying.iter().chain(&syncing).sum();
    println!(
        "{documents} documents: {:.0} documents/s applied",
        documents as f64 / total.as_secs_f64()
    );
    print_times("apply batch of 100", applying);
    print_times("sync", syncing);
    Ok(())
}

fn print_times(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
    };
    println!(
        "{name}: p50 {:.2} ms, p99 {:.2} ms, slowest {:.1} ms",
        at(0.5) * 1e3,
        at(0.99) * 1e3,
        at(1.0) * 1e3
    );
}

fn measure(
    name: &str,
    count: u64,
    mut query: impl FnMut(u64) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    for number in 0..count {
        query(number)?;
    }
    println!("{name}: {:.0}/s", count as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}

fn find(
    reader: &Reader<FjallEngine>,
    filter: bson::Document,
) -> Result<usize, Box<dyn std::error::Error>> {
    let (collection, search) = (COLLECTION.to_owned(), SearchOptions::default());
    match reader.query(&Request::Search { collection, filter, search })?? {
        Value::Array(found) => Ok(found.len()),
        other => Err(format!("a search answered {other}").into()),
    }
}

fn get(reader: &Reader<FjallEngine>, number: u64) -> Result<(), Box<dyn std::error::Error>> {
    let found = find(reader, doc! { "email": format!("user{number}@example.org") })?;
    if found == 1 { Ok(()) } else { Err(format!("user {number}: {found} found").into()) }
}

fn search(reader: &Reader<FjallEngine>, group: u64) -> Result<(), Box<dyn std::error::Error>> {
    let found = find(reader, doc! { "group": group as i64 })?;
    if found > 0 { Ok(()) } else { Err(format!("group {group}: nothing found").into()) }
}

/// Where the system tells.
fn print_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
    {
        println!("memory: {line}");
    }
}
