//! Values and documents.
//!
//! A value is a BSON value: the type system of MongoDB, so that its drivers need no second store,
//! and a superset of JSON. The representation is that of the `bson` crate; order across types
//! ([`crate::order`]), paths ([`crate::path`]) and the JSON form ([`crate::json`]) are ours.

/// One value: a BSON value of any type.
pub use bson::Bson as Value;
/// An ordered list of named values; names are unique.
pub use bson::Document;

/// The name of the field that identifies a document in its collection.
pub const ID_FIELD: &str = "_id";
