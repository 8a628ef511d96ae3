//! Every limit of the language: what is just within it goes, what is beyond is refused in words.

use api::{Document, ErrorCode, Value};
use bson::doc;
use query::{
    Budget, Circumstances, EXPRESSION_DEPTH_MAX, EXPRESSION_PARTS_MAX, Expression,
    FILTER_DEPTH_MAX, FILTER_OPERATORS_MAX, FILTER_PATTERNS_MAX, Filter, PADDED_ELEMENTS_MAX,
    PATTERN_BYTES_MAX, PIPELINE_BYTES_MAX, PLACES_MAX, Pipeline, SORT_KEYS_MAX, STAGES_MAX,
    SortKeys, UPDATE_FIELDS_MAX, Update,
};

fn numbered(count: usize, value: &Value) -> Document {
    (0..count).map(|number| (format!("f{number}"), value.clone())).collect()
}

fn nested(levels: usize) -> Document {
    (0..levels).fold(doc! { "a": 1 }, |inner, _| doc! { "$and": [inner] })
}

fn filter(filter: &Document) -> Result<(), String> {
    Filter::parse(filter).map(|_| ()).map_err(|error| error.message)
}

fn update(changes: &Document) -> Result<Update, String> {
    Update::parse(changes, &[]).map_err(|error| error.message)
}

fn apply(changes: &Document, mut document: Document) -> Result<Document, String> {
    let circumstances = Circumstances::default();
    let applied = update(changes)?.apply(&mut document, &circumstances);
    applied.map(|()| document).map_err(|error| error.message)
}

fn pipeline(stages: &[Document]) -> Result<(), String> {
    Pipeline::parse(stages).map(|_| ()).map_err(|error| error.message)
}

fn expression(value: &Value) -> Result<(), String> {
    Expression::parse(value).map(|_| ()).map_err(|error| error.message)
}

/// `check` goes at the limit, and beyond it is refused with these words.
fn at_and_beyond<T>(limit: usize, words: &str, check: impl Fn(usize) -> Result<T, String>) {
    assert!(check(limit).is_ok(), "{words}: {:?}", check(limit).err());
    let refusal = check(limit + 1).err().unwrap_or_else(|| panic!("beyond: {words}"));
    assert!(refusal.contains(words), "{refusal} does not say: {words}");
}

#[test]
fn every_limit_holds_at_it_and_refuses_beyond() {
    at_and_beyond(FILTER_DEPTH_MAX, "nests deeper than 50", |n| filter(&nested(n)));
    at_and_beyond(FILTER_DEPTH_MAX, "nests deeper than 50", |n| {
        let inner = (0..n).fold(doc! { "$gt": 1 }, |inner, _| doc! { "$not": inner });
        filter(&doc! { "a": inner })
    });
    at_and_beyond(FILTER_OPERATORS_MAX, "more than 2000 operators", |n| {
        filter(&numbered(n, &Value::Null))
    });
    at_and_beyond(FILTER_OPERATORS_MAX - 2, "more than 2000 operators", |n| {
        filter(&doc! { "a": { "$all": vec![1; n] } })
    });
    filter(&doc! { "a": { "$in": (0..100_000).collect::<Vec<i32>>() } }).expect("no operators");
    at_and_beyond(FILTER_PATTERNS_MAX, "more than 100 regular expressions", |n| {
        filter(&numbered(n, &Value::from(doc! { "$regex": "a" })))
    });
    at_and_beyond(PATTERN_BYTES_MAX, "the most is 32764", |n| {
        // Spaces that the option leaves out, or its compiled size would be the limit.
        filter(&doc! { "a": { "$regex": format!("{:n$}", "a"), "$options": "x" } })
    });
    assert!(filter(&doc! { "a": { "$regex": "(a{1000}){1000}" } }).is_err(), "its compiled size");

    at_and_beyond(UPDATE_FIELDS_MAX, "more than 2000 fields", |n| {
        update(&doc! { "$set": numbered(n, &Value::Null) })
    });
    at_and_beyond(PLACES_MAX, "more than 100000 places", |n| {
        apply(&doc! { "$inc": { "a.$[]": 1 } }, doc! { "a": vec![0; n] })
    });
    at_and_beyond(PADDED_ELEMENTS_MAX - 1, "no longer than 1500000", |n| {
        apply(&doc! { "$set": { (format!("a.{n}")): 1 } }, doc! { "a": [] })
    });
    // Lists that are padded one after the other count together.
    let half = PADDED_ELEMENTS_MAX / 2;
    let two = doc! { "$set": { (format!("a.{half}")): 1, (format!("b.{half}")): 1 } };
    assert!(apply(&two, doc! { "a": [], "b": [] }).is_err());
    let wide = doc! { "$set": { "a.$[]": "x".repeat(1 << 20) } };
    let refusal = apply(&wide, doc! { "a": vec![0; 40] }).expect_err("40 MiB of text");
    assert!(refusal.contains("the update writes"), "{refusal}");

    at_and_beyond(SORT_KEYS_MAX, "1 to 32 fields", |n| {
        SortKeys::parse("sort", &numbered(n, &Value::Int32(1))).map_err(|error| error.message)
    });
    at_and_beyond(STAGES_MAX, "the most is 100", |n| pipeline(&vec![doc! { "$skip": 1 }; n]));
    at_and_beyond(EXPRESSION_DEPTH_MAX, "deeper than 50", |n| {
        let inner = (0..n).fold(Value::from("$a"), |inner, _| Value::from(doc! { "$not": inner }));
        expression(&inner)
    });
    at_and_beyond(EXPRESSION_PARTS_MAX - 1, "more than 2000 parts", |n| {
        expression(&Value::from(doc! { "$add": vec![1; n] }))
    });
}

/// Lists walked within lists, text that doubles: refused by the limit on steps, not by patience.
#[test]
fn work_on_one_request_is_bounded() {
    let list = doc! { "a": (0..3_000).collect::<Vec<i32>>() };
    let squared = doc! { "$map": { "input": "$a", "in": {
        "$sum": { "$map": { "input": "$a", "as": "b", "in": { "$multiply": ["$$b", 2] } } }
    } } };
    let expression = Expression::parse(&Value::from(squared.clone())).expect("an expression");
    let refusal = expression.evaluate(&list, &mut Budget::of_filter()).expect_err("9 million");
    assert!(refusal.message.contains("more than 1000000 steps"), "{refusal}");
    let filter = Filter::parse(&doc! { "$expr": squared }).expect("a filter");
    assert!(filter.check(&list).is_err());
    assert!(!filter.matches(&list), "what cannot be computed is not meant");

    // Each stage doubles the text: after 30 it would be a gibibyte.
    let doubling = vec![doc! { "$set": { "a": { "$concat": ["$a", "$a"] } } }; 30];
    let pipeline = Pipeline::parse(&doubling).expect("a pipeline");
    let refusal = pipeline.run().push(doc! { "a": "x" }).expect_err("too long");
    assert!(refusal.code == ErrorCode::TooLarge || refusal.code == ErrorCode::BadQuery);

    // A group that holds all that it is given.
    let hoard = [doc! { "$group": { "_id": Value::Null, "all": { "$push": "$a" } } }];
    let pipeline = Pipeline::parse(&hoard).expect("a pipeline");
    let mut run = pipeline.run();
    let large = doc! { "a": "x".repeat(1 << 20) };
    let pushed =
        (0..=PIPELINE_BYTES_MAX >> 20).try_for_each(|_| run.push(large.clone()).map(|_| ()));
    let refusal = pushed.expect_err("more than it may hold");
    assert_eq!(refusal.code, ErrorCode::TooLarge);
    assert!(refusal.message.contains("$group holds more than"), "{refusal}");
}

/// Two long lists do not multiply: each of these would be 10^10 comparisons.
#[test]
fn long_lists_against_long_lists_are_quick() {
    let many: Vec<i32> = (0..100_000).collect();
    let others: Vec<i32> = (100_000..200_000).collect();
    let held = doc! { "a": many };
    let filter = Filter::parse(&doc! { "a": { "$in": others.clone() } }).expect("a filter");
    assert!(!filter.matches(&held));
    let changes = [
        (doc! { "$addToSet": { "a": { "$each": others.clone() } } }, 200_000),
        (doc! { "$pullAll": { "a": others.clone() } }, 100_000),
        (doc! { "$pull": { "a": { "$in": others } } }, 100_000),
    ];
    for (changes, left) in changes {
        let after = apply(&changes, held.clone()).expect("applied");
        assert_eq!(after.get_array("a").expect("a list").len(), left, "{changes:.60}");
    }
}
