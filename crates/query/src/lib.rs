//! The query language, as MongoDB means it, over documents in memory.
//!
//! | module | job |
//! | --- | --- |
//! | `filter` | which documents are meant |
//! | `update` | what happens to one document |
//! | `projection` | which fields of a document are answered |
//! | `expression` | values computed from a document |
//! | `pipeline` | aggregation: documents in, documents out |
//! | `sort`, `visit`, `place` | order by fields; the values at a path, to be read or changed |
//! | `number`, `size`, `error` | arithmetic, bounds, refusals |
//!
//! **Invariants of absence.** No store, index, clock, randomness or thread, and no iteration in the
//! order of a hash: updates run where log entries are applied, and every node must come to the same
//! document or the same refusal. Depth, work and memory on a client's input are bounded, by limits
//! that are named constants and stand in `docs/design/queries.md`.

mod error;
mod expression;
mod filter;
mod number;
mod ordered;
mod pipeline;
mod place;
mod projection;
mod size;
mod sort;
mod update;
mod visit;

pub use error::{bad_query, is_true, show};
pub use expression::{
    Budget, EXPRESSION_DEPTH_MAX, EXPRESSION_PARTS_MAX, Expression, FILTER_STEPS_MAX,
    PIPELINE_STEPS_MAX,
};
pub use filter::{
    Comparison, FILTER_DEPTH_MAX, FILTER_OPERATORS_MAX, FILTER_PATTERNS_MAX, Filter,
    PATTERN_BYTES_MAX, Predicate, Test, TypeSet,
};
pub use pipeline::{Distinct, PIPELINE_BYTES_MAX, Pipeline, Prefix, Run, STAGES_MAX};
pub use place::PADDED_ELEMENTS_MAX;
pub use projection::Projection;
pub use size::{document_bytes, value_bytes};
pub use sort::{Rank, SORT_KEYS_MAX, SortKeys};
pub use update::{Circumstances, PLACES_MAX, UPDATE_FIELDS_MAX, Update, upsert_document};

use std::ops::Range;

/// Part of a list: without a position `count` elements from the start, or from the end if negative;
/// else `count` from the position, which counts from the end if negative.
fn slice_range(length: usize, position: Option<i64>, count: i64) -> Range<usize> {
    let distance = |number: i64| usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
    match position {
        None if count < 0 => length.saturating_sub(distance(count))..length,
        None => 0..distance(count).min(length),
        Some(position) => {
            let start = if position < 0 {
                length.saturating_sub(distance(position))
            } else {
                distance(position).min(length)
            };
            start..start.saturating_add(distance(count)).min(length)
        }
    }
}
