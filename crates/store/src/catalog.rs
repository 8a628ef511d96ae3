//! The collections that exist, in memory: rebuilt from the engine's rows at open and by readers.

use crate::codec::{Reader, Writer};
use crate::command::{DecodeError, read_schema, write_schema};
use crate::engine::{Direction, View};
use crate::failure::Fatal;
use crate::index::{Index, IndexState, Position};
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
    /// In the order of their numbers.
    pub(crate) indexes: Vec<Index>,
    pub(crate) next_index: u16,
}

impl Collection {
    /// An empty collection with the indexes that its schema declares.
    ///
    /// # Errors
    /// If the schema names a field that cannot be indexed.
    pub(crate) fn new(number: u32, name: String, schema: Schema) -> Result<Collection, Error> {
        let declared = schema.fields.iter().filter(|field| field.index || field.unique);
        let indexes = (0..).zip(declared).map(|(number, field)| {
            Index::new(number, Index::declared_spec(&field.name, field.unique), true)
        });
        let indexes = indexes.collect::<Result<Vec<_>, _>>()?;
        let next_index = indexes.len() as u16;
        Ok(Collection { number, name, schema, indexes, next_index })
    }

    /// The index called `name`.
    pub(crate) fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name() == name)
    }

    /// The names of all indexes, for a message.
    pub(crate) fn index_names(&self) -> String {
        let names = std::iter::once("_id_").chain(self.indexes.iter().map(Index::name));
        names.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.string(&self.name);
        write_schema(&mut writer, &self.schema);
        writer.number(u64::from(self.next_index));
        writer.number(self.indexes.len() as u64);
        for index in &self.indexes {
            index.encode(&mut writer);
        }
        writer.0
    }

    fn decode(number: u32, bytes: &[u8]) -> Result<Collection, DecodeError> {
        let mut reader = Reader::new(bytes);
        let name = reader.string("a collection name")?;
        let schema = read_schema(&mut reader)?;
        let next_index = u16::try_from(reader.number("an index number")?);
        let next_index = next_index.map_err(|_| reader.error("an index number"))?;
        let count = reader.count("a number of indexes")?;
        let indexes = (0..count).map(|_| Index::decode(&mut reader));
        let indexes = indexes.collect::<Result<Vec<_>, _>>()?;
        reader.end()?;
        Ok(Collection { number, name, schema, indexes, next_index })
    }

    /// Reads how far the indexes are that are being built.
    fn load_positions(&mut self, view: &impl View) -> Result<(), Fatal> {
        for index in &mut self.indexes {
            if let IndexState::Building(position) = &mut index.state {
                *position = read_position(view, self.number, index.number)?;
            }
        }
        Ok(())
    }
}

/// How far the build of an index is.
pub(crate) fn read_position(
    view: &impl View,
    collection: u32,
    index: u16,
) -> Result<Position, Fatal> {
    let damaged = |what: String| {
        Fatal::Damaged(format!("the build of index {index} of collection {collection}: {what}"))
    };
    let row = view.get(&keys::build(collection, index))?;
    let row = row.ok_or_else(|| damaged("its position is not there".to_owned()))?;
    Position::decode(&row).map_err(|error| damaged(error.to_string()))
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
            let mut collection = collection.map_err(|error| damaged(error.to_string()))?;
            collection.load_positions(view)?;
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
