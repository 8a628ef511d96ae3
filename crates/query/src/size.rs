//! How large a value is, without writing it out: for the bounds on memory.

use api::{Document, Value};

/// About the bytes of a value: those of its BSON form.
pub fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) | Value::Symbol(text) | Value::JavaScriptCode(text) => text.len() + 5,
        Value::Binary(binary) => binary.bytes.len() + 5,
        Value::Document(document) => document_bytes(document),
        Value::Array(elements) => {
            5 + elements.iter().map(|element| 8 + value_bytes(element)).sum::<usize>()
        }
        Value::RegularExpression(regex) => regex.pattern.as_str().len() + 8,
        Value::JavaScriptCodeWithScope(code) => code.code.len() + document_bytes(&code.scope) + 9,
        Value::Decimal128(_) => 16,
        Value::Boolean(_) | Value::Null | Value::Undefined | Value::MinKey | Value::MaxKey => 1,
        _ => 8,
    }
}

/// About the bytes of a document: those of its BSON form.
pub fn document_bytes(document: &Document) -> usize {
    5 + document.iter().map(|(name, value)| name.len() + 2 + value_bytes(value)).sum::<usize>()
}
