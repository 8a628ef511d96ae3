//! Whether documents fit their collection's schema.

use crate::failure::show;
use crate::validate;
use api::value::ID_FIELD;
use api::{Document, Error, ErrorCode, FieldType, Schema, Value};
use std::borrow::Cow;

/// A document with the defaults of the fields that it leaves out, behind its own.
///
/// # Errors
/// If that makes it too large.
pub(crate) fn complete<'d>(
    schema: &Schema,
    document: &'d Document,
) -> Result<Cow<'d, Document>, Error> {
    let mut complete = Cow::Borrowed(document);
    for field in &schema.fields {
        if let Some(default) = &field.default
            && !document.contains_key(&field.name)
        {
            complete.to_mut().insert(field.name.clone(), default.clone());
        }
    }
    if let Cow::Owned(document) = &complete {
        validate::check_document("insert: a document with its defaults", document)?;
    }
    Ok(complete)
}

/// Gives required fields that an updated document lacks their defaults: it may be older than the schema.
pub(crate) fn complete_required(schema: &Schema, document: &mut Document) {
    for field in schema.fields.iter().filter(|field| field.required) {
        if let Some(default) = &field.default
            && !document.contains_key(&field.name)
        {
            document.insert(field.name.clone(), default.clone());
        }
    }
}

/// Checks the declared fields of a document.
///
/// # Errors
/// `schema_violation`, naming collection, document and field.
pub(crate) fn check(collection: &str, schema: &Schema, document: &Document) -> Result<(), Error> {
    for field in &schema.fields {
        let violation = |problem: String| {
            let id = document.get(ID_FIELD).unwrap_or(&Value::Null);
            Error::new(
                ErrorCode::SchemaViolation,
                format!(
                    "collection {collection}: document {}: field {}: {problem}",
                    show(id),
                    field.name
                ),
            )
        };
        match document.get(&field.name) {
            None | Some(Value::Null) if field.required => {
                return Err(violation("is required and missing".to_owned()));
            }
            None | Some(Value::Null) => {}
            Some(value) if is_of(field.kind, value) => {}
            Some(value) => {
                return Err(violation(format!(
                    "expected {}, found {}",
                    field.kind.as_str(),
                    show(value)
                )));
            }
        }
    }
    Ok(())
}

pub(crate) fn is_of(kind: FieldType, value: &Value) -> bool {
    match kind {
        FieldType::Any => true,
        FieldType::Str => matches!(value, Value::String(_) | Value::Symbol(_)),
        FieldType::Int => matches!(value, Value::Int32(_) | Value::Int64(_)),
        FieldType::Float => matches!(
            value,
            Value::Double(_) | Value::Decimal128(_) | Value::Int32(_) | Value::Int64(_)
        ),
        FieldType::Bool => matches!(value, Value::Boolean(_)),
        FieldType::Date => matches!(value, Value::DateTime(_)),
        FieldType::List => matches!(value, Value::Array(_)),
        FieldType::Doc => matches!(value, Value::Document(_)),
    }
}
