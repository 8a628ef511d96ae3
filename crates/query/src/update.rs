//! Updates: what happens to one document.

use crate::error::{bad_query, show};
use crate::filter::Filter;
use crate::place::{find, place, unset};
use api::order;
use api::path::{Path, element_number};
use api::value::ID_FIELD;
use api::{Document, Error, Value};
use bson::doc;
use std::cmp::Ordering;

/// A parsed update: operations on paths of which none leads to another, in the order of their
/// paths, so that new fields are added in that order.
#[derive(Clone, Debug)]
pub struct Update {
    operations: Vec<(Path, Operation)>,
}

#[derive(Clone, Debug)]
enum Operation {
    Set(Value),
    Unset,
    Increment(Value),
    Push(Vec<Value>),
    Pull(Condition),
}

/// Which elements `$pull` removes.
#[derive(Clone, Debug)]
enum Condition {
    Equal(Value),
    /// The element stands under [`ELEMENT`].
    Operators(Filter),
    /// The element is a document that the filter means.
    Document(Filter),
}

const ELEMENT: &str = "element";

impl Update {
    /// Reads changes: fields to set, or update operators.
    ///
    /// # Errors
    /// `bad_query`, naming the operator or the path.
    pub fn parse(changes: &Document) -> Result<Update, Error> {
        if changes.is_empty() {
            return Err(bad_query("the changes are empty; name fields to set, or operators"));
        }
        let operators = changes.keys().filter(|name| name.starts_with('$')).count();
        let mut operations = Vec::new();
        if operators == 0 {
            parse_operator("$set", changes, &mut operations)?;
        } else if operators < changes.len() {
            return Err(bad_query(
                "the changes mix fields to set with operators; put the fields under $set",
            ));
        } else {
            for (operator, fields) in changes {
                let Value::Document(fields) = fields else {
                    return Err(bad_query(format!(
                        "{operator} needs a document of fields, not {}",
                        show(fields)
                    )));
                };
                parse_operator(operator, fields, &mut operations)?;
            }
        }
        operations.sort_by(|(left, _), (right, _)| compare_paths(left, right));
        for pair in operations.windows(2) {
            if pair[0].0.overlaps(&pair[1].0) {
                return Err(bad_query(format!(
                    "Updating the path '{}' would create a conflict at '{}'",
                    pair[1].0, pair[0].0
                )));
            }
        }
        Ok(Update { operations })
    }

    /// Makes the changes in a document.
    ///
    /// # Errors
    /// `bad_query` if the document does not allow them, naming the path; the document is then to be
    /// thrown away.
    pub fn apply(&self, document: &mut Document) -> Result<(), Error> {
        let id = document.get(ID_FIELD).cloned();
        for (path, operation) in &self.operations {
            apply_operation(document, path, operation)?;
        }
        if document.get(ID_FIELD).map(value_identity) != id.as_ref().map(value_identity) {
            return Err(bad_query(format!(
                "Performing an update on the path '_id' would modify the immutable field '_id' of \
                 the document {}",
                show(&id.unwrap_or(Value::Null))
            )));
        }
        Ok(())
    }
}

/// Type and content: `1` and `1.0` differ here.
fn value_identity(value: &Value) -> Vec<u8> {
    let mut holder = Document::new();
    holder.insert("", value.clone());
    holder.to_vec().unwrap_or_default()
}

/// Parts that are numbers compare as numbers; a path stands before those that it leads to.
fn compare_paths(left: &Path, right: &Path) -> Ordering {
    for (left, right) in left.parts().iter().zip(right.parts()) {
        let order = match (element_number(left), element_number(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => left.cmp(right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.parts().len().cmp(&right.parts().len())
}

fn parse_operator(
    operator: &str,
    fields: &Document,
    operations: &mut Vec<(Path, Operation)>,
) -> Result<(), Error> {
    for (name, operand) in fields {
        let path = Path::parse(name)?;
        if path.parts().iter().any(|part| part.starts_with('$')) {
            return Err(bad_query(format!(
                "{operator}: {path}: a field name to change does not begin with $"
            )));
        }
        let operation = match operator {
            "$set" => Operation::Set(operand.clone()),
            "$unset" => Operation::Unset,
            "$inc" => match operand {
                Value::Int32(_) | Value::Int64(_) | Value::Double(_) => {
                    Operation::Increment(operand.clone())
                }
                other => {
                    return Err(bad_query(format!(
                        "$inc: {path}: cannot increment with non-numeric argument: {} (decimals \
                         have no arithmetic here)",
                        show(other)
                    )));
                }
            },
            "$push" => Operation::Push(parse_push(&path, operand)?),
            "$pull" => Operation::Pull(parse_pull(operand)?),
            _ => {
                return Err(bad_query(format!(
                    "unknown update operator: {operator}; known are $set, $unset, $inc, $push, \
                     $pull"
                )));
            }
        };
        operations.push((path, operation));
    }
    Ok(())
}

fn parse_push(path: &Path, operand: &Value) -> Result<Vec<Value>, Error> {
    let modifiers = match operand {
        Value::Document(modifiers) if modifiers.contains_key("$each") => modifiers,
        value => return Ok(vec![value.clone()]),
    };
    if let Some(other) = modifiers.keys().find(|name| *name != "$each") {
        return Err(bad_query(format!("$push: {path}: unknown modifier {other}; known is $each")));
    }
    match modifiers.get("$each") {
        Some(Value::Array(elements)) => Ok(elements.clone()),
        _ => Err(bad_query(format!("$push: {path}: $each needs a list"))),
    }
}

fn parse_pull(operand: &Value) -> Result<Condition, Error> {
    Ok(match operand {
        Value::Document(document) if document.keys().any(|name| name.starts_with('$')) => {
            Condition::Operators(Filter::parse(&doc! { ELEMENT: document.clone() })?)
        }
        Value::RegularExpression(_) => {
            Condition::Operators(Filter::parse(&doc! { ELEMENT: operand.clone() })?)
        }
        Value::Document(document) => Condition::Document(Filter::parse(document)?),
        value => Condition::Equal(value.clone()),
    })
}

impl Condition {
    fn holds(&self, element: &Value) -> bool {
        match (self, element) {
            (Condition::Equal(value), element) => order::equal(value, element),
            (Condition::Operators(filter), element) => {
                filter.matches(&doc! { ELEMENT: element.clone() })
            }
            (Condition::Document(filter), Value::Document(document)) => filter.matches(document),
            (Condition::Document(_), _) => false,
        }
    }
}

fn apply_operation(
    document: &mut Document,
    path: &Path,
    operation: &Operation,
) -> Result<(), Error> {
    match operation {
        Operation::Set(value) => *place(document, path)? = value.clone(),
        Operation::Unset => unset(document, path.parts()),
        Operation::Increment(amount) => {
            let missing = find(document, path.parts()).is_none();
            let target = place(document, path)?;
            *target = if missing { amount.clone() } else { sum(path, target, amount)? };
        }
        Operation::Push(elements) => {
            let missing = find(document, path.parts()).is_none();
            let target = place(document, path)?;
            if missing {
                *target = Value::Array(Vec::new());
            }
            match target {
                Value::Array(list) => list.extend(elements.iter().cloned()),
                other => return Err(not_a_list("$push", path, other)),
            }
        }
        Operation::Pull(condition) => match find(document, path.parts()) {
            None => {}
            Some(Value::Array(list)) => list.retain(|element| !condition.holds(element)),
            Some(other) => return Err(not_a_list("$pull", path, other)),
        },
    }
    Ok(())
}

fn not_a_list(operator: &str, path: &Path, found: &Value) -> Error {
    bad_query(format!("{operator}: the field '{path}' must be a list but holds {}", show(found)))
}

/// Whole numbers stay whole and widen to 64 bits where they must.
fn sum(path: &Path, target: &Value, amount: &Value) -> Result<Value, Error> {
    let whole = |value: &Value| match value {
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        _ => None,
    };
    let double = |value: &Value| match value {
        Value::Double(number) => Some(*number),
        value => whole(value).map(|number| number as f64),
    };
    if let (Some(left), Some(right)) = (whole(target), whole(amount)) {
        let sum = left.checked_add(right).ok_or_else(|| {
            bad_query(format!(
                "$inc: the sum of {left} and {right} at '{path}' does not fit 64 bits"
            ))
        })?;
        let narrow = matches!((target, amount), (Value::Int32(_), Value::Int32(_)));
        return Ok(match i32::try_from(sum) {
            Ok(sum) if narrow => Value::Int32(sum),
            _ => Value::Int64(sum),
        });
    }
    match (double(target), double(amount)) {
        (Some(left), Some(right)) => Ok(Value::Double(left + right)),
        _ => Err(bad_query(format!(
            "$inc: cannot increment the field '{path}', which holds {}",
            show(target)
        ))),
    }
}
