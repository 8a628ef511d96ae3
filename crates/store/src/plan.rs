//! The planner: which rows a query must look at.
//!
//! It only narrows the rows; the whole filter is tested on every document that is left, so a plan
//! can be slow but not wrong. The choice depends on the collection and the query alone: equality
//! first, then lists of values, then ranges, then an index in the order of the sort.

use crate::catalog::{Collection, Index};
use crate::keys;
use api::order::{Bracket, bracket};
use api::value::ID_FIELD;
use api::{SearchOptions, Value};
use bson::doc;
use query::{Comparison, Filter, Test};

/// Half-open bounds of value keys: `from <= key < to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

/// How a query finds its documents.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'c> {
    /// The index to read; none: the documents themselves, whose order is that of `_id`.
    pub(crate) index: Option<&'c Index>,
    /// What to read of it, in ascending order, disjoint.
    pub(crate) intervals: Vec<Interval>,
    /// Whether to read from the greatest key down.
    pub(crate) backward: bool,
    /// Whether documents come in the order that the query asks for.
    pub(crate) ordered: bool,
    kind: Kind,
    bounds: Vec<Value>,
}

/// How narrow a plan is: the lesser is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Equality,
    Values,
    Range,
    Sort,
    Scan,
}

/// What a test demands of an indexed field.
struct Bounds {
    kind: Kind,
    intervals: Vec<Interval>,
    shown: Value,
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
            (Some(index), _) => Value::String(index.name()),
            (None, Kind::Scan | Kind::Sort) => Value::Null,
            (None, _) => Value::String("_id_".to_owned()),
        }
    }

    /// The tests that the bounds stand for.
    pub(crate) fn bounds(&self) -> Value {
        Value::Array(self.bounds.clone())
    }
}

/// Chooses a plan.
pub(crate) fn plan<'c>(
    collection: &'c Collection,
    filter: &Filter,
    search: &SearchOptions,
) -> Plan<'c> {
    let tests = filter.required_tests();
    let candidates = std::iter::once(None).chain(collection.indexes.iter().map(Some));
    let plans = candidates.map(|index| plan_for(index, &tests, search));
    // An order that comes for free breaks the tie, then the first declared.
    let best = plans.min_by_key(|plan| (plan.kind, !plan.ordered));
    best.unwrap_or_else(|| plan_for(None, &tests, search))
}

fn plan_for<'c>(
    index: Option<&'c Index>,
    tests: &[(&api::path::Path, &Test)],
    search: &SearchOptions,
) -> Plan<'c> {
    let field = index.map_or(ID_FIELD, |index| &index.field);
    let multikey = index.is_some_and(|index| index.multikey);
    let on_field = tests.iter().filter(|(path, _)| path.as_str() == field);
    let mut bounds: Vec<Bounds> = on_field.filter_map(|(_, test)| bounds_of(test)).collect();
    bounds.sort_by_key(|bounds| bounds.kind);
    if multikey {
        // Two tests may be met by two elements of one list: only one of them can be used.
        bounds.truncate(1);
    }
    let kind = bounds.first().map(|bounds| bounds.kind);
    let mut intervals = vec![everything()];
    for bounds in &bounds {
        intervals = intersect(&intervals, &bounds.intervals);
    }
    let (ordered, backward) = order_of(index, kind, &bounds, search);
    let kind = kind.unwrap_or(match (index, ordered) {
        (Some(_), true) if search.limit.is_some_and(|limit| limit > 0) => Kind::Sort,
        (None, _) => Kind::Scan,
        // Worse than a scan of the documents, and `Scan` of them comes first among equals.
        (Some(_), _) => Kind::Scan,
    });
    // Between two scans only that of the documents makes sense.
    let ordered = ordered && !(index.is_some() && kind == Kind::Scan);
    let bounds = bounds.into_iter().map(|bounds| bounds.shown).collect();
    Plan { index, intervals, backward, ordered, kind, bounds }
}

/// Whether reading the index gives the order asked for, and whether it must be read backward.
///
/// Documents of equal rank stand in the order of `_id`, in the direction of the first sort key.
fn order_of(
    index: Option<&Index>,
    kind: Option<Kind>,
    bounds: &[Bounds],
    search: &SearchOptions,
) -> (bool, bool) {
    let multikey = index.is_some_and(|index| index.multikey);
    let one_value =
        kind == Some(Kind::Equality) && bounds.iter().any(|bounds| bounds.intervals.len() == 1);
    match search.sort.first() {
        None => (index.is_none() || one_value, false),
        Some((field, direction)) => {
            let backward = *direction < 0;
            let by_id = field == ID_FIELD;
            let ordered = match index {
                None => by_id,
                Some(_) if by_id => one_value,
                Some(index) => !multikey && *field == index.field && search.sort.len() == 1,
            };
            (ordered, ordered && backward)
        }
    }
}

fn everything() -> Interval {
    Interval { from: Vec::new(), to: vec![keys::AFTER] }
}

fn point(value: &Value) -> Interval {
    let from = keys::encode(value);
    let to = keys::after(&from);
    Interval { from, to }
}

/// The values a test can hold for, as bounds; none if an index does not help.
fn bounds_of(test: &Test) -> Option<Bounds> {
    match test {
        Test::Compare(Comparison::Equal, operand) => {
            let intervals = normalised(equality_intervals(operand));
            Some(Bounds {
                kind: Kind::Equality,
                intervals,
                shown: Value::from(doc! { "$eq": operand }),
            })
        }
        Test::Compare(comparison, operand) => {
            let intervals = range_intervals(*comparison, operand)?;
            let name = match comparison {
                Comparison::Greater => "$gt",
                Comparison::GreaterOrEqual => "$gte",
                Comparison::Less => "$lt",
                Comparison::LessOrEqual | Comparison::Equal => "$lte",
            };
            let shown = Value::from(doc! { name: operand });
            Some(Bounds { kind: Kind::Range, intervals, shown })
        }
        Test::In(values, patterns) if patterns.is_empty() => {
            let intervals = normalised(values.iter().flat_map(equality_intervals).collect());
            let shown = Value::from(doc! { "$in": values.clone() });
            Some(Bounds { kind: Kind::Values, intervals, shown })
        }
        Test::In(..)
        | Test::Exists
        | Test::Regex(_)
        | Test::Size(_)
        | Test::Type(_)
        | Test::Modulo { .. }
        | Test::ElementFields(_)
        | Test::ElementValue(_) => None,
    }
}

/// Where documents stand whose field equals `operand`. A list's entries are those of its elements;
/// an empty one stands at undefined.
fn equality_intervals(operand: &Value) -> Vec<Interval> {
    match operand {
        Value::Array(elements) => {
            vec![point(elements.first().unwrap_or(&Value::Undefined)), point(operand)]
        }
        operand => vec![point(operand)],
    }
}

/// The operand's bracket up to, or from, the operand.
fn range_intervals(comparison: Comparison, operand: &Value) -> Option<Vec<Interval>> {
    let bracket = bracket(operand);
    let inclusive = matches!(comparison, Comparison::GreaterOrEqual | Comparison::LessOrEqual);
    match bracket {
        // A list is compared as a whole, but its entries are those of its elements.
        Bracket::Array | Bracket::MinKey | Bracket::MaxKey => return None,
        Bracket::Null if inclusive => return Some(vec![point(operand)]),
        _ => {}
    }
    let at = keys::encode(operand);
    let (start, end) = (vec![bracket as u8], vec![bracket as u8 + 1]);
    let interval = match comparison {
        Comparison::Greater => Interval { from: keys::after(&at), to: end },
        Comparison::GreaterOrEqual => Interval { from: at, to: end },
        Comparison::Less => Interval { from: start, to: at },
        Comparison::LessOrEqual | Comparison::Equal => {
            Interval { from: start, to: keys::after(&at) }
        }
    };
    Some(normalised(vec![interval]))
}

/// Sorted, disjoint, none empty.
fn normalised(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.retain(|interval| interval.from < interval.to);
    intervals.sort_by(|left, right| left.from.cmp(&right.from));
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        match merged.last_mut() {
            Some(last) if interval.from <= last.to => {
                if interval.to > last.to {
                    last.to = interval.to;
                }
            }
            _ => merged.push(interval),
        }
    }
    merged
}

fn intersect(left: &[Interval], right: &[Interval]) -> Vec<Interval> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut common = Vec::new();
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let from = (&one.from).max(&other.from).clone();
        let to = (&one.to).min(&other.to).clone();
        if from < to {
            common.push(Interval { from, to });
        }
        if one.to < other.to {
            left.next();
        } else {
            right.next();
        }
    }
    common
}
