//! Checks a collection by reading all of it, in bounded memory.
//!
//! Every entry that a document has must stand in its row: looked up, some thousands together in the order of
//! their rows. No two documents have an entry in the same row, or one of the look-ups finds the other's. So
//! if an index has as many rows as there are entries, it has no others; else the row too many is looked for
//! from its own side.

use crate::catalog::Collection;
use crate::engine::{Direction, View};
use crate::failure::{Failure, Fatal};
use crate::index::Index;
use crate::keys;
use crate::scan::{decode, id_key_of};
use api::Document;
use api::value::ID_FIELD;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of entries that wait to be looked up, but for those of the last document.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// A row that must be there, with its value.
type Expected = (Vec<u8>, Vec<u8>);

/// Checks the invariants of a collection (see [`crate::documents`]) and answers the number of documents.
///
/// # Errors
/// The first broken one, as damage.
pub(crate) fn verify(
    view: &impl View,
    collection: &Collection,
    dropped: &BTreeSet<(u32, u16)>,
) -> Result<u64, Fatal> {
    let mut check =
        Check { view, collection, waiting: Vec::new(), waiting_bytes: 0, entries: BTreeMap::new() };
    let documents = check.documents()?;
    check.rows(dropped)?;
    Ok(documents)
}

struct Check<'v, V> {
    view: &'v V,
    collection: &'v Collection,
    waiting: Vec<Expected>,
    waiting_bytes: usize,
    /// Entries of all documents, by the number of the index.
    entries: BTreeMap<u16, u64>,
}

impl<V: View> Check<'_, V> {
    /// Each document stands under its `_id`, and its entries stand in their rows.
    fn documents(&mut self) -> Result<u64, Fatal> {
        let (prefix, to) = keys::prefix_range(&keys::documents(self.collection.number));
        let mut count = 0;
        for row in self.view.range(&prefix, &to, Direction::Forward) {
            let (key, value) = row?;
            let document = decode(&value).map_err(fatal)?;
            let id_key = &key[prefix.len()..];
            if document.get(ID_FIELD).map(keys::encode).as_deref() != Some(id_key) {
                return Err(self.damaged(&format!("the document at {id_key:02x?} has another _id")));
            }
            for index in self.collection.indexes.iter().filter(|index| index.keeps(id_key)) {
                for (row, value) in self.rows_of(index, id_key, &document)? {
                    self.waiting_bytes += row.len() + value.len();
                    self.waiting.push((row, value));
                    *self.entries.entry(index.number).or_default() += 1;
                }
                if self.waiting_bytes > waiting_bytes_max() {
                    self.look_up()?;
                }
            }
            count += 1;
        }
        self.look_up()?;
        Ok(count)
    }

    /// The rows of a document in an index.
    fn rows_of(
        &self,
        index: &Index,
        id_key: &[u8],
        document: &Document,
    ) -> Result<Vec<Expected>, Fatal> {
        let entries = index.entries(&self.collection.name, document);
        let entries = entries.map_err(|error| self.damaged(&error.to_string()))?;
        if let Some(field) = entries.lists.iter().find(|field| !index.multikey[**field]) {
            return Err(self.damaged(&format!(
                "index {} does not know that field {} has lists",
                index.name(),
                index.paths()[*field]
            )));
        }
        let row = |entry| {
            let value = index.row_value(entry, id_key, &entries.form);
            (index.row(self.collection.number, entry, id_key), value)
        };
        Ok(entries.entries.iter().map(row).collect())
    }

    fn look_up(&mut self) -> Result<(), Fatal> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        // In the order in which they stand, so that each part of the store is read once.
        waiting.sort_unstable();
        for (row, value) in waiting {
            match self.view.get(&row)? {
                None => return Err(self.damaged(&format!("index entry {row:02x?} is missing"))),
                Some(found) if found[..] != value[..] => {
                    let what = format!("index entry {row:02x?} is not that of its document");
                    return Err(self.damaged(&what));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// There are no entries but those of documents.
    fn rows(&self, dropped: &BTreeSet<(u32, u16)>) -> Result<(), Fatal> {
        let (start, end) = keys::prefix_range(&keys::indexes(self.collection.number));
        let mut rows: BTreeMap<u16, u64> = BTreeMap::new();
        for row in self.view.range(&start, &end, Direction::Forward) {
            let (key, _) = row?;
            let unknown = || self.damaged(&format!("index entry {key:02x?} belongs to no index"));
            let number = key.get(start.len()..start.len() + 2).and_then(|key| key.try_into().ok());
            let number = number.map(u16::from_be_bytes).ok_or_else(unknown)?;
            if dropped.contains(&(self.collection.number, number)) {
                continue;
            }
            if !self.collection.indexes.iter().any(|index| index.number == number) {
                return Err(unknown());
            }
            *rows.entry(number).or_default() += 1;
        }
        for index in &self.collection.indexes {
            let of = |counts: &BTreeMap<u16, u64>| counts.get(&index.number).copied();
            if of(&rows) != of(&self.entries) {
                return Err(self.stray_row(index)?);
            }
        }
        Ok(())
    }

    /// The row that makes an index have more of them than documents have entries.
    fn stray_row(&self, index: &Index) -> Result<Fatal, Fatal> {
        let (start, end) = keys::prefix_range(&keys::index(self.collection.number, index.number));
        for row in self.view.range(&start, &end, Direction::Forward) {
            let (key, value) = row?;
            if !self.is_of_a_document(index, &key.slice(start.len()..), &key, &value)? {
                return Ok(self.damaged(&format!("index entry {key:02x?} belongs to no document")));
            }
        }
        Ok(self.damaged(&format!("index {} has more rows than entries", index.name())))
    }

    fn is_of_a_document(
        &self,
        index: &Index,
        entry: &Bytes,
        key: &Bytes,
        value: &Bytes,
    ) -> Result<bool, Fatal> {
        let Some(end) = index.ends(entry).and_then(|ends| ends.last().copied()) else {
            return Ok(false);
        };
        let id_key = id_key_of(index, entry, end, value);
        let row = self.view.get(&keys::document(self.collection.number, &id_key))?;
        let Some(row) = row.filter(|_| index.keeps(&id_key)) else { return Ok(false) };
        let document = decode(&row).map_err(fatal)?;
        let rows = self.rows_of(index, &id_key, &document)?;
        Ok(rows.iter().any(|(row, _)| row[..] == key[..]))
    }

    fn damaged(&self, what: &str) -> Fatal {
        Fatal::Damaged(format!("collection {}: {what}", self.collection.name))
    }
}

fn fatal(failure: Failure) -> Fatal {
    match failure {
        Failure::Fatal(fatal) => fatal,
        Failure::Rejected(error) => Fatal::Damaged(error.to_string()),
    }
}

#[cfg(feature = "planted-bugs")]
fn waiting_bytes_max() -> usize {
    crate::VERIFY_WAITING_BYTES.get().unwrap_or(WAITING_BYTES_MAX)
}

#[cfg(not(feature = "planted-bugs"))]
fn waiting_bytes_max() -> usize {
    WAITING_BYTES_MAX
}
