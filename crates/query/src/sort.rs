//! The order of documents by the values of fields.
//!
//! Of several values at a path the least counts upward and the greatest downward. Nothing there
//! counts as null; an empty list stands below it.

use crate::error::{bad_query, show};
use crate::visit::Root;
use api::order::{self, compare};
use api::path::Path;
use api::{Document, Error, Value};
use std::cmp::Ordering;

/// Most fields of one sort.
pub const SORT_KEYS_MAX: usize = 32;

/// Fields to sort by, the first decides first.
#[derive(Clone, Debug)]
pub struct SortKeys(Vec<(Path, bool)>);

/// A document's place: one value for each key.
pub type Rank = Vec<Value>;

impl SortKeys {
    /// Reads `{"a": 1, "b.c": -1}`; `what` names the sort in messages.
    ///
    /// # Errors
    /// `bad_query`, naming the field.
    pub fn parse(what: &str, keys: &Document) -> Result<SortKeys, Error> {
        if keys.is_empty() || keys.len() > SORT_KEYS_MAX {
            return Err(bad_query(format!("{what} needs 1 to {SORT_KEYS_MAX} fields")));
        }
        let parse = |(name, direction): (&String, &Value)| {
            Ok((Path::parse(name)?, is_backward(what, name, direction)?))
        };
        Ok(SortKeys(keys.iter().map(parse).collect::<Result<_, Error>>()?))
    }

    /// The fields with 1 or -1, as a search takes them.
    pub fn pairs(&self) -> Vec<(String, i8)> {
        let pair = |(path, backward): &(Path, bool)| {
            (path.as_str().to_owned(), if *backward { -1 } else { 1 })
        };
        self.0.iter().map(pair).collect()
    }

    /// The place of a document.
    pub fn rank(&self, document: &Document) -> Rank {
        self.0
            .iter()
            .map(|(path, backward)| rank(Root::Document(document), path, *backward))
            .collect()
    }

    /// Compares two places.
    pub fn compare(&self, left: &Rank, right: &Rank) -> Ordering {
        for ((_, backward), (left, right)) in self.0.iter().zip(left.iter().zip(right)) {
            let order = compare(left, right);
            if order != Ordering::Equal {
                return if *backward { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }
}

/// Reads a direction: 1 or -1.
pub(crate) fn is_backward(what: &str, name: &str, direction: &Value) -> Result<bool, Error> {
    match direction {
        value if order::equal(value, &Value::Int32(1)) => Ok(false),
        value if order::equal(value, &Value::Int32(-1)) => Ok(true),
        other => {
            Err(bad_query(format!("{what}: {name}: the direction is 1 or -1, not {}", show(other))))
        }
    }
}

fn rank(root: Root<'_>, path: &Path, backward: bool) -> Value {
    let wanted = if backward { Ordering::Greater } else { Ordering::Less };
    let mut best: Option<&Value> = None;
    root.visit(path.parts(), &mut |value, _| {
        let mut consider = |value| {
            if best.is_none_or(|best| compare(value, best) == wanted) {
                best = Some(value);
            }
        };
        match value {
            None => consider(&Value::Null),
            Some(Value::Array(elements)) if elements.is_empty() => consider(&Value::Undefined),
            Some(Value::Array(elements)) => elements.iter().for_each(consider),
            Some(value) => consider(value),
        }
        false
    });
    best.cloned().unwrap_or(Value::Null)
}
