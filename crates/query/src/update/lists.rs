//! `$push` with its modifiers, and `$addToSet`.

use crate::error::{bad_query, show};
use crate::ordered::Ordered;
use crate::size::value_bytes;
use crate::sort::{SortKeys, is_backward};
use api::order::{self, compare};
use api::path::Path;
use api::{Document, Error, Value};
use std::collections::BTreeSet;

/// `$push`: put in at a position, then sorted, then cut.
#[derive(Clone, Debug)]
pub(super) struct Push {
    elements: Vec<Value>,
    /// Where; none: at the end. A negative one counts from the end.
    position: Option<i64>,
    sort: Option<ListOrder>,
    /// How many stay: from the start, or from the end if negative.
    slice: Option<i64>,
}

/// How a list is sorted.
#[derive(Clone, Debug)]
enum ListOrder {
    /// By the elements.
    Whole { backward: bool },
    /// By fields of the elements.
    Fields(SortKeys),
}

/// What says how `$each` is pushed.
const MODIFIERS_OF_EACH: [&str; 3] = ["$position", "$slice", "$sort"];

impl Push {
    pub(super) fn parse(path: &Path, operand: &Value) -> Result<Push, Error> {
        let modifiers = match operand {
            Value::Document(modifiers) if modifiers.contains_key("$each") => modifiers,
            Value::Document(modifiers)
                if modifiers.keys().any(|name| MODIFIERS_OF_EACH.contains(&name.as_str())) =>
            {
                return Err(bad_query(format!(
                    "$push: {path}: $position, $slice and $sort go with $each only"
                )));
            }
            value => {
                let elements = vec![value.clone()];
                return Ok(Push { elements, position: None, sort: None, slice: None });
            }
        };
        let mut push = Push { elements: Vec::new(), position: None, sort: None, slice: None };
        for (name, value) in modifiers {
            match name.as_str() {
                "$each" => push.elements = each("$push", path, value)?,
                "$position" => push.position = Some(whole(path, name, value)?),
                "$slice" => push.slice = Some(whole(path, name, value)?),
                "$sort" => push.sort = Some(ListOrder::parse(path, value)?),
                other => {
                    return Err(bad_query(format!(
                        "$push: {path}: unknown modifier {other}; known are $each, $position, \
                         $sort, $slice"
                    )));
                }
            }
        }
        Ok(push)
    }

    pub(super) fn written_bytes(&self) -> usize {
        self.elements.iter().map(|element| 8 + value_bytes(element)).sum()
    }

    pub(super) fn apply(&self, list: &mut Vec<Value>) {
        let at = match self.position {
            None => list.len(),
            Some(position) => from_either_end(position, list.len()),
        };
        list.splice(at..at, self.elements.iter().cloned());
        if let Some(order) = &self.sort {
            order.sort(list);
        }
        if let Some(slice) = self.slice {
            let kept = crate::slice_range(list.len(), None, slice);
            list.truncate(kept.end);
            list.drain(..kept.start);
        }
    }
}

impl ListOrder {
    fn parse(path: &Path, operand: &Value) -> Result<ListOrder, Error> {
        match operand {
            Value::Document(keys) => {
                Ok(ListOrder::Fields(SortKeys::parse(&format!("$push: {path}: $sort"), keys)?))
            }
            direction => {
                let backward = is_backward("$push: $sort", path.as_str(), direction)?;
                Ok(ListOrder::Whole { backward })
            }
        }
    }

    fn sort(&self, list: &mut Vec<Value>) {
        match self {
            ListOrder::Whole { backward: false } => list.sort_by(compare),
            ListOrder::Whole { backward: true } => list.sort_by(|left, right| compare(right, left)),
            ListOrder::Fields(keys) => {
                let empty = Document::new();
                let rank = |element: Value| {
                    let fields = match &element {
                        Value::Document(document) => document,
                        _ => &empty,
                    };
                    (keys.rank(fields), element)
                };
                let mut ranked: Vec<_> = std::mem::take(list).into_iter().map(rank).collect();
                ranked.sort_by(|(left, _), (right, _)| keys.compare(left, right));
                list.extend(ranked.into_iter().map(|(_, element)| element));
            }
        }
    }
}

fn from_either_end(position: i64, length: usize) -> usize {
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    if position < 0 { length.saturating_sub(distance) } else { distance.min(length) }
}

fn each(operator: &str, path: &Path, value: &Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(elements) => Ok(elements.clone()),
        other => {
            Err(bad_query(format!("{operator}: {path}: $each needs a list, not {}", show(other))))
        }
    }
}

fn whole(path: &Path, name: &str, value: &Value) -> Result<i64, Error> {
    let number = match value {
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        Value::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(*number as i64)
        }
        _ => None,
    };
    number.ok_or_else(|| {
        bad_query(format!("$push: {path}: {name} needs a whole number, not {}", show(value)))
    })
}

/// `$addToSet`: what is not there yet is put at the end, in the order given.
#[derive(Clone, Debug)]
pub(super) struct AddToSet {
    elements: Vec<Value>,
}

impl AddToSet {
    pub(super) fn parse(path: &Path, operand: &Value) -> Result<AddToSet, Error> {
        let elements = match operand {
            Value::Document(modifiers) if modifiers.contains_key("$each") => {
                if let Some(other) = modifiers.keys().find(|name| *name != "$each") {
                    return Err(bad_query(format!(
                        "$addToSet: {path}: unknown modifier {other}; known is $each"
                    )));
                }
                each("$addToSet", path, modifiers.get("$each").unwrap_or(&Value::Null))?
            }
            value => vec![value.clone()],
        };
        Ok(AddToSet { elements })
    }

    pub(super) fn written_bytes(&self) -> usize {
        self.elements.iter().map(|element| 8 + value_bytes(element)).sum()
    }

    pub(super) fn apply(&self, list: &mut Vec<Value>) {
        if let [one] = self.elements.as_slice() {
            if !list.iter().any(|element| order::equal(element, one)) {
                list.push(one.clone());
            }
            return;
        }
        let mut added = Vec::new();
        let mut present: BTreeSet<Ordered<&Value>> = list.iter().map(Ordered).collect();
        for element in &self.elements {
            if present.insert(Ordered(element)) {
                added.push(element.clone());
            }
        }
        drop(present);
        list.extend(added);
    }
}
