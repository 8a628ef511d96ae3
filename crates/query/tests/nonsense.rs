//! What nobody would write: operators in every place, of every operand. It is refused or answered, never
//! a panic, and the same twice.
//!
//! `QUERY_CASES=1000000` runs so many cases.

mod common;

use api::{Document, Value};
use common::draw;
use fastrand::Rng;
use query::{
    Budget, Circumstances, Expression, Filter, Pipeline, Projection, Update, upsert_document,
};

/// Names that mean something somewhere in the language.
const NAMES: &[&str] = &[
    "$and",
    "$or",
    "$nor",
    "$not",
    "$expr",
    "$eq",
    "$ne",
    "$gt",
    "$lte",
    "$in",
    "$nin",
    "$all",
    "$elemMatch",
    "$exists",
    "$type",
    "$mod",
    "$size",
    "$regex",
    "$options",
    "$set",
    "$unset",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$rename",
    "$push",
    "$each",
    "$position",
    "$sort",
    "$slice",
    "$pull",
    "$pullAll",
    "$addToSet",
    "$pop",
    "$bit",
    "and",
    "$currentDate",
    "$setOnInsert",
    "$match",
    "$project",
    "$group",
    "$unwind",
    "$limit",
    "$skip",
    "$count",
    "$sortByCount",
    "$replaceRoot",
    "newRoot",
    "path",
    "$add",
    "$subtract",
    "$multiply",
    "$divide",
    "$cond",
    "if",
    "then",
    "else",
    "$switch",
    "branches",
    "case",
    "default",
    "$map",
    "$filter",
    "input",
    "as",
    "cond",
    "$reduce",
    "initialValue",
    "$let",
    "vars",
    "$concat",
    "$substr",
    "$split",
    "$trim",
    "$arrayElemAt",
    "$concatArrays",
    "$toInt",
    "$toDate",
    "$toString",
    "$year",
    "$dayOfWeek",
    "$round",
    "$pow",
    "$mergeObjects",
    "$ifNull",
    "$first",
    "$avg",
    "$sum",
    "_id",
    "a",
    "b",
    "a.b",
    "a.$",
    "a.$[]",
    "a.$[e]",
    "a.0",
    "e",
    "e.a",
    "$",
    "",
    ".",
];

const STAGES: &[&str] = &[
    "$match",
    "$project",
    "$set",
    "$unset",
    "$group",
    "$sort",
    "$limit",
    "$unwind",
    "$count",
    "$sortByCount",
    "$replaceRoot",
    "$replaceWith",
];

const TEXTS: &[&str] = &[
    "$a",
    "$a.b",
    "$$ROOT",
    "$$this",
    "$$value",
    "$$REMOVE",
    "$",
    "$$",
    "a",
    "b",
    "(",
    "[a-z]+",
    "é",
    "1",
    "9e99",
    "2024-02-29T00:00:00Z",
    "string",
    "number",
    "before",
];

fn nonsense(rng: &mut Rng, depth: u8) -> Value {
    match rng.u8(0..12) {
        0..=3 if depth > 0 => Value::Document(nonsense_document(rng, depth - 1)),
        4 | 5 if depth > 0 => {
            Value::Array((0..rng.usize(0..4)).map(|_| nonsense(rng, depth - 1)).collect())
        }
        6..=8 => Value::String(TEXTS[rng.usize(0..TEXTS.len())].to_owned()),
        9 => [
            Value::Int64(i64::MIN),
            Value::Int64(i64::MAX),
            Value::Int32(i32::MIN),
            Value::Double(f64::NEG_INFINITY),
            Value::Double(1e300),
            Value::MinKey,
            Value::MaxKey,
            Value::Undefined,
            Value::ObjectId(bson::oid::ObjectId::from_bytes([7; 12])),
            Value::Timestamp(bson::Timestamp { time: u32::MAX, increment: 1 }),
            Value::DateTime(bson::DateTime::MAX),
            Value::DateTime(bson::DateTime::MIN),
            Value::Decimal128(bson::Decimal128::from_bytes([0xff; 16])),
            Value::Decimal128("1.50".parse().expect("a decimal")),
        ][rng.usize(0..14)]
        .clone(),
        _ => draw::scalar(rng),
    }
}

fn nonsense_document(rng: &mut Rng, depth: u8) -> Document {
    let fields = (0..1 + rng.usize(0..2))
        .map(|_| (NAMES[rng.usize(0..NAMES.len())].to_owned(), nonsense(rng, depth)));
    fields.collect()
}

/// A document that holds strange values too.
fn held(rng: &mut Rng) -> Document {
    let mut held = draw::stored(rng);
    for name in ["a", "b"] {
        if rng.bool() {
            held.insert(name, nonsense(rng, 2));
        }
    }
    held
}

fn twice<T: std::fmt::Debug>(asked: &dyn std::fmt::Debug, once: &dyn Fn() -> T) {
    assert_eq!(format!("{:?}", once()), format!("{:?}", once()), "{asked:?}");
}

#[test]
fn nonsense_is_refused_or_answered_the_same_twice() {
    let cases = std::env::var("QUERY_CASES").map_or(30_000, |text| text.parse().expect("a number"));
    let mut understood = [0; 5];
    for seed in 0..cases {
        let mut rng = Rng::with_seed(seed);
        let asked = nonsense_document(&mut rng, 4);
        let other = nonsense_document(&mut rng, 2);
        let held = held(&mut rng);
        let all = Filter::parse(&Document::new()).expect("a filter");
        if let Ok(filter) = Filter::parse(&asked) {
            understood[0] += 1;
            twice(&asked, &|| filter.check_position(&held));
            twice(&asked, &|| upsert_document(&filter));
        }
        if let Ok(update) = Update::parse(&asked, std::slice::from_ref(&other)) {
            understood[1] += 1;
            let circumstances =
                Circumstances { time_ms: u64::MAX, position: Some(1), inserting: rng.bool() };
            twice(&asked, &|| {
                let mut held = held.clone();
                update.apply(&mut held, &circumstances).map(|()| held)
            });
        }
        if let Ok(update) = Update::parse(&asked, &[]) {
            understood[1] += 1;
            let mut held = held.clone();
            let _ = update.apply(&mut held, &Circumstances::default());
        }
        if let Ok(projection) = Projection::parse(Some(&asked)) {
            understood[2] += 1;
            twice(&asked, &|| projection.apply(held.clone(), &all));
        }
        if let Ok(expression) = Expression::parse(&Value::Document(asked.clone())) {
            understood[3] += 1;
            twice(&asked, &|| expression.compute(&held, &mut Budget::of_filter()));
        }
        let stage = STAGES[rng.usize(0..STAGES.len())].to_owned();
        let stages = [Document::from_iter([(stage, nonsense(&mut rng, 4))])];
        if let Ok(pipeline) = Pipeline::parse(&stages) {
            understood[4] += 1;
            twice(&stages, &|| {
                let mut run = pipeline.run();
                let pushed = run.push(held.clone());
                (pushed, run.finish())
            });
        }
    }
    assert!(understood.iter().all(|count| *count > 20), "{understood:?} were understood");
}
