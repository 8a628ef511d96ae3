//! Planted bugs: each safety line of the log is left out once, and a test must notice.
//!
//! Two kinds of test: random lives with crashes (`support::run`), and scripted scenarios for what chance rarely
//! hits. Every scenario is also run without the bug and must then find nothing.

mod support;

use std::io::ErrorKind;

use support::{Records, open, options, record, run};
use wal::memory::MemoryDisk;
use wal::{Log, PlantedBug};

/// The first violation that random lives with crashes find.
fn lives(bug: Option<PlantedBug>) -> Result<(), String> {
    (0..400).try_for_each(|seed| run(seed, bug, Some(10 + seed % 90)).map(|_| ()))
}

fn assert_caught(
    test: impl Fn(Option<PlantedBug>) -> Result<(), String>,
    bug: PlantedBug,
    words: &str,
) {
    assert_eq!(test(None), Ok(()), "without a bug nothing is to be found");
    let violation = test(Some(bug)).expect_err("the planted bug was not noticed");
    assert!(
        violation.contains(words),
        "{bug:?} was noticed, but in an unexpected way: {violation}"
    );
}

#[test]
fn acknowledging_without_sync_is_caught() {
    let bug = PlantedBug::AcknowledgeWithoutSync;
    assert_caught(lives, bug, "acknowledged records are gone");
}

#[test]
fn skipping_the_folder_sync_is_caught() {
    let bug = PlantedBug::SkipFolderSync;
    assert_caught(lives, bug, "acknowledged records are gone");
}

#[test]
fn calling_every_hole_corruption_is_caught() {
    let bug = PlantedBug::IgnoreGroups;
    assert_caught(lives, bug, "cannot open");
}

#[test]
fn beginning_a_segment_before_the_last_is_durable_is_caught() {
    let bug = PlantedBug::RollWithoutSync;
    assert_caught(lives, bug, "cannot open");
}

#[test]
fn checksums_without_identity_are_caught() {
    assert_caught(recycle, PlantedBug::SeedWithoutIdentity, "came back");
    // Chance finds it too, as frames of two lives that contradict each other.
    lives(Some(PlantedBug::SeedWithoutIdentity)).expect_err("must be noticed");
}

#[test]
fn keeping_the_cut_tail_is_caught() {
    assert_caught(cut_tail, PlantedBug::KeepCutTail, "came back");
}

#[test]
fn cutting_corruption_is_caught() {
    assert_caught(damage, PlantedBug::CutCorruption, "were cut");
}

#[test]
fn trusting_the_page_cache_is_caught() {
    assert_caught(failed_sync, PlantedBug::TrustPageCache, "shown and then lost");
}

#[test]
fn retrying_a_failed_sync_is_caught() {
    let bug = PlantedBug::RetryFailedSync;
    assert_caught(failed_sync_retried, bug, "acknowledged and then lost");
}

#[test]
fn every_planted_bug_has_its_test_here() {
    let this = include_str!("planted.rs");
    for bug in PlantedBug::ALL {
        assert!(this.contains(&format!("PlantedBug::{bug:?}")), "{bug:?}");
    }
}

/// So large a record that its frame fills a page: no zero padding lies between it and what is behind it.
const PAGE_RECORD_BYTES: usize = 4096 - 16;

fn append_all(log: &mut Log<MemoryDisk>, records: &[Vec<u8>]) {
    for record in records {
        log.append(record).expect("append");
    }
}

fn contents(records: &Records) -> Vec<&[u8]> {
    records.iter().map(|(_, content)| &content[..]).collect()
}

/// A segment full of old records is used again for one new record of the same length.
fn recycle(bug: Option<PlantedBug>) -> Result<(), String> {
    let options = options(16 << 10, bug);
    let mut disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options.clone()).expect("new log");
    // The first frame of a segment ends at the page's end; more follow, each a group of its own, until it is full.
    let lengths = [4096 - 64 - 16, PAGE_RECORD_BYTES, PAGE_RECORD_BYTES, 200];
    let mut number = 0;
    let mut append = |log: &mut Log<MemoryDisk>, bytes: usize| {
        number += 1;
        let position = log.append(&record(number, bytes)).expect("append");
        log.flush().expect("flush");
        (position, record(number, bytes))
    };
    let old: Vec<_> = lengths.map(|bytes| append(&mut log, bytes)).into();
    let second = append(&mut log, lengths[0]);
    for bytes in &lengths[1..] {
        append(&mut log, *bytes);
    }
    log.cut_before(second.0).expect("cut");
    let new = append(&mut log, lengths[0]);
    assert_eq!(new.0.segment, 3, "the third segment is the first one's file");
    disk.crash(1);
    let (_, _, found) = open(&disk, options).map_err(|error| format!("cannot open: {error}"))?;
    if old.iter().any(|(_, content)| contents(&found).contains(&&content[..])) {
        return Err("records of the file's earlier life came back".into());
    }
    assert_eq!(found.last(), Some(&new));
    Ok(())
}

/// A crash destroys the first record of a group of three; then one record of its length takes its place.
fn cut_tail(bug: Option<PlantedBug>) -> Result<(), String> {
    let options = options(64 << 10, bug);
    let group: Vec<_> = (1..=3).map(|number| record(number, PAGE_RECORD_BYTES)).collect();
    // Some seed leaves exactly what is wanted: the first frame torn, the third whole.
    for seed in 0..2_000 {
        let mut disk = MemoryDisk::new();
        let (mut log, _, _) = open(&disk, options.clone()).expect("new log");
        log.append(&record(0, 4096 - 64 - 16)).expect("append");
        log.flush().expect("flush");
        append_all(&mut log, &group);
        disk.halt_at(disk.counts().operations + 1);
        log.flush().expect_err("the write is done, the sync is not");
        disk.crash(seed);
        let (mut log, recovery, found) = open(&disk, options.clone()).expect("a torn tail is cut");
        if found.len() != 1 || recovery.torn_bytes < 3 * 4096 {
            continue;
        }
        let new = record(9, PAGE_RECORD_BYTES);
        log.append(&new).expect("append");
        log.flush().expect("flush");
        disk.crash(seed);
        let (_, _, found) =
            open(&disk, options.clone()).map_err(|error| format!("cannot open: {error}"))?;
        if contents(&found).len() > 2 {
            return Err(format!("seed {seed}: records that were cut came back"));
        }
    }
    Ok(())
}

/// One bit of a flushed record flips, and another flush came after it.
fn damage(bug: Option<PlantedBug>) -> Result<(), String> {
    let options = options(16 << 10, bug);
    let disk = MemoryDisk::new();
    let (mut log, _, _) = open(&disk, options.clone()).expect("new log");
    for number in 0..3 {
        log.append(&record(number, 100)).expect("append");
        log.flush().expect("flush");
    }
    disk.flip_bit("segment-0000000001.log", 64 + 116 + 50, 3);
    match open(&disk, options) {
        Ok((_, _, found)) => Err(format!("{} durable records were cut", 3 - found.len())),
        Err(error) => {
            assert!(error.to_string().contains("corrupt"), "{error}");
            Ok(())
        }
    }
}

/// A sync fails, the process starts again on the same machine and is shown the records; then the power fails.
fn failed_sync(bug: Option<PlantedBug>) -> Result<(), String> {
    for seed in 0..50 {
        let options = options(16 << 10, bug);
        let mut disk = MemoryDisk::new();
        let (mut log, _, _) = open(&disk, options.clone()).expect("new log");
        append_all(&mut log, &[record(1, 700), record(2, 700)]);
        disk.fail_at(disk.counts().operations + 1, ErrorKind::Other);
        log.flush().expect_err("the sync fails");
        disk.restart();
        let (_, _, shown) = open(&disk, options.clone()).expect("the files are whole");
        disk.crash(seed);
        let (_, _, found) =
            open(&disk, options).map_err(|error| format!("cannot open: {error}"))?;
        if found != shown {
            return Err(format!("seed {seed}: records were shown and then lost"));
        }
    }
    Ok(())
}

/// A sync fails once; whatever `flush` answers, what it acknowledges must survive.
fn failed_sync_retried(bug: Option<PlantedBug>) -> Result<(), String> {
    for seed in 0..50 {
        let options = options(16 << 10, bug);
        let mut disk = MemoryDisk::new();
        let (mut log, _, _) = open(&disk, options.clone()).expect("new log");
        append_all(&mut log, &[record(1, 700)]);
        disk.fail_at(disk.counts().operations + 1, ErrorKind::Other);
        let acknowledged = log.flush().is_ok() || log.flush().is_ok();
        disk.crash(seed);
        let (_, _, found) =
            open(&disk, options).map_err(|error| format!("cannot open: {error}"))?;
        if acknowledged && found.is_empty() {
            return Err(format!("seed {seed}: a record was acknowledged and then lost"));
        }
    }
    Ok(())
}
