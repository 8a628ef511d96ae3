//! Extended JSON: the forms of values whose type JSON lacks.

use super::write::{write_string, write_value};
use crate::value::{Document, Value};

/// The names that open an extended form. Operators of a query (`$gt`, `$regex`, …) are not among
/// them.
const NAMES: [&str; 17] = [
    "$oid",
    "$date",
    "$numberLong",
    "$numberInt",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$timestamp",
    "$regularExpression",
    "$code",
    "$symbol",
    "$minKey",
    "$maxKey",
    "$undefined",
    "$dbPointer",
    "$scope",
];

/// The value that an object stands for: itself, unless its first field opens an extended form.
///
/// # Errors
/// What is wrong with the form, if it is malformed.
pub(super) fn interpret(document: Document) -> Result<Value, String> {
    let Some(name) = document.keys().next() else { return Ok(Value::Document(document)) };
    if !name.starts_with('$') || !NAMES.contains(&name.as_str()) {
        return Ok(Value::Document(document));
    }
    let name = name.clone();
    match (name.as_str(), document.len()) {
        ("$date", 1) => match document.get("$date") {
            // The relaxed form counts milliseconds with a plain number; libraries write either.
            Some(Value::Int64(milliseconds)) => {
                Ok(Value::DateTime(bson::DateTime::from_millis(*milliseconds)))
            }
            _ => from_library(&name, document),
        },
        ("$code", 2) => from_code_with_scope(&document),
        (_, 1) => from_library(&name, document),
        (_, count) => {
            Err(format!("{name} stands alone in its object, this one has {count} fields"))
        }
    }
}

/// Writes a value whose type JSON lacks. Not on the path of plain documents, so it may go through a
/// tree.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::ObjectId(id) => {
            out.extend_from_slice(b"{\"$oid\":");
            write_string(&id.to_hex(), out);
            out.push(b'}');
        }
        Value::DateTime(date) => write_date(*date, out),
        Value::JavaScriptCodeWithScope(code) => {
            out.extend_from_slice(b"{\"$code\":");
            write_string(&code.code, out);
            out.extend_from_slice(b",\"$scope\":");
            write_value(&Value::Document(code.scope.clone()), out);
            out.push(b'}');
        }
        other => {
            let tree = other.clone().into_relaxed_extjson();
            out.extend_from_slice(tree.to_string().as_bytes());
        }
    }
}

/// A date as text, outside the years 1970 to 9999 as a count of milliseconds.
fn write_date(date: bson::DateTime, out: &mut Vec<u8>) {
    const YEAR_10000_MS: i64 = 253_402_300_800_000;
    let milliseconds = date.timestamp_millis();
    out.extend_from_slice(b"{\"$date\":");
    match date.try_to_rfc3339_string() {
        Ok(text) if (0..YEAR_10000_MS).contains(&milliseconds) => write_string(&text, out),
        _ => {
            out.extend_from_slice(b"{\"$numberLong\":");
            write_string(&milliseconds.to_string(), out);
            out.push(b'}');
        }
    }
    out.push(b'}');
}

fn from_code_with_scope(document: &Document) -> Result<Value, String> {
    match (document.get("$code"), document.get("$scope")) {
        (Some(Value::String(code)), Some(Value::Document(scope))) => {
            Ok(Value::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
                code: code.clone(),
                scope: scope.clone(),
            }))
        }
        _ => Err("$code takes a string, and $scope beside it an object".to_string()),
    }
}

/// Leaves the reading of a form to the `bson` crate.
fn from_library(name: &str, document: Document) -> Result<Value, String> {
    let tree = document.into_iter().map(|(name, value)| (name, value.into_relaxed_extjson()));
    let tree: serde_json::Map<String, serde_json::Value> = tree.collect();
    match Value::try_from(tree) {
        Ok(Value::Document(_)) => Err(format!("malformed {name}")),
        Ok(value) => Ok(value),
        Err(error) => Err(format!("malformed {name}: {error}")),
    }
}
