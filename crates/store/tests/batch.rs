//! A batch is all of its requests, one after the other, or nothing (X1).

mod common;

use api::limits::BATCH_REQUESTS_MAX;
use api::{ErrorCode, Request, SearchOptions, Value};
use bson::doc;
use common::{Dice, apply_slots, insert, random_member, run, workload, write};
use proptest::prelude::*;
use store::{MemoryDisk, MemoryEngine, PlantedBug, Store};

/// All that clients can see.
fn seen(store: &Store<MemoryEngine>) -> String {
    let reader = store.reader();
    let query = |request: &Request| format!("{:?}\n", reader.query(request).expect("no trouble"));
    let mut seen = query(&Request::Describe { collection: None });
    for number in 1..=3 {
        seen += &query(&Request::Search {
            collection: format!("c{number}"),
            filter: doc! {},
            search: SearchOptions::default(),
        });
    }
    for number in 0..20 {
        seen += &query(&Request::Read { key: format!("k{number}"), empty_if_absent: false });
    }
    seen
}

/// Two stores with the same content.
fn twins(seed: u64) -> [(MemoryDisk, Store<MemoryEngine>); 2] {
    let log = workload(seed, 120);
    [(), ()].map(|()| {
        let disk = MemoryDisk::new();
        let mut store = Store::open(disk.engine()).expect("opened");
        apply_slots(&mut store, &log, log.len());
        (disk, store)
    })
}

/// Does a batch do what its requests do one by one, or, if one of them is refused, nothing?
fn is_all_or_nothing(seed: u64, bug: Option<PlantedBug>) -> bool {
    let [(_, mut one), (disk, mut other)] = twins(seed);
    if let Some(bug) = bug {
        one.plant(bug);
    }
    let mut dice = Dice(seed);
    for round in 0..12 {
        let requests: Vec<Request> =
            (0..1 + dice.below(5)).map(|_| random_member(&mut dice, 200 + round)).collect();
        let answer = run(&mut one, Request::Batch { requests: requests.clone() });
        // The other does them one by one, and forgets it all if one of them fails.
        let fork = disk.fork();
        let mut steps = Store::open(fork.engine()).expect("opened");
        let mut answers = Vec::new();
        for request in &requests {
            let step = run(&mut steps, Request::Batch { requests: vec![request.clone()] });
            match step {
                Ok(Value::Array(mut step)) => answers.append(&mut step),
                _ => break,
            }
        }
        let expected = (answers.len() == requests.len()).then_some(Value::Array(answers));
        if format!("{:?}", answer.as_ref().ok()) != format!("{:?}", expected.as_ref()) {
            return false;
        }
        if expected.is_some() {
            run(&mut other, Request::Batch { requests }).expect("as before");
        }
        if seen(&one) != seen(&other) || one.verify().is_err() {
            return false;
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 25, ..Default::default() })]

    #[test]
    fn a_batch_does_all_of_its_requests_or_none(seed in any::<u64>()) {
        prop_assert!(is_all_or_nothing(seed, None));
    }
}

#[test]
fn a_refused_batch_that_stays_is_noticed() {
    assert!(!(0..20).all(|seed| is_all_or_nothing(seed, Some(PlantedBug::BatchStays))));
}

#[test]
fn a_batch_is_bounded() {
    let many = vec![write("k", 1); BATCH_REQUESTS_MAX + 1];
    let refused = |requests| store::validate(&Request::Batch { requests }).expect_err("refused");
    assert_eq!(refused(many).code, ErrorCode::BadRequest);
    assert_eq!(refused(Vec::new()).code, ErrorCode::BadRequest);
    let large = vec![write("k", "x".repeat(6 << 20)); 3];
    assert_eq!(refused(large).code, ErrorCode::TooLarge);
    let nested = Request::Batch { requests: vec![write("k", 1)] };
    assert!(refused(vec![write("k", 1), nested]).message.contains("position 1"));
    assert!(refused(vec![Request::Members]).message.contains("position 0 (members)"));
}

/// What a batch writes is bounded, too: a few bytes could have the same documents written again and again.
#[test]
fn a_batch_that_writes_too_much_is_refused_and_undone() {
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    let create = Request::Create { collection: "c".into(), schema: common::schema(&[]) };
    run(&mut store, create).expect("created");
    run(&mut store, insert("c", doc! { "_id": 1, "text": "x".repeat(1 << 20) })).expect("inserted");
    let requests = vec![common::update("c", doc! {}, doc! { "$inc": { "n": 1 } }); 70];
    let error = run(&mut store, Request::Batch { requests }).expect_err("refused");
    assert_eq!(error.code, ErrorCode::TooLarge, "{error}");
    let requests = vec![common::update("c", doc! {}, doc! { "$inc": { "n": 1 } }); 7];
    run(&mut store, Request::Batch { requests }).expect("done");
    let fields = SearchOptions { fields: Some(doc! { "n": 1 }), ..SearchOptions::default() };
    let search = Request::Search { collection: "c".into(), filter: doc! {}, search: fields };
    let found = store.reader().query(&search).expect("no trouble").expect("found");
    assert_eq!(found, Value::Array(vec![Value::from(doc! { "_id": 1, "n": 7 })]));

    // So are its answers.
    run(&mut store, write("k", "x".repeat(9 << 20))).expect("written");
    let swaps = |count| {
        (0..count).map(|_| Request::Swap { key: "k".into(), value: "x".repeat(5 << 20).into() })
    };
    let error =
        run(&mut store, Request::Batch { requests: swaps(3).collect() }).expect_err("refused");
    assert_eq!(error.code, ErrorCode::ResultTooLarge, "{error}");
}

/// What a command says is bounded by its frame; what it does must be bounded too, or one small update takes the
/// memory of every node, at every start anew.
#[test]
fn an_update_that_would_write_too_much_is_refused_whole() {
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    let schema = api::Schema::default();
    run(&mut store, Request::Create { collection: "c".into(), schema }).expect("created");
    for id in 0..10 {
        run(&mut store, insert("c", doc! { "_id": id, "l": [0] })).expect("inserted");
    }
    let update = |changes| Request::Update {
        collection: "c".into(),
        filter: doc! {},
        changes,
        options: api::UpdateOptions::default(),
    };
    for changes in
        [doc! { "$set": { "s": "x".repeat(10_000_000) } }, doc! { "$set": { "l.999999": 1 } }]
    {
        let refused = run(&mut store, update(changes)).expect_err("it is too much");
        assert_eq!(refused.code, ErrorCode::TooLarge, "{refused}");
        assert!(refused.message.contains("divide it"), "{refused}");
    }
    run(&mut store, update(doc! { "$set": { "n": 1 } })).expect("this is little");
    run(&mut store, update(doc! { "$unset": { "n": 1 } })).expect("and this");
    store.verify().expect("sound");
    let view =
        store.reader().query(&Request::Count { collection: "c".into(), filter: doc! { "l": [0] } });
    assert_eq!(view.expect("no trouble"), Ok(Value::Int64(10)));
}
