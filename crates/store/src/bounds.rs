//! The values that a test can hold for, as parts of the order of values.
//!
//! A [`Bounds`] never leaves out a value for which its test holds. It is *exact* if it has no other
//! either, among single values: then a test on a field without lists needs no look at the document.

use crate::keys;
use api::Value;
use api::order::{Bracket, bracket};
use bson::doc;
use query::{Comparison, Predicate, Test};

/// A place in the order of values: before or behind all that begins with some bytes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    bytes: Vec<u8>,
    behind: bool,
}

impl Cut {
    fn before(bytes: Vec<u8>) -> Cut {
        Cut { bytes, behind: false }
    }

    fn behind(bytes: Vec<u8>) -> Cut {
        Cut { bytes, behind: true }
    }

    /// The bound of keys, in the order of values.
    fn position(&self) -> Vec<u8> {
        if self.behind { keys::behind(&self.bytes) } else { self.bytes.clone() }
    }

    /// The bound of keys that are inverted.
    fn inverted(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        keys::invert(&mut bytes);
        if self.behind { bytes } else { keys::behind(&bytes) }
    }
}

/// The values between two cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    from: Cut,
    to: Cut,
}

impl Interval {
    pub(crate) fn everything() -> Interval {
        Interval { from: Cut::before(Vec::new()), to: Cut::behind(Vec::new()) }
    }

    fn point(value: &Value) -> Interval {
        let key = keys::encode(value);
        Interval { from: Cut::before(key.clone()), to: Cut::behind(key) }
    }

    /// The key of the one value it holds, if it holds no more.
    pub(crate) fn as_point(&self) -> Option<&[u8]> {
        let same = self.from.bytes == self.to.bytes && !self.from.behind && self.to.behind;
        let whole = keys::length(&self.from.bytes) == Some(self.from.bytes.len());
        (same && whole).then_some(&self.from.bytes[..])
    }

    /// Half-open bounds of keys, in the direction in which they stand in an index.
    pub(crate) fn encoded(&self, descending: bool) -> (Vec<u8>, Vec<u8>) {
        if descending {
            (self.to.inverted(), self.from.inverted())
        } else {
            (self.from.position(), self.to.position())
        }
    }

    fn is_empty(&self) -> bool {
        self.from.position() >= self.to.position()
    }
}

/// How narrow a test is: the lesser is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Equality,
    Values,
    Range,
}

/// What a test demands of a field.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) kind: Kind,
    /// In the order of values, disjoint, none empty.
    pub(crate) intervals: Vec<Interval>,
    pub(crate) exact: bool,
    /// The test, for `explain`; null if nobody asks.
    pub(crate) shown: Value,
}

impl Bounds {
    /// The bounds of a test; none if an index does not help.
    pub(crate) fn of(test: &Test) -> Option<Bounds> {
        Bounds::told(test, false)
    }

    /// As [`Bounds::of`], with the test itself if it is to be shown.
    pub(crate) fn told(test: &Test, shows: bool) -> Option<Bounds> {
        let show = |name: &str, operand: &dyn Fn() -> Value| show(shows, name, operand);
        match test {
            Test::Compare(Comparison::Equal, operand) => Some(Bounds {
                kind: Kind::Equality,
                intervals: equality(operand),
                exact: is_single(operand),
                shown: show("$eq", &|| operand.clone()),
            }),
            Test::Compare(comparison, operand) => {
                let name = match comparison {
                    Comparison::Greater => "$gt",
                    Comparison::GreaterOrEqual => "$gte",
                    Comparison::Less => "$lt",
                    Comparison::LessOrEqual | Comparison::Equal => "$lte",
                };
                Some(Bounds {
                    kind: Kind::Range,
                    intervals: range(*comparison, operand)?,
                    exact: true,
                    shown: show(name, &|| operand.clone()),
                })
            }
            Test::In(values, patterns) if patterns.is_empty() => Some(Bounds {
                kind: Kind::Values,
                intervals: normalised(values.iter().flat_map(equality).collect()),
                exact: values.iter().all(is_single),
                shown: show("$in", &|| Value::Array(values.clone())),
            }),
            Test::ElementValue(predicate) => Bounds::of_element(predicate, shows),
            _ => None,
        }
    }

    /// What an element must be within that passes all of a predicate. It stands in the index by itself, so
    /// that here bounds do narrow one another.
    fn of_element(predicate: &Predicate, shows: bool) -> Option<Bounds> {
        let bounds: Vec<Bounds> = match predicate {
            Predicate::Test(test) => vec![Bounds::told(test, shows)?],
            Predicate::Not(_) => return None,
            Predicate::All(all) => {
                all.iter().filter_map(|inner| Bounds::of_element(inner, shows)).collect()
            }
        };
        let kind = bounds.iter().map(|bounds| bounds.kind).min()?;
        let mut intervals = vec![Interval::everything()];
        for bounds in &bounds {
            intervals = intersect(&intervals, &bounds.intervals);
        }
        let shown = show(shows, "$elemMatch", &|| {
            Value::Array(bounds.iter().map(|bounds| bounds.shown.clone()).collect())
        });
        Some(Bounds { kind, intervals, exact: false, shown })
    }

    /// Whether all values here are in `other` as well.
    pub(crate) fn is_within(&self, other: &Bounds) -> bool {
        intersect(&self.intervals, &other.intervals) == self.intervals
    }

    /// Whether null, and with it the absence of a value, is among the values.
    pub(crate) fn has_null(&self) -> bool {
        !intersect(&self.intervals, &[Interval::point(&Value::Null)]).is_empty()
    }
}

fn show(shows: bool, name: &str, operand: &dyn Fn() -> Value) -> Value {
    if shows { Value::from(doc! { name: operand() }) } else { Value::Null }
}

/// Whether equality with the operand is about one value: with a list it is also about elements.
fn is_single(operand: &Value) -> bool {
    !matches!(operand, Value::Array(_))
}

/// Where documents stand whose field equals `operand`, in order and disjoint. A list's entries are those of its elements;
/// an empty one stands at undefined.
fn equality(operand: &Value) -> Vec<Interval> {
    match operand {
        Value::Array(elements) => normalised(vec![
            Interval::point(elements.first().unwrap_or(&Value::Undefined)),
            Interval::point(operand),
        ]),
        operand => vec![Interval::point(operand)],
    }
}

/// The operand's bracket up to, or from, the operand.
fn range(comparison: Comparison, operand: &Value) -> Option<Vec<Interval>> {
    let bracket = bracket(operand);
    let or_equal = matches!(comparison, Comparison::GreaterOrEqual | Comparison::LessOrEqual);
    let nan = Interval::point(&Value::Double(f64::NAN));
    let point = Interval::point(operand);
    match bracket {
        // A list is compared as a whole, but its entries are those of its elements.
        Bracket::Array | Bracket::MinKey | Bracket::MaxKey => return None,
        // There is one of them; and nothing is less or greater than what is not a number.
        Bracket::Null | Bracket::Undefined => {
            return Some(if or_equal { vec![point] } else { Vec::new() });
        }
        Bracket::Number if point == nan => {
            return Some(if or_equal { vec![point] } else { Vec::new() });
        }
        _ => {}
    }
    let start = match bracket {
        Bracket::Number => nan.to,
        _ => Cut::before(vec![bracket as u8]),
    };
    let end = Cut::behind(vec![bracket as u8]);
    let interval = match comparison {
        Comparison::Greater => Interval { from: point.to, to: end },
        Comparison::GreaterOrEqual => Interval { from: point.from, to: end },
        Comparison::Less => Interval { from: start, to: point.from },
        Comparison::LessOrEqual | Comparison::Equal => Interval { from: start, to: point.to },
    };
    Some(normalised(vec![interval]))
}

/// In order, disjoint, none empty.
fn normalised(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.retain(|interval| !interval.is_empty());
    if intervals.len() < 2 {
        return intervals;
    }
    intervals.sort_by_cached_key(|interval| interval.from.position());
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        match merged.last_mut() {
            // Only what overlaps: points beside each other stay points.
            Some(last) if interval.from.position() < last.to.position() => {
                if interval.to.position() > last.to.position() {
                    last.to = interval.to;
                }
            }
            _ => merged.push(interval),
        }
    }
    merged
}

/// What is in both.
pub(crate) fn intersect(left: &[Interval], right: &[Interval]) -> Vec<Interval> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut common = Vec::new();
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let later = one.from.position() >= other.from.position();
        let from = if later { &one.from } else { &other.from };
        let earlier = one.to.position() <= other.to.position();
        let to = if earlier { &one.to } else { &other.to };
        let interval = Interval { from: from.clone(), to: to.clone() };
        if !interval.is_empty() {
            common.push(interval);
        }
        if earlier {
            left.next();
        } else {
            right.next();
        }
    }
    common
}
