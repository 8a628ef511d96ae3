//! Refusals: what a message says of a filter, an update or a value.

use api::order;
use api::{Error, ErrorCode, Value};

/// A filter, update or projection that cannot be understood or carried out.
pub fn bad_query(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BadQuery, message)
}

/// Most characters of a value inside a message.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// A value as it stands in messages: short.
pub fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// `false`, null and 0 are false; all other values are true.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Boolean(flag) => *flag,
        Value::Null | Value::Undefined => false,
        value => !order::equal(value, &Value::Int32(0)),
    }
}
