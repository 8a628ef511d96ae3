//! Changes to documents and, with them, to the index entries.
//!
//! Every write goes through [`Writing`], which keeps the invariants:
//! 1. A document has exactly the entries that [`entry_keys`] names, in every index.
//! 2. No two documents have the same entry of a unique index, null and absence excepted.
//! 3. The count of a collection is the number of its documents.

use crate::catalog::{Collection, Index};
use crate::engine::{Direction, View};
use crate::failure::{Failure, Outcome, show, too_large};
use crate::keys;
use crate::overlay::Overlay;
use crate::schema;
use crate::search::{Found, entry_id_key};
use crate::validate;
use api::value::ID_FIELD;
use api::{Document, Error, ErrorCode, Value};
use std::collections::BTreeSet;

/// Longest key of an `_id`, in encoded bytes.
pub const ID_KEY_BYTES_MAX: usize = 2048;
/// Longest key of an indexed value, in encoded bytes.
pub const INDEX_KEY_BYTES_MAX: usize = 8192;

/// The writing side of one operation on one collection.
pub(crate) struct Writing<'a, V> {
    pub(crate) overlay: &'a mut Overlay<V>,
    pub(crate) collection: &'a Collection,
    /// Indexes that got their first list.
    pub(crate) multikey: BTreeSet<u16>,
    /// Skips one safety line, for a test that must notice.
    #[cfg(feature = "planted-bugs")]
    pub(crate) planted: Option<crate::PlantedBug>,
}

/// One entry of an index: the value it stands for and its key.
type Entry = (Value, Vec<u8>);

impl<V: View> Writing<'_, V> {
    pub(crate) fn insert(&mut self, document: &Document) -> Outcome<()> {
        let id = document.get(ID_FIELD);
        validate::check_id(id)?;
        let id = id.unwrap_or(&Value::Null);
        let id_key = keys::encode(id);
        if id_key.len() > ID_KEY_BYTES_MAX {
            return Err(too_large(format!(
                "collection {}: the _id {} takes {} bytes as a key; the most is {ID_KEY_BYTES_MAX}",
                self.collection.name,
                show(id),
                id_key.len()
            ))
            .into());
        }
        schema::check(&self.collection.name, &self.collection.schema, document)?;
        let row = keys::document(self.collection.number, &id_key);
        if self.overlay.get(&row)?.is_some() {
            return Err(duplicate(self.collection, "_id_", ID_FIELD, id).into());
        }
        for index in &self.collection.indexes {
            for entry in self.entries(index, document)? {
                self.put_entry(index, &id_key, entry)?;
            }
        }
        self.overlay.put_fresh(row, self.encode(document)?);
        Ok(())
    }

    pub(crate) fn delete(&mut self, found: &Found) -> Outcome<()> {
        for index in &self.collection.indexes {
            for (value, key) in self.entries(index, &found.document)? {
                self.overlay.delete(self.entry_row(index, &value, &key, &found.id_key));
            }
        }
        self.overlay.delete(keys::document(self.collection.number, &found.id_key));
        Ok(())
    }

    /// Changes all the documents and answers how many are others now. All old entries go before the
    /// first new one comes, so that only the outcome has to be unique, not each step to it.
    pub(crate) fn update(
        &mut self,
        found: Vec<Found>,
        change: &mut dyn FnMut(&mut Document) -> Result<(), Error>,
    ) -> Outcome<i64> {
        let mut changed = Vec::new();
        for found in found {
            let mut document = found.document.clone();
            change(&mut document)?;
            let bytes = self.encode(&document)?;
            if bytes == self.encode(&found.document)? {
                continue;
            }
            validate::check_document("update: the document after it", &document)?;
            schema::check(&self.collection.name, &self.collection.schema, &document)?;
            self.overlay.put(keys::document(self.collection.number, &found.id_key), bytes);
            changed.push((found, document));
        }
        for index in &self.collection.indexes {
            self.update_index(index, &changed)?;
        }
        Ok(changed.len() as i64)
    }

    fn update_index(&mut self, index: &Index, changed: &[(Found, Document)]) -> Outcome<()> {
        let mut added = Vec::new();
        for (found, document) in changed {
            let old = self.entries(index, &found.document)?;
            let new = self.entries(index, document)?;
            for (value, key) in &old {
                if new.iter().any(|(_, new)| new == key) {
                    continue;
                }
                #[cfg(feature = "planted-bugs")]
                if self.planted == Some(crate::PlantedBug::OldIndexEntriesStay) {
                    continue;
                }
                self.overlay.delete(self.entry_row(index, value, key, &found.id_key));
            }
            let is_new = |(_, key): &Entry| !old.iter().any(|(_, old)| old == key);
            added.extend(new.into_iter().filter(is_new).map(|entry| (&found.id_key, entry)));
        }
        for (id_key, entry) in added {
            self.put_entry(index, id_key, entry)?;
        }
        Ok(())
    }

    /// The entries of a document in an index, each once.
    fn entries(&mut self, index: &Index, document: &Document) -> Outcome<Vec<Entry>> {
        let value = document.get(&index.field).unwrap_or(&Value::Null);
        if let Value::Array(_) = value
            && !index.multikey
        {
            self.multikey.insert(index.number);
        }
        let entries = entry_keys(value);
        for (value, key) in &entries {
            if key.len() > INDEX_KEY_BYTES_MAX {
                return Err(too_large(format!(
                    "collection {}: field {}: the value {} takes {} bytes in the index; the most \
                     is {INDEX_KEY_BYTES_MAX}",
                    self.collection.name,
                    index.field,
                    show(value),
                    key.len()
                ))
                .into());
            }
        }
        Ok(entries)
    }

    /// A unique entry names its one document in the row's value; others have its `_id` in the key,
    /// and so have the entries of null, which many documents may share.
    fn entry_row(&self, index: &Index, value: &Value, key: &[u8], id_key: &[u8]) -> Vec<u8> {
        let mut row = keys::index(self.collection.number, index.number);
        row.extend_from_slice(key);
        if !is_exclusive(index, value) {
            row.extend_from_slice(id_key);
        }
        row
    }

    fn put_entry(&mut self, index: &Index, id_key: &[u8], (value, key): Entry) -> Outcome<()> {
        let row = self.entry_row(index, &value, &key, id_key);
        if !is_exclusive(index, &value) {
            self.overlay.put_fresh(row, Vec::new());
            return Ok(());
        }
        let holder = self.unique_holder(&row)?;
        if holder.is_some_and(|holder| holder[..] != *id_key) {
            let error = duplicate(self.collection, &index.name(), &index.field, &value);
            return Err(error.into());
        }
        self.overlay.put_fresh(row, id_key.to_vec());
        Ok(())
    }

    fn unique_holder(&self, row: &[u8]) -> Outcome<Option<bytes::Bytes>> {
        #[cfg(feature = "planted-bugs")]
        if self.planted == Some(crate::PlantedBug::UniqueIgnoresOverlay) {
            return Ok(self.overlay.base().get(row)?);
        }
        Ok(self.overlay.get(row)?)
    }

    fn encode(&self, document: &Document) -> Result<Vec<u8>, Failure> {
        let bytes = document.to_vec().map_err(|error| {
            crate::failure::bad_request(format!("a document cannot be stored: {error}"))
        });
        Ok(bytes?)
    }
}

/// Whether only one document may have this entry.
fn is_exclusive(index: &Index, value: &Value) -> bool {
    index.unique && !matches!(value, Value::Null)
}

/// A list's entries are those of its elements, an empty one's is undefined, and an absent field's
/// is null.
pub(crate) fn entry_keys(value: &Value) -> Vec<Entry> {
    let Value::Array(elements) = value else { return vec![(value.clone(), keys::encode(value))] };
    if elements.is_empty() {
        return vec![(Value::Undefined, keys::encode(&Value::Undefined))];
    }
    let mut seen = BTreeSet::new();
    let entries = elements.iter().map(|element| (element.clone(), keys::encode(element)));
    entries.filter(|(_, key)| seen.insert(key.clone())).collect()
}

fn duplicate(collection: &Collection, index: &str, field: &str, value: &Value) -> Error {
    Error::new(
        ErrorCode::Duplicate,
        format!(
            "E11000 duplicate key error collection: {} index: {index} dup key: {{ {field}: {} }}",
            collection.name,
            show(value)
        ),
    )
}

/// Checks the invariants of a collection by reading all of it.
///
/// # Errors
/// The first broken one, as damage.
pub(crate) fn verify(view: &impl View, collection: &Collection) -> Result<u64, crate::Fatal> {
    let damaged =
        |what: String| crate::Fatal::Damaged(format!("collection {}: {what}", collection.name));
    let fatal = |failure: Failure| match failure {
        Failure::Fatal(fatal) => fatal,
        Failure::Rejected(error) => crate::Fatal::Damaged(error.to_string()),
    };
    let (prefix, to) = keys::prefix_range(&keys::documents(collection.number));
    let mut expected: BTreeSet<(u16, Vec<u8>, Vec<u8>)> = BTreeSet::new();
    let mut count = 0;
    for row in view.range(&prefix, &to, Direction::Forward) {
        let (key, value) = row?;
        let document = crate::search::decode(&value).map_err(fatal)?;
        let id_key = &key[prefix.len()..];
        if document.get(ID_FIELD).map(keys::encode).as_deref() != Some(id_key) {
            return Err(damaged(format!("the document at {id_key:02x?} has another _id")));
        }
        for index in &collection.indexes {
            let value = document.get(&index.field).unwrap_or(&Value::Null);
            for (_, key) in entry_keys(value) {
                expected.insert((index.number, key, id_key.to_vec()));
            }
        }
        count += 1;
    }
    let (start, end) = keys::prefix_range(&keys::indexes(collection.number));
    for row in view.range(&start, &end, Direction::Forward) {
        let (key, value) = row?;
        let length = start.len() + 2;
        let number = key.get(start.len()..length).and_then(|bytes| bytes.try_into().ok());
        let number = number.map(u16::from_be_bytes).unwrap_or(u16::MAX);
        let id_key = entry_id_key(&key, length, &value).map_err(fatal)?;
        let value_length = keys::length(&key[length..]).unwrap_or_default();
        let entry = (number, key[length..length + value_length].to_vec(), id_key.to_vec());
        if !expected.remove(&entry) {
            return Err(damaged(format!("index entry {key:02x?} belongs to no document")));
        }
    }
    match expected.first() {
        None => Ok(count),
        Some(missing) => Err(damaged(format!("index entry {missing:02x?} is missing"))),
    }
}
