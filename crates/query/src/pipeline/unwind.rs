//! `$unwind`: one document for each element of a list.

use super::Shared;
use crate::error::{bad_query, show};
use crate::place::{Maker, find};
use crate::size::document_bytes;
use api::path::Path;
use api::{Document, Error, Value};

#[derive(Clone, Debug)]
pub(super) struct Unwind {
    path: Path,
    /// The field that gets the element's position.
    index: Option<Path>,
    /// Whether a document whose list is empty, null or not there goes on without it.
    keep_empty: bool,
}

/// Takes one document on; answers whether more would matter.
type Next<'n> = &'n mut dyn FnMut(Document, &mut Shared) -> Result<bool, Error>;

impl Unwind {
    pub(super) fn parse(operand: &Value) -> Result<Unwind, Error> {
        let mut unwind = Unwind { path: field_path(operand)?, index: None, keep_empty: false };
        let Value::Document(options) = operand else { return Ok(unwind) };
        for (name, value) in options {
            match (name.as_str(), value) {
                ("path", _) => {}
                ("includeArrayIndex", Value::String(field)) if !field.starts_with('$') => {
                    unwind.index = Some(Path::parse(field)?);
                }
                ("preserveNullAndEmptyArrays", Value::Boolean(keep)) => unwind.keep_empty = *keep,
                (other, value) => {
                    return Err(bad_query(format!(
                        "$unwind: {other} cannot be {}; known are path, includeArrayIndex (a name), \
                         preserveNullAndEmptyArrays (true or false)",
                        show(value)
                    )));
                }
            }
        }
        Ok(unwind)
    }

    pub(super) fn each(
        &self,
        mut document: Document,
        shared: &mut Shared,
        next: Next<'_>,
    ) -> Result<bool, Error> {
        // Only documents lead to the list, never elements by number.
        let through = (1..self.path.parts().len()).all(|n| {
            !matches!(find(&mut document, &self.path.parts()[..n]), Some(Value::Array(_)))
        });
        let place = if through { find(&mut document, self.path.parts()) } else { None };
        match place {
            Some(Value::Array(elements)) if !elements.is_empty() => {
                let elements = std::mem::take(elements);
                let rest_bytes = document_bytes(&document);
                for (number, element) in elements.into_iter().enumerate() {
                    shared.budget.charge_bytes(rest_bytes)?;
                    let mut one = document.clone();
                    if let Some(place) = find(&mut one, self.path.parts()) {
                        *place = element;
                    }
                    self.set_index(&mut one, Some(number))?;
                    if !next(one, shared)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Some(Value::Array(_)) if self.keep_empty => {
                crate::place::unset(&mut document, self.path.parts());
                self.set_index(&mut document, None)?;
                next(document, shared)
            }
            None | Some(Value::Null | Value::Undefined) if self.keep_empty => {
                self.set_index(&mut document, None)?;
                next(document, shared)
            }
            None | Some(Value::Null | Value::Undefined | Value::Array(_)) => Ok(true),
            Some(_) => {
                self.set_index(&mut document, None)?;
                next(document, shared)
            }
        }
    }

    fn set_index(&self, document: &mut Document, number: Option<usize>) -> Result<(), Error> {
        if let Some(index) = &self.index {
            let number = number.map_or(Value::Null, |number| Value::Int64(number as i64));
            *Maker::default().place(document, index.parts())? = number;
        }
        Ok(())
    }
}

fn field_path(operand: &Value) -> Result<Path, Error> {
    let path = match operand {
        Value::Document(options) => options.get("path"),
        operand => Some(operand),
    };
    match path {
        Some(Value::String(path)) if path.starts_with('$') && !path.starts_with("$$") => {
            Path::parse(&path[1..])
        }
        other => Err(bad_query(format!(
            "$unwind needs the path of a list such as \"$tags\", not {}",
            other.map_or_else(|| "nothing".to_owned(), show)
        ))),
    }
}
