//! Changes to [`Update`]s.

use super::lists::{AddToSet, Push};
use super::operation::{Bit, Condition, Operation};
use super::target::Target;
use super::{UPDATE_FIELDS_MAX, Update, check_conflict, compare_parts};
use crate::error::{bad_query, show};
use crate::filter::{Filter, element_filter, element_predicate};
use crate::number::Numeric;
use api::order;
use api::path::Path;
use api::{Document, Error, Value};

const KNOWN: &str = "$set, $setOnInsert, $unset, $inc, $mul, $min, $max, $rename, $currentDate, \
                     $push, $addToSet, $pull, $pullAll, $pop, $bit";

pub(super) fn update(changes: &Document, array_filters: &[Document]) -> Result<Update, Error> {
    if changes.is_empty() {
        return Err(bad_query("the changes are empty; name fields to set, or operators"));
    }
    let array_filters = parse_array_filters(array_filters)?;
    let mut parser = Parser {
        used: vec![false; array_filters.len()],
        array_filters: &array_filters,
        operations: Vec::new(),
        others: Vec::new(),
    };
    let operators = changes.keys().filter(|name| name.starts_with('$')).count();
    if operators == 0 {
        parser.operator("$set", changes)?;
    } else if operators < changes.len() {
        return Err(bad_query(
            "the changes mix fields to set with operators; put the fields under $set",
        ));
    } else {
        for (operator, fields) in changes {
            let Value::Document(fields) = fields else {
                return Err(bad_query(format!(
                    "{operator} needs a document of fields, not {}",
                    show(fields)
                )));
            };
            parser.operator(operator, fields)?;
        }
    }
    let operations = parser.finish()?;
    Ok(Update { operations, array_filters })
}

/// `[{"name.field": condition}, …]`: all paths of one filter begin with its name.
fn parse_array_filters(filters: &[Document]) -> Result<Vec<(String, Filter)>, Error> {
    let mut parsed: Vec<(String, Filter)> = Vec::with_capacity(filters.len());
    if filters.len() > UPDATE_FIELDS_MAX {
        return Err(bad_query(format!("array_filters: more than {UPDATE_FIELDS_MAX} filters")));
    }
    for document in filters {
        let filter = Filter::parse(document)?;
        if filter.has_expression() {
            return Err(bad_query("array_filters: $expr cannot stand in an array filter"));
        }
        let mut names: Vec<String> = Vec::new();
        filter.for_each_path(&mut |path| {
            if !names.iter().any(|name| name == path.first()) {
                names.push(path.first().to_owned());
            }
        });
        let [name] = names.as_slice() else {
            return Err(bad_query(format!(
                "array_filters: a filter is about one identifier, {} about {}",
                show(&Value::Document(document.clone())),
                names.len()
            )));
        };
        let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(bad_query(format!(
                "array_filters: the identifier {name:?} must begin with a small letter and have \
                 letters and digits only"
            )));
        }
        if parsed.iter().any(|(known, _)| known == name) {
            return Err(bad_query(format!("array_filters: two filters are about {name:?}")));
        }
        parsed.push((name.clone(), filter));
    }
    Ok(parsed)
}

struct Parser<'a> {
    array_filters: &'a [(String, Filter)],
    used: Vec<bool>,
    operations: Vec<(Target, Operation)>,
    /// Paths that change besides the targets: where `$rename` leads.
    others: Vec<Path>,
}

impl Parser<'_> {
    fn operator(&mut self, operator: &str, fields: &Document) -> Result<(), Error> {
        if fields.len() + self.operations.len() > UPDATE_FIELDS_MAX {
            return Err(bad_query(format!(
                "{operator}: the update names more than {UPDATE_FIELDS_MAX} fields"
            )));
        }
        if !KNOWN.split(", ").any(|known| known == operator) {
            return Err(bad_query(format!(
                "unknown update operator: {operator}; known are {KNOWN}"
            )));
        }
        for (name, operand) in fields {
            let target = Target::parse(operator, name, self.array_filters, &mut self.used)?;
            let operation = self.operation(operator, &target, operand)?;
            self.operations.push((target, operation));
        }
        Ok(())
    }

    fn operation(
        &mut self,
        operator: &str,
        target: &Target,
        operand: &Value,
    ) -> Result<Operation, Error> {
        let path = target.path();
        Ok(match operator {
            "$set" => Operation::Set(operand.clone()),
            "$setOnInsert" => Operation::SetOnInsert(operand.clone()),
            "$unset" => Operation::Unset,
            "$inc" => Operation::Increment(number(operator, path, "increment", operand)?),
            "$mul" => Operation::Multiply(number(operator, path, "multiply", operand)?),
            "$min" => Operation::Minimum(operand.clone()),
            "$max" => Operation::Maximum(operand.clone()),
            "$rename" => Operation::Rename(self.rename(target, operand)?),
            "$currentDate" => Operation::CurrentDate { timestamp: is_timestamp(path, operand)? },
            "$push" => Operation::Push(Push::parse(path, operand)?),
            "$addToSet" => Operation::AddToSet(AddToSet::parse(path, operand)?),
            "$pull" => Operation::Pull(condition(path, operand)?),
            "$pullAll" => match operand {
                Value::Array(values) => {
                    let mut values = values.clone();
                    values.sort_by(order::compare);
                    Operation::Pull(Condition::OneOf(values))
                }
                other => {
                    return Err(bad_query(format!(
                        "$pullAll: {path}: needs a list, not {}",
                        show(other)
                    )));
                }
            },
            "$pop" => match operand {
                value if order::equal(value, &Value::Int32(1)) => Operation::Pop { first: false },
                value if order::equal(value, &Value::Int32(-1)) => Operation::Pop { first: true },
                other => {
                    return Err(bad_query(format!(
                        "$pop: {path}: expects 1 (the last element) or -1 (the first), not {}",
                        show(other)
                    )));
                }
            },
            _ => Operation::Bit(bit(path, operand)?),
        })
    }

    fn rename(&mut self, target: &Target, operand: &Value) -> Result<Vec<String>, Error> {
        let path = target.path();
        let Value::String(to) = operand else {
            return Err(bad_query(format!(
                "$rename: {path}: the new name is a string, not {}",
                show(operand)
            )));
        };
        let mut none = Vec::new();
        let to = Target::parse("$rename", to, &[], &mut none)?;
        if target.is_dynamic() || to.is_dynamic() {
            return Err(bad_query(format!("$rename: {path}: no path of it may be positional")));
        }
        if path == to.path() {
            return Err(bad_query(format!("$rename: {path}: the new name is the old one")));
        }
        self.others.push(to.path().clone());
        Ok(to.fixed().to_vec())
    }

    fn finish(mut self) -> Result<Vec<(Target, Operation)>, Error> {
        if let Some(unused) = self.used.iter().position(|used| !used) {
            return Err(bad_query(format!(
                "array_filters: the filter for identifier '{}' is not used in any path",
                self.array_filters[unused].0
            )));
        }
        self.operations.sort_by(|(left, _), (right, _)| compare_parts(left.fixed(), right.fixed()));
        let targets = self.operations.iter().map(|(target, _)| target.fixed());
        let mut paths: Vec<&[String]> =
            targets.chain(self.others.iter().map(Path::parts)).collect();
        paths.sort_by(|left, right| compare_parts(left, right));
        for pair in paths.windows(2) {
            check_conflict(pair[0], pair[1])?;
        }
        Ok(self.operations)
    }
}

fn number(operator: &str, path: &Path, verb: &str, operand: &Value) -> Result<Numeric, Error> {
    Numeric::of(operand).ok_or_else(|| {
        bad_query(format!(
            "{operator}: {path}: cannot {verb} with non-numeric argument: {} (decimals have no \
             arithmetic here)",
            show(operand)
        ))
    })
}

fn is_timestamp(path: &Path, operand: &Value) -> Result<bool, Error> {
    let wrong = || {
        bad_query(format!(
            "$currentDate: {path}: write true, {{\"$type\":\"date\"}} or {{\"$type\":\"timestamp\"}}, \
             not {}",
            show(operand)
        ))
    };
    match operand {
        Value::Boolean(_) => Ok(false),
        Value::Document(document) if document.len() == 1 => match document.get("$type") {
            Some(Value::String(kind)) if kind == "date" => Ok(false),
            Some(Value::String(kind)) if kind == "timestamp" => Ok(true),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn condition(path: &Path, operand: &Value) -> Result<Condition, Error> {
    let operators = |document: &Document| document.keys().any(|name| name.starts_with('$'));
    Ok(match operand {
        Value::Document(document) if operators(document) => {
            let joins = ["$and", "$or", "$nor"];
            if document.keys().all(|name| joins.contains(&name.as_str())) {
                Condition::Document(element_filter(document)?)
            } else {
                Condition::Predicate(element_predicate(path.as_str(), operand)?)
            }
        }
        Value::RegularExpression(_) => {
            Condition::Predicate(element_predicate(path.as_str(), operand)?)
        }
        Value::Document(document) => Condition::Document(element_filter(document)?),
        value => Condition::Equal(value.clone()),
    })
}

fn bit(path: &Path, operand: &Value) -> Result<Vec<(Bit, Numeric)>, Error> {
    let wrong = |what: &str| bad_query(format!("$bit: {path}: {what}"));
    let Value::Document(operations) = operand else {
        return Err(wrong("needs a document such as {\"and\": 1}"));
    };
    if operations.is_empty() {
        return Err(wrong("name and, or, xor"));
    }
    let mut parsed = Vec::with_capacity(operations.len());
    for (name, value) in operations {
        let kind = match name.as_str() {
            "and" => Bit::And,
            "or" => Bit::Or,
            "xor" => Bit::Xor,
            other => {
                return Err(wrong(&format!("unknown operation {other:?}; known: and, or, xor")));
            }
        };
        let number = Numeric::of(value).filter(|number| number.whole().is_some());
        let number = number
            .ok_or_else(|| wrong(&format!("{name} needs a whole number, not {}", show(value))))?;
        parsed.push((kind, number));
    }
    Ok(parsed)
}
