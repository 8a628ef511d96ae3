//! Long results, page by page, at one view (`docs/design/cursors.md`).
//!
//! Nothing of a result is kept but the place where it stands, wherever the plan gives the order that is asked
//! for: then each page is read from the view as it is asked for. Else the keys of the `_id`s are, in order, up
//! to a bound; and where no order was asked for and they are too many, the documents are read in the order of
//! `_id` without the help of an index.
//!
//! A page is a function of the view and a [`PageStart`], so that a page whose answer was lost can be read again.

use crate::catalog::Collection;
use crate::documents::ID_KEY_BYTES_MAX;
use crate::engine::View;
use crate::failure::{Fatal, Outcome, bad_request, show, split};
use crate::index::INDEX_KEY_BYTES_MAX;
use crate::keys;
use crate::plan::{Order, plan};
use crate::scan::{Spot, decode};
use crate::search::Search;
use api::limits::SHORT_FRAME_BYTES_MAX;
use api::value::ID_FIELD;
use api::{Document, Error, ErrorCode, SearchOptions, Value, json};
use bytes::Bytes;
use query::Filter;
use std::sync::Arc;

/// Most bytes of keys that one result keeps, and of what they are sorted by while they are sorted.
pub const PAGES_KEY_BYTES_MAX: usize = 64 << 20;

/// A result at one view.
pub struct Pages<V> {
    view: V,
    source: Source,
}

enum Source {
    /// Documents as a plan finds them.
    Scan {
        collection: Arc<Collection>,
        filter: Document,
        options: SearchOptions,
        full: bool,
        branches: usize,
    },
    /// Documents by their `_id`s.
    Ids { collection: Arc<Collection>, filter: Document, options: SearchOptions, ids: Vec<Bytes> },
    /// What was computed as a whole.
    List { items: Vec<Value>, bytes: usize },
}

/// Where a page begins.
#[derive(Clone, Debug, Default)]
pub struct PageStart {
    /// Items that are behind, skipped ones included.
    passed: u64,
    /// Where the scan stands, if it has begun.
    spot: Option<Spot>,
}

/// A part of a result.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its items.
    pub items: Vec<Value>,
    /// Where the next one begins; none: this was the last.
    pub next: Option<PageStart>,
    /// The `_id`s of documents among them that are too long for any page, if those are passed over.
    pub too_long: Vec<Value>,
}

/// How much goes into a page.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// Most items.
    pub items: u64,
    /// Most bytes of their JSON texts, with a comma each.
    pub bytes: usize,
}

impl<V: View> Pages<V> {
    pub(crate) fn search(
        view: V,
        collection: Arc<Collection>,
        filter: &Document,
        options: &SearchOptions,
    ) -> Outcome<Pages<V>> {
        if options.count || options.explain {
            return Err(bad_request(
                "search: with count or explain there are no documents to answer in parts",
            )
            .into());
        }
        let search = Search::parse(filter, options)?;
        let choice = search.plan(&collection)?;
        let scan = search.scan(&view, &collection, &choice.access);
        // Where only ranks come in order, equal ones are still to be put in that of `_id`.
        let is_in_order = choice.access.order() == Order::Asked;
        let branches = if is_in_order { choice.access.branches() } else { 1 };
        let ids = match is_in_order {
            true => None,
            false => search.id_keys(&scan, PAGES_KEY_BYTES_MAX)?,
        };
        let full = !is_in_order;
        if full && ids.is_none() && !options.sort.is_empty() {
            return Err(Error::new(
                ErrorCode::ResultTooLarge,
                format!(
                    "what the documents are sorted by takes more than {PAGES_KEY_BYTES_MAX} bytes; \
                     narrow the query, use limit, or make an index in that order"
                ),
            )
            .into());
        }
        drop(choice);
        let options = options.clone();
        let source = match ids {
            Some(ids) => Source::Ids { collection, filter: filter.clone(), options, ids },
            None => Source::Scan { collection, filter: filter.clone(), options, full, branches },
        };
        Ok(Pages { view, source })
    }

    pub(crate) fn list(view: V, items: Vec<Value>) -> Pages<V> {
        let bytes = items.iter().map(json::length_bound).sum();
        Pages { view, source: Source::List { items, bytes } }
    }

    /// About how many bytes of memory the result takes while it waits.
    pub fn held_bytes(&self) -> usize {
        match &self.source {
            Source::Scan { branches: 1, .. } => 1024,
            Source::Scan { branches, .. } => branches * (INDEX_KEY_BYTES_MAX + ID_KEY_BYTES_MAX),
            Source::Ids { ids, .. } => {
                ids.iter().map(|id| size_of::<Bytes>() + id.len()).sum::<usize>() + 1024
            }
            Source::List { bytes, .. } => *bytes,
        }
    }

    /// The page at a place. An item that alone is too long is refused, and stays where it is.
    ///
    /// # Errors
    /// Outside, this node's trouble; inside, [`ErrorCode::ResultTooLarge`].
    pub fn page(
        &self,
        start: &PageStart,
        limits: PageLimits,
    ) -> Result<Result<Page, Error>, Fatal> {
        split(self.read(start, limits, false))
    }

    /// As [`Pages::page`], but an item that alone is too long is passed over, and named.
    ///
    /// # Errors
    /// As [`Pages::page`].
    pub fn page_passing_long(
        &self,
        start: &PageStart,
        limits: PageLimits,
    ) -> Result<Result<Page, Error>, Fatal> {
        split(self.read(start, limits, true))
    }

    fn read(&self, start: &PageStart, limits: PageLimits, passes_long: bool) -> Outcome<Page> {
        let mut filling = Filling::new(start, limits, passes_long);
        match &self.source {
            Source::List { items, .. } => {
                for item in items.iter().skip(filling.passed()) {
                    if !filling.add(item.clone(), None)? {
                        break;
                    }
                }
            }
            Source::Ids { collection, filter, options, ids } => {
                let search = Search::parse(filter, options)?;
                for id_key in ids.iter().skip(filling.passed()) {
                    let row = self.view.get(&keys::document(collection.number, id_key))?;
                    let row = row.ok_or_else(|| {
                        Fatal::Damaged(format!("the document at {id_key:02x?} is missing"))
                    })?;
                    let document = search.project(decode(&row)?)?;
                    if !filling.add(Value::Document(document), None)? {
                        break;
                    }
                }
            }
            Source::Scan { collection, filter, options, full, .. } => {
                let search = Search::parse(filter, options)?;
                // In the order of `_id`, whatever the filter says.
                let everything = Filter::parse(&Document::new())?;
                let unsorted = SearchOptions::default();
                let choice = match full {
                    true => plan(collection, &everything, &unsorted, None)?,
                    false => search.plan(collection)?,
                };
                let limit = options.limit.filter(|limit| *limit > 0);
                let last = limit.map_or(u64::MAX, |limit| limit.saturating_add(options.skip));
                if start.passed >= last {
                    return Ok(filling.finish());
                }
                let scan = search.scan(&self.view, collection, &choice.access);
                scan.documents_behind(start.spot.as_ref(), &mut |found, spot| {
                    if filling.next.passed < options.skip {
                        filling.pass(spot);
                        return Ok(true);
                    }
                    let item = Value::Document(search.project(found.document)?);
                    let added = filling.add(item, Some(spot))?;
                    Ok(added && filling.next.passed < last)
                })?;
            }
        }
        Ok(filling.finish())
    }
}

/// A page while it is being filled.
struct Filling {
    limits: PageLimits,
    items: Vec<Value>,
    bytes: usize,
    next: PageStart,
    has_more: bool,
    passes_long: bool,
    too_long: Vec<Value>,
    scratch: Vec<u8>,
}

impl Filling {
    fn new(start: &PageStart, limits: PageLimits, passes_long: bool) -> Filling {
        Filling {
            limits,
            items: Vec::new(),
            bytes: 0,
            next: start.clone(),
            has_more: false,
            passes_long,
            too_long: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn passed(&self) -> usize {
        usize::try_from(self.next.passed).unwrap_or(usize::MAX)
    }

    /// Adds an item, if there is room; else there is more.
    fn add(&mut self, item: Value, spot: Option<Spot>) -> Result<bool, Error> {
        if (self.items.len() + self.too_long.len()) as u64 >= self.limits.items {
            self.has_more = true;
            return Ok(false);
        }
        let mut length = json::length(&item, &mut self.scratch) + 1;
        let id = match &item {
            Value::Document(document) => document.get(ID_FIELD),
            _ => None,
        };
        let passed = id.filter(|_| self.passes_long && length > self.limits.bytes).cloned();
        if let Some(id) = &passed {
            length = json::length(id, &mut self.scratch) + 1;
        }
        if self.bytes + length > self.limits.bytes {
            if self.items.is_empty() && self.too_long.is_empty() {
                return Err(too_long_alone(&item, length, self.limits.bytes));
            }
            self.has_more = true;
            return Ok(false);
        }
        self.bytes += length;
        match passed {
            Some(id) => self.too_long.push(id),
            None => self.items.push(item),
        }
        self.next.passed += 1;
        if spot.is_some() {
            self.next.spot = spot;
        }
        Ok(true)
    }

    fn pass(&mut self, spot: Spot) {
        self.next.passed += 1;
        self.next.spot = Some(spot);
    }

    fn finish(self) -> Page {
        let next = self.has_more.then_some(self.next);
        Page { items: self.items, next, too_long: self.too_long }
    }
}

/// The refusal of a page whose first item alone does not fit.
fn too_long_alone(item: &Value, length: usize, bytes_max: usize) -> Error {
    let which = match item {
        Value::Document(document) => document.get(ID_FIELD).map(show),
        _ => None,
    };
    let which = which.map_or_else(String::new, |id| format!(" (_id {id})"));
    // Whoever has long frames already cannot be helped by them.
    let advice = if bytes_max < SHORT_FRAME_BYTES_MAX {
        "send [\"hello\",{\"frame\":4}] and ask again, or search for parts of it with fields"
    } else {
        "search for parts of it with fields, or leave it out by the query"
    };
    Error::new(
        ErrorCode::ResultTooLarge,
        format!(
            "the next document{which} takes {length} bytes of JSON, more than the {bytes_max} that fit this answer; {advice}"
        ),
    )
}
