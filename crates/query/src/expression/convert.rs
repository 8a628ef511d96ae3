//! Types: which one a value has, and its counterpart in another.

use super::operators::{Arguments, argument};
use super::{Budget, is_nothing, wrong};
use crate::error::{bad_query, show};
use crate::filter::type_word;
use api::{Error, Value};

type Answer = Result<Option<Value>, Error>;

pub(super) fn type_of(_: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    let word = argument(arguments, 0).map_or("missing", type_word);
    Ok(Some(Value::String(word.to_owned())))
}

pub(super) fn is_number(_: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    let is_number = argument(arguments, 0).is_some_and(|v| api::order::Number::of(v).is_some());
    Ok(Some(Value::Boolean(is_number)))
}

/// The whole number that a value is, whatever its type.
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    let number = truncated(value)?;
    api::order::equal(value, &Value::Int64(number)).then_some(number)
}

fn truncated(value: &Value) -> Option<i64> {
    match value {
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        Value::Double(number) => {
            let whole = number.trunc();
            let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole);
            fits.then_some(whole as i64)
        }
        _ => None,
    }
}

/// A value as text.
pub(super) fn written(name: &str, value: &Value) -> Result<String, Error> {
    Ok(match value {
        Value::String(text) | Value::Symbol(text) => text.clone(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Decimal128(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::ObjectId(id) => id.to_hex(),
        Value::DateTime(date) => super::dates::written(date.timestamp_millis()),
        other => return Err(wrong(name, "a value that can be written as text", Some(other))),
    })
}

pub(super) fn to_string(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    match argument(arguments, 0) {
        value if is_nothing(value) => Ok(Some(Value::Null)),
        Some(value) => {
            budget.charge_copy(value)?;
            Ok(Some(Value::String(written(name, value)?)))
        }
        None => Ok(Some(Value::Null)),
    }
}

fn to_whole(name: &'static str, arguments: Arguments<'_, '_>) -> Result<Option<i64>, Error> {
    let Some(value) = argument(arguments, 0) else { return Ok(None) };
    let number = match value {
        Value::Null | Value::Undefined => return Ok(None),
        Value::Boolean(flag) => Some(i64::from(*flag)),
        Value::DateTime(date) => Some(date.timestamp_millis()),
        Value::String(text) => text.parse().ok(),
        Value::Decimal128(number) => {
            number.to_string().parse().ok().and_then(|n| truncated(&Value::Double(n)))
        }
        value => truncated(value),
    };
    number.map(Some).ok_or_else(|| bad_query(format!("{name}: cannot convert {}", show(value))))
}

pub(super) fn to_int(name: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    let Some(number) = to_whole(name, arguments)? else { return Ok(Some(Value::Null)) };
    let number = i32::try_from(number)
        .map_err(|_| bad_query(format!("{name}: {number} does not fit 32 bits")))?;
    Ok(Some(Value::Int32(number)))
}

pub(super) fn to_long(name: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    Ok(Some(to_whole(name, arguments)?.map_or(Value::Null, Value::Int64)))
}

pub(super) fn to_double(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Answer {
    let Some(value) = argument(arguments, 0) else { return Ok(Some(Value::Null)) };
    let number = match value {
        Value::Null | Value::Undefined => return Ok(Some(Value::Null)),
        Value::Boolean(flag) => Some(f64::from(u8::from(*flag))),
        Value::DateTime(date) => Some(date.timestamp_millis() as f64),
        Value::String(text) => text.parse().ok(),
        Value::Decimal128(number) => number.to_string().parse().ok(),
        value => crate::number::Numeric::of(value).map(crate::number::Numeric::double),
    };
    let number =
        number.ok_or_else(|| bad_query(format!("{name}: cannot convert {}", show(value))))?;
    Ok(Some(Value::Double(number)))
}

/// Text is true, even when it is empty.
pub(super) fn to_bool(_: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    Ok(Some(match argument(arguments, 0) {
        value if is_nothing(value) => Value::Null,
        value => Value::Boolean(value.is_some_and(crate::is_true)),
    }))
}

pub(super) fn to_date(name: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    let Some(value) = argument(arguments, 0) else { return Ok(Some(Value::Null)) };
    let date = match value {
        Value::Null | Value::Undefined => return Ok(Some(Value::Null)),
        Value::DateTime(date) => Some(*date),
        Value::ObjectId(id) => Some(id.timestamp()),
        Value::Timestamp(stamp) => Some(bson::DateTime::from_millis(i64::from(stamp.time) * 1000)),
        Value::String(text) => bson::DateTime::parse_rfc3339_str(text).ok(),
        value => truncated(value).map(bson::DateTime::from_millis),
    };
    let date = date.ok_or_else(|| bad_query(format!("{name}: cannot convert {}", show(value))))?;
    Ok(Some(Value::DateTime(date)))
}
