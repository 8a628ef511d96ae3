//! A store made from a snapshot is the store that applied the log, and stays so.

mod common;

use api::{Reference, Request, Value};
use bson::doc;
use bytes::Bytes;
use common::snapshot::{import_all, pull};
use common::{Dice, apply, apply_slots, insert, run, schema, workload, write};
use store::{
    Command, Cursor, Effect, Engine, Entry, Fatal, FjallEngine, FjallOptions, Import,
    ImportChecker, ImportError, ImportRows, ImportWriter, MemoryDisk, MemoryEngine, Reader, Store,
};

const CHUNK_BYTES: usize = 400;

fn memory() -> Store<MemoryEngine> {
    Store::open(MemoryDisk::new().engine()).expect("opened")
}

fn fjall(folder: &std::path::Path) -> FjallEngine {
    let options = FjallOptions { memtable_bytes: 64 << 10, ..FjallOptions::default() };
    FjallEngine::open(folder, options).expect("engine opens")
}

/// Applies the log's next `count` entries, each hundredth as a group fact instead.
fn apply_with_groups<E: Engine>(store: &mut Store<E>, log: &[Option<Vec<u8>>], count: usize) {
    let start = store.applied_slot();
    for slot in start + 1..=start + count as u64 {
        let group = format!("members at {slot}");
        let command = log[slot as usize - 1].as_deref();
        let effect = match slot % 100 {
            50 => Effect::Group(group.as_bytes()),
            _ => Effect::from(command),
        };
        store.apply(&[Entry { slot, effect }]).expect("applied");
    }
}

fn assert_same<A: Engine, B: Engine>(one: &Store<A>, other: &Store<B>) {
    assert_eq!(one.content_hash().expect("hash"), other.content_hash().expect("hash"));
    assert_eq!(one.group(), other.group());
    one.verify().expect("sound");
    other.verify().expect("sound");
}

/// Snapshots, D15; P9.
#[test]
fn snapshot_equals_log() {
    for seed in 1..=4 {
        let log = workload(seed, 2500);
        let mut store = memory();
        apply_with_groups(&mut store, &log, 1500);
        assert_eq!(store.group(), Some((1450, Bytes::from("members at 1450"))));
        let snapshot = store.reader().snapshot().expect("snapshot");
        assert_eq!((snapshot.slot(), snapshot.group()), (1500, store.group()));
        let folder = tempfile::tempdir().expect("a folder");
        let mut on_disk = import_all(&snapshot, fjall(folder.path()), CHUNK_BYTES);
        let mut in_memory = import_all(&snapshot, MemoryDisk::new().engine(), CHUNK_BYTES);
        assert_same(&store, &on_disk);
        assert_same(&store, &in_memory);
        apply_with_groups(&mut store, &log, 1000);
        apply_with_groups(&mut on_disk, &log, 1000);
        apply_with_groups(&mut in_memory, &log, 1000);
        assert_same(&store, &on_disk);
        assert_same(&store, &in_memory);
        drop(on_disk);
        let reopened = Store::open(fjall(folder.path())).expect("opened");
        assert_same(&store, &reopened);
    }
}

/// The sender knows the cursor behind each chunk, and the receiver writes later than it checks.
#[test]
fn reading_ahead_and_writing_behind_change_nothing() {
    let log = workload(5, 1500);
    let mut store = memory();
    apply_with_groups(&mut store, &log, 1500);
    // More than the writer is given at a time.
    for number in 0..2_500_u64 {
        let value = Value::String("v".repeat(32 << 10));
        run(&mut store, write(&format!("long-{number}"), value)).expect("written");
    }
    let snapshot = store.reader().snapshot().expect("snapshot");
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = ImportWriter::begin(fjall(folder.path())).expect("begun");
    // Written later than checked, as a thread does that waits for its disk.
    let mut waiting: Option<ImportRows> = None;
    let mut checker = ImportChecker::new();
    let (mut next, mut handed_over) = (Some(Cursor::start()), 0);
    while let Some(cursor) = next {
        assert_eq!(cursor, checker.progress().cursor);
        let (chunk, behind) = snapshot.chunk_and_next(&cursor, 1 << 20).expect("chunk");
        assert_eq!(chunk, snapshot.chunk(&cursor, 1 << 20).expect("the same"));
        checker.add(&chunk).expect("taken");
        if let Some(rows) = checker.take_due() {
            handed_over += 1;
            if let Some(rows) = waiting.replace(rows) {
                writer.write(rows).expect("written");
            }
        }
        next = behind;
    }
    assert!(handed_over > 1 && checker.progress().is_complete);
    writer.write(waiting.expect("the last but one")).expect("written");
    let copy = writer.finish(checker.finish().expect("complete")).expect("a store");
    assert_same(&store, &copy);
}

#[test]
fn snapshots_of_two_engines_at_one_slot_are_the_same_bytes() {
    let log = workload(9, 1200);
    let folder = tempfile::tempdir().expect("a folder");
    let mut on_disk = Store::open(fjall(folder.path())).expect("opened");
    let mut in_memory = memory();
    // In batches of other sizes, so that destroyed collections are swept at another pace.
    while in_memory.applied_slot() < 1200 {
        apply_slots(&mut in_memory, &log, 1);
    }
    apply_slots(&mut on_disk, &log, 1200);
    let one = pull(&on_disk.reader().snapshot().expect("snapshot"), CHUNK_BYTES);
    let other = pull(&in_memory.reader().snapshot().expect("snapshot"), CHUNK_BYTES);
    assert!(one.len() > 10, "{} chunks", one.len());
    assert_eq!(one, other);
}

/// P9: a retry after a snapshot gets the first answer and has no second effect.
#[test]
fn references_survive_a_snapshot() {
    let mut store = memory();
    run(&mut store, write("k", "old")).expect("written");
    let swap = Command {
        reference: Reference::new("client", 1),
        acked: 0,
        time_ms: 0,
        request: Request::Swap { key: "k".into(), value: "new".into() },
    };
    let first = apply(&mut store, &swap);
    run(&mut store, write("k", "other")).expect("written");
    let snapshot = store.reader().snapshot().expect("snapshot");
    let mut copy = import_all(&snapshot, MemoryDisk::new().engine(), CHUNK_BYTES);
    let again = apply(&mut copy, &swap);
    assert!(again.repeated);
    assert_eq!(again.answer, first.answer);
    assert_eq!(read(&copy.reader(), "k"), Value::from("other"));
}

fn read<E: Engine>(reader: &Reader<E>, key: &str) -> Value {
    let request = Request::Read { key: key.into(), empty_if_absent: false };
    reader.query(&request).expect("no trouble").expect("read")
}

/// An import broken off at any chunk leaves something that is no store, and the next one from the
/// beginning gives each row once.
#[test]
fn a_failed_restore_doubles_no_rows() {
    let log = workload(5, 800);
    let mut store = memory();
    apply_slots(&mut store, &log, 800);
    let snapshot = store.reader().snapshot().expect("snapshot");
    let chunks = pull(&snapshot, CHUNK_BYTES);
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("store");
    for taken in [0, 1, chunks.len() / 2, chunks.len()] {
        let mut import = Import::begin(fjall(&folder)).expect("begun");
        for chunk in &chunks[..taken] {
            import.add(chunk).expect("taken");
        }
        drop(import);
        assert!(matches!(Store::open(fjall(&folder)), Err(Fatal::UnfinishedImport)), "{taken}");
        assert!(matches!(Import::begin(fjall(&folder)), Err(ImportError::NotEmpty)), "{taken}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    let copy = import_all(&snapshot, fjall(&folder), CHUNK_BYTES);
    assert_same(&store, &copy);
    let describe = Request::Describe { collection: None };
    assert_eq!(copy.reader().query(&describe), store.reader().query(&describe));
    assert!(matches!(Import::begin(copy.into_engine()), Err(ImportError::NotEmpty)));
}

/// A crash at any moment of an import, `finish` included, leaves nothing that opens as a store but
/// the whole one.
#[test]
fn a_crash_while_importing_leaves_no_half_store() {
    let log = workload(6, 300);
    let mut store = memory();
    apply_slots(&mut store, &log, 300);
    let chunks = pull(&store.reader().snapshot().expect("snapshot"), CHUNK_BYTES);
    let disk = MemoryDisk::new();
    let mut import = Import::begin(disk.engine()).expect("begun");
    for chunk in &chunks {
        let crashed = disk.fork();
        crashed.crash(usize::MAX);
        assert!(matches!(Store::open(crashed.engine()), Err(Fatal::UnfinishedImport)));
        import.add(chunk).expect("taken");
    }
    let finished = import.finish().expect("finished");
    assert_same(&store, &finished);
    disk.crash(usize::MAX);
    assert_same(&store, &Store::open(disk.engine()).expect("durable when it is finished"));
}

#[test]
fn a_snapshot_is_the_same_while_writes_go_on() {
    let log = workload(7, 3000);
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(fjall(folder.path())).expect("opened");
    apply_slots(&mut store, &log, 1000);
    let snapshot = store.reader().snapshot().expect("snapshot");
    let before = pull(&snapshot, CHUNK_BYTES);
    let expected = store.content_hash().expect("hash");
    let mut import = Import::begin(MemoryDisk::new().engine()).expect("begun");
    let mut number = 0;
    while !import.progress().is_complete {
        let chunk = snapshot.chunk(&import.progress().cursor, CHUNK_BYTES).expect("chunk");
        assert_eq!(chunk, before[number]);
        import.add(&chunk).expect("taken");
        let left = log.len() - store.applied_slot() as usize;
        apply_slots(&mut store, &log, left.min(40));
        number += 1;
    }
    assert!(store.applied_slot() > 1300, "{}", store.applied_slot());
    let copy = import.finish().expect("finished");
    assert_eq!(copy.content_hash().expect("hash"), expected);
    copy.verify().expect("sound");
}

#[test]
fn an_import_goes_on_with_the_snapshot_of_another_node() {
    let log = workload(8, 900);
    let (mut one, mut other) = (memory(), memory());
    apply_slots(&mut one, &log, 900);
    while other.applied_slot() < 900 {
        apply_slots(&mut other, &log, 7);
    }
    let senders =
        [one.reader().snapshot(), other.reader().snapshot()].map(|sender| sender.unwrap());
    let mut import = Import::begin(MemoryDisk::new().engine()).expect("begun");
    let mut dice = Dice(8);
    while !import.progress().is_complete {
        let cursor = Cursor::decode(&import.progress().cursor.encode()).expect("a cursor");
        let sender = &senders[dice.below(2) as usize];
        let bytes_max = 1 + dice.below(4000) as usize;
        import.add(&sender.chunk(&cursor, bytes_max).expect("chunk")).expect("taken");
    }
    assert_same(&one, &import.finish().expect("finished"));
}

#[test]
fn an_empty_store_has_a_snapshot() {
    let store = memory();
    let copy = import_all(&store.reader().snapshot().unwrap(), MemoryDisk::new().engine(), 100);
    assert_same(&store, &copy);
    assert_eq!((copy.applied_slot(), copy.group()), (0, None));
}

#[test]
fn a_row_longer_than_a_chunk_comes_alone() {
    let mut store = memory();
    let create = Request::Create { collection: "c".into(), schema: schema(&[]) };
    run(&mut store, create).expect("created");
    for id in 0..5 {
        let document = doc! { "_id": id, "text": "x".repeat(100_000) };
        run(&mut store, insert("c", document)).expect("inserted");
    }
    let snapshot = store.reader().snapshot().expect("snapshot");
    let chunks = pull(&snapshot, 1000);
    assert_eq!(chunks.iter().filter(|chunk| chunk.len() > 100_000).count(), 5);
    assert!(chunks.iter().all(|chunk| chunk.len() < 101_000));
    assert!(pull(&snapshot, 250_000).iter().all(|chunk| chunk.len() <= 250_000));
    assert_same(&store, &import_all(&snapshot, MemoryDisk::new().engine(), 1000));
}

/// The engine may be closed and its folder removed while readers and snapshots of it live: they go
/// on answering, or report a trouble.
#[test]
fn readers_outlive_the_folder_without_a_crash() {
    let log = workload(10, 2000);
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(fjall(folder.path())).expect("opened");
    while store.applied_slot() < 2000 {
        apply_slots(&mut store, &log, 50);
    }
    let expected = store.content_hash().expect("hash");
    let reader = store.reader();
    let snapshot = reader.snapshot().expect("snapshot");
    drop(store);
    // A table may still be on its way out.
    #[expect(clippy::disallowed_methods, reason = "the engine's own threads are waited for")]
    let removed = (0..500).any(|_| {
        let is_gone = std::fs::remove_dir_all(folder.path()).is_ok() || !folder.path().exists();
        if !is_gone {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        is_gone
    });
    assert!(removed, "the folder can be removed");
    let mut import = Import::begin(MemoryDisk::new().engine()).expect("begun");
    let copy = loop {
        match snapshot.chunk(&import.progress().cursor, CHUNK_BYTES) {
            Ok(chunk) => import.add(&chunk).expect("what is sent is right"),
            Err(trouble) => {
                assert!(matches!(trouble, Fatal::Engine(_)), "{trouble}");
                break None;
            }
        };
        if import.progress().is_complete {
            break Some(import.finish().expect("finished"));
        }
    };
    if let Some(copy) = copy {
        assert_eq!(copy.content_hash().expect("hash"), expected);
    }
    let request = Request::Describe { collection: None };
    if let Err(trouble) = reader.query(&request) {
        assert!(matches!(trouble, Fatal::Engine(_)), "{trouble}");
    }
    drop((reader, snapshot));
    // Nothing of the old one is in the way of a new store in the same place.
    let new = Store::open(fjall(folder.path())).expect("opened");
    assert_eq!(new.applied_slot(), 0);
}
