//! The requests of a batch, conditions, and what a watch asks for.

use super::arguments::{Arguments, got};
use super::options::whole_number;
use super::{bad, read_call};
use crate::error::{Error, ErrorCode};
use crate::limits::{BATCH_REQUESTS_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX};
use crate::request::{Expectation, Options, Place, Request, Subject, Watch};
use crate::value::{Document, Value};

/// What a watch may say.
const WATCH_FIELDS: &str = "collection, key, prefix, filter, from";

/// The requests of a batch: writes and conditions, without options of their own delivery.
pub(super) fn batch_members(items: Vec<Value>) -> Result<Vec<Request>, Error> {
    if items.is_empty() {
        return Err(bad("batch: the list of requests is empty"));
    }
    if items.len() > BATCH_REQUESTS_MAX {
        return Err(Error::new(
            ErrorCode::TooLarge,
            format!("batch: {} requests; the most is {BATCH_REQUESTS_MAX}", items.len()),
        ));
    }
    items.into_iter().enumerate().map(|(position, item)| batch_member(position, item)).collect()
}

fn batch_member(position: usize, item: Value) -> Result<Request, Error> {
    // Looked at before it is read: batches in batches would be read by recursion.
    let name = match &item {
        Value::Array(items) => items.first().and_then(Value::as_str).unwrap_or("?"),
        _ => "?",
    };
    let name: String = name.chars().take(40).collect();
    if name == "batch" {
        return Err(bad("a batch holds no batch; put its requests into this one"))
            .map_err(|error: Error| error.at_position(position, &name));
    }
    let call = read_call(item).map_err(|error| error.at_position(position, &name))?;
    let refusal = if call.options != Options::default() {
        "the options ref, acked and timeout_ms belong to the batch, not to a request in it"
    } else if !(call.request.is_write() || matches!(call.request, Request::Expect(_))) {
        "a batch holds writes, and expect, only"
    } else if matches!(call.request, Request::Forget { .. }) {
        "forget is no part of a batch; send it by itself"
    } else {
        return Ok(call.request);
    };
    Err(bad(refusal).at_position(position, &name))
}

/// `["expect", key, value]` or `["expect", collection, query, count]`.
pub(super) fn expectation(arguments: &mut Arguments) -> Result<Request, Error> {
    let expectation = if arguments.left() == 2 {
        Expectation::Value { key: arguments.key()?, value: arguments.value()? }
    } else {
        let collection = arguments.name()?;
        let filter = arguments.document()?;
        let count = arguments.optional_count()?.unwrap_or_default();
        Expectation::Count { collection, filter, count }
    };
    Ok(Request::Expect(expectation))
}

/// `{"collection": c}`, `{"key": k}` or `{"prefix": p}`, with `filter` and `from`.
pub(super) fn watch(subject: Document, batch: Option<u64>) -> Result<Request, Error> {
    let mut found = None;
    let (mut filter, mut from) = (None, None);
    for (name, value) in subject {
        let one = match (name.as_str(), value) {
            ("collection", Value::String(name)) => {
                within("collection", &name, 1, NAME_BYTES_MAX)?;
                Subject::Collection(name)
            }
            ("key", Value::String(key)) => {
                within("key", &key, 0, KEY_BYTES_MAX)?;
                Subject::Key(key)
            }
            ("prefix", Value::String(prefix)) => {
                within("prefix", &prefix, 0, KEY_BYTES_MAX)?;
                Subject::Prefix(prefix)
            }
            ("filter", Value::Document(document)) => {
                filter = Some(document);
                continue;
            }
            ("from", value) => {
                from = Some(parse_place(&value).ok_or_else(|| {
                    bad(format!(
                        "watch: from must be a slot or [slot, position], from 0, got {}",
                        got(&value)
                    ))
                })?);
                continue;
            }
            ("collection" | "key" | "prefix", other) => {
                return Err(bad(format!("watch: {name} must be a string, got {}", got(&other))));
            }
            ("filter", other) => {
                return Err(bad(format!("watch: filter must be an object, got {}", got(&other))));
            }
            _ => {
                return Err(Error::new(
                    ErrorCode::UnknownOption,
                    format!("watch: unknown field {name:?}; known: {WATCH_FIELDS}"),
                ));
            }
        };
        if found.replace(one).is_some() {
            return Err(bad("watch: name one of collection, key and prefix, not several"));
        }
    }
    let subject =
        found.ok_or_else(|| bad("watch: name what to watch: collection, key or prefix"))?;
    if filter.is_some() && !matches!(subject, Subject::Collection(_)) {
        return Err(bad("watch: filter goes with collection only"));
    }
    Ok(Request::Watch(Watch { subject, filter, from, batch }))
}

fn within(name: &str, text: &str, least: usize, most: usize) -> Result<(), Error> {
    if text.len() < least || text.len() > most {
        return Err(bad(format!("watch: {name} has {least} to {most} bytes, got {}", text.len())));
    }
    Ok(())
}

/// A place in the feed of changes: a slot, or a list of slot and position, as a watch answers it.
pub fn parse_place(value: &Value) -> Option<Place> {
    match value {
        Value::Array(pair) => match pair.as_slice() {
            [slot, position] => {
                Some(Place { slot: whole_number(slot)?, position: whole_number(position)? })
            }
            _ => None,
        },
        slot => Some(Place { slot: whole_number(slot)?, position: 0 }),
    }
}
