//! The collections that exist, in memory: rebuilt from the engine's rows at open and by readers.

use crate::codec::{Reader, Writer};
use crate::command::{DecodeError, read_schema, write_schema};
use crate::engine::{Direction, View};
use crate::failure::Fatal;
use crate::keys;
use api::{Error, ErrorCode, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A collection: its number names its rows and is never used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collection {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) schema: Schema,
    pub(crate) indexes: Vec<Index>,
}

/// A secondary index on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) number: u16,
    pub(crate) field: String,
    pub(crate) unique: bool,
    /// Whether some document ever held a list in the field, so that one document may have several
    /// entries.
    pub(crate) multikey: bool,
}

impl Index {
    /// The index's name in messages and descriptions.
    pub(crate) fn name(&self) -> String {
        format!("{}_1", self.field)
    }
}

impl Collection {
    pub(crate) fn new(number: u32, name: String, schema: Schema) -> Collection {
        let indexed = schema.fields.iter().filter(|field| field.index || field.unique);
        let indexes = (0..).zip(indexed).map(|(number, field)| Index {
            number,
            field: field.name.clone(),
            unique: field.unique,
            multikey: false,
        });
        let indexes = indexes.collect();
        Collection { number, name, schema, indexes }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.string(&self.name);
        write_schema(&mut writer, &self.schema);
        for index in &self.indexes {
            writer.byte(u8::from(index.multikey));
        }
        writer.0
    }

    fn decode(number: u32, bytes: &[u8]) -> Result<Collection, DecodeError> {
        let mut reader = Reader::new(bytes);
        let name = reader.string("a collection name")?;
        let schema = read_schema(&mut reader)?;
        let mut collection = Collection::new(number, name, schema);
        for index in &mut collection.indexes {
            index.multikey = reader.flag("whether the index is on lists")?;
        }
        reader.end()?;
        Ok(collection)
    }
}

/// All collections by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) collections: BTreeMap<String, Arc<Collection>>,
}

impl Catalog {
    pub(crate) fn load(view: &impl View) -> Result<Catalog, Fatal> {
        let mut catalog = Catalog::default();
        let (from, to) = keys::family_range(keys::family::CATALOG);
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, value) = row?;
            let damaged = |what: String| Fatal::Damaged(format!("catalog row {key:02x?}: {what}"));
            let number = key.get(1..).and_then(|bytes| bytes.try_into().ok());
            let number = number.map(u32::from_be_bytes);
            let number = number.ok_or_else(|| damaged("not a collection number".to_owned()))?;
            let collection = Collection::decode(number, &value);
            let collection = collection.map_err(|error| damaged(error.to_string()))?;
            catalog.collections.insert(collection.name.clone(), Arc::new(collection));
        }
        Ok(catalog)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Arc<Collection>, Error> {
        self.collections.get(name).ok_or_else(|| {
            Error::new(
                ErrorCode::UnknownCollection,
                format!("collection {name:?} does not exist; create it first"),
            )
        })
    }
}
