//! The `mondongo` binary: one program for the nodes and for those who talk to them.

mod args;
mod cli;

use args::{Arguments, Command};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Cli(arguments) => cli::run(&arguments),
    }
}
