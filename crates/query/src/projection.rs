//! Projections: which fields of a found document are answered.

use crate::error::{bad_query, show};
use crate::filter::is_true;
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
}

type Fields = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
enum Node {
    /// The path ends here.
    Leaf,
    /// It goes on into documents.
    Branch(Fields),
}

impl Projection {
    /// Reads a `fields` option; none keeps everything.
    ///
    /// # Errors
    /// `bad_query`, naming the field.
    pub fn parse(fields: Option<&Document>) -> Result<Projection, Error> {
        let mut projection = Projection { inclusive: false, with_id: true, fields: Fields::new() };
        let mut inclusive = None;
        for (name, value) in fields.into_iter().flatten() {
            if !matches!(
                value,
                Value::Boolean(_) | Value::Int32(_) | Value::Int64(_) | Value::Double(_)
            ) {
                return Err(bad_query(format!(
                    "fields: {name}: write 1 to keep a field or 0 to leave it out, not {}",
                    show(value)
                )));
            }
            let keep = is_true(value);
            if name == ID_FIELD {
                projection.with_id = keep;
                continue;
            }
            if *inclusive.get_or_insert(keep) != keep {
                return Err(bad_query(format!(
                    "fields: {name}: fields are either all kept (1) or all left out (0); only _id \
                     may differ"
                )));
            }
            add(&mut projection.fields, &Path::parse(name)?)?;
        }
        let only_id = fields.is_some_and(|fields| fields.contains_key(ID_FIELD));
        projection.inclusive = inclusive.unwrap_or(only_id && projection.with_id);
        Ok(projection)
    }

    /// The fields of a document that are answered.
    pub fn apply(&self, document: Document) -> Document {
        if !self.inclusive && self.with_id && self.fields.is_empty() {
            return document;
        }
        let (id, rest): (Vec<_>, Vec<_>) =
            document.into_iter().partition(|(name, _)| name == ID_FIELD);
        let mut projected = Document::new();
        if self.with_id {
            projected.extend(id);
        }
        project(rest, &self.fields, self.inclusive, &mut projected);
        projected
    }
}

fn add(fields: &mut Fields, path: &Path) -> Result<(), Error> {
    let collision =
        || bad_query(format!("fields: path collision at {path}: name it or its parent"));
    let (last, parents) = path.parts().split_last().ok_or_else(collision)?;
    let mut fields = fields;
    for part in parents {
        let node = fields.entry(part.clone()).or_insert_with(|| Node::Branch(Fields::new()));
        match node {
            Node::Branch(inner) => fields = inner,
            Node::Leaf => return Err(collision()),
        }
    }
    match fields.insert(last.clone(), Node::Leaf) {
        None => Ok(()),
        Some(_) => Err(collision()),
    }
}

fn project(
    from: impl IntoIterator<Item = (String, Value)>,
    fields: &Fields,
    inclusive: bool,
    to: &mut Document,
) {
    for (name, value) in from {
        match fields.get(&name) {
            None if inclusive => {}
            None => {
                to.insert(name, value);
            }
            Some(Node::Leaf) if !inclusive => {}
            Some(Node::Leaf) => {
                to.insert(name, value);
            }
            Some(Node::Branch(inner)) => {
                if let Some(value) = project_value(value, inner, inclusive) {
                    to.insert(name, value);
                }
            }
        }
    }
}

/// Documents are projected, in lists too; anything else has no such fields.
fn project_value(value: Value, fields: &Fields, inclusive: bool) -> Option<Value> {
    match value {
        Value::Document(document) => {
            let mut projected = Document::new();
            project(document, fields, inclusive, &mut projected);
            Some(Value::Document(projected))
        }
        Value::Array(elements) => {
            let elements = elements
                .into_iter()
                .filter_map(|element| project_value(element, fields, inclusive));
            Some(Value::Array(elements.collect()))
        }
        _ if inclusive => None,
        value => Some(value),
    }
}
