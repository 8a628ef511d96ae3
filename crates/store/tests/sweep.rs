//! What is left of destroyed collections and dropped indexes goes, whatever its size, also across starts.

mod common;

use api::{Document, FieldSchema, FieldType, IndexKey, IndexSpec, Request, Schema};
use bson::doc;
use common::run;
use store::engine::{Direction, Engine, View};
use store::{Effect, Entry, MemoryDisk, MemoryEngine, Store};

/// Families of rows of documents and of index entries.
const FROM: u8 = 0x10;
const TO: u8 = 0x12;

fn rows(store: &Store<MemoryEngine>) -> usize {
    store.engine().view().range(&[FROM], &[TO], Direction::Forward).count()
}

fn documents(count: i64) -> Request {
    let documents: Vec<Document> = (0..count).map(|n| doc! { "_id": n, "n": n, "m": -n }).collect();
    Request::Insert { collection: "c".into(), documents, list: true }
}

fn blank(store: &mut Store<MemoryEngine>) {
    let slot = store.applied_slot() + 1;
    store.apply(&[Entry { slot, effect: Effect::Blank }]).expect("applied");
}

#[test]
fn rows_that_nothing_sees_go_in_steps_and_all() {
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.engine()).expect("opened");
    let mut field = FieldSchema::new("n", FieldType::Int);
    field.index = true;
    let schema = Schema { fields: vec![field] };
    let collection = || "c".to_owned();
    run(&mut store, Request::Create { collection: collection(), schema: schema.clone() }).unwrap();
    let keys = vec![IndexKey { path: "m".into(), descending: false }];
    let name = "by_m".to_owned();
    let index = IndexSpec { name, keys, unique: false, sparse: false, filter: None };
    run(&mut store, Request::CreateIndex { collection: collection(), index }).unwrap();
    run(&mut store, documents(3000)).unwrap();
    assert_eq!(rows(&store), 9000);
    // The entries of a dropped index, while the collection lives.
    run(&mut store, Request::DropIndex { collection: collection(), name: "by_m".into() }).unwrap();
    while rows(&store) > 6000 {
        let before = rows(&store);
        blank(&mut store);
        assert!(rows(&store) < before, "each batch removes some");
    }
    // A collection, in the middle of which the store starts anew, and of whose name there is another one.
    run(&mut store, Request::Destroy { collection: collection() }).unwrap();
    run(&mut store, Request::Create { collection: collection(), schema }).unwrap();
    run(&mut store, documents(7)).unwrap();
    let mut starts = 0;
    while rows(&store) > 14 {
        let before = rows(&store);
        if starts < 2 {
            starts += 1;
            drop(store);
            store = Store::open(disk.engine()).expect("opened");
        }
        blank(&mut store);
        assert!(rows(&store) < before, "each batch removes some");
    }
    blank(&mut store);
    assert_eq!(rows(&store), 14);
    store.verify().expect("sound");
}
