//! Keys of the engine's rows: byte order is value order (byte tables in
//! `docs/design/store-format.md`).
//!
//! A value's key is its bracket byte followed by a body that tells its own end, so that keys can be
//! put one behind the other. No bracket byte is `FF`: `key ++ FF` therefore stands behind every row
//! whose key begins with `key` and before every greater value.

use api::Value;
use api::order::{Bracket, Number, bracket, pointer_bytes, text};

/// Row families: the first byte of every key.
pub(crate) mod family {
    /// Format version, applied slot, counters; the last group fact; the mark of an import under way.
    pub(crate) const META: u8 = 0x01;
    /// Collection number → name, schema, indexes.
    pub(crate) const CATALOG: u8 = 0x02;
    /// Collection number → number of documents.
    pub(crate) const COUNT: u8 = 0x03;
    /// Collection number → nothing: rows of a destroyed collection are still to be removed.
    pub(crate) const DESTROYED: u8 = 0x04;
    /// Collection number, `_id` key → document.
    pub(crate) const DOCUMENT: u8 = 0x10;
    /// Collection number, index number, value key (, `_id` key) → nothing (or `_id` key).
    pub(crate) const INDEX: u8 = 0x11;
    /// Key of the key-value map → value.
    pub(crate) const PAIR: u8 = 0x20;
    /// Slot → reference and answer.
    pub(crate) const REFERENCE: u8 = 0x30;
    /// Client → mark below which its references are forgotten.
    pub(crate) const CLIENT: u8 = 0x31;
    /// Slot, position → a change that the entry of the slot does not tell itself.
    pub(crate) const CHANGE: u8 = 0x40;
    /// How much there is of changes.
    pub(crate) const CHANGES: u8 = 0x41;
}

/// Behind every byte string that begins with the same key.
pub(crate) const AFTER: u8 = 0xff;

const STRING_END: u8 = 0x00;
const STRING_ESCAPE: u8 = 0xff;
const LIST_END: u8 = 0x00;
const EXACT: u8 = 0x00;
const DIGITS: u8 = 0x01;

pub(crate) fn meta() -> Vec<u8> {
    vec![family::META, 0x01]
}

/// The last group fact.
pub(crate) fn group() -> Vec<u8> {
    vec![family::META, 0x02]
}

/// There from the beginning of an import to its end.
pub(crate) fn import() -> Vec<u8> {
    vec![family::META, 0x03]
}

pub(crate) fn catalog(collection: u32) -> Vec<u8> {
    numbered(family::CATALOG, collection)
}

pub(crate) fn count(collection: u32) -> Vec<u8> {
    numbered(family::COUNT, collection)
}

pub(crate) fn destroyed(collection: u32) -> Vec<u8> {
    numbered(family::DESTROYED, collection)
}

/// The start of all documents of a collection.
pub(crate) fn documents(collection: u32) -> Vec<u8> {
    numbered(family::DOCUMENT, collection)
}

pub(crate) fn document(collection: u32, id_key: &[u8]) -> Vec<u8> {
    let mut key = documents(collection);
    key.extend_from_slice(id_key);
    key
}

/// The start of all entries of all indexes of a collection.
pub(crate) fn indexes(collection: u32) -> Vec<u8> {
    numbered(family::INDEX, collection)
}

/// The start of all entries of an index.
pub(crate) fn index(collection: u32, index: u16) -> Vec<u8> {
    let mut key = indexes(collection);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

pub(crate) fn pair(key: &str) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 1);
    row.push(family::PAIR);
    row.extend_from_slice(key.as_bytes());
    row
}

pub(crate) fn reference(slot: u64) -> Vec<u8> {
    let mut key = vec![family::REFERENCE];
    key.extend_from_slice(&slot.to_be_bytes());
    key
}

pub(crate) fn client(client: &str) -> Vec<u8> {
    let mut key = vec![family::CLIENT];
    key.extend_from_slice(client.as_bytes());
    key
}

pub(crate) fn change(slot: u64, position: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.push(family::CHANGE);
    key.extend_from_slice(&slot.to_be_bytes());
    key.extend_from_slice(&position.to_be_bytes());
    key
}

/// How much there is of changes.
pub(crate) fn change_rows() -> Vec<u8> {
    vec![family::CHANGES]
}

/// The bounds of a whole family.
pub(crate) fn family_range(family: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![family], vec![family + 1])
}

/// The bounds of all keys that begin with `prefix` followed by a value's key.
pub(crate) fn prefix_range(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (prefix.to_vec(), after(prefix))
}

/// `key ++ FF`.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    let mut bound = key.to_vec();
    bound.push(AFTER);
    bound
}

fn numbered(family: u8, collection: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    key.push(family);
    key.extend_from_slice(&collection.to_be_bytes());
    key
}

/// The key of a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    append(&mut key, value);
    key
}

/// Appends the key of a value.
pub fn append(key: &mut Vec<u8>, value: &Value) {
    key.push(bracket(value) as u8);
    append_body(key, value);
}

fn append_body(key: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null | Value::Undefined | Value::MinKey | Value::MaxKey => {}
        Value::Boolean(flag) => key.push(u8::from(*flag)),
        Value::ObjectId(id) => key.extend_from_slice(&id.bytes()),
        Value::DateTime(date) => append_signed(key, date.timestamp_millis()),
        Value::Timestamp(timestamp) => {
            key.extend_from_slice(&timestamp.time.to_be_bytes());
            key.extend_from_slice(&timestamp.increment.to_be_bytes());
        }
        Value::Binary(binary) => {
            // BSON keeps lengths in 31 bits.
            key.extend_from_slice(&(binary.bytes.len() as u32).to_be_bytes());
            key.push(binary.subtype.into());
            key.extend_from_slice(&binary.bytes);
        }
        Value::RegularExpression(regex) => {
            append_string(key, regex.pattern.as_str().as_bytes());
            append_string(key, regex.options.as_str().as_bytes());
        }
        Value::JavaScriptCode(code) => append_string(key, code.as_bytes()),
        Value::JavaScriptCodeWithScope(code) => {
            append_string(key, code.code.as_bytes());
            append_document(key, &code.scope);
        }
        Value::DbPointer(_) => append_string(key, &pointer_bytes(value)),
        Value::Document(document) => append_document(key, document),
        Value::Array(elements) => {
            for element in elements {
                append(key, element);
            }
            key.push(LIST_END);
        }
        Value::String(_) | Value::Symbol(_) => {
            append_string(key, text(value).unwrap_or_default().as_bytes());
        }
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_) => {
            if let Some(number) = Number::of(value) {
                append_number(key, number);
            }
        }
    }
}

/// Type, name, rest of the value for each field, as documents compare. BSON has no zero byte in
/// names, so that they need no escape; with one, a rest that begins with `FF` could not be told.
fn append_document(key: &mut Vec<u8>, document: &api::Document) {
    for (name, value) in document {
        key.push(bracket(value) as u8);
        key.extend_from_slice(name.as_bytes());
        key.push(STRING_END);
        append_body(key, value);
    }
    key.push(LIST_END);
}

fn append_signed(key: &mut Vec<u8>, number: i64) {
    key.extend_from_slice(&((number as u64) ^ (1 << 63)).to_be_bytes());
}

/// `00` becomes `00 FF`; a `00` that no `FF` follows ends the string.
fn append_string(key: &mut Vec<u8>, string: &[u8]) {
    if !string.contains(&STRING_END) {
        key.extend_from_slice(string);
    } else {
        for byte in string {
            key.push(*byte);
            if *byte == STRING_END {
                key.push(STRING_ESCAPE);
            }
        }
    }
    key.push(STRING_END);
}

/// The greatest double not above the number, then its digits if it is not that double.
fn append_number(key: &mut Vec<u8>, number: Number) {
    let floor = number.floor();
    let bits = floor.to_bits();
    let ordered = if floor.is_nan() {
        0
    } else if bits >> 63 == 1 {
        !bits
    } else {
        bits | (1 << 63)
    };
    key.extend_from_slice(&ordered.to_be_bytes());
    let Some(digits) = number.digits() else {
        key.push(EXACT);
        return;
    };
    key.push(DIGITS);
    let mask = if digits.negative { 0xff } else { 0x00 };
    let exponent = (digits.exponent as u16) ^ (1 << 15);
    key.extend(exponent.to_be_bytes().iter().map(|byte| byte ^ mask));
    key.extend(digits.aligned.to_be_bytes().iter().map(|byte| byte ^ mask));
}

/// The length of the value key at the start of `key`, or `None` if there is none.
pub fn length(key: &[u8]) -> Option<usize> {
    let bracket = *key.first()?;
    Some(1 + body_length(bracket, key.get(1..)?)?)
}

fn body_length(bracket: u8, body: &[u8]) -> Option<usize> {
    const NUMBER: u8 = Bracket::Number as u8;
    const STRING: u8 = Bracket::String as u8;
    const DOCUMENT: u8 = Bracket::Document as u8;
    const ARRAY: u8 = Bracket::Array as u8;
    const BINARY: u8 = Bracket::Binary as u8;
    const OBJECT_ID: u8 = Bracket::ObjectId as u8;
    const BOOLEAN: u8 = Bracket::Boolean as u8;
    const DATE_TIME: u8 = Bracket::DateTime as u8;
    const TIMESTAMP: u8 = Bracket::Timestamp as u8;
    const REGEX: u8 = Bracket::Regex as u8;
    const DB_POINTER: u8 = Bracket::DbPointer as u8;
    const CODE: u8 = Bracket::Code as u8;
    const CODE_WITH_SCOPE: u8 = Bracket::CodeWithScope as u8;
    let length = match bracket {
        NUMBER if *body.get(8)? == EXACT => 9,
        NUMBER => 27,
        STRING | CODE | DB_POINTER => string_length(body)?,
        DOCUMENT => document_length(body)?,
        ARRAY => list_length(body, length)?,
        BINARY => 5 + u32::from_be_bytes(body.get(..4)?.try_into().ok()?) as usize,
        OBJECT_ID => 12,
        BOOLEAN => 1,
        DATE_TIME | TIMESTAMP => 8,
        REGEX => {
            let pattern = string_length(body)?;
            pattern + string_length(&body[pattern..])?
        }
        CODE_WITH_SCOPE => {
            let code = string_length(body)?;
            code + document_length(&body[code..])?
        }
        _ => 0,
    };
    (length <= body.len()).then_some(length)
}

fn document_length(body: &[u8]) -> Option<usize> {
    list_length(body, |field| {
        let name = field.get(1..)?.iter().position(|byte| *byte == STRING_END)? + 1;
        Some(1 + name + body_length(field[0], &field[1 + name..])?)
    })
}

fn list_length(body: &[u8], item_length: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    let mut position = 0;
    while *body.get(position)? != LIST_END {
        position += item_length(&body[position..])?;
    }
    Some(position + 1)
}

fn string_length(body: &[u8]) -> Option<usize> {
    let mut position = 0;
    loop {
        position += body.get(position..)?.iter().position(|byte| *byte == STRING_END)? + 1;
        if body.get(position) != Some(&STRING_ESCAPE) {
            return Some(position);
        }
        position += 1;
    }
}
