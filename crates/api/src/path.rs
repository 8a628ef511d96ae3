//! Dotted paths into documents.
//!
//! `a.b` names field `b` of the document in field `a`. Where a path meets a list it means every
//! document in the list, and a part made of digits also means that element: `a.0` is both the first
//! element of list `a` and the field `"0"` of documents in it. Lists directly inside lists are not
//! searched, except by number. This is the meaning that MongoDB gives to paths in queries.

use crate::error::{Error, ErrorCode};
use crate::value::{Document, Value};

/// Most parts of a path: a document nests no deeper.
const PARTS_MAX: usize = crate::limits::NESTING_MAX;

/// A parsed path: one part or more, none of them empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    text: String,
    parts: Vec<String>,
}

impl Path {
    /// Reads the dotted form.
    ///
    /// # Errors
    /// [`ErrorCode::BadQuery`] if a part is empty or there are too many.
    pub fn parse(text: &str) -> Result<Path, Error> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err(Error::new(
                ErrorCode::BadQuery,
                format!(
                    "field path {text:?} has an empty part; write names divided by single dots"
                ),
            ));
        }
        if parts.len() > PARTS_MAX {
            return Err(Error::new(
                ErrorCode::BadQuery,
                format!("field path {text:?} has {} parts; the most is {PARTS_MAX}", parts.len()),
            ));
        }
        Ok(Path { text: text.to_owned(), parts })
    }

    /// The dotted form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names between the dots.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The first name.
    pub fn first(&self) -> &str {
        &self.parts[0]
    }

    /// Whether the path is a single name.
    pub fn is_top_level(&self) -> bool {
        self.parts.len() == 1
    }

    /// Whether one of the two paths is the other or leads to it.
    pub fn overlaps(&self, other: &Path) -> bool {
        self.parts.iter().zip(&other.parts).all(|(left, right)| left == right)
    }

    /// Calls `found` for everything the path means in `document`: a value, or `None` for a place
    /// where it leads nowhere. A list at the end of the path is given as it is. Stops, and answers
    /// true, as soon as `found` does.
    pub fn visit<'d>(
        &self,
        document: &'d Document,
        found: &mut dyn FnMut(Option<&'d Value>) -> bool,
    ) -> bool {
        visit_document(document, &self.parts, found)
    }

    /// Calls `found` as [`Path::visit`] does, and after a list for each of its elements too: the
    /// values that a comparison looks at.
    pub fn visit_elements<'d>(
        &self,
        document: &'d Document,
        found: &mut dyn FnMut(Option<&'d Value>) -> bool,
    ) -> bool {
        self.visit(document, &mut |value| {
            if found(value) {
                return true;
            }
            match value {
                Some(Value::Array(elements)) => elements.iter().any(|element| found(Some(element))),
                _ => false,
            }
        })
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The element number that a part means, if it is one: digits without a leading zero.
pub fn element_number(part: &str) -> Option<usize> {
    let is_number = !part.is_empty()
        && part.bytes().all(|byte| byte.is_ascii_digit())
        && (part == "0" || !part.starts_with('0'));
    if is_number { part.parse().ok() } else { None }
}

fn visit_document<'d>(
    document: &'d Document,
    parts: &[String],
    found: &mut dyn FnMut(Option<&'d Value>) -> bool,
) -> bool {
    match document.get(&parts[0]) {
        None => found(None),
        Some(value) => visit_value(value, &parts[1..], found),
    }
}

fn visit_value<'d>(
    value: &'d Value,
    parts: &[String],
    found: &mut dyn FnMut(Option<&'d Value>) -> bool,
) -> bool {
    match value {
        _ if parts.is_empty() => found(Some(value)),
        Value::Document(document) => visit_document(document, parts, found),
        Value::Array(elements) => visit_array(elements, parts, found),
        _ => found(None),
    }
}

fn visit_array<'d>(
    elements: &'d [Value],
    parts: &[String],
    found: &mut dyn FnMut(Option<&'d Value>) -> bool,
) -> bool {
    if let Some(element) = element_number(&parts[0]).and_then(|number| elements.get(number))
        && visit_value(element, &parts[1..], found)
    {
        return true;
    }
    elements.iter().any(|element| match element {
        Value::Document(document) => visit_document(document, parts, found),
        _ => false,
    })
}
