//! Changes to documents and, with them, to the index entries.
//!
//! Every write goes through [`Writing`], which keeps the invariants:
//! 1. A document has exactly the entries that [`Index::entries`] names, in every index that
//!    [keeps](Index::keeps) it, and no others.
//! 2. No two documents have the same exclusive entry of a unique index.
//! 3. The count of a collection is the number of its documents.

use crate::catalog::Collection;
use crate::engine::View;
use crate::failure::{Failure, Outcome, show, too_large};
use crate::index::{Entries, Entry, Index, duplicate};
use crate::keys;
use crate::overlay::Overlay;
use crate::scan::{Found, decode};
use crate::schema;
use crate::validate;
use api::value::ID_FIELD;
use api::{Document, Error, Value, binary};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Longest key of an `_id`, in encoded bytes.
pub const ID_KEY_BYTES_MAX: usize = 2048;
/// Most bytes of rows that one command writes, every version of a row counted.
pub const WRITTEN_BYTES_MAX: usize = 64 << 20;

/// The writing side of one operation on one collection.
pub(crate) struct Writing<'a, V> {
    pub(crate) overlay: &'a mut Overlay<V>,
    pub(crate) collection: &'a Collection,
    /// Fields of indexes that got their first list: the index's number, the field's position.
    pub(crate) multikey: BTreeSet<(u16, usize)>,
    /// Skips one safety line, for a test that must notice.
    #[cfg(feature = "planted-bugs")]
    pub(crate) planted: Option<crate::PlantedBug>,
}

/// A document that an update changed.
struct Changed {
    id_key: Bytes,
    /// Its bytes before.
    before: Bytes,
    document: Document,
    /// The fields of the document that differ, if all others stand as they stood; none: not told.
    fields: Option<Vec<String>>,
}

impl Changed {
    /// Whether the document's entries in an index, their forms included, are sure to be as they were: they follow from the
    /// values at the index's paths, from those of `_id`, and from the order in which all these stand.
    fn leaves(&self, index: &Index) -> bool {
        let Some(fields) = &self.fields else { return false };
        let is_changed = |name: &str| fields.iter().any(|field| field == name);
        index.filter().is_none()
            && !is_changed(ID_FIELD)
            && !index.paths().iter().any(|path| is_changed(path.first()))
    }
}

/// The fields of a document whose bytes are others than before, if what differs is no more than that, and fields
/// that were added at the end.
fn changed_fields(before: &[u8], after: &[u8]) -> Option<Vec<String>> {
    let mut changed = Vec::new();
    let (mut before, mut after) = (binary::fields(before), binary::fields(after));
    loop {
        let field = match (before.next(), after.next()) {
            (None, None) => return Some(changed),
            #[cfg(feature = "planted-bugs")]
            (None, Some(_)) if crate::planted(crate::PlantedBug::AddedFieldsUnnoticed) => continue,
            (None, Some(added)) => added?,
            (Some(old), Some(new)) => {
                let (old, new) = (old?, new?);
                if old.name != new.name {
                    return None;
                }
                if old.bytes == new.bytes {
                    continue;
                }
                new
            }
            (Some(_), None) => return None,
        };
        changed.push(std::str::from_utf8(field.name).ok()?.to_owned());
    }
}

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
        let document = &*schema::complete(&self.collection.schema, document)?;
        schema::check(&self.collection.name, &self.collection.schema, document)?;
        let row = keys::document(self.collection.number, &id_key);
        if self.overlay.get(&row)?.is_some() {
            let key = format!("{ID_FIELD}: {}", show(id));
            return Err(duplicate(&self.collection.name, "_id_", &key).into());
        }
        let collection = self.collection;
        for index in collection.indexes.iter().filter(|index| index.keeps(&id_key)) {
            let entries = self.entries(index, document)?;
            for entry in &entries.entries {
                self.put_entry(index, &id_key, entry, &entries.form)?;
            }
        }
        self.overlay.put_fresh(row, self.encode(document)?);
        Ok(())
    }

    pub(crate) fn delete(&mut self, found: &Found) -> Outcome<()> {
        let collection = self.collection;
        for index in collection.indexes.iter().filter(|index| index.keeps(&found.id_key)) {
            for entry in self.entries(index, &found.document)?.entries {
                self.overlay.delete(index.row(collection.number, &entry, &found.id_key));
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
        for Found { id_key, mut document, row, .. } in found {
            let before = match row {
                Some(row) => row,
                None => Bytes::from(self.encode(&document)?),
            };
            change(&mut document)?;
            schema::complete_required(&self.collection.schema, &mut document);
            let after = Bytes::from(self.encode(&document)?);
            if after == before {
                continue;
            }
            validate::check_written_document(
                "update: the document after it",
                &document,
                after.len(),
            )?;
            schema::check(&self.collection.name, &self.collection.schema, &document)?;
            let row = keys::document(self.collection.number, &id_key);
            self.overlay.put(row, after.clone());
            check_written(self.overlay)?;
            let fields = changed_fields(&before, &after);
            changed.push(Changed { id_key, before, document, fields });
        }
        let collection = self.collection;
        for index in &collection.indexes {
            self.update_index(index, &changed)?;
        }
        Ok(changed.len() as i64)
    }

    fn update_index(&mut self, index: &Index, changed: &[Changed]) -> Outcome<()> {
        let concerned = |one: &&Changed| index.keeps(&one.id_key) && !one.leaves(index);
        let concerned: Vec<&Changed> = changed.iter().filter(concerned).collect();
        let mut added = Vec::new();
        for one in concerned {
            let before = decode(&one.before)?;
            let Entries { entries: old, form: old_form, .. } = self.entries(index, &before)?;
            let Entries { entries: new, form, .. } = self.entries(index, &one.document)?;
            let is_same_form = form == old_form || keeps_old_form();
            let has = |entries: &[Entry<'_>], entry: &Entry<'_>| {
                is_same_form && entries.iter().any(|other| other.key == entry.key)
            };
            for entry in old.iter().filter(|entry| !has(&new, entry)) {
                #[cfg(feature = "planted-bugs")]
                if self.planted == Some(crate::PlantedBug::OldIndexEntriesStay) {
                    continue;
                }
                self.overlay.delete(index.row(self.collection.number, entry, &one.id_key));
            }
            let is_new = |entry: &Entry<'_>| !has(&old, entry);
            let new: Vec<Entry<'_>> = new.into_iter().filter(is_new).collect();
            added.push((&one.id_key, new, form));
        }
        for (id_key, entries, form) in added {
            for entry in entries {
                self.put_entry(index, id_key, &entry, &form)?;
            }
        }
        Ok(())
    }

    /// The entries of a document in an index, each once.
    pub(crate) fn entries<'d>(
        &mut self,
        index: &Index,
        document: &'d Document,
    ) -> Outcome<Entries<'d>> {
        let entries = index.entries(&self.collection.name, document)?;
        for field in &entries.lists {
            if !index.multikey[*field] {
                self.multikey.insert((index.number, *field));
            }
        }
        Ok(entries)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// If another document has it and only one may.
    pub(crate) fn put_entry(
        &mut self,
        index: &Index,
        id_key: &[u8],
        entry: &Entry<'_>,
        form: &[u8],
    ) -> Outcome<()> {
        check_written(self.overlay)?;
        let row = index.row(self.collection.number, entry, id_key);
        if index.is_exclusive(entry) {
            let holder = self.unique_holder(&row)?;
            // No `_id` key is the beginning of another's.
            if holder.is_some_and(|holder| !holder.starts_with(id_key)) {
                return Err(index.duplicate(&self.collection.name, entry).into());
            }
        }
        self.overlay.put_fresh(row, index.row_value(entry, id_key, form));
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
        let bytes = binary::to_bytes(document).map_err(|error| {
            crate::failure::bad_request(format!("a document cannot be stored: {error}"))
        });
        Ok(bytes?)
    }
}

#[cfg(feature = "planted-bugs")]
fn keeps_old_form() -> bool {
    crate::planted(crate::PlantedBug::OldFormStays)
}

#[cfg(not(feature = "planted-bugs"))]
fn keeps_old_form() -> bool {
    false
}

/// Refuses a command that writes more than one entry may. What it says is bounded by its frame, but what it
/// does to many documents, or puts into many indexes, is not; every node must be able to hold it.
pub(crate) fn check_written<V: View>(overlay: &Overlay<V>) -> Result<(), Error> {
    if overlay.written_bytes() > WRITTEN_BYTES_MAX {
        return Err(too_large(format!(
            "the request would write more than {WRITTEN_BYTES_MAX} bytes of documents and index entries in one step; \
             divide it, for example by ranges of _id"
        )));
    }
    Ok(())
}
