//! Schemas to and from their JSON form (spec D6).

use super::arguments::got;
use crate::error::{Error, ErrorCode};
use crate::limits::{INDEXES_PER_COLLECTION_MAX, NAME_BYTES_MAX};
use crate::schema::{FieldSchema, FieldType, Schema};
use crate::value::{Document, Value};

/// Reads a schema: per field the short form `"*email":"str"` (`*` = indexed) or the long form
/// `"email":{"type":"str","index":true,"unique":true,"required":true,"default":"?"}`, in any mixture.
///
/// # Errors
/// [`ErrorCode::BadRequest`] naming the field and what is wrong with it; [`ErrorCode::TooLarge`] for
/// too long a name or too many indexes.
pub fn parse_schema(document: &Document) -> Result<Schema, Error> {
    let mut fields: Vec<FieldSchema> = Vec::with_capacity(document.len());
    for (declared, description) in document {
        let field = parse_field(declared, description)?;
        if fields.iter().any(|earlier| earlier.name == field.name) {
            return Err(bad(&field.name, "is declared twice"));
        }
        fields.push(field);
    }
    let indexes = fields.iter().filter(|field| field.index).count();
    if indexes > INDEXES_PER_COLLECTION_MAX {
        return Err(Error::new(
            ErrorCode::TooLarge,
            format!(
                "schema: {indexes} indexed fields, a collection may have {INDEXES_PER_COLLECTION_MAX}"
            ),
        ));
    }
    Ok(Schema { fields })
}

/// The long form of a schema.
pub fn schema_document(schema: &Schema) -> Document {
    let mut document = Document::new();
    for field in &schema.fields {
        let mut description = Document::new();
        description.insert("type", field.kind.as_str());
        for (name, value) in
            [("index", field.index), ("unique", field.unique), ("required", field.required)]
        {
            if value {
                description.insert(name, true);
            }
        }
        if let Some(default) = &field.default {
            description.insert("default", default.clone());
        }
        document.insert(field.name.clone(), description);
    }
    document
}

fn parse_field(declared: &str, description: &Value) -> Result<FieldSchema, Error> {
    let (name, starred) = match declared.strip_prefix('*') {
        Some(name) => (name, true),
        None => (declared, false),
    };
    check_name(name)?;
    let mut field = FieldSchema { index: starred, ..FieldSchema::new(name, FieldType::Any) };
    match description {
        Value::String(word) => field.kind = parse_type(name, word)?,
        Value::Document(long) => read_long_form(&mut field, long)?,
        other => {
            let text = format!("must be a type or an object, got {}", got(other));
            return Err(bad(name, &text));
        }
    }
    Ok(field)
}

fn read_long_form(field: &mut FieldSchema, long: &Document) -> Result<(), Error> {
    for (property, value) in long {
        match (property.as_str(), value) {
            ("type", Value::String(word)) => field.kind = parse_type(&field.name, word)?,
            ("index", Value::Boolean(index)) => field.index |= *index,
            ("unique", Value::Boolean(unique)) => {
                field.unique = *unique;
                field.index |= *unique;
            }
            ("required", Value::Boolean(required)) => field.required = *required,
            ("default", Value::Null) => {
                return Err(bad(&field.name, "default must not be null; leave it out"));
            }
            ("default", value) => field.default = Some(value.clone()),
            ("type", other) => {
                let text = format!("type must be a string, got {}", got(other));
                return Err(bad(&field.name, &text));
            }
            ("index" | "unique" | "required", other) => {
                let text = format!("{property} must be true or false, got {}", got(other));
                return Err(bad(&field.name, &text));
            }
            (other, _) => {
                let text = format!(
                    "unknown property {other:?}; known: type, index, unique, required, default"
                );
                return Err(bad(&field.name, &text));
            }
        }
    }
    Ok(())
}

fn parse_type(name: &str, word: &str) -> Result<FieldType, Error> {
    FieldType::parse(word).ok_or_else(|| {
        let known: Vec<&str> = FieldType::ALL.iter().map(|(_, word)| *word).collect();
        bad(name, &format!("has unknown type {word:?}; known: {}", known.join(", ")))
    })
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(bad(name, "has no name"));
    }
    if name.contains('.') || name.starts_with('$') || name.contains('\0') {
        return Err(bad(name, "has a name with a dot, a NUL or a $ at its start"));
    }
    if name.starts_with('*') {
        let text = "has a name that begins with *: one * before the name means indexed, the name \
                    itself must begin otherwise";
        return Err(bad(name, text));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::TooLarge,
            format!(
                "schema: a field's name may have {NAME_BYTES_MAX} bytes at most, got {}",
                name.len()
            ),
        ));
    }
    Ok(())
}

fn bad(name: &str, message: &str) -> Error {
    Error::new(ErrorCode::BadRequest, format!("schema: field {name:?} {message}"))
}
