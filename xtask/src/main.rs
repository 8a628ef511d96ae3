//! The project's own commands: `cargo xtask check | bless | sim | soak | model | mongomock | fuzz | counts`.
//!
//! Checking never edits; editing is another verb (`bless`). Invariant of absence: nothing here is needed
//! to build or run MondongoDB, and no check lives here that `cargo test` could do (see `tests/tidy`).

mod bless;
mod check;
mod counts;
mod fuzz;
mod model_check;
mod mongomock;
mod soak;
mod step;

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs every check and prints what it took; changes no file.
    Check(check::Options),
    /// Formats the sources and writes what tests expect anew, for you to read in the diff.
    Bless(bless::Options),
    /// Faults drawn by lot on real processes under load, with their history checked.
    Soak(soak::Options),
    /// Explores every state of the model of the protocol; the quick configurations if none is named.
    Model(model_check::Options),
    /// Asks mongomock and the query language the same questions, if there is Python.
    Mongomock(mongomock::Options),
    /// Gives random bytes to every parser of bytes from outside.
    Fuzz(fuzz::Options),
    /// Counts what fixed work costs, in instructions, allocations, messages and bytes, beside the committed counts.
    Counts(counts::Options),
    /// Plays simulated worlds; `cargo xtask sim --help` says how.
    #[command(disable_help_flag = true)]
    Sim {
        /// Passed on to the simulator.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Check(options) => check::run(&options),
        Command::Bless(options) => bless::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Model(options) => model_check::run(&options),
        Command::Mongomock(options) => mongomock::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Counts(options) => counts::run(&options),
        Command::Sim { arguments } => {
            sim::cli::run_arguments(&arguments).map_err(|what| anyhow!(what))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
