//! A closed-loop load: so many clients, each with a connection of its own and one request under way.
//!
//! `cargo run --release -p client --example load -- localhost:8000,localhost:8001 --clients 64 --operation put`
//! prints one line: operations a second, median and 99th percentile of the time each took, errors. Keys
//! and documents are the same for each run, so `get` after `put` finds them.

use api::{Document, FieldSchema, FieldType, Schema, Value};
use clap::{Parser, ValueEnum};
use client::{Client, Options};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// What each client does over and over.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Operation {
    /// Writes a value to one of the keys.
    Put,
    /// Reads one of the keys, linearizably.
    Get,
    /// Inserts a document of about 250 bytes into a collection with two indexes.
    Insert,
}

#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// The members, HOST:PORT, divided by commas.
    #[arg(value_delimiter = ',')]
    members: Vec<String>,
    /// How many clients.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How long, after one second that does not count.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, value_enum, default_value_t = Operation::Put)]
    operation: Operation,
    /// Keys that puts and gets share.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Every client connects to the first member; else they are spread over all.
    #[arg(long)]
    first: bool,
}

const COLLECTION: &str = "load";
const WARM_UP: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), api::Error> {
    let arguments = Arguments::parse();
    if let Operation::Insert = arguments.operation {
        let client = Client::connect(&arguments.members, Options::default()).await?;
        // It may be there from an earlier run.
        let _ = client.destroy(COLLECTION).await;
        client.create(COLLECTION, schema()).await?;
    }
    let begun = Instant::now();
    let tasks: Vec<_> = (0..arguments.clients)
        .map(|index| tokio::spawn(work(index, arguments.clone(), begun)))
        .collect();
    let mut all = Histogram::<u64>::new(3).expect("three digits are allowed");
    let mut errors = 0;
    for task in tasks {
        let (histogram, failed) = task.await.expect("a client does not panic")?;
        all.add(histogram).expect("histograms of one shape");
        errors += failed;
    }
    println!(
        "{:?} {} clients: {:.0}/s, p50 {} us, p99 {} us, max {} us, {errors} errors",
        arguments.operation,
        arguments.clients,
        all.len() as f64 / arguments.seconds as f64,
        all.value_at_quantile(0.5),
        all.value_at_quantile(0.99),
        all.max()
    );
    Ok(())
}

async fn work(
    index: usize,
    arguments: Arguments,
    begun: Instant,
) -> Result<(Histogram<u64>, u64), api::Error> {
    let mut members = arguments.members.clone();
    if !arguments.first {
        let turn = index % members.len();
        members.rotate_left(turn);
    }
    let client = Client::connect(&members, Options::default()).await?;
    let value = Value::String("v".repeat(arguments.value_bytes));
    let mut rng = fastrand::Rng::with_seed(index as u64);
    let mut histogram = Histogram::new(3).expect("three digits are allowed");
    let mut errors = 0;
    let end = begun + WARM_UP + Duration::from_secs(arguments.seconds);
    while Instant::now() < end {
        let start = Instant::now();
        let key = format!("key-{}", rng.u64(..arguments.keys));
        let result = match arguments.operation {
            Operation::Put => client.write(&key, value.clone()).await.map(drop),
            Operation::Get => client.read(&key).await.map(drop),
            Operation::Insert => client.insert(COLLECTION, document(&mut rng)).await.map(drop),
        };
        if start >= begun + WARM_UP {
            errors += u64::from(result.is_err());
            let elapsed_us = start.elapsed().as_micros() as u64;
            histogram.record(elapsed_us).expect("it grows as needed");
        }
    }
    Ok((histogram, errors))
}

fn document(rng: &mut fastrand::Rng) -> Document {
    let mut document = Document::new();
    document.insert("email", format!("user-{:016x}@example.org", rng.u64(..)));
    document.insert("age", rng.i64(0..100));
    document.insert("name", format!("name {:08x}", rng.u32(..)));
    document.insert("about", "x".repeat(140));
    document
}

fn schema() -> Schema {
    let field = |name: &str, kind| FieldSchema {
        name: name.to_owned(),
        kind,
        index: true,
        unique: false,
        required: false,
        default: None,
    };
    Schema { fields: vec![field("email", FieldType::Str), field("age", FieldType::Int)] }
}
