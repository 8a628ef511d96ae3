//! `cargo xtask mongomock`: asks mongomock and the query language the same questions
//! (`docs/design/queries.md`). Not a step of `cargo xtask check`, but of continuous integration: it needs Python and a package from PyPI.

use crate::step::{cargo, is_there, must_succeed, root};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version whose differences are explained.
const PACKAGE: &str = "mongomock==4.3.0";
const SCRIPT: &str = "crates/query/tests/mongomock/compare.py";

/// How to ask.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many cases are drawn, from the seeds 0, 1, 2 and so on.
    #[arg(long, default_value_t = 5000)]
    seeds: u32,
    /// A Python that has mongomock; without it one is made beside the build, with pip.
    #[arg(long)]
    python: Option<PathBuf>,
}

/// Builds what answers and runs the script.
///
/// # Errors
/// If an answer differs and no rule explains it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let target = target_folder();
    let python = match &options.python {
        Some(python) => python.clone(),
        None => match environment(&target) {
            Ok(python) => python,
            Err(reason) => {
                println!("skipped: {reason}");
                return Ok(());
            }
        },
    };
    must_succeed(&mut cargo("build --package query --example answer"))?;
    let answer = target.join("debug/examples/answer");
    let mut script = Command::new(python);
    script.current_dir(root()).arg(SCRIPT).arg(answer).arg(options.seeds.to_string());
    must_succeed(&mut script).context("the answers differ, see above")
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A Python of its own with the package, made once; why there is none.
fn environment(target: &Path) -> Result<PathBuf, String> {
    let folder = target.join("mongomock");
    let python = folder.join("bin/python");
    if is_there(Command::new(&python).args(["-c", "import mongomock"])) {
        return Ok(python);
    }
    if !is_there(Command::new("python3").args(["-m", "venv"]).arg(&folder)) {
        return Err("there is no python3 with venv".to_owned());
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
    if !is_there(&mut install) {
        return Err(format!("pip cannot install {PACKAGE} here"));
    }
    Ok(python)
}
