//! Lists of stage documents to [`Pipeline`]s.

use super::group::Group;
use super::shape::Shape;
use super::unwind::Unwind;
use super::{Pipeline, Prefix, STAGES_MAX, Stage};
use crate::error::{bad_query, show};
use crate::expression::Expression;
use crate::filter::Filter;
use crate::sort::SortKeys;
use api::{Document, Error, Value};

const KNOWN: &str = "$match, $project, $set, $addFields, $unset, $group, $sort, $limit, $skip, \
                     $count, $unwind, $sortByCount, $replaceRoot, $replaceWith";

pub(super) fn pipeline(documents: &[Document]) -> Result<Pipeline, Error> {
    if documents.len() > STAGES_MAX {
        return Err(bad_query(format!(
            "the pipeline has {} stages; the most is {STAGES_MAX}",
            documents.len()
        )));
    }
    let mut stages = Vec::with_capacity(documents.len());
    for (position, document) in documents.iter().enumerate() {
        let (Some((name, operand)), 1) = (document.iter().next(), document.len()) else {
            return Err(bad_query(format!(
                "stage {position}: a stage is a document of one operator such as \
                 {{\"$match\": {{}}}}, not {}",
                show(&Value::Document(document.clone()))
            )));
        };
        let stage = |error: Error| {
            Error::new(error.code, format!("stage {position} ({name}): {}", error.message))
        };
        add(name, operand, &mut stages).map_err(stage)?;
    }
    let prefix = prefix(documents);
    Ok(Pipeline { stages, prefix })
}

fn add(name: &str, operand: &Value, stages: &mut Vec<Stage>) -> Result<(), Error> {
    let stage = match name {
        "$match" => Stage::Match(Filter::parse(document(name, operand)?)?),
        "$project" => Stage::Shape(Shape::project(operand)?),
        "$set" => Stage::Shape(Shape::set("$set", operand)?),
        "$addFields" => Stage::Shape(Shape::set("$addFields", operand)?),
        "$unset" => Stage::Shape(Shape::unset(operand)?),
        "$group" => Stage::Group(Group::parse(operand)?),
        "$sort" => Stage::Sort(SortKeys::parse("$sort", document(name, operand)?)?),
        "$limit" => match whole(operand) {
            Some(limit) if limit > 0 => Stage::Limit(limit),
            _ => {
                return Err(bad_query(format!(
                    "needs a whole number from 1, not {}",
                    show(operand)
                )));
            }
        },
        "$skip" => match whole(operand) {
            Some(skip) => Stage::Skip(skip),
            None => {
                return Err(bad_query(format!(
                    "needs a whole number from 0, not {}",
                    show(operand)
                )));
            }
        },
        "$count" => match operand {
            Value::String(field)
                if !field.is_empty() && !field.starts_with('$') && !field.contains('.') =>
            {
                Stage::Count(field.clone())
            }
            other => {
                return Err(bad_query(format!("needs a plain field name, not {}", show(other))));
            }
        },
        "$unwind" => Stage::Unwind(Unwind::parse(operand)?),
        "$sortByCount" => {
            stages.push(Stage::Group(Group::counting(operand)?));
            let by_count = Document::from_iter([("count".to_owned(), Value::Int32(-1))]);
            Stage::Sort(SortKeys::parse(name, &by_count)?)
        }
        "$replaceRoot" => match document(name, operand)?.get("newRoot") {
            Some(root) if document(name, operand)?.len() == 1 => {
                Stage::ReplaceRoot(Expression::parse(root)?)
            }
            _ => return Err(bad_query("needs {\"newRoot\": expression}")),
        },
        "$replaceWith" => Stage::ReplaceRoot(Expression::parse(operand)?),
        _ => return Err(bad_query(format!("unknown stage; known are {KNOWN}"))),
    };
    stages.push(stage);
    Ok(())
}

fn document<'v>(name: &str, operand: &'v Value) -> Result<&'v Document, Error> {
    match operand {
        Value::Document(document) => Ok(document),
        other => Err(bad_query(format!("{name} needs a document, not {}", show(other)))),
    }
}

fn whole(operand: &Value) -> Option<u64> {
    match operand {
        Value::Int32(number) => u64::try_from(*number).ok(),
        Value::Int64(number) => u64::try_from(*number).ok(),
        Value::Double(number) if number.fract() == 0.0 && (0.0..9e15).contains(number) => {
            Some(*number as u64)
        }
        _ => None,
    }
}

/// `$match …`, then `$sort`, then `$skip`, then `$limit`, as far as the stages stand so. All of
/// these have been checked.
fn prefix(documents: &[Document]) -> Prefix {
    let mut prefix = Prefix::default();
    let mut stages = documents.iter().filter_map(|document| document.iter().next()).peekable();
    let mut filters = Vec::new();
    while let Some((_, Value::Document(filter))) = stages.next_if(|(name, _)| *name == "$match") {
        filters.push(Value::Document(filter.clone()));
        prefix.stages += 1;
    }
    prefix.filter = match filters.len() {
        0 => Document::new(),
        1 => match filters.remove(0) {
            Value::Document(filter) => filter,
            _ => Document::new(),
        },
        _ => Document::from_iter([("$and".to_owned(), Value::Array(filters))]),
    };
    if let Some((_, Value::Document(keys))) = stages.next_if(|(name, _)| *name == "$sort") {
        prefix.sort = SortKeys::parse("$sort", keys).map(|keys| keys.pairs()).unwrap_or_default();
        prefix.stages += 1;
    }
    if let Some((_, skip)) = stages.next_if(|(name, _)| *name == "$skip") {
        prefix.skip = whole(skip).unwrap_or_default();
        prefix.stages += 1;
    }
    if let Some((_, limit)) = stages.next_if(|(name, _)| *name == "$limit") {
        prefix.limit = whole(limit);
        prefix.stages += 1;
    }
    prefix
}
