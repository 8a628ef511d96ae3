//! Searches: reads what the planner chose, tests, sorts, skips, limits and projects.

use crate::catalog::Collection;
use crate::engine::{Direction, EngineError, View};
use crate::failure::{Failure, Fatal, Outcome};
use crate::keys;
use crate::plan::{Plan, plan};
use api::path::Path;
use api::{Document, Error, ErrorCode, SearchOptions, Value};
use bson::doc;
use bytes::Bytes;
use query::{Filter, Projection};
use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};

/// Most bytes of documents that one search answers: more fits no frame.
pub(crate) const RESULT_BYTES_MAX: usize = 4 * api::limits::DOCUMENT_BYTES_MAX;

/// A checked search, ready to run.
pub(crate) struct Search<'a> {
    filter: Filter,
    sort: Vec<(Path, bool)>,
    projection: Projection,
    options: &'a SearchOptions,
}

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
struct Examined {
    keys: u64,
    documents: u64,
}

impl<'a> Search<'a> {
    /// Checks everything about a search that needs no data.
    pub(crate) fn parse(
        filter: &Document,
        options: &'a SearchOptions,
    ) -> Result<Search<'a>, Error> {
        let mut sort = Vec::with_capacity(options.sort.len());
        for (path, direction) in &options.sort {
            if *direction != 1 && *direction != -1 {
                return Err(crate::failure::bad_query(format!(
                    "sort: {path}: the direction is 1 or -1, not {direction}"
                )));
            }
            sort.push((Path::parse(path)?, *direction < 0));
        }
        Ok(Search {
            filter: Filter::parse(filter)?,
            sort,
            projection: Projection::parse(options.fields.as_ref())?,
            options,
        })
    }

    /// Runs it: a list of documents, a number, or an explanation.
    pub(crate) fn run(&self, view: &impl View, collection: &Collection) -> Outcome<Value> {
        let plan = plan(collection, &self.filter, self.options);
        let mut examined = Examined::default();
        let returned = if self.options.count {
            Value::Int64(self.count(view, collection, &plan, &mut examined)?)
        } else {
            let found = self.find(view, collection, &plan, &mut examined)?;
            let project = |found: Found| {
                Ok(Value::Document(self.projection.apply(found.document, &self.filter)?))
            };
            Value::Array(found.into_iter().map(project).collect::<Result<_, Error>>()?)
        };
        if !self.options.explain {
            return Ok(returned);
        }
        let returned = match returned {
            Value::Array(documents) => documents.len() as i64,
            _ => 1,
        };
        Ok(Value::from(doc! {
            "plan": plan.name(),
            "index": plan.index_name(),
            "bounds": plan.bounds(),
            "ordered_by_index": plan.ordered,
            "keys_examined": examined.keys as i64,
            "documents_examined": examined.documents as i64,
            "returned": returned,
        }))
    }

    /// Calls `each` for every document found, until it answers false. Without a sort they come in the
    /// order in which they are read, none is held.
    pub(crate) fn for_each(
        &self,
        view: &impl View,
        collection: &Collection,
        each: &mut dyn FnMut(Document) -> Result<bool, Error>,
    ) -> Outcome<()> {
        let plan = plan(collection, &self.filter, self.options);
        let mut examined = Examined::default();
        if !self.sort.is_empty() && !plan.ordered {
            for found in self.find(view, collection, &plan, &mut examined)? {
                if !each(found.document)? {
                    break;
                }
            }
            return Ok(());
        }
        let most = self.most_found();
        let mut count = 0;
        scan(view, collection, &plan, &self.filter, &mut examined, &mut |found| {
            count += 1;
            let wanted = count <= self.options.skip || each(found.document)?;
            Ok(wanted && count < most)
        })
    }

    fn count(
        &self,
        view: &impl View,
        collection: &Collection,
        plan: &Plan<'_>,
        examined: &mut Examined,
    ) -> Outcome<i64> {
        let most = self.most_found();
        let mut found = 0;
        scan(view, collection, plan, &self.filter, examined, &mut |_| {
            found += 1;
            Ok(found < most)
        })?;
        Ok(found.saturating_sub(self.options.skip) as i64)
    }

    /// Matching documents that matter: what is skipped and what is answered.
    fn most_found(&self) -> u64 {
        match self.options.limit {
            None | Some(0) => u64::MAX,
            Some(limit) => limit.saturating_add(self.options.skip),
        }
    }

    fn find(
        &self,
        view: &impl View,
        collection: &Collection,
        plan: &Plan<'_>,
        examined: &mut Examined,
    ) -> Outcome<Vec<Found>> {
        if plan.ordered {
            self.find_in_order(view, collection, plan, examined)
        } else {
            self.find_and_sort(view, collection, plan, examined)
        }
    }

    fn find_in_order(
        &self,
        view: &impl View,
        collection: &Collection,
        plan: &Plan<'_>,
        examined: &mut Examined,
    ) -> Outcome<Vec<Found>> {
        let most = self.most_found();
        let mut count = 0;
        let mut size = Size::default();
        let mut found = Vec::new();
        scan(view, collection, plan, &self.filter, examined, &mut |one| {
            count += 1;
            if count > self.options.skip {
                size.add(&one)?;
                found.push(one);
            }
            Ok(count < most)
        })?;
        Ok(found)
    }

    /// Keeps the first `skip + limit` in a heap, or all of them.
    fn find_and_sort(
        &self,
        view: &impl View,
        collection: &Collection,
        plan: &Plan<'_>,
        examined: &mut Examined,
    ) -> Outcome<Vec<Found>> {
        let most = usize::try_from(self.most_found()).unwrap_or(usize::MAX);
        let backward = self.sort.first().is_some_and(|(_, backward)| *backward);
        let mut size = Size::default();
        let mut heap: BinaryHeap<Ranked> = BinaryHeap::new();
        scan(view, collection, plan, &self.filter, examined, &mut |found| {
            let ranks =
                self.sort.iter().map(|(path, backward)| Rank::of(&found.document, path, *backward));
            size.add(&found)?;
            heap.push(Ranked { ranks: ranks.collect(), backward, found });
            if heap.len() > most
                && let Some(last) = heap.pop()
            {
                size.subtract(&last.found);
            }
            Ok(true)
        })?;
        let sorted = heap.into_sorted_vec().into_iter().map(|ranked| ranked.found);
        Ok(sorted.skip(usize::try_from(self.options.skip).unwrap_or(usize::MAX)).collect())
    }
}

/// The documents that the filter means, as the options say; in the order of `_id` if they name none.
pub(crate) fn find(
    view: &impl View,
    collection: &Collection,
    filter: &Document,
    options: &SearchOptions,
) -> Outcome<Vec<Found>> {
    let search = Search::parse(filter, options)?;
    let plan = plan(collection, &search.filter, options);
    search.find(view, collection, &plan, &mut Examined::default())
}

/// The size of a result, so that it stays within memory.
#[derive(Default)]
struct Size(usize);

impl Size {
    fn add(&mut self, found: &Found) -> Result<(), Error> {
        self.0 += found.size_bytes;
        if self.0 > RESULT_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ResultTooLarge,
                format!(
                    "the documents found take more than {RESULT_BYTES_MAX} bytes; narrow the \
                     query, or use limit and skip"
                ),
            ));
        }
        Ok(())
    }

    fn subtract(&mut self, found: &Found) {
        self.0 -= found.size_bytes;
    }
}

/// Calls `each` for every matching document until it answers false.
fn scan(
    view: &impl View,
    collection: &Collection,
    plan: &Plan<'_>,
    filter: &Filter,
    examined: &mut Examined,
    each: &mut dyn FnMut(Found) -> Result<bool, Error>,
) -> Outcome<()> {
    let prefix = match plan.index {
        None => keys::documents(collection.number),
        Some(index) => keys::index(collection.number, index.number),
    };
    let direction = if plan.backward { Direction::Backward } else { Direction::Forward };
    // One document may have several entries in an index on lists.
    let multikey = plan.index.is_some_and(|index| index.multikey);
    let mut seen = BTreeSet::new();
    for position in 0..plan.intervals.len() {
        let position = if plan.backward { plan.intervals.len() - 1 - position } else { position };
        let interval = &plan.intervals[position];
        let from = [&prefix[..], &interval.from].concat();
        let to = [&prefix[..], &interval.to].concat();
        for row in view.range(&from, &to, direction) {
            let (key, value) = row?;
            examined.keys += 1;
            let (id_key, row) = match plan.index {
                None => (key.slice(prefix.len()..), value),
                Some(_) => {
                    let id_key = entry_id_key(&key, prefix.len(), &value)?;
                    if multikey && !seen.insert(id_key.clone()) {
                        continue;
                    }
                    let row = view.get(&keys::document(collection.number, &id_key))?;
                    let row = row.ok_or_else(|| {
                        damaged(format!("index entry {key:02x?} has no document"))
                    })?;
                    (id_key, row)
                }
            };
            examined.documents += 1;
            let document = decode(&row)?;
            let found = Found { id_key, document, size_bytes: row.len() };
            if filter.check(&found.document)? && !each(found)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The `_id` key of an index entry: its value, or what follows the value's key.
pub(crate) fn entry_id_key(key: &Bytes, prefix: usize, value: &Bytes) -> Result<Bytes, Failure> {
    if !value.is_empty() {
        return Ok(value.clone());
    }
    let length = keys::length(&key[prefix..]);
    let length = length.ok_or_else(|| damaged(format!("index entry {key:02x?}")))?;
    Ok(key.slice(prefix + length..))
}

/// A document from its row.
pub(crate) fn decode(row: &[u8]) -> Result<Document, Failure> {
    Document::from_reader(row).map_err(|error| damaged(format!("a document: {error}")))
}

fn damaged(what: String) -> Failure {
    Failure::Fatal(Fatal::Engine(EngineError::Damaged(what)))
}

/// A document's place by one sort key.
struct Rank {
    key: Vec<u8>,
    backward: bool,
}

impl Rank {
    /// Of several values the least counts upward and the greatest downward; nothing counts as null,
    /// an empty list stands below it.
    fn of(document: &Document, path: &Path, backward: bool) -> Rank {
        let mut best: Option<Vec<u8>> = None;
        path.visit(document, &mut |value| {
            let mut consider = |value: &Value| {
                let key = keys::encode(value);
                let better = best
                    .as_ref()
                    .is_none_or(|best| if backward { key > *best } else { key < *best });
                if better {
                    best = Some(key);
                }
            };
            match value {
                None => consider(&Value::Null),
                Some(Value::Array(elements)) if elements.is_empty() => consider(&Value::Undefined),
                Some(Value::Array(elements)) => elements.iter().for_each(consider),
                Some(value) => consider(value),
            }
            false
        });
        Rank { key: best.unwrap_or_else(|| keys::encode(&Value::Null)), backward }
    }
}

/// A document with its place: ranks, then `_id` in the direction of the first.
struct Ranked {
    ranks: Vec<Rank>,
    backward: bool,
    found: Found,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        for (left, right) in self.ranks.iter().zip(&other.ranks) {
            let order = left.key.cmp(&right.key);
            let order = if left.backward { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        let order = self.found.id_key.cmp(&other.found.id_key);
        if self.backward { order.reverse() } else { order }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}
