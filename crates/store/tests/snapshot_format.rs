//! The bytes of snapshots: as the table in `docs/design/snapshot-format.md` and the fixtures say, and
//! refused with a clear error when they are anything else.
//!
//! `STORE_BLESS=1 cargo test -p store --test snapshot_format` writes the fixtures of the present
//! version anew; that is right only before the version is released.

mod common;

use api::{IndexKey, IndexSpec, Reference, Request};
use bson::doc;
use bytes::Bytes;
use common::snapshot::pull;
use common::{apply, apply_slots, insert, run, schema, workload, write};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::OnceLock;
use store::{
    Chunk, Command, Cursor, Effect, Entry, Import, ImportError, MemoryDisk, MemoryEngine,
    SNAPSHOT_VERSION, Store, set_first_documents_in_thread,
};
use xxhash_rust::xxh3::Xxh3;

const HEADER_BYTES: usize = 72;
const CHAIN_START: usize = 56;

fn memory() -> Store<MemoryEngine> {
    Store::open(MemoryDisk::new().engine()).expect("opened")
}

fn begin() -> Import<MemoryEngine> {
    Import::begin(MemoryDisk::new().engine()).expect("begun")
}

/// A store with a row of every kind.
fn every_kind_of_row() -> Store<MemoryEngine> {
    let mut store = memory();
    store.set_reference_limits(2, 1 << 20);
    let fields = schema(&[("email", true, true), ("tags", true, false)]);
    run(&mut store, Request::Create { collection: "people".into(), schema: fields }).expect("ok");
    let ana = doc! { "_id": 1, "email": "ana@example.org", "tags": ["a", "b"] };
    run(&mut store, insert("people", ana)).expect("inserted");
    run(&mut store, insert("people", doc! { "_id": 2, "tags": [] })).expect("inserted");
    // An index of which one document is done.
    set_first_documents_in_thread(1);
    let keys = vec![IndexKey { path: "age".into(), descending: true }];
    let name = IndexSpec::default_name(&keys);
    let index = IndexSpec { name, keys, unique: false, sparse: false, filter: None };
    run(&mut store, Request::CreateIndex { collection: "people".into(), index }).expect("begun");
    let slot = store.applied_slot() + 1;
    let group = Entry { slot, effect: Effect::Group(b"members") };
    store.apply(&[group]).expect("applied");
    run(&mut store, write("k", "value")).expect("written");
    for client in ["a", "b", "c"] {
        let reference = Reference::new(client, 1);
        apply(&mut store, &Command { reference, acked: 0, time_ms: 0, request: write(client, 1) });
    }
    // The answers to the first clients had to go; their marks are rows of their own.
    store
}

fn chunks() -> Vec<Bytes> {
    pull(&every_kind_of_row().reader().snapshot().expect("snapshot"), 250)
}

fn fixture(number: usize) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/fixtures/snapshot-v{SNAPSHOT_VERSION}/chunk-{number}"))
}

#[test]
fn the_present_version_is_written_as_its_fixtures_say() {
    let bless = std::env::var_os("STORE_BLESS").is_some();
    for (number, chunk) in chunks().iter().enumerate() {
        let path = fixture(number);
        if bless {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, chunk).expect("written");
        }
        let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(kept == chunk[..], "{path:?} differs from what is written today");
    }
    assert!(!fixture(chunks().len()).exists(), "a chunk more than is written today");
}

#[test]
fn version_1_is_imported() {
    let mut import = begin();
    while !import.progress().is_complete {
        let number = import.progress().cursor.number() as usize;
        import.add(&std::fs::read(fixture(number)).expect("a fixture")).expect("taken");
    }
    let store = import.finish().expect("finished");
    let expected = every_kind_of_row();
    assert_eq!(store.content_hash().expect("hash"), expected.content_hash().expect("hash"));
    assert_eq!(store.group(), Some((5, Bytes::from("members"))));
    store.verify().expect("sound");
}

/// The header is read here as the table says, apart from the code that reads it.
#[test]
fn every_byte_stands_where_the_table_says() {
    let chunks = chunks();
    let mut chain_before = [0; 16];
    let mut families = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let (header, body) = chunk.split_at(HEADER_BYTES);
        let is_last = number + 1 == chunks.len();
        let at = |from: usize, to: usize| {
            header[from..to].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        assert_eq!(&header[..8], b"mdb-snp\n");
        assert_eq!((at(8, 10), at(10, 11), at(11, 12)), (1, u64::from(is_last), 0));
        assert_eq!((at(16, 24), at(24, 32), at(32, 40)), (9, number as u64, body.len() as u64));
        assert_eq!(header[40..CHAIN_START], chain_before);
        chain_before.copy_from_slice(&header[CHAIN_START..]);
        assert_eq!(chain_before, chain_of(chunk));
        let mut left = body;
        for _ in 0..at(12, 16) {
            for is_key in [true, false] {
                // Every length here fits into one byte, or into two.
                let (length, bytes) = match left[0] {
                    short @ 0..0x80 => (usize::from(short), 1),
                    low => (usize::from(low & 0x7f) | usize::from(left[1]) << 7, 2),
                };
                let item = &left[bytes..bytes + length];
                if is_key {
                    families.push(item[0]);
                }
                left = &left[bytes + length..];
            }
        }
        assert!(left.is_empty());
    }
    families.dedup();
    assert_eq!(families, [0x01, 0x02, 0x03, 0x05, 0x10, 0x11, 0x20, 0x30, 0x31]);
}

fn chain_of(chunk: &[u8]) -> [u8; 16] {
    let mut hasher = Xxh3::new();
    hasher.update(&chunk[..CHAIN_START]);
    hasher.update(&chunk[HEADER_BYTES..]);
    hasher.digest128().to_be_bytes()
}

/// The chunk with other bytes and a checksum that is right again: made so by its sender.
fn forged(chunk: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = chunk.to_vec();
    change(&mut bytes);
    let chain = chain_of(&bytes);
    bytes[CHAIN_START..HEADER_BYTES].copy_from_slice(&chain);
    bytes
}

#[test]
fn what_is_not_the_next_chunk_is_refused_and_the_import_goes_on() {
    let store = every_kind_of_row();
    let snapshot = store.reader().snapshot().expect("snapshot");
    let chunks = pull(&snapshot, 250);
    let mut later = every_kind_of_row();
    run(&mut later, write("later", 1)).expect("written");
    let of_later = pull(&later.reader().snapshot().expect("snapshot"), 250);
    let longer = pull(&snapshot, 450);
    let mut import = begin();
    assert_eq!(import.add(&chunks[1]), Err(ImportError::WrongOrder { expected: 0, found: 1 }));
    import.add(&chunks[0]).expect("taken");
    let refused: [(&[u8], ImportError); 5] = [
        (&chunks[0], ImportError::WrongOrder { expected: 1, found: 0 }),
        (&chunks[2], ImportError::WrongOrder { expected: 1, found: 2 }),
        (&of_later[1], ImportError::OtherSnapshot { expected: 9, found: 10 }),
        (&longer[1], ImportError::BrokenChain { number: 1 }),
        (b"", ImportError::Damaged { bytes: 0, reason: "it does not begin as a chunk does" }),
    ];
    for (bytes, error) in refused {
        let before = import.progress().clone();
        assert_eq!(import.add(bytes), Err(error.clone()));
        assert!(error.is_retryable(), "{error}");
        assert_eq!(*import.progress(), before);
    }
    for chunk in &chunks[1..] {
        import.add(chunk).expect("taken");
    }
    let last = chunks.len() - 1;
    let again = ImportError::WrongOrder { expected: last as u64 + 1, found: last as u64 };
    assert_eq!(import.add(&chunks[last]), Err(again));
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    assert_eq!(import.progress().bytes, bytes as u64);
    let copy = import.finish().expect("finished");
    assert_eq!(copy.content_hash().expect("hash"), store.content_hash().expect("hash"));
}

#[test]
fn what_its_sender_made_wrong_is_refused_in_words() {
    let chunks = chunks();
    let version = forged(&chunks[0], |bytes| bytes[9] = 2);
    let known = SNAPSHOT_VERSION;
    assert_eq!(begin().add(&version), Err(ImportError::Version { found: 2, known }));
    let row = |bytes: &mut Vec<u8>, key: &[u8]| {
        bytes.truncate(HEADER_BYTES);
        bytes.push(key.len() as u8);
        bytes.extend_from_slice(key);
        bytes.push(0);
        bytes[12..16].copy_from_slice(&1u32.to_be_bytes());
        let length = bytes.len() - HEADER_BYTES;
        bytes[32..40].copy_from_slice(&(length as u64).to_be_bytes());
    };
    let malformed = [
        forged(&chunks[0], |bytes| bytes[10] = 2),
        forged(&chunks[0], |bytes| bytes[15] += 1),
        forged(&chunks[0], |bytes| bytes[15] -= 1),
        forged(&chunks[0], |bytes| bytes[39] -= 1),
        forged(&chunks[0], |bytes| bytes.push(0)),
        forged(&chunks[0], |bytes| bytes[23] += 1),
        forged(&chunks[0], |bytes| row(bytes, b"\x20key")),
        forged(&chunks[0], |bytes| row(bytes, b"")),
    ];
    for bytes in &malformed {
        let error = begin().add(bytes).expect_err("refused").to_string();
        assert!(error.contains("the sender made a chunk that cannot be read: "), "{error}");
    }
    for key in [&b"\x01\x03"[..], b"\x01\x01", b"\x04\0\0\0\x01", b"\x7f", b"\xff"] {
        let mut import = begin();
        import.add(&chunks[0]).expect("taken");
        let bytes = forged(&chunks[1], |bytes| row(bytes, key));
        let error = import.add(&bytes).expect_err("refused");
        assert!(matches!(error, ImportError::Malformed { .. }), "{key:?}: {error}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_row_format_of_another_version_is_named() {
    let mut import = begin();
    for (number, chunk) in chunks().iter().enumerate() {
        // The first row's key is two bytes, its value begins with the format of the rows.
        let change = |bytes: &mut Vec<u8>| bytes[HEADER_BYTES + 5] = 9;
        let chain = import.progress().cursor.encode()[1..17].to_vec();
        let chunk = match number {
            0 => forged(chunk, change),
            _ => forged(chunk, |bytes| bytes[40..CHAIN_START].copy_from_slice(&chain)),
        };
        import.add(&chunk).expect("taken");
    }
    let error = import.finish().err().expect("refused").to_string();
    assert!(error.contains("format 9"), "{error}");
}

#[test]
fn an_incomplete_import_does_not_finish() {
    let mut import = begin();
    import.add(&chunks()[0]).expect("taken");
    assert_eq!(import.finish().err(), Some(ImportError::Incomplete { next: 1 }));
}

#[test]
fn cursors_are_read_back() {
    let mut import = begin();
    for chunk in chunks() {
        let cursor = import.progress().cursor.clone();
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        import.add(&chunk).expect("taken");
    }
    assert!(Cursor::decode(&[]).is_err());
    assert!(Cursor::decode(&[0; 16]).is_err());
    assert!(Cursor::decode(&vec![0; 17 + 65_536]).is_err());
}

/// A snapshot in chunks, and one of another log in chunks of another size.
fn two_snapshots() -> &'static [Vec<Bytes>; 2] {
    static CHUNKS: OnceLock<[Vec<Bytes>; 2]> = OnceLock::new();
    CHUNKS.get_or_init(|| {
        [(11, 600), (12, 900)].map(|(seed, bytes_max)| {
            let mut store = memory();
            apply_slots(&mut store, &workload(seed, 400), 400);
            pull(&store.reader().snapshot().expect("snapshot"), bytes_max)
        })
    })
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(usize, u8),
    Cut(usize),
    Extend(Vec<u8>),
    Overwrite(usize, Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (any::<usize>(), 0..8u8).prop_map(|(position, bit)| Mutation::Flip(position, bit)),
        any::<usize>().prop_map(Mutation::Cut),
        bytes().prop_map(Mutation::Extend),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Mutation::Overwrite(at, bytes)),
    ]
}

fn mutate(chunk: &[u8], mutation: &Mutation) -> Vec<u8> {
    let mut bytes = chunk.to_vec();
    match mutation {
        Mutation::Flip(position, bit) => {
            let position = position % bytes.len();
            bytes[position] ^= 1 << bit;
        }
        Mutation::Cut(length) => bytes.truncate(length % bytes.len()),
        Mutation::Extend(more) => bytes.extend_from_slice(more),
        Mutation::Overwrite(start, with) => {
            let start = start % bytes.len();
            let end = bytes.len().min(start + with.len());
            bytes.splice(start..end, with.iter().copied());
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Changed bytes, also with a checksum that is right again, are refused or (then only) taken, and
    /// never a panic; as are chunks of another snapshot. What is damaged leaves the import usable.
    #[test]
    fn mutated_chunks_never_panic(
        taken in any::<prop::sample::Index>(),
        mutation in mutation(),
        is_forged in any::<bool>(),
        stranger in any::<prop::sample::Index>(),
    ) {
        let [chunks, strangers] = two_snapshots();
        let taken = taken.index(chunks.len());
        let mut import = begin();
        for chunk in &chunks[..taken] {
            import.add(chunk).expect("taken");
        }
        prop_assert!(import.add(&strangers[stranger.index(strangers.len())]).is_err() || taken == 0);
        let mut import = begin();
        for chunk in &chunks[..taken] {
            import.add(chunk).expect("taken");
        }
        let mut bytes = mutate(&chunks[taken], &mutation);
        if bytes == chunks[taken] {
            return Ok(());
        }
        if is_forged && bytes.len() >= HEADER_BYTES {
            bytes = forged(&bytes, |_| ());
            if import.add(&bytes).is_ok() && import.progress().is_complete {
                // A sender's lies can make a damaged store, which is found, but no panic.
                let _ = import.finish().map(|store| store.verify());
            }
            return Ok(());
        }
        prop_assert!(import.add(&bytes).expect_err("changed").is_retryable());
        for chunk in &chunks[taken..] {
            import.add(chunk).expect("taken");
        }
        import.finish().expect("finished").verify().expect("sound");
    }

    #[test]
    fn random_bytes_are_no_chunk_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Chunk::decode(&bytes).is_err());
        let with_header = [&chunks()[0][..HEADER_BYTES], &bytes].concat();
        let _ = Chunk::decode(&forged(&with_header, |_| ()));
        if let Ok(cursor) = Cursor::decode(&bytes) {
            let chunk = every_kind_of_row().reader().snapshot().unwrap().chunk(&cursor, 100).unwrap();
            prop_assert!(begin().add(&chunk).is_err());
        }
    }
}
