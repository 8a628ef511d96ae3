//! Reads what a plan names: keys, and the documents they lead to.

use crate::catalog::Collection;
use crate::engine::{Direction, EngineError, Rows, View};
use crate::failure::{Failure, Fatal, Outcome};
use crate::form;
use crate::index::Index;
use crate::keys;
use crate::plan::{Access, KeyRange, Order, Plan};
use crate::union::Union;
use api::path::Path;
use api::{Document, binary};
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
    /// Its bytes, if the scan [keeps](Scan::keeps_rows) them.
    pub(crate) row: Option<Bytes>,
}

/// What a search looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Examined {
    pub(crate) keys: u64,
    pub(crate) documents: u64,
    /// Of each branch of a union; what is above does not count them.
    pub(crate) branches: Vec<Examined>,
}

impl Examined {
    /// What `explain` says of it.
    pub(crate) fn describe(&self, explained: &mut Document) {
        let keys: u64 = self.branches.iter().map(|branch| branch.keys).sum();
        let documents: u64 = self.branches.iter().map(|branch| branch.documents).sum();
        explained.insert("keys_examined", (self.keys + keys) as i64);
        explained.insert("documents_examined", (self.documents + documents) as i64);
    }
}

/// A key within the plan's ranges that passes the tests on keys.
pub(crate) struct Hit {
    pub(crate) id_key: Bytes,
    /// The keys of the fields; of `_id`, if the documents are read.
    entry: Bytes,
    /// The part of the entry within which documents are of equal rank.
    pub(crate) run: Bytes,
    /// What was read besides.
    read: Read,
}

enum Read {
    /// The document.
    Document(Bytes),
    /// The form of the entry.
    Form(Bytes),
}

/// Where the reading of one plan stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Which of the plan's ranges, counted in the order in which they are read.
    range: usize,
    /// The row's key.
    key: Bytes,
}

/// Where a scan stands: it can go on behind it, at the same view and by the same plan.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    Plan(Place),
    /// Where each branch of a union stands; none: at its beginning.
    Union(Vec<Option<Place>>),
}

/// One search, read.
pub(crate) struct Scan<'s, V> {
    pub(crate) view: &'s V,
    pub(crate) collection: &'s Collection,
    pub(crate) access: &'s Access<'s>,
    pub(crate) filter: &'s Filter,
    /// The order asked for, each field with whether it goes down.
    pub(crate) sort: &'s [(Path, bool)],
    /// Whether the bytes of documents are kept beside them, for who changes them.
    pub(crate) keeps_rows: bool,
}

impl<V: View> Scan<'_, V> {
    fn keys_of<'k>(&'k self, plan: &'k Plan<'k>, behind: Option<&Place>) -> Keys<'k, V> {
        Keys::new(self.view, self.collection, plan, behind)
    }

    /// Calls `each` for every key of a plan whose keys say all that is asked, until it answers false.
    pub(crate) fn keys(
        &self,
        examined: &mut Examined,
        each: &mut dyn FnMut(Hit) -> Outcome<bool>,
    ) -> Outcome<()> {
        let Access::Plan(plan) = self.access else { return Ok(()) };
        let mut keys = self.keys_of(plan, None);
        while let Some((hit, _)) = keys.next(examined)? {
            if !each(hit)? {
                break;
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
        match self.access {
            Access::Plan(plan) => {
                let mut keys = self.keys_of(plan, None);
                while let Some((hit, _)) = keys.next(examined)? {
                    let run = hit.run.clone();
                    if let Some(found) = self.found(plan, hit, examined)?
                        && !each(found, run)?
                    {
                        break;
                    }
                }
                Ok(())
            }
            Access::Union(union) if union.order() == Order::Asked => {
                let each = &mut |found, _: &[Option<Place>]| each(found, Bytes::new());
                self.merged(union, None, examined, each)
            }
            Access::Union(union) => {
                examined.branches = vec![Examined::default(); union.branches.len()];
                for branch in 0..union.branches.len() {
                    let mut keys = self.keys_of(&union.branches[branch].plan, None);
                    let examined = &mut examined.branches[branch];
                    while let Some(found) = self.next_of(union, branch, &mut keys, examined)? {
                        if !each(found.0, Bytes::new())? {
                            return Ok(());
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// As [`Scan::documents`], for the documents behind a spot. A union's must come in order.
    pub(crate) fn documents_behind(
        &self,
        behind: Option<&Spot>,
        each: &mut dyn FnMut(Found, Spot) -> Outcome<bool>,
    ) -> Outcome<()> {
        let examined = &mut Examined::default();
        match (self.access, behind) {
            (Access::Plan(plan), behind) => {
                let behind = match behind {
                    Some(Spot::Plan(place)) => Some(place),
                    _ => None,
                };
                let mut keys = self.keys_of(plan, behind);
                while let Some((hit, place)) = keys.next(examined)? {
                    if let Some(found) = self.found(plan, hit, examined)?
                        && !each(found, Spot::Plan(place))?
                    {
                        break;
                    }
                }
                Ok(())
            }
            (Access::Union(union), behind) => {
                let behind = match behind {
                    Some(Spot::Union(places)) => Some(&places[..]),
                    _ => None,
                };
                let each = &mut |found, places: &[Option<Place>]| {
                    each(found, Spot::Union(places.to_vec()))
                };
                self.merged(union, behind, examined, each)
            }
        }
    }

    /// The next document that counts at a branch, and where it stands.
    pub(crate) fn next_of(
        &self,
        union: &Union<'_>,
        branch: usize,
        keys: &mut Keys<'_, V>,
        examined: &mut Examined,
    ) -> Outcome<Option<(Found, Place)>> {
        let plan = &union.branches[branch].plan;
        while let Some((hit, place)) = keys.next(examined)? {
            if let Some(found) = self.found(plan, hit, examined)?
                && counts_at(union, branch, &found.document)
            {
                return Ok(Some((found, place)));
            }
        }
        Ok(None)
    }

    /// The keys of a branch behind a place.
    pub(crate) fn keys_of_branch<'k>(
        &'k self,
        union: &'k Union<'k>,
        branch: usize,
        behind: Option<&Place>,
    ) -> Keys<'k, V> {
        self.keys_of(&union.branches[branch].plan, behind)
    }

    /// The document that a key leads to, if the filter means it and it was not met before.
    fn found(&self, plan: &Plan<'_>, hit: Hit, examined: &mut Examined) -> Outcome<Option<Found>> {
        if plan.is_answered_by_keys {
            // Its one key has said all that the filter asks.
            return Ok(Some(self.fetch(plan, hit, examined)?));
        }
        let entry = hit.entry.clone();
        let found = self.fetch(plan, hit, examined)?;
        let counts = self.filter.check(&found.document)?
            && !self.is_repeated(plan, &entry, &found.document)?;
        Ok(counts.then_some(found))
    }

    /// The document that a key leads to, or what the search needs of it if the entry tells that.
    fn fetch(&self, plan: &Plan<'_>, hit: Hit, examined: &mut Examined) -> Outcome<Found> {
        let row = match hit.read {
            Read::Document(row) => row,
            Read::Form(form) => {
                if let Some(document) = restored(plan, &hit.entry, &hit.id_key, &form) {
                    let size_bytes = hit.entry.len() + hit.id_key.len();
                    return Ok(Found { id_key: hit.id_key, document, size_bytes, row: None });
                }
                self.document_row(&hit.id_key)?
            }
        };
        examined.documents += 1;
        let document = decode(&row)?;
        // A copy: a row may be a part of something larger, which it would hold in memory.
        let kept = self.keeps_rows.then(|| Bytes::copy_from_slice(&row));
        Ok(Found { id_key: hit.id_key, document, size_bytes: row.len(), row: kept })
    }

    /// As [`Scan::fetch`], of a hit of the only plan.
    pub(crate) fn fetch_hit(&self, hit: Hit, examined: &mut Examined) -> Outcome<Found> {
        match self.access {
            Access::Plan(plan) => self.fetch(plan, hit, examined),
            Access::Union(union) => self.fetch(&union.branches[0].plan, hit, examined),
        }
    }

    /// The row of a document that an index knows.
    pub(crate) fn document_row(&self, id_key: &Bytes) -> Outcome<Bytes> {
        let row = self.view.get(&keys::document(self.collection.number, id_key))?;
        let missing = || damaged(format!("the index entry of {id_key:02x?} has no document"));
        row.ok_or_else(missing)
    }

    /// Whether the document was met before: it counts at the first of its keys that the plan comes to. To
    /// remember which documents were met would take memory without bound.
    fn is_repeated(&self, plan: &Plan<'_>, entry: &[u8], document: &Document) -> Outcome<bool> {
        let Some(index) = plan.index.filter(|_| plan.repeats) else { return Ok(false) };
        let entries = index.entries(&self.collection.name, document);
        let entries = entries.map_err(|error| damaged(error.to_string()))?;
        let is_met = |key: &[u8]| {
            let Some(ends) = index.ends(key) else { return false };
            let part = |field: usize| {
                let start = if field == 0 { 0 } else { ends[field - 1] };
                &key[start..ends[field]]
            };
            let within = |(from, to): &KeyRange| from[..] <= *key && *key < to[..];
            plan.ranges.iter().any(within)
                && plan.key_tests.iter().all(|test| test.passes(part(test.field)))
        };
        let earlier = if plan.backward { Ordering::Greater } else { Ordering::Less };
        Ok(entries
            .entries
            .iter()
            .any(|other| other.key[..].cmp(entry) == earlier && is_met(&other.key)))
    }
}

fn restored(plan: &Plan<'_>, entry: &Bytes, id_key: &[u8], form: &[u8]) -> Option<Document> {
    let (index, cover) = (plan.index?, plan.cover.as_ref()?);
    form::restore(index, cover, entry, &index.ends(entry)?, id_key, form)
}

/// Whether a document that a branch finds counts there, and not at an earlier one.
fn counts_at(union: &Union<'_>, branch: usize, document: &Document) -> bool {
    #[cfg(feature = "planted-bugs")]
    if crate::planted(crate::PlantedBug::UnionCountsTwice) {
        return union.branches[branch].filter.matches(document);
    }
    union.branch_of(document) == Some(branch)
}

/// The keys of one plan, one by one.
pub(crate) struct Keys<'s, V> {
    view: &'s V,
    plan: &'s Plan<'s>,
    /// What the rows of the index, or of the documents, begin with.
    prefix: Vec<u8>,
    /// The range being read, counted in the order in which they are read, and what is left of it.
    range: usize,
    rows: Option<Rows<'s>>,
    behind: Option<Place>,
}

impl<'s, V: View> Keys<'s, V> {
    fn new(
        view: &'s V,
        collection: &Collection,
        plan: &'s Plan<'s>,
        behind: Option<&Place>,
    ) -> Keys<'s, V> {
        let prefix = match plan.index {
            None => keys::documents(collection.number),
            Some(index) => keys::index(collection.number, index.number),
        };
        let range = behind.map_or(0, |place| place.range);
        Keys { view, plan, prefix, range, rows: None, behind: behind.cloned() }
    }

    /// The next key that passes the plan's tests on keys.
    pub(crate) fn next(&mut self, examined: &mut Examined) -> Outcome<Option<(Hit, Place)>> {
        while self.range < self.plan.ranges.len() {
            if self.rows.is_none() {
                self.rows = Some(self.open());
            }
            let Some(row) = self.rows.as_mut().and_then(Iterator::next) else {
                (self.rows, self.range) = (None, self.range + 1);
                continue;
            };
            let (key, value) = row?;
            examined.keys += 1;
            let entry = key.slice(self.prefix.len()..);
            let hit = match self.plan.index {
                None => Some(document_hit(entry, value)),
                Some(index) => self.index_hit(index, &entry, &value)?,
            };
            if let Some(hit) = hit {
                return Ok(Some((hit, Place { range: self.range, key })));
            }
        }
        Ok(None)
    }

    /// The rows of the range at hand.
    fn open(&mut self) -> Rows<'s> {
        let Plan { ranges, backward, .. } = self.plan;
        let position = if *backward { ranges.len() - 1 - self.range } else { self.range };
        let (from, to) = &ranges[position];
        let mut from = [&self.prefix[..], from].concat();
        let mut to = [&self.prefix[..], to].concat();
        let direction = if *backward { Direction::Backward } else { Direction::Forward };
        if let Some(place) = self.behind.take() {
            match direction {
                // The smallest key behind it.
                Direction::Forward => from = [&place.key[..], &[0]].concat(),
                Direction::Backward => to = place.key.to_vec(),
            }
        }
        self.view.range(&from, &to, direction)
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
        let read = Read::Form(form_of(entry, end, &id_key, value));
        let (run, entry) = (entry.slice(..run), entry.slice(..end));
        Ok(Some(Hit { id_key, entry, run, read }))
    }
}

fn document_hit(id_key: Bytes, row: Bytes) -> Hit {
    Hit { entry: id_key.clone(), run: id_key.clone(), id_key, read: Read::Document(row) }
}

/// The `_id` key of an index entry: what follows the keys of the fields, or else the start of the row's value.
pub(crate) fn id_key_of(index: &Index, entry: &Bytes, end: usize, value: &Bytes) -> Bytes {
    if entry.len() == end {
        return value.slice(..keys::length(value).unwrap_or(value.len()));
    }
    if !index.is_id_descending() {
        return entry.slice(end..);
    }
    let mut id_key = entry[end..].to_vec();
    keys::invert(&mut id_key);
    Bytes::from(id_key)
}

/// The form of an index entry: what stands in the row's value, behind the `_id` key if that is there.
fn form_of(entry: &Bytes, end: usize, id_key: &Bytes, value: &Bytes) -> Bytes {
    if entry.len() == end { value.slice(id_key.len().min(value.len())..) } else { value.clone() }
}

/// A document from its row.
pub(crate) fn decode(row: &[u8]) -> Result<Document, Failure> {
    binary::parse_document(row).map_err(|error| damaged(format!("a document: {error}")))
}

pub(crate) fn damaged(what: String) -> Failure {
    Failure::Fatal(Fatal::Engine(EngineError::Damaged(what)))
}
