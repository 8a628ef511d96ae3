//! Filters: which documents a query means, as MongoDB means it.
//!
//! A test on a path looks at every value that the path leads to and, where that is a list, at its
//! elements too; it holds if it holds for one of them. `$ne`, `$nin` and `$not` hold if their
//! opposite holds for none. Ranges look only at values of the operand's type bracket. Null means
//! null or nothing there.
//!
//! A [`Filter`] is parsed once and asked of every document; it copies no value of a document.

mod parse;
mod types;

pub(crate) use parse::{build_regex, element_filter, element_match, element_predicate};
pub use types::TypeSet;
pub(crate) use types::type_word;

use crate::expression::{Budget, Expression};
use crate::visit::Root;
use api::order::{self, Number, bracket};
use api::path::Path;
use api::{Document, Error, Value};
use regex::Regex;
use std::cmp::Ordering;

/// Deepest nesting of `$and`, `$or`, `$nor`, `$not` and `$elemMatch`.
pub const FILTER_DEPTH_MAX: usize = 50;
/// Most operators of one filter, the values of `$all` counted too.
pub const FILTER_OPERATORS_MAX: usize = 2_000;
/// Most regular expressions of one filter.
pub const FILTER_PATTERNS_MAX: usize = 100;
/// Longest regular expression, in bytes.
pub const PATTERN_BYTES_MAX: usize = 32_764;

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
    /// `$expr`: the expression's value counts as true.
    Expression(Box<Expression>),
}

/// A test on the values at a path.
#[derive(Clone, Debug)]
pub enum Test {
    /// It stands so to the operand, within the operand's type bracket.
    Compare(Comparison, Value),
    /// It equals one of the values, which stand in order, or is matched by one of the patterns.
    In(Vec<Value>, Vec<Regex>),
    /// It is there.
    Exists,
    /// It is text in which the pattern is found.
    Regex(Regex),
    /// It is a list of so many elements.
    Size(usize),
    /// It is of one of the types.
    Type(TypeSet),
    /// It is a number; without its fraction and divided by `divisor` it leaves `remainder`.
    Modulo {
        /// Not 0.
        divisor: i64,
        /// Its sign is that of the number.
        remainder: i64,
    },
    /// It is a list with a document, or list, that the filter means.
    ElementFields(Box<Filter>),
    /// It is a list with an element that passes.
    ElementValue(Box<Predicate>),
}

/// What is asked of the values at one path.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// Every one holds.
    All(Vec<Predicate>),
    /// It does not hold.
    Not(Box<Predicate>),
    /// The test is passed.
    Test(Test),
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

impl Filter {
    /// Reads a filter document.
    ///
    /// # Errors
    /// `bad_query`, naming the path and the operator.
    pub fn parse(filter: &Document) -> Result<Filter, Error> {
        parse::filter(filter)
    }

    /// Whether the document is meant. An expression that cannot be computed for the document counts
    /// as not meant; [`Filter::check`] tells of it instead.
    pub fn matches(&self, document: &Document) -> bool {
        self.check(document).unwrap_or(false)
    }

    /// Whether the document is meant.
    ///
    /// # Errors
    /// `bad_query` if an expression (`$expr`) cannot be computed for the document. A filter without
    /// one never fails.
    pub fn check(&self, document: &Document) -> Result<bool, Error> {
        self.holds(Root::Document(document), &mut None)
    }

    /// Whether the document is meant, and which element of a list made it so: the position that
    /// `$` stands for in an update or a projection.
    ///
    /// # Errors
    /// As [`Filter::check`].
    pub fn check_position(&self, document: &Document) -> Result<(bool, Option<usize>), Error> {
        let mut position = Some(None);
        let holds = self.holds(Root::Document(document), &mut position)?;
        Ok((holds, position.flatten()))
    }

    /// The tests that every matching document passes: those joined by "and" at the top.
    pub fn required_tests(&self) -> Vec<(&Path, &Test)> {
        match self {
            Filter::And(filters) => filters.iter().flat_map(Filter::required_tests).collect(),
            Filter::Test(path, test) => vec![(path, test)],
            Filter::Or(_) | Filter::Not(_) | Filter::Expression(_) => Vec::new(),
        }
    }

    /// Whether there is an `$expr` in it, so that [`Filter::check`] can fail.
    pub fn has_expression(&self) -> bool {
        match self {
            Filter::And(filters) | Filter::Or(filters) => {
                filters.iter().any(Filter::has_expression)
            }
            Filter::Not(filter) => filter.has_expression(),
            Filter::Test(_, Test::ElementFields(filter)) => filter.has_expression(),
            Filter::Test(..) => false,
            Filter::Expression(_) => true,
        }
    }

    /// The paths that say whether a document is meant, some of them repeatedly; none if an expression does.
    pub fn paths(&self) -> Option<Vec<&Path>> {
        match self {
            Filter::And(filters) | Filter::Or(filters) => {
                let paths = filters.iter().map(Filter::paths).collect::<Option<Vec<_>>>()?;
                Some(paths.concat())
            }
            Filter::Not(filter) => filter.paths(),
            Filter::Test(path, _) => Some(vec![path]),
            Filter::Expression(_) => None,
        }
    }

    /// Every path that the filter tests, from the root of the document.
    pub(crate) fn for_each_path(&self, each: &mut dyn FnMut(&Path)) {
        match self {
            Filter::And(filters) | Filter::Or(filters) => {
                filters.iter().for_each(|filter| filter.for_each_path(each));
            }
            Filter::Not(filter) => filter.for_each_path(each),
            Filter::Test(path, _) => each(path),
            Filter::Expression(_) => {}
        }
    }

    /// `position`: none if nobody asks for it, else the last one that was found. What is negated
    /// finds none.
    pub(crate) fn holds(
        &self,
        root: Root<'_>,
        position: &mut Option<Option<usize>>,
    ) -> Result<bool, Error> {
        match self {
            Filter::And(filters) => {
                for filter in filters {
                    if !filter.holds(root, position)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Or(filters) => {
                for filter in filters {
                    if filter.holds(root, position)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::Not(filter) => Ok(!filter.holds(root, &mut None)?),
            Filter::Test(path, test) => Ok(test.holds_at(root, path, position)),
            Filter::Expression(expression) => match root {
                Root::Document(document) => {
                    let mut budget = Budget::of_filter();
                    Ok(crate::is_true(&expression.evaluate(document, &mut budget)?))
                }
                // The parser lets `$expr` stand at the top alone.
                Root::Elements(_) | Root::Named(_) => Ok(false),
            },
        }
    }
}

impl Test {
    /// Whether one value, or the absence of one, passes; a list as the list that it is.
    pub fn passes(&self, value: Option<&Value>) -> bool {
        match self {
            Test::Compare(comparison, operand) => compare(*comparison, value, operand),
            Test::In(operands, patterns) => {
                let value = value.unwrap_or(&Value::Null);
                operands.binary_search_by(|operand| order::compare(operand, value)).is_ok()
                    || patterns.iter().any(|pattern| matches_pattern(pattern, Some(value)))
            }
            Test::Exists => value.is_some(),
            Test::Regex(pattern) => matches_pattern(pattern, value),
            Test::Size(size) => matches!(value, Some(Value::Array(list)) if list.len() == *size),
            Test::Type(types) => value.is_some_and(|value| types.contains(value)),
            Test::Modulo { divisor, remainder } => value
                .and_then(truncated)
                .is_some_and(|number| number.wrapping_rem(*divisor) == *remainder),
            Test::ElementFields(_) | Test::ElementValue(_) => {
                self.matching_element(value).is_some()
            }
        }
    }

    /// Whether elements of a list are looked at too.
    fn looks_into_lists(&self) -> bool {
        !matches!(
            self,
            Test::Exists | Test::Size(_) | Test::ElementFields(_) | Test::ElementValue(_)
        )
    }

    fn holds_at(&self, root: Root<'_>, path: &Path, position: &mut Option<Option<usize>>) -> bool {
        let mut found_at = None;
        let mut found = |value: Option<&Value>, at: Option<usize>| {
            let passes = match self {
                Test::ElementFields(_) | Test::ElementValue(_) => {
                    let element = self.matching_element(value);
                    found_at = at.or(element);
                    return element.is_some();
                }
                test => test.passes(value),
            };
            if passes {
                found_at = at;
            }
            passes
        };
        let holds = if self.looks_into_lists() {
            root.visit_elements(path.parts(), &mut found)
        } else {
            root.visit(path.parts(), &mut found)
        };
        if let (true, Some(position), Some(_)) = (holds, position, found_at) {
            *position = found_at;
        }
        holds
    }

    /// The first element that `$elemMatch` means.
    fn matching_element(&self, value: Option<&Value>) -> Option<usize> {
        let Some(Value::Array(elements)) = value else { return None };
        elements.iter().position(|element| self.means_element(element))
    }

    /// Whether `$elemMatch` means this element.
    pub(crate) fn means_element(&self, element: &Value) -> bool {
        match (self, element) {
            (Test::ElementValue(predicate), element) => predicate.passes(Some(element)),
            (Test::ElementFields(filter), Value::Document(document)) => filter.matches(document),
            (Test::ElementFields(filter), Value::Array(elements)) => {
                filter.holds(Root::Elements(elements), &mut None).unwrap_or(false)
            }
            _ => false,
        }
    }
}

impl Predicate {
    /// The filter that asks this of the values at a path.
    pub(crate) fn at(self, path: &Path) -> Filter {
        match self {
            Predicate::All(predicates) => {
                Filter::And(predicates.into_iter().map(|inner| inner.at(path)).collect())
            }
            Predicate::Not(predicate) => Filter::Not(Box::new(predicate.at(path))),
            Predicate::Test(test) => Filter::Test(path.clone(), test),
        }
    }

    /// Whether one value passes; a list as the list that it is.
    pub fn passes(&self, value: Option<&Value>) -> bool {
        match self {
            Predicate::All(predicates) => predicates.iter().all(|inner| inner.passes(value)),
            Predicate::Not(predicate) => !predicate.passes(value),
            Predicate::Test(test) => test.passes(value),
        }
    }

    /// Whether the value of a field passes: where it is a list, one of its elements will do.
    pub(crate) fn passes_as_field(&self, value: &Value) -> bool {
        match self {
            Predicate::All(predicates) => {
                predicates.iter().all(|inner| inner.passes_as_field(value))
            }
            Predicate::Not(predicate) => !predicate.passes_as_field(value),
            Predicate::Test(test) => {
                test.passes(Some(value))
                    || (test.looks_into_lists()
                        && matches!(value, Value::Array(elements)
                            if elements.iter().any(|element| test.passes(Some(element)))))
            }
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

/// A number without its fraction, if that fits 64 bits.
fn truncated(value: &Value) -> Option<i64> {
    match value {
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        Value::Double(number) => whole(number.trunc()),
        Value::Decimal128(number) => {
            // The decimal's own digits are exact where a double's are not.
            let text = number.to_string();
            let whole_part = text.split('.').next().unwrap_or_default();
            whole_part
                .parse()
                .ok()
                .or_else(|| text.parse::<f64>().ok().and_then(|number| whole(number.trunc())))
        }
        _ => None,
    }
}

fn whole(number: f64) -> Option<i64> {
    // 2^63 itself is beyond the greatest; NaN is in no range.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    fits.then_some(number as i64)
}
