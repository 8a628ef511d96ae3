//! The planner: which rows a query must look at, and in which order they come.
//!
//! It only narrows the rows; the whole filter is tested on every document that is left, unless the keys
//! alone answer it, so a plan can be slow but not wrong. The choice depends on the collection's indexes
//! and the request alone, never on content or clocks: every node chooses alike, and an answer does not
//! change with what an index happens to hold. The rules are in `docs/design/indexes.md`; several indexes
//! for one query are in [`crate::union`].

use crate::bounds::{Bounds, Interval, Kind as BoundsKind, intersect};
use crate::catalog::Collection;
use crate::failure::bad_query;
use crate::form::Cover;
use crate::implied::{Tests, has_all};
use crate::index::{Index, IndexState};
use crate::keys;
use crate::union::{Union, as_values, conjuncts, unions};
use api::path::Path;
use api::value::ID_FIELD;
use api::{Document, Error, SearchOptions, Value};
use bson::doc;
use query::{Filter, Test};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Most ranges of one plan that come from several values in several fields.
const RANGES_MAX: usize = 1000;

/// Half-open bounds of keys.
pub(crate) type KeyRange = (Vec<u8>, Vec<u8>);

/// How a query finds its documents.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'c> {
    /// The index to read; none: the documents themselves, whose order is that of `_id`.
    pub(crate) index: Option<&'c Index>,
    /// What to read: half-open bounds of what is behind the prefix of index or collection, in ascending
    /// order, disjoint.
    pub(crate) ranges: Vec<KeyRange>,
    /// Whether to read from the greatest key down.
    pub(crate) backward: bool,
    pub(crate) order: Order,
    /// Fields behind those of the ranges whose values are in the key too.
    pub(crate) key_tests: Vec<KeyTest>,
    /// Whether a key within the ranges that passes its tests is all that the filter asks for, and each
    /// document has one key: then the document need not be looked at.
    pub(crate) is_answered_by_keys: bool,
    /// Whether a document may have several keys within the ranges.
    pub(crate) repeats: bool,
    /// What the search needs of a document, if entries tell all of it but for their forms.
    pub(crate) cover: Option<Cover>,
    /// Whether an order that comes for free is worth more than documents that need not be read.
    prefers_order: bool,
    pub(crate) kind: Kind,
    /// Fields with what is asked of them, where the plan makes use of it; for `explain` alone.
    bounds: Vec<(String, Vec<Value>)>,
    /// How many fields have one value each; how many have several.
    equal_fields: usize,
    bounded_fields: usize,
    is_unique_point: bool,
}

/// The order in which a plan finds documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Not the one asked for.
    None,
    /// The one asked for.
    Asked,
    /// The one asked for between documents that differ in the first so many fields of the key. Those that do
    /// not are of equal rank and have yet to be put in the order of `_id`.
    Runs(usize),
}

/// What the key of one field must be within.
#[derive(Clone, Debug)]
pub(crate) struct KeyTest {
    pub(crate) field: usize,
    /// Half-open bounds in the direction of the field, ascending.
    pub(crate) ranges: Vec<KeyRange>,
}

/// What a plan is like: the lesser is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Equality,
    Values,
    Range,
    Sort,
    Scan,
}

impl Plan<'_> {
    /// The plan's name in `explain`.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Equality => "equality",
            Kind::Values => "values",
            Kind::Range => "range",
            Kind::Sort => "sort",
            Kind::Scan => "scan",
        }
    }

    /// The index's name in `explain`: null for a scan of the documents.
    pub(crate) fn index_name(&self) -> Value {
        match (self.index, self.kind) {
            (Some(index), _) => Value::from(index.name()),
            (None, Kind::Scan | Kind::Sort) => Value::Null,
            (None, _) => Value::from("_id_"),
        }
    }

    /// The tests that the ranges and the tests on keys stand for, by field.
    pub(crate) fn bounds(&self) -> Document {
        let field =
            |(path, tests): &(String, Vec<Value>)| (path.clone(), Value::from(tests.clone()));
        self.bounds.iter().map(field).collect()
    }

    /// Whether documents come in the order asked for, perhaps but for those of equal rank.
    pub(crate) fn is_ordered(&self) -> bool {
        self.order != Order::None
    }

    /// Its place among the candidates.
    pub(crate) fn rank(&self) -> Rank {
        // To read all of an index, and then each document, is worse than to read the documents.
        let serves = self.cover.is_some() && self.is_ordered();
        let rank = Rank {
            kind: self.kind,
            narrows_nothing: self.kind == Kind::Scan && self.index.is_some() && !serves,
            is_no_unique_point: !self.is_unique_point,
            equal_fields: Reverse(self.equal_fields),
            bounded_fields: Reverse(self.bounded_fields),
            ties: [true, true],
            fields: self.index.map_or(1, |index| index.spec.keys.len()),
        };
        rank.for_free(self.is_ordered(), self.cover.is_some(), self.prefers_order)
    }

    pub(crate) fn prefers_order(&self) -> bool {
        self.prefers_order
    }

    /// What `explain` says of a candidate.
    pub(crate) fn describe(&self) -> Document {
        doc! {
            "plan": self.name(),
            "index": self.index_name(),
            "bounds": self.bounds(),
            "ordered_by_index": self.is_ordered(),
        }
    }
}

/// The place of a candidate, the lesser is chosen: equality before lists before ranges before an order with a
/// limit; then the whole key of a unique index, more fields with one value, more fields that are bounded;
/// with a limit an order that comes for free before documents that need not be read, without one the other
/// way round; a key with fewer fields; then what was made first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    kind: Kind,
    narrows_nothing: bool,
    is_no_unique_point: bool,
    equal_fields: Reverse<usize>,
    bounded_fields: Reverse<usize>,
    ties: [bool; 2],
    fields: usize,
}

impl Rank {
    /// No better than either in anything.
    pub(crate) fn worse(self, other: Rank) -> Rank {
        Rank {
            kind: self.kind.max(other.kind),
            narrows_nothing: self.narrows_nothing.max(other.narrows_nothing),
            is_no_unique_point: self.is_no_unique_point.max(other.is_no_unique_point),
            equal_fields: self.equal_fields.max(other.equal_fields),
            bounded_fields: self.bounded_fields.max(other.bounded_fields),
            ties: self.ties.max(other.ties),
            fields: self.fields.max(other.fields),
        }
    }

    /// With what comes for free.
    pub(crate) fn for_free(self, is_ordered: bool, is_covered: bool, prefers_order: bool) -> Rank {
        let ties = match prefers_order {
            true => [!is_ordered, !is_covered],
            false => [!is_covered, !is_ordered],
        };
        Rank { ties, ..self }
    }
}

/// One plan, or several together.
#[derive(Clone, Debug)]
pub(crate) enum Access<'c> {
    Plan(Plan<'c>),
    /// Each document is found by one of its branches.
    Union(Union<'c>),
}

impl Access<'_> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Access::Plan(plan) => plan.name(),
            Access::Union(_) => "union",
        }
    }

    pub(crate) fn order(&self) -> Order {
        match self {
            Access::Plan(plan) => plan.order,
            Access::Union(union) => union.order(),
        }
    }

    /// Whether keys are all that the filter asks for; those of a union lead to documents found twice.
    pub(crate) fn is_answered_by_keys(&self) -> bool {
        matches!(self, Access::Plan(plan) if plan.is_answered_by_keys)
    }

    /// How many indexes are read at once.
    pub(crate) fn branches(&self) -> usize {
        match self {
            Access::Plan(_) => 1,
            Access::Union(union) => union.branches.len(),
        }
    }

    fn rank(&self) -> Rank {
        match self {
            Access::Plan(plan) => plan.rank(),
            Access::Union(union) => union.rank(),
        }
    }

    fn describe(&self) -> Document {
        match self {
            Access::Plan(plan) => plan.describe(),
            Access::Union(union) => union.describe(),
        }
    }
}

/// The plan chosen, and what else there was.
pub(crate) struct Choice<'c> {
    pub(crate) access: Access<'c>,
    pub(crate) rejected: Vec<Access<'c>>,
    /// Indexes that cannot serve, with the reason.
    pub(crate) unusable: Vec<(&'c str, &'static str)>,
}

impl Choice<'_> {
    /// The candidates that were not chosen, for `explain`; indexes that would not narrow anything are left
    /// out.
    pub(crate) fn rejected(&self) -> Value {
        let serves = |access: &&Access<'_>| match access {
            Access::Plan(plan) => plan.kind != Kind::Scan || plan.index.is_none(),
            Access::Union(_) => true,
        };
        let plans = self.rejected.iter().filter(serves);
        let plans = plans.map(|access| Value::from(access.describe()));
        let unusable = self
            .unusable
            .iter()
            .map(|(name, reason)| Value::from(doc! { "index": *name, "reason": *reason }));
        Value::Array(plans.chain(unusable).collect())
    }
}

/// What a search needs of a document: for its filter, its order and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    pub(crate) paths: BTreeSet<String>,
    pub(crate) id: bool,
}

impl Needs {
    /// What of it an index tells; none if it does not tell all.
    fn cover(&self, index: Option<&Index>) -> Option<Cover> {
        let index = index.filter(|index| !index.multikey.contains(&true))?;
        let has = |path: &String| index.paths().iter().any(|field| field.as_str() == path);
        let needs = |path: &Path| self.paths.contains(path.as_str());
        let fields = index.paths().iter().map(needs).collect();
        self.paths.iter().all(has).then_some(Cover { fields, id: self.id })
    }
}

/// Chooses how a query finds its documents. With `needs`, plans that read entries alone are looked for.
///
/// # Errors
/// If the hint names an index that cannot serve the query.
pub(crate) fn plan<'c>(
    collection: &'c Collection,
    filter: &'c Filter,
    search: &SearchOptions,
    needs: Option<&Needs>,
) -> Result<Choice<'c>, Error> {
    let parts = conjuncts(filter);
    let asks = Asks::of(&parts);
    let tests = asks.tests();
    let query = Query { tests: &tests, is_all_tests: asks.is_all(&parts), search, needs };
    if let Some(hint) = &search.hint {
        let index = hinted(collection, hint, &tests)?;
        let access = Access::Plan(query.plan_for(index));
        return Ok(Choice { access, rejected: Vec::new(), unusable: Vec::new() });
    }
    let (plans, unusable) = query.candidates(collection);
    let mut all: Vec<Access<'_>> = plans.into_iter().map(Access::Plan).collect();
    all.extend(unions(collection, &parts, &tests, search).into_iter().map(Access::Union));
    // The first of the best.
    let best = (1..all.len())
        .fold(0, |best, other| if all[other].rank() < all[best].rank() { other } else { best });
    let access = all.remove(best);
    Ok(Choice { access, rejected: all, unusable })
}

/// The best plan for documents that pass all the tests.
pub(crate) fn best_plan<'c>(
    collection: &'c Collection,
    tests: &Tests<'_>,
    search: &SearchOptions,
) -> Option<Plan<'c>> {
    let query = Query { tests, is_all_tests: false, search, needs: None };
    query.candidates(collection).0.into_iter().min_by_key(Plan::rank)
}

/// What filters joined by "and" ask as tests.
pub(crate) struct Asks<'f> {
    tests: Vec<(&'f Path, &'f Test)>,
    /// Values of one field joined by "or".
    values: Vec<(&'f Path, Test)>,
}

impl<'f> Asks<'f> {
    pub(crate) fn of(parts: &[&'f Filter]) -> Asks<'f> {
        let mut asks = Asks { tests: Vec::new(), values: Vec::new() };
        for part in parts {
            match part {
                Filter::Test(path, test) => asks.tests.push((path, test)),
                Filter::Or(branches) => asks.values.extend(as_values(branches)),
                _ => {}
            }
        }
        asks
    }

    pub(crate) fn tests(&self) -> Vec<(&Path, &Test)> {
        let values = self.values.iter().map(|(path, test)| (*path, test));
        self.tests.iter().copied().chain(values).collect()
    }

    /// Whether the filters ask nothing else.
    fn is_all(&self, parts: &[&Filter]) -> bool {
        self.tests.len() + self.values.len() == parts.len()
    }
}

fn unusable_because(index: &Index, tests: &Tests<'_>) -> Option<&'static str> {
    match &index.state {
        IndexState::Building(_) => Some("it is being built"),
        IndexState::Failed(_) => Some("it could not be built"),
        IndexState::Ready if has_all(index, tests) => None,
        IndexState::Ready if index.spec.sparse => {
            Some("it is sparse, and the query may mean documents without its fields")
        }
        IndexState::Ready => Some("the query does not imply its where"),
    }
}

/// The index that a hint names; none: the documents.
fn hinted<'c>(
    collection: &'c Collection,
    hint: &Value,
    tests: &Tests<'_>,
) -> Result<Option<&'c Index>, Error> {
    let index = match hint {
        Value::String(name) if name == "_id_" => return Ok(None),
        Value::String(name) => collection.index(name),
        Value::Document(keys) => {
            let keys = api::parse::parse_index_keys(keys)?;
            if matches!(&keys[..], [key] if key.path == ID_FIELD && !key.descending) {
                return Ok(None);
            }
            collection.indexes.iter().find(|index| index.spec.keys == keys)
        }
        _ => None,
    };
    let Some(index) = index else {
        return Err(bad_query(format!(
            "hint: collection {} has no index {}; it has {}",
            collection.name,
            crate::failure::show(hint),
            collection.index_names()
        )));
    };
    match unusable_because(index, tests) {
        Some(reason) => {
            Err(bad_query(format!("hint: index {} cannot serve the query: {reason}", index.name())))
        }
        None => Ok(Some(index)),
    }
}

/// A field of the index, or `_id` of the documents.
struct Field<'c> {
    path: &'c str,
    descending: bool,
    multikey: bool,
}

/// What is asked of a field.
#[derive(Default)]
struct Asked {
    /// None: nothing.
    intervals: Option<Vec<Interval>>,
    kind: Option<BoundsKind>,
    shown: Vec<Value>,
    /// Whether the intervals say all that the tests on the field do.
    exact: bool,
    /// Whether the intervals are one value.
    is_point: bool,
}

struct Query<'q> {
    tests: &'q Tests<'q>,
    is_all_tests: bool,
    search: &'q SearchOptions,
    needs: Option<&'q Needs>,
}

impl Query<'_> {
    /// A plan for the documents and for each index that can serve, in the order in which they were made, and
    /// why others cannot. Only for `explain` plans are made that cannot be the best.
    fn candidates<'c>(
        &self,
        collection: &'c Collection,
    ) -> (Vec<Plan<'c>>, Vec<(&'c str, &'static str)>) {
        let mut plans = Vec::new();
        let mut unusable = Vec::new();
        for index in &collection.indexes {
            match unusable_because(index, self.tests) {
                Some(reason) => unusable.push((index.name(), reason)),
                None if self.search.explain || self.has_use_of(index) => {
                    plans.push(self.plan_for(Some(index)));
                }
                None => {}
            }
        }
        // Without a test on `_id` the documents are all read, which any index that narrows is better than.
        let narrows = plans.iter().any(|plan| plan.kind < Kind::Sort);
        if self.search.explain || !narrows || self.has_test(ID_FIELD) {
            plans.insert(0, self.plan_for(None));
        }
        (plans, unusable)
    }

    /// Whether the plan of an index can be better than to read the documents: it narrows them, gives their order, or
    /// tells all that is needed of them. If none of its fields is asked for it does neither of the first two.
    fn has_use_of(&self, index: &Index) -> bool {
        let is_sorted_by = |name: &str| self.search.sort.iter().any(|(path, _)| path == name);
        let is_asked = |name: &str| self.has_test(name) || is_sorted_by(name);
        index.paths().iter().any(|path| is_asked(path.as_str()))
            || self.needs.is_some_and(|needs| needs.cover(Some(index)).is_some())
    }

    fn has_test(&self, name: &str) -> bool {
        self.tests.iter().any(|(path, _)| path.as_str() == name)
    }

    fn plan_for<'c>(&self, index: Option<&'c Index>) -> Plan<'c> {
        let fields = fields_of(index);
        let asked = self.asked(&fields);
        let (ranges, depth) = ranges(&fields, &asked);
        let key_tests = key_tests(&fields, &asked, depth);
        let pinned = |field: usize| field < depth && asked[field].is_point;
        let (order, backward) = self.order(index, &fields, &asked, &pinned);
        let first = asked.first().and_then(|asked| asked.kind);
        let is_limited = self.search.limit.is_some_and(|limit| limit > 0);
        let kind = match first {
            Some(BoundsKind::Equality) => Kind::Equality,
            Some(BoundsKind::Values) => Kind::Values,
            Some(BoundsKind::Range) => Kind::Range,
            None if index.is_some() && order != Order::None && is_limited => Kind::Sort,
            None => Kind::Scan,
        };
        let used = |(field, asked): &(usize, &Asked)| {
            asked.intervals.is_some()
                && (*field < depth || key_tests.iter().any(|test| test.field == *field))
        };
        let bounded = || asked.iter().enumerate().filter(used);
        let bounded_fields = bounded().count();
        let bounds: Vec<(String, Vec<Value>)> = bounded()
            .filter(|_| self.search.explain)
            .map(|(field, asked)| (fields[field].path.to_owned(), asked.shown.clone()))
            .collect();
        let all_pinned = (0..fields.len()).all(pinned);
        Plan {
            index,
            cover: self.needs.and_then(|needs| needs.cover(index)),
            prefers_order: is_limited,
            repeats: !all_pinned && fields.iter().any(|field| field.multikey),
            ranges,
            backward,
            order,
            is_answered_by_keys: self.is_answered_by_keys(&fields, &asked),
            kind,
            equal_fields: (0..depth).take_while(|field| pinned(*field)).count(),
            bounded_fields,
            is_unique_point: all_pinned && index.is_none_or(|index| index.spec.unique),
            bounds,
            key_tests,
        }
    }

    fn asked(&self, fields: &[Field<'_>]) -> Vec<Asked> {
        let mut all: Vec<Asked> = Vec::with_capacity(fields.len());
        for (position, field) in fields.iter().enumerate() {
            // The elements of one list that pass tests on two fields may be different ones, but an entry
            // is about one of them.
            let is_taken = |(other, asked): (usize, &Asked)| {
                fields[other].multikey
                    && asked.intervals.is_some()
                    && first_part(fields[other].path) == first_part(field.path)
            };
            if field.multikey && all.iter().enumerate().any(is_taken) {
                all.push(Asked::default());
                continue;
            }
            all.push(self.asked_of(&fields[position]));
        }
        all
    }

    fn asked_of(&self, field: &Field<'_>) -> Asked {
        let on_field = self.tests.iter().filter(|(path, _)| path.as_str() == field.path);
        let shows = self.search.explain;
        let all: Vec<Option<Bounds>> =
            on_field.map(|(_, test)| Bounds::told(test, shows)).collect();
        let is_complete = all.iter().all(Option::is_some);
        let mut bounds: Vec<Bounds> = all.into_iter().flatten().collect();
        bounds.sort_by_key(|bounds| bounds.kind);
        // Two tests may be met by two elements of one list: only one of them can be used.
        if field.multikey && !intersects_anyway() {
            bounds.truncate(1);
        }
        let Some(first) = bounds.first_mut() else { return Asked::default() };
        let kind = Some(first.kind);
        let mut intervals = std::mem::take(&mut first.intervals);
        for bounds in &bounds[1..] {
            intervals = intersect(&intervals, &bounds.intervals);
        }
        Asked {
            is_point: matches!(&intervals[..], [one] if one.as_point().is_some()),
            intervals: Some(intervals),
            kind,
            exact: is_complete && !field.multikey && bounds.iter().all(|bounds| bounds.exact),
            shown: match shows {
                true => bounds.into_iter().map(|bounds| bounds.shown).collect(),
                false => Vec::new(),
            },
        }
    }

    fn is_answered_by_keys(&self, fields: &[Field<'_>], asked: &[Asked]) -> bool {
        let is_answered = |path: &Path| {
            let field = fields.iter().position(|field| field.path == path.as_str());
            field.is_some_and(|field| asked[field].exact)
        };
        self.is_all_tests
            && !fields.iter().any(|field| field.multikey)
            && self.tests.iter().all(|(path, _)| is_answered(path))
    }

    /// The order in which reading the index gives documents, and whether it must be read backward.
    ///
    /// Documents of equal rank stand in the order of `_id`, in the direction of the first sort key.
    fn order(
        &self,
        index: Option<&Index>,
        fields: &[Field<'_>],
        asked: &[Asked],
        pinned: &dyn Fn(usize) -> bool,
    ) -> (Order, bool) {
        let id_descending = index.is_some_and(Index::is_id_descending);
        let sort = &self.search.sort;
        let ties_descending = sort.first().is_some_and(|(_, direction)| *direction < 0);
        // Of documents with one and the same key, each has one entry there, lists or not.
        if sort.first().is_none_or(|(path, _)| path == ID_FIELD) {
            return match index {
                None => (Order::Asked, ties_descending),
                Some(_) if (0..fields.len()).all(pinned) => {
                    (Order::Asked, id_descending != ties_descending)
                }
                Some(_) => (Order::None, false),
            };
        }
        let constant = |field: usize| !fields[field].multikey && asked[field].is_point;
        let mut position = 0;
        let mut backward = None;
        for (path, direction) in sort {
            let descending = *direction < 0;
            if (0..fields.len()).any(|field| fields[field].path == path && constant(field)) {
                continue;
            }
            while position < fields.len() && constant(position) {
                position += 1;
            }
            let flip = match fields.get(position) {
                Some(field) if field.path == path && !field.multikey => {
                    field.descending != descending
                }
                None if path == ID_FIELD => id_descending != descending,
                _ => return (Order::None, false),
            };
            if backward.is_some_and(|backward| backward != flip) {
                return (Order::None, false);
            }
            backward = Some(flip);
            if position == fields.len() || fields[position].path == ID_FIELD {
                // There are no ties.
                return (Order::Asked, flip);
            }
            position += 1;
        }
        let run = position;
        while position < fields.len() && constant(position) {
            position += 1;
        }
        let is_whole_key = position == fields.len();
        match backward {
            None if is_whole_key => (Order::Asked, id_descending != ties_descending),
            None => (Order::None, false),
            Some(backward) if is_whole_key && (id_descending != backward) == ties_descending => {
                (Order::Asked, backward)
            }
            Some(backward) => (Order::Runs(run), backward),
        }
    }
}

#[cfg(feature = "planted-bugs")]
fn intersects_anyway() -> bool {
    crate::planted(crate::PlantedBug::MultikeyIntersected)
}

#[cfg(not(feature = "planted-bugs"))]
fn intersects_anyway() -> bool {
    false
}

fn first_part(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

fn fields_of(index: Option<&Index>) -> Vec<Field<'_>> {
    let Some(index) = index else {
        return vec![Field { path: ID_FIELD, descending: false, multikey: false }];
    };
    let keys = index.spec.keys.iter().zip(&index.multikey);
    let field = |(key, multikey): (&'_ api::IndexKey, &bool)| (key.descending, *multikey);
    (keys.map(field).zip(index.paths()))
        .map(|((descending, multikey), path)| Field { path: path.as_str(), descending, multikey })
        .collect()
}

/// The ranges to read, and how many fields they make use of: fields with single values, and one with
/// anything else behind them.
fn ranges(fields: &[Field<'_>], asked: &[Asked]) -> (Vec<KeyRange>, usize) {
    let mut points: Vec<Vec<u8>> = vec![Vec::new()];
    for (depth, field) in fields.iter().enumerate() {
        let Some(intervals) = &asked[depth].intervals else { return (around(points), depth) };
        let mut parts: Vec<&Interval> = intervals.iter().collect();
        if field.descending {
            parts.reverse();
        }
        let is_last = parts.iter().any(|interval| interval.as_point().is_none());
        if depth > 0 && points.len().saturating_mul(parts.len()) > RANGES_MAX {
            return (around(points), depth);
        }
        if is_last {
            let mut ranges = Vec::with_capacity(points.len() * parts.len());
            for point in &points {
                for interval in &parts {
                    let (from, to) = interval.encoded(field.descending);
                    ranges.push(([&point[..], &from].concat(), [&point[..], &to].concat()));
                }
            }
            return (ranges, depth + 1);
        }
        let mut next = Vec::with_capacity(points.len() * parts.len());
        for point in &points {
            for key in parts.iter().filter_map(|interval| interval.as_point()) {
                let start = point.len();
                let mut point = [&point[..], key].concat();
                if field.descending {
                    keys::invert(&mut point[start..]);
                }
                next.push(point);
            }
        }
        points = next;
    }
    (around(points), fields.len())
}

/// All that begins with each of the keys.
fn around(points: Vec<Vec<u8>>) -> Vec<KeyRange> {
    let range = |point: Vec<u8>| {
        let to = keys::behind(&point);
        (point, to)
    };
    points.into_iter().map(range).collect()
}

fn key_tests(fields: &[Field<'_>], asked: &[Asked], depth: usize) -> Vec<KeyTest> {
    let behind = fields.iter().zip(asked).enumerate().skip(depth);
    let test = |(field, (of, asked)): (usize, (&Field<'_>, &Asked))| {
        let intervals = asked.intervals.as_ref()?;
        let mut ranges: Vec<_> =
            intervals.iter().map(|interval| interval.encoded(of.descending)).collect();
        if of.descending {
            ranges.reverse();
        }
        Some(KeyTest { field, ranges })
    };
    behind.filter_map(test).collect()
}

impl KeyTest {
    /// Whether the key of the field is within the ranges.
    pub(crate) fn passes(&self, key: &[u8]) -> bool {
        let behind = self.ranges.partition_point(|(from, _)| from[..] <= *key);
        behind > 0 && key < &self.ranges[behind - 1].1[..]
    }
}
