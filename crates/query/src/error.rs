//! Refusals: what a message says of a filter, an update or a value.

use api::{Error, ErrorCode};

/// A filter, update or projection that cannot be understood or carried out.
pub fn bad_query(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BadQuery, message)
}

/// Most characters of a value inside a message.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// A value as it stands in messages: short.
pub fn show(value: &api::Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
