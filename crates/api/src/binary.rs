//! The BSON bytes of documents.
//!
//! The bytes are those of the `bson` crate, and what it refuses is refused. It makes them by many small pieces of
//! a growing buffer, and reads them through a type for each step; every command and every row is written and
//! read, so the usual kinds of values are written and read here, in one pass over bytes of a known length. What
//! is rare, or looks wrong, goes to the library, which has the last word.

use crate::limits::NESTING_MAX;
use crate::value::{Document, Value};
use bson::error::Error;
use bson::spec::ElementType;
use bson::{RawBsonRef, RawDocument};

/// Levels that are read here, more than a request may have. What nests deeper is damage or comes from elsewhere, and
/// must not exhaust the stack.
const LEVELS_MAX: usize = 2 * NESTING_MAX;

/// The length of a document and the zero byte at its end.
const DOCUMENT_BYTES: usize = 4 + 1;

const DOUBLE: u8 = ElementType::Double as u8;
const STRING: u8 = ElementType::String as u8;
const DOCUMENT: u8 = ElementType::EmbeddedDocument as u8;
const ARRAY: u8 = ElementType::Array as u8;
const OBJECT_ID: u8 = ElementType::ObjectId as u8;
const BOOLEAN: u8 = ElementType::Boolean as u8;
const DATE_TIME: u8 = ElementType::DateTime as u8;
const NULL: u8 = ElementType::Null as u8;
const INT32: u8 = ElementType::Int32 as u8;
const INT64: u8 = ElementType::Int64 as u8;

/// The bytes of a document.
///
/// # Errors
/// If a name holds a zero byte.
pub fn to_bytes(document: &Document) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    append_document(document, &mut bytes)?;
    Ok(bytes)
}

/// Appends the bytes of a document.
///
/// # Errors
/// As [`to_bytes`]; `out` is then as it was before.
pub fn append_document(document: &Document, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.reserve_exact(document_bytes(document).unwrap_or_default());
    if write_document(document, out).is_none() {
        out.truncate(start);
        out.extend_from_slice(&document.to_vec()?);
    }
    Ok(())
}

/// How many bytes a document takes whose names hold no zero byte.
///
/// # Errors
/// As [`to_bytes`].
pub fn length(document: &Document) -> Result<usize, Error> {
    match document_bytes(document) {
        Some(length) => Ok(length),
        None => Ok(document.to_vec()?.len()),
    }
}

/// The document that some bytes are, all of them.
///
/// # Errors
/// If they are none.
pub fn parse_document(bytes: &[u8]) -> Result<Document, Error> {
    match read_document(bytes, LEVELS_MAX) {
        Some(document) => Ok(document),
        None => {
            let raw = RawDocument::from_bytes(bytes)?;
            check_levels(raw)?;
            Ok(Document::try_from(raw)?)
        }
    }
}

/// Refuses what nests so deeply that the library, which reads each level within the one around it, would exhaust the
/// stack. Bytes that are wrong otherwise are left to it.
///
/// # Errors
/// If it nests deeper than twice what a request may.
pub fn check_levels(raw: &RawDocument) -> Result<(), Error> {
    if is_within(raw, LEVELS_MAX) {
        return Ok(());
    }
    Err(serde::de::Error::custom(format_args!("it nests deeper than {LEVELS_MAX} levels")))
}

fn is_within(raw: &RawDocument, levels_left: usize) -> bool {
    let Some(levels_left) = levels_left.checked_sub(1) else { return false };
    raw.iter().flatten().all(|(_, value)| match value {
        RawBsonRef::Document(inner) => is_within(inner, levels_left),
        RawBsonRef::Array(inner) => RawDocument::from_bytes(inner.as_bytes())
            .map_or(true, |inner| is_within(inner, levels_left)),
        RawBsonRef::JavaScriptCodeWithScope(code) => is_within(code.scope, levels_left),
        _ => true,
    })
}

/// The fields of a document's bytes: each with its name, and the bytes of its kind, name and value. None where
/// a kind is rare, or bytes look wrong.
pub fn fields(bytes: &[u8]) -> Fields<'_> {
    let content = content(bytes);
    Fields { is_whole: content.is_some(), rest: content.unwrap_or_default() }
}

/// An iterator over the fields of a document's bytes.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    is_whole: bool,
}

/// A field of a document's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Kind, name and value.
    pub bytes: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if !std::mem::replace(&mut self.is_whole, true) {
            return Some(None);
        }
        let (kind, after) = self.rest.split_first()?;
        let field = (|| {
            let end = zero(after)?;
            let length = value_length(*kind, &after[end + 1..])?;
            let (bytes, rest) = self.rest.split_at_checked(1 + end + 1 + length)?;
            Some((Field { name: &after[..end], bytes }, rest))
        })();
        match field {
            Some((field, rest)) => {
                self.rest = rest;
                Some(Some(field))
            }
            None => {
                self.rest = &[];
                Some(None)
            }
        }
    }
}

/// How many bytes a value takes, if it is of a usual kind.
fn value_length(kind: u8, bytes: &[u8]) -> Option<usize> {
    Some(match kind {
        NULL => 0,
        BOOLEAN => 1,
        INT32 => 4,
        INT64 | DOUBLE | DATE_TIME => 8,
        OBJECT_ID => 12,
        STRING => 4 + written_length(bytes)?,
        DOCUMENT | ARRAY => written_length(bytes)?,
        _ => return None,
    })
}

fn written_length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok()
}

/// None if a value is of a rare kind.
fn document_bytes(document: &Document) -> Option<usize> {
    let mut bytes = DOCUMENT_BYTES;
    for (name, value) in document {
        bytes += 1 + name.len() + 1 + value_bytes(value)?;
    }
    Some(bytes)
}

fn value_bytes(value: &Value) -> Option<usize> {
    Some(match value {
        Value::String(text) => 4 + text.len() + 1,
        Value::Int64(_) | Value::Double(_) | Value::DateTime(_) => 8,
        Value::Int32(_) => 4,
        Value::Boolean(_) => 1,
        Value::Null => 0,
        Value::ObjectId(_) => 12,
        Value::Document(document) => document_bytes(document)?,
        Value::Array(elements) => {
            let mut bytes = DOCUMENT_BYTES;
            for (place, element) in elements.iter().enumerate() {
                let digits = place.checked_ilog10().unwrap_or(0) as usize + 1;
                bytes += 1 + digits + 1 + value_bytes(element)?;
            }
            bytes
        }
        _ => return None,
    })
}

/// None: the library must look at it.
fn write_document(document: &Document, out: &mut Vec<u8>) -> Option<()> {
    let start = open(out);
    for (name, value) in document {
        write_field(name.as_bytes(), value, out)?;
    }
    close(start, out)
}

fn open(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len() - 4
}

fn close(start: usize, out: &mut Vec<u8>) -> Option<()> {
    out.push(0);
    let length = i32::try_from(out.len() - start).ok()?;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Some(())
}

fn write_field(name: &[u8], value: &Value, out: &mut Vec<u8>) -> Option<()> {
    if zero(name).is_some() {
        return None;
    }
    let head = |kind: u8, out: &mut Vec<u8>| {
        out.push(kind);
        out.extend_from_slice(name);
        out.push(0);
    };
    match value {
        Value::String(text) => {
            head(STRING, out);
            out.extend_from_slice(&i32::try_from(text.len() + 1).ok()?.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        Value::Int64(number) => {
            head(INT64, out);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Int32(number) => {
            head(INT32, out);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Double(number) => {
            head(DOUBLE, out);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Boolean(flag) => {
            head(BOOLEAN, out);
            out.push(u8::from(*flag));
        }
        Value::Null => head(NULL, out),
        Value::DateTime(date) => {
            head(DATE_TIME, out);
            out.extend_from_slice(&date.timestamp_millis().to_le_bytes());
        }
        Value::ObjectId(id) => {
            head(OBJECT_ID, out);
            out.extend_from_slice(&id.bytes());
        }
        Value::Document(inner) => {
            head(DOCUMENT, out);
            write_document(inner, out)?;
        }
        Value::Array(elements) => {
            head(ARRAY, out);
            let start = open(out);
            for (place, element) in elements.iter().enumerate() {
                match u8::try_from(place) {
                    Ok(digit @ 0..10) => write_field(&[b'0' + digit], element, out)?,
                    _ => write_field(place.to_string().as_bytes(), element, out)?,
                }
            }
            close(start, out)?;
        }
        _ => return None,
    }
    Some(())
}

/// What is between the length of a document and the zero byte at its end.
fn content(bytes: &[u8]) -> Option<&[u8]> {
    let is_whole = bytes.len() >= DOCUMENT_BYTES
        && written_length(bytes) == Some(bytes.len())
        && bytes.last() == Some(&0);
    is_whole.then(|| &bytes[4..bytes.len() - 1])
}

/// None: the library must look at it.
fn read_document(bytes: &[u8], levels_left: usize) -> Option<Document> {
    let levels_left = levels_left.checked_sub(1)?;
    let mut rest = content(bytes)?;
    let mut document = Document::new();
    while !rest.is_empty() {
        let (name, value, behind) = read_field(rest, levels_left)?;
        document.insert(name, value);
        rest = behind;
    }
    Some(document)
}

fn read_field(bytes: &[u8], levels_left: usize) -> Option<(&str, Value, &[u8])> {
    let (kind, after) = bytes.split_first()?;
    let end = zero(after)?;
    let name = std::str::from_utf8(&after[..end]).ok()?;
    let after = &after[end + 1..];
    let (value, rest) = after.split_at_checked(value_length(*kind, after)?)?;
    Some((name, read_value(*kind, value, levels_left)?, rest))
}

fn read_value(kind: u8, bytes: &[u8], levels_left: usize) -> Option<Value> {
    Some(match kind {
        STRING => {
            let (text, end) = bytes.get(4..)?.split_at_checked(bytes.len().checked_sub(5)?)?;
            if end != [0] {
                return None;
            }
            Value::String(std::str::from_utf8(text).ok()?.to_owned())
        }
        INT64 => Value::Int64(i64::from_le_bytes(*bytes.first_chunk()?)),
        INT32 => Value::Int32(i32::from_le_bytes(*bytes.first_chunk()?)),
        DOUBLE => Value::Double(f64::from_le_bytes(*bytes.first_chunk()?)),
        BOOLEAN => match bytes {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return None,
        },
        NULL => Value::Null,
        DATE_TIME => {
            let milliseconds = i64::from_le_bytes(*bytes.first_chunk()?);
            Value::DateTime(bson::DateTime::from_millis(milliseconds))
        }
        OBJECT_ID => Value::ObjectId(bson::oid::ObjectId::from_bytes(*bytes.first_chunk()?)),
        DOCUMENT => Value::Document(read_document(bytes, levels_left)?),
        ARRAY => {
            let levels_left = levels_left.checked_sub(1)?;
            let mut rest = content(bytes)?;
            let mut elements = Vec::new();
            while !rest.is_empty() {
                let (_, value, behind) = read_field(rest, levels_left)?;
                elements.push(value);
                rest = behind;
            }
            Value::Array(elements)
        }
        _ => return None,
    })
}

/// Where the first zero byte is.
fn zero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            any::<i32>().prop_map(Value::Int32),
            any::<i64>().prop_map(Value::Int64),
            any::<f64>().prop_map(Value::Double),
            any::<bool>().prop_map(Value::Boolean),
            Just(Value::Null),
            Just(Value::Undefined),
            Just(Value::MaxKey),
            ".{0,9}".prop_map(Value::String),
            ".{0,3}".prop_map(Value::Symbol),
            any::<i64>().prop_map(|at| Value::DateTime(bson::DateTime::from_millis(at))),
            any::<[u8; 12]>().prop_map(|id| Value::ObjectId(bson::oid::ObjectId::from_bytes(id))),
        ];
        scalar.prop_recursive(3, 24, 12, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..13).prop_map(Value::Array),
                prop::collection::vec((".{0,4}", inner), 0..9)
                    .prop_map(|fields| Value::Document(fields.into_iter().collect())),
            ]
        })
    }

    fn documents() -> impl Strategy<Value = Document> {
        prop::collection::vec((".{0,4}", values()), 0..9)
            .prop_map(|fields| fields.into_iter().collect())
    }

    /// NaN differs from itself; its bytes do not.
    fn assert_same(ours: Option<Document>, theirs: Option<Document>) {
        let bytes = |read: Option<Document>| read.map(|document| document.to_vec().expect("BSON"));
        assert_eq!(bytes(ours), bytes(theirs));
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_the_library(document in documents(), before in any::<bool>()) {
            let mut out = if before { vec![7] } else { Vec::new() };
            let start = out.len();
            match (append_document(&document, &mut out), document.to_vec()) {
                (Ok(()), Ok(bytes)) => {
                    prop_assert_eq!(&out[start..], &bytes[..]);
                    prop_assert_eq!(length(&document).ok(), Some(bytes.len()));
                    assert_same(parse_document(&bytes).ok(), Some(document));
                    for field in fields(&bytes).flatten() {
                        prop_assert!(!field.name.contains(&0));
                    }
                }
                (Err(_), Err(_)) => prop_assert_eq!(out.len(), start),
                (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours, theirs),
            }
        }

        /// What damage makes of a document is read, or refused, as the library does.
        #[test]
        fn damaged_bytes_are_read_as_by_the_library(
            document in documents(),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let Ok(mut bytes) = document.to_vec() else { return Ok(()) };
            for (place, byte) in places {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let theirs = RawDocument::from_bytes(&bytes).ok();
            let theirs = theirs.and_then(|raw| Document::try_from(raw).ok());
            assert_same(parse_document(&bytes).ok(), theirs);
        }
    }

    #[test]
    fn the_usual_kinds_are_read_here_and_take_what_was_counted() {
        let document = doc! {
            "_id": 1i64, "": "text", "n": 1, "d": 0.5, "b": true, "z": null, "o": { "a": [ {}, [] ] },
            "l": (0..120).collect::<Vec<i32>>(),
        };
        let bytes = to_bytes(&document).expect("BSON");
        assert_eq!(Some(bytes.len()), document_bytes(&document));
        assert_eq!(bytes.capacity(), bytes.len());
        assert_eq!(read_document(&bytes, LEVELS_MAX), Some(document.clone()));
        assert_eq!(read_document(&bytes, 4), Some(document), "a list in a list in an object");
        assert_eq!(read_document(&bytes, 3), None);
    }

    /// However deep: the library alone would exhaust the stack.
    #[test]
    fn what_nests_too_deeply_is_refused() {
        let nested = |kind: u8, levels: usize| {
            let mut bytes = Vec::new();
            for level in 1..levels {
                let length = (levels - level) * 8 + 5;
                bytes.extend_from_slice(&i32::try_from(length).expect("short").to_le_bytes());
                bytes.extend_from_slice(&[kind, b'0', 0]);
            }
            bytes.extend_from_slice(&[5, 0, 0, 0]);
            bytes.extend(std::iter::repeat_n(0, levels));
            bytes
        };
        for kind in [DOCUMENT, ARRAY] {
            let bytes = nested(kind, LEVELS_MAX);
            assert_eq!(parse_document(&bytes).expect("BSON").to_vec().expect("BSON"), bytes);
            for levels in [LEVELS_MAX + 1, 1_000_000] {
                let error = parse_document(&nested(kind, levels)).expect_err("too deep");
                assert!(error.to_string().contains("nests deeper than 200 levels"), "{error}");
            }
        }
    }

    #[test]
    fn fields_are_whole() {
        let bytes = to_bytes(&doc! { "a": 1, "b": "x" }).expect("BSON");
        let found: Vec<_> = fields(&bytes).collect();
        assert_eq!(
            found,
            [
                Some(Field { name: b"a", bytes: b"\x10a\0\x01\0\0\0" }),
                Some(Field { name: b"b", bytes: b"\x02b\0\x02\0\0\0x\0" }),
            ]
        );
        assert_eq!(fields(&bytes[1..]).collect::<Vec<_>>(), [None], "no document");
        let rare = Document::from_iter([("s".to_owned(), Value::Symbol("x".into()))]);
        let rare = rare.to_vec().expect("BSON");
        assert_eq!(fields(&rare).collect::<Vec<_>>(), [None], "a rare kind");
    }
}
