//! What a crash may do to fjall's journals is repaired, and what only a bad disk can do is
//! reported.

mod common;

use common::{apply_slots, workload};
use std::path::{Path, PathBuf};
use store::{EngineError, FjallEngine, FjallOptions, MemoryDisk, Store};

fn open(folder: &Path) -> Result<Store<FjallEngine>, EngineError> {
    let engine = FjallEngine::open(folder, FjallOptions::default())?;
    Ok(Store::open(engine).expect("the rows are sound"))
}

/// A folder whose only journal holds `slots` batches of one entry each.
fn folder_with(slots: usize) -> (tempfile::TempDir, PathBuf, Vec<Option<Vec<u8>>>) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = workload(3, slots);
    let mut store = open(folder.path()).expect("opened");
    for _ in 0..slots {
        apply_slots(&mut store, &log, 1);
    }
    drop(store);
    let journal = folder.path().join("0.jnl");
    (folder, journal, log)
}

fn content_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// The store stands where some prefix of the log left it.
fn assert_prefix(store: &Store<FjallEngine>, log: &[Option<Vec<u8>>]) {
    let mut twin = Store::open(MemoryDisk::new().engine()).expect("opened");
    apply_slots(&mut twin, log, store.applied_slot() as usize);
    assert_eq!(twin.content_hash().expect("hash"), store.content_hash().expect("hash"));
    store.verify().expect("sound");
}

#[test]
fn a_torn_tail_is_cut_at_a_batch() {
    let (folder, journal, log) = folder_with(60);
    let bytes = std::fs::read(&journal).expect("read");
    let end = content_end(&bytes);
    for cut in (0..end).step_by(end / 40) {
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        std::fs::write(&journal, &torn).expect("written");
        let mut store = open(folder.path()).expect("a torn tail is no damage");
        assert_prefix(&store, &log);
        let left = log.len() - store.applied_slot() as usize;
        apply_slots(&mut store, &log, left);
        assert_prefix(&store, &log);
        drop(store);
        std::fs::write(&journal, &bytes).expect("restored");
    }
}

/// Pages of one write can reach the disk in any order: a hole inside values leaves entries readable
/// and only the checksum wrong, which fjall alone would refuse to open.
#[test]
fn a_hole_in_the_newest_journal_is_cut_too() {
    let (folder, journal, log) = folder_with(60);
    let bytes = std::fs::read(&journal).expect("read");
    let end = content_end(&bytes);
    let mut checked = 0;
    for start in (0..end - 50).step_by(end / 60) {
        // In a filler of a document: all of it reads as another value.
        let Some(filler) = bytes[start..end].windows(60).position(|part| part == [b'x'; 60]) else {
            break;
        };
        let mut torn = bytes.clone();
        torn[start + filler..start + filler + 60].fill(0);
        std::fs::write(&journal, &torn).expect("written");
        let store = open(folder.path()).expect("a torn batch is no damage");
        assert!((store.applied_slot() as usize) < log.len());
        assert_prefix(&store, &log);
        drop(store);
        std::fs::write(&journal, &bytes).expect("restored");
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
}

/// A sealed journal was synced before the next was begun: cutting it would leave a gap.
#[test]
fn damage_in_a_sealed_journal_is_reported() {
    let (folder, journal, _) = folder_with(60);
    let intact = open(folder.path()).expect("opened").content_hash().expect("hash");
    let bytes = std::fs::read(&journal).expect("read");
    let end = content_end(&bytes);
    // As after a rotation: the journal with the batches is not the newest any more.
    let newest = folder.path().join("1.jnl");
    for position in (0..end).step_by(end / 50) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        std::fs::write(&journal, &damaged).expect("written");
        std::fs::write(&newest, []).expect("written");
        match open(folder.path()) {
            Err(EngineError::Damaged(text)) => assert!(text.contains("0.jnl"), "{text}"),
            Err(other) => panic!("byte {position}: {other}"),
            // The last batch's sequence number may rise by accident, without harm.
            Ok(store) => assert_eq!(store.content_hash().expect("hash"), intact, "{position}"),
        }
    }
    std::fs::write(&journal, &bytes).expect("restored");
    assert_eq!(open(folder.path()).expect("intact").applied_slot(), 60);
}

#[test]
fn a_store_whose_making_was_interrupted_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()).expect("opened"));
    let marker = folder.path().join("version");
    let length = std::fs::metadata(&marker).expect("there").len();
    for kept in [None, Some(0), Some(length - 1)] {
        std::fs::remove_dir_all(folder.path().join("keyspaces")).expect("removed");
        match kept {
            None => std::fs::remove_file(&marker).expect("removed"),
            Some(kept) => std::fs::OpenOptions::new()
                .write(true)
                .open(&marker)
                .and_then(|file| file.set_len(kept))
                .expect("cut"),
        }
        // The first journal exists before the marker does; it is empty then.
        std::fs::write(folder.path().join("0.jnl"), vec![0; 1000]).expect("written");
        let store = open(folder.path()).expect("made again");
        assert_eq!(store.applied_slot(), 0);
    }
}

#[test]
fn data_without_a_marker_is_damage() {
    let (folder, _, _) = folder_with(5);
    std::fs::remove_file(folder.path().join("version")).expect("removed");
    assert!(matches!(open(folder.path()), Err(EngineError::Damaged(_))));
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _store = open(folder.path()).expect("opened");
    match open(folder.path()) {
        Err(EngineError::Io(text)) => assert!(text.contains("another process"), "{text}"),
        _ => panic!("a second store on one folder"),
    }
}

/// A table block that a bad disk changed is reported by the read, never answered.
#[test]
fn damage_in_a_table_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = workload(4, 3000);
    let options = FjallOptions { memtable_bytes: 32 << 10, ..FjallOptions::default() };
    let engine = FjallEngine::open(folder.path(), options).expect("opened");
    let mut store = Store::open(engine).expect("opened");
    while (store.applied_slot() as usize) < log.len() {
        apply_slots(&mut store, &log, 50);
    }
    let intact = store.content_hash().expect("hash");
    drop(store);
    let mut tables = Vec::new();
    let mut folders = vec![folder.path().join("keyspaces")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("read") {
            let path = entry.expect("read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.parent().is_some_and(|parent| parent.ends_with("tables")) {
                tables.push(path);
            }
        }
    }
    let mut reported = 0;
    for table in &tables {
        let bytes = std::fs::read(table).expect("read");
        for position in (40..bytes.len()).step_by(bytes.len() / 6) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            std::fs::write(table, &damaged).expect("written");
            let opened = FjallEngine::open(folder.path(), FjallOptions::default());
            let hash = opened.map_err(|error| error.to_string()).and_then(|engine| {
                let store = Store::open(engine).map_err(|error| error.to_string())?;
                store.content_hash().map_err(|error| error.to_string())
            });
            match hash {
                Ok(hash) => assert_eq!(hash, intact, "{} at {position}", table.display()),
                Err(_) => reported += 1,
            }
        }
        std::fs::write(table, &bytes).expect("restored");
    }
    assert!(reported > 0, "{} tables", tables.len());
}

/// Another thread lets the disk take what is written; whatever is not there needs no sync.
#[test]
fn a_journal_is_synced_ahead_while_it_is_written() {
    let (folder, journal, _) = folder_with(0);
    let log = workload(3, 60);
    let mut store = open(folder.path()).expect("opened");
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| {
            for _ in 0..20 {
                FjallEngine::sync_ahead(folder.path()).expect("synced");
            }
        });
        for _ in 0..log.len() {
            apply_slots(&mut store, &log, 1);
        }
        syncing.join().expect("joined");
    });
    drop(store);
    let store = open(folder.path()).expect("opened");
    assert_eq!(store.applied_slot() as usize, log.len());
    assert_prefix(&store, &log);
    drop(store);
    std::fs::remove_file(journal).expect("removed");
    FjallEngine::sync_ahead(folder.path()).expect("no journal needs no sync");
    FjallEngine::sync_ahead(&folder.path().join("gone")).expect("no folder needs no sync");
}
