//! Reads what a plan names: keys, and the documents they lead to.

use crate::catalog::Collection;
use crate::engine::{Direction, EngineError, View};
use crate::failure::{Failure, Fatal, Outcome};
use crate::index::Index;
use crate::keys;
use crate::plan::{KeyRange, Order, Plan};
use api::Document;
use bytes::Bytes;
use query::Filter;
use std::cmp::Ordering;

/// A document that a search found.
pub(crate) struct Found {
    /// The key of its `_id`.
    pub(crate) id_key: Bytes,
    pub(crate) document: Document,
    /// Its size in bytes of BSON.
    pub(crate) size_bytes: usize,
}

/// What a search looked at.
#[derive(Default)]
pub(crate) struct Examined {
    pub(crate) keys: u64,
    pub(crate) documents: u64,
}

/// A key within the plan's ranges that passes the tests on keys.
pub(crate) struct Hit {
    pub(crate) id_key: Bytes,
    /// The keys of the fields; of `_id`, if the documents are read.
    entry: Bytes,
    /// The part of the entry within which documents are of equal rank.
    pub(crate) run: Bytes,
    /// The document, if that is what was read.
    row: Option<Bytes>,
}

/// Where a scan stands: it can go on behind it, at the same view and by the same plan.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    /// Which of the plan's ranges, counted in the order in which they are read.
    range: usize,
    /// The row's key.
    key: Bytes,
}

/// One reading of one plan.
pub(crate) struct Scan<'s, V> {
    pub(crate) view: &'s V,
    pub(crate) collection: &'s Collection,
    pub(crate) plan: &'s Plan<'s>,
    pub(crate) filter: &'s Filter,
}

impl<V: View> Scan<'_, V> {
    /// Calls `each` for every key until it answers false.
    pub(crate) fn keys(
        &self,
        examined: &mut Examined,
        each: &mut dyn FnMut(Hit, &mut Examined) -> Outcome<bool>,
    ) -> Outcome<()> {
        self.keys_behind(None, examined, &mut |hit, _, examined| each(hit, examined))
    }

    fn keys_behind(
        &self,
        behind: Option<&Spot>,
        examined: &mut Examined,
        each: &mut dyn FnMut(Hit, Spot, &mut Examined) -> Outcome<bool>,
    ) -> Outcome<()> {
        let Plan { index, ranges, backward, .. } = self.plan;
        let prefix = match index {
            None => keys::documents(self.collection.number),
            Some(index) => keys::index(self.collection.number, index.number),
        };
        let direction = if *backward { Direction::Backward } else { Direction::Forward };
        for range in behind.map_or(0, |spot| spot.range)..ranges.len() {
            let position = range;
            let position = if *backward { ranges.len() - 1 - position } else { position };
            let (from, to) = &ranges[position];
            let mut from = [&prefix[..], from].concat();
            let mut to = [&prefix[..], to].concat();
            if let Some(spot) = behind.filter(|spot| spot.range == range) {
                match direction {
                    // The smallest key behind it.
                    Direction::Forward => from = [&spot.key[..], &[0]].concat(),
                    Direction::Backward => to = spot.key.to_vec(),
                }
            }
            for row in self.view.range(&from, &to, direction) {
                let (key, value) = row?;
                examined.keys += 1;
                let hit = match index {
                    None => Some(document_hit(key.slice(prefix.len()..), value)),
                    Some(index) => self.index_hit(index, &key.slice(prefix.len()..), &value)?,
                };
                if let Some(hit) = hit
                    && !each(hit, Spot { range, key }, examined)?
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Calls `each` for every document that the filter means, once, until it answers false. The bytes
    /// are those within which documents are of equal rank.
    pub(crate) fn documents(
        &self,
        examined: &mut Examined,
        each: &mut dyn FnMut(Found, Bytes) -> Outcome<bool>,
    ) -> Outcome<()> {
        self.keys(examined, &mut |hit, examined| {
            let (entry, run) = (hit.entry.clone(), hit.run.clone());
            let found = self.fetch(hit, examined)?;
            if !self.filter.check(&found.document)? || self.is_repeated(&entry, &found.document)? {
                return Ok(true);
            }
            each(found, run)
        })
    }

    /// As [`Scan::documents`], for the documents behind a spot.
    pub(crate) fn documents_behind(
        &self,
        behind: Option<&Spot>,
        each: &mut dyn FnMut(Found, Spot) -> Outcome<bool>,
    ) -> Outcome<()> {
        self.keys_behind(behind, &mut Examined::default(), &mut |hit, spot, examined| {
            let entry = hit.entry.clone();
            let found = self.fetch(hit, examined)?;
            if !self.filter.check(&found.document)? || self.is_repeated(&entry, &found.document)? {
                return Ok(true);
            }
            each(found, spot)
        })
    }

    /// The document that a key leads to.
    pub(crate) fn fetch(&self, hit: Hit, examined: &mut Examined) -> Outcome<Found> {
        let row = match hit.row {
            Some(row) => row,
            None => {
                let row = self.view.get(&keys::document(self.collection.number, &hit.id_key))?;
                row.ok_or_else(|| {
                    damaged(format!("index entry {:02x?} has no document", hit.entry))
                })?
            }
        };
        examined.documents += 1;
        let document = decode(&row)?;
        Ok(Found { id_key: hit.id_key, document, size_bytes: row.len() })
    }

    fn index_hit(&self, index: &Index, entry: &Bytes, value: &Bytes) -> Outcome<Option<Hit>> {
        let ends = index.ends(entry);
        let ends = ends.ok_or_else(|| damaged(format!("index entry {entry:02x?}")))?;
        let part = |field: usize| {
            let start = if field == 0 { 0 } else { ends[field - 1] };
            &entry[start..ends[field]]
        };
        if !self.plan.key_tests.iter().all(|test| test.passes(part(test.field))) {
            return Ok(None);
        }
        let end = ends.last().copied().unwrap_or_default();
        let run = match self.plan.order {
            Order::Runs(fields) => ends[fields - 1],
            _ => end,
        };
        let id_key = id_key_of(index, entry, end, value);
        let (run, entry) = (entry.slice(..run), entry.slice(..end));
        Ok(Some(Hit { id_key, entry, run, row: None }))
    }

    /// Whether the document was met before: it counts at the first of its keys that the plan comes to. To
    /// remember which documents were met would take memory without bound.
    fn is_repeated(&self, entry: &[u8], document: &Document) -> Outcome<bool> {
        let Some(index) = self.plan.index.filter(|_| self.plan.repeats) else { return Ok(false) };
        let entries = index.entries(&self.collection.name, document);
        let entries = entries.map_err(|error| damaged(error.to_string()))?;
        let is_met = |key: &[u8]| {
            let Some(ends) = index.ends(key) else { return false };
            let part = |field: usize| {
                let start = if field == 0 { 0 } else { ends[field - 1] };
                &key[start..ends[field]]
            };
            let within = |(from, to): &KeyRange| from[..] <= *key && *key < to[..];
            self.plan.ranges.iter().any(within)
                && self.plan.key_tests.iter().all(|test| test.passes(part(test.field)))
        };
        let earlier = if self.plan.backward { Ordering::Greater } else { Ordering::Less };
        Ok(entries
            .entries
            .iter()
            .any(|other| other.key[..].cmp(entry) == earlier && is_met(&other.key)))
    }
}

fn document_hit(id_key: Bytes, row: Bytes) -> Hit {
    Hit { entry: id_key.clone(), run: id_key.clone(), id_key, row: Some(row) }
}

/// The `_id` key of an index entry: the row's value, or what follows the keys of the fields.
pub(crate) fn id_key_of(index: &Index, entry: &Bytes, end: usize, value: &Bytes) -> Bytes {
    if !value.is_empty() {
        return value.clone();
    }
    if !index.is_id_descending() {
        return entry.slice(end..);
    }
    let mut id_key = entry[end..].to_vec();
    keys::invert(&mut id_key);
    Bytes::from(id_key)
}

/// A document from its row.
pub(crate) fn decode(row: &[u8]) -> Result<Document, Failure> {
    Document::from_reader(row).map_err(|error| damaged(format!("a document: {error}")))
}

pub(crate) fn damaged(what: String) -> Failure {
    Failure::Fatal(Fatal::Engine(EngineError::Damaged(what)))
}
