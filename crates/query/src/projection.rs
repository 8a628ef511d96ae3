//! Projections: which fields of a found document are answered.
//!
//! `{"a": 1}` keeps only the fields named (and `_id`), `{"a": 0}` all but these. `$slice` keeps part
//! of a list, `$elemMatch` its first element that a condition means, `a.$` the element that the
//! filter found.

use crate::error::{bad_query, is_true, show};
use crate::filter::{Filter, Test, element_match};
use api::path::Path;
use api::value::ID_FIELD;
use api::{Document, Error, Value};
use std::collections::BTreeMap;

/// A parsed `fields` option.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Whether only the named fields are kept, rather than all others.
    inclusive: bool,
    /// Whether `_id` is kept.
    with_id: bool,
    fields: Fields,
    needs_position: bool,
}

type Fields = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
enum Node {
    /// The path ends here.
    Leaf,
    /// It goes on into documents.
    Branch(Fields),
    /// Part of a list: from a position, so many.
    Slice(Option<i64>, i64),
    /// The first element that the test means.
    ElementMatch(Test),
    /// The element that the filter found.
    Matched,
}

impl Projection {
    /// Reads a `fields` option; none keeps everything.
    ///
    /// # Errors
    /// `bad_query`, naming the field.
    pub fn parse(fields: Option<&Document>) -> Result<Projection, Error> {
        let mut parser =
            Parser { inclusive: None, with_id: None, fields: Fields::new(), positional: false };
        if let Some(fields) = fields {
            parser.document(fields, "")?;
        }
        let only_id = parser.with_id == Some(true);
        let sliced = !parser.fields.is_empty();
        let inclusive = parser.inclusive.unwrap_or(only_id && !sliced);
        Ok(Projection {
            inclusive,
            with_id: parser.with_id.unwrap_or(true),
            fields: parser.fields,
            needs_position: parser.positional,
        })
    }

    /// The paths that are kept, and whether `_id` is; none if other parts of a document are made use of.
    pub fn kept(&self) -> Option<(Vec<String>, bool)> {
        let mut paths = Vec::new();
        let kept = self.inclusive && kept(&self.fields, "", &mut paths);
        kept.then_some((paths, self.with_id))
    }

    /// The fields of a found document that are answered; `filter` is the one that found it.
    ///
    /// # Errors
    /// `bad_query` if `a.$` is asked for and the filter found no element of a list.
    pub fn apply(&self, document: Document, filter: &Filter) -> Result<Document, Error> {
        if !self.inclusive && self.with_id && self.fields.is_empty() {
            return Ok(document);
        }
        let position = match self.needs_position {
            false => None,
            true => match filter.check_position(&document)?.1 {
                Some(position) => Some(position),
                None => {
                    return Err(bad_query(
                        "fields: the positional operator '.$' needs a filter that finds an element \
                         of the list",
                    ));
                }
            },
        };
        let (id, rest): (Vec<_>, Vec<_>) =
            document.into_iter().partition(|(name, _)| name == ID_FIELD);
        let mut projected = Document::new();
        if self.with_id {
            projected.extend(id);
        }
        project(rest, &self.fields, self.inclusive, position, &mut projected);
        Ok(projected)
    }
}

/// Whether the fields are nothing but paths to be kept, which are added.
fn kept(fields: &Fields, before: &str, paths: &mut Vec<String>) -> bool {
    fields.iter().all(|(name, node)| {
        let path = format!("{before}{name}");
        match node {
            Node::Leaf => {
                paths.push(path);
                true
            }
            Node::Branch(inner) => kept(inner, &format!("{path}."), paths),
            Node::Slice(..) | Node::ElementMatch(_) | Node::Matched => false,
        }
    })
}

struct Parser {
    inclusive: Option<bool>,
    with_id: Option<bool>,
    fields: Fields,
    positional: bool,
}

impl Parser {
    fn document(&mut self, fields: &Document, before: &str) -> Result<(), Error> {
        for (name, value) in fields {
            let name = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
            match value {
                Value::Boolean(_) | Value::Int32(_) | Value::Int64(_) | Value::Double(_) => {
                    self.flag(&name, is_true(value))?;
                }
                Value::Document(inner) => match inner.iter().next() {
                    Some((operator, operand)) if operator.starts_with('$') => {
                        if inner.len() != 1 {
                            return Err(bad_query(format!(
                                "fields: {name}: beside {operator} stands more"
                            )));
                        }
                        self.operator(&name, operator, operand)?;
                    }
                    Some(_) => self.document(inner, &name)?,
                    None => return Err(bad_query(format!("fields: {name}: an empty document"))),
                },
                other => {
                    return Err(bad_query(format!(
                        "fields: {name}: write 1 to keep a field or 0 to leave it out, not {}",
                        show(other)
                    )));
                }
            }
        }
        Ok(())
    }

    fn flag(&mut self, name: &str, keep: bool) -> Result<(), Error> {
        if name == ID_FIELD {
            self.with_id = Some(keep);
            return Ok(());
        }
        if let Some(list) = name.strip_suffix(".$") {
            if self.positional {
                return Err(bad_query(format!("fields: {name}: only one '.$' can be asked for")));
            }
            if !keep {
                return Err(bad_query(format!("fields: {name}: '.$' cannot be left out")));
            }
            self.positional = true;
            self.set_inclusive(name, true)?;
            return add(&mut self.fields, &Path::parse(list)?, Node::Matched);
        }
        self.set_inclusive(name, keep)?;
        add(&mut self.fields, &Path::parse(name)?, Node::Leaf)
    }

    fn set_inclusive(&mut self, name: &str, keep: bool) -> Result<(), Error> {
        if *self.inclusive.get_or_insert(keep) != keep {
            return Err(bad_query(format!(
                "fields: {name}: fields are either all kept (1) or all left out (0); only _id may \
                 differ"
            )));
        }
        Ok(())
    }

    fn operator(&mut self, name: &str, operator: &str, operand: &Value) -> Result<(), Error> {
        let path = Path::parse(name)?;
        match operator {
            "$slice" => {
                let (position, count) = slice(name, operand)?;
                add(&mut self.fields, &path, Node::Slice(position, count))
            }
            "$elemMatch" if path.is_top_level() => {
                self.set_inclusive(name, true)?;
                add(&mut self.fields, &path, Node::ElementMatch(element_match(name, operand)?))
            }
            "$elemMatch" => Err(bad_query(format!(
                "fields: {name}: $elemMatch takes a field of the document, not one inside another"
            ))),
            other => Err(bad_query(format!(
                "fields: {name}: unknown operator: {other}; known are $slice, $elemMatch"
            ))),
        }
    }
}

/// A count, or a position and a count.
fn slice(name: &str, operand: &Value) -> Result<(Option<i64>, i64), Error> {
    let whole = |value: &Value| match value {
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        Value::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(*number as i64)
        }
        _ => None,
    };
    let parsed = match operand {
        Value::Array(pair) => match pair.as_slice() {
            [position, count] => match (whole(position), whole(count)) {
                (Some(position), Some(count)) if count > 0 => Some((Some(position), count)),
                _ => None,
            },
            _ => None,
        },
        value => whole(value).map(|count| (None, count)),
    };
    parsed.ok_or_else(|| {
        bad_query(format!(
            "fields: {name}: $slice needs a whole number, or [position, count] with a count above \
             0, not {}",
            show(operand)
        ))
    })
}

fn add(fields: &mut Fields, path: &Path, node: Node) -> Result<(), Error> {
    let collision =
        || bad_query(format!("fields: path collision at {path}: name it or its parent"));
    if let Some(part) = path.parts().iter().find(|part| part.starts_with('$')) {
        return Err(bad_query(format!("fields: {path}: {part} is no field name")));
    }
    let (last, parents) = path.parts().split_last().ok_or_else(collision)?;
    let mut fields = fields;
    for part in parents {
        let node = fields.entry(part.clone()).or_insert_with(|| Node::Branch(Fields::new()));
        match node {
            Node::Branch(inner) => fields = inner,
            _ => return Err(collision()),
        }
    }
    match fields.insert(last.clone(), node) {
        None => Ok(()),
        Some(_) => Err(collision()),
    }
}

fn project(
    from: impl IntoIterator<Item = (String, Value)>,
    fields: &Fields,
    inclusive: bool,
    position: Option<usize>,
    to: &mut Document,
) {
    for (name, value) in from {
        let kept = match fields.get(&name) {
            None => (!inclusive).then_some(value),
            Some(node) => node.apply(value, inclusive, position),
        };
        if let Some(value) = kept {
            to.insert(name, value);
        }
    }
}

impl Node {
    fn apply(&self, value: Value, inclusive: bool, position: Option<usize>) -> Option<Value> {
        match (self, value) {
            (Node::Leaf, value) => inclusive.then_some(value),
            (Node::Branch(inner), value) => project_value(value, inner, inclusive, position),
            (Node::Slice(from, count), Value::Array(mut elements)) => {
                let kept = crate::slice_range(elements.len(), *from, *count);
                elements.truncate(kept.end);
                elements.drain(..kept.start);
                Some(Value::Array(elements))
            }
            (Node::Slice(..), value) => Some(value),
            (Node::ElementMatch(test), Value::Array(elements)) => {
                let found = elements.into_iter().find(|element| test.means_element(element))?;
                Some(Value::Array(vec![found]))
            }
            (Node::ElementMatch(_), _) => None,
            (Node::Matched, Value::Array(elements)) => {
                let found = position.and_then(|position| elements.into_iter().nth(position));
                Some(Value::Array(found.into_iter().collect()))
            }
            (Node::Matched, value) => Some(value),
        }
    }
}

/// Documents are projected, in lists too; anything else has no such fields.
fn project_value(
    value: Value,
    fields: &Fields,
    inclusive: bool,
    position: Option<usize>,
) -> Option<Value> {
    match value {
        Value::Document(document) => {
            let mut projected = Document::new();
            project(document, fields, inclusive, position, &mut projected);
            Some(Value::Document(projected))
        }
        Value::Array(elements) => {
            let elements = elements
                .into_iter()
                .filter_map(|element| project_value(element, fields, inclusive, position));
            Some(Value::Array(elements.collect()))
        }
        _ if inclusive => None,
        value => Some(value),
    }
}
