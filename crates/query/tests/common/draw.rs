//! Documents, filters, updates and projections drawn from a seed. Few names and few values, so that
//! what is drawn often meets.

use api::{Document, Value};
use bson::doc;
use fastrand::Rng;

const NAMES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(0..20) {
        0..=5 => Value::Int32(rng.i32(-2..4)),
        6 => Value::Int64(rng.i64(-2..4)),
        7 | 8 => Value::Double([0.0, -0.0, 1.0, 1.5, -2.0, 3.0][rng.usize(0..6)]),
        9 => [
            Value::Double(f64::NAN),
            Value::Double(f64::INFINITY),
            Value::Int64((1 << 53) + 1),
            Value::Double(9_007_199_254_740_992.0),
            Value::Int32(i32::MAX),
            Value::Int64(i64::MAX),
        ][rng.usize(0..6)]
        .clone(),
        10..=13 => Value::String(["", "a", "b", "ab", "B"][rng.usize(0..5)].to_owned()),
        14 | 15 => Value::Boolean(rng.bool()),
        16 | 17 => Value::Null,
        18 => Value::DateTime(bson::DateTime::from_millis(rng.i64(-1..3))),
        _ => Value::Int32(1),
    }
}

pub(crate) fn value(rng: &mut Rng, depth: u8) -> Value {
    if depth == 0 {
        return scalar(rng);
    }
    match rng.u8(0..10) {
        0..=5 => scalar(rng),
        6 | 7 => Value::Array((0..rng.usize(0..4)).map(|_| value(rng, depth - 1)).collect()),
        _ => Value::Document(document(rng, depth - 1)),
    }
}

pub(crate) fn document(rng: &mut Rng, depth: u8) -> Document {
    let mut document = Document::new();
    for _ in 0..rng.usize(0..5) {
        document.insert(name(rng), value(rng, depth));
    }
    document
}

fn name(rng: &mut Rng) -> String {
    if rng.u8(0..20) == 0 {
        return rng.u8(0..2).to_string();
    }
    NAMES[rng.usize(0..NAMES.len())].to_owned()
}

/// A document as it is stored.
pub(crate) fn stored(rng: &mut Rng) -> Document {
    let mut stored = doc! { "_id": rng.i32(0..5) };
    stored.extend(document(rng, 3));
    stored
}

pub(crate) fn path(rng: &mut Rng) -> String {
    let mut parts = vec![NAMES[rng.usize(0..NAMES.len())].to_owned()];
    while parts.len() < 3 && rng.u8(0..3) == 0 {
        parts.push(if rng.u8(0..3) == 0 { rng.u8(0..3).to_string() } else { name(rng) });
    }
    parts.join(".")
}

pub(crate) fn filter(rng: &mut Rng, depth: u8) -> Document {
    let mut filter = Document::new();
    for _ in 0..1 + rng.usize(0..2) {
        if depth > 0 && rng.u8(0..4) == 0 {
            let word = ["$and", "$or", "$nor"][rng.usize(0..3)];
            let inner =
                (0..1 + rng.usize(0..2)).map(|_| Value::Document(self::filter(rng, depth - 1)));
            let inner = inner.collect();
            filter.insert(word, Value::Array(inner));
        } else {
            filter.insert(path(rng), condition(rng, depth));
        }
    }
    filter
}

/// What stands behind a path: a value, or operators.
fn condition(rng: &mut Rng, depth: u8) -> Value {
    if rng.u8(0..3) == 0 {
        return plain(rng);
    }
    Value::Document(operators(rng, depth))
}

/// A value that is not taken for operators.
fn plain(rng: &mut Rng) -> Value {
    value(rng, 2)
}

pub(crate) fn operators(rng: &mut Rng, depth: u8) -> Document {
    let mut operators = Document::new();
    for _ in 0..1 + rng.usize(0..2) {
        let (name, operand) = operator(rng, depth);
        operators.insert(name, operand);
    }
    operators
}

fn list(rng: &mut Rng) -> Value {
    Value::Array((0..rng.usize(0..4)).map(|_| plain(rng)).collect())
}

fn operator(rng: &mut Rng, depth: u8) -> (&'static str, Value) {
    match rng.u8(0..16) {
        0 => ("$eq", plain(rng)),
        1 => ("$ne", plain(rng)),
        2 => ("$gt", plain(rng)),
        3 => ("$gte", plain(rng)),
        4 => ("$lt", plain(rng)),
        5 => ("$lte", plain(rng)),
        6 => ("$in", list(rng)),
        7 => ("$nin", list(rng)),
        8 => ("$exists", Value::Boolean(rng.bool())),
        9 => ("$size", Value::Int32(rng.i32(0..4))),
        10 => {
            let kinds = [
                "int", "long", "double", "string", "object", "array", "bool", "null", "date",
                "number",
            ];
            let kind = |rng: &mut Rng| Value::String(kinds[rng.usize(0..kinds.len())].to_owned());
            let operand =
                if rng.bool() { kind(rng) } else { Value::Array(vec![kind(rng), kind(rng)]) };
            ("$type", operand)
        }
        11 => {
            let divisor = [1, 2, 3, -2][rng.usize(0..4)];
            ("$mod", Value::from(vec![Value::Int32(divisor), Value::Int32(rng.i32(-1..3))]))
        }
        12 => ("$regex", Value::String(["^a", "b$", ".", "^$"][rng.usize(0..4)].to_owned())),
        13 => {
            if depth > 0 && rng.bool() {
                let matches = (0..1 + rng.usize(0..2)).map(|_| element_match(rng, depth - 1));
                ("$all", Value::Array(matches.collect()))
            } else {
                ("$all", list(rng))
            }
        }
        14 if depth > 0 => match element_match(rng, depth - 1) {
            Value::Document(one) => {
                ("$elemMatch", one.get("$elemMatch").cloned().unwrap_or(Value::Null))
            }
            _ => ("$eq", Value::Null),
        },
        15 if depth > 0 => ("$not", Value::Document(operators(rng, depth - 1))),
        _ => ("$eq", scalar(rng)),
    }
}

fn element_match(rng: &mut Rng, depth: u8) -> Value {
    let inner = if rng.bool() { operators(rng, depth) } else { filter(rng, depth) };
    Value::from(doc! { "$elemMatch": inner })
}

pub(crate) fn update(rng: &mut Rng) -> (Document, Vec<Document>) {
    let mut update = Document::new();
    let mut array_filters = Vec::new();
    for _ in 0..1 + rng.usize(0..3) {
        let (operator, operand) = change(rng);
        let mut target = path(rng);
        match rng.u8(0..12) {
            0 => target = format!("{target}.$"),
            1 => target = format!("{target}.$[]"),
            2 => target = format!("{target}.$[].{}", name(rng)),
            3 if operator != "$rename" && array_filters.is_empty() => {
                target = format!("{target}.$[e]");
                let condition = condition(rng, 1);
                let about = if rng.bool() { "e".to_owned() } else { format!("e.{}", name(rng)) };
                array_filters.push(Document::from_iter([(about, condition)]));
            }
            _ => {}
        }
        match update.entry(operator).or_insert_with(|| Value::Document(Document::new())) {
            Value::Document(fields) => fields.insert(target, operand),
            other => panic!("{other} is no document"),
        };
    }
    (update, array_filters)
}

fn number(rng: &mut Rng) -> Value {
    loop {
        let number = scalar(rng);
        if matches!(number, Value::Int32(_) | Value::Int64(_) | Value::Double(_)) {
            return number;
        }
    }
}

fn change(rng: &mut Rng) -> (&'static str, Value) {
    match rng.u8(0..16) {
        0..=2 => ("$set", value(rng, 2)),
        3 => ("$unset", Value::Int32(1)),
        4 => ("$inc", number(rng)),
        5 => ("$mul", number(rng)),
        6 => ("$min", value(rng, 1)),
        7 => ("$max", value(rng, 1)),
        8 => ("$rename", Value::String(path(rng))),
        9 => ("$setOnInsert", value(rng, 1)),
        10 => ("$push", push(rng)),
        11 => {
            if rng.bool() {
                ("$addToSet", Value::from(doc! { "$each": list(rng) }))
            } else {
                ("$addToSet", value(rng, 1))
            }
        }
        12 => match rng.u8(0..3) {
            0 => ("$pull", Value::Document(operators(rng, 1))),
            1 => ("$pull", Value::Document(filter(rng, 0))),
            _ => ("$pull", scalar(rng)),
        },
        13 => ("$pullAll", list(rng)),
        14 => ("$pop", Value::Int32(if rng.bool() { 1 } else { -1 })),
        _ => {
            let word = ["and", "or", "xor"][rng.usize(0..3)];
            (
                "$bit",
                Value::Document(Document::from_iter([(
                    word.to_owned(),
                    Value::Int32(rng.i32(0..8)),
                )])),
            )
        }
    }
}

fn push(rng: &mut Rng) -> Value {
    if rng.bool() {
        return value(rng, 1);
    }
    let mut push = doc! { "$each": list(rng) };
    if rng.bool() {
        push.insert("$position", rng.i32(-3..4));
    }
    if rng.bool() {
        push.insert("$slice", rng.i32(-3..4));
    }
    match rng.u8(0..4) {
        0 => {
            push.insert("$sort", if rng.bool() { 1 } else { -1 });
        }
        1 => {
            push.insert(
                "$sort",
                Document::from_iter([(path(rng), Value::Int32(if rng.bool() { 1 } else { -1 }))]),
            );
        }
        _ => {}
    }
    Value::Document(push)
}

pub(crate) fn projection(rng: &mut Rng) -> Document {
    let keep = rng.bool();
    let mut fields = Document::new();
    for _ in 0..1 + rng.usize(0..3) {
        fields.insert(path(rng), i32::from(keep));
    }
    if rng.u8(0..3) == 0 {
        fields.insert("_id", i32::from(rng.bool()));
    }
    fields
}
