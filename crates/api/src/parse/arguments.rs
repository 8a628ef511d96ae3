//! The arguments of one request, taken in order, each with a check of its type.

use super::Operation;
use super::options::whole_number;
use crate::error::{Error, ErrorCode};
use crate::json::{self, NESTING_OF_REQUEST, type_name};
use crate::limits::{CURSOR_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, NESTING_MAX};
use crate::value::{Document, Value};

/// Most characters of a client's value that an error message repeats.
const SHOWN_CHARACTERS_MAX: usize = 40;

/// The arguments that are left; their number was checked before.
pub(super) struct Arguments {
    operation: &'static str,
    names: &'static [&'static str],
    values: std::vec::IntoIter<Value>,
    taken: usize,
}

impl Arguments {
    pub(super) fn new(operation: &Operation, values: Vec<Value>) -> Arguments {
        Arguments {
            operation: operation.name,
            names: operation.arguments,
            values: values.into_iter(),
            taken: 0,
        }
    }

    /// A collection's name.
    pub(super) fn name(&mut self) -> Result<String, Error> {
        let name = self.text()?;
        if name.is_empty() {
            return Err(self.wrong("a name", "an empty string"));
        }
        self.within(name, NAME_BYTES_MAX)
    }

    /// A collection's name, if there is one more argument.
    pub(super) fn optional_name(&mut self) -> Result<Option<String>, Error> {
        if self.values.len() == 0 { Ok(None) } else { self.name().map(Some) }
    }

    /// A key of the key-value map.
    pub(super) fn key(&mut self) -> Result<String, Error> {
        let key = self.text()?;
        self.within(key, KEY_BYTES_MAX)
    }

    /// A list, whose items are not looked at.
    pub(super) fn list(&mut self) -> Result<Vec<Value>, Error> {
        match self.next()? {
            Value::Array(items) => Ok(items),
            other => Err(self.wrong("a list", &got(&other))),
        }
    }

    /// The name of a cursor.
    pub(super) fn cursor(&mut self) -> Result<String, Error> {
        let cursor = self.text()?;
        self.within(cursor, CURSOR_BYTES_MAX)
    }

    /// A whole number from 0, if there is one more argument.
    pub(super) fn optional_count(&mut self) -> Result<Option<u64>, Error> {
        if self.values.len() == 0 {
            return Ok(None);
        }
        let value = self.next()?;
        match whole_number(&value) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong("a whole number from 0", &got(&value))),
        }
    }

    /// How many arguments are left.
    pub(super) fn left(&self) -> usize {
        self.values.len()
    }

    /// A string.
    pub(super) fn text(&mut self) -> Result<String, Error> {
        match self.next()? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong("a string", &got(&other))),
        }
    }

    /// A number from 0 to 1.
    pub(super) fn share(&mut self) -> Result<f64, Error> {
        let value = self.next()?;
        let number = match value {
            Value::Double(number) => Some(number),
            Value::Int64(number @ (0 | 1)) => Some(number as f64),
            _ => None,
        };
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(|| self.wrong("a number from 0 to 1", &got(&value)))
    }

    /// An object.
    pub(super) fn document(&mut self) -> Result<Document, Error> {
        match self.value()? {
            Value::Document(document) => Ok(document),
            other => Err(self.wrong("an object", &got(&other))),
        }
    }

    /// An object, or a list of objects (and that it was a list).
    pub(super) fn documents(&mut self) -> Result<(Vec<Document>, bool), Error> {
        let mut list = false;
        let items = match self.next()? {
            one @ Value::Document(_) => vec![one],
            Value::Array(items) => {
                list = true;
                items
            }
            other => return Err(self.wrong("an object or a list of objects", &got(&other))),
        };
        let mut documents = Vec::with_capacity(items.len());
        for (position, item) in items.into_iter().enumerate() {
            match self.check_nesting(item)? {
                Value::Document(document) => documents.push(document),
                other => {
                    let expected = format!("a list of objects, at its position {position}");
                    return Err(self.wrong(&expected, &got(&other)));
                }
            }
        }
        Ok((documents, list))
    }

    /// A list of objects.
    pub(super) fn list_of_documents(&mut self) -> Result<Vec<Document>, Error> {
        match self.documents()? {
            (documents, true) => Ok(documents),
            (_, false) => Err(self.wrong("a list of objects", "object")),
        }
    }

    /// Any value.
    pub(super) fn value(&mut self) -> Result<Value, Error> {
        let value = self.next()?;
        self.check_nesting(value)
    }

    fn next(&mut self) -> Result<Value, Error> {
        self.taken += 1;
        self.values.next().ok_or_else(|| self.wrong("a value", "nothing"))
    }

    /// A request may nest a little deeper than a value, for its own lists.
    fn check_nesting(&self, value: Value) -> Result<Value, Error> {
        const _: () = assert!(NESTING_OF_REQUEST > NESTING_MAX);
        let levels = json::nesting(&value);
        if levels > NESTING_MAX {
            let expected = format!("a value of at most {NESTING_MAX} nested levels");
            return Err(self.wrong(&expected, &format!("{levels} levels")));
        }
        Ok(value)
    }

    fn within(&self, text: String, bytes_max: usize) -> Result<String, Error> {
        if text.len() <= bytes_max {
            return Ok(text);
        }
        Err(Error::new(
            ErrorCode::TooLarge,
            format!(
                "{}: argument {} ({}) may have {bytes_max} bytes at most, got {}",
                self.operation,
                self.taken,
                self.argument(),
                text.len()
            ),
        ))
    }

    fn wrong(&self, expected: &str, got: &str) -> Error {
        Error::new(
            ErrorCode::BadRequest,
            format!(
                "{}: argument {} ({}) must be {expected}, got {got}",
                self.operation,
                self.taken,
                self.argument()
            ),
        )
    }

    /// The name of the argument that was taken last.
    fn argument(&self) -> &'static str {
        let position = self.taken.saturating_sub(1);
        self.names.get(position).map_or("argument", |name| name.trim_end_matches('?'))
    }
}

/// What a client sent, for an error message: its kind, and its text if that is short.
pub(super) fn got(value: &Value) -> String {
    match value {
        Value::Document(_) | Value::Array(_) | Value::Null => type_name(value).to_string(),
        scalar => {
            let text = json::to_string(scalar);
            if text.chars().count() > SHOWN_CHARACTERS_MAX {
                let start: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
                format!("{} {start}…", type_name(scalar))
            } else {
                format!("{} {text}", type_name(scalar))
            }
        }
    }
}

/// A field path of an option: names divided by dots, none of them empty.
pub(super) fn path_of(option: &str, path: String) -> Result<String, Error> {
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return Err(Error::new(
            ErrorCode::BadRequest,
            format!("option {option}: {path:?} is not a field path"),
        ));
    }
    Ok(path)
}
