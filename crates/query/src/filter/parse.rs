//! Filter documents to [`Filter`]s, with a bound on everything that a client may pile up.

use super::{
    Comparison, FILTER_DEPTH_MAX, FILTER_OPERATORS_MAX, FILTER_PATTERNS_MAX, Filter,
    PATTERN_BYTES_MAX, Predicate, Test, TypeSet, truncated,
};
use crate::error::{bad_query, is_true, show};
use crate::expression::Expression;
use api::order;
use api::path::Path;
use api::{Document, Error, Value};
use regex::{Regex, RegexBuilder};

/// Largest compiled size of a regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

const KNOWN: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $type, $regex, $mod, \
                     $all, $size, $elemMatch, $not";

/// Reads a whole filter.
pub(super) fn filter(filter: &Document) -> Result<Filter, Error> {
    let mut parser = Parser { operators: 0, patterns: 0, embedded: false };
    parser.filter(filter, 0)
}

/// What `$pull` asks of elements: operators, or a regular expression.
pub(crate) fn element_predicate(path: &str, operand: &Value) -> Result<Predicate, Error> {
    let mut parser = Parser { operators: 0, patterns: 0, embedded: true };
    match operand {
        Value::Document(operators) => parser.predicate(path, operators, 0),
        operand => {
            parser.pattern_of(path, operand).map(|regex| Predicate::Test(Test::Regex(regex)))
        }
    }
}

/// What a document condition of `$pull` asks of elements that are documents.
pub(crate) fn element_filter(filter: &Document) -> Result<Filter, Error> {
    Parser { operators: 0, patterns: 0, embedded: true }.filter(filter, 0)
}

/// The test of an `$elemMatch`, in a projection.
pub(crate) fn element_match(path: &str, operand: &Value) -> Result<Test, Error> {
    Parser { operators: 0, patterns: 0, embedded: false }.element_match(path, operand, 0)
}

struct Parser {
    operators: usize,
    patterns: usize,
    /// Inside a list's element, where `$expr` has no document to look at.
    embedded: bool,
}

impl Parser {
    fn enter(&self, depth: usize) -> Result<(), Error> {
        if depth > FILTER_DEPTH_MAX {
            return Err(bad_query(format!(
                "the filter nests deeper than {FILTER_DEPTH_MAX} levels"
            )));
        }
        Ok(())
    }

    fn count(&mut self, operators: usize) -> Result<(), Error> {
        self.operators = self.operators.saturating_add(operators);
        if self.operators > FILTER_OPERATORS_MAX {
            return Err(bad_query(format!(
                "the filter has more than {FILTER_OPERATORS_MAX} operators; name many values with \
                 one $in"
            )));
        }
        Ok(())
    }

    fn filter(&mut self, filter: &Document, depth: usize) -> Result<Filter, Error> {
        self.enter(depth)?;
        self.count(filter.len())?;
        let mut filters = Vec::with_capacity(filter.len());
        for (name, operand) in filter {
            filters.push(match name.as_str() {
                "$and" => Filter::And(self.list(name, operand, depth)?),
                "$or" => Filter::Or(self.list(name, operand, depth)?),
                "$nor" => Filter::Not(Box::new(Filter::Or(self.list(name, operand, depth)?))),
                "$not" => match operand {
                    Value::Document(inner) => Filter::Not(Box::new(self.filter(inner, depth + 1)?)),
                    _ => return Err(bad_query("$not needs a filter document")),
                },
                "$expr" if self.embedded => {
                    return Err(bad_query(
                        "$expr stands at the top of a filter, not inside a list",
                    ));
                }
                "$expr" => Filter::Expression(Box::new(Expression::parse(operand)?)),
                "$comment" => continue,
                _ if name.starts_with('$') => {
                    return Err(bad_query(format!(
                        "unknown top level operator: {name}; known are $and, $or, $nor, $not, $expr"
                    )));
                }
                _ => {
                    let path = Path::parse(name)?;
                    self.field(name, operand, depth)?.at(&path)
                }
            });
        }
        Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::And(filters) })
    }

    fn list(&mut self, name: &str, operand: &Value, depth: usize) -> Result<Vec<Filter>, Error> {
        let filters = match operand {
            Value::Array(filters) if !filters.is_empty() => filters,
            _ => return Err(bad_query(format!("{name} needs a list of one or more filters"))),
        };
        let mut parsed = Vec::with_capacity(filters.len().min(FILTER_OPERATORS_MAX));
        for filter in filters {
            self.count(1)?;
            match filter {
                Value::Document(filter) => parsed.push(self.filter(filter, depth + 1)?),
                other => {
                    return Err(bad_query(format!(
                        "{name} holds {}, which is no filter",
                        show(other)
                    )));
                }
            }
        }
        Ok(parsed)
    }

    /// `{path: operand}`: a document whose first name begins with `$` holds operators; any other
    /// operand is a value to equal.
    fn field(&mut self, path: &str, operand: &Value, depth: usize) -> Result<Predicate, Error> {
        match operand {
            Value::Document(operators) if is_operators(operators) => {
                self.predicate(path, operators, depth)
            }
            Value::RegularExpression(_) => {
                Ok(Predicate::Test(Test::Regex(self.pattern_of(path, operand)?)))
            }
            value => Ok(equal(value)),
        }
    }

    fn predicate(
        &mut self,
        path: &str,
        operators: &Document,
        depth: usize,
    ) -> Result<Predicate, Error> {
        self.enter(depth)?;
        self.count(operators.len())?;
        let mut predicates = Vec::with_capacity(operators.len());
        for (name, operand) in operators {
            if name == "$options" {
                if operators.contains_key("$regex") {
                    continue;
                }
                return Err(bad_query(format!("{path}: $options needs a $regex")));
            }
            predicates.push(match name.as_str() {
                "$regex" => Predicate::Test(Test::Regex(self.regex(path, operand, operators)?)),
                name => self.operator(path, name, operand, depth)?,
            });
        }
        Ok(if predicates.len() == 1 { predicates.remove(0) } else { Predicate::All(predicates) })
    }

    fn operator(
        &mut self,
        path: &str,
        name: &str,
        operand: &Value,
        depth: usize,
    ) -> Result<Predicate, Error> {
        let test = Predicate::Test;
        let not = |predicate: Predicate| Predicate::Not(Box::new(predicate));
        let comparison = |comparison: Comparison| match operand {
            Value::RegularExpression(_) => {
                Err(bad_query(format!("{path}: {name} cannot compare with a regular expression")))
            }
            operand => Ok(test(Test::Compare(comparison, operand.clone()))),
        };
        Ok(match name {
            "$eq" => comparison(Comparison::Equal)?,
            "$ne" => not(comparison(Comparison::Equal)?),
            "$gt" => comparison(Comparison::Greater)?,
            "$gte" => comparison(Comparison::GreaterOrEqual)?,
            "$lt" => comparison(Comparison::Less)?,
            "$lte" => comparison(Comparison::LessOrEqual)?,
            "$in" => test(self.values(path, name, operand)?),
            "$nin" => not(test(self.values(path, name, operand)?)),
            "$exists" if is_true(operand) => test(Test::Exists),
            "$exists" => not(test(Test::Exists)),
            "$type" => test(Test::Type(TypeSet::parse(path, operand)?)),
            "$size" => test(Test::Size(size(path, operand)?)),
            "$mod" => test(modulo(path, operand)?),
            "$all" => self.all(path, operand, depth)?,
            "$elemMatch" => test(self.element_match(path, operand, depth)?),
            "$not" => not(self.not(path, operand, depth)?),
            _ => {
                return Err(bad_query(format!(
                    "{path}: unknown operator: {name}; known are {KNOWN}"
                )));
            }
        })
    }

    fn not(&mut self, path: &str, operand: &Value, depth: usize) -> Result<Predicate, Error> {
        match operand {
            Value::Document(operators) if is_operators(operators) => {
                self.predicate(path, operators, depth + 1)
            }
            Value::RegularExpression(_) => self.field(path, operand, depth + 1),
            other => Err(bad_query(format!(
                "{path}: $not needs a document of operators or a regular expression, not {}",
                show(other)
            ))),
        }
    }

    fn values(&mut self, path: &str, name: &str, operand: &Value) -> Result<Test, Error> {
        let Value::Array(elements) = operand else {
            return Err(bad_query(format!("{path}: {name} needs a list, not {}", show(operand))));
        };
        let (mut values, mut patterns) = (Vec::new(), Vec::new());
        for element in elements {
            match element {
                Value::RegularExpression(_) => patterns.push(self.pattern_of(path, element)?),
                Value::Document(document) if is_operators(document) => {
                    return Err(bad_query(format!("{path}: {name} cannot hold operators")));
                }
                value => values.push(value.clone()),
            }
        }
        values.sort_by(order::compare);
        values.dedup_by(|left, right| order::equal(left, right));
        Ok(Test::In(values, patterns))
    }

    /// `$all`: each value is tested as if it stood alone. An empty list means no document.
    fn all(&mut self, path: &str, operand: &Value, depth: usize) -> Result<Predicate, Error> {
        let Value::Array(elements) = operand else {
            return Err(bad_query(format!("{path}: $all needs a list, not {}", show(operand))));
        };
        self.count(elements.len())?;
        if elements.is_empty() {
            return Ok(Predicate::Test(Test::In(Vec::new(), Vec::new())));
        }
        let is_match =
            |value: &Value| matches!(value, Value::Document(one) if one.contains_key("$elemMatch"));
        let matches = elements.iter().filter(|value| is_match(value)).count();
        if matches != 0 && matches != elements.len() {
            return Err(bad_query(format!(
                "{path}: $all holds either values or documents of $elemMatch, not both"
            )));
        }
        let mut predicates = Vec::with_capacity(elements.len());
        for element in elements {
            predicates.push(match element {
                Value::Document(one) if matches > 0 => {
                    if one.len() != 1 {
                        return Err(bad_query(format!(
                            "{path}: $all: nothing stands beside $elemMatch in one document"
                        )));
                    }
                    self.predicate(path, one, depth + 1)?
                }
                Value::Document(one) if is_operators(one) => {
                    return Err(bad_query(format!("{path}: $all cannot hold operators")));
                }
                value => self.field(path, value, depth + 1)?,
            });
        }
        Ok(if predicates.len() == 1 { predicates.remove(0) } else { Predicate::All(predicates) })
    }

    /// Operators ask the element itself, anything else its fields.
    fn element_match(&mut self, path: &str, operand: &Value, depth: usize) -> Result<Test, Error> {
        self.enter(depth + 1)?;
        let Value::Document(condition) = operand else {
            return Err(bad_query(format!(
                "{path}: $elemMatch needs a document, not {}",
                show(operand)
            )));
        };
        let first = condition.keys().next().map(String::as_str).unwrap_or_default();
        let joins = matches!(first, "$and" | "$or" | "$nor" | "$expr" | "$comment");
        if is_operators(condition) && !joins {
            let predicate = self.predicate(path, condition, depth + 1)?;
            return Ok(Test::ElementValue(Box::new(predicate)));
        }
        let embedded = std::mem::replace(&mut self.embedded, true);
        let filter = self.filter(condition, depth + 1);
        self.embedded = embedded;
        Ok(Test::ElementFields(Box::new(filter?)))
    }

    fn regex(&mut self, path: &str, operand: &Value, operators: &Document) -> Result<Regex, Error> {
        let (pattern, own_options) = match operand {
            Value::String(pattern) => (pattern.as_str(), ""),
            Value::RegularExpression(regex) => (regex.pattern.as_str(), regex.options.as_str()),
            other => {
                return Err(bad_query(format!(
                    "{path}: $regex needs a string, not {}",
                    show(other)
                )));
            }
        };
        let options = match operators.get("$options") {
            None => own_options,
            Some(Value::String(_)) if !own_options.is_empty() => {
                return Err(bad_query(format!(
                    "{path}: options are set both in $regex and in $options"
                )));
            }
            Some(Value::String(options)) => options,
            Some(other) => {
                return Err(bad_query(format!(
                    "{path}: $options needs a string, not {}",
                    show(other)
                )));
            }
        };
        self.build(path, pattern, options)
    }

    fn pattern_of(&mut self, path: &str, operand: &Value) -> Result<Regex, Error> {
        match operand {
            Value::RegularExpression(regex) => {
                self.build(path, regex.pattern.as_str(), regex.options.as_str())
            }
            other => Err(bad_query(format!("{path}: {} is no regular expression", show(other)))),
        }
    }

    /// The subset is that of the `regex` crate: linear time, so no look-around and no back
    /// references.
    fn build(&mut self, path: &str, pattern: &str, options: &str) -> Result<Regex, Error> {
        self.patterns += 1;
        if self.patterns > FILTER_PATTERNS_MAX {
            return Err(bad_query(format!(
                "{path}: the filter has more than {FILTER_PATTERNS_MAX} regular expressions"
            )));
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(bad_query(format!(
                "{path}: a regular expression of {} bytes; the most is {PATTERN_BYTES_MAX}",
                pattern.len()
            )));
        }
        build_regex(path, pattern, options)
    }
}

fn equal(value: &Value) -> Predicate {
    Predicate::Test(Test::Compare(Comparison::Equal, value.clone()))
}

/// Whether a document is a set of operators rather than a value. References to other documents
/// begin with `$` too, and are values.
fn is_operators(document: &Document) -> bool {
    document.keys().next().is_some_and(|name| {
        name.starts_with('$') && !matches!(name.as_str(), "$ref" | "$id" | "$db")
    })
}

fn size(path: &str, operand: &Value) -> Result<usize, Error> {
    let number = truncated(operand)
        .filter(|number| order::equal(operand, &Value::Int64(*number)))
        .and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| {
        bad_query(format!("{path}: $size needs a whole number from 0, not {}", show(operand)))
    })
}

fn modulo(path: &str, operand: &Value) -> Result<Test, Error> {
    let wrong = |what: &str| Err(bad_query(format!("{path}: malformed $mod: {what}")));
    let Value::Array(pair) = operand else {
        return wrong("it needs a list [divisor, remainder]");
    };
    let [divisor, remainder] = pair.as_slice() else {
        return wrong("the list has two numbers, divisor and remainder");
    };
    match (truncated(divisor), truncated(remainder)) {
        (Some(0), _) => wrong("the divisor cannot be 0"),
        (Some(divisor), Some(remainder)) => Ok(Test::Modulo { divisor, remainder }),
        _ => wrong("divisor and remainder are numbers within 64 bits"),
    }
}

/// Compiles a pattern with the options of MongoDB.
pub(crate) fn build_regex(path: &str, pattern: &str, options: &str) -> Result<Regex, Error> {
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
        bad_query(format!("{path}: regular expression {:?}: {reason}", show_text(pattern)))
    })
}

fn show_text(text: &str) -> String {
    text.chars().take(120).collect()
}
