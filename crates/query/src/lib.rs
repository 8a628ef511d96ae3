//! The query language, as MongoDB means it, over documents in memory.
//!
//! | module | job |
//! | --- | --- |
//! | `filter` | which documents are meant |
//! | `update` | what happens to one document |
//! | `place` | the values at a path, to be changed |
//! | `projection` | which fields of a document are answered |
//! | `error` | refusals |
//!
//! **Invariants of absence.** No store, index, clock, randomness or thread, and no iteration in the
//! order of a hash: updates run where log entries are applied, and every node must come to the same
//! document or the same refusal.

mod error;
mod filter;
mod place;
mod projection;
mod update;

pub use error::{bad_query, show};
pub use filter::{Comparison, Filter, Test, is_true};
pub use projection::Projection;
pub use update::Update;
