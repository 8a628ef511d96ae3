//! The JSON form of values and replies.
//!
//! Text becomes a [`Value`] in one pass, without a tree in between, and a value becomes text straight
//! into the bytes of a frame. Types that JSON lacks travel as MongoDB's relaxed extended JSON
//! (`{"$date":…}`, `{"$oid":…}`, `{"$binary":…}`, …; see `docs/design/protocols.md`).
//!
//! - A whole number is an [`Value::Int64`]; one beyond 64 bits, or with a point or an exponent, is a
//!   [`Value::Double`].
//! - A field named twice, nesting beyond [`NESTING_MAX`] and text after the value are refused.
//! - Reading back what was written gives the same value, except that JSON has one kind of whole
//!   number: an [`Value::Int32`] comes back as the same number of 64 bits.

mod extended;
mod read;
mod write;

pub use read::{parse_document, parse_reply, parse_value};
pub use write::{write_reply, write_string, write_value};

use crate::limits::NESTING_MAX;
use crate::value::Value;

/// Most values, those within lists and documents included, of one JSON text. A value takes far more
/// room in memory than the two bytes of `0,`; a document of the largest size holds fewer.
pub const VALUES_MAX: usize = 2_000_000;

/// The JSON text of a value.
pub fn to_string(value: &Value) -> String {
    let mut text = Vec::with_capacity(64);
    write_value(value, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// The length of the JSON text of a value, in bytes.
pub fn length(value: &Value, scratch: &mut Vec<u8>) -> usize {
    scratch.clear();
    write_value(value, scratch);
    scratch.len()
}

/// At least the length of the JSON text of a value, found without writing it.
pub fn length_bound(value: &Value) -> usize {
    /// No scalar but text and bytes takes more, with the object that extended JSON puts around it.
    const SCALAR_BYTES: usize = 128;
    /// The longest way of writing a byte of text.
    const ESCAPED_BYTES: usize = 6;
    match value {
        Value::String(text) | Value::Symbol(text) | Value::JavaScriptCode(text) => {
            SCALAR_BYTES + text.len() * ESCAPED_BYTES
        }
        Value::Array(items) => 2 + items.iter().map(|item| length_bound(item) + 1).sum::<usize>(),
        Value::Document(document) => {
            let field = |(name, value): (&String, &Value)| {
                name.len() * ESCAPED_BYTES + 4 + length_bound(value)
            };
            2 + document.iter().map(field).sum::<usize>()
        }
        Value::Int32(_) | Value::Int64(_) | Value::Boolean(_) | Value::Null => 24,
        Value::Binary(binary) => SCALAR_BYTES + binary.bytes.len() * 2,
        Value::RegularExpression(regex) => {
            SCALAR_BYTES
                + (regex.pattern.to_string().len() + regex.options.to_string().len())
                    * ESCAPED_BYTES
        }
        Value::JavaScriptCodeWithScope(code) => {
            SCALAR_BYTES
                + code.code.len() * ESCAPED_BYTES
                + length_bound(&Value::Document(code.scope.clone()))
        }
        // A pointer's parts cannot be looked at; none is written by this program.
        Value::DbPointer(_) => 1 << 40,
        _ => SCALAR_BYTES,
    }
}

/// How deeply documents and lists are nested in `value`: 0 for a scalar, 1 for a flat document.
pub fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Document(document) => 1 + document.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

/// Levels of a request or a reply: its own list, a list of documents, two for the lists of a batch (or the
/// objects of a page), and one more, so that a document that is too deep is named by its argument rather than
/// by a position in the text.
pub(crate) const NESTING_OF_REQUEST: usize = NESTING_MAX + 5;

pub(crate) use read::{parse_nested, type_name};

// serde_json stops at 128 levels of its own accord, with a less helpful error.
const _: () = assert!(NESTING_OF_REQUEST < 127);
