//! Updates: what happens to one document.
//!
//! An [`Update`] is parsed once and made in every document that a filter means. It depends on the
//! document and on [`Circumstances`] alone: the clock is that of the node that took the request,
//! written into the log with it.

mod lists;
mod operation;
mod parse;
mod target;

use crate::error::{bad_query, show};
use crate::filter::{Comparison, Filter, Test};
use crate::place::Maker;
use api::limits::DOCUMENT_BYTES_MAX;
use api::path::element_number;
use api::value::ID_FIELD;
use api::{Document, Error, ErrorCode, Value};
use operation::Operation;
use std::cmp::Ordering;
use target::Target;

pub use target::PLACES_MAX;

/// Most fields that one update names.
pub const UPDATE_FIELDS_MAX: usize = 2_000;
/// Most bytes that one update may write into one document before its size is checked.
const WRITTEN_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX;

/// A parsed update: operations on paths of which none leads to another, in the order of their
/// paths, so that new fields are added in that order.
#[derive(Clone, Debug)]
pub struct Update {
    operations: Vec<(Target, Operation)>,
    /// The conditions that `$[name]` means.
    array_filters: Vec<(String, Filter)>,
}

/// What an update depends on besides the document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// The clock of the node that took the request, in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// What `$` stands for: the element that the filter found ([`Filter::check_position`]).
    pub position: Option<usize>,
    /// Whether the document is being made by an upsert.
    pub inserting: bool,
}

impl Update {
    /// Reads changes: fields to set, or update operators; and the filters that `$[name]` means.
    ///
    /// # Errors
    /// `bad_query`, naming the operator or the path.
    pub fn parse(changes: &Document, array_filters: &[Document]) -> Result<Update, Error> {
        parse::update(changes, array_filters)
    }

    /// Whether `$` stands in a path, so that [`Circumstances::position`] is needed.
    pub fn needs_position(&self) -> bool {
        self.operations.iter().any(|(target, _)| target.needs_position())
    }

    /// Makes the changes in a document.
    ///
    /// # Errors
    /// `bad_query` if the document does not allow them, naming the path; `too_large` if it would
    /// grow far beyond a document's limit. The document is then to be thrown away.
    pub fn apply(
        &self,
        document: &mut Document,
        circumstances: &Circumstances,
    ) -> Result<(), Error> {
        let id = document.get(ID_FIELD).cloned();
        let mut maker = Maker::default();
        if self.operations.iter().any(|(target, _)| target.is_dynamic()) {
            self.apply_expanded(document, circumstances, &mut maker)?;
        } else {
            for (target, operation) in &self.operations {
                operation.apply(document, target.fixed(), circumstances, &mut maker)?;
            }
        }
        if circumstances.inserting && id.is_none() {
            return Ok(());
        }
        if !is_same(document.get(ID_FIELD), id.as_ref()) {
            return Err(bad_query(format!(
                "Performing an update on the path '_id' would modify the immutable field '_id' of \
                 the document {}",
                show(&id.unwrap_or(Value::Null))
            )));
        }
        Ok(())
    }

    /// Finds the places that `$`, `$[]` and `$[name]` mean before anything is changed.
    fn apply_expanded(
        &self,
        document: &mut Document,
        circumstances: &Circumstances,
        maker: &mut Maker,
    ) -> Result<(), Error> {
        let mut places = Vec::new();
        let mut written = 0usize;
        for (target, operation) in &self.operations {
            let before = places.len();
            target.expand(
                document,
                circumstances.position,
                &self.array_filters,
                operation,
                &mut places,
            )?;
            let count = places.len() - before;
            written = written.saturating_add(operation.written_bytes().saturating_mul(count));
        }
        if written > WRITTEN_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!(
                    "the update writes {written} bytes into one document; the most is \
                     {WRITTEN_BYTES_MAX}"
                ),
            ));
        }
        places.sort_by(|(left, _), (right, _)| compare_parts(left, right));
        for pair in places.windows(2) {
            check_conflict(&pair[0].0, &pair[1].0)?;
        }
        for (path, operation) in places {
            operation.apply(document, &path, circumstances, maker)?;
        }
        Ok(())
    }
}

/// The document that an upsert begins with: what the filter says by equality.
///
/// # Errors
/// `bad_query` if two conditions give one field its value, or one value would stand in another.
pub fn upsert_document(filter: &Filter) -> Result<Document, Error> {
    let mut equalities = Vec::new();
    collect_equalities(filter, &mut equalities);
    equalities.sort_by(|(left, _), (right, _)| compare_parts(left, right));
    for pair in equalities.windows(2) {
        if pair[1].0.starts_with(pair[0].0) {
            return Err(bad_query(format!(
                "upsert: cannot infer the field '{}' from the filter: '{}' is matched too",
                pair[1].0.join("."),
                pair[0].0.join(".")
            )));
        }
    }
    let mut document = Document::new();
    for (parts, value) in equalities {
        *Maker::default().place(&mut document, parts)? = value.clone();
    }
    Ok(document)
}

fn collect_equalities<'f>(filter: &'f Filter, equalities: &mut Vec<(&'f [String], &'f Value)>) {
    match filter {
        Filter::And(filters) => {
            filters.iter().for_each(|filter| collect_equalities(filter, equalities));
        }
        Filter::Or(filters) if filters.len() == 1 => collect_equalities(&filters[0], equalities),
        Filter::Test(path, Test::Compare(Comparison::Equal, value)) => {
            equalities.push((path.parts(), value));
        }
        Filter::Test(path, Test::In(values, patterns))
            if values.len() == 1 && patterns.is_empty() =>
        {
            equalities.push((path.parts(), &values[0]));
        }
        _ => {}
    }
}

fn is_same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::String(one)), Some(Value::String(other))) => one == other,
        (Some(Value::ObjectId(one)), Some(Value::ObjectId(other))) => one == other,
        (Some(Value::Int64(one)), Some(Value::Int64(other))) => one == other,
        _ => one.map(value_identity) == other.map(value_identity),
    }
}

/// Type and content: `1` and `1.0` differ here.
fn value_identity(value: &Value) -> Vec<u8> {
    let mut holder = Document::new();
    holder.insert("", value.clone());
    holder.to_vec().unwrap_or_default()
}

/// Parts that are numbers compare as numbers; a path stands before those that it leads to.
fn compare_parts(left: &[String], right: &[String]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = match (element_number(left), element_number(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => left.cmp(right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// Of two paths that stand next to each other in order, none may lead to the other.
fn check_conflict(left: &[String], right: &[String]) -> Result<(), Error> {
    if right.starts_with(left) {
        return Err(bad_query(format!(
            "Updating the path '{}' would create a conflict at '{}'",
            right.join("."),
            left.join(".")
        )));
    }
    Ok(())
}
