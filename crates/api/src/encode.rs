//! Calls to request lists: what a client sends, the inverse of [`crate::parse`].

use crate::json::{write_string, write_value};
use crate::parse::schema_document;
use crate::request::{
    Call, Expectation, FaultSwitch, Level, ModifyAction, ModifyOptions, Options, Place, Request,
    SearchOptions, Subject, UpdateOptions, Upsert, Watch,
};
use crate::schema::{IndexSpec, Schema};
use crate::value::{Document, Value};
use std::io::Write as _;

/// Appends the JSON text of a call. [`crate::parse::parse_call`] reads it back.
pub fn write_call(call: &Call, out: &mut Vec<u8>) {
    out.push(b'[');
    write_string(call.request.name(), out);
    write_arguments(&call.request, out);
    write_options(call, out);
    out.push(b']');
}

fn write_arguments(request: &Request, out: &mut Vec<u8>) {
    match request {
        Request::Create { collection, schema } => {
            text(collection, out);
            value(&Value::Document(schema_document(schema)), out);
        }
        Request::Describe { collection } => {
            if let Some(collection) = collection {
                text(collection, out);
            }
        }
        Request::Destroy { collection } => text(collection, out),
        Request::Insert { collection, documents, list } => {
            text(collection, out);
            write_documents(documents, *list, out);
        }
        Request::Search { collection, filter, .. }
        | Request::Delete { collection, filter, .. }
        | Request::Count { collection, filter } => {
            text(collection, out);
            document(filter, out);
        }
        Request::Update { collection, filter, changes, .. }
        | Request::Replace { collection, filter, document: changes, .. } => {
            text(collection, out);
            document(filter, out);
            document(changes, out);
        }
        Request::Modify { collection, filter, action, .. } => {
            text(collection, out);
            document(filter, out);
            match action {
                ModifyAction::Update { changes, .. } => document(changes, out),
                ModifyAction::Remove => document(&Document::new(), out),
            }
        }
        Request::Distinct { collection, field, filter } => {
            text(collection, out);
            text(field, out);
            document(filter, out);
        }
        Request::Aggregate { collection, pipeline, .. } => {
            text(collection, out);
            write_documents(pipeline, true, out);
        }
        Request::Read { key, .. } => text(key, out),
        Request::Write { key, value: new } | Request::Swap { key, value: new } => {
            text(key, out);
            value(new, out);
        }
        Request::Cas { key, expected, value: new } => {
            text(key, out);
            value(expected, out);
            value(new, out);
        }
        Request::Batch { requests } => write_members(requests, out),
        Request::Expect(Expectation::Value { key, value: expected }) => {
            text(key, out);
            value(expected, out);
        }
        Request::Expect(Expectation::Count { collection, filter, count }) => {
            text(collection, out);
            document(filter, out);
            value(&number(*count), out);
        }
        Request::Next { cursor, .. } | Request::Close { cursor } => text(cursor, out),
        Request::Watch(watch) => document(&watch_document(watch), out),
        Request::Forget { reference } => text(&reference.to_string(), out),
        Request::CreateIndex { collection, index } => {
            text(collection, out);
            document(&index.keys_document(), out);
        }
        Request::DropIndex { collection, name } => {
            text(collection, out);
            text(name, out);
        }
        Request::Alter { collection, add, drop, .. } => {
            text(collection, out);
            document(&alter_document(add, drop), out);
        }
        // No client asks for it; a node refuses it as an unknown operation.
        Request::BuildIndex { .. } => {}
        Request::Fault(FaultSwitch::Unreliable { loss }) => value(&Value::Double(*loss), out),
        Request::Member(change) => {
            let (action, argument) = change.words();
            text(action, out);
            if let Some(argument) = argument {
                value(&argument, out);
            }
        }
        Request::Status { .. } | Request::Members | Request::Fault(_) => {}
        Request::Hello { frame_length_bytes } => {
            // Writing to a vector does not fail.
            let _ = write!(out, ",{{\"frame\":{frame_length_bytes}}}");
        }
    }
}

fn write_members(requests: &[Request], out: &mut Vec<u8>) {
    out.extend_from_slice(b",[");
    for (position, request) in requests.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_call(&Call { request: request.clone(), options: Options::default() }, out);
    }
    out.push(b']');
}

fn watch_document(watch: &Watch) -> Document {
    let mut document = Document::new();
    let (name, subject) = match &watch.subject {
        Subject::Collection(name) => ("collection", name),
        Subject::Key(key) => ("key", key),
        Subject::Prefix(prefix) => ("prefix", prefix),
    };
    document.insert(name, subject.as_str());
    if let Some(filter) = &watch.filter {
        document.insert("filter", filter.clone());
    }
    if let Some(from) = watch.from {
        document.insert("from", place(from));
    }
    document
}

/// A place in the feed of changes, as on the wire.
pub fn place(place: Place) -> Value {
    Value::Array(vec![number(place.slot), number(place.position)])
}

fn write_documents(documents: &[Document], list: bool, out: &mut Vec<u8>) {
    match (list, documents) {
        (false, [one]) => document(one, out),
        _ => {
            out.extend_from_slice(b",[");
            for (position, one) in documents.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_document(one, out);
            }
            out.push(b']');
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b',');
    write_string(text, out);
}

fn value(value: &Value, out: &mut Vec<u8>) {
    out.push(b',');
    write_value(value, out);
}

fn document(document: &Document, out: &mut Vec<u8>) {
    out.push(b',');
    write_document(document, out);
}

fn write_document(document: &Document, out: &mut Vec<u8>) {
    out.push(b'{');
    for (position, (name, field)) in document.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_value(field, out);
    }
    out.push(b'}');
}

/// The options object, if there is anything in it. Those that nearly every request has are written without a
/// document in between.
fn write_options(call: &Call, out: &mut Vec<u8>) {
    let start = out.len();
    let Options { reference, acked, level, timeout_ms, wait } = &call.options;
    let mut field = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
        out.extend_from_slice(if out.len() == start { b",{" } else { b"," });
        write_string(name, out);
        out.push(b':');
        write(out);
    };
    if let Some(reference) = reference {
        field("ref", &|out| write_string(&reference.to_string(), out));
    }
    if let Some(acked) = acked {
        field("acked", &|out| write_value(&number(*acked), out));
    }
    if *level == Level::Local {
        field("level", &|out| write_string("local", out));
    }
    if let Some(milliseconds) = timeout_ms {
        field("timeout_ms", &|out| write_value(&number(*milliseconds), out));
    }
    if *wait {
        field("wait", &|out| write_value(&Value::Boolean(true), out));
    }
    for (name, value) in &own_options(call) {
        field(name, &|out| write_value(value, out));
    }
    if out.len() > start {
        out.push(b'}');
    }
}

/// The options that the operation has beside those of every request.
fn own_options(call: &Call) -> Document {
    let mut document = Document::new();
    if let Request::Next { pass_long: true, .. } = &call.request {
        document.insert("pass_long", true);
    }
    match &call.request {
        Request::Search { search, .. } => add_search_options(search, &mut document),
        Request::Aggregate { batch: Some(batch), .. }
        | Request::Next { batch: Some(batch), .. }
        | Request::Watch(Watch { batch: Some(batch), .. }) => {
            document.insert("batch", number(*batch));
        }
        Request::Update { options, .. } => add_update_options(options, &mut document),
        Request::Replace { upsert, .. } => add_upsert(upsert, &mut document),
        Request::Modify { action, options, .. } => {
            add_modify_options(action, options, &mut document);
        }
        Request::Delete { multi: false, .. } => {
            document.insert("multi", false);
        }
        Request::Status { hash: true } => {
            document.insert("hash", true);
        }
        Request::Read { empty_if_absent: true, .. } => {
            document.insert("empty", true);
        }
        Request::CreateIndex { index, .. } => add_index_options(index, &mut document),
        Request::Alter { check: false, .. } => {
            document.insert("check", false);
        }
        _ => {}
    }
    document
}

fn alter_document(add: &Schema, drop: &[String]) -> Document {
    let mut changes = Document::new();
    if !add.fields.is_empty() {
        changes.insert("add", schema_document(add));
    }
    if !drop.is_empty() {
        changes.insert("drop", drop.to_vec());
    }
    changes
}

fn add_index_options(index: &IndexSpec, document: &mut Document) {
    document.insert("name", index.name.clone());
    for (name, flag) in [("unique", index.unique), ("sparse", index.sparse)] {
        if flag {
            document.insert(name, true);
        }
    }
    if let Some(filter) = &index.filter {
        document.insert("where", filter.clone());
    }
}

fn add_search_options(search: &SearchOptions, document: &mut Document) {
    let SearchOptions { sort, limit, skip, fields, count, explain, batch, pass_long, hint } =
        search;
    add_sort(sort, document);
    if let Some(limit) = limit {
        document.insert("limit", number(*limit));
    }
    if let Some(batch) = batch {
        document.insert("batch", number(*batch));
    }
    if *skip > 0 {
        document.insert("skip", number(*skip));
    }
    if let Some(fields) = fields {
        document.insert("fields", fields.clone());
    }
    for (name, flag) in [("count", *count), ("explain", *explain), ("pass_long", *pass_long)] {
        if flag {
            document.insert(name, true);
        }
    }
    if let Some(hint) = hint {
        document.insert("hint", hint.clone());
    }
}

fn add_sort(sort: &[(String, i8)], document: &mut Document) {
    if !sort.is_empty() {
        let pair = |(path, direction): &(String, i8)| {
            Value::Array(vec![Value::String(path.clone()), Value::Int64(i64::from(*direction))])
        };
        document.insert("sort", Value::Array(sort.iter().map(pair).collect()));
    }
}

/// The `_id` that was drawn for an upsert stays behind: whoever takes the request draws another.
fn add_upsert(upsert: &Upsert, document: &mut Document) {
    if upsert.is_insert() {
        document.insert("upsert", true);
    }
}

fn add_array_filters(filters: &[Document], document: &mut Document) {
    if !filters.is_empty() {
        let filters = filters.iter().cloned().map(Value::Document);
        document.insert("array_filters", Value::Array(filters.collect()));
    }
}

fn add_update_options(options: &UpdateOptions, document: &mut Document) {
    let UpdateOptions { multi, upsert, array_filters } = options;
    if !multi {
        document.insert("multi", false);
    }
    add_upsert(upsert, document);
    add_array_filters(array_filters, document);
}

fn add_modify_options(action: &ModifyAction, options: &ModifyOptions, document: &mut Document) {
    match action {
        ModifyAction::Remove => {
            document.insert("remove", true);
        }
        ModifyAction::Update { upsert, after, array_filters, .. } => {
            add_upsert(upsert, document);
            add_array_filters(array_filters, document);
            if *after {
                document.insert("return", "after");
            }
        }
    }
    let ModifyOptions { sort, fields } = options;
    add_sort(sort, document);
    if let Some(fields) = fields {
        document.insert("fields", fields.clone());
    }
}

fn number(number: u64) -> Value {
    Value::Int64(i64::try_from(number).unwrap_or(i64::MAX))
}
