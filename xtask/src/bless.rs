//! `cargo xtask bless`: what a machine can write, written anew. Read the diff before you commit it.
//!
//! Fixtures of released disk formats are no part of it: they stay as they are.

use crate::step::{cargo, must_succeed, step};
use anyhow::Result;
use clap::Args;

/// What to write anew.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the expectations of this package.
    #[arg(long, short)]
    package: Option<String>,
}

/// Formats, then lets every golden test and `expect![]` write what it sees.
///
/// # Errors
/// If a command fails; tests that have nothing to do with expectations still may.
pub(crate) fn run(options: &Options) -> Result<()> {
    step("fmt", "cargo fmt --all, and in fuzz/", || {
        must_succeed(&mut cargo("fmt --all"))?;
        must_succeed(&mut cargo("fmt --manifest-path fuzz/Cargo.toml"))
    })?;
    let which = match &options.package {
        Some(package) => format!("--package {package}"),
        None => "--workspace".into(),
    };
    let words = format!("test --no-fail-fast {which}");
    let about = format!("cargo {words}, with UPDATE_EXPECT=1 and BLESS=1");
    step("expect", &about, || {
        must_succeed(cargo(&words).env("UPDATE_EXPECT", "1").env("BLESS", "1"))
    })
}
