//! What is quickly answered is answered as everything else is, or not at all.

mod common;

use api::{Request, SearchOptions, Value};
use bson::doc;
use common::{Dice, random_filter, store};
use proptest::prelude::*;
use store::{Found, GlanceLimits, MemoryEngine, Reader};

const PLENTY: GlanceLimits = GlanceLimits { rows: usize::MAX, bytes: usize::MAX };

fn search(filter: api::Document, search: SearchOptions) -> Request {
    Request::Search { collection: "c1".into(), filter, search }
}

fn random_request(dice: &mut Dice) -> Request {
    let collection = format!("c{}", 1 + dice.below(4));
    let filter = if dice.one_in(3) {
        doc! {}
    } else {
        random_filter(dice)
    };
    match dice.below(5) {
        0 => Request::Count { collection, filter },
        1 => Request::Distinct { collection, field: "age".into(), filter },
        2 => Request::Read { key: format!("k{}", dice.below(10)), empty_if_absent: false },
        _ => {
            let mut search = SearchOptions::default();
            if dice.one_in(2) {
                search.sort.push(("age".into(), 1));
            }
            search.limit = dice.one_in(2).then_some(dice.below(20));
            search.explain = dice.one_in(5);
            Request::Search { collection, filter, search }
        }
    }
}

fn whole(reader: &Reader<MemoryEngine>, request: &Request, bytes_max: usize) -> Option<Answer> {
    match reader.query_within(request, bytes_max).expect("no trouble") {
        Ok(Found::Whole(value)) => Some(Ok(value)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}

type Answer = Result<Value, api::Error>;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 25, ..Default::default() })]

    #[test]
    fn a_glance_answers_as_a_reader_does_or_not_at_all(seed in any::<u64>()) {
        let store = store(seed);
        let reader = store.reader();
        let mut dice = Dice(seed);
        let mut answered = 0;
        for _ in 0..50 {
            let request = random_request(&mut dice);
            let bytes_max = if dice.one_in(4) { 300 } else { 1 << 20 };
            let answer = whole(&reader, &request, bytes_max);
            let glance = reader.glance();
            let all = glance.query(&request, bytes_max, PLENTY, &|| true).expect("no trouble");
            // As text: no NaN equals another.
            prop_assert_eq!(format!("{all:?}"), format!("{answer:?}"), "{:?}", request);
            let limits = GlanceLimits { rows: dice.below(40) as usize, bytes: dice.below(4_000) as usize };
            if let Some(some) = glance.query(&request, bytes_max, limits, &|| true).expect("no trouble") {
                answered += 1;
                prop_assert_eq!(format!("{:?}", Some(some)), format!("{answer:?}"), "{:?}", request);
            }
        }
        prop_assert!(answered > 0, "some need little");
    }
}

#[test]
fn no_more_rows_are_read_than_allowed() {
    let store = store(7);
    let reader = store.reader();
    let all = search(doc! {}, SearchOptions::default());
    let Ok(Some(Ok(Value::Array(found)))) =
        reader.glance().query(&all, usize::MAX, PLENTY, &|| true)
    else {
        panic!("everything is found")
    };
    assert!(found.len() > 3);
    // What the store notes for itself, the range, and the documents.
    let rows = found.len() + 2;
    let within = |rows, bytes| {
        let limits = GlanceLimits { rows, bytes };
        reader.glance().query(&all, usize::MAX, limits, &|| true).expect("no trouble").is_some()
    };
    assert!(within(rows, usize::MAX));
    assert!(!within(rows - 1, usize::MAX));
    assert!(!within(rows, 100));
    // With a limit fewer are read.
    let few =
        SearchOptions { limit: Some(2), hint: Some("_id_".into()), ..SearchOptions::default() };
    let limits = GlanceLimits { rows: 5, bytes: usize::MAX };
    let found = reader.glance().query(&search(doc! {}, few), usize::MAX, limits, &|| true);
    assert!(matches!(found, Ok(Some(Ok(Value::Array(found)))) if found.len() == 2));
}

#[test]
fn it_ends_after_the_row_at_which_it_is_told_so() {
    let store = store(7);
    let all = search(doc! {}, SearchOptions::default());
    let asked = std::cell::Cell::new(0);
    let third_is_last = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let found = store.reader().glance().query(&all, usize::MAX, PLENTY, &third_is_last);
    assert!(matches!(found, Ok(None)));
    assert_eq!(asked.get(), 3);
}

#[test]
fn what_comes_in_parts_or_is_no_query_is_left() {
    let store = store(7);
    let batch = SearchOptions { batch: Some(2), ..SearchOptions::default() };
    let others = [
        search(doc! {}, batch),
        Request::Aggregate { collection: "c1".into(), pipeline: Vec::new(), batch: None },
        Request::Describe { collection: None },
        Request::Members,
    ];
    for request in others {
        let found = store.reader().glance().query(&request, usize::MAX, PLENTY, &|| true);
        assert!(matches!(found, Ok(None)), "{request:?}");
    }
}
