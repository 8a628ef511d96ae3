//! The value that a path names in a document, to be looked at, made or removed.

use crate::error::{bad_query, show};
use api::path::{Path, element_number};
use api::{Document, Error, Value};

/// Longest list that a path with a number past its end may make.
const PADDED_LIST_MAX: usize = 1_500_000;

/// The value at a path, if there is one; numbers are elements of lists, fields of documents.
pub(crate) fn find<'d>(document: &'d mut Document, parts: &[String]) -> Option<&'d mut Value> {
    let (first, rest) = parts.split_first()?;
    let mut value = document.get_mut(first)?;
    for part in rest {
        value = match value {
            Value::Document(document) => document.get_mut(part)?,
            Value::Array(elements) => elements.get_mut(element_number(part)?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// The place that a path names, made (holding null) where it does not exist.
pub(crate) fn place<'d>(document: &'d mut Document, path: &Path) -> Result<&'d mut Value, Error> {
    let mut parts = path.parts().iter().peekable();
    let first = parts.next().map(String::as_str).unwrap_or_default();
    let mut value = field(document, first, parts.peek().is_some());
    while let Some(part) = parts.next() {
        let inner = parts.peek().is_some();
        value = match value {
            Value::Document(document) => field(document, part, inner),
            Value::Array(elements) => element(elements, part, inner, path)?,
            other => {
                return Err(bad_query(format!(
                    "Cannot create field '{part}' of the path '{path}' in an element that holds {}",
                    show(other)
                )));
            }
        };
    }
    Ok(value)
}

/// What a new place holds: a document if the path goes on.
fn new_place(inner: bool) -> Value {
    if inner { Value::Document(Document::new()) } else { Value::Null }
}

fn field<'d>(document: &'d mut Document, name: &str, inner: bool) -> &'d mut Value {
    document.entry(name).or_insert_with(|| new_place(inner))
}

fn element<'d>(
    elements: &'d mut Vec<Value>,
    part: &str,
    inner: bool,
    path: &Path,
) -> Result<&'d mut Value, Error> {
    let Some(number) = element_number(part) else {
        return Err(bad_query(format!(
            "Cannot create field '{part}' of the path '{path}' in a list; name an element's number"
        )));
    };
    if number >= elements.len() {
        if number >= PADDED_LIST_MAX {
            return Err(bad_query(format!(
                "the path '{path}' names element {number}; a list is made no longer than \
                 {PADDED_LIST_MAX}"
            )));
        }
        elements.resize(number, Value::Null);
        elements.push(new_place(inner));
    }
    Ok(&mut elements[number])
}

/// Removes a field; an element of a list becomes null, so that the others keep their numbers.
pub(crate) fn unset(document: &mut Document, parts: &[String]) {
    let Some((last, parents)) = parts.split_last() else { return };
    let parent = match parents {
        [] => {
            document.remove(last);
            return;
        }
        parents => find(document, parents),
    };
    match parent {
        Some(Value::Document(document)) => {
            document.remove(last);
        }
        Some(Value::Array(elements)) => {
            if let Some(element) = element_number(last).and_then(|number| elements.get_mut(number))
            {
                *element = Value::Null;
            }
        }
        _ => {}
    }
}
