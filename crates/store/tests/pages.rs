//! A long result in parts is the result (X2), whatever happens meanwhile.

mod common;

use api::{ErrorCode, Request, SearchOptions, Value, json};
use bson::doc;
use common::{Dice, insert, random_filter, random_value, run, store, write};
use proptest::prelude::*;
use store::{
    Found, MemoryDisk, MemoryEngine, PageLimits, PageStart, Pages, Store, engine::MemoryView,
};

fn pages(store: &Store<MemoryEngine>, request: &Request, bytes_max: usize) -> Pages<MemoryView> {
    match store.reader().query_within(request, bytes_max).expect("no trouble") {
        Ok(Found::Pages(pages) | Found::TooLong(pages)) => pages,
        Ok(Found::Whole(whole)) => panic!("{whole} fits"),
        Err(error) => panic!("{error}"),
    }
}

fn random_options(dice: &mut Dice) -> SearchOptions {
    let mut options = SearchOptions::default();
    let paths = ["_id", "email", "age", "tags", "code", "name.first"];
    for _ in 0..dice.below(3) {
        let path = paths[dice.below(6) as usize].to_owned();
        if options.sort.iter().all(|(other, _)| *other != path) {
            options.sort.push((path, if dice.one_in(2) { 1 } else { -1 }));
        }
    }
    if dice.one_in(3) {
        options.limit = Some(dice.below(30));
    }
    if dice.one_in(3) {
        options.skip = dice.below(20);
    }
    if dice.one_in(3) {
        options.fields = Some(doc! { "email": 1, "age": 1 });
    }
    options
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 25, ..Default::default() })]

    #[test]
    fn pages_make_the_whole(seed in any::<u64>()) {
        let mut store = store(seed);
        let mut dice = Dice(seed);
        for round in 0..20 {
            let collection = format!("c{}", 1 + dice.below(3));
            let filter = if dice.one_in(3) { doc! {} } else { random_filter(&mut dice) };
            let search = random_options(&mut dice);
            let whole = Request::Search { collection: collection.clone(), filter: filter.clone(), search: search.clone() };
            let Ok(whole) = store.reader().query(&whole).expect("no trouble") else { continue };
            let search = SearchOptions { batch: Some(1), ..search };
            let request = Request::Search { collection: collection.clone(), filter, search };
            let pages = pages(&store, &request, usize::MAX);
            let mut found = Vec::new();
            let mut start = Some(PageStart::default());
            while let Some(here) = start {
                // What is written meanwhile is not seen.
                let _ = run(&mut store, insert(&collection, doc! { "_id": 1000 + round, "age": random_value(&mut dice) }));
                let _ = run(&mut store, write("k1", random_value(&mut dice)));
                let limits = PageLimits { items: 1 + dice.below(9), bytes: 600 + dice.below(2000) as usize };
                let page = pages.page(&here, limits).expect("no trouble").expect("it fits");
                let again = pages.page(&here, limits).expect("no trouble").expect("it fits");
                prop_assert_eq!(format!("{:?}", page.items), format!("{:?}", again.items));
                prop_assert!(page.items.len() as u64 <= limits.items);
                let bytes: usize = page.items.iter().map(|item| json::to_string(item).len() + 1).sum();
                prop_assert!(bytes <= limits.bytes);
                prop_assert!(!page.items.is_empty() || page.next.is_none());
                found.extend(page.items);
                start = page.next;
            }
            prop_assert_eq!(format!("{:?}", Value::Array(found)), format!("{whole:?}"));
        }
    }
}

#[test]
fn a_list_that_does_not_fit_comes_in_pages() {
    let mut store = Store::open(MemoryDisk::new().engine()).expect("opened");
    let create = Request::Create { collection: "c".into(), schema: common::schema(&[]) };
    run(&mut store, create).expect("created");
    for number in 0..20 {
        run(&mut store, insert("c", doc! { "_id": number, "text": "x".repeat(1000) })).expect("in");
    }
    let request = Request::Search {
        collection: "c".into(),
        filter: doc! {},
        search: SearchOptions::default(),
    };
    let whole = store.reader().query(&request).expect("no trouble").expect("found");
    let length = json::to_string(&whole).len();
    // It is a matter of a single byte.
    let fits =
        store.reader().query_within(&request, length + 1).expect("no trouble").expect("found");
    assert!(matches!(fits, Found::Whole(found) if found == whole));
    let limits = PageLimits { items: 1000, bytes: 5000 };
    let page = pages(&store, &request, length - 1).page(&PageStart::default(), limits);
    assert_eq!(page.expect("no trouble").expect("it fits").items.len(), 4);

    // A document that is too long alone stays where it is.
    let pages = pages(&store, &request, length - 1);
    let refused = pages.page(&PageStart::default(), PageLimits { items: 1000, bytes: 900 });
    assert_eq!(refused.expect("no trouble").expect_err("too long").code, ErrorCode::ResultTooLarge);
    let page = pages.page(&PageStart::default(), PageLimits { items: 3, bytes: 9000 });
    assert_eq!(page.expect("no trouble").expect("it fits").items.len(), 3);

    // Or it is named and passed over, and counts as one of the page.
    run(&mut store, insert("c", doc! { "_id": -1 })).expect("inserted");
    let pages = self::pages(&store, &request, length - 1);
    let (mut found, mut too_long, mut start) = (Vec::new(), Vec::new(), Some(PageStart::default()));
    while let Some(here) = start {
        let limits = PageLimits { items: 4, bytes: 900 };
        let page = pages.page_passing_long(&here, limits).expect("no trouble").expect("it fits");
        assert!(page.items.len() + page.too_long.len() <= 4);
        found.extend(page.items);
        too_long.extend(page.too_long);
        start = page.next;
    }
    assert_eq!(found, [Value::from(doc! { "_id": -1 })]);
    assert_eq!(too_long, (0..20).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn a_bound_of_a_text_is_not_below_its_length() {
    let mut dice = Dice(1);
    for _ in 0..500 {
        let document = common::random_document(&mut dice);
        let value = Value::from(doc! {
            "document": document,
            "text": "\u{1}\"\\é\n".repeat(20),
            "date": bson::DateTime::from_millis(dice.next() as i64 >> 8),
            "id": bson::oid::ObjectId::from_bytes([7; 12]),
            "binary": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1; 33] },
            "nan": f64::NEG_INFINITY, "small": f64::MIN_POSITIVE, "number": i64::MIN, "yes": true,
            "\u{2}": Value::MinKey,
        });
        assert!(json::to_string(&value).len() <= json::length_bound(&value));
    }
}
