//! One step of a command: what runs, shown with the time it took.

use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A `cargo` command in the root of the workspace, with its words as they are shown.
pub(crate) fn cargo(words: &str) -> Command {
    // Cargo tells what it runs where it is itself, so that the same toolchain goes on.
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace()).current_dir(root());
    command
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs `command` with its output on the terminal.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) fn must_succeed(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Whether `command` can be run at all; its output goes nowhere.
pub(crate) fn is_there(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs `work` under a headline, and says how long it took.
///
/// # Errors
/// As `work`, with the name of the step in front.
pub(crate) fn step(name: &str, about: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("==> {name}: {about}");
    let begun = Instant::now();
    let done = work();
    println!("<== {name}: {:.1} s", begun.elapsed().as_secs_f64());
    done.with_context(|| format!("step {name}"))
}

fn shown(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let program = program.to_string_lossy().into_owned();
    let words: Vec<String> = std::iter::once(program).chain(words).collect();
    words.join(" ")
}
