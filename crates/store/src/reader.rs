//! Queries on other threads, at a consistent view, while the store applies.

use crate::apply::describe;
use crate::catalog::Catalog;
use crate::engine::{Direction, Engine, EngineError, Rows, Snapshots, View, ViewOf};
use crate::failure::{Failure, Fatal, bad_request, split};
use crate::feed::Feed;
use crate::pages::Pages;
use crate::pairs;
use crate::search::Search;
use crate::snapshot::Snapshot;
use crate::store::{Meta, Shared};
use crate::validate;
use api::{Document, Error, ErrorCode, Request, SearchOptions, Value, json};
use bytes::Bytes;
use query::{Distinct, Pipeline};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers queries; clones share what they know of the catalog.
pub struct Reader<E: Engine> {
    snapshots: E::Snapshots,
    shared: Arc<Shared>,
    /// The catalog of the last view, with its version.
    catalog: Arc<Mutex<(u64, Arc<Catalog>)>>,
}

impl<E: Engine> Clone for Reader<E> {
    fn clone(&self) -> Reader<E> {
        Reader {
            snapshots: self.snapshots.clone(),
            shared: Arc::clone(&self.shared),
            catalog: Arc::clone(&self.catalog),
        }
    }
}

impl<E: Engine> Reader<E> {
    pub(crate) fn new(snapshots: E::Snapshots, shared: Arc<Shared>) -> Reader<E> {
        // Version 0 is that of the empty catalog.
        Reader { snapshots, shared, catalog: Arc::default() }
    }

    /// The last applied slot whose effects a query begun now is sure to see.
    pub fn applied_slot(&self) -> u64 {
        self.shared.applied_slot.load(Ordering::Acquire)
    }

    /// Answers a search, a description or a read, at one moment: it sees everything applied before
    /// the call, and of what is applied meanwhile all batches up to some point.
    ///
    /// # Errors
    /// Outside, this node's trouble; inside, what is wrong with the query. Other requests are bad.
    pub fn query(&self, request: &Request) -> Result<Result<Value, Error>, Fatal> {
        split(self.run(request))
    }

    /// As [`Reader::query`], but a list that does not fit `bytes_max` bytes of JSON comes as pages, and so does
    /// what a search or a pipeline with `batch` finds. They show the same moment.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn query_within(
        &self,
        request: &Request,
        bytes_max: usize,
    ) -> Result<Result<Found<ViewOf<E>>, Error>, Fatal> {
        split(self.run_within(request, bytes_max))
    }

    fn run_within(&self, request: &Request, bytes_max: usize) -> Result<Found<ViewOf<E>>, Failure> {
        let view = self.snapshots.view();
        if let Request::Search { collection, filter, search } = request {
            let pages = |options: &SearchOptions| {
                let collection = Arc::clone(self.catalog(&view)?.get(collection)?);
                Pages::search(view.clone(), collection, filter, options)
            };
            if search.batch.is_some() {
                return Ok(Found::Pages(pages(search)?));
            }
            let found = match self.run_at(&view, request) {
                Ok(Value::Array(items)) if !fits(&items, bytes_max) => None,
                // One that cannot be read in parts either says so itself.
                Err(Failure::Rejected(error)) if error.code == ErrorCode::ResultTooLarge => None,
                found => Some(found?),
            };
            return Ok(match found {
                Some(found) => Found::Whole(found),
                None => Found::TooLong(pages(search)?),
            });
        }
        if let Request::Aggregate { collection, pipeline, batch: Some(_) } = request {
            let pipeline = Pipeline::parse(pipeline)?;
            if pipeline.is_prefix() {
                // It is a search, of which nothing need be held.
                let collection = Arc::clone(self.catalog(&view)?.get(collection)?);
                let (filter, options) = (&pipeline.prefix().filter, prefix_options(&pipeline));
                return Ok(Found::Pages(Pages::search(view, collection, filter, &options)?));
            }
            let items = self.aggregate(&view, collection, &pipeline)?;
            return Ok(Found::Pages(Pages::list(view, items)));
        }
        Ok(match self.run_at(&view, request)? {
            Value::Array(items) if !fits(&items, bytes_max) => {
                Found::TooLong(Pages::list(view, items))
            }
            whole => Found::Whole(whole),
        })
    }

    /// A look at this moment that answers what is quickly answered.
    pub fn glance(&self) -> Glance<'_, E> {
        Glance { reader: self, view: self.snapshots.view() }
    }

    /// The changes of entries up to this moment.
    ///
    /// # Errors
    /// This node's trouble.
    pub fn feed(&self) -> Result<Feed<ViewOf<E>>, Fatal> {
        Feed::new(self.snapshots.view())
    }

    /// The rows of this moment, to be sent to somebody who is too far behind. While it lives, the
    /// engine keeps what it sees.
    ///
    /// # Errors
    /// This node's trouble.
    pub fn snapshot(&self) -> Result<Snapshot<ViewOf<E>>, Fatal> {
        Snapshot::new(self.snapshots.view())
    }

    fn run(&self, request: &Request) -> Result<Value, Failure> {
        if let Request::Search { search: SearchOptions { batch: Some(_), .. }, .. }
        | Request::Aggregate { batch: Some(_), .. } = request
        {
            let name = request.name();
            return Err(
                bad_request(format!("{name}: batch needs a node that keeps cursors")).into()
            );
        }
        self.run_at(&self.snapshots.view(), request)
    }

    fn run_at(&self, view: &impl View, request: &Request) -> Result<Value, Failure> {
        match request {
            Request::Read { key, empty_if_absent } => {
                validate::check_key(key)?;
                match pairs::read(view, key)? {
                    Value::Null if *empty_if_absent => Ok(Value::String(String::new())),
                    value => Ok(value),
                }
            }
            Request::Search { collection, filter, search } => {
                let search = Search::parse(filter, search)?;
                let catalog = self.catalog(view)?;
                search.run(view, catalog.get(collection)?)
            }
            Request::Count { collection, filter } => {
                let options = SearchOptions { count: true, ..SearchOptions::default() };
                let search = Search::parse(filter, &options)?;
                search.run(view, self.catalog(view)?.get(collection)?)
            }
            Request::Distinct { collection, field, filter } => {
                let options = SearchOptions::default();
                let search = Search::parse_for_field(filter, &options, field)?;
                let mut distinct = Distinct::new(field)?;
                let catalog = self.catalog(view)?;
                search.for_each(view, catalog.get(collection)?, &mut |document| {
                    distinct.push(&document)?;
                    Ok(true)
                })?;
                Ok(Value::Array(distinct.finish()))
            }
            Request::Aggregate { collection, pipeline, .. } => {
                let pipeline = Pipeline::parse(pipeline)?;
                Ok(Value::Array(self.aggregate(view, collection, &pipeline)?))
            }
            Request::Describe { collection: Some(name) } => {
                let catalog = self.catalog(view)?;
                let collection = catalog.get(name)?;
                Ok(describe(view, collection)?)
            }
            Request::Describe { collection: None } => {
                let catalog = self.catalog(view)?;
                let mut all = Document::new();
                for (name, collection) in &catalog.collections {
                    all.insert(name.clone(), describe(view, collection)?);
                }
                Ok(Value::Document(all))
            }
            _ => Err(bad_request(format!("{} is no query of the store", request.name())).into()),
        }
    }

    fn aggregate(
        &self,
        view: &impl View,
        collection: &str,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, Failure> {
        let options = prefix_options(pipeline);
        let search = Search::parse(&pipeline.prefix().filter, &options)?;
        let catalog = self.catalog(view)?;
        let mut run = pipeline.run_after_prefix();
        search.for_each(view, catalog.get(collection)?, &mut |document| run.push(document))?;
        Ok(run.finish()?.into_iter().map(Value::Document).collect())
    }

    /// The catalog as the view sees it.
    fn catalog(&self, view: &impl View) -> Result<Arc<Catalog>, Fatal> {
        let version = Meta::read(view)?.catalog_version;
        let known = || self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let known = known();
            if known.0 == version {
                return Ok(Arc::clone(&known.1));
            }
        }
        // Not while it is locked: who only glances must not wait for the disk.
        let catalog = Arc::new(Catalog::load(view)?);
        let mut known = known();
        // A view taken earlier may come here later: it must not push a newer catalog out.
        if version > known.0 {
            *known = (version, Arc::clone(&catalog));
        }
        Ok(catalog)
    }
}

/// Answers, all at one moment, such queries as take little; see [`Reader::glance`].
pub struct Glance<'r, E: Engine> {
    reader: &'r Reader<E>,
    view: ViewOf<E>,
}

/// What a [`Glance`] may read for one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlanceLimits {
    /// Most rows, of documents, of indexes and of what the store notes for itself. A range without rows counts
    /// as one.
    pub rows: usize,
    /// Most bytes in them. The row that goes beyond was read.
    pub bytes: usize,
}

impl<E: Engine> Glance<'_, E> {
    /// Answers a read, a search, a count or a distinct as [`Reader::query_within`] does, if no more than `limits`
    /// allow has to be read, `may_go_on` says so after each row, and the answer fits `bytes_max` bytes of JSON. None: it
    /// is not known what the answer is, nor whether there is one.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn query(
        &self,
        request: &Request,
        bytes_max: usize,
        limits: GlanceLimits,
        may_go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Result<Value, Error>>, Fatal> {
        let is_one_answer = match request {
            Request::Read { .. } | Request::Count { .. } | Request::Distinct { .. } => true,
            Request::Search { search, .. } => search.batch.is_none(),
            _ => false,
        };
        if !is_one_answer {
            return Ok(None);
        }
        let view = Limited {
            view: &self.view,
            rows: Cell::new(limits.rows),
            bytes: Cell::new(limits.bytes),
            may_go_on,
            is_spent: Cell::new(false),
        };
        let found = self.reader.run_at(&view, request);
        if view.is_spent.get() {
            // Whatever was made of the refusal, it is no answer.
            return Ok(None);
        }
        Ok(match split(found)? {
            Ok(Value::Array(items)) if !fits(&items, bytes_max) => None,
            // It may come in parts.
            Err(error) if error.code == ErrorCode::ResultTooLarge => None,
            found => Some(found),
        })
    }
}

/// A view that refuses to be read beyond its limits.
struct Limited<'v, V> {
    view: &'v V,
    /// What may still be read.
    rows: Cell<usize>,
    bytes: Cell<usize>,
    may_go_on: &'v dyn Fn() -> bool,
    is_spent: Cell<bool>,
}

impl<V> Limited<'_, V> {
    fn take(left: &Cell<usize>, count: usize) -> bool {
        let rest = left.get().checked_sub(count);
        left.set(rest.unwrap_or(0));
        rest.is_some()
    }

    /// A row, or a range, is to be read.
    fn charge(&self, rows: usize) -> Result<(), EngineError> {
        self.check(!self.is_spent.get() && Self::take(&self.rows, rows))
    }

    /// So much was read; `rows` were not charged before.
    fn was_read(&self, rows: usize, bytes: usize) -> Result<(), EngineError> {
        self.charge(rows)?;
        self.check(Self::take(&self.bytes, bytes) && (self.may_go_on)())
    }

    fn check(&self, is_allowed: bool) -> Result<(), EngineError> {
        if is_allowed {
            return Ok(());
        }
        self.is_spent.set(true);
        Err(EngineError::Io("a glance was to read more than it may".into()))
    }
}

impl<V: View> View for Limited<'_, V> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.charge(1)?;
        let value = self.view.get(key)?;
        self.was_read(0, value.as_ref().map_or(0, Bytes::len))?;
        Ok(value)
    }

    fn range(&self, from: &[u8], to: &[u8], direction: Direction) -> Rows<'_> {
        if let Err(spent) = self.charge(1) {
            return Box::new(std::iter::once(Err(spent)));
        }
        Box::new(self.view.range(from, to, direction).map(|row| {
            let (key, value) = row?;
            self.was_read(1, key.len() + value.len())?;
            Ok((key, value))
        }))
    }
}

/// What a query came to.
pub enum Found<V> {
    /// The whole answer.
    Whole(Value),
    /// Pages, which the request asked for.
    Pages(Pages<V>),
    /// A list that is too long for one answer.
    TooLong(Pages<V>),
}

/// Whether the JSON text of a list has at most `bytes_max` bytes.
fn fits(items: &[Value], bytes_max: usize) -> bool {
    let bound: usize = items.iter().map(|item| json::length_bound(item) + 1).sum();
    if bound + 2 <= bytes_max {
        return true;
    }
    let (mut scratch, mut bytes) = (Vec::new(), 2);
    items.iter().all(|item| {
        bytes += json::length(item, &mut scratch) + 1;
        bytes <= bytes_max
    })
}

/// What the first stages of a pipeline ask for, so that an index can answer it.
pub(crate) fn prefix_options(pipeline: &Pipeline) -> SearchOptions {
    let prefix = pipeline.prefix();
    SearchOptions {
        sort: prefix.sort.clone(),
        limit: prefix.limit,
        skip: prefix.skip,
        ..SearchOptions::default()
    }
}
