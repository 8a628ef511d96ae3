//! Searches: finds by the plan chosen, sorts, skips, limits and projects; counts; explains.

use crate::apply::read_count;
use crate::catalog::Collection;
use crate::engine::View;
use crate::failure::Outcome;
use crate::plan::{Access, Choice, Needs, Order, plan};
use crate::rank::Ranked;
use crate::scan::{Examined, Found, Hit, Scan};
use crate::union::Branch;
use api::path::Path;
use api::value::ID_FIELD;
use api::{Document, Error, ErrorCode, SearchOptions, Value};
use bson::doc;
use bytes::Bytes;
use query::{Filter, Projection};
use std::collections::{BTreeMap, BinaryHeap};

/// Most bytes of documents that one search answers: more fits no frame.
pub(crate) const RESULT_BYTES_MAX: usize = 4 * api::limits::DOCUMENT_BYTES_MAX;

/// A checked search, ready to run.
pub(crate) struct Search<'a> {
    filter: Filter,
    sort: Vec<(Path, bool)>,
    projection: Projection,
    options: &'a SearchOptions,
    /// What it needs of a document; none: all of it.
    needs: Option<Needs>,
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
        let filter = Filter::parse(filter)?;
        let projection = Projection::parse(options.fields.as_ref())?;
        let answered = if options.count { Some((Vec::new(), false)) } else { projection.kept() };
        let needs = answered.and_then(|(paths, id)| needs(&filter, &sort, paths, id));
        Ok(Search { filter, sort, projection, options, needs })
    }

    /// As [`Search::parse`], where nothing but the values of one field is made use of.
    pub(crate) fn parse_for_field(
        filter: &Document,
        options: &'a SearchOptions,
        field: &str,
    ) -> Result<Search<'a>, Error> {
        let search = Search::parse(filter, options)?;
        let needs = needs(&search.filter, &search.sort, vec![field.to_owned()], false);
        Ok(Search { needs, ..search })
    }

    /// Chooses the plan for answers that are read by it; `find` and what writes need whole documents.
    pub(crate) fn plan<'s>(&'s self, collection: &'s Collection) -> Result<Choice<'s>, Error> {
        plan(collection, &self.filter, self.options, self.needs.as_ref())
    }

    /// Runs it: a list of documents, a number, or an explanation.
    pub(crate) fn run(&self, view: &impl View, collection: &Collection) -> Outcome<Value> {
        let choice = self.plan(collection)?;
        let scan = self.scan(view, collection, &choice.access);
        let mut examined = Examined::default();
        let returned = if self.options.count {
            Value::Int64(self.count(&scan, &mut examined)?)
        } else {
            let found = self.find(&scan, &mut examined)?;
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
        Ok(self.explain(&choice, &examined, returned))
    }

    /// What reads by a plan of this search.
    pub(crate) fn scan<'s, V>(
        &'s self,
        view: &'s V,
        collection: &'s Collection,
        access: &'s Access<'s>,
    ) -> Scan<'s, V> {
        let (filter, sort) = (&self.filter, &self.sort[..]);
        Scan { view, collection, access, filter, sort, keeps_rows: false }
    }

    fn explain(&self, choice: &Choice<'_>, examined: &Examined, returned: i64) -> Value {
        let access = &choice.access;
        let sorted_by = match (access.order(), access) {
            _ if self.options.count => "nothing",
            (Order::Asked, Access::Plan(_)) => "index",
            (Order::Asked, Access::Union(_)) => "merge of the branches",
            (Order::Runs(_), _) => "index, and _id where that leaves ties",
            (Order::None, _) => "memory",
        };
        let counts_all = self.counts_all();
        let mut explained = doc! { "plan": if counts_all { "count" } else { access.name() } };
        match access {
            Access::Plan(plan) => {
                explained.insert("index", plan.index_name());
                explained.insert("bounds", plan.bounds());
            }
            Access::Union(union) => {
                let of = |(branch, examined): (&Branch<'_>, &Examined)| {
                    let mut explained = branch.plan.describe();
                    examined.describe(&mut explained);
                    Value::Document(explained)
                };
                let branches = union.branches.iter().zip(&examined.branches).map(of);
                explained.insert("branches", branches.collect::<Vec<_>>());
            }
        }
        explained.insert("ordered_by_index", access.order() != Order::None);
        explained.insert("sorted_by", sorted_by);
        let keys_only = counts_all || self.finds_by_keys(access);
        let is_covered = matches!(access, Access::Plan(plan) if plan.cover.is_some());
        explained.insert("keys_only", keys_only);
        explained.insert("covered", is_covered || (keys_only && self.options.count));
        examined.describe(&mut explained);
        explained.insert("returned", returned);
        explained.insert("rejected", choice.rejected());
        Value::Document(explained)
    }

    /// Whether keys alone say which documents are meant, so that none is looked at but to be answered.
    fn finds_by_keys(&self, access: &Access<'_>) -> bool {
        let ids_first =
            access.order() == Order::None && self.sort.is_empty() && self.most_found() < u64::MAX;
        access.is_answered_by_keys() && (self.options.count || ids_first)
    }

    /// Whether only the number of all documents is asked for, which is kept.
    fn counts_all(&self) -> bool {
        self.options.count
            && self.options.hint.is_none()
            && matches!(&self.filter, Filter::And(filters) if filters.is_empty())
    }

    /// Calls `each` for every document found, until it answers false. If neither an order nor a part is
    /// asked for they come in the order in which they are read, and none is held.
    pub(crate) fn for_each(
        &self,
        view: &impl View,
        collection: &Collection,
        each: &mut dyn FnMut(Document) -> Result<bool, Error>,
    ) -> Outcome<()> {
        let choice = self.plan(collection)?;
        let scan = self.scan(view, collection, &choice.access);
        let mut examined = Examined::default();
        let any_order = self.sort.is_empty() && self.options.skip == 0;
        let takes_all = any_order && self.most_found() == u64::MAX;
        if scan.access.order() != Order::Asked && !takes_all {
            for found in self.find(&scan, &mut examined)? {
                if !each(found.document)? {
                    break;
                }
            }
            return Ok(());
        }
        let most = self.most_found();
        let mut count = 0;
        scan.documents(&mut examined, &mut |found, _| {
            count += 1;
            let wanted = count <= self.options.skip || each(found.document)?;
            Ok(wanted && count < most)
        })
    }

    fn count<V: View>(&self, scan: &Scan<'_, V>, examined: &mut Examined) -> Outcome<i64> {
        let most = self.most_found();
        let mut found = 0;
        if self.counts_all() {
            found = read_count(scan.view, scan.collection.number)?.min(most);
        } else if scan.access.is_answered_by_keys() {
            scan.keys(examined, &mut |_| {
                found += 1;
                Ok(found < most)
            })?;
        } else {
            scan.documents(examined, &mut |_, _| {
                found += 1;
                Ok(found < most)
            })?;
        }
        Ok(found.saturating_sub(self.options.skip) as i64)
    }

    /// Matching documents that matter: what is skipped and what is answered.
    fn most_found(&self) -> u64 {
        match self.options.limit {
            None | Some(0) => u64::MAX,
            Some(limit) => limit.saturating_add(self.options.skip),
        }
    }

    fn find<V: View>(&self, scan: &Scan<'_, V>, examined: &mut Examined) -> Outcome<Vec<Found>> {
        match scan.access.order() {
            Order::Asked => self.find_in_order(scan, examined),
            Order::Runs(_) => self.find_in_runs(scan, examined),
            Order::None if self.finds_by_keys(scan.access) => self.find_first_ids(scan, examined),
            Order::None => self.find_and_sort(scan, examined),
        }
    }

    fn find_in_order<V: View>(
        &self,
        scan: &Scan<'_, V>,
        examined: &mut Examined,
    ) -> Outcome<Vec<Found>> {
        let mut page = Page::new(self);
        scan.documents(examined, &mut |one, _| {
            page.add(one)?;
            Ok(!page.is_full())
        })?;
        Ok(page.found)
    }

    /// Documents of equal rank come together, and are put in the order of `_id`; of the last of them only
    /// those are kept that are asked for.
    fn find_in_runs<V: View>(
        &self,
        scan: &Scan<'_, V>,
        examined: &mut Examined,
    ) -> Outcome<Vec<Found>> {
        let backward = self.sort.first().is_some_and(|(_, backward)| *backward);
        let mut page = Page::new(self);
        let mut run: BTreeMap<Bytes, Found> = BTreeMap::new();
        let mut run_key = Bytes::new();
        let mut size = Size::default();
        scan.documents(examined, &mut |one, key| {
            if key != run_key {
                page.add_all(std::mem::take(&mut run), backward)?;
                (size, run_key) = (Size::default(), key);
                if page.is_full() {
                    return Ok(false);
                }
            }
            size.add(&one)?;
            run.insert(one.id_key.clone(), one);
            if run.len() as u64 > page.missing() {
                let last = if backward { run.pop_first() } else { run.pop_last() };
                last.iter().for_each(|(_, last)| size.subtract(last));
            }
            Ok(true)
        })?;
        page.add_all(run, backward)?;
        Ok(page.found)
    }

    /// Where keys answer the filter and no order is asked for, the first documents in the order of `_id`
    /// are found without a look at the others.
    fn find_first_ids<V: View>(
        &self,
        scan: &Scan<'_, V>,
        examined: &mut Examined,
    ) -> Outcome<Vec<Found>> {
        let most = self.most_found();
        let mut first: BTreeMap<Bytes, Hit> = BTreeMap::new();
        let mut size = Size::default();
        scan.keys(examined, &mut |hit| {
            size.add_bytes(hit.id_key.len())?;
            first.insert(hit.id_key.clone(), hit);
            if first.len() as u64 > most
                && let Some((id_key, _)) = first.pop_last()
            {
                size.subtract_bytes(id_key.len());
            }
            Ok(true)
        })?;
        let mut page = Page::new(self);
        for hit in first.into_values() {
            page.add(scan.fetch_hit(hit, examined)?)?;
        }
        Ok(page.found)
    }

    /// Keeps the first `skip + limit` in a heap, or all of them.
    fn find_and_sort<V: View>(
        &self,
        scan: &Scan<'_, V>,
        examined: &mut Examined,
    ) -> Outcome<Vec<Found>> {
        let most = usize::try_from(self.most_found()).unwrap_or(usize::MAX);
        let mut size = Size::default();
        let mut heap: BinaryHeap<Ranked> = BinaryHeap::new();
        scan.documents(examined, &mut |found, _| {
            size.add(&found)?;
            heap.push(Ranked::new(&self.sort, found));
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

impl Search<'_> {
    /// The `_id` keys of what it finds, in order, without what is skipped; none if they, and what
    /// they are sorted by, take more than `bytes_max` bytes.
    pub(crate) fn id_keys<V: View>(
        &self,
        scan: &Scan<'_, V>,
        bytes_max: usize,
    ) -> Outcome<Option<Vec<Bytes>>> {
        let most = usize::try_from(self.most_found()).unwrap_or(usize::MAX);
        let mut heap: BinaryHeap<Ranked> = BinaryHeap::new();
        let (mut bytes, mut fits) = (0, true);
        scan.documents(&mut Examined::default(), &mut |found, _| {
            let mut ranked = Ranked::new(&self.sort, found);
            ranked.found.document = Document::new();
            bytes += ranked.bytes();
            heap.push(ranked);
            if heap.len() > most
                && let Some(last) = heap.pop()
            {
                bytes -= last.bytes();
            }
            fits = bytes <= bytes_max;
            Ok(fits)
        })?;
        if !fits {
            return Ok(None);
        }
        let skip = usize::try_from(self.options.skip).unwrap_or(usize::MAX);
        let sorted = heap.into_sorted_vec().into_iter().skip(skip);
        Ok(Some(sorted.map(|ranked| Bytes::copy_from_slice(&ranked.found.id_key)).collect()))
    }

    /// The documents found, whole and with their bytes, for a write; in the order of `_id` if none is asked for.
    pub(crate) fn find_for_write(
        &self,
        view: &impl View,
        collection: &Collection,
    ) -> Outcome<Vec<Found>> {
        let choice = plan(collection, &self.filter, self.options, None)?;
        let scan = Scan { keeps_rows: true, ..self.scan(view, collection, &choice.access) };
        self.find(&scan, &mut Examined::default())
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// A document as it is answered.
    pub(crate) fn project(&self, document: Document) -> Result<Document, Error> {
        self.projection.apply(document, &self.filter)
    }
}

/// What a search needs of a document if `paths`, and `_id` with `id`, are what is made use of; none: all of it.
fn needs(filter: &Filter, sort: &[(Path, bool)], paths: Vec<String>, id: bool) -> Option<Needs> {
    let asked = filter.paths()?.into_iter();
    let asked = asked.chain(sort.iter().map(|(path, _)| path)).map(|path| path.as_str().to_owned());
    let mut needs = Needs { paths: paths.into_iter().chain(asked).collect(), id };
    needs.id |= needs.paths.remove(ID_FIELD);
    Some(needs)
}

/// What is answered, document by document in order.
struct Page {
    skip: u64,
    most: u64,
    count: u64,
    size: Size,
    found: Vec<Found>,
}

impl Page {
    fn new(search: &Search<'_>) -> Page {
        let (skip, most) = (search.options.skip, search.most_found());
        Page { skip, most, count: 0, size: Size::default(), found: Vec::new() }
    }

    fn missing(&self) -> u64 {
        self.most - self.count
    }

    fn is_full(&self) -> bool {
        self.missing() == 0
    }

    fn add(&mut self, one: Found) -> Result<(), Error> {
        self.count += 1;
        if self.count > self.skip {
            self.size.add(&one)?;
            self.found.push(one);
        }
        Ok(())
    }

    fn add_all(&mut self, run: BTreeMap<Bytes, Found>, backward: bool) -> Result<(), Error> {
        if backward {
            run.into_values().rev().try_for_each(|one| self.add(one))
        } else {
            run.into_values().try_for_each(|one| self.add(one))
        }
    }
}

/// The size of a result, so that it stays within memory.
#[derive(Default)]
struct Size(usize);

impl Size {
    fn add(&mut self, found: &Found) -> Result<(), Error> {
        self.add_bytes(found.size_bytes)
    }

    fn add_bytes(&mut self, bytes: usize) -> Result<(), Error> {
        self.0 += bytes;
        if self.0 > RESULT_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ResultTooLarge,
                format!(
                    "the documents found, which are held and sorted in memory, take more than \
                     {RESULT_BYTES_MAX} bytes; narrow the query, use a limit, or read in parts with \
                     sort and limit in the order of an index"
                ),
            ));
        }
        Ok(())
    }

    fn subtract(&mut self, found: &Found) {
        self.subtract_bytes(found.size_bytes);
    }

    fn subtract_bytes(&mut self, bytes: usize) {
        self.0 -= bytes;
    }
}
