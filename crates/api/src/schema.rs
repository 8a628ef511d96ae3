//! The schema of a collection: which fields it declares, their types, which are indexed (spec D6), and
//! what an index is made of (`docs/design/indexes.md`).

use crate::value::{Document, Value};

/// The declared type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Text.
    Str,
    /// A whole number of 64 bits.
    Int,
    /// A number; whole numbers are accepted and kept as they are.
    Float,
    /// True or false.
    Bool,
    /// A point in time, in milliseconds since 1970-01-01 UTC.
    Date,
    /// A list.
    List,
    /// A document.
    Doc,
    /// Any value.
    Any,
}

impl FieldType {
    /// Every type with its word in a schema.
    pub const ALL: [(FieldType, &'static str); 8] = [
        (FieldType::Str, "str"),
        (FieldType::Int, "int"),
        (FieldType::Float, "float"),
        (FieldType::Bool, "bool"),
        (FieldType::Date, "date"),
        (FieldType::List, "list"),
        (FieldType::Doc, "doc"),
        (FieldType::Any, "any"),
    ];

    /// The type's word in a schema.
    pub fn as_str(self) -> &'static str {
        FieldType::ALL.iter().find(|(kind, _)| *kind == self).map_or("any", |(_, word)| word)
    }

    /// The type whose word is `word`.
    pub fn parse(word: &str) -> Option<FieldType> {
        FieldType::ALL.iter().find(|(_, w)| *w == word).map(|(kind, _)| *kind)
    }
}

/// What a collection declares of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSchema {
    /// The field's name: one name, without dots.
    pub name: String,
    /// Its type; a document may leave the field out or hold null unless it is required.
    pub kind: FieldType,
    /// Whether a secondary index is kept on it.
    pub index: bool,
    /// Whether no two documents may hold the same value (implies an index). Documents without the
    /// field do not collide.
    pub unique: bool,
    /// Whether every document must hold it, not null.
    pub required: bool,
    /// What an inserted document that leaves the field out gets; of the field's type.
    pub default: Option<Value>,
}

impl FieldSchema {
    /// A field that declares nothing but its type.
    pub fn new(name: impl Into<String>, kind: FieldType) -> FieldSchema {
        FieldSchema {
            name: name.into(),
            kind,
            index: false,
            unique: false,
            required: false,
            default: None,
        }
    }
}

/// What a collection declares, in the order in which it was declared. Fields that are not declared
/// are allowed in documents and hold any value.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Schema {
    /// The declared fields; names are unique.
    pub fields: Vec<FieldSchema>,
}

/// One field of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexKey {
    /// The path of the field, with dots.
    pub path: String,
    /// Whether the greatest value comes first.
    pub descending: bool,
}

/// What an index is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// Its name, unique in its collection.
    pub name: String,
    /// Its fields; the first one orders most. One to [`crate::limits::INDEX_KEYS_MAX`].
    pub keys: Vec<IndexKey>,
    /// Whether no two documents may have the same entry. Documents that hold none of the fields, or
    /// only null in them, do not collide.
    pub unique: bool,
    /// Whether documents that have none of the fields are left out.
    pub sparse: bool,
    /// `where`: the index is about the documents that this filter means; none: about all.
    pub filter: Option<Document>,
}

impl IndexSpec {
    /// The name an index gets that is given none: `a_1_b_-1`.
    pub fn default_name(keys: &[IndexKey]) -> String {
        let part = |key: &IndexKey| format!("{}_{}", key.path, if key.descending { -1 } else { 1 });
        keys.iter().map(part).collect::<Vec<_>>().join("_")
    }

    /// The fields as a document: `{"a":1,"b":-1}`.
    pub fn keys_document(&self) -> Document {
        let direction = |key: &IndexKey| Value::Int64(if key.descending { -1 } else { 1 });
        self.keys.iter().map(|key| (key.path.clone(), direction(key))).collect()
    }
}
