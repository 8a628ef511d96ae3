//! Filters: which documents a query means, as MongoDB means it.
//!
//! A test on a path looks at every value that the path leads to and, where that is a list, at its
//! elements too; it holds if it holds for one of them. `$ne`, `$nin` and `$not` hold if their
//! opposite holds for none. Ranges look only at values of the operand's type bracket. Null means
//! null or nothing there.

use crate::error::{bad_query, show};
use api::order::{self, Number, bracket};
use api::path::Path;
use api::{Document, Error, Value};
use regex::{Regex, RegexBuilder};
use std::cmp::Ordering;

/// A parsed filter.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Every one holds; an empty list holds for all documents.
    And(Vec<Filter>),
    /// At least one holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// Some value at the path passes the test.
    Test(Path, Test),
}

/// A test on the values at a path.
#[derive(Clone, Debug)]
pub enum Test {
    /// It stands so to the operand, within the operand's type bracket.
    Compare(Comparison, Value),
    /// It equals one of the values or is matched by one of the patterns.
    In(Vec<Value>, Vec<Regex>),
    /// It is there.
    Exists,
    /// It is text in which the pattern is found.
    Regex(Regex),
}

/// How a value stands to an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `$eq`, also within lists.
    Equal,
    /// `$gt`
    Greater,
    /// `$gte`
    GreaterOrEqual,
    /// `$lt`
    Less,
    /// `$lte`
    LessOrEqual,
}

/// Largest compiled size of a regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of `$and`, `$or`, `$nor` and `$not`.
const DEPTH_MAX: usize = 50;

impl Filter {
    /// Reads a filter document.
    ///
    /// # Errors
    /// `bad_query`, naming the operator or the field.
    pub fn parse(filter: &Document) -> Result<Filter, Error> {
        parse_filter(filter, 0)
    }

    /// Whether the document is meant.
    pub fn matches(&self, document: &Document) -> bool {
        match self {
            Filter::And(filters) => filters.iter().all(|filter| filter.matches(document)),
            Filter::Or(filters) => filters.iter().any(|filter| filter.matches(document)),
            Filter::Not(filter) => !filter.matches(document),
            Filter::Test(path, Test::Exists) => path.visit(document, &mut |value| value.is_some()),
            Filter::Test(path, test) => {
                path.visit_elements(document, &mut |value| test.passes(value))
            }
        }
    }

    /// The tests that every matching document passes: those joined by "and" at the top.
    pub fn required_tests(&self) -> Vec<(&Path, &Test)> {
        match self {
            Filter::And(filters) => filters.iter().flat_map(Filter::required_tests).collect(),
            Filter::Test(path, test) => vec![(path, test)],
            Filter::Or(_) | Filter::Not(_) => Vec::new(),
        }
    }
}

impl Test {
    /// Whether one value, or the absence of one, passes.
    pub fn passes(&self, value: Option<&Value>) -> bool {
        match self {
            Test::Compare(comparison, operand) => compare(*comparison, value, operand),
            Test::In(operands, patterns) => {
                operands.iter().any(|operand| compare(Comparison::Equal, value, operand))
                    || patterns.iter().any(|pattern| matches_pattern(pattern, value))
            }
            Test::Exists => value.is_some(),
            Test::Regex(pattern) => matches_pattern(pattern, value),
        }
    }
}

fn matches_pattern(pattern: &Regex, value: Option<&Value>) -> bool {
    value.and_then(order::text).is_some_and(|text| pattern.is_match(text))
}

fn compare(comparison: Comparison, value: Option<&Value>, operand: &Value) -> bool {
    let value = value.unwrap_or(&Value::Null);
    let ends = matches!(operand, Value::MinKey | Value::MaxKey);
    if bracket(value) != bracket(operand) && !(ends && comparison != Comparison::Equal) {
        return false;
    }
    let order = order::compare(value, operand);
    // Nothing is less or greater than NaN, and NaN than nothing.
    if order != Ordering::Equal && !ends && (is_nan(value) || is_nan(operand)) {
        return false;
    }
    match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
    }
}

fn is_nan(value: &Value) -> bool {
    Number::of(value).is_some_and(|number| number.floor().is_nan())
}

fn parse_filter(filter: &Document, depth: usize) -> Result<Filter, Error> {
    if depth > DEPTH_MAX {
        return Err(bad_query(format!("the filter nests deeper than {DEPTH_MAX} levels")));
    }
    let mut filters = Vec::with_capacity(filter.len());
    for (name, operand) in filter {
        filters.push(match name.as_str() {
            "$and" => Filter::And(parse_list(name, operand, depth)?),
            "$or" => Filter::Or(parse_list(name, operand, depth)?),
            "$nor" => Filter::Not(Box::new(Filter::Or(parse_list(name, operand, depth)?))),
            "$not" => match operand {
                Value::Document(inner) => Filter::Not(Box::new(parse_filter(inner, depth + 1)?)),
                _ => return Err(bad_query("$not needs a filter document or an operator document")),
            },
            "$comment" => continue,
            _ if name.starts_with('$') => {
                return Err(bad_query(format!(
                    "unknown top level operator: {name}; known are $and, $or, $nor, $not"
                )));
            }
            _ => parse_field(Path::parse(name)?, operand, depth)?,
        });
    }
    Ok(one_or_and(filters))
}

fn one_or_and(mut filters: Vec<Filter>) -> Filter {
    if filters.len() == 1 { filters.remove(0) } else { Filter::And(filters) }
}

fn parse_list(name: &str, operand: &Value, depth: usize) -> Result<Vec<Filter>, Error> {
    let filters = match operand {
        Value::Array(filters) if !filters.is_empty() => filters,
        _ => return Err(bad_query(format!("{name} needs a list of one or more filters"))),
    };
    let parse = |filter: &Value| match filter {
        Value::Document(filter) => parse_filter(filter, depth + 1),
        other => Err(bad_query(format!("{name} holds {}, which is no filter", show(other)))),
    };
    filters.iter().map(parse).collect()
}

/// `{path: operand}`: a document whose first name begins with `$` holds operators; any other
/// operand is a value to equal.
fn parse_field(path: Path, operand: &Value, depth: usize) -> Result<Filter, Error> {
    match operand {
        Value::Document(operators) if is_operators(operators) => {
            parse_operators(&path, operators, depth)
        }
        Value::RegularExpression(regex) => {
            let pattern = build_regex(&path, regex.pattern.as_str(), regex.options.as_str())?;
            Ok(Filter::Test(path, Test::Regex(pattern)))
        }
        value => Ok(Filter::Test(path, Test::Compare(Comparison::Equal, value.clone()))),
    }
}

/// Whether a document is a set of operators rather than a value.
fn is_operators(document: &Document) -> bool {
    document.keys().next().is_some_and(|name| name.starts_with('$'))
}

fn parse_operators(path: &Path, operators: &Document, depth: usize) -> Result<Filter, Error> {
    if depth > DEPTH_MAX {
        return Err(bad_query(format!("the filter nests deeper than {DEPTH_MAX} levels")));
    }
    let mut filters = Vec::with_capacity(operators.len());
    for (name, operand) in operators {
        let test = |test: Test| Filter::Test(path.clone(), test);
        let not = |filter: Filter| Filter::Not(Box::new(filter));
        let comparison = |comparison: Comparison| match operand {
            Value::RegularExpression(_) => {
                Err(bad_query(format!("{path}: {name} cannot compare with a regular expression")))
            }
            operand => Ok(test(Test::Compare(comparison, operand.clone()))),
        };
        filters.push(match name.as_str() {
            "$eq" => comparison(Comparison::Equal)?,
            "$ne" => not(comparison(Comparison::Equal)?),
            "$gt" => comparison(Comparison::Greater)?,
            "$gte" => comparison(Comparison::GreaterOrEqual)?,
            "$lt" => comparison(Comparison::Less)?,
            "$lte" => comparison(Comparison::LessOrEqual)?,
            "$in" => test(parse_in(path, name, operand)?),
            "$nin" => not(test(parse_in(path, name, operand)?)),
            "$exists" if is_true(operand) => test(Test::Exists),
            "$exists" => not(test(Test::Exists)),
            "$regex" => test(Test::Regex(parse_regex(path, operand, operators)?)),
            "$options" if operators.contains_key("$regex") => continue,
            "$options" => return Err(bad_query(format!("{path}: $options needs a $regex"))),
            "$not" => not(parse_not(path, operand, depth)?),
            _ => {
                return Err(bad_query(format!(
                    "{path}: unknown operator: {name}; known are $eq, $ne, $gt, $gte, $lt, $lte, \
                     $in, $nin, $exists, $regex, $not"
                )));
            }
        });
    }
    Ok(one_or_and(filters))
}

fn parse_not(path: &Path, operand: &Value, depth: usize) -> Result<Filter, Error> {
    match operand {
        Value::Document(operators) if is_operators(operators) => {
            parse_operators(path, operators, depth + 1)
        }
        Value::RegularExpression(_) => parse_field(path.clone(), operand, depth),
        other => Err(bad_query(format!(
            "{path}: $not needs a document of operators or a regular expression, not {}",
            show(other)
        ))),
    }
}

fn parse_in(path: &Path, name: &str, operand: &Value) -> Result<Test, Error> {
    let Value::Array(elements) = operand else {
        return Err(bad_query(format!("{path}: {name} needs a list, not {}", show(operand))));
    };
    let (mut values, mut patterns) = (Vec::new(), Vec::new());
    for element in elements {
        match element {
            Value::RegularExpression(regex) => {
                let (pattern, options) = (regex.pattern.as_str(), regex.options.as_str());
                patterns.push(build_regex(path, pattern, options)?);
            }
            Value::Document(document) if is_operators(document) => {
                return Err(bad_query(format!("{path}: {name} cannot hold operators")));
            }
            value => values.push(value.clone()),
        }
    }
    Ok(Test::In(values, patterns))
}

/// `false`, null and 0 are false; all other values are true.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Boolean(flag) => *flag,
        Value::Null | Value::Undefined => false,
        value => !order::equal(value, &Value::Int32(0)),
    }
}

fn parse_regex(path: &Path, operand: &Value, operators: &Document) -> Result<Regex, Error> {
    let (pattern, own_options) = match operand {
        Value::String(pattern) => (pattern.as_str(), ""),
        Value::RegularExpression(regex) => (regex.pattern.as_str(), regex.options.as_str()),
        other => {
            return Err(bad_query(format!("{path}: $regex needs a string, not {}", show(other))));
        }
    };
    let options = match operators.get("$options") {
        None => own_options,
        Some(Value::String(options)) => options,
        Some(other) => {
            return Err(bad_query(format!("{path}: $options needs a string, not {}", show(other))));
        }
    };
    build_regex(path, pattern, options)
}

/// The subset is that of the `regex` crate: linear time, so no look-around and no back references.
fn build_regex(path: &Path, pattern: &str, options: &str) -> Result<Regex, Error> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(REGEX_BYTES_MAX);
    for option in options.chars() {
        match option {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            'u' => &mut builder,
            _ => {
                return Err(bad_query(format!(
                    "{path}: unknown regular expression option {option:?}; known are i, m, s, x"
                )));
            }
        };
    }
    builder.build().map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim().to_owned();
        bad_query(format!("{path}: regular expression {pattern:?}: {reason}"))
    })
}
