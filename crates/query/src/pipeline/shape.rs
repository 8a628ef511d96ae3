//! `$project`, `$set` and `$unset`: what fields a document has afterwards.

use crate::error::{bad_query, is_true, show};
use crate::expression::{Budget, Expression};
use api::limits::NESTING_MAX;
use api::path::Path;
use api::value::ID_FIELD;
use api::{Document, Error, Value};
use std::collections::BTreeMap;

/// How the fields change.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    mode: Mode,
    fields: Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Only what is named stays.
    Keep,
    /// What is named goes.
    Drop,
    /// What is named is set.
    Set,
}

/// Fields in the order in which they were named.
#[derive(Clone, Debug, Default)]
struct Fields {
    list: Vec<(String, Node)>,
    positions: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
enum Node {
    Keep,
    Drop,
    Compute(Expression),
    Branch(Fields),
}

/// The computed values of one document, beside the nodes that they belong to.
enum Computed {
    None,
    Value(Option<Value>),
    Branch(Vec<Computed>),
}

impl Shape {
    pub(super) fn project(operand: &Value) -> Result<Shape, Error> {
        let document = fields_of("$project", operand)?;
        let mut parser = Parser { stage: "$project", mode: None };
        let mut fields = Fields::default();
        let mut id = None;
        for (name, value) in document {
            match value {
                Value::Boolean(_) | Value::Int32(_) | Value::Int64(_) | Value::Double(_)
                    if name == ID_FIELD =>
                {
                    id = Some(is_true(value));
                }
                _ => parser.add(&mut fields, name, value, 0)?,
            }
        }
        let mode = parser.mode.unwrap_or(if id == Some(true) { Mode::Keep } else { Mode::Drop });
        match (mode, id) {
            (Mode::Keep, None | Some(true)) if fields.get(ID_FIELD).is_none() => {
                fields.push(ID_FIELD, Node::Keep);
            }
            (Mode::Drop, Some(false)) => fields.push(ID_FIELD, Node::Drop),
            _ => {}
        }
        Ok(Shape { mode, fields })
    }

    pub(super) fn set(stage: &'static str, operand: &Value) -> Result<Shape, Error> {
        let mut parser = Parser { stage, mode: Some(Mode::Set) };
        let mut fields = Fields::default();
        for (name, value) in fields_of(stage, operand)? {
            parser.add(&mut fields, name, value, 0)?;
        }
        Ok(Shape { mode: Mode::Set, fields })
    }

    pub(super) fn unset(operand: &Value) -> Result<Shape, Error> {
        let names = match operand {
            one @ Value::String(_) => std::slice::from_ref(one),
            Value::Array(names) if !names.is_empty() => names,
            other => {
                return Err(bad_query(format!(
                    "$unset needs a field or a list of fields, not {}",
                    show(other)
                )));
            }
        };
        let mut fields = Fields::default();
        for name in names {
            let Value::String(name) = name else {
                return Err(bad_query(format!("$unset: {} is no field", show(name))));
            };
            fields.insert("$unset", name, Node::Drop)?;
        }
        Ok(Shape { mode: Mode::Drop, fields })
    }

    pub(super) fn apply(
        &self,
        mut document: Document,
        budget: &mut Budget,
    ) -> Result<Document, Error> {
        match self.mode {
            Mode::Keep => {
                let computed = self.fields.compute(&document, budget)?;
                keep(document, &self.fields, &computed, budget)
            }
            Mode::Set => {
                let computed = self.fields.compute(&document, budget)?;
                set(&mut document, &self.fields, &computed, budget)?;
                Ok(document)
            }
            Mode::Drop => {
                drop_fields(&mut document, &self.fields);
                Ok(document)
            }
        }
    }
}

fn fields_of<'v>(stage: &str, operand: &'v Value) -> Result<&'v Document, Error> {
    match operand {
        Value::Document(document) if !document.is_empty() => Ok(document),
        other => Err(bad_query(format!("{stage} needs a document of fields, not {}", show(other)))),
    }
}

struct Parser {
    stage: &'static str,
    mode: Option<Mode>,
}

impl Parser {
    fn add(
        &mut self,
        fields: &mut Fields,
        name: &str,
        value: &Value,
        depth: usize,
    ) -> Result<(), Error> {
        let stage = self.stage;
        if depth > NESTING_MAX {
            return Err(bad_query(format!("{stage} nests deeper than {NESTING_MAX} levels")));
        }
        let node = match value {
            Value::Document(inner) if !inner.is_empty() && !is_expression(inner) => {
                for (inner_name, value) in inner {
                    self.add(fields, &format!("{name}.{inner_name}"), value, depth + 1)?;
                }
                return Ok(());
            }
            Value::Boolean(_) | Value::Int32(_) | Value::Int64(_) | Value::Double(_)
                if self.mode != Some(Mode::Set) =>
            {
                if is_true(value) {
                    Node::Keep
                } else {
                    Node::Drop
                }
            }
            value => {
                let expression = Expression::parse(value)
                    .map_err(|error| bad_query(format!("{stage}: {name}: {}", error.message)))?;
                Node::Compute(expression)
            }
        };
        if self.mode != Some(Mode::Set) {
            let mode = if matches!(node, Node::Drop) { Mode::Drop } else { Mode::Keep };
            if *self.mode.get_or_insert(mode) != mode {
                return Err(bad_query(format!(
                    "{stage}: {name}: fields are either kept or computed, or all left out (0); \
                     only _id may differ"
                )));
            }
        }
        fields.insert(stage, name, node)
    }
}

fn is_expression(document: &Document) -> bool {
    document.keys().next().is_some_and(|name| name.starts_with('$'))
}

impl Fields {
    fn get(&self, name: &str) -> Option<(usize, &Node)> {
        let position = *self.positions.get(name)?;
        Some((position, &self.list[position].1))
    }

    fn push(&mut self, name: &str, node: Node) {
        self.positions.insert(name.to_owned(), self.list.len());
        self.list.push((name.to_owned(), node));
    }

    fn insert(&mut self, stage: &str, name: &str, node: Node) -> Result<(), Error> {
        let path = Path::parse(name)?;
        if let Some(part) = path.parts().iter().find(|part| part.starts_with('$')) {
            return Err(bad_query(format!("{stage}: {name}: {part} is no field name")));
        }
        self.insert_parts(path.parts(), node)
            .map_err(|()| bad_query(format!("{stage}: path collision at {name}")))
    }

    fn insert_parts(&mut self, parts: &[String], node: Node) -> Result<(), ()> {
        let (first, rest) = parts.split_first().ok_or(())?;
        match (self.positions.get(first).copied(), rest.is_empty()) {
            (None, true) => {
                self.push(first, node);
                Ok(())
            }
            (None, false) => {
                let mut inner = Fields::default();
                inner.insert_parts(rest, node)?;
                self.push(first, Node::Branch(inner));
                Ok(())
            }
            (Some(position), false) => match &mut self.list[position].1 {
                Node::Branch(inner) => inner.insert_parts(rest, node),
                _ => Err(()),
            },
            (Some(_), true) => Err(()),
        }
    }

    fn compute(&self, document: &Document, budget: &mut Budget) -> Result<Vec<Computed>, Error> {
        let compute = |(_, node): &(String, Node)| {
            Ok(match node {
                Node::Keep | Node::Drop => Computed::None,
                Node::Compute(expression) => Computed::Value(expression.compute(document, budget)?),
                Node::Branch(inner) => Computed::Branch(inner.compute(document, budget)?),
            })
        };
        self.list.iter().map(compute).collect()
    }
}

/// `_id`, what is kept in its order, then what is computed.
fn keep(
    document: Document,
    fields: &Fields,
    computed: &[Computed],
    budget: &mut Budget,
) -> Result<Document, Error> {
    let mut kept = Document::new();
    if let Some((position, Node::Compute(_))) = fields.get(ID_FIELD)
        && let Computed::Value(Some(id)) = &computed[position]
    {
        kept.insert(ID_FIELD, id.clone());
    }
    let mut taken = vec![false; fields.list.len()];
    for (name, value) in document {
        let Some((position, node)) = fields.get(&name) else { continue };
        match (node, &computed[position]) {
            (Node::Keep, _) => {
                kept.insert(name, value);
            }
            (Node::Branch(inner), Computed::Branch(computed)) => {
                taken[position] = true;
                if let Some(value) = keep_value(value, inner, computed, budget)? {
                    kept.insert(name, value);
                }
            }
            _ => {}
        }
    }
    for (position, (name, node)) in fields.list.iter().enumerate() {
        match (node, &computed[position]) {
            (Node::Compute(_), Computed::Value(Some(value))) => {
                budget.charge_copy(value)?;
                kept.insert(name.clone(), value.clone());
            }
            (Node::Branch(inner), Computed::Branch(computed)) if !taken[position] => {
                let made = keep(Document::new(), inner, computed, budget)?;
                if !made.is_empty() {
                    kept.insert(name.clone(), made);
                }
            }
            _ => {}
        }
    }
    Ok(kept)
}

fn keep_value(
    value: Value,
    fields: &Fields,
    computed: &[Computed],
    budget: &mut Budget,
) -> Result<Option<Value>, Error> {
    Ok(match value {
        Value::Document(document) => {
            Some(Value::Document(keep(document, fields, computed, budget)?))
        }
        Value::Array(elements) => {
            let mut kept = Vec::new();
            for element in elements {
                budget.charge(1)?;
                kept.extend(keep_value(element, fields, computed, budget)?);
            }
            Some(Value::Array(kept))
        }
        _ => {
            let made = keep(Document::new(), fields, computed, budget)?;
            (!made.is_empty()).then_some(Value::Document(made))
        }
    })
}

fn set(
    document: &mut Document,
    fields: &Fields,
    computed: &[Computed],
    budget: &mut Budget,
) -> Result<(), Error> {
    for ((name, node), computed) in fields.list.iter().zip(computed) {
        match (node, computed) {
            (_, Computed::Value(Some(value))) => {
                budget.charge_copy(value)?;
                document.insert(name.clone(), value.clone());
            }
            (_, Computed::Value(None)) => {
                document.remove(name);
            }
            (Node::Branch(inner), Computed::Branch(computed)) => {
                let place = document.entry(name).or_insert(Value::Null);
                set_value(place, inner, computed, budget)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn set_value(
    value: &mut Value,
    fields: &Fields,
    computed: &[Computed],
    budget: &mut Budget,
) -> Result<(), Error> {
    budget.charge(1)?;
    match value {
        Value::Document(document) => set(document, fields, computed, budget),
        Value::Array(elements) => {
            elements.iter_mut().try_for_each(|element| set_value(element, fields, computed, budget))
        }
        other => {
            let mut made = Document::new();
            set(&mut made, fields, computed, budget)?;
            *other = Value::Document(made);
            Ok(())
        }
    }
}

fn drop_fields(document: &mut Document, fields: &Fields) {
    for (name, node) in &fields.list {
        match node {
            Node::Branch(inner) => {
                if let Some(value) = document.get_mut(name) {
                    drop_inner(value, inner);
                }
            }
            _ => {
                document.remove(name);
            }
        }
    }
}

fn drop_inner(value: &mut Value, fields: &Fields) {
    match value {
        Value::Document(document) => drop_fields(document, fields),
        Value::Array(elements) => {
            elements.iter_mut().for_each(|element| drop_inner(element, fields));
        }
        _ => {}
    }
}
