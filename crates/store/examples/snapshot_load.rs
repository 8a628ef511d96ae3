//! Sends a store to another as a snapshot and prints what it costs:
//! `cargo run --release -p store --example snapshot_load -- [--rows N] [--chunk BYTES] [--folder PATH]`.
//!
//! Four million rows of 256 bytes unless told otherwise, in chunks of 1 MiB. The sender's part and the
//! receiver's are timed apart; what the disk takes in one long write and sync, before and after, stands
//! beside them.

use api::{Reference, Request, Value};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Command, Effect, Entry, FjallEngine, FjallOptions, Import, Snapshot, Store, View};

const BATCH: u64 = 1000;
/// With the key, and the value's own frame.
const ROW_BYTES: u64 = 256;
const VALUE_BYTES: usize = 223;

type Failure = Box<dyn std::error::Error>;

struct Options {
    rows: u64,
    chunk_bytes: usize,
    folder: PathBuf,
}

fn options() -> Result<Options, Failure> {
    let folder = std::env::temp_dir().join(format!("mondongo-snapshot-{}", std::process::id()));
    let mut options = Options { rows: 4_000_000, chunk_bytes: 1 << 20, folder };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name}: a value is missing"))?;
        match name.as_str() {
            "--rows" => options.rows = value.parse()?,
            "--chunk" => options.chunk_bytes = value.parse()?,
            "--folder" => options.folder = PathBuf::from(value),
            _ => return Err(format!("{name}: not one of --rows, --chunk, --folder").into()),
        }
    }
    Ok(options)
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    std::fs::create_dir_all(&options.folder)?;
    let mut source = open(&options.folder.join("source"))?;
    let begun = Instant::now();
    fill(&mut source, options.rows)?;
    println!("{} rows applied in {:.1} s", options.rows, begun.elapsed().as_secs_f64());
    let snapshot = source.reader().snapshot()?;
    let bytes = options.rows * ROW_BYTES;
    let before = disk(&options.folder, bytes)?;
    let copy = import(&snapshot, &options)?;
    let after = disk(&options.folder, bytes)?;
    println!("disk, one file: {before:.0} and {after:.0} MB/s");
    if copy.content_hash()? != source.content_hash()? {
        return Err("the copy has other content".into());
    }
    println!("the copy has the same content, {} MB", copy.engine().disk_bytes()? / 1_000_000);
    drop((copy, snapshot, source));
    std::fs::remove_dir_all(&options.folder)?;
    Ok(())
}

fn open(folder: &Path) -> Result<Store<FjallEngine>, Failure> {
    Ok(Store::open(FjallEngine::open(folder, FjallOptions::default())?)?)
}

/// Different for different numbers, in no order (an odd factor modulo 2^64).
fn scatter(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(store: &mut Store<FjallEngine>, rows: u64) -> Result<(), Failure> {
    let filler = "x".repeat(VALUE_BYTES);
    for first in (0..rows).step_by(BATCH as usize) {
        let slot = store.applied_slot() + 1;
        let command = |offset| {
            let key = format!("key-{:016x}", scatter(first + offset));
            let request = Request::Write { key, value: Value::String(filler.clone()) };
            let sequence = slot + offset;
            let reference = Reference::new("7f1e8a52-0c3b-4d5e-9f60-718293a4b5c6", sequence);
            Command { reference, acked: sequence, time_ms: 0, request }.encode()
        };
        let commands: Vec<_> = (0..BATCH.min(rows - first)).map(command).collect();
        let entries: Vec<_> = (slot..)
            .zip(&commands)
            .map(|(slot, command)| Entry { slot, effect: Effect::Command(command) })
            .collect();
        store.apply(&entries)?;
    }
    Ok(store.persist()?)
}

fn import(
    snapshot: &Snapshot<impl View>,
    options: &Options,
) -> Result<Store<FjallEngine>, Failure> {
    reset_peak();
    let engine = FjallEngine::open(&options.folder.join("copy"), FjallOptions::default())?;
    let (mut exporting, mut importing) = (Duration::ZERO, Duration::ZERO);
    let mut import = Import::begin(engine)?;
    while !import.progress().is_complete {
        let begun = Instant::now();
        let chunk = snapshot.chunk(&import.progress().cursor, options.chunk_bytes)?;
        exporting += begun.elapsed();
        let begun = Instant::now();
        import.add(&chunk)?;
        importing += begun.elapsed();
    }
    let bytes = import.progress().bytes;
    let begun = Instant::now();
    let copy = import.finish()?;
    let finishing = begun.elapsed();
    let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    println!("{} MB in {} chunks", bytes / 1_000_000, bytes.div_ceil(options.chunk_bytes as u64));
    println!("export: {:.0} MB/s", rate(exporting));
    println!(
        "import: {:.0} MB/s, of which finish took {:.2} s",
        rate(importing + finishing),
        finishing.as_secs_f64()
    );
    print_peak();
    Ok(copy)
}

/// What the disk takes in one long write with a sync at its end, in MB/s.
fn disk(folder: &Path, bytes: u64) -> Result<f64, Failure> {
    let path = folder.join("sequential");
    let block: Vec<u8> = (0..1 << 20).map(|number| scatter(number) as u8).collect();
    let begun = Instant::now();
    let mut file = File::create(&path)?;
    for _ in 0..bytes.div_ceil(block.len() as u64) {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let rate = bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}

/// Where the system can.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Where the system tells.
fn print_peak() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("most memory while it went on: {line}");
    }
}
