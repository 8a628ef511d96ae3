//! What an update does at one place.

use super::Circumstances;
use super::lists::{AddToSet, Push};
use crate::error::{bad_query, show};
use crate::filter::{Filter, Predicate};
use crate::number::{NoResult, Numeric};
use crate::place::{Maker, find, unset};
use crate::size::value_bytes;
use api::order;
use api::{Document, Error, Value};
use std::cmp::Ordering;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Set(Value),
    SetOnInsert(Value),
    Unset,
    Increment(Numeric),
    Multiply(Numeric),
    Minimum(Value),
    Maximum(Value),
    /// To this path.
    Rename(Vec<String>),
    CurrentDate {
        timestamp: bool,
    },
    Push(Push),
    AddToSet(AddToSet),
    Pull(Condition),
    Pop {
        first: bool,
    },
    Bit(Vec<(Bit, Numeric)>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bit {
    And,
    Or,
    Xor,
}

/// Which elements `$pull` removes.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Equal(Value),
    /// Values in order.
    OneOf(Vec<Value>),
    Predicate(Predicate),
    /// The element is a document that the filter means.
    Document(Filter),
}

impl Operation {
    /// About how many bytes it writes at one place.
    pub(super) fn written_bytes(&self) -> usize {
        match self {
            Operation::Set(value)
            | Operation::SetOnInsert(value)
            | Operation::Minimum(value)
            | Operation::Maximum(value) => value_bytes(value),
            Operation::Push(push) => push.written_bytes(),
            Operation::AddToSet(add) => add.written_bytes(),
            _ => 8,
        }
    }

    pub(super) fn apply(
        &self,
        document: &mut Document,
        path: &[String],
        circumstances: &Circumstances,
        maker: &mut Maker,
    ) -> Result<(), Error> {
        match self {
            Operation::Set(value) => *maker.place(document, path)? = value.clone(),
            Operation::SetOnInsert(value) if circumstances.inserting => {
                *maker.place(document, path)? = value.clone();
            }
            Operation::SetOnInsert(_) => {}
            Operation::Unset => unset(document, path),
            Operation::Increment(amount) => {
                let missing = find(document, path).is_none();
                let target = maker.place(document, path)?;
                *target = if missing {
                    amount.value()
                } else {
                    arithmetic("$inc", "increment", "sum", path, target, *amount, Numeric::add)?
                };
            }
            Operation::Multiply(factor) => {
                let missing = find(document, path).is_none();
                let target = maker.place(document, path)?;
                if missing {
                    *target = Value::Int32(0);
                }
                *target = arithmetic(
                    "$mul",
                    "multiply",
                    "product",
                    path,
                    target,
                    *factor,
                    Numeric::multiply,
                )?;
            }
            Operation::Minimum(value) => bound(document, path, value, Ordering::Less, maker)?,
            Operation::Maximum(value) => bound(document, path, value, Ordering::Greater, maker)?,
            Operation::Rename(to) => rename(document, path, to, maker)?,
            Operation::CurrentDate { timestamp } => {
                *maker.place(document, path)? = now(circumstances.time_ms, *timestamp);
            }
            Operation::Push(push) => push.apply(list("$push", document, path, maker)?),
            Operation::AddToSet(add) => add.apply(list("$addToSet", document, path, maker)?),
            Operation::Pull(condition) => match find(document, path) {
                None => {}
                Some(Value::Array(list)) => list.retain(|element| !condition.holds(element)),
                Some(other) => return Err(not_a_list("$pull", path, other)),
            },
            Operation::Pop { first } => match find(document, path) {
                None => {}
                Some(Value::Array(list)) if list.is_empty() => {}
                Some(Value::Array(list)) if *first => {
                    list.remove(0);
                }
                Some(Value::Array(list)) => {
                    list.pop();
                }
                Some(other) => return Err(not_a_list("$pop", path, other)),
            },
            Operation::Bit(operations) => bits(document, path, operations, maker)?,
        }
        Ok(())
    }
}

impl Condition {
    fn holds(&self, element: &Value) -> bool {
        match (self, element) {
            (Condition::Equal(value), element) => order::equal(value, element),
            (Condition::OneOf(values), element) => {
                values.binary_search_by(|value| order::compare(value, element)).is_ok()
            }
            (Condition::Predicate(predicate), element) => predicate.passes_as_field(element),
            (Condition::Document(filter), Value::Document(document)) => filter.matches(document),
            (Condition::Document(_), _) => false,
        }
    }
}

/// The list at a place, made where nothing is.
fn list<'d>(
    operator: &str,
    document: &'d mut Document,
    path: &[String],
    maker: &mut Maker,
) -> Result<&'d mut Vec<Value>, Error> {
    let missing = find(document, path).is_none();
    let target = maker.place(document, path)?;
    if missing {
        *target = Value::Array(Vec::new());
    }
    match target {
        Value::Array(list) => Ok(list),
        other => Err(not_a_list(operator, path, other)),
    }
}

fn not_a_list(operator: &str, path: &[String], found: &Value) -> Error {
    bad_query(format!(
        "{operator}: the field '{}' must be a list but holds {}",
        path.join("."),
        show(found)
    ))
}

/// Whole numbers stay whole and widen to 64 bits where they must.
fn arithmetic(
    operator: &str,
    verb: &str,
    result: &str,
    path: &[String],
    target: &Value,
    operand: Numeric,
    combine: impl Fn(Numeric, Numeric) -> Result<Numeric, NoResult>,
) -> Result<Value, Error> {
    let Some(number) = Numeric::of(target) else {
        return Err(bad_query(format!(
            "{operator}: cannot {verb} the field '{}', which holds {}",
            path.join("."),
            show(target)
        )));
    };
    combine(number, operand).map(Numeric::value).map_err(|_| {
        bad_query(format!(
            "{operator}: the {result} of {} and {} at '{}' does not fit 64 bits",
            number.value(),
            operand.value(),
            path.join(".")
        ))
    })
}

fn bound(
    document: &mut Document,
    path: &[String],
    value: &Value,
    wanted: Ordering,
    maker: &mut Maker,
) -> Result<(), Error> {
    let better = match find(document, path) {
        None => true,
        Some(present) => order::compare(value, present) == wanted,
    };
    if better {
        *maker.place(document, path)? = value.clone();
    }
    Ok(())
}

fn rename(
    document: &mut Document,
    from: &[String],
    to: &[String],
    maker: &mut Maker,
) -> Result<(), Error> {
    for path in [from, to] {
        if let Some(list) = first_list(document, path) {
            return Err(bad_query(format!(
                "$rename: the path '{}' leads through the list '{}'; elements cannot be renamed",
                path.join("."),
                path[..list].join(".")
            )));
        }
    }
    let Some(value) = find(document, from).cloned() else { return Ok(()) };
    unset(document, from);
    *maker.place(document, to)? = value;
    Ok(())
}

/// How many parts of the path lead to a list that the path goes through.
fn first_list(document: &mut Document, path: &[String]) -> Option<usize> {
    (1..path.len()).find(|parts| matches!(find(document, &path[..*parts]), Some(Value::Array(_))))
}

fn now(time_ms: u64, timestamp: bool) -> Value {
    if timestamp {
        let time = u32::try_from(time_ms / 1000).unwrap_or(u32::MAX);
        return Value::Timestamp(bson::Timestamp { time, increment: 1 });
    }
    let milliseconds = i64::try_from(time_ms).unwrap_or(i64::MAX);
    Value::DateTime(bson::DateTime::from_millis(milliseconds))
}

fn bits(
    document: &mut Document,
    path: &[String],
    operations: &[(Bit, Numeric)],
    maker: &mut Maker,
) -> Result<(), Error> {
    let missing = find(document, path).is_none();
    let target = maker.place(document, path)?;
    if missing {
        *target = Value::Int32(0);
    }
    for (kind, operand) in operations {
        let combine = |left: Numeric, right: Numeric| {
            let (Some(a), Some(b)) = (left.whole(), right.whole()) else {
                return Err(NoResult::Overflow);
            };
            let result = match kind {
                Bit::And => a & b,
                Bit::Or => a | b,
                Bit::Xor => a ^ b,
            };
            Ok(match (left, right, i32::try_from(result)) {
                (Numeric::Int(_), Numeric::Int(_), Ok(result)) => Numeric::Int(result),
                _ => Numeric::Long(result),
            })
        };
        let whole = Numeric::of(target).filter(|number| number.whole().is_some());
        if whole.is_none() {
            return Err(bad_query(format!(
                "$bit: the field '{}' must be a whole number but holds {}",
                path.join("."),
                show(target)
            )));
        }
        *target = arithmetic("$bit", "change", "bits", path, target, *operand, combine)?;
    }
    Ok(())
}
