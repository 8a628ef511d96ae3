//! The value that a path names in a document, to be looked at, made or removed.

use crate::error::{bad_query, show};
use api::path::element_number;
use api::{Document, Error, Value};

/// Most elements that one update adds to lists of a document by naming a number past their end.
pub const PADDED_ELEMENTS_MAX: usize = 1_500_000;

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

/// Makes places; counts what it pads lists with.
#[derive(Default)]
pub(crate) struct Maker {
    padded: usize,
}

impl Maker {
    /// The place that a path names, made (holding null) where it does not exist.
    pub(crate) fn place<'d>(
        &mut self,
        document: &'d mut Document,
        path: &[String],
    ) -> Result<&'d mut Value, Error> {
        let mut parts = path.iter().peekable();
        let first = parts.next().map(String::as_str).unwrap_or_default();
        let mut value = field(document, first, parts.peek().is_some());
        while let Some(part) = parts.next() {
            let inner = parts.peek().is_some();
            value = match value {
                Value::Document(document) => field(document, part, inner),
                Value::Array(elements) => self.element(elements, part, inner, path)?,
                other => {
                    return Err(bad_query(format!(
                        "Cannot create field '{part}' of the path '{}' in an element that holds {}",
                        path.join("."),
                        show(other)
                    )));
                }
            };
        }
        Ok(value)
    }

    fn element<'d>(
        &mut self,
        elements: &'d mut Vec<Value>,
        part: &str,
        inner: bool,
        path: &[String],
    ) -> Result<&'d mut Value, Error> {
        let Some(number) = element_number(part) else {
            return Err(bad_query(format!(
                "Cannot create field '{part}' of the path '{}' in a list; name an element's number",
                path.join(".")
            )));
        };
        if number >= elements.len() {
            self.padded = self.padded.saturating_add(number - elements.len());
            if number >= PADDED_ELEMENTS_MAX || self.padded >= PADDED_ELEMENTS_MAX {
                return Err(bad_query(format!(
                    "the path '{}' names element {number}; a list is made no longer than \
                     {PADDED_ELEMENTS_MAX}",
                    path.join(".")
                )));
            }
            elements.resize(number, Value::Null);
            elements.push(new_place(inner));
        }
        Ok(&mut elements[number])
    }
}

/// What a new place holds: a document if the path goes on.
fn new_place(inner: bool) -> Value {
    if inner { Value::Document(Document::new()) } else { Value::Null }
}

fn field<'d>(document: &'d mut Document, name: &str, inner: bool) -> &'d mut Value {
    document.entry(name).or_insert_with(|| new_place(inner))
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
