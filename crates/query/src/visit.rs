//! The values that a path means, with the place in a list where they were found.
//!
//! The meaning is that of [`api::path`]; what is added is where a path may begin, and the position
//! in the outermost list on the way, which the positional operator needs.

use api::path::element_number;
use api::{Document, Value};

/// Where a path begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Root<'d> {
    /// A document: the first part names a field.
    Document(&'d Document),
    /// A list taken as a document whose fields are called "0", "1" and so on.
    Elements(&'d [Value]),
    /// One value, whatever the first part is called.
    Named(&'d Value),
}

/// Told of each value, or of the absence of one, and its position in the outermost list; answers
/// whether that was enough.
pub(crate) type Found<'f, 'd> = &'f mut dyn FnMut(Option<&'d Value>, Option<usize>) -> bool;

impl<'d> Root<'d> {
    /// Calls `found` for every value at the path; a list at its end is given as it is.
    pub(crate) fn visit(self, parts: &[String], found: Found<'_, 'd>) -> bool {
        let Some((first, rest)) = parts.split_first() else { return false };
        let value = match self {
            Root::Document(document) => document.get(first),
            Root::Elements(elements) => element_number(first).and_then(|n| elements.get(n)),
            Root::Named(value) => Some(value),
        };
        match value {
            None => found(None, None),
            Some(value) => visit_value(value, rest, None, found),
        }
    }

    /// As [`Root::visit`], and after a list for each of its elements too.
    pub(crate) fn visit_elements(self, parts: &[String], found: Found<'_, 'd>) -> bool {
        self.visit(parts, &mut |value, position| {
            if found(value, position) {
                return true;
            }
            let Some(Value::Array(elements)) = value else { return false };
            let mut numbered = elements.iter().enumerate();
            numbered.any(|(number, element)| found(Some(element), position.or(Some(number))))
        })
    }
}

fn visit_value<'d>(
    value: &'d Value,
    parts: &[String],
    position: Option<usize>,
    found: Found<'_, 'd>,
) -> bool {
    let Some((first, rest)) = parts.split_first() else { return found(Some(value), position) };
    match value {
        Value::Document(document) => visit_field(document, first, rest, position, found),
        Value::Array(elements) => {
            if let Some(element) = element_number(first).and_then(|number| elements.get(number))
                && visit_value(element, rest, position, found)
            {
                return true;
            }
            elements.iter().enumerate().any(|(number, element)| match element {
                Value::Document(document) => {
                    visit_field(document, first, rest, position.or(Some(number)), found)
                }
                _ => false,
            })
        }
        _ => found(None, position),
    }
}

fn visit_field<'d>(
    document: &'d Document,
    name: &str,
    rest: &[String],
    position: Option<usize>,
    found: Found<'_, 'd>,
) -> bool {
    match document.get(name) {
        None => found(None, position),
        Some(value) => visit_value(value, rest, position, found),
    }
}
