//! The operators that take computed arguments: which there are, how many arguments they take, and
//! what they answer.

use super::{Budget, arrays, convert, dates, is_nothing, strings, wrong};
use crate::error::bad_query;
use crate::number::{NoResult, Numeric};
use api::order::compare;
use api::{Document, Error, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Computed arguments: none where there is no value.
pub(super) type Arguments<'a, 'e> = &'a [Option<Cow<'e, Value>>];

/// An operator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    name: &'static str,
    arguments_min: usize,
    arguments_max: usize,
    compute: Compute,
}

type Compute = fn(&'static str, Arguments<'_, '_>, &mut Budget) -> Result<Option<Value>, Error>;

const ANY: usize = usize::MAX;

const fn operator(
    name: &'static str,
    arguments_min: usize,
    arguments_max: usize,
    compute: Compute,
) -> Operator {
    Operator { name, arguments_min, arguments_max, compute }
}

const OPERATORS: &[Operator] = &[
    operator("$add", 0, ANY, add),
    operator("$subtract", 2, 2, subtract),
    operator("$multiply", 0, ANY, multiply),
    operator("$divide", 2, 2, divide),
    operator("$mod", 2, 2, modulo),
    operator("$abs", 1, 1, unary),
    operator("$ceil", 1, 1, unary),
    operator("$floor", 1, 1, unary),
    operator("$sqrt", 1, 1, unary),
    operator("$exp", 1, 1, unary),
    operator("$ln", 1, 1, unary),
    operator("$log10", 1, 1, unary),
    operator("$pow", 2, 2, power),
    operator("$round", 1, 2, round),
    operator("$trunc", 1, 2, round),
    operator("$eq", 2, 2, comparison),
    operator("$ne", 2, 2, comparison),
    operator("$gt", 2, 2, comparison),
    operator("$gte", 2, 2, comparison),
    operator("$lt", 2, 2, comparison),
    operator("$lte", 2, 2, comparison),
    operator("$cmp", 2, 2, comparison),
    operator("$not", 1, 1, not),
    operator("$concat", 0, ANY, strings::concat),
    operator("$toLower", 1, 1, strings::case),
    operator("$toUpper", 1, 1, strings::case),
    operator("$substr", 3, 3, strings::substring),
    operator("$substrCP", 3, 3, strings::substring),
    operator("$strLenCP", 1, 1, strings::length),
    operator("$strLenBytes", 1, 1, strings::length),
    operator("$split", 2, 2, strings::split),
    operator("$trim", 1, 2, strings::trim),
    operator("$ltrim", 1, 2, strings::trim),
    operator("$rtrim", 1, 2, strings::trim),
    operator("$indexOfCP", 2, 2, strings::index_of),
    operator("$strcasecmp", 2, 2, strings::compare_ignoring_case),
    operator("$size", 1, 1, arrays::size),
    operator("$isArray", 1, 1, arrays::is_array),
    operator("$arrayElemAt", 2, 2, arrays::element_at),
    operator("$first", 1, 1, arrays::end),
    operator("$last", 1, 1, arrays::end),
    operator("$in", 2, 2, arrays::is_in),
    operator("$concatArrays", 0, ANY, arrays::concat),
    operator("$slice", 2, 3, arrays::slice),
    operator("$reverseArray", 1, 1, arrays::reverse),
    operator("$indexOfArray", 2, 2, arrays::index_of),
    operator("$sum", 1, ANY, arrays::total),
    operator("$avg", 1, ANY, arrays::total),
    operator("$min", 1, ANY, arrays::extreme),
    operator("$max", 1, ANY, arrays::extreme),
    operator("$mergeObjects", 0, ANY, merge),
    operator("$type", 1, 1, convert::type_of),
    operator("$isNumber", 1, 1, convert::is_number),
    operator("$toString", 1, 1, convert::to_string),
    operator("$toInt", 1, 1, convert::to_int),
    operator("$toLong", 1, 1, convert::to_long),
    operator("$toDouble", 1, 1, convert::to_double),
    operator("$toBool", 1, 1, convert::to_bool),
    operator("$toDate", 1, 1, convert::to_date),
    operator("$year", 1, 1, dates::part),
    operator("$month", 1, 1, dates::part),
    operator("$dayOfMonth", 1, 1, dates::part),
    operator("$dayOfWeek", 1, 1, dates::part),
    operator("$dayOfYear", 1, 1, dates::part),
    operator("$hour", 1, 1, dates::part),
    operator("$minute", 1, 1, dates::part),
    operator("$second", 1, 1, dates::part),
    operator("$millisecond", 1, 1, dates::part),
];

impl Operator {
    pub(super) fn find(name: &str) -> Option<Operator> {
        OPERATORS.iter().find(|operator| operator.name == name).copied()
    }

    pub(super) fn check_arity(&self, count: usize) -> Result<(), Error> {
        if (self.arguments_min..=self.arguments_max).contains(&count) {
            return Ok(());
        }
        let expected = match (self.arguments_min, self.arguments_max) {
            (least, ANY) => format!("{least} or more"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        Err(bad_query(format!("{} takes {expected} arguments, not {count}", self.name)))
    }

    pub(super) fn call(
        &self,
        arguments: Arguments<'_, '_>,
        budget: &mut Budget,
    ) -> Result<Option<Value>, Error> {
        (self.compute)(self.name, arguments, budget)
    }
}

/// The argument at a position; none where there is no value.
pub(super) fn argument<'a>(arguments: Arguments<'a, '_>, position: usize) -> Option<&'a Value> {
    arguments.get(position).and_then(Option::as_deref)
}

/// Whether some argument is null or not there: most operators then answer null.
pub(super) fn any_nothing(arguments: Arguments<'_, '_>) -> bool {
    arguments.iter().any(|value| is_nothing(value.as_deref()))
}

/// The order of two computed values: what is not there comes first.
pub(super) fn order(left: Option<&Value>, right: Option<&Value>) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(left), Some(right)) => compare(left, right),
    }
}

pub(super) fn numeric(name: &str, value: Option<&Value>) -> Result<Numeric, Error> {
    match value {
        Some(Value::Decimal128(_)) => {
            Err(wrong(name, "numbers that are no decimals (those have no arithmetic here)", value))
        }
        Some(value) => Numeric::of(value).ok_or_else(|| wrong(name, "numbers", Some(value))),
        None => Err(wrong(name, "numbers", None)),
    }
}

/// Whole numbers that do not fit 64 bits become doubles.
pub(super) fn add_widening(left: Numeric, right: Numeric) -> Numeric {
    left.add(right).unwrap_or(Numeric::Double(left.double() + right.double()))
}

fn add(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let mut date = None;
    let mut sum = Numeric::Int(0);
    for value in arguments {
        match value.as_deref() {
            Some(Value::DateTime(one)) if date.is_none() => date = Some(*one),
            Some(Value::DateTime(_)) => return Err(bad_query("$add: only one date can be added")),
            value => sum = add_widening(sum, numeric(name, value)?),
        }
    }
    match date {
        None => Ok(Some(sum.value())),
        Some(date) => Ok(Some(shifted(name, date, sum)?)),
    }
}

fn shifted(name: &str, date: bson::DateTime, by: Numeric) -> Result<Value, Error> {
    let milliseconds = by.whole().unwrap_or_else(|| by.double().round() as i64);
    let sum = date.timestamp_millis().checked_add(milliseconds);
    let sum = sum.ok_or_else(|| bad_query(format!("{name}: the date does not fit 64 bits")))?;
    Ok(Value::DateTime(bson::DateTime::from_millis(sum)))
}

fn subtract(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    Ok(Some(match (argument(arguments, 0), argument(arguments, 1)) {
        (Some(Value::DateTime(left)), Some(Value::DateTime(right))) => {
            let (left, right) = (left.timestamp_millis(), right.timestamp_millis());
            Value::Int64(left.saturating_sub(right))
        }
        (Some(Value::DateTime(date)), right) => {
            let by = Numeric::Int(0).subtract(numeric(name, right)?);
            shifted(name, *date, by.map_err(|_| bad_query("$subtract: beyond 64 bits"))?)?
        }
        (left, right) => {
            let (left, right) = (numeric(name, left)?, numeric(name, right)?);
            let double = Numeric::Double(left.double() - right.double());
            left.subtract(right).unwrap_or(double).value()
        }
    }))
}

fn multiply(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let mut product = Numeric::Int(1);
    for value in arguments {
        let factor = numeric(name, value.as_deref())?;
        let double = Numeric::Double(product.double() * factor.double());
        product = product.multiply(factor).unwrap_or(double);
    }
    Ok(Some(product.value()))
}

fn divide(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let left = numeric(name, argument(arguments, 0))?.double();
    let right = numeric(name, argument(arguments, 1))?.double();
    if right == 0.0 {
        return Err(bad_query("$divide: division by zero"));
    }
    Ok(Some(Value::Double(left / right)))
}

fn modulo(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let left = numeric(name, argument(arguments, 0))?;
    match left.remainder(numeric(name, argument(arguments, 1))?) {
        Ok(rest) => Ok(Some(rest.value())),
        Err(NoResult::ByZero | NoResult::Overflow) => Err(bad_query("$mod: division by zero")),
    }
}

fn unary(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let number = numeric(name, argument(arguments, 0))?;
    if let ("$abs" | "$ceil" | "$floor", Some(whole)) = (name, number.whole()) {
        if name != "$abs" {
            return Ok(Some(number.value()));
        }
        let absolute = whole.checked_abs();
        let absolute = absolute.ok_or_else(|| bad_query("$abs: does not fit 64 bits"))?;
        return Ok(Some(match (number, i32::try_from(absolute)) {
            (Numeric::Int(_), Ok(absolute)) => Value::Int32(absolute),
            _ => Value::Int64(absolute),
        }));
    }
    let number = number.double();
    let positive = |allowed: bool| {
        allowed.then_some(()).ok_or_else(|| bad_query(format!("{name} cannot take {number}")))
    };
    Ok(Some(Value::Double(match name {
        "$abs" => number.abs(),
        "$ceil" => number.ceil(),
        "$floor" => number.floor(),
        "$sqrt" => {
            positive(number >= 0.0 || number.is_nan())?;
            number.sqrt()
        }
        "$exp" => number.exp(),
        "$ln" => {
            positive(number > 0.0 || number.is_nan())?;
            number.ln()
        }
        _ => {
            positive(number > 0.0 || number.is_nan())?;
            number.log10()
        }
    })))
}

fn power(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let base = numeric(name, argument(arguments, 0))?;
    let exponent = numeric(name, argument(arguments, 1))?;
    if let (Some(whole_base), Some(whole_exponent)) = (base.whole(), exponent.whole())
        && let Ok(whole_exponent) = u32::try_from(whole_exponent)
        && let Some(result) = whole_base.checked_pow(whole_exponent)
    {
        let narrow = matches!((base, exponent), (Numeric::Int(_), Numeric::Int(_)));
        return Ok(Some(match i32::try_from(result) {
            Ok(result) if narrow => Value::Int32(result),
            _ => Value::Int64(result),
        }));
    }
    if base.double() == 0.0 && exponent.double() < 0.0 {
        return Err(bad_query("$pow cannot take 0 to a negative power"));
    }
    Ok(Some(Value::Double(base.double().powf(exponent.double()))))
}

/// To a number of places; `$round` to the even one where two are as near.
fn round(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let number = numeric(name, argument(arguments, 0))?;
    let places = match argument(arguments, 1) {
        None => 0,
        Some(value) => numeric(name, Some(value))?
            .whole()
            .filter(|n| (-20..=100).contains(n))
            .ok_or_else(|| wrong(name, "a number of places from -20 to 100", Some(value)))?,
    };
    if number.whole().is_some() && places >= 0 {
        return Ok(Some(number.value()));
    }
    if let Some(whole) = number.whole() {
        let unit = 10i128.pow(places.unsigned_abs() as u32);
        let result = round_whole(name, i128::from(whole), unit);
        let result = i64::try_from(result)
            .map_err(|_| bad_query(format!("{name}: the result does not fit 64 bits")))?;
        return Ok(Some(match (number, i32::try_from(result)) {
            (Numeric::Int(_), Ok(result)) => Value::Int32(result),
            _ => Value::Int64(result),
        }));
    }
    let number = number.double();
    let scale = 10f64.powi(places as i32);
    let scaled = number * scale;
    if !scaled.is_finite() {
        return Ok(Some(Value::Double(number)));
    }
    let rounded = if name == "$round" { scaled.round_ties_even() } else { scaled.trunc() };
    Ok(Some(Value::Double(rounded / scale)))
}

fn round_whole(name: &str, number: i128, unit: i128) -> i128 {
    let down = number - number % unit;
    let rest = (number % unit).abs() * 2;
    let up = rest > unit || (rest == unit && (down / unit) % 2 != 0);
    if name == "$round" && up { down + unit * number.signum() } else { down }
}

fn comparison(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Result<Option<Value>, Error> {
    for value in arguments.iter().flatten() {
        budget.charge_copy(value)?;
    }
    let order = order(argument(arguments, 0), argument(arguments, 1));
    Ok(Some(match name {
        "$eq" => Value::Boolean(order == Ordering::Equal),
        "$ne" => Value::Boolean(order != Ordering::Equal),
        "$gt" => Value::Boolean(order == Ordering::Greater),
        "$gte" => Value::Boolean(order != Ordering::Less),
        "$lt" => Value::Boolean(order == Ordering::Less),
        "$lte" => Value::Boolean(order != Ordering::Greater),
        _ => Value::Int32(order as i32),
    }))
}

fn not(
    _: &'static str,
    arguments: Arguments<'_, '_>,
    _: &mut Budget,
) -> Result<Option<Value>, Error> {
    Ok(Some(Value::Boolean(!argument(arguments, 0).is_some_and(crate::is_true))))
}

fn merge(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Result<Option<Value>, Error> {
    let mut merged = Document::new();
    for value in arguments {
        match value.as_deref() {
            value if is_nothing(value) => {}
            Some(value @ Value::Document(document)) => {
                budget.charge_copy(value)?;
                merged.extend(document.clone());
            }
            other => return Err(wrong(name, "documents", other)),
        }
    }
    Ok(Some(Value::Document(merged)))
}
