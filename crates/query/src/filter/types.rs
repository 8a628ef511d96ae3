//! The types that `$type` names, by word or by number.

use crate::error::{bad_query, show};
use api::{Error, Value};

/// Every type: its word and its number in BSON.
const TYPES: [(&str, i32); 21] = [
    ("double", 1),
    ("string", 2),
    ("object", 3),
    ("array", 4),
    ("binData", 5),
    ("undefined", 6),
    ("objectId", 7),
    ("bool", 8),
    ("date", 9),
    ("null", 10),
    ("regex", 11),
    ("dbPointer", 12),
    ("javascript", 13),
    ("symbol", 14),
    ("javascriptWithScope", 15),
    ("int", 16),
    ("timestamp", 17),
    ("long", 18),
    ("decimal", 19),
    ("maxKey", 127),
    ("minKey", -1),
];

/// Types that a value may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeSet(u32);

impl TypeSet {
    /// Whether the value is of one of the types.
    pub fn contains(self, value: &Value) -> bool {
        self.0 & bit(position(value)) != 0
    }

    /// Reads a word, a number, or a list of them; `number` stands for all four kinds of number.
    pub(super) fn parse(path: &str, operand: &Value) -> Result<TypeSet, Error> {
        let one = |value: &Value| {
            one_type(value).ok_or_else(|| {
                bad_query(format!(
                    "{path}: $type: unknown type {}; name one such as \"string\", \"int\", \
                     \"number\", or its number",
                    show(value)
                ))
            })
        };
        match operand {
            Value::Array(types) if types.is_empty() => {
                Err(bad_query(format!("{path}: $type: the list of types is empty")))
            }
            Value::Array(types) => {
                types.iter().try_fold(TypeSet(0), |set, value| Ok(TypeSet(set.0 | one(value)?.0)))
            }
            value => one(value),
        }
    }
}

fn bit(position: usize) -> u32 {
    1 << position
}

fn one_type(value: &Value) -> Option<TypeSet> {
    let position = match value {
        Value::String(word) if word == "number" => {
            let numbers = ["double", "int", "long", "decimal"];
            let bits = numbers.iter().filter_map(|name| position_of_word(name)).map(bit);
            return Some(TypeSet(bits.fold(0, |set, bit| set | bit)));
        }
        Value::String(word) => position_of_word(word),
        value => {
            let number = super::truncated(value)?;
            if !api::order::equal(value, &Value::Int64(number)) {
                return None;
            }
            TYPES.iter().position(|(_, code)| i64::from(*code) == number)
        }
    };
    position.map(|position| TypeSet(bit(position)))
}

fn position_of_word(word: &str) -> Option<usize> {
    TYPES.iter().position(|(name, _)| *name == word)
}

fn position(value: &Value) -> usize {
    match value {
        Value::Double(_) => 0,
        Value::String(_) => 1,
        Value::Document(_) => 2,
        Value::Array(_) => 3,
        Value::Binary(_) => 4,
        Value::Undefined => 5,
        Value::ObjectId(_) => 6,
        Value::Boolean(_) => 7,
        Value::DateTime(_) => 8,
        Value::Null => 9,
        Value::RegularExpression(_) => 10,
        Value::DbPointer(_) => 11,
        Value::JavaScriptCode(_) => 12,
        Value::Symbol(_) => 13,
        Value::JavaScriptCodeWithScope(_) => 14,
        Value::Int32(_) => 15,
        Value::Timestamp(_) => 16,
        Value::Int64(_) => 17,
        Value::Decimal128(_) => 18,
        Value::MaxKey => 19,
        Value::MinKey => 20,
    }
}

/// The word for a value's type, as `$type` answers it.
pub(crate) fn type_word(value: &Value) -> &'static str {
    TYPES[position(value)].0
}
