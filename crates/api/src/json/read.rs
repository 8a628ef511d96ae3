//! JSON text to values.

use super::{NESTING_OF_REQUEST, VALUES_MAX, extended};
use crate::error::{Error, ErrorCode};
use crate::limits::NESTING_MAX;
use crate::value::{Document, Value};
use bson::document::Entry;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;

/// Reads one value from JSON text.
///
/// # Errors
/// [`ErrorCode::BadRequest`] if the text is not one JSON value in UTF-8, names a field twice, holds a
/// malformed extended form such as `{"$oid":7}`, or nests deeper than [`NESTING_MAX`] or
/// holds more than [`VALUES_MAX`] values. The message gives line and column.
pub fn parse_value(text: &[u8]) -> Result<Value, Error> {
    parse_nested(text, NESTING_MAX, VALUES_MAX)
}

/// Reads a reply, `["ok", result]` or `["ko", reason]`.
///
/// # Errors
/// [`ErrorCode::BadRequest`] if the text is no reply.
pub fn parse_reply(text: &[u8]) -> Result<Result<Value, Error>, Error> {
    if let Value::Array(items) = parse_nested(text, NESTING_OF_REQUEST, usize::MAX)?
        && let Ok([Value::String(status), result]) = <[Value; 2]>::try_from(items)
    {
        match (status.as_str(), result) {
            ("ok", result) => return Ok(Ok(result)),
            ("ko", Value::String(reason)) => return Ok(Err(Error::from_reason(&reason))),
            _ => {}
        }
    }
    Err(Error::new(
        ErrorCode::BadRequest,
        "not a reply: expected [\"ok\", result] or [\"ko\", reason]",
    ))
}

/// Reads a document from JSON text.
///
/// # Errors
/// As [`parse_value`], and if the value is not a document.
pub fn parse_document(text: &[u8]) -> Result<Document, Error> {
    match parse_value(text)? {
        Value::Document(document) => Ok(document),
        other => Err(Error::new(
            ErrorCode::BadRequest,
            format!("expected a JSON object, got {}", type_name(&other)),
        )),
    }
}

/// Reads one value that may nest down to `nesting_max` levels and hold `values_max` values.
pub(crate) fn parse_nested(
    text: &[u8],
    nesting_max: usize,
    values_max: usize,
) -> Result<Value, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let values_left = Cell::new(values_max);
    ValueSeed { levels_left: nesting_max, nesting_max, values_left: &values_left }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| bad_json(text, &error))
}

/// What a value is called in an error message.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "a boolean",
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Document(_) => "an object",
        Value::DateTime(_) => "a date",
        _ => "a value of another type",
    }
}

fn bad_json(text: &[u8], error: &serde_json::Error) -> Error {
    let message = if text.is_empty() {
        "the JSON text is empty".to_string()
    } else {
        format!("not valid JSON: {error}")
    };
    Error::new(ErrorCode::BadRequest, message)
}

/// Reads one value with so many levels of nesting left.
#[derive(Clone, Copy)]
struct ValueSeed<'a> {
    levels_left: usize,
    nesting_max: usize,
    values_left: &'a Cell<usize>,
}

impl ValueSeed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {} levels", self.nesting_max))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.values_left.get().checked_sub(1) {
            Some(left) => self.values_left.set(left),
            None => return Err(D::Error::custom(format_args!("more than {VALUES_MAX} values"))),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int64(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Double(value as f64), Value::Int64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut document = Document::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(seed)?;
            match document.entry(name) {
                Entry::Occupied(field) => {
                    let name = field.key();
                    return Err(A::Error::custom(format_args!("field {name:?} is named twice")));
                }
                free @ Entry::Vacant(_) => {
                    free.or_insert(value);
                }
            }
        }
        extended::interpret(document).map_err(A::Error::custom)
    }
}
