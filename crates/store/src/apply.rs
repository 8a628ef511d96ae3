//! Carries out one write over an overlay.

use crate::builds::state_word;
use crate::catalog::{Catalog, Collection, read_position};
use crate::documents::Writing;
use crate::engine::{Direction, View};
use crate::failure::{Failure, Fatal, Outcome, bad_request};
use crate::feed::{self, ChangeRows};
use crate::index::{Index, IndexState};
use crate::keys;
use crate::overlay::Overlay;
use crate::references::References;
use crate::store::Group;
use crate::{pairs, sweep, validate};
use api::value::ID_FIELD;
use api::{Document, Error, ErrorCode, Request, Schema, Value};
use bson::doc;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the store keeps in memory beside the engine; a function of the rows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) applied_slot: u64,
    /// Rises with every change of the catalog.
    pub(crate) catalog_version: u64,
    pub(crate) next_collection: u32,
    pub(crate) catalog: Catalog,
    /// Documents per collection number.
    pub(crate) counts: BTreeMap<u32, u64>,
    /// Numbers of destroyed collections with rows left.
    pub(crate) destroyed: BTreeSet<u32>,
    /// Collections and numbers of dropped indexes with rows left.
    pub(crate) dropped: BTreeSet<(u32, u16)>,
    /// Collections and numbers of indexes that are being built, with the collection's name.
    pub(crate) building: BTreeMap<(u32, u16), String>,
    pub(crate) references: References,
    pub(crate) change_rows: ChangeRows,
    /// Where the removal of rows that nothing sees goes on.
    pub(crate) sweep: sweep::Place,
    pub(crate) group: Option<Group>,
}

/// One write on its way.
pub(crate) struct Applying<'a, V> {
    pub(crate) overlay: &'a mut Overlay<V>,
    pub(crate) state: &'a mut State,
    /// The clock of the node that took the request, in milliseconds since 1970-01-01 UTC.
    pub(crate) time_ms: u64,
    #[cfg(feature = "planted-bugs")]
    pub(crate) planted: Option<crate::PlantedBug>,
}

impl<V: View> Applying<'_, V> {
    /// Carries out a request. On a failure the overlay must be rolled back; the state is unchanged.
    pub(crate) fn run(&mut self, request: &Request) -> Outcome<Value> {
        match request {
            Request::Create { collection, schema } => self.create(collection, schema),
            Request::Destroy { collection } => self.destroy(collection),
            Request::Insert { collection, documents, list } => {
                self.insert(collection, documents, *list)
            }
            Request::Update { collection, filter, changes, options } => {
                self.update(collection, filter, changes, options)
            }
            Request::Replace { collection, filter, document, upsert } => {
                self.replace(collection, filter, document, upsert)
            }
            Request::Modify { collection, filter, action, options } => {
                self.modify(collection, filter, action, options)
            }
            Request::Delete { collection, filter, multi } => {
                self.delete(collection, filter, *multi)
            }
            Request::Write { key, value } => {
                validate::check_key(key)?;
                pairs::write(self.overlay, key, value)
            }
            Request::Swap { key, value } => {
                validate::check_key(key)?;
                pairs::swap(self.overlay, key, value)
            }
            Request::Cas { key, expected, value } => {
                validate::check_key(key)?;
                pairs::compare_and_set(self.overlay, key, expected, value)
            }
            Request::Batch { requests } => self.batch(requests),
            Request::Expect(expectation) => self.expect(expectation),
            Request::Forget { reference } => self.state.references.forget(self.overlay, reference),
            Request::CreateIndex { collection, index } => self.create_index(collection, index),
            Request::DropIndex { collection, name } => self.drop_index(collection, name),
            Request::Alter { collection, add, drop, check } => {
                self.alter(collection, add, drop, *check)
            }
            Request::BuildIndex { documents } => self.build_index(*documents),
            Request::Describe { .. }
            | Request::Search { .. }
            | Request::Count { .. }
            | Request::Distinct { .. }
            | Request::Aggregate { .. }
            | Request::Read { .. }
            | Request::Next { .. }
            | Request::Close { .. }
            | Request::Watch(_)
            | Request::Status { .. }
            | Request::Members
            | Request::Member(_)
            | Request::Fault(_)
            | Request::Hello { .. } => Err(bad_request(format!(
                "{} is no write; it does not go through the log",
                request.name()
            ))
            .into()),
        }
    }

    fn create(&mut self, name: &str, schema: &Schema) -> Outcome<Value> {
        validate::check_collection_name(name)?;
        validate::check_schema(schema)?;
        if self.state.catalog.collections.contains_key(name) {
            return Err(Error::new(
                ErrorCode::CollectionExists,
                format!(
                    "collection {name:?} exists already; destroy it first or take another name"
                ),
            )
            .into());
        }
        let number = self.state.next_collection;
        self.state.next_collection += 1;
        let collection = Collection::new(number, name.to_owned(), schema.clone())?;
        self.overlay.put_fresh(keys::count(number), 0u64.to_be_bytes().to_vec());
        self.state.counts.insert(number, 0);
        self.set_collection(collection);
        Ok(Value::Null)
    }

    /// The name is free at once; the rows go with later batches.
    fn destroy(&mut self, name: &str) -> Outcome<Value> {
        let collection = Arc::clone(self.state.catalog.get(name)?);
        let number = collection.number;
        for index in &collection.indexes {
            if self.state.building.remove(&(number, index.number)).is_some() {
                self.overlay.delete(keys::build(number, index.number));
            }
        }
        // Their rows go with those of the collection.
        for (_, index) in self.state.dropped.extract_if((number, 0)..=(number, u16::MAX), |_| true)
        {
            self.overlay.delete(keys::dropped(number, index));
        }
        self.overlay.delete(keys::catalog(number));
        self.overlay.delete(keys::count(number));
        self.overlay.put_fresh(keys::destroyed(number), Vec::new());
        self.state.catalog.collections.remove(name);
        self.state.counts.remove(&number);
        self.state.destroyed.insert(number);
        self.state.catalog_version += 1;
        Ok(Value::Null)
    }

    fn insert(&mut self, name: &str, documents: &[Document], list: bool) -> Outcome<Value> {
        let collection = Arc::clone(self.state.catalog.get(name)?);
        let mut writing = self.writing(&collection);
        for document in documents {
            writing.insert(document)?;
        }
        let multikey = writing.multikey;
        self.finish(&collection, &multikey, documents.len() as i64);
        let mut ids = documents.iter().filter_map(|document| document.get(ID_FIELD).cloned());
        if list {
            return Ok(Value::Array(ids.collect()));
        }
        ids.next().ok_or_else(|| bad_request("insert: there is no document").into())
    }

    pub(crate) fn writing<'w>(&'w mut self, collection: &'w Collection) -> Writing<'w, V> {
        Writing {
            overlay: self.overlay,
            collection,
            multikey: BTreeSet::new(),
            #[cfg(feature = "planted-bugs")]
            planted: self.planted,
        }
    }

    /// What follows a change that went well: from here nothing is taken back.
    pub(crate) fn finish(
        &mut self,
        collection: &Collection,
        multikey: &BTreeSet<(u16, usize)>,
        added: i64,
    ) {
        if added != 0 {
            let count = self.state.counts.entry(collection.number).or_default();
            *count = count.saturating_add_signed(added);
            let bytes = count.to_be_bytes().to_vec();
            self.overlay.put(keys::count(collection.number), bytes);
        }
        if !multikey.is_empty() {
            let mut collection = collection.clone();
            for index in &mut collection.indexes {
                for (field, multikey_field) in index.multikey.iter_mut().enumerate() {
                    *multikey_field |= multikey.contains(&(index.number, field));
                }
            }
            self.set_collection(collection);
        }
    }

    pub(crate) fn set_collection(&mut self, collection: Collection) {
        let number = collection.number;
        self.state.building.retain(|(of, _), _| *of != number);
        self.state.building.extend(building(&collection));
        self.overlay.put(keys::catalog(collection.number), collection.encode());
        let name = collection.name.clone();
        self.state.catalog.collections.insert(name, Arc::new(collection));
        self.state.catalog_version += 1;
    }
}

/// The indexes of a collection that are being built, as [`State::building`] has them.
fn building(collection: &Collection) -> Vec<((u32, u16), String)> {
    let is_built = |index: &&Index| matches!(index.state, IndexState::Building(_));
    let indexes = collection.indexes.iter().filter(is_built);
    indexes.map(|index| ((collection.number, index.number), collection.name.clone())).collect()
}

/// What `describe` answers of one collection.
pub(crate) fn describe(view: &impl View, collection: &Collection) -> Result<Value, Fatal> {
    let mut schema = Document::new();
    for field in &collection.schema.fields {
        let mut description = doc! {
            "type": field.kind.as_str(),
            "index": field.index || field.unique,
            "unique": field.unique,
            "required": field.required,
        };
        if let Some(default) = &field.default {
            description.insert("default", default.clone());
        }
        schema.insert(field.name.clone(), description);
    }
    let id = doc! { "name": "_id_", "keys": { ID_FIELD: 1i64 }, "unique": true, "state": "ready" };
    let mut indexes = vec![Value::Document(id)];
    for index in &collection.indexes {
        indexes.push(describe_index(view, collection, index)?);
    }
    let count = read_count(view, collection.number)? as i64;
    Ok(Value::from(doc! { "schema": schema, "indexes": indexes, "documents": count }))
}

fn describe_index(
    view: &impl View,
    collection: &Collection,
    index: &Index,
) -> Result<Value, Fatal> {
    let mut description = doc! {
        "name": index.name(),
        "keys": index.spec.keys_document(),
        "unique": index.spec.unique,
    };
    if index.spec.sparse {
        description.insert("sparse", true);
    }
    if let Some(filter) = &index.spec.filter {
        description.insert("where", filter.clone());
    }
    let lists = index.multikey.iter().zip(index.paths()).filter(|(multikey, _)| **multikey);
    let lists: Vec<&str> = lists.map(|(_, path)| path.as_str()).collect();
    if !lists.is_empty() {
        description.insert("lists", lists);
    }
    description.insert("state", state_word(index));
    match &index.state {
        IndexState::Ready => {}
        IndexState::Building(_) => {
            // The catalog that readers keep is older.
            let position = read_position(view, collection.number, index.number)?;
            description.insert("documents_done", position.documents as i64);
        }
        IndexState::Failed(reason) => {
            description.insert("reason", reason.to_string());
        }
    }
    Ok(Value::Document(description))
}

/// What is known of collections in memory.
pub(crate) struct Collections {
    pub(crate) catalog: Catalog,
    pub(crate) counts: BTreeMap<u32, u64>,
    pub(crate) destroyed: BTreeSet<u32>,
    pub(crate) dropped: BTreeSet<(u32, u16)>,
    pub(crate) building: BTreeMap<(u32, u16), String>,
}

impl Collections {
    pub(crate) fn load(view: &impl View) -> Result<Collections, Fatal> {
        let catalog = Catalog::load(view)?;
        let mut counts = BTreeMap::new();
        for collection in catalog.collections.values() {
            counts.insert(collection.number, read_count(view, collection.number)?);
        }
        let mut destroyed = BTreeSet::new();
        let (from, to) = keys::family_range(keys::family::DESTROYED);
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, _) = row?;
            let number = key.get(1..).and_then(|bytes| bytes.try_into().ok());
            let number = number.ok_or_else(|| Fatal::Damaged(format!("row {key:02x?}")))?;
            destroyed.insert(u32::from_be_bytes(number));
        }
        let mut dropped = BTreeSet::new();
        let (from, to) = keys::family_range(keys::family::DROPPED);
        for row in view.range(&from, &to, Direction::Forward) {
            let (key, _) = row?;
            let named = keys::index_named(&key);
            dropped.insert(named.ok_or_else(|| Fatal::Damaged(format!("row {key:02x?}")))?);
        }
        let building = catalog.collections.values().flat_map(|one| building(one)).collect();
        Ok(Collections { catalog, counts, destroyed, dropped, building })
    }
}

impl State {
    pub(crate) fn load(view: &impl View, meta: crate::store::Meta) -> Result<State, Fatal> {
        let Collections { catalog, counts, destroyed, dropped, building } =
            Collections::load(view)?;
        Ok(State {
            applied_slot: meta.applied_slot,
            catalog_version: meta.catalog_version,
            next_collection: meta.next_collection,
            catalog,
            counts,
            destroyed,
            dropped,
            building,
            references: References::load(view)?,
            change_rows: ChangeRows::load(view)?,
            sweep: sweep::Place::default(),
            group: Group::read(view)?,
        })
    }
}

/// The number of documents of a collection.
pub(crate) fn read_count(view: &impl View, collection: u32) -> Result<u64, Fatal> {
    let row = view.get(&keys::count(collection))?;
    let bytes = row.as_deref().and_then(|row| row.try_into().ok());
    let bytes = bytes.ok_or_else(|| Fatal::Damaged(format!("count of collection {collection}")))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Checks what must hold between the rows of all collections.
pub(crate) fn verify(view: &impl View, state: &State) -> Result<(), Fatal> {
    feed::verify(view, state.change_rows)?;
    for collection in state.catalog.collections.values() {
        let count = crate::verify::verify(view, collection, &state.dropped)?;
        if read_count(view, collection.number)? != count {
            return Err(Fatal::Damaged(format!(
                "collection {}: it has {count} documents, but another count is written",
                collection.name
            )));
        }
    }
    Ok(())
}

impl From<bson::error::Error> for Failure {
    fn from(error: bson::error::Error) -> Failure {
        Failure::Fatal(Fatal::Damaged(error.to_string()))
    }
}
