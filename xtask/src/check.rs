//! `cargo xtask check`: everything that must hold before a change goes in. Never edits.

use crate::step::{cargo, is_there, must_succeed, step};
use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};

/// How many simulated worlds every check plays: seeds 1, 2, …; fixed, so that a check says the same
/// twice. Look for new ones with `cargo xtask sim --from N --runs K`.
const SIM_SEEDS: u32 = 200;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these steps; all of them if none is named.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting, as `cargo fmt` would leave it.
    Fmt,
    /// Lints of all targets, warnings denied.
    Clippy,
    /// Documentation with its links, warnings denied.
    Doc,
    /// All tests: unit, integration, golden, documentation, tidy.
    Test,
    /// A fixed handful of simulated worlds.
    Sim,
    /// Every state of the model of the protocol, in its quick configurations.
    Model,
    /// Licences, sources and bans of dependencies, if `cargo deny` is installed.
    Deny,
}

impl Step {
    fn about(self) -> String {
        match self {
            Step::Fmt => "cargo fmt --all --check, and in fuzz/".into(),
            Step::Clippy => "cargo clippy --workspace --all-targets -- -D warnings".into(),
            Step::Doc => "cargo doc --workspace --no-deps, with RUSTDOCFLAGS=-Dwarnings".into(),
            Step::Test => "cargo test --workspace".into(),
            Step::Sim => format!("cargo xtask sim --runs {SIM_SEEDS} --twice"),
            Step::Model => "cargo xtask model --config quick".into(),
            Step::Deny => "cargo deny check bans licenses sources".into(),
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Step::Fmt => {
                must_succeed(&mut cargo("fmt --all --check"))?;
                must_succeed(&mut cargo("fmt --manifest-path fuzz/Cargo.toml --check"))
            }
            Step::Clippy => {
                must_succeed(&mut cargo("clippy --workspace --all-targets -- -D warnings"))
            }
            Step::Doc => {
                let mut doc = cargo("doc --workspace --no-deps");
                must_succeed(doc.env("RUSTDOCFLAGS", "-Dwarnings"))
            }
            Step::Test => must_succeed(&mut cargo("test --workspace")),
            Step::Sim => {
                let words = ["--runs", &SIM_SEEDS.to_string(), "--twice"].map(str::to_owned);
                sim::cli::run_arguments(&words).map_err(|what| anyhow!(what))
            }
            Step::Model => crate::model_check::run_quick(),
            Step::Deny => deny(),
        }
    }
}

fn deny() -> Result<()> {
    if !is_there(&mut cargo("deny --version")) {
        println!("skipped: cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    must_succeed(&mut cargo("deny --workspace check bans licenses sources"))
}

/// Runs the steps, the cheap ones first; goes on after a failure, so that one run tells all.
///
/// # Errors
/// Which steps failed, and why.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut failures = Vec::new();
    for kind in Step::value_variants() {
        if !options.steps.is_empty() && !options.steps.contains(kind) {
            continue;
        }
        let name = format!("{kind:?}").to_lowercase();
        if let Err(error) = step(&name, &kind.about(), || kind.run()) {
            println!("{error:#}");
            failures.push(name);
        }
    }
    if !failures.is_empty() {
        bail!("failed: {}", failures.join(", "));
    }
    println!("all checks passed");
    Ok(())
}
