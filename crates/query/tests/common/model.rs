//! The language once more, naively: it reads the client's documents as they are, each time, and makes
//! new values instead of changing old ones. It shares no line with what it checks, not even the
//! order of values; it knows the types that `draw` draws.

use api::{Document, Value};
use std::cell::Cell;
use std::cmp::Ordering;

/// A rule that the model gets wrong on purpose, so that a test sees whether anybody would notice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wrong {
    NullIsNotNothing,
    RangesCrossTypes,
    ListsInListsAreEntered,
    NegationsNeedOneElement,
    FieldsHaveNoOrder,
    NanIsInRanges,
    NumbersAreNoElements,
    AllIsIn,
    UnsetElementsAreRemoved,
    SlicedBeforeSorted,
    NumbersStayNarrow,
    SetsTellTypesApart,
    FieldsComeAsWritten,
    PushedAtTheEnd,
    ConflictsAreAllowed,
    EmptyListsAreNull,
    GreatestCountsUpward,
    ListsAreNotProjected,
}

thread_local! {
    static WRONG: Cell<Option<Wrong>> = const { Cell::new(None) };
}

/// Makes the model of this thread get one rule wrong, or none.
pub(crate) fn plant(wrong: Option<Wrong>) {
    WRONG.set(wrong);
}

fn is_wrong(wrong: Wrong) -> bool {
    WRONG.get() == Some(wrong)
}

/// Refused. In which words is not the model's business.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused;

type Answer<T> = Result<T, Refused>;

// ---- The order of values.

fn rank(value: &Value) -> u8 {
    match value {
        Value::Undefined => 0,
        Value::Null => 1,
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) => 2,
        Value::String(_) => 3,
        Value::Document(_) => 4,
        Value::Array(_) => 5,
        Value::Boolean(_) => 6,
        Value::DateTime(_) => 7,
        other => panic!("the model does not know {other}"),
    }
}

/// Whole numbers as such, doubles split into the whole part and the rest: exact, for the doubles
/// that are drawn.
fn number(value: &Value) -> (i8, i128, f64) {
    match value {
        Value::Int32(n) => (1, i128::from(*n), 0.0),
        Value::Int64(n) => (1, i128::from(*n), 0.0),
        Value::Double(n) if n.is_nan() => (0, 0, 0.0),
        Value::Double(n) if n.is_infinite() => (if *n > 0.0 { 2 } else { 0 }, 1, 0.0),
        Value::Double(n) => (1, n.floor() as i128, n - n.floor()),
        other => panic!("{other} is no number"),
    }
}

pub(crate) fn compare(left: &Value, right: &Value) -> Ordering {
    let by_rank = rank(left).cmp(&rank(right));
    if by_rank != Ordering::Equal {
        return by_rank;
    }
    match (left, right) {
        (Value::String(l), Value::String(r)) => l.as_bytes().cmp(r.as_bytes()),
        (Value::Boolean(l), Value::Boolean(r)) => l.cmp(r),
        (Value::DateTime(l), Value::DateTime(r)) => l.cmp(r),
        (Value::Array(l), Value::Array(r)) => {
            let mut pairs = l.iter().zip(r).map(|(l, r)| compare(l, r));
            pairs.find(|order| *order != Ordering::Equal).unwrap_or(l.len().cmp(&r.len()))
        }
        (Value::Document(l), Value::Document(r)) => {
            let (l, r) =
                if is_wrong(Wrong::FieldsHaveNoOrder) { (&sorted(l), &sorted(r)) } else { (l, r) };
            let mut pairs = l.iter().zip(r).map(|((ln, lv), (rn, rv))| {
                rank(lv).cmp(&rank(rv)).then(ln.as_bytes().cmp(rn.as_bytes())).then(compare(lv, rv))
            });
            pairs.find(|order| *order != Ordering::Equal).unwrap_or(l.len().cmp(&r.len()))
        }
        (Value::Null, _) | (Value::Undefined, _) => Ordering::Equal,
        _ => number(left).partial_cmp(&number(right)).expect("no rest is NaN"),
    }
}

fn sorted(document: &Document) -> Document {
    let mut fields: Vec<_> = document.clone().into_iter().collect();
    fields.sort_by(|(left, _), (right, _)| left.cmp(right));
    fields.into_iter().collect()
}

fn same(left: &Value, right: &Value) -> bool {
    compare(left, right) == Ordering::Equal
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Double(n) if n.is_nan())
}

// ---- Paths.

fn index(part: &str) -> Option<usize> {
    part.parse::<usize>().ok().filter(|n| n.to_string() == part)
}

/// Everything that a path means; none for a place where it leads nowhere.
fn lookup(value: &Value, parts: &[&str]) -> Vec<Option<Value>> {
    let Some((first, rest)) = parts.split_first() else { return vec![Some(value.clone())] };
    match value {
        Value::Document(document) => match document.get(first) {
            Some(inner) => lookup(inner, rest),
            None => vec![None],
        },
        Value::Array(list) => {
            let mut all = Vec::new();
            if let Some(element) = index(first).and_then(|n| list.get(n))
                && !is_wrong(Wrong::NumbersAreNoElements)
            {
                all.extend(lookup(element, rest));
            }
            let entered = |element: &&Value| {
                matches!(element, Value::Document(_))
                    || is_wrong(Wrong::ListsInListsAreEntered) && matches!(element, Value::Array(_))
            };
            for element in list.iter().filter(entered) {
                all.extend(lookup(element, parts));
            }
            all
        }
        _ => vec![None],
    }
}

/// In an element of a list that is a list, numbers alone are names.
fn lookup_root(root: &Value, path: &str) -> Vec<Option<Value>> {
    let parts: Vec<&str> = path.split('.').collect();
    match root {
        Value::Array(list) => match index(parts[0]).and_then(|n| list.get(n)) {
            Some(element) => lookup(element, &parts[1..]),
            None => vec![None],
        },
        root => lookup(root, &parts),
    }
}

fn with_elements(values: Vec<Option<Value>>) -> Vec<Option<Value>> {
    let mut all = Vec::new();
    for value in values {
        if let Some(Value::Array(list)) = &value {
            all.extend(list.iter().cloned().map(Some));
        }
        all.push(value);
    }
    all
}

// ---- Filters.

pub(crate) fn matches(filter: &Document, root: &Value) -> bool {
    filter.iter().all(|(name, operand)| {
        let any = |list: &Value| filters(list).iter().any(|filter| matches(filter, root));
        match name.as_str() {
            "$and" => filters(operand).iter().all(|filter| matches(filter, root)),
            "$or" => any(operand),
            "$nor" => !any(operand),
            path => field(&lookup_root(root, path), operand),
        }
    })
}

fn filters(list: &Value) -> Vec<Document> {
    let Value::Array(list) = list else { panic!("{list} is no list") };
    list.iter().map(|filter| filter.as_document().expect("a filter").clone()).collect()
}

fn is_operators(value: &Value) -> Option<&Document> {
    value.as_document().filter(|d| d.keys().next().is_some_and(|name| name.starts_with('$')))
}

/// `values`: what the path means.
fn field(values: &[Option<Value>], operand: &Value) -> bool {
    match is_operators(operand) {
        Some(operators) => operators.iter().all(|(name, operand)| operator(values, name, operand)),
        None => operator(values, "$eq", operand),
    }
}

fn operator(values: &[Option<Value>], name: &str, operand: &Value) -> bool {
    let elements = || with_elements(values.to_vec());
    match name {
        "$ne" if is_wrong(Wrong::NegationsNeedOneElement) => {
            elements().iter().any(|value| !one(value.as_ref(), "$eq", operand))
        }
        "$ne" => !operator(values, "$eq", operand),
        "$nin" => !operator(values, "$in", operand),
        "$not" => !field(values, operand),
        "$exists" => values.iter().any(Option::is_some) == (operand == &Value::Boolean(true)),
        "$size" | "$elemMatch" => values.iter().any(|value| one(value.as_ref(), name, operand)),
        "$all" => all(values, operand),
        _ => elements().iter().any(|value| one(value.as_ref(), name, operand)),
    }
}

fn all(values: &[Option<Value>], operand: &Value) -> bool {
    let list = operand.as_array().expect("a list");
    if is_wrong(Wrong::AllIsIn) {
        return list.iter().any(|operand| field(values, operand));
    }
    !list.is_empty() && list.iter().all(|operand| field(values, operand))
}

/// One value by itself, whatever is in it.
fn one(value: Option<&Value>, name: &str, operand: &Value) -> bool {
    let null = Value::Null;
    let present = value.unwrap_or(&null);
    let in_order = |wanted: &[Ordering]| {
        (rank(present) == rank(operand) || is_wrong(Wrong::RangesCrossTypes))
            && (same(present, operand)
                || !is_nan(present) && !is_nan(operand)
                || is_wrong(Wrong::NanIsInRanges))
            && wanted.contains(&compare(present, operand))
    };
    match name {
        "$eq" if is_wrong(Wrong::NullIsNotNothing) && value.is_none() => false,
        "$eq" => same(present, operand),
        "$ne" => !one(value, "$eq", operand),
        "$gt" => in_order(&[Ordering::Greater]),
        "$gte" => in_order(&[Ordering::Greater, Ordering::Equal]),
        "$lt" => in_order(&[Ordering::Less]),
        "$lte" => in_order(&[Ordering::Less, Ordering::Equal]),
        "$in" => operand.as_array().expect("a list").iter().any(|one| same(present, one)),
        "$nin" => !one(value, "$in", operand),
        "$exists" => value.is_some() == (operand == &Value::Boolean(true)),
        "$size" => value
            .and_then(Value::as_array)
            .is_some_and(|list| same(&Value::Int64(list.len() as i64), operand)),
        "$type" => match operand {
            Value::Array(words) => words.iter().any(|word| is_type(value, word)),
            word => is_type(value, word),
        },
        "$mod" => modulo(value, operand),
        "$regex" => {
            let Some(Value::String(text)) = value else { return false };
            match operand.as_str().expect("a pattern") {
                "^a" => text.starts_with('a'),
                "b$" => text.ends_with('b'),
                "." => !text.is_empty(),
                "^$" => text.is_empty(),
                other => panic!("the model does not know {other}"),
            }
        }
        "$not" => !one_all(value, operand),
        "$all" => {
            let list = operand.as_array().expect("a list");
            !list.is_empty()
                && list.iter().all(|operand| match is_operators(operand) {
                    Some(_) => one_all(value, operand),
                    None => one(value, "$eq", operand),
                })
        }
        "$elemMatch" => {
            let Some(Value::Array(list)) = value else { return false };
            list.iter().any(|element| element_matches(element, operand))
        }
        other => panic!("the model does not know {other}"),
    }
}

fn one_all(value: Option<&Value>, operators: &Value) -> bool {
    let operators = operators.as_document().expect("operators");
    operators.iter().all(|(name, operand)| one(value, name, operand))
}

fn element_matches(element: &Value, operand: &Value) -> bool {
    let condition = operand.as_document().expect("a condition");
    let joins = ["$and", "$or", "$nor"];
    match condition.keys().next() {
        Some(first) if first.starts_with('$') && !joins.contains(&first.as_str()) => {
            one_all(Some(element), operand)
        }
        _ => matches!(element, Value::Document(_) | Value::Array(_)) && matches(condition, element),
    }
}

fn is_type(value: Option<&Value>, word: &Value) -> bool {
    let found = match value {
        Some(Value::Int32(_)) => "int",
        Some(Value::Int64(_)) => "long",
        Some(Value::Double(_)) => "double",
        Some(Value::String(_)) => "string",
        Some(Value::Document(_)) => "object",
        Some(Value::Array(_)) => "array",
        Some(Value::Boolean(_)) => "bool",
        Some(Value::Null) => "null",
        Some(Value::DateTime(_)) => "date",
        _ => return false,
    };
    let word = word.as_str().expect("a word");
    word == found || word == "number" && ["int", "long", "double"].contains(&found)
}

fn modulo(value: Option<&Value>, operand: &Value) -> bool {
    let pair = operand.as_array().expect("a pair");
    let (divisor, rest) = (number(&pair[0]).1, number(&pair[1]).1);
    let whole = match value {
        Some(Value::Int32(n)) => i128::from(*n),
        Some(Value::Int64(n)) => i128::from(*n),
        Some(Value::Double(n)) if n.is_finite() && n.abs() < 1e18 => n.trunc() as i128,
        _ => return false,
    };
    whole % divisor == rest
}

// ---- Updates.

/// What an update makes of a document.
pub(crate) fn updated(
    update: &Document,
    array_filters: &[Document],
    document: &Document,
    position: Option<usize>,
) -> Answer<Document> {
    let mut steps: Vec<(Vec<String>, String, Value)> = Vec::new();
    let mut touched: Vec<Vec<String>> = Vec::new();
    for (operator, fields) in update {
        for (target, operand) in fields.as_document().expect("fields") {
            let parts: Vec<&str> = target.split('.').collect();
            if operator == "$rename" && parts.iter().any(|part| part.starts_with('$')) {
                return Err(Refused);
            }
            // Written twice is refused before any document is looked at.
            let literal: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            touched.push(literal);
            if operator == "$rename" {
                let to = operand.as_str().expect("a name");
                touched.push(to.split('.').map(str::to_owned).collect());
            }
            let root = Value::Document(document.clone());
            for place in places(Some(&root), &parts, &[], array_filters, position)? {
                steps.push((place, operator.clone(), operand.clone()));
            }
        }
    }
    let mut concrete: Vec<Vec<String>> = steps.iter().map(|(place, ..)| place.clone()).collect();
    for paths in [&mut touched, &mut concrete] {
        for (position, one) in paths.iter().enumerate() {
            let conflict = |two: &Vec<String>| one.starts_with(two) || two.starts_with(one);
            if paths[position + 1..].iter().any(conflict) && !is_wrong(Wrong::ConflictsAreAllowed) {
                return Err(Refused);
            }
        }
    }
    if !is_wrong(Wrong::FieldsComeAsWritten) {
        steps.sort_by_key(|(place, ..)| sort_key(place));
    }
    let mut root = Value::Document(document.clone());
    for (place, operator, operand) in steps {
        root = step(&root, &place, &operator, &operand)?;
    }
    let Value::Document(after) = root else { panic!("the root stays a document") };
    Ok(after)
}

/// New fields come in the order of their paths, numbers by size before names.
fn sort_key(place: &[String]) -> Vec<(u8, usize, String)> {
    let key = |part: &String| match index(part) {
        Some(number) => (0, number, String::new()),
        None => (1, 0, part.clone()),
    };
    place.iter().map(key).collect()
}

fn places(
    value: Option<&Value>,
    parts: &[&str],
    so_far: &[String],
    array_filters: &[Document],
    position: Option<usize>,
) -> Answer<Vec<Vec<String>>> {
    let Some((first, rest)) = parts.split_first() else { return Ok(vec![so_far.to_vec()]) };
    let go = |value: Option<&Value>, part: &str| {
        let so_far = [so_far, &[part.to_owned()]].concat();
        places(value, rest, &so_far, array_filters, position)
    };
    let inner = |part: &str| match value {
        Some(Value::Document(document)) => document.get(part).cloned(),
        Some(Value::Array(list)) => index(part).and_then(|n| list.get(n)).cloned(),
        _ => None,
    };
    if *first == "$" {
        let part = position.ok_or(Refused)?.to_string();
        return go(inner(&part).as_ref(), &part);
    }
    if !first.starts_with("$[") {
        return go(inner(first).as_ref(), first);
    }
    let Some(Value::Array(list)) = value else { return Err(Refused) };
    let mut all = Vec::new();
    for (number, element) in list.iter().enumerate() {
        let means = *first == "$[]"
            || array_filters
                .iter()
                .all(|filter| matches(filter, &Value::from(bson::doc! { "e": element.clone() })));
        if means {
            all.extend(go(Some(element), &number.to_string())?);
        }
    }
    Ok(all)
}

/// The root with one place changed: `change` is given what is there and says what shall be.
fn change(
    value: Option<&Value>,
    place: &[String],
    make: bool,
    change_it: &mut dyn FnMut(Option<&Value>) -> Answer<Option<Value>>,
) -> Answer<Option<Value>> {
    let Some((first, rest)) = place.split_first() else { return change_it(value) };
    match value {
        None if !make => {
            change_it(None)?;
            Ok(None)
        }
        None => {
            let inner = change(None, rest, make, change_it)?;
            Ok(Some(Value::Document(
                inner.map(|inner| (first.clone(), inner)).into_iter().collect(),
            )))
        }
        Some(Value::Document(document)) => {
            let inner = change(document.get(first), rest, make, change_it)?;
            let mut after = document.clone();
            match inner {
                Some(inner) => after.insert(first.clone(), inner),
                None => after.remove(first),
            };
            Ok(Some(Value::Document(after)))
        }
        Some(Value::Array(list)) => {
            let Some(number) = index(first) else {
                if make {
                    return Err(Refused);
                }
                change_it(None)?;
                return Ok(value.cloned());
            };
            if number >= list.len() && !make {
                change_it(None)?;
                return Ok(value.cloned());
            }
            let inner = change(list.get(number), rest, make, change_it)?;
            let mut after = list.clone();
            if number >= after.len() {
                after.resize(number + 1, Value::Null);
            }
            if inner.is_none() && is_wrong(Wrong::UnsetElementsAreRemoved) {
                after.remove(number);
                return Ok(Some(Value::Array(after)));
            }
            after[number] = inner.unwrap_or(Value::Null);
            Ok(Some(Value::Array(after)))
        }
        Some(_) if make => Err(Refused),
        Some(other) => {
            change_it(None)?;
            Ok(Some(other.clone()))
        }
    }
}

fn step(root: &Value, place: &[String], operator: &str, operand: &Value) -> Answer<Value> {
    let set =
        |root: &Value, make: bool, it: &mut dyn FnMut(Option<&Value>) -> Answer<Option<Value>>| {
            change(Some(root), place, make, it).map(|root| root.expect("the root stays"))
        };
    match operator {
        "$set" => set(root, true, &mut |_| Ok(Some(operand.clone()))),
        "$setOnInsert" => Ok(root.clone()),
        "$unset" => set(root, false, &mut |_| Ok(None)),
        "$inc" | "$mul" => set(root, true, &mut |old| arithmetic(operator, old, operand).map(Some)),
        "$bit" => set(root, true, &mut |old| bits(old, operand).map(Some)),
        "$min" | "$max" => {
            let wanted = if operator == "$min" { Ordering::Less } else { Ordering::Greater };
            let mut present = None;
            set(root, false, &mut |old| {
                present = old.cloned();
                Ok(old.cloned())
            })?;
            match present {
                Some(old) if compare(operand, &old) != wanted => Ok(root.clone()),
                _ => set(root, true, &mut |_| Ok(Some(operand.clone()))),
            }
        }
        "$rename" => rename(root, place, operand.as_str().expect("a name")),
        "$push" | "$addToSet" => set(root, true, &mut |old| {
            let list = match old {
                None => Vec::new(),
                Some(Value::Array(list)) => list.clone(),
                Some(_) => return Err(Refused),
            };
            Ok(Some(Value::Array(if operator == "$push" {
                push(list, operand)
            } else {
                add(list, operand)
            })))
        }),
        "$pull" | "$pullAll" | "$pop" => set(root, false, &mut |old| match old {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(Value::Array(shorter(operator, list, operand)))),
            Some(_) => Err(Refused),
        }),
        other => panic!("the model does not know {other}"),
    }
}

fn rename(root: &Value, from: &[String], to: &str) -> Answer<Value> {
    let to: Vec<String> = to.split('.').map(str::to_owned).collect();
    for path in [from, &to] {
        // No list on the way.
        let mut value = Some(root.clone());
        for part in path {
            value = match value {
                Some(Value::Document(document)) => document.get(part).cloned(),
                Some(Value::Array(_)) => return Err(Refused),
                _ => None,
            };
        }
    }
    let mut moved = None;
    let without = change(Some(root), from, false, &mut |old| {
        moved = old.cloned();
        Ok(None)
    })?;
    match moved {
        None => Ok(root.clone()),
        Some(moved) => change(without.as_ref(), &to, true, &mut |_| Ok(Some(moved.clone())))
            .map(|root| root.expect("the root stays")),
    }
}

fn arithmetic(operator: &str, old: Option<&Value>, operand: &Value) -> Answer<Value> {
    let old = match (old, operator) {
        (None, "$inc") => return Ok(operand.clone()),
        (None, _) => Value::Int32(0),
        (Some(old), _) => old.clone(),
    };
    let whole = |value: &Value| match value {
        Value::Int32(n) => Some(i128::from(*n)),
        Value::Int64(n) => Some(i128::from(*n)),
        _ => None,
    };
    let double = |value: &Value| match value {
        Value::Double(n) => Some(*n),
        value => whole(value).map(|n| n as f64),
    };
    if let (Some(left), Some(right)) = (whole(&old), whole(operand)) {
        let result = if operator == "$inc" { left + right } else { left * right };
        let both_small = matches!((&old, operand), (Value::Int32(_), Value::Int32(_)));
        return match (i32::try_from(result), i64::try_from(result)) {
            (Ok(small), _) if both_small || is_wrong(Wrong::NumbersStayNarrow) => {
                Ok(Value::Int32(small))
            }
            (_, Ok(large)) => Ok(Value::Int64(large)),
            _ => Err(Refused),
        };
    }
    match (double(&old), double(operand)) {
        (Some(left), Some(right)) if operator == "$inc" => Ok(Value::Double(left + right)),
        (Some(left), Some(right)) => Ok(Value::Double(left * right)),
        _ => Err(Refused),
    }
}

fn bits(old: Option<&Value>, operand: &Value) -> Answer<Value> {
    let (word, mask) = operand.as_document().and_then(|d| d.iter().next()).expect("one operation");
    let mask = mask.as_i32().expect("a mask");
    let combine = |old: i64| match word.as_str() {
        "and" => old & i64::from(mask),
        "or" => old | i64::from(mask),
        _ => old ^ i64::from(mask),
    };
    match old {
        None => Ok(Value::Int32(combine(0) as i32)),
        Some(Value::Int32(old)) => Ok(Value::Int32(combine(i64::from(*old)) as i32)),
        Some(Value::Int64(old)) => Ok(Value::Int64(combine(*old))),
        Some(_) => Err(Refused),
    }
}

fn push(mut list: Vec<Value>, operand: &Value) -> Vec<Value> {
    let modifiers = match operand {
        Value::Document(modifiers) if modifiers.contains_key("$each") => modifiers,
        one => {
            list.push(one.clone());
            return list;
        }
    };
    let number = |name: &str| modifiers.get(name).and_then(Value::as_i32).map(|n| n as isize);
    let length = list.len() as isize;
    let at = match number("$position") {
        None => length,
        Some(_) if is_wrong(Wrong::PushedAtTheEnd) => length,
        Some(at) if at < 0 => (length + at).max(0),
        Some(at) => at.min(length),
    };
    let after = list.split_off(at as usize);
    list.extend(modifiers.get_array("$each").expect("a list").iter().cloned());
    list.extend(after);
    if is_wrong(Wrong::SlicedBeforeSorted) {
        list = sliced(list, number("$slice"));
    }
    match modifiers.get("$sort") {
        None => {}
        Some(Value::Document(keys)) => {
            let (path, direction) = keys.iter().next().expect("a key");
            let up = direction.as_i32() == Some(1);
            let key = |element: &Value| sort_value(element, path, up);
            list.sort_by(|l, r| turned(compare(&key(l), &key(r)), up));
        }
        Some(direction) => {
            let up = direction.as_i32() == Some(1);
            list.sort_by(|l, r| turned(compare(l, r), up));
        }
    }
    sliced(list, number("$slice"))
}

fn sliced(list: Vec<Value>, slice: Option<isize>) -> Vec<Value> {
    let length = list.len() as isize;
    match slice {
        None => list,
        Some(n) if n >= 0 => list.into_iter().take(n as usize).collect(),
        Some(n) => list.into_iter().skip((length + n).max(0) as usize).collect(),
    }
}

fn turned(order: Ordering, up: bool) -> Ordering {
    if up { order } else { order.reverse() }
}

/// By the least value at the path upward, by the greatest downward.
pub(crate) fn sort_value(element: &Value, path: &str, up: bool) -> Value {
    let found = match element {
        Value::Document(_) => lookup_root(element, path),
        _ => vec![None],
    };
    let mut values = Vec::new();
    for value in found {
        match value {
            None => values.push(Value::Null),
            Some(Value::Array(list)) if list.is_empty() => {
                let null = is_wrong(Wrong::EmptyListsAreNull);
                values.push(if null { Value::Null } else { Value::Undefined });
            }
            Some(Value::Array(list)) => values.extend(list),
            Some(value) => values.push(value),
        }
    }
    values.sort_by(compare);
    let least = up && !is_wrong(Wrong::GreatestCountsUpward);
    let best = if least { values.first() } else { values.last() };
    best.cloned().unwrap_or(Value::Null)
}

fn add(mut list: Vec<Value>, operand: &Value) -> Vec<Value> {
    let new = match operand {
        Value::Document(one) if one.contains_key("$each") => {
            one.get_array("$each").expect("a list").clone()
        }
        one => vec![one.clone()],
    };
    for value in new {
        let alike = |one: &Value| {
            same(one, &value)
                && (!is_wrong(Wrong::SetsTellTypesApart)
                    || one.element_type() == value.element_type())
        };
        if !list.iter().any(alike) {
            list.push(value);
        }
    }
    list
}

fn shorter(operator: &str, list: &[Value], operand: &Value) -> Vec<Value> {
    match operator {
        "$pop" if list.is_empty() => Vec::new(),
        "$pop" if operand.as_i32() == Some(1) => list[..list.len() - 1].to_vec(),
        "$pop" => list[1..].to_vec(),
        "$pullAll" => {
            let gone = operand.as_array().expect("a list");
            list.iter().filter(|one| !gone.iter().any(|g| same(one, g))).cloned().collect()
        }
        _ => list.iter().filter(|one| !pulled(one, operand)).cloned().collect(),
    }
}

fn pulled(element: &Value, condition: &Value) -> bool {
    match condition {
        Value::Document(_)
            if is_operators(condition).is_some_and(|operators| {
                !operators.keys().all(|name| ["$and", "$or", "$nor"].contains(&name.as_str()))
            }) =>
        {
            field(&[Some(element.clone())], condition)
        }
        Value::Document(filter) => {
            matches!(element, Value::Document(_)) && matches(filter, element)
        }
        value => same(element, value),
    }
}

// ---- Projections of the plain kind.

pub(crate) fn projected(fields: &Document, document: &Document) -> Document {
    let named: Vec<(Vec<&str>, bool)> = fields
        .iter()
        .map(|(path, keep)| (path.split('.').collect(), keep.as_i32() == Some(1)))
        .collect();
    let others: Vec<&(Vec<&str>, bool)> =
        named.iter().filter(|(path, _)| path != &["_id"]).collect();
    let id = named.iter().find(|(path, _)| path == &["_id"]).map(|(_, keep)| *keep);
    let inclusive = others.first().map_or(id == Some(true), |(_, keep)| *keep);
    let paths: Vec<Vec<&str>> = others.iter().map(|(path, _)| path.clone()).collect();
    let mut after = Document::new();
    for (name, value) in document {
        let kept = if name == "_id" {
            id.unwrap_or(true).then(|| value.clone())
        } else {
            projected_field(name, value, &paths, inclusive)
        };
        after.extend(kept.map(|value| (name.clone(), value)));
    }
    after
}

fn projected_field(
    name: &str,
    value: &Value,
    paths: &[Vec<&str>],
    inclusive: bool,
) -> Option<Value> {
    let inner: Vec<Vec<&str>> =
        paths.iter().filter(|path| path[0] == name).map(|path| path[1..].to_vec()).collect();
    if inner.is_empty() {
        return (!inclusive).then(|| value.clone());
    }
    if inner.iter().any(Vec::is_empty) {
        return inclusive.then(|| value.clone());
    }
    projected_value(value, &inner, inclusive)
}

fn projected_value(value: &Value, paths: &[Vec<&str>], inclusive: bool) -> Option<Value> {
    match value {
        Value::Document(document) => {
            let fields = document.iter().filter_map(|(name, value)| {
                projected_field(name, value, paths, inclusive).map(|value| (name.clone(), value))
            });
            Some(Value::Document(fields.collect()))
        }
        Value::Array(_) if is_wrong(Wrong::ListsAreNotProjected) => Some(value.clone()),
        Value::Array(list) => {
            let list = list.iter().filter_map(|value| projected_value(value, paths, inclusive));
            Some(Value::Array(list.collect()))
        }
        value => (!inclusive).then(|| value.clone()),
    }
}
