//! What the keys of an entry lose: with it, an entry gives the values of its fields back as they stand in the
//! document, and a search that needs no others reads no document.
//!
//! A key has the order of a value, not its type; it does not tell nothing from null, nor which of two fields
//! comes first. The *form* of an entry does, in its row's value (byte table in
//! `docs/design/store-format.md`). It is empty where nothing was lost: all fields are there, in the order of
//! the index, and whole numbers have 64 bits. Of values that would take more than a byte to tell (documents,
//! decimals, rare types) it says that the document must be read, and of documents with lists as a whole.

use crate::index::Index;
use crate::keys::{self, Decoded};
use api::path::Path;
use api::value::ID_FIELD;
use api::{Document, Value};

/// What the key says, a whole number having 64 bits.
const PLAIN: u8 = 0x00;
const INT32: u8 = 0x01;
const DOUBLE: u8 = 0x02;
const NEGATIVE_ZERO: u8 = 0x03;
/// Nothing is there; added is how many documents on the way are.
const ABSENT: u8 = 0x80;
/// Most documents on the way that can be told.
const ABSENT_DEPTH_MAX: usize = 0x3f;
/// The document must be read for it.
const UNTOLD: u8 = 0xff;

/// Which fields of an entry a search needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    /// By the fields of the index.
    pub(crate) fields: Vec<bool>,
    pub(crate) id: bool,
}

/// The form of the entry that a document without lists has.
pub(crate) fn form(index: &Index, document: &Document) -> Vec<u8> {
    let id_tag = document.get(ID_FIELD).map_or(UNTOLD, tag);
    if let [path] = index.paths()
        && path.is_top_level()
    {
        // What is made below of one name, without the way to it.
        let tag = document.get(path.first()).map_or(ABSENT, tag);
        return if (tag, id_tag) == (PLAIN, PLAIN) { Vec::new() } else { vec![tag, id_tag] };
    }
    if index.paths().iter().any(|path| path.first() == ID_FIELD && !path.is_top_level()) {
        return vec![UNTOLD];
    }
    let ways: Vec<Way<'_>> = index.paths().iter().map(|path| way(document, path)).collect();
    let mut form: Vec<u8> = ways.iter().map(|way| tag_at(way)).collect();
    form.push(id_tag);
    let mut order: Vec<u8> = (0..).take(ways.len()).collect();
    order.sort_by(|one, other| {
        ways[usize::from(*one)].places.cmp(&ways[usize::from(*other)].places)
    });
    if !order.is_sorted() {
        form.extend(order);
    } else if form.iter().all(|tag| *tag == PLAIN) {
        form.clear();
    }
    form
}

/// The form of an entry of a document with lists: such documents are always read.
pub(crate) fn form_of_lists() -> Vec<u8> {
    vec![UNTOLD]
}

/// The way that a path goes in a document.
struct Way<'d> {
    /// The places of the fields on it, as far as they are there and are documents.
    places: Vec<usize>,
    value: Option<&'d Value>,
}

fn way<'d>(document: &'d Document, path: &Path) -> Way<'d> {
    let (mut places, mut document) = (Vec::new(), document);
    let mut parts = path.parts().iter().peekable();
    while let Some(part) = parts.next() {
        let found = document.iter().enumerate().find(|(_, (name, _))| *name == part);
        match found {
            Some((place, (_, value))) if parts.peek().is_none() => {
                places.push(place);
                return Way { places, value: Some(value) };
            }
            Some((place, (_, Value::Document(inner)))) => {
                places.push(place);
                document = inner;
            }
            _ => break,
        }
    }
    Way { places, value: None }
}

fn tag_at(way: &Way<'_>) -> u8 {
    match way.value {
        Some(value) => tag(value),
        None if way.places.len() <= ABSENT_DEPTH_MAX => ABSENT + way.places.len() as u8,
        None => UNTOLD,
    }
}

fn tag(value: &Value) -> u8 {
    match value {
        Value::Int32(_) => INT32,
        Value::Double(number) if number.to_bits() == (-0.0f64).to_bits() => NEGATIVE_ZERO,
        Value::Double(number) if number.is_nan() && number.to_bits() != f64::NAN.to_bits() => {
            UNTOLD
        }
        Value::Double(_) => DOUBLE,
        Value::Int64(_)
        | Value::String(_)
        | Value::Null
        | Value::Undefined
        | Value::Boolean(_)
        | Value::ObjectId(_)
        | Value::DateTime(_)
        | Value::Timestamp(_)
        | Value::Binary(_)
        | Value::MinKey
        | Value::MaxKey => PLAIN,
        _ => UNTOLD,
    }
}

/// The part of a document that a search needs; `None` if the document must be read for it.
///
/// `entry` are the keys of the fields, which end at `ends`.
pub(crate) fn restore(
    index: &Index,
    cover: &Cover,
    entry: &[u8],
    ends: &[usize],
    id_key: &[u8],
    form: &[u8],
) -> Option<Document> {
    let count = ends.len();
    let tags = |field: usize| if form.is_empty() { Some(PLAIN) } else { form.get(field).copied() };
    let mut document = Document::new();
    if cover.id {
        document.insert(ID_FIELD, value(id_key, tags(count)?)?);
    }
    for place in 0..count {
        let field = form.get(count + 1 + place).map_or(place, |field| usize::from(*field));
        let (needed, path) = (cover.fields.get(field)?, &index.paths()[field]);
        if !needed || path.as_str() == ID_FIELD {
            continue;
        }
        let tag = tags(field)?;
        if (ABSENT..UNTOLD).contains(&tag) {
            let parts = path.parts().get(..usize::from(tag - ABSENT))?;
            parents(&mut document, parts)?;
            continue;
        }
        let start = if field == 0 { 0 } else { ends[field - 1] };
        let mut key = entry.get(start..ends[field])?.to_vec();
        if index.spec.keys[field].descending {
            keys::invert(&mut key);
        }
        let (last, parts) = path.parts().split_last()?;
        parents(&mut document, parts)?.insert(last.clone(), value(&key, tag)?);
    }
    Some(document)
}

/// The document at the end of a way, which is made if it is not there.
fn parents<'d>(document: &'d mut Document, parts: &[String]) -> Option<&'d mut Document> {
    let mut document = document;
    for part in parts {
        if !document.contains_key(part) {
            document.insert(part.clone(), Document::new());
        }
        document = document.get_document_mut(part).ok()?;
    }
    Some(document)
}

/// The value of a key, as its tag says it was.
fn value(key: &[u8], tag: u8) -> Option<Value> {
    match (keys::decode(key)?, tag) {
        (Decoded::Value(value), PLAIN) => Some(value),
        (Decoded::Number(number), PLAIN) => number.whole().map(Value::Int64),
        (Decoded::Number(number), INT32) => Some(Value::Int32(number.whole()?.try_into().ok()?)),
        (Decoded::Number(number), DOUBLE) => number.double().map(Value::Double),
        (Decoded::Number(_), NEGATIVE_ZERO) => Some(Value::Double(-0.0)),
        _ => None,
    }
}
