//! Measures appending with group commit on a real folder:
//! `cargo run --release -p wal --example append -- FOLDER [GROUPS] [RECORDS_PER_GROUP] [RECORD_BYTES]`.
//!
//! The folder must not exist; it is removed at the end. Spares are made on a second thread, as a server does.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wal::{FolderDisk, Log, LogId, Options, Spare, SparePlan};

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type SpareThread = std::thread::JoinHandle<Result<Spare<FolderDisk>, wal::Error>>;

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let folder: PathBuf = arguments.next().ok_or("which folder?")?.into();
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (groups, records, bytes) = (number(2000)?, number(100)?, number(300)?);
    if folder.exists() {
        return Err(format!("{} is there already", folder.display()).into());
    }
    let measured = measure(&folder, groups, records, bytes);
    fs::remove_dir_all(&folder)?;
    measured
}

fn options() -> Options {
    Options { log_id: Some(LogId([1; 16])), ..Options::default() }
}

fn measure(folder: &PathBuf, groups: usize, records: usize, bytes: usize) -> Result<(), AnyError> {
    let (mut log, _) = Log::open(FolderDisk::open(folder)?, options(), |_, _| Ok(()))?;
    log.prepare_next()?;
    let record = vec![b'r'; bytes];
    let mut making: Option<SpareThread> = None;
    let mut latencies = Vec::with_capacity(groups);
    let begin = Instant::now();
    for _ in 0..groups {
        let group_begin = Instant::now();
        for _ in 0..records {
            log.append(&record)?;
        }
        log.flush()?;
        latencies.push(group_begin.elapsed());
        if let Some(thread) = making.take_if(|thread| thread.is_finished()) {
            log.adopt_spare(thread.join().expect("the thread does not panic")?)?;
        }
        if making.is_none() {
            making = log
                .spare_wanted()
                .map(|plan: SparePlan<FolderDisk>| std::thread::spawn(move || plan.execute()));
        }
    }
    let took = begin.elapsed();
    if let Some(thread) = making.take() {
        log.adopt_spare(thread.join().expect("the thread does not panic")?)?;
    }
    log.seal()?;
    drop(log);

    latencies.sort_unstable();
    let entries = groups * records;
    println!("{groups} groups of {records} records of {bytes} bytes");
    println!("entries/s    {:.0}", entries as f64 / took.as_secs_f64());
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let index = ((groups - 1) as f64 * share) as usize;
        println!("{name:<12} {:.3} ms", milliseconds(latencies[index]));
    }
    let begin = Instant::now();
    let (_, recovery) = Log::open(FolderDisk::open(folder)?, options(), |_, _| Ok(()))?;
    println!(
        "reopening    {:.0} ms for {} records in {} segments",
        milliseconds(begin.elapsed()),
        recovery.records,
        recovery.segments
    );
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
