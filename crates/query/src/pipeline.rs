//! Aggregation: stages through which documents go, one after the other.
//!
//! A [`Run`] is fed documents one at a time. Stages that need all of them (`$group`, `$sort`) hold
//! what they must, within [`PIPELINE_BYTES_MAX`]; the others pass each one on. What the first stages
//! ask can be looked up rather than computed: [`Pipeline::prefix`] says how.

mod distinct;
mod group;
mod parse;
mod shape;
mod unwind;

pub use distinct::Distinct;

use crate::error::bad_query;
use crate::expression::{Budget, Expression};
use crate::filter::Filter;
use crate::size::document_bytes;
use crate::sort::{Rank, SortKeys};
use api::limits::DOCUMENT_BYTES_MAX;
use api::{Document, Error, ErrorCode, Value};
use group::{Group, Groups};
use shape::Shape;
use unwind::Unwind;

/// Most stages of a pipeline.
pub const STAGES_MAX: usize = 100;
/// Most bytes that the stages of a pipeline hold, and most that it answers.
pub const PIPELINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A parsed pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    stages: Vec<Stage>,
    prefix: Prefix,
}

/// What the first stages ask for, as a search: filter, then order, then skip, then limit.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    /// The filters of the first `$match` stages.
    pub filter: Document,
    /// The fields of a `$sort` after them, with 1 or -1.
    pub sort: Vec<(String, i8)>,
    /// A `$skip` after that.
    pub skip: u64,
    /// A `$limit` after that.
    pub limit: Option<u64>,
    /// How many stages that is.
    stages: usize,
}

#[derive(Clone, Debug)]
enum Stage {
    Match(Filter),
    /// `$project`, `$set`, `$unset`
    Shape(Shape),
    Group(Group),
    Sort(SortKeys),
    Limit(u64),
    Skip(u64),
    Count(String),
    Unwind(Unwind),
    ReplaceRoot(Expression),
}

/// A pipeline on its way.
#[derive(Debug)]
pub struct Run<'p> {
    stages: Vec<Running<'p>>,
    shared: Shared,
}

/// A stage and what it has seen.
#[derive(Debug)]
struct Running<'p> {
    stage: &'p Stage,
    seen: u64,
    groups: Groups,
    sorted: Vec<(Rank, Document)>,
}

/// What all stages of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) budget: Budget,
    held_bytes: usize,
    output: Vec<Document>,
    output_bytes: usize,
}

impl Pipeline {
    /// Reads a list of stages.
    ///
    /// # Errors
    /// `bad_query`, naming the stage's position and what is wrong in it.
    pub fn parse(stages: &[Document]) -> Result<Pipeline, Error> {
        parse::pipeline(stages)
    }

    /// What the first stages ask for.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Whether there are no other stages.
    pub fn is_prefix(&self) -> bool {
        self.prefix.stages == self.stages.len()
    }

    /// Begins with documents that have gone through the prefix.
    pub fn run_after_prefix(&self) -> Run<'_> {
        self.run_from(self.prefix.stages)
    }

    /// Begins with documents as they are stored.
    pub fn run(&self) -> Run<'_> {
        self.run_from(0)
    }

    fn run_from(&self, first: usize) -> Run<'_> {
        let running =
            |stage| Running { stage, seen: 0, groups: Groups::default(), sorted: Vec::new() };
        let shared = Shared {
            budget: Budget::of_pipeline(),
            held_bytes: 0,
            output: Vec::new(),
            output_bytes: 0,
        };
        Run { stages: self.stages[first..].iter().map(running).collect(), shared }
    }
}

impl Run<'_> {
    /// Takes the next document. Answers whether more of them would matter.
    ///
    /// # Errors
    /// `bad_query` if an expression cannot be computed for it; `too_large` or `result_too_large` if
    /// a bound is passed, naming it.
    pub fn push(&mut self, document: Document) -> Result<bool, Error> {
        feed(&mut self.stages, &mut self.shared, document)
    }

    /// Ends the input and answers the outcome.
    ///
    /// # Errors
    /// As [`Run::push`].
    pub fn finish(mut self) -> Result<Vec<Document>, Error> {
        for number in 0..self.stages.len() {
            let (before, after) = self.stages.split_at_mut(number + 1);
            let Some(stage) = before.last_mut() else { break };
            for document in stage.take_held()? {
                if !feed(after, &mut self.shared, document)? {
                    break;
                }
            }
        }
        Ok(self.shared.output)
    }
}

fn feed(
    stages: &mut [Running<'_>],
    shared: &mut Shared,
    document: Document,
) -> Result<bool, Error> {
    let Some((running, rest)) = stages.split_first_mut() else {
        return shared.answer(document);
    };
    match running.stage {
        Stage::Match(filter) => {
            if filter.check(&document)? {
                feed(rest, shared, document)
            } else {
                Ok(true)
            }
        }
        Stage::Shape(shape) => {
            let shaped = shape.apply(document, &mut shared.budget)?;
            feed(rest, shared, within_limit(shaped)?)
        }
        Stage::ReplaceRoot(root) => match root.evaluate(&document, &mut shared.budget)? {
            Value::Document(root) => feed(rest, shared, within_limit(root)?),
            other => Err(bad_query(format!(
                "$replaceRoot: the new root must be a document, not {}",
                crate::error::show(&other)
            ))),
        },
        Stage::Group(group) => {
            group.add(&mut running.groups, &document, shared)?;
            Ok(true)
        }
        Stage::Sort(keys) => {
            shared.hold("$sort", document_bytes(&document) + 64)?;
            running.sorted.push((keys.rank(&document), document));
            Ok(true)
        }
        Stage::Limit(limit) => {
            if running.seen == *limit {
                return Ok(false);
            }
            running.seen += 1;
            let more = feed(rest, shared, document)?;
            Ok(more && running.seen < *limit)
        }
        Stage::Skip(skip) => {
            if running.seen < *skip {
                running.seen += 1;
                return Ok(true);
            }
            feed(rest, shared, document)
        }
        Stage::Count(_) => {
            running.seen += 1;
            Ok(true)
        }
        Stage::Unwind(unwind) => {
            unwind.each(document, shared, &mut |document, shared| feed(rest, shared, document))
        }
    }
}

fn within_limit(document: Document) -> Result<Document, Error> {
    let bytes = document_bytes(&document);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::TooLarge,
            format!(
                "aggregate: a document on its way takes {bytes} bytes; the most is \
                 {DOCUMENT_BYTES_MAX}"
            ),
        ));
    }
    Ok(document)
}

impl Running<'_> {
    /// What the stage held back for the end.
    fn take_held(&mut self) -> Result<Vec<Document>, Error> {
        Ok(match self.stage {
            Stage::Group(group) => {
                let groups = group.finish(std::mem::take(&mut self.groups));
                groups.into_iter().map(within_limit).collect::<Result<_, _>>()?
            }
            Stage::Sort(keys) => {
                let mut sorted = std::mem::take(&mut self.sorted);
                sorted.sort_by(|(left, _), (right, _)| keys.compare(left, right));
                sorted.into_iter().map(|(_, document)| document).collect()
            }
            Stage::Count(name) if self.seen > 0 => {
                let count = i64::try_from(self.seen).unwrap_or(i64::MAX);
                let count = i32::try_from(count).map_or(Value::Int64(count), Value::Int32);
                vec![Document::from_iter([(name.clone(), count)])]
            }
            _ => Vec::new(),
        })
    }
}

impl Shared {
    /// Counts what a stage holds.
    pub(crate) fn hold(&mut self, stage: &str, bytes: usize) -> Result<(), Error> {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if self.held_bytes > PIPELINE_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::TooLarge,
                format!(
                    "aggregate: {stage} holds more than {PIPELINE_BYTES_MAX} bytes; match fewer \
                     documents before it, or project fewer fields"
                ),
            ));
        }
        Ok(())
    }

    fn answer(&mut self, document: Document) -> Result<bool, Error> {
        self.output_bytes += document_bytes(&document);
        if self.output_bytes > PIPELINE_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ResultTooLarge,
                format!(
                    "aggregate: the outcome takes more than {PIPELINE_BYTES_MAX} bytes; add a \
                     $limit or a $project"
                ),
            ));
        }
        self.output.push(document);
        Ok(true)
    }
}
