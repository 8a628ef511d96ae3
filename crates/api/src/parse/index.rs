//! Indexes and changes of a schema, from their JSON form.

use super::arguments::{Arguments, got, path_of};
use super::options::OptionReader;
use super::schema::parse_schema;
use crate::error::{Error, ErrorCode};
use crate::limits::{INDEX_KEYS_MAX, NAME_BYTES_MAX};
use crate::request::Request;
use crate::schema::{IndexKey, IndexSpec, Schema};
use crate::value::{Document, Value};

/// Reads the fields of an index: `{"a":1,"b":-1}`.
///
/// # Errors
/// [`ErrorCode::BadRequest`] for no field, a path with an empty part or another direction than 1 and -1;
/// [`ErrorCode::TooLarge`] for too many fields.
pub fn parse_index_keys(keys: &Document) -> Result<Vec<IndexKey>, Error> {
    if keys.is_empty() {
        return Err(bad("create_index: there is no field; write {\"field\":1}"));
    }
    if keys.len() > INDEX_KEYS_MAX {
        return Err(Error::new(
            ErrorCode::TooLarge,
            format!(
                "create_index: {} fields, an index may have {INDEX_KEYS_MAX}; leave some out",
                keys.len()
            ),
        ));
    }
    let key = |(path, direction): (&String, &Value)| {
        let descending = match direction {
            Value::Int64(1) | Value::Int32(1) => false,
            Value::Int64(-1) | Value::Int32(-1) => true,
            Value::Double(number) if *number == 1.0 => false,
            Value::Double(number) if *number == -1.0 => true,
            other => {
                return Err(bad(format!(
                    "create_index: field {path:?}: the direction is 1 or -1, got {}",
                    got(other)
                )));
            }
        };
        Ok(IndexKey { path: path_of("create_index", path.clone())?, descending })
    };
    keys.iter().map(key).collect()
}

/// An index from its fields and the options `name`, `unique`, `sparse` and `where`.
pub(super) fn index_spec(keys: &Document, options: &mut OptionReader) -> Result<IndexSpec, Error> {
    let keys = parse_index_keys(keys)?;
    let name = match options.text("name")? {
        Some(name) => name,
        None => IndexSpec::default_name(&keys),
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(bad(format!(
            "create_index: the name of an index has 1 to {NAME_BYTES_MAX} bytes, this one has {}; \
             give another with option name",
            name.len()
        )));
    }
    Ok(IndexSpec {
        name,
        keys,
        unique: options.boolean("unique")?.unwrap_or(false),
        sparse: options.boolean("sparse")?.unwrap_or(false),
        filter: options.document("where")?,
    })
}

/// `["alter", col, {"add":{fields},"drop":[names]}]`.
pub(super) fn alter(
    arguments: &mut Arguments,
    options: &mut OptionReader,
) -> Result<Request, Error> {
    let collection = arguments.name()?;
    let (mut add, mut drop) = (Schema::default(), Vec::new());
    for (name, change) in &arguments.document()? {
        match (name.as_str(), change) {
            ("add", Value::Document(fields)) => add = parse_schema(fields)?,
            ("drop", Value::Array(names)) => {
                for name in names {
                    match name {
                        Value::String(name) => drop.push(name.clone()),
                        other => {
                            return Err(bad(format!(
                                "alter: drop lists names of fields, got {}",
                                got(other)
                            )));
                        }
                    }
                }
            }
            ("add", other) => {
                return Err(bad(format!("alter: add must be an object, got {}", got(other))));
            }
            ("drop", other) => {
                return Err(bad(format!("alter: drop must be a list, got {}", got(other))));
            }
            (other, _) => {
                return Err(bad(format!("alter: unknown change {other:?}; known: add, drop")));
            }
        }
    }
    if add.fields.is_empty() && drop.is_empty() {
        return Err(bad("alter: nothing to change; write {\"add\":{fields},\"drop\":[names]}"));
    }
    let check = options.boolean("check")?.unwrap_or(true);
    Ok(Request::Alter { collection, add, drop, check })
}

/// The option `hint` of a search: a name, or the fields of an index.
pub(super) fn hint(options: &mut OptionReader) -> Result<Option<Value>, Error> {
    match options.take("hint") {
        None => Ok(None),
        Some(hint @ (Value::String(_) | Value::Document(_))) => Ok(Some(hint)),
        Some(other) => {
            Err(options.wrong("hint", "the name of an index, or its fields as an object", &other))
        }
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BadRequest, message)
}
