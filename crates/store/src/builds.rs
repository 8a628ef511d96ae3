//! Making and dropping indexes while writes go on.
//!
//! An index on a collection with documents is *building* from the entry that makes it on. It is built in
//! steps, each an entry of its own ([`api::Request::BuildIndex`]) that takes the next documents in the
//! order of `_id`, a bounded number. Between them stand the entries of clients. The position of the build
//! divides the collection: a document at or before it has its entries, and whatever writes it keeps them;
//! one behind it has none. So every row follows from the log alone, however far a node is.

use crate::apply::Applying;
use crate::catalog::Collection;
use crate::documents::WRITTEN_BYTES_MAX;
use crate::engine::{Direction, View};
use crate::failure::{Failure, Outcome, too_large};
use crate::index::{self, Index, IndexState, Position};
use crate::keys;
use crate::scan::decode;
use api::limits::INDEXES_PER_COLLECTION_MAX;
use api::{Document, Error, ErrorCode, IndexSpec, Value};
use bson::doc;
use bytes::Bytes;
use std::sync::Arc;

/// Most documents that one step of a build looks at, whatever its entry says.
pub const BUILD_STEP_DOCUMENTS: usize = 1000;
/// Documents that the entry looks at which makes the index: few enough, and it is ready at once.
pub const BUILD_FIRST_DOCUMENTS: usize = 100;
/// Bytes of documents after which a step ends.
pub const BUILD_STEP_BYTES: usize = 4 << 20;

/// The documents of one step.
struct Step {
    documents: Vec<(Bytes, Document)>,
    /// Whether there are no more behind them.
    is_last: bool,
}

impl<V: View> Applying<'_, V> {
    pub(crate) fn create_index(&mut self, name: &str, spec: &IndexSpec) -> Outcome<Value> {
        let before = self.state.catalog.collections.get(name).cloned();
        let (dropped, building) = (self.state.dropped.clone(), self.state.building.clone());
        let version = self.state.catalog_version;
        let made = self.make_index(name, spec);
        if made.is_err()
            && let Some(before) = before
        {
            self.state.catalog.collections.insert(name.to_owned(), before);
            (self.state.dropped, self.state.building) = (dropped, building);
            self.state.catalog_version = version;
        }
        made
    }

    fn make_index(&mut self, name: &str, spec: &IndexSpec) -> Outcome<Value> {
        index::check(spec)?;
        let collection = Arc::clone(self.state.catalog.get(name)?);
        if let Some(same) = collection.indexes.iter().find(|index| index.spec == *spec) {
            return Ok(answer(same));
        }
        let mut collection = (*collection).clone();
        let number = self.add_index(&mut collection, spec.clone(), false)?;
        self.set_collection(collection);
        self.step(name, number, first_documents())?;
        let collection = self.state.catalog.get(name)?;
        let index = collection.indexes.iter().find(|index| index.number == number);
        match index.map(|index| &index.state) {
            // Not even begun: the entry is refused as a whole.
            Some(IndexState::Failed(reason)) => Err(reason.clone().into()),
            _ => Ok(index.map_or(Value::Null, answer)),
        }
    }

    pub(crate) fn drop_index(&mut self, name: &str, index: &str) -> Outcome<Value> {
        let mut collection = (**self.state.catalog.get(name)?).clone();
        let Some(position) = collection.indexes.iter().position(|other| other.name() == index)
        else {
            return Err(Error::new(
                ErrorCode::UnknownIndex,
                format!(
                    "collection {name}: there is no index {index:?} to drop; there are {}",
                    collection.index_names()
                ),
            )
            .into());
        };
        self.remove_index(&mut collection, position);
        self.set_collection(collection);
        Ok(Value::Null)
    }

    /// One more step of the oldest build.
    pub(crate) fn build_index(&mut self, documents: u32) -> Outcome<Value> {
        let documents = (documents as usize).clamp(1, BUILD_STEP_DOCUMENTS);
        let oldest = self.state.building.iter().next();
        if let Some(((_, number), name)) = oldest.map(|(at, name)| (*at, name.clone())) {
            self.step(&name, number, documents)?;
        }
        Ok(Value::Null)
    }

    /// Adds an index to a collection that is then to be [set](Applying::set_collection), and answers its
    /// number. If there are documents it is to be built.
    pub(crate) fn add_index(
        &mut self,
        collection: &mut Collection,
        spec: IndexSpec,
        declared: bool,
    ) -> Outcome<u16> {
        let exists = |message: String| Error::new(ErrorCode::IndexExists, message);
        for other in &collection.indexes {
            let is_same = other.spec.keys == spec.keys
                && other.spec.sparse == spec.sparse
                && other.spec.filter == spec.filter;
            if other.name() == spec.name || is_same {
                return Err(exists(format!(
                    "collection {}: index {} exists already, on {} with other options or another name; \
                     drop it first",
                    collection.name,
                    other.name(),
                    Value::Document(other.spec.keys_document())
                ))
                .into());
            }
        }
        if collection.indexes.len() >= INDEXES_PER_COLLECTION_MAX {
            return Err(too_large(format!(
                "collection {}: it has {INDEXES_PER_COLLECTION_MAX} indexes, the most there may be; \
                 drop one first",
                collection.name
            ))
            .into());
        }
        let number = collection.next_index;
        collection.next_index = number.checked_add(1).ok_or_else(|| {
            too_large(format!("collection {}: it has had too many indexes", collection.name))
        })?;
        let mut index = Index::new(number, spec, declared)?;
        let is_empty = self.state.counts.get(&collection.number).is_none_or(|count| *count == 0);
        if !is_empty {
            index.state = IndexState::Building(Position::default());
            let row = keys::build(collection.number, number);
            self.overlay.put_fresh(row, Position::default().encode());
        }
        collection.indexes.push(index);
        Ok(number)
    }

    /// Takes an index from a collection that is then to be set. Its rows go with later batches.
    pub(crate) fn remove_index(&mut self, collection: &mut Collection, position: usize) {
        let index = collection.indexes.remove(position);
        self.drop_rows(collection.number, index.number);
        if index.declared
            && let Some(key) = index.spec.keys.first()
            && let Some(field) = collection.schema.fields.iter_mut().find(|f| f.name == key.path)
        {
            (field.index, field.unique) = (false, false);
        }
    }

    fn drop_rows(&mut self, collection: u32, index: u16) {
        self.overlay.delete(keys::build(collection, index));
        self.overlay.put(keys::dropped(collection, index), Vec::new());
        self.state.dropped.insert((collection, index));
    }

    /// Takes the next documents into an index that is being built.
    fn step(&mut self, name: &str, number: u16, documents_max: usize) -> Outcome<()> {
        let collection = Arc::clone(self.state.catalog.get(name)?);
        let Some(place) = collection.indexes.iter().position(|index| index.number == number) else {
            return Ok(());
        };
        let index = &collection.indexes[place];
        let IndexState::Building(position) = &index.state else { return Ok(()) };
        let step = self.read_step(collection.number, position, documents_max)?;
        let mut position = position.clone();
        let mut writing = self.writing(&collection);
        let (mut failed, mut is_cut) = (None, false);
        for (id_key, document) in &step.documents {
            let added = writing.entries(index, document).and_then(|entries| {
                let form = &entries.form;
                let put = |entry| writing.put_entry(index, id_key, entry, form);
                entries.entries.iter().try_for_each(put)
            });
            match added {
                Ok(()) => {}
                Err(Failure::Rejected(error)) => {
                    failed = Some(error);
                    break;
                }
                Err(fatal) => return Err(fatal),
            }
            position.documents += 1;
            position.id_key = id_key.to_vec();
            if writing.overlay.written_bytes() >= WRITTEN_BYTES_MAX / 2 {
                is_cut = true;
                break;
            }
        }
        let multikey = writing.multikey;
        let mut collection = (*collection).clone();
        let index = &mut collection.indexes[place];
        for (_, field) in &multikey {
            index.multikey[*field] = true;
        }
        index.state = match failed {
            Some(reason) => {
                self.drop_rows(collection.number, number);
                IndexState::Failed(reason)
            }
            None if step.is_last && !is_cut => {
                self.overlay.delete(keys::build(collection.number, number));
                IndexState::Ready
            }
            None => {
                self.overlay.put(keys::build(collection.number, number), position.encode());
                IndexState::Building(position)
            }
        };
        if multikey.is_empty() && matches!(index.state, IndexState::Building(_)) {
            // Only the position moved, which stands in a row of its own.
            self.state.catalog.collections.insert(collection.name.clone(), Arc::new(collection));
        } else {
            self.set_collection(collection);
        }
        Ok(())
    }

    fn read_step(
        &self,
        collection: u32,
        position: &Position,
        documents_max: usize,
    ) -> Result<Step, Failure> {
        let prefix = keys::documents(collection);
        let (start, end) = keys::prefix_range(&prefix);
        // The smallest key behind the last one.
        let behind = [&prefix[..], &position.id_key, &[0]].concat();
        let from = if position.id_key.is_empty() { start } else { behind };
        let mut documents = Vec::new();
        let mut bytes = 0;
        for row in self.overlay.range(&from, &end, Direction::Forward) {
            let (key, value) = row?;
            if documents.len() == documents_max || bytes >= BUILD_STEP_BYTES {
                return Ok(Step { documents, is_last: false });
            }
            bytes += value.len();
            documents.push((key.slice(prefix.len()..), decode(&value)?));
        }
        Ok(Step { documents, is_last: true })
    }
}

#[cfg(feature = "planted-bugs")]
fn first_documents() -> usize {
    crate::FIRST_DOCUMENTS.get()
}

#[cfg(not(feature = "planted-bugs"))]
fn first_documents() -> usize {
    BUILD_FIRST_DOCUMENTS
}

/// What making an index answers.
fn answer(index: &Index) -> Value {
    let mut answer = doc! { "name": index.name(), "state": state_word(index) };
    if let IndexState::Failed(reason) = &index.state {
        answer.insert("reason", reason.to_string());
    }
    Value::Document(answer)
}

pub(crate) fn state_word(index: &Index) -> &'static str {
    match index.state {
        IndexState::Ready => "ready",
        IndexState::Building(_) => "building",
        IndexState::Failed(_) => "failed",
    }
}
