//! Whatever is wrong between documents and index entries is found, however little memory the check takes.

mod common;

use api::{IndexKey, IndexSpec, Request};
use bson::doc;
use bytes::Bytes;
use common::{insert, run};
use store::engine::Direction;
use store::{
    Batch, Engine, MemoryDisk, MemoryEngine, Store, View, set_first_documents_in_thread,
    set_verify_bytes_in_thread,
};

/// Documents with and without lists, in a unique index, one that descends, and one that is half built.
fn sound_store() -> MemoryEngine {
    set_first_documents_in_thread(3);
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    let create = Request::Create { collection: "c".into(), schema: common::schema(&[]) };
    run(&mut store, create).expect("created");
    let index = |path: &str, descending: bool, unique: bool| {
        let keys = vec![IndexKey { path: path.to_owned(), descending }];
        let name = IndexSpec::default_name(&keys);
        let index = IndexSpec { name, keys, unique, sparse: false, filter: None };
        Request::CreateIndex { collection: "c".into(), index }
    };
    run(&mut store, index("u", false, true)).expect("made");
    run(&mut store, index("tags", true, false)).expect("made");
    for id in 0..9 {
        let mut document = doc! { "_id": id, "tags": ["a", format!("t{id}")], "n": id % 2 };
        if id % 3 != 0 {
            document.insert("u", id);
        }
        run(&mut store, insert("c", document)).expect("inserted");
    }
    run(&mut store, index("n", false, false)).expect("begun");
    store.verify().expect("sound");
    store.into_engine()
}

/// What the check says after some rows were changed; none removes a row.
fn verified(changes: &[(Bytes, Option<Bytes>)]) -> Result<(), String> {
    let mut engine = sound_store();
    let changes = changes.iter().map(|(key, value)| (key.to_vec(), value.clone())).collect();
    engine.commit(Batch { changes }).expect("committed");
    let store = Store::open(engine).expect("opened");
    store.verify().map_err(|damage| damage.to_string())
}

#[test]
fn a_check_finds_every_wrong_entry_in_bounded_memory() {
    let engine = sound_store();
    let rows = |family: u8| -> Vec<(Bytes, Bytes)> {
        let view = engine.view();
        let rows = view.range(&[family], &[family + 1], Direction::Forward);
        rows.collect::<Result<_, _>>().expect("rows")
    };
    let (documents, entries) = (rows(0x10), rows(0x11));
    // Six unique values, three documents without, eighteen tags, three documents of the build.
    assert_eq!((documents.len(), entries.len()), (9, 30));
    for bytes in [0, 100, 1 << 20] {
        set_verify_bytes_in_thread(bytes);
        verified(&[]).expect("sound");
        for (key, value) in &entries {
            let said = verified(&[(key.clone(), None)]).expect_err("one is missing");
            assert!(said.contains("is missing"), "{said}");
            let other = if value.is_empty() { Bytes::from_static(b"\x18") } else { Bytes::new() };
            let said = verified(&[(key.clone(), Some(other))]).expect_err("one is another");
            assert!(said.contains("is not that of its document"), "{said}");
            // The entry of another index, and one with another byte somewhere in it.
            for byte in 5..key.len() {
                let mut stray = key.to_vec();
                stray[byte] ^= 1;
                if entries.iter().any(|(key, _)| key[..] == stray[..]) {
                    continue;
                }
                let stray = (Bytes::from(stray), Some(value.clone()));
                let said = verified(std::slice::from_ref(&stray)).expect_err("one too many");
                assert!(said.contains("belongs to no"), "{said}");
                // As many as there should be, but not those.
                let said = verified(&[(key.clone(), None), stray]).expect_err("another one");
                assert!(said.contains("is missing"), "{said}");
            }
        }
        // A document that is gone leaves its entries.
        for (key, _) in &documents {
            let said = verified(&[(key.clone(), None)]).expect_err("one is gone");
            assert!(said.contains("belongs to no document"), "{said}");
        }
    }
}
