//! Expressions: values computed from the fields of one document.
//!
//! `"$a.b"` is a field, `"$$ROOT"` the document, `{"$add": [..]}` an operator, any other value
//! itself. A field that is not there has no value: operators that take numbers answer null for it,
//! and a computed field that has no value is left out. An expression costs steps, which its user
//! bounds with a [`Budget`]: nothing that a client writes runs or grows without end.

mod arrays;
mod convert;
mod dates;
mod operators;
mod parse;
mod strings;

use crate::error::bad_query;
use crate::size::value_bytes;
use api::{Document, Error, Value};
use operators::Operator;
use std::borrow::Cow;

/// Deepest nesting of an expression.
pub const EXPRESSION_DEPTH_MAX: usize = 50;
/// Most parts of one expression: operators, fields, literals.
pub const EXPRESSION_PARTS_MAX: usize = 2_000;
/// Most steps of `$expr` for one document.
pub const FILTER_STEPS_MAX: u64 = 1_000_000;
/// Most steps of all the expressions of one aggregation.
pub const PIPELINE_STEPS_MAX: u64 = 200_000_000;
/// Bytes that are copied for one step.
const BYTES_PER_STEP: usize = 64;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression(Node);

#[derive(Clone, Debug)]
enum Node {
    Literal(Value),
    /// A field of the document.
    Field(Vec<String>),
    /// The document.
    Root,
    /// No value.
    Remove,
    /// A variable of `$map`, `$filter`, `$reduce` or `$let`, and a path into it.
    Variable(String, Vec<String>),
    Document(Vec<(String, Node)>),
    List(Vec<Node>),
    Call(Operator, Vec<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    IfNull(Vec<Node>),
    Cond(Box<[Node; 3]>),
    Switch {
        branches: Vec<(Node, Node)>,
        default: Option<Box<Node>>,
    },
    Map {
        input: Box<Node>,
        name: String,
        body: Box<Node>,
    },
    Filter {
        input: Box<Node>,
        name: String,
        condition: Box<Node>,
        limit: Option<Box<Node>>,
    },
    Reduce {
        input: Box<Node>,
        initial: Box<Node>,
        body: Box<Node>,
    },
    Let {
        variables: Vec<(String, Node)>,
        body: Box<Node>,
    },
    Matches {
        input: Box<Node>,
        pattern: Box<regex::Regex>,
    },
}

/// How much an expression may still cost.
#[derive(Debug)]
pub struct Budget {
    steps: u64,
    most: u64,
}

impl Budget {
    /// For `$expr` and one document.
    pub fn of_filter() -> Budget {
        Budget { steps: 0, most: FILTER_STEPS_MAX }
    }

    /// For a whole aggregation.
    pub fn of_pipeline() -> Budget {
        Budget { steps: 0, most: PIPELINE_STEPS_MAX }
    }

    pub(crate) fn charge(&mut self, steps: usize) -> Result<(), Error> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > self.most {
            return Err(bad_query(format!(
                "the expressions take more than {} steps; match fewer documents first, or compute \
                 less over their lists",
                self.most
            )));
        }
        Ok(())
    }

    /// For a value that is copied.
    pub(crate) fn charge_copy(&mut self, value: &Value) -> Result<(), Error> {
        self.charge(1 + value_bytes(value) / BYTES_PER_STEP)
    }

    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> Result<(), Error> {
        self.charge(1 + bytes / BYTES_PER_STEP)
    }
}

/// What an expression can see: the document and the variables around it.
#[derive(Clone, Copy)]
struct Scope<'e> {
    document: &'e Document,
    variable: Option<&'e Variable<'e>>,
}

struct Variable<'e> {
    name: &'e str,
    value: Option<&'e Value>,
    outer: Option<&'e Variable<'e>>,
}

/// A value, or none: the field is not there.
type Computed<'e> = Result<Option<Cow<'e, Value>>, Error>;

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// `bad_query`, naming the operator.
    pub fn parse(value: &Value) -> Result<Expression, Error> {
        parse::parse(value).map(Expression)
    }

    /// Computes it; null where it has no value.
    ///
    /// # Errors
    /// `bad_query`, naming the operator and what it was given.
    pub fn evaluate(&self, document: &Document, budget: &mut Budget) -> Result<Value, Error> {
        Ok(self.compute(document, budget)?.unwrap_or(Value::Null))
    }

    /// Computes it; none where it has no value.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn compute(
        &self,
        document: &Document,
        budget: &mut Budget,
    ) -> Result<Option<Value>, Error> {
        let scope = Scope { document, variable: None };
        match self.0.evaluate(scope, budget)? {
            Some(value) => {
                budget.charge_copy(&value)?;
                Ok(Some(value.into_owned()))
            }
            None => Ok(None),
        }
    }
}

impl Node {
    fn evaluate<'e>(&'e self, scope: Scope<'e>, budget: &mut Budget) -> Computed<'e> {
        budget.charge(1)?;
        match self {
            Node::Literal(value) => Ok(Some(Cow::Borrowed(value))),
            Node::Root => {
                let root = Value::Document(scope.document.clone());
                budget.charge_copy(&root)?;
                Ok(Some(Cow::Owned(root)))
            }
            Node::Remove => Ok(None),
            Node::Field(parts) => field(scope.document, parts, budget),
            Node::Variable(name, parts) => match scope.variable(name) {
                Some(value) => walk(value, parts, budget),
                None => Ok(None),
            },
            Node::Document(fields) => {
                let mut document = Document::new();
                for (name, node) in fields {
                    if let Some(value) = node.evaluate(scope, budget)? {
                        budget.charge_copy(&value)?;
                        document.insert(name.clone(), value.into_owned());
                    }
                }
                Ok(Some(Cow::Owned(Value::Document(document))))
            }
            Node::List(nodes) => {
                let mut list = Vec::with_capacity(nodes.len());
                for node in nodes {
                    list.push(node.owned(scope, budget)?);
                }
                Ok(Some(Cow::Owned(Value::Array(list))))
            }
            Node::Call(operator, nodes) => {
                let mut arguments = Vec::with_capacity(nodes.len());
                for node in nodes {
                    arguments.push(node.evaluate(scope, budget)?);
                }
                operator.call(&arguments, budget).map(|value| value.map(Cow::Owned))
            }
            Node::And(nodes) => {
                for node in nodes {
                    if !node.is_true(scope, budget)? {
                        return Ok(Some(Cow::Owned(Value::Boolean(false))));
                    }
                }
                Ok(Some(Cow::Owned(Value::Boolean(true))))
            }
            Node::Or(nodes) => {
                for node in nodes {
                    if node.is_true(scope, budget)? {
                        return Ok(Some(Cow::Owned(Value::Boolean(true))));
                    }
                }
                Ok(Some(Cow::Owned(Value::Boolean(false))))
            }
            Node::IfNull(nodes) => {
                let mut last = None;
                for node in nodes {
                    last = node.evaluate(scope, budget)?;
                    if !is_nothing(last.as_deref()) {
                        break;
                    }
                }
                Ok(last)
            }
            Node::Cond(nodes) => {
                let [condition, then, otherwise] = &**nodes;
                let chosen = if condition.is_true(scope, budget)? { then } else { otherwise };
                chosen.evaluate(scope, budget)
            }
            Node::Switch { branches, default } => {
                for (case, then) in branches {
                    if case.is_true(scope, budget)? {
                        return then.evaluate(scope, budget);
                    }
                }
                match default {
                    Some(default) => default.evaluate(scope, budget),
                    None => Err(bad_query("$switch: no branch matched, and there is no default")),
                }
            }
            Node::Map { input, name, body } => {
                arrays::map(input, name, body, scope, budget).map(own)
            }
            Node::Filter { input, name, condition, limit } => {
                arrays::filter(input, name, condition, limit.as_deref(), scope, budget).map(own)
            }
            Node::Reduce { input, initial, body } => {
                arrays::reduce(input, initial, body, scope, budget).map(own)
            }
            Node::Let { variables, body } => bind(variables, body, scope, budget).map(own),
            Node::Matches { input, pattern } => {
                let input = input.evaluate(scope, budget)?;
                let matches = match input.as_deref() {
                    value if is_nothing(value) => false,
                    Some(Value::String(text)) => pattern.is_match(text),
                    other => return Err(wrong("$regexMatch", "a string", other)),
                };
                Ok(Some(Cow::Owned(Value::Boolean(matches))))
            }
        }
    }

    /// The value, null where there is none.
    fn owned(&self, scope: Scope<'_>, budget: &mut Budget) -> Result<Value, Error> {
        let Some(value) = self.evaluate(scope, budget)? else { return Ok(Value::Null) };
        budget.charge_copy(&value)?;
        Ok(value.into_owned())
    }

    fn is_true(&self, scope: Scope<'_>, budget: &mut Budget) -> Result<bool, Error> {
        Ok(self.evaluate(scope, budget)?.is_some_and(|value| crate::is_true(&value)))
    }
}

impl<'e> Scope<'e> {
    fn variable(&self, name: &str) -> Option<&'e Value> {
        let mut variable = self.variable;
        while let Some(one) = variable {
            if one.name == name {
                return one.value;
            }
            variable = one.outer;
        }
        None
    }
}

fn own(value: Option<Value>) -> Option<Cow<'static, Value>> {
    value.map(Cow::Owned)
}

/// Variables see those around the whole `$let`, not each other.
fn bind(
    variables: &[(String, Node)],
    body: &Node,
    scope: Scope<'_>,
    budget: &mut Budget,
) -> Result<Option<Value>, Error> {
    let mut values = Vec::with_capacity(variables.len());
    for (_, node) in variables {
        values.push(node.evaluate(scope, budget)?.map(Cow::into_owned));
    }
    let bound: Vec<_> = variables.iter().map(|(name, _)| name.as_str()).zip(&values).collect();
    with_variables(&bound, body, scope, budget)
}

fn with_variables(
    bound: &[(&str, &Option<Value>)],
    body: &Node,
    scope: Scope<'_>,
    budget: &mut Budget,
) -> Result<Option<Value>, Error> {
    match bound.split_first() {
        None => Ok(body.evaluate(scope, budget)?.map(Cow::into_owned)),
        Some(((name, value), rest)) => {
            let variable = Variable { name, value: value.as_ref(), outer: scope.variable };
            let scope = Scope { document: scope.document, variable: Some(&variable) };
            with_variables(rest, body, scope, budget)
        }
    }
}

fn field<'e>(document: &'e Document, parts: &[String], budget: &mut Budget) -> Computed<'e> {
    let Some((first, rest)) = parts.split_first() else { return Ok(None) };
    match document.get(first) {
        Some(value) => walk(value, rest, budget),
        None => Ok(None),
    }
}

/// Through a list a path leads to the list of what it leads to in each element.
fn walk<'e>(value: &'e Value, parts: &[String], budget: &mut Budget) -> Computed<'e> {
    match value {
        _ if parts.is_empty() => Ok(Some(Cow::Borrowed(value))),
        Value::Document(document) => field(document, parts, budget),
        Value::Array(elements) => {
            let mut list = Vec::new();
            for element in elements {
                budget.charge(1)?;
                if matches!(element, Value::Document(_) | Value::Array(_))
                    && let Some(value) = walk(element, parts, budget)?
                {
                    budget.charge_copy(&value)?;
                    list.push(value.into_owned());
                }
            }
            Ok(Some(Cow::Owned(Value::Array(list))))
        }
        _ => Ok(None),
    }
}

/// Whether a value is null or not there.
fn is_nothing(value: Option<&Value>) -> bool {
    matches!(value, None | Some(Value::Null | Value::Undefined))
}

fn wrong(operator: &str, expected: &str, value: Option<&Value>) -> Error {
    let found = value.map_or_else(|| "nothing".to_owned(), crate::error::show);
    bad_query(format!("{operator} needs {expected}, not {found}"))
}
