//! Operators on lists, and those that walk over one with a variable.

use super::operators::{Arguments, add_widening, any_nothing, argument};
use super::{Budget, Node, Scope, Variable, convert, is_nothing, wrong};
use crate::error::bad_query;
use crate::number::Numeric;
use api::order::{self, compare};
use api::{Error, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

type Answer = Result<Option<Value>, Error>;

fn list<'a>(name: &str, value: Option<&'a Value>) -> Result<&'a [Value], Error> {
    match value {
        Some(Value::Array(elements)) => Ok(elements),
        other => Err(wrong(name, "a list", other)),
    }
}

/// The list that an operator walks over; none where it is null.
fn walked<'e>(
    name: &str,
    input: &'e Node,
    scope: Scope<'e>,
    budget: &mut Budget,
) -> Result<Option<Cow<'e, Value>>, Error> {
    let input = input.evaluate(scope, budget)?;
    if is_nothing(input.as_deref()) {
        return Ok(None);
    }
    list(name, input.as_deref())?;
    Ok(input)
}

fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        _ => &[],
    }
}

pub(super) fn map(
    input: &Node,
    name: &str,
    body: &Node,
    scope: Scope<'_>,
    budget: &mut Budget,
) -> Answer {
    let Some(input) = walked("$map", input, scope, budget)? else { return Ok(Some(Value::Null)) };
    let mut mapped = Vec::new();
    for element in elements(&input) {
        let variable = Variable { name, value: Some(element), outer: scope.variable };
        let scope = Scope { document: scope.document, variable: Some(&variable) };
        mapped.push(body.owned(scope, budget)?);
    }
    Ok(Some(Value::Array(mapped)))
}

pub(super) fn filter(
    input: &Node,
    name: &str,
    condition: &Node,
    limit: Option<&Node>,
    scope: Scope<'_>,
    budget: &mut Budget,
) -> Answer {
    let Some(input) = walked("$filter", input, scope, budget)? else {
        return Ok(Some(Value::Null));
    };
    let mut most = usize::MAX;
    if let Some(limit) = limit {
        let limit = limit.evaluate(scope, budget)?;
        if !is_nothing(limit.as_deref()) {
            let number = limit.as_deref().and_then(convert::whole_number).filter(|n| *n > 0);
            let number = number.ok_or_else(|| {
                wrong("$filter", "a whole number from 1 as its limit", limit.as_deref())
            })?;
            most = usize::try_from(number).unwrap_or(usize::MAX);
        }
    }
    let mut kept = Vec::new();
    for element in elements(&input) {
        let variable = Variable { name, value: Some(element), outer: scope.variable };
        let scope = Scope { document: scope.document, variable: Some(&variable) };
        if condition.is_true(scope, budget)? {
            budget.charge_copy(element)?;
            kept.push(element.clone());
            if kept.len() == most {
                break;
            }
        }
    }
    Ok(Some(Value::Array(kept)))
}

pub(super) fn reduce(
    input: &Node,
    initial: &Node,
    body: &Node,
    scope: Scope<'_>,
    budget: &mut Budget,
) -> Answer {
    let Some(input) = walked("$reduce", input, scope, budget)? else {
        return Ok(Some(Value::Null));
    };
    let mut value = initial.owned(scope, budget)?;
    for element in elements(&input) {
        let so_far = Variable { name: "value", value: Some(&value), outer: scope.variable };
        let this = Variable { name: "this", value: Some(element), outer: Some(&so_far) };
        let next = body.owned(Scope { document: scope.document, variable: Some(&this) }, budget)?;
        value = next;
    }
    Ok(Some(value))
}

pub(super) fn size(name: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    Ok(Some(Value::Int32(list(name, argument(arguments, 0))?.len() as i32)))
}

pub(super) fn is_array(_: &'static str, arguments: Arguments<'_, '_>, _: &mut Budget) -> Answer {
    Ok(Some(Value::Boolean(matches!(argument(arguments, 0), Some(Value::Array(_))))))
}

/// A negative position counts from the end; beyond either end there is no value.
fn at(list: &[Value], position: i64) -> Option<&Value> {
    let position = if position < 0 { position.checked_add(list.len() as i64)? } else { position };
    list.get(usize::try_from(position).ok()?)
}

pub(super) fn element_at(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let list = list(name, argument(arguments, 0))?;
    let position = argument(arguments, 1);
    let position = position
        .and_then(convert::whole_number)
        .ok_or_else(|| wrong(name, "a whole number as position", position))?;
    copy(at(list, position), budget)
}

pub(super) fn end(name: &'static str, arguments: Arguments<'_, '_>, budget: &mut Budget) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let list = list(name, argument(arguments, 0))?;
    copy(if name == "$first" { list.first() } else { list.last() }, budget)
}

fn copy(value: Option<&Value>, budget: &mut Budget) -> Answer {
    if let Some(value) = value {
        budget.charge_copy(value)?;
    }
    Ok(value.cloned())
}

pub(super) fn is_in(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    let list = list(name, argument(arguments, 1))?;
    let wanted = argument(arguments, 0);
    budget.charge(list.len())?;
    let found =
        list.iter().any(|element| wanted.is_some_and(|wanted| order::equal(element, wanted)));
    Ok(Some(Value::Boolean(found)))
}

pub(super) fn index_of(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if is_nothing(argument(arguments, 0)) {
        return Ok(Some(Value::Null));
    }
    let list = list(name, argument(arguments, 0))?;
    let wanted = argument(arguments, 1);
    budget.charge(list.len())?;
    let found =
        list.iter().position(|element| wanted.is_some_and(|wanted| order::equal(element, wanted)));
    Ok(Some(Value::Int32(found.map_or(-1, |position| position as i32))))
}

pub(super) fn concat(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let mut joined = Vec::new();
    for value in arguments.iter().flatten() {
        budget.charge_copy(value)?;
        joined.extend_from_slice(list(name, Some(value))?);
    }
    Ok(Some(Value::Array(joined)))
}

/// `[list, count]` from the start, or from the end if negative; `[list, position, count]`.
pub(super) fn slice(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let list = list(name, argument(arguments, 0))?;
    let number = |position: usize| {
        let value = argument(arguments, position);
        value.and_then(convert::whole_number).ok_or_else(|| wrong(name, "whole numbers", value))
    };
    let range = if arguments.len() == 2 {
        crate::slice_range(list.len(), None, number(1)?)
    } else {
        let count = number(2)?;
        if count <= 0 {
            return Err(bad_query("$slice: the count after a position is above 0"));
        }
        crate::slice_range(list.len(), Some(number(1)?), count)
    };
    let kept = &list[range];
    budget.charge(kept.len())?;
    kept.iter().try_for_each(|element| budget.charge_copy(element))?;
    Ok(Some(Value::Array(kept.to_vec())))
}

pub(super) fn reverse(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    if any_nothing(arguments) {
        return Ok(Some(Value::Null));
    }
    let elements = list(name, argument(arguments, 0))?;
    elements.iter().try_for_each(|element| budget.charge_copy(element))?;
    Ok(Some(Value::Array(elements.iter().rev().cloned().collect())))
}

/// One argument that is a list stands for its elements.
fn values<'a>(arguments: Arguments<'a, '_>) -> Vec<Option<&'a Value>> {
    match arguments {
        [one] => match one.as_deref() {
            Some(Value::Array(elements)) => elements.iter().map(Some).collect(),
            value => vec![value],
        },
        many => many.iter().map(Option::as_deref).collect(),
    }
}

/// What is no number counts for nothing.
pub(super) fn total(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    let values = values(arguments);
    budget.charge(values.len())?;
    let (mut sum, mut count) = (Numeric::Int(0), 0u64);
    for value in values.into_iter().flatten() {
        if let Value::Decimal128(_) = value {
            super::operators::numeric(name, Some(value))?;
        }
        if let Some(number) = Numeric::of(value) {
            sum = add_widening(sum, number);
            count += 1;
        }
    }
    Ok(Some(match (name, count) {
        ("$sum", _) => sum.value(),
        (_, 0) => Value::Null,
        (_, count) => Value::Double(sum.double() / count as f64),
    }))
}

pub(super) fn extreme(
    name: &'static str,
    arguments: Arguments<'_, '_>,
    budget: &mut Budget,
) -> Answer {
    let wanted = if name == "$min" { Ordering::Less } else { Ordering::Greater };
    let mut best: Option<&Value> = None;
    for value in values(arguments).into_iter().flatten() {
        budget.charge(1)?;
        if !is_nothing(Some(value)) && best.is_none_or(|best| compare(value, best) == wanted) {
            best = Some(value);
        }
    }
    Ok(Some(copy(best, budget)?.unwrap_or(Value::Null)))
}
