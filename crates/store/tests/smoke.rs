//! A first walk through the store on both engines.
use api::{Document, FieldSchema, FieldType, Reference, Request, Schema, SearchOptions, Value};
use bson::doc;
use store::{Command, Engine, Entry, FjallEngine, FjallOptions, MemoryDisk, Store, validate};

fn run<E: Engine>(store: &mut Store<E>, request: Request) -> Result<Value, api::Error> {
    validate(&request)?;
    let slot = store.applied_slot() + 1;
    let reference = Reference::new("c", slot);
    let command = Command { reference, acked: slot.saturating_sub(3), time_ms: 0, request };
    let bytes = command.encode();
    assert_eq!(Command::decode(&bytes).unwrap(), command);
    let mut out = store.apply(&[Entry { slot, command: Some(&bytes) }]).unwrap();
    out.remove(0).answer.unwrap()
}

fn go<E: Engine>(store: &mut Store<E>) {
    let f = |name: &str, unique| FieldSchema { name: name.into(), kind: FieldType::Any, index: true, unique, required: false };
    let schema = Schema { fields: vec![f("email", true), f("age", false)] };
    run(store, Request::Create { collection: "people".into(), schema }).unwrap();
    for i in 0..10 {
        let documents = vec![doc! {"_id": i, "email": format!("e{i}"), "age": i % 3}];
        run(store, Request::Insert { collection: "people".into(), documents, list: false }).unwrap();
    }
    let documents = vec![doc! {"_id": 11, "email": "e1"}];
    println!("{:?}", run(store, Request::Insert { collection: "people".into(), documents, list: false }));
    println!("{:?}", run(store, Request::Update { collection: "people".into(), filter: doc!{"age": 1}, changes: doc!{"$inc": {"age": 5}} }));
    let reader = store.reader();
    for explain in [false, true] {
        let search = SearchOptions { explain, sort: vec![("email".into(), -1)], ..Default::default() };
        println!("{:?}", reader.query(&Request::Search { collection: "people".into(), filter: doc! {"age": {"$gt": 2}}, search }));
    }
    println!("{:?}", reader.query(&Request::Describe { collection: None }));
    println!("{:?}", run(store, Request::Delete { collection: "people".into(), filter: Document::new() }));
    store.verify().unwrap();
}

#[test]
fn smoke() {
    let disk = MemoryDisk::new();
    let mut store = Store::open(disk.engine()).unwrap();
    go(&mut store);
    let dir = tempfile::tempdir().unwrap();
    let mut fj = Store::open(FjallEngine::open(dir.path(), FjallOptions::default()).unwrap()).unwrap();
    go(&mut fj);
    assert_eq!(store.content_hash().unwrap(), fj.content_hash().unwrap());
    let hash = store.content_hash().unwrap();
    drop(store);
    drop(fj);
    assert_eq!(Store::open(disk.engine()).unwrap().content_hash().unwrap(), hash);
    let fj = Store::open(FjallEngine::open(dir.path(), FjallOptions::default()).unwrap()).unwrap();
    assert_eq!(hash, fj.content_hash().unwrap());
}
