//! `$group`: documents of equal key become one.

use super::Shared;
use crate::error::{bad_query, show};
use crate::expression::Expression;
use crate::number::Numeric;
use crate::ordered::Ordered;
use crate::size::value_bytes;
use api::order::compare;
use api::{Document, Error, Value};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(super) struct Group {
    key: Expression,
    fields: Vec<(String, Kind, Expression)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sum,
    Average,
    Minimum,
    Maximum,
    First,
    Last,
    Push,
    AddToSet,
    Count,
    Merge,
}

const KNOWN: &str =
    "$sum, $avg, $min, $max, $first, $last, $push, $addToSet, $count, $mergeObjects";

/// The groups so far, in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<Ordered<Value>, Vec<Accumulator>>);

#[derive(Debug)]
enum Accumulator {
    Sum(Numeric),
    Average(Numeric, u64),
    /// Of a minimum, a maximum, the first or the last.
    One(Option<Value>),
    List(Vec<Value>),
    Set(BTreeSet<Ordered<Value>>),
    Count(u64),
    Document(Document),
}

impl Group {
    pub(super) fn parse(operand: &Value) -> Result<Group, Error> {
        let Value::Document(operand) = operand else {
            return Err(bad_query(format!("$group needs a document, not {}", show(operand))));
        };
        let key = operand
            .get("_id")
            .ok_or_else(|| bad_query("$group needs _id, the key; null makes one group of all"))?;
        let mut fields = Vec::with_capacity(operand.len());
        for (name, value) in operand {
            if name == "_id" {
                continue;
            }
            if name.contains('.') || name.starts_with('$') {
                return Err(bad_query(format!("$group: {name:?} is no plain field name")));
            }
            fields.push(accumulator(name, value)?);
        }
        Ok(Group { key: Expression::parse(key)?, fields })
    }

    /// `$sortByCount` groups by its expression and counts.
    pub(super) fn counting(key: &Value) -> Result<Group, Error> {
        let one = Expression::parse(&Value::Int32(1))?;
        let fields = vec![("count".to_owned(), Kind::Sum, one)];
        Ok(Group { key: Expression::parse(key)?, fields })
    }

    pub(super) fn add(
        &self,
        groups: &mut Groups,
        document: &Document,
        shared: &mut Shared,
    ) -> Result<(), Error> {
        let key = Ordered(self.key.evaluate(document, &mut shared.budget)?);
        if !groups.0.contains_key(&key) {
            shared.hold("$group", value_bytes(&key.0) + 64 * (1 + self.fields.len()))?;
            let fresh = self.fields.iter().map(|(_, kind, _)| Accumulator::new(*kind)).collect();
            groups.0.insert(Ordered(key.0.clone()), fresh);
        }
        let Some(accumulators) = groups.0.get_mut(&key) else { return Ok(()) };
        for ((_, kind, expression), accumulator) in self.fields.iter().zip(accumulators) {
            let value = expression.compute(document, &mut shared.budget)?;
            accumulator.add(*kind, value, shared)?;
        }
        Ok(())
    }

    pub(super) fn finish(&self, groups: Groups) -> Vec<Document> {
        let document = |(key, accumulators): (Ordered<Value>, Vec<Accumulator>)| {
            let mut document = Document::new();
            document.insert("_id", key.0);
            for ((name, ..), accumulator) in self.fields.iter().zip(accumulators) {
                document.insert(name.clone(), accumulator.finish());
            }
            document
        };
        groups.0.into_iter().map(document).collect()
    }
}

fn accumulator(name: &str, value: &Value) -> Result<(String, Kind, Expression), Error> {
    let wrong = || {
        bad_query(format!(
            "$group: {name}: needs one accumulator such as {{\"$sum\": \"$n\"}}, not {}; known are \
             {KNOWN}",
            show(value)
        ))
    };
    let Value::Document(document) = value else { return Err(wrong()) };
    let (Some((operator, operand)), 1) = (document.iter().next(), document.len()) else {
        return Err(wrong());
    };
    let kind = match operator.as_str() {
        "$sum" => Kind::Sum,
        "$avg" => Kind::Average,
        "$min" => Kind::Minimum,
        "$max" => Kind::Maximum,
        "$first" => Kind::First,
        "$last" => Kind::Last,
        "$push" => Kind::Push,
        "$addToSet" => Kind::AddToSet,
        "$mergeObjects" => Kind::Merge,
        "$count" => match operand {
            Value::Document(nothing) if nothing.is_empty() => Kind::Count,
            _ => return Err(bad_query(format!("$group: {name}: $count takes an empty document"))),
        },
        _ => return Err(wrong()),
    };
    Ok((name.to_owned(), kind, Expression::parse(operand)?))
}

impl Accumulator {
    fn new(kind: Kind) -> Accumulator {
        match kind {
            Kind::Sum => Accumulator::Sum(Numeric::Int(0)),
            Kind::Average => Accumulator::Average(Numeric::Int(0), 0),
            Kind::Minimum | Kind::Maximum | Kind::First | Kind::Last => Accumulator::One(None),
            Kind::Push => Accumulator::List(Vec::new()),
            Kind::AddToSet => Accumulator::Set(BTreeSet::new()),
            Kind::Count => Accumulator::Count(0),
            Kind::Merge => Accumulator::Document(Document::new()),
        }
    }

    /// `value`: none where the expression has none. Sums count numbers only, bounds neither null
    /// nor nothing; lists and sets take null but not nothing.
    fn add(&mut self, kind: Kind, value: Option<Value>, shared: &mut Shared) -> Result<(), Error> {
        match self {
            Accumulator::Sum(sum) => {
                if let Some(number) = number("$sum", value.as_ref())? {
                    *sum = plus(*sum, number);
                }
            }
            Accumulator::Average(sum, count) => {
                if let Some(number) = number("$avg", value.as_ref())? {
                    *sum = plus(*sum, number);
                    *count += 1;
                }
            }
            Accumulator::One(one) => one_of(kind, one, value, shared)?,
            Accumulator::List(list) => {
                if let Some(value) = value {
                    shared.hold("$group", value_bytes(&value) + 16)?;
                    list.push(value);
                }
            }
            Accumulator::Set(set) => {
                if let Some(value) = value {
                    let bytes = value_bytes(&value) + 32;
                    if set.insert(Ordered(value)) {
                        shared.hold("$group", bytes)?;
                    }
                }
            }
            Accumulator::Count(count) => *count += 1,
            Accumulator::Document(merged) => match value {
                None | Some(Value::Null | Value::Undefined) => {}
                Some(Value::Document(document)) => {
                    shared.hold("$group", crate::size::document_bytes(&document))?;
                    merged.extend(document);
                }
                Some(other) => {
                    return Err(bad_query(format!(
                        "$mergeObjects needs documents, not {}",
                        show(&other)
                    )));
                }
            },
        }
        Ok(())
    }

    fn finish(self) -> Value {
        match self {
            Accumulator::Sum(sum) => sum.value(),
            Accumulator::Average(_, 0) => Value::Null,
            Accumulator::Average(sum, count) => Value::Double(sum.double() / count as f64),
            Accumulator::One(one) => one.unwrap_or(Value::Null),
            Accumulator::List(list) => Value::Array(list),
            Accumulator::Set(set) => Value::Array(set.into_iter().map(|value| value.0).collect()),
            Accumulator::Count(count) => {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                i32::try_from(count).map_or(Value::Int64(count), Value::Int32)
            }
            Accumulator::Document(document) => Value::Document(document),
        }
    }
}

fn one_of(
    kind: Kind,
    one: &mut Option<Value>,
    value: Option<Value>,
    shared: &mut Shared,
) -> Result<(), Error> {
    let is_nothing = matches!(value, None | Some(Value::Null | Value::Undefined));
    let replaces = match (kind, &*one, &value) {
        (Kind::First, one, _) => one.is_none(),
        (Kind::Last, ..) => true,
        (_, _, None) => false,
        (_, None, Some(_)) => !is_nothing,
        (Kind::Minimum, Some(one), Some(value)) => {
            !is_nothing && compare(value, one) == Ordering::Less
        }
        (_, Some(one), Some(value)) => !is_nothing && compare(value, one) == Ordering::Greater,
    };
    if replaces {
        let new = value.unwrap_or(Value::Null);
        let before = one.as_ref().map_or(0, value_bytes);
        shared.hold("$group", value_bytes(&new).saturating_sub(before))?;
        *one = Some(new);
    }
    Ok(())
}

fn plus(left: Numeric, right: Numeric) -> Numeric {
    left.add(right).unwrap_or(Numeric::Double(left.double() + right.double()))
}

fn number(operator: &str, value: Option<&Value>) -> Result<Option<Numeric>, Error> {
    if let Some(Value::Decimal128(_)) = value {
        return Err(bad_query(format!(
            "{operator}: decimals have no arithmetic here; convert with $toDouble first"
        )));
    }
    Ok(value.and_then(Numeric::of))
}
