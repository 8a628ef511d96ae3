//! Keys of the engine's rows: byte order is value order (byte tables in
//! `docs/design/store-format.md`).
//!
//! A value's key is its bracket byte followed by a body that tells its own end: no key is the beginning
//! of another's, so keys can be put one behind the other, and inverted for a field that descends. No
//! bracket byte is `FF` or `00`: `key ++ FF` therefore stands behind every row whose key begins with
//! `key` and before every greater value.

mod decode;

pub(crate) use decode::{Decoded, decode};

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
    /// Collection number, index number → how far the index is built.
    pub(crate) const BUILD: u8 = 0x05;
    /// Collection number, index number → nothing: entries of a dropped index are still to be removed.
    pub(crate) const DROPPED: u8 = 0x06;
    /// Collection number, `_id` key → document.
    pub(crate) const DOCUMENT: u8 = 0x10;
    /// Collection number, index number, entry (, `_id` key) → nothing (or `_id` key).
    pub(crate) const INDEX: u8 = 0x11;
    /// Key of the key-value map → value.
    pub(crate) const PAIR: u8 = 0x20;
    /// First slot of a page → references and answers; slot of a long answer → the answer.
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

const STRING_END: [u8; 2] = [0x00, 0x01];
const STRING_ZERO: [u8; 2] = [0x00, 0xff];
const NAME_END: u8 = 0x00;
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

/// How far an index is built.
pub(crate) fn build(collection: u32, index: u16) -> Vec<u8> {
    index_of(family::BUILD, collection, index)
}

pub(crate) fn dropped(collection: u32, index: u16) -> Vec<u8> {
    index_of(family::DROPPED, collection, index)
}

/// The collection and index that a row of [`build`] or [`dropped`] names.
pub(crate) fn index_named(row: &[u8]) -> Option<(u32, u16)> {
    let collection = u32::from_be_bytes(row.get(1..5)?.try_into().ok()?);
    let index = u16::from_be_bytes(row.get(5..)?.try_into().ok()?);
    Some((collection, index))
}

/// The start of all documents of a collection.
pub(crate) fn documents(collection: u32) -> Vec<u8> {
    numbered(family::DOCUMENT, collection)
}

pub(crate) fn document(collection: u32, id_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 4 + id_key.len());
    key.push(family::DOCUMENT);
    key.extend_from_slice(&collection.to_be_bytes());
    key.extend_from_slice(id_key);
    key
}

/// The start of all entries of all indexes of a collection.
pub(crate) fn indexes(collection: u32) -> Vec<u8> {
    numbered(family::INDEX, collection)
}

/// The start of all entries of an index.
pub(crate) fn index(collection: u32, index: u16) -> Vec<u8> {
    index_of(family::INDEX, collection, index)
}

/// Bytes of [`index`].
pub(crate) const INDEX_PREFIX_BYTES: usize = 1 + 4 + 2;

/// Appends the start of all entries of an index.
pub(crate) fn append_index(key: &mut Vec<u8>, collection: u32, index: u16) {
    key.push(family::INDEX);
    key.extend_from_slice(&collection.to_be_bytes());
    key.extend_from_slice(&index.to_be_bytes());
}

fn index_of(family: u8, collection: u32, index: u16) -> Vec<u8> {
    let mut key = numbered(family, collection);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

pub(crate) fn pair(key: &str) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 1);
    row.push(family::PAIR);
    row.extend_from_slice(key.as_bytes());
    row
}

/// Stands behind the slot of a long answer.
const LONG_ANSWER: u8 = 1;

/// The page of references that begins with this slot.
pub(crate) fn reference(slot: u64) -> Vec<u8> {
    let mut key = vec![family::REFERENCE];
    key.extend_from_slice(&slot.to_be_bytes());
    key
}

/// The answer of a slot that is too long for its page.
pub(crate) fn long_answer(slot: u64) -> Vec<u8> {
    let mut key = reference(slot);
    key.push(LONG_ANSWER);
    key
}

/// The slot of a row of references, and whether it is that of a long answer.
pub(crate) fn reference_row(key: &[u8]) -> Option<(u64, bool)> {
    let (slot, rest) = key.get(1..)?.split_first_chunk()?;
    let is_long = match rest {
        [] => false,
        [LONG_ANSWER] => true,
        _ => return None,
    };
    Some((u64::from_be_bytes(*slot), is_long))
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

/// The least byte string that is greater than all that begin with `key`. No entry begins with `FF`.
pub(crate) fn behind(key: &[u8]) -> Vec<u8> {
    let kept = key.iter().rposition(|byte| *byte != AFTER).map_or(0, |last| last + 1);
    match key[..kept].split_last() {
        Some((last, start)) => [start, &[last + 1]].concat(),
        None => vec![AFTER],
    }
}

/// Turns the order of a key around. A value's key tells its end, so two different ones
/// differ within both, and the inverted bytes have the inverted order.
pub(crate) fn invert(key: &mut [u8]) {
    for byte in key {
        *byte = !*byte;
    }
}

/// Appends the key of a value so that byte order is the order of values, or the opposite one.
pub fn append_directed(key: &mut Vec<u8>, value: &Value, descending: bool) {
    let start = key.len();
    append(key, value);
    if descending {
        invert(&mut key[start..]);
        #[cfg(feature = "planted-bugs")]
        if crate::planted(crate::PlantedBug::DescendingKeyHalfInverted) {
            let last = key.len() - 1;
            key[last] = !key[last];
        }
    }
}

/// As [`length`], of a key that may be inverted.
pub fn length_directed(key: &[u8], descending: bool) -> Option<usize> {
    if !descending {
        return length(key);
    }
    let mut key = key.to_vec();
    invert(&mut key);
    length(&key)
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
        key.push(NAME_END);
        append_body(key, value);
    }
    key.push(LIST_END);
}

fn append_signed(key: &mut Vec<u8>, number: i64) {
    key.extend_from_slice(&((number as u64) ^ (1 << 63)).to_be_bytes());
}

/// `00` becomes `00 FF`, and `00 01` ends the string: with one byte less, a string's key would be the
/// beginning of another's, and inverted keys would not have the inverted order.
fn append_string(key: &mut Vec<u8>, string: &[u8]) {
    if !string.contains(&0) {
        key.extend_from_slice(string);
    } else {
        for byte in string {
            match byte {
                0 => key.extend_from_slice(&STRING_ZERO),
                byte => key.push(*byte),
            }
        }
    }
    key.extend_from_slice(&STRING_END);
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
        let name = field.get(1..)?.iter().position(|byte| *byte == NAME_END)? + 1;
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
        position += body.get(position..)?.iter().position(|byte| *byte == 0)? + 2;
        match *body.get(position - 2..position)?.first_chunk()? {
            STRING_END => return Some(position),
            STRING_ZERO => {}
            _ => return None,
        }
    }
}
