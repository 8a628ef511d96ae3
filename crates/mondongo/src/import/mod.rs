//! `mondongo import`: documents from JSON lines or CSV into a collection (`docs/design/import.md`).
//!
//! | module | job |
//! | --- | --- |
//! | `options` | the command line |
//! | `source` | bytes of the input, decompressed, from any position on |
//! | `records`, `cells` | bytes to documents, or to what is wrong with a line |
//! | `batches` | records to batches, on a thread of its own |
//! | `deliver` | a batch to the group, each document once, bad ones singled out |
//! | `state` | how far it is, so that it goes on after a crash |
//! | `rejects` | the file of bad lines |
//! | `run` | all of them together |

mod batches;
mod cells;
mod deliver;
mod options;
mod records;
mod rejects;
mod run;
mod source;
mod state;

pub(crate) use options::ImportArguments;
pub(crate) use run::run;
