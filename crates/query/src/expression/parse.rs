//! JSON-like values to expressions, with a bound on depth and on parts.

use super::operators::Operator;
use super::{EXPRESSION_DEPTH_MAX, EXPRESSION_PARTS_MAX, Node};
use crate::error::{bad_query, show};
use crate::filter::build_regex;
use api::limits::NESTING_MAX;
use api::{Document, Error, Value};

pub(super) fn parse(value: &Value) -> Result<Node, Error> {
    Parser { parts: 0, variables: Vec::new() }.node(value, 0)
}

struct Parser {
    parts: usize,
    /// Variables that can be seen here.
    variables: Vec<String>,
}

impl Parser {
    fn node(&mut self, value: &Value, depth: usize) -> Result<Node, Error> {
        if depth > EXPRESSION_DEPTH_MAX {
            return Err(bad_query(format!(
                "the expression nests deeper than {EXPRESSION_DEPTH_MAX} levels"
            )));
        }
        self.parts += 1;
        if self.parts > EXPRESSION_PARTS_MAX {
            return Err(bad_query(format!(
                "the expression has more than {EXPRESSION_PARTS_MAX} parts; put a long list under \
                 $literal"
            )));
        }
        match value {
            Value::String(text) => match text.strip_prefix("$$") {
                Some(variable) => self.variable(variable),
                None => match text.strip_prefix('$') {
                    Some(path) => Ok(Node::Field(path_parts(text, path)?)),
                    None => Ok(Node::Literal(value.clone())),
                },
            },
            Value::Array(elements) => Ok(Node::List(self.nodes(elements, depth)?)),
            Value::Document(document) => self.document(document, depth),
            literal => Ok(Node::Literal(literal.clone())),
        }
    }

    fn nodes(&mut self, values: &[Value], depth: usize) -> Result<Vec<Node>, Error> {
        values.iter().map(|value| self.node(value, depth + 1)).collect()
    }

    fn variable(&self, text: &str) -> Result<Node, Error> {
        let (name, path) = text.split_once('.').map_or((text, None), |(n, p)| (n, Some(p)));
        let parts = match path {
            Some(path) => path_parts(text, path)?,
            None => Vec::new(),
        };
        match name {
            "ROOT" | "CURRENT" if parts.is_empty() => Ok(Node::Root),
            "ROOT" | "CURRENT" => Ok(Node::Field(parts)),
            "REMOVE" if parts.is_empty() => Ok(Node::Remove),
            _ if self.variables.iter().any(|known| known == name) => {
                Ok(Node::Variable(name.to_owned(), parts))
            }
            _ => Err(bad_query(format!(
                "unknown variable $${name}; known are $$ROOT, $$CURRENT, $$REMOVE and those of \
                 $map, $filter, $reduce and $let around it"
            ))),
        }
    }

    fn document(&mut self, document: &Document, depth: usize) -> Result<Node, Error> {
        if let Some((name, operand)) = document.iter().next()
            && name.starts_with('$')
        {
            if document.len() != 1 {
                return Err(bad_query(format!(
                    "an expression has one operator; beside {name} stands more"
                )));
            }
            return self.operator(name, operand, depth);
        }
        let mut fields = Vec::with_capacity(document.len());
        for (name, value) in document {
            if name.starts_with('$') || name.contains('.') || name.is_empty() {
                return Err(bad_query(format!(
                    "a field of a computed document has a plain name, not {name:?}"
                )));
            }
            fields.push((name.clone(), self.node(value, depth + 1)?));
        }
        Ok(Node::Document(fields))
    }

    fn operator(&mut self, name: &str, operand: &Value, depth: usize) -> Result<Node, Error> {
        match name {
            "$literal" => Ok(Node::Literal(operand.clone())),
            "$and" => Ok(Node::And(self.arguments(operand, depth)?)),
            "$or" => Ok(Node::Or(self.arguments(operand, depth)?)),
            "$ifNull" => {
                let nodes = self.arguments(operand, depth)?;
                if nodes.len() < 2 {
                    return Err(bad_query("$ifNull needs two or more arguments"));
                }
                Ok(Node::IfNull(nodes))
            }
            "$cond" => self.cond(operand, depth),
            "$switch" => self.switch(operand, depth),
            "$map" => self.map(operand, depth),
            "$filter" => self.filter(operand, depth),
            "$reduce" => self.reduce(operand, depth),
            "$let" => self.bind(operand, depth),
            "$regexMatch" => self.regex(operand, depth),
            "$trim" | "$ltrim" | "$rtrim" => {
                let [input, chars] = self.named(name, operand, ["input"], ["chars"], depth)?;
                let operator = Operator::find(name).ok_or_else(|| unknown(name))?;
                Ok(Node::Call(operator, input.into_iter().chain(chars).collect()))
            }
            _ => {
                let operator = Operator::find(name).ok_or_else(|| unknown(name))?;
                let nodes = self.arguments(operand, depth)?;
                operator.check_arity(nodes.len())?;
                Ok(Node::Call(operator, nodes))
            }
        }
    }

    /// A list of arguments, or one that stands alone.
    fn arguments(&mut self, operand: &Value, depth: usize) -> Result<Vec<Node>, Error> {
        match operand {
            Value::Array(elements) => self.nodes(elements, depth),
            one => Ok(vec![self.node(one, depth + 1)?]),
        }
    }

    /// Named arguments: those needed, then one that may be left out.
    fn named<const N: usize, const O: usize, const A: usize>(
        &mut self,
        operator: &str,
        operand: &Value,
        needed: [&str; N],
        optional: [&str; O],
        depth: usize,
    ) -> Result<[Option<Node>; A], Error> {
        const { assert!(N + O == A) };
        let document = named_document(operator, operand, &needed, &optional)?;
        let mut nodes = [const { None }; A];
        for (slot, name) in nodes.iter_mut().zip(needed.iter().chain(&optional)) {
            if let Some(value) = document.get(*name) {
                *slot = Some(self.node(value, depth + 1)?);
            }
        }
        Ok(nodes)
    }

    fn cond(&mut self, operand: &Value, depth: usize) -> Result<Node, Error> {
        let nodes = match operand {
            Value::Array(elements) => self.nodes(elements, depth)?,
            operand => {
                let nodes: [Option<Node>; 3] =
                    self.named("$cond", operand, ["if", "then", "else"], [], depth)?;
                nodes.into_iter().flatten().collect()
            }
        };
        let nodes: [Node; 3] = nodes
            .try_into()
            .map_err(|_| bad_query("$cond needs three arguments: if, then, else"))?;
        Ok(Node::Cond(Box::new(nodes)))
    }

    fn switch(&mut self, operand: &Value, depth: usize) -> Result<Node, Error> {
        let document = named_document("$switch", operand, &["branches"], &["default"])?;
        let Some(Value::Array(list)) = document.get("branches") else {
            return Err(bad_query("$switch: branches is a list of {case, then}"));
        };
        if list.is_empty() {
            return Err(bad_query("$switch needs at least one branch"));
        }
        let mut branches = Vec::with_capacity(list.len());
        for branch in list {
            let branch: [Option<Node>; 2] =
                self.named("$switch", branch, ["case", "then"], [], depth)?;
            if let [Some(case), Some(then)] = branch {
                branches.push((case, then));
            }
        }
        let default = match document.get("default") {
            Some(value) => Some(Box::new(self.node(value, depth + 1)?)),
            None => None,
        };
        Ok(Node::Switch { branches, default })
    }

    fn map(&mut self, operand: &Value, depth: usize) -> Result<Node, Error> {
        let document = named_document("$map", operand, &["input", "in"], &["as"])?;
        let name = variable_name("$map", document)?;
        let input = self.inner(document, "input", &[], depth)?;
        let body = self.inner(document, "in", &[&name], depth)?;
        Ok(Node::Map { input, name, body })
    }

    fn filter(&mut self, operand: &Value, depth: usize) -> Result<Node, Error> {
        let document = named_document("$filter", operand, &["input", "cond"], &["as", "limit"])?;
        let name = variable_name("$filter", document)?;
        let input = self.inner(document, "input", &[], depth)?;
        let condition = self.inner(document, "cond", &[&name], depth)?;
        let limit = match document.get("limit") {
            Some(_) => Some(self.inner(document, "limit", &[], depth)?),
            None => None,
        };
        Ok(Node::Filter { input, name, condition, limit })
    }

    fn reduce(&mut self, operand: &Value, depth: usize) -> Result<Node, Error> {
        let document = named_document("$reduce", operand, &["input", "initialValue", "in"], &[])?;
        Ok(Node::Reduce {
            input: self.inner(document, "input", &[], depth)?,
            initial: self.inner(document, "initialValue", &[], depth)?,
            body: self.inner(document, "in", &["this", "value"], depth)?,
        })
    }

    fn bind(&mut self, operand: &Value, depth: usize) -> Result<Node, Error> {
        let document = named_document("$let", operand, &["vars", "in"], &[])?;
        let Some(Value::Document(vars)) = document.get("vars") else {
            return Err(bad_query("$let: vars is a document of variables"));
        };
        let mut variables = Vec::with_capacity(vars.len());
        for (name, value) in vars {
            check_variable_name("$let", name)?;
            variables.push((name.clone(), self.node(value, depth + 1)?));
        }
        let names: Vec<&str> = vars.keys().map(String::as_str).collect();
        let body = self.inner(document, "in", &names, depth)?;
        Ok(Node::Let { variables, body })
    }

    /// A named argument that sees more variables.
    fn inner(
        &mut self,
        document: &Document,
        argument: &str,
        variables: &[&str],
        depth: usize,
    ) -> Result<Box<Node>, Error> {
        let before = self.variables.len();
        self.variables.extend(variables.iter().map(|name| (*name).to_owned()));
        let node = self.node(document.get(argument).unwrap_or(&Value::Null), depth + 1);
        self.variables.truncate(before);
        node.map(Box::new)
    }

    fn regex(&mut self, operand: &Value, depth: usize) -> Result<Node, Error> {
        let document = named_document("$regexMatch", operand, &["input", "regex"], &["options"])?;
        let (pattern, own_options) = match document.get("regex") {
            Some(Value::String(pattern)) if !pattern.starts_with('$') => (pattern.as_str(), ""),
            Some(Value::RegularExpression(regex)) => {
                (regex.pattern.as_str(), regex.options.as_str())
            }
            _ => return Err(bad_query("$regexMatch: regex is a pattern, not an expression")),
        };
        let options = match document.get("options") {
            None => own_options,
            Some(Value::String(options)) => options.as_str(),
            Some(other) => {
                return Err(bad_query(format!("$regexMatch: options {}", show(other))));
            }
        };
        // Patterns are dearer than other parts, in memory and in time.
        self.parts += 50;
        let pattern = Box::new(build_regex("$regexMatch", pattern, options)?);
        Ok(Node::Matches { input: self.inner(document, "input", &[], depth)?, pattern })
    }
}

fn unknown(name: &str) -> Error {
    bad_query(format!("unknown expression operator: {name}; docs/design/queries.md lists them"))
}

fn path_parts(shown: &str, path: &str) -> Result<Vec<String>, Error> {
    let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
    let wrong = |part: &String| part.is_empty() || part.starts_with('$');
    if parts.iter().any(wrong) || parts.len() > NESTING_MAX {
        return Err(bad_query(format!(
            "{:?} is no field path; write $ and names divided by single dots, at most {NESTING_MAX}",
            shown.chars().take(80).collect::<String>()
        )));
    }
    Ok(parts)
}

fn named_document<'v>(
    operator: &str,
    operand: &'v Value,
    needed: &[&str],
    optional: &[&str],
) -> Result<&'v Document, Error> {
    let names = || [needed, optional].concat().join(", ");
    let Value::Document(document) = operand else {
        return Err(bad_query(format!("{operator} needs a document of {}", names())));
    };
    let known =
        |name: &&String| !needed.contains(&name.as_str()) && !optional.contains(&name.as_str());
    if let Some(other) = document.keys().find(known) {
        return Err(bad_query(format!(
            "{operator}: unknown argument {other:?}; known: {}",
            names()
        )));
    }
    match needed.iter().find(|name| !document.contains_key(**name)) {
        Some(missing) => Err(bad_query(format!("{operator} lacks its argument {missing}"))),
        None => Ok(document),
    }
}

fn variable_name(operator: &str, document: &Document) -> Result<String, Error> {
    match document.get("as") {
        None => Ok("this".to_owned()),
        Some(Value::String(name)) => {
            check_variable_name(operator, name)?;
            Ok(name.clone())
        }
        Some(other) => Err(bad_query(format!("{operator}: as is a name, not {}", show(other)))),
    }
}

fn check_variable_name(operator: &str, name: &str) -> Result<(), Error> {
    let starts = name.chars().next().is_some_and(|first| first.is_lowercase());
    if !starts || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(bad_query(format!(
            "{operator}: {name:?} is no variable name; begin with a small letter, go on with \
             letters, digits and _"
        )));
    }
    Ok(())
}
