//! `mondongo export`: the documents of a collection as JSON lines or CSV.
//!
//! `pages` gets the documents part by part, `rows` writes them, `run` does both.

mod pages;
mod rows;
mod run;

pub(crate) use run::{ExportArguments, run};
