//! `cargo xtask soak`: faults drawn by lot on real processes, for as long as one likes.
//!
//! It builds the program and `examples/faults` of the crate `mondongo`, and runs the latter's `soak`.

use crate::step::{cargo, must_succeed, root, step};
use anyhow::Result;
use clap::Args;
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// How long, and which faults.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Decides which faults there are; drawn and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes of the group.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Concurrent clients.
    #[arg(long, default_value_t = 8)]
    clients: usize,
}

/// Builds, then soaks.
///
/// # Errors
/// If something cannot be built, or the soak finds anything wrong.
pub(crate) fn run(options: &Options) -> Result<()> {
    let words = "build --release --package mondongo --bins --example faults";
    step("build", &format!("cargo {words}"), || must_succeed(&mut cargo(words)))?;
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let release = target.join("release");
    let mut soak = Command::new(release.join("examples/faults"));
    soak.arg("--binary").arg(release.join("mondongo"));
    soak.args(["--nodes", &options.nodes.to_string(), "--writers", &options.clients.to_string()]);
    soak.args(["soak", "--minutes", &options.minutes.to_string()]);
    if let Some(seed) = options.seed {
        soak.args(["--seed", &seed.to_string()]);
    }
    step("soak", "faults on real processes", || must_succeed(&mut soak))
}
