//! Checks of a request that need no data, made before it costs a log entry.

use crate::failure::{bad_query, bad_request, show, too_large};
use crate::index;
use crate::schema;
use crate::search::Search;
use api::limits::{
    DOCUMENT_BYTES_MAX, INDEXES_PER_COLLECTION_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, NESTING_MAX,
    REFERENCE_CLIENT_BYTES_MAX,
};
use api::value::ID_FIELD;
use api::{
    Document, Error, Expectation, ModifyAction, Request, Schema, SearchOptions, Subject, Upsert,
    Value, Watch, binary,
};
use query::{Distinct, Filter, Pipeline, Update};

/// Checks everything about a request that does not depend on the store's content: names, sizes,
/// nesting, the grammar of filters, updates and schemas.
///
/// # Errors
/// What the request would be refused with when applied, or that it is too large.
pub fn validate(request: &Request) -> Result<(), Error> {
    match request {
        Request::Create { collection, schema } => {
            check_collection_name(collection)?;
            check_schema(schema)
        }
        Request::Describe { collection } => {
            collection.as_deref().map_or(Ok(()), check_collection_name)
        }
        Request::Destroy { collection } => check_collection_name(collection),
        Request::Insert { collection, documents, .. } => {
            check_collection_name(collection)?;
            if documents.is_empty() {
                return Err(bad_request("insert: the list of documents is empty"));
            }
            let mut size = 0;
            for document in documents {
                size += check_document("insert: a document", document)?;
                check_id(document.get(ID_FIELD))?;
            }
            check_size("insert: all documents together", size)
        }
        Request::Search { collection, filter, search } => {
            check_collection_name(collection)?;
            check_document("search: the filter", filter)?;
            Search::parse(filter, search).map(|_| ())
        }
        Request::Update { collection, filter, changes, options } => {
            check_collection_name(collection)?;
            let size = check_filter("update", filter)?
                + check_changes("update", changes, &options.array_filters)?
                + check_upsert("update", &options.upsert)?;
            check_size("update: filter and changes together", size)
        }
        Request::Replace { collection, filter, document, upsert } => {
            check_collection_name(collection)?;
            check_replacement(document)?;
            let size = check_filter("replace", filter)?
                + check_document("replace: the document", document)?
                + check_upsert("replace", upsert)?;
            check_size("replace: filter and document together", size)
        }
        Request::Modify { collection, filter, action, options } => {
            check_collection_name(collection)?;
            let search = SearchOptions {
                sort: options.sort.clone(),
                fields: options.fields.clone(),
                ..SearchOptions::default()
            };
            Search::parse(filter, &search)?;
            let mut size = check_filter("modify", filter)?;
            if let Some(fields) = &options.fields {
                size += check_document("modify: the fields", fields)?;
            }
            if let ModifyAction::Update { changes, upsert, array_filters, .. } = action {
                size += check_changes("modify", changes, array_filters)?;
                size += check_upsert("modify", upsert)?;
            }
            check_size("modify: filter and changes together", size)
        }
        Request::Delete { collection, filter, .. } => {
            check_collection_name(collection)?;
            check_filter("delete", filter).map(|_| ())
        }
        Request::Count { collection, filter } => {
            check_collection_name(collection)?;
            check_filter("count", filter).map(|_| ())
        }
        Request::Distinct { collection, field, filter } => {
            check_collection_name(collection)?;
            Distinct::new(field)?;
            check_filter("distinct", filter).map(|_| ())
        }
        Request::Aggregate { collection, pipeline, .. } => {
            check_collection_name(collection)?;
            let mut size = 0;
            for stage in pipeline {
                size += check_document("aggregate: a stage", stage)?;
            }
            check_size("aggregate: all stages together", size)?;
            Pipeline::parse(pipeline).map(|_| ())
        }
        Request::CreateIndex { collection, index } => {
            check_collection_name(collection)?;
            check_name("create_index", &index.name)?;
            index
                .filter
                .as_ref()
                .map_or(Ok(0), |filter| check_document("create_index: where", filter))?;
            index::check(index)
        }
        Request::DropIndex { collection, name } => {
            check_collection_name(collection)?;
            check_name("drop_index", name)
        }
        Request::Alter { collection, add, .. } => {
            check_collection_name(collection)?;
            check_schema(add)
        }
        Request::Read { key, .. } => check_key(key),
        Request::Write { key, value } | Request::Swap { key, value } => {
            check_key(key)?;
            check_value("the value", value).map(|_| ())
        }
        Request::Cas { key, expected, value } => {
            check_key(key)?;
            let size =
                check_value("the expected value", expected)? + check_value("the value", value)?;
            check_size("cas: both values together", size)
        }
        Request::Forget { reference } => {
            let length = reference.client.len();
            if length == 0 || length > REFERENCE_CLIENT_BYTES_MAX {
                return Err(bad_request(format!(
                    "forget: a reference is 1 to {REFERENCE_CLIENT_BYTES_MAX} bytes of client; \
                     this one has {length}"
                )));
            }
            Ok(())
        }
        Request::Batch { requests } => crate::batch::validate_all(requests),
        Request::Expect(Expectation::Value { key, value }) => {
            check_key(key)?;
            check_value("the expected value", value).map(|_| ())
        }
        Request::Expect(Expectation::Count { collection, filter, .. }) => {
            check_collection_name(collection)?;
            check_document("expect: the filter", filter)?;
            Filter::parse(filter).map(|_| ())
        }
        Request::Watch(watch) => check_watch(watch),
        Request::Next { .. }
        | Request::Close { .. }
        | Request::BuildIndex { .. }
        | Request::Status { .. }
        | Request::Members
        | Request::Member(_)
        | Request::Fault(_)
        | Request::Hello { .. } => Ok(()),
    }
}

fn check_watch(watch: &Watch) -> Result<(), Error> {
    match &watch.subject {
        Subject::Collection(name) => check_collection_name(name)?,
        Subject::Key(text) | Subject::Prefix(text) => check_key(text)?,
    }
    let Some(filter) = &watch.filter else { return Ok(()) };
    check_document("watch: the filter", filter)?;
    Filter::parse(filter).map(|_| ())
}

fn check_filter(operation: &str, filter: &Document) -> Result<usize, Error> {
    let size = check_document(&format!("{operation}: the filter"), filter)?;
    Filter::parse(filter)?;
    Ok(size)
}

fn check_changes(
    operation: &str,
    changes: &Document,
    array_filters: &[Document],
) -> Result<usize, Error> {
    let mut size = check_document(&format!("{operation}: the changes"), changes)?;
    for filter in array_filters {
        size += check_document(&format!("{operation}: an array filter"), filter)?;
    }
    Update::parse(changes, array_filters)?;
    Ok(size)
}

fn check_upsert(operation: &str, upsert: &Upsert) -> Result<usize, Error> {
    match upsert {
        Upsert::Insert { new_id: Some(id) } => {
            check_value(&format!("{operation}: the new _id"), id)
        }
        Upsert::Insert { new_id: None } => Err(bad_request(format!(
            "{operation}: no _id was drawn for a document that the upsert may insert"
        ))),
        Upsert::No => Ok(0),
    }
}

/// A replacement has fields, no operators.
pub(crate) fn check_replacement(document: &Document) -> Result<(), Error> {
    match document.keys().find(|name| name.starts_with('$')) {
        Some(operator) => Err(bad_query(format!(
            "replace: the new document has a field {operator:?}; operators belong to update"
        ))),
        None => Ok(()),
    }
}

/// A document can be found by any `_id` but a list, null and its like, and regular expressions.
pub(crate) fn check_id(id: Option<&Value>) -> Result<(), Error> {
    match id {
        None => Err(bad_request("insert: a document has no _id")),
        Some(Value::Array(_) | Value::Null | Value::Undefined | Value::RegularExpression(_)) => {
            Err(bad_request(
                "insert: _id may be any value but a list, null, undefined or a regular expression",
            ))
        }
        Some(Value::Document(id)) if id.keys().any(|name| name.starts_with('$')) => {
            Err(bad_request("insert: a field name in _id begins with $; take another name"))
        }
        Some(_) => Ok(()),
    }
}

pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(too_large(format!(
            "the key has {} bytes; the most is {KEY_BYTES_MAX}",
            key.len()
        )));
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(bad_request(format!(
            "{what}: a name has 1 to {NAME_BYTES_MAX} bytes; {:?} has {}",
            name.chars().take(40).collect::<String>(),
            name.len()
        )));
    }
    if name.contains('\0') {
        return Err(bad_request(format!("{what}: {name:?} contains a zero byte")));
    }
    Ok(())
}

pub(crate) fn check_collection_name(name: &str) -> Result<(), Error> {
    check_name("collection", name)?;
    if name.contains('$') {
        return Err(bad_request(format!("collection: {name:?} contains $; take another name")));
    }
    Ok(())
}

/// Checks what a collection declares.
pub(crate) fn check_schema(schema: &Schema) -> Result<(), Error> {
    for (position, field) in schema.fields.iter().enumerate() {
        check_name("schema", &field.name)?;
        if field.name.contains('.') || field.name.starts_with('$') {
            return Err(bad_request(format!(
                "schema: field {:?} contains a dot or begins with $; declare single names",
                field.name
            )));
        }
        if field.name == ID_FIELD {
            return Err(bad_request(
                "schema: _id is always there, unique and indexed; leave it out",
            ));
        }
        if schema.fields[..position].iter().any(|other| other.name == field.name) {
            return Err(bad_request(format!("schema: field {:?} stands twice", field.name)));
        }
        if let Some(default) = &field.default {
            check_value("schema: a default", default)?;
            if !schema::is_of(field.kind, default) {
                return Err(bad_request(format!(
                    "schema: field {:?}: the default {} is no {}",
                    field.name,
                    show(default),
                    field.kind.as_str()
                )));
            }
        }
    }
    let indexes = schema.fields.iter().filter(|field| field.index || field.unique).count();
    if indexes > INDEXES_PER_COLLECTION_MAX {
        return Err(too_large(format!(
            "schema: {indexes} indexed fields; the most is {INDEXES_PER_COLLECTION_MAX}"
        )));
    }
    Ok(())
}

pub(crate) fn check_size(what: &str, size: usize) -> Result<(), Error> {
    if size > DOCUMENT_BYTES_MAX {
        return Err(too_large(format!(
            "{what} takes {size} bytes of BSON; the most is {DOCUMENT_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// Checks nesting, names and size of a document that takes so many bytes.
pub(crate) fn check_written_document(
    what: &str,
    document: &Document,
    size: usize,
) -> Result<(), Error> {
    check_nesting(what, document, 1)?;
    check_size(what, size)
}

/// Checks nesting, names and size, and answers the size in bytes.
pub(crate) fn check_document(what: &str, document: &Document) -> Result<usize, Error> {
    check_nesting(what, document, 1)?;
    let size = binary::length(document).map_err(|error| bad_request(format!("{what}: {error}")))?;
    check_size(what, size)?;
    Ok(size)
}

fn check_value(what: &str, value: &Value) -> Result<usize, Error> {
    let mut holder = Document::new();
    holder.insert("", value.clone());
    check_document(what, &holder)
}

fn check_nesting(what: &str, document: &Document, level: usize) -> Result<(), Error> {
    for (name, value) in document {
        if name.contains('\0') {
            return Err(bad_request(format!("{what}: field name {name:?} contains a zero byte")));
        }
        check_value_nesting(what, value, level)?;
    }
    Ok(())
}

/// `level`: that of the document or list in which the value stands.
fn check_value_nesting(what: &str, value: &Value, level: usize) -> Result<(), Error> {
    let inner = match value {
        Value::Document(_) | Value::Array(_) | Value::JavaScriptCodeWithScope(_) => level + 1,
        _ => return Ok(()),
    };
    if inner > NESTING_MAX {
        return Err(too_large(format!("{what} nests deeper than {NESTING_MAX} levels")));
    }
    match value {
        Value::Document(document) => check_nesting(what, document, inner),
        Value::JavaScriptCodeWithScope(code) => check_nesting(what, &code.scope, inner),
        Value::Array(elements) => {
            elements.iter().try_for_each(|element| check_value_nesting(what, element, inner))
        }
        _ => Ok(()),
    }
}
